//! What the `dark-tower` command is made of; the binary only parses arguments.

pub mod dev;
pub mod join;
pub mod media_file;
