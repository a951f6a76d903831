//! The command as people type it, and the document about its configuration; one binary, since linking is what takes time.

mod certs;
mod configuration;
mod operator;
mod usage;
