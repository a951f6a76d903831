//! The front door under load: requests per CPU second of a global controller, beside a bare axum handler on the same listeners in the same run;
//! or, with `memory`, what it holds after a million requests. How it is read: `docs/front-door-performance.md`.
#![allow(clippy::print_stdout, reason = "a bench tells its numbers on standard output, and its two processes talk over it")]

mod child;
mod load;
mod measure;
mod memory;
mod nodes;
mod server;
mod speed;

use clap::{Parser, Subcommand};
use tokio::task::LocalSet;

/// Requests under way at once, and the connections that they are spread over.
const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 4;
/// Meetings that are asked for in turn: as many as an application watches at once, and so many that few are asked for twice within a second.
const MEETINGS: usize = 100;
const MEETINGS_SPREAD: usize = 10_000;
/// The name of a meeting, and of who joins.
const NAME: &str = "Team Standup";
/// The measured process has a core of its own, and so has the load.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

#[derive(Parser)]
struct Arguments {
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    speed: speed::Options,
}

#[derive(Subcommand)]
enum What {
    /// Memory over many requests, instead of speed.
    Memory(memory::Options),
    /// What is measured; the bench starts it by itself.
    #[command(hide = true)]
    Server,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(What::Server) = arguments.what {
        return server::run();
    }
    benches::child::pin_self(LOAD_CORE);
    common::tls::install_crypto_provider();
    // One thread: the load's work for a request is about the server's, and costs nothing that is measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let child = child::Child::start().await;
        match arguments.what {
            Some(What::Memory(options)) => memory::run(child, options).await,
            _ => speed::run(child, arguments.speed).await,
        }
    });
}
