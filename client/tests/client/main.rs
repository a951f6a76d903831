//! The client against servers that say what the test tells them to. With real servers it is tested in `e2e`.

mod cancel;
mod dice;
mod door;
mod handler;
mod hostile;
mod paused;
mod returns;
mod signaling;
