//! The media handler's hot path without sockets, to count its instructions: what each record costs for each subscriber that gets it.
//!
//! In: a load by name and how many times it repeats itself (`hotpath w1 2`). Out: how many records were delivered, one number on a line; with
//! `list`, the names. It opens no socket, reads no clock and draws no random number, so that two runs of one load execute the same
//! instructions, but for the seeds of the standard library's hash maps, which new streams of publishers are looked up in.
//!
//! Publishers' bytes go through the frame reader into the hub as a handler's shell takes them there; each subscriber that is woken is
//! stepped as its task would be, and its QUIC takes every write whole. What the shell adds (QUIC, its lock, its copies) is not here.

mod load;
mod stage;

use std::process::ExitCode;

use crate::load::Load;
use crate::stage::Stage;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => Load::ALL.iter().map(|load| format!("{}\n", load.name)).collect(),
        [name, periods] => match (Load::named(name), periods.parse()) {
            (Some(load), Ok(periods)) => format!("{}\n", Stage::begin(load).run(periods)),
            _ => return usage(),
        },
        _ => return usage(),
    };
    match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: hotpath list, or hotpath LOAD PERIODS");
    ExitCode::FAILURE
}
