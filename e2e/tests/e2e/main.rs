//! End-to-end tests: whole clusters, met from outside by programs that share as little with them as can be.

mod churn;
mod clip;
mod cut_through;
mod description;
mod dev;
mod front_desk;
mod front_door;
mod hostile;
mod join;
mod kept;
mod manage;
mod nodes;
mod operating;
mod resume;
mod rotation;
mod round_trips;
mod sealed;
mod secrets;
mod strangers;
mod untaken;
mod uplink;
