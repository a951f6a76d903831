//! What the `dark-tower` command is made of; the binary only parses arguments.

pub mod certs;
pub mod clients;
pub mod dev;
pub mod join;
pub mod keys;
pub mod operator;
pub mod output;
pub mod pattern;
pub mod status;
