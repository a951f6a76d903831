//! The forwarding core in virtual time: promises one by one, and random histories against a model. One binary.

mod bounds;
mod layers;
mod model;
mod properties;
mod returns;
mod scenarios;
mod stage;
