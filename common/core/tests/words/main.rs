//! The words against their golden vectors and against random bytes: one test binary for the crate.

mod golden;
mod readers;
