//! What holds for whatever comes in, found by random inputs; one binary, since linking is what takes time.

mod evenness;
mod placement;
mod rate;
