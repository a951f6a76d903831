//! The media handler under load, beside a minimal forwarder in the same run: CPU per delivered record, latency, memory per idle subscriber. How it
//! is read: `docs/performance.md`.
#![allow(clippy::print_stdout, reason = "a bench tells its numbers on standard output, and its processes talk over it")]

mod compare;
mod cores;
mod floor;
mod growth;
mod handler;
mod idle;
mod load;
mod report;
mod side;
mod stall;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use compare::{Course, Refused};
use handler::Build;
use report::{HEAD, Idle, Row};
use side::{APART, Kind};
use workload::Workload;

#[derive(Parser)]
struct Arguments {
    /// What cargo adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum What {
    /// The handler's cost with ever more subscribers, and with ever larger meetings.
    Growth(growth::Options),
    /// The handler's cost with one core and with two.
    Cores,
    /// What nineteen subscribers notice when a twentieth stops reading.
    Stall(stall::Options),
    /// The forwarder that the handler is compared with; the bench starts it by itself.
    #[command(hide = true)]
    Floor,
    /// Publishers and subscribers; the bench starts them by itself.
    #[command(hide = true)]
    Load,
}

#[derive(clap::Args)]
struct Options {
    /// Workloads, such as `W1,H2`; all six if there are none.
    #[arg(long, value_delimiter = ',', global = true)]
    only: Vec<String>,
    /// Rounds of each.
    #[arg(long, default_value_t = 5, global = true)]
    rounds: usize,
    /// That are counted of each round; a multiple of 2 has as many key frames in each.
    #[arg(long, default_value_t = 4.0, global = true)]
    seconds: f64,
    /// Before them.
    #[arg(long, default_value_t = 1.5, global = true)]
    warm_up: f64,
    /// The media-handler program; the one built beside this bench if none is named.
    #[arg(long, global = true)]
    handler: Option<PathBuf>,
    /// Another one in the floor's place: before and after in one run.
    #[arg(long, global = true)]
    against: Option<PathBuf>,
    /// Configuration of the handler, such as `limits.telemetry_interval_ms=100`. More than one may be given.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, global = true)]
    set: Vec<(String, String)>,
    /// Configuration of the handler in the floor's place.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, global = true)]
    against_set: Vec<(String, String)>,
    /// Idle subscribers whose memory is measured; 0: none.
    #[arg(long, default_value_t = 400, global = true)]
    idle: usize,
    /// Where the figures go as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a setting is key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Options {
    fn course(&self) -> Course {
        let program = self.handler.clone().unwrap_or_else(side::built_handler);
        let handler = Kind::Handler(Build { program, settings: self.set.clone() });
        let base = match &self.against {
            Some(program) => Kind::Handler(Build { program: program.clone(), settings: self.against_set.clone() }),
            None => Kind::Floor,
        };
        let (rounds, warm_up, seconds) = (self.rounds, self.warm_up, self.seconds);
        Course { rounds, warm_up, seconds, base, base_cores: APART, handler, handler_cores: APART }
    }
}

fn main() -> ExitCode {
    let Arguments { what, options, .. } = Arguments::parse();
    match what {
        Some(What::Floor) => {
            floor::run();
            return ExitCode::SUCCESS;
        }
        Some(What::Load) => {
            load::run();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    benches::child::pin_self(APART.load);
    common::tls::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match what {
            Some(What::Growth(growth)) => growth::run(&options.course(), &growth).await,
            Some(What::Cores) => cores::run(&options).await,
            Some(What::Stall(stall)) => stall::run(&options.course(), &stall).await,
            _ => judge(&options).await,
        }
    })
}

/// The workloads one after the other.
async fn judge(options: &Options) -> ExitCode {
    let course = options.course();
    let idle = match options.idle {
        0 => Idle { base: f64::NAN, handler: f64::NAN },
        subscribers => idle::measure(&course, subscribers).await,
    };
    let names = if options.only.is_empty() { Workload::NAMES.map(str::to_owned).to_vec() } else { options.only.clone() };
    let mut rows = Vec::new();
    let mut is_refused = false;
    for name in &names {
        let workload = Workload::named(name).unwrap_or_else(|| panic!("{name} is none of {}", Workload::NAMES.join(", ")));
        eprintln!("{name}: {} members, {:.0} records a second", workload.members.len(), workload.records_per_second());
        match compare::compare(&workload, &course).await {
            Ok(pairs) => rows.push(Row::of(name, &pairs, idle)),
            Err(Refused(reason)) => {
                is_refused = true;
                println!("bench-media {name} refused: {reason}");
            }
        }
    }
    println!("\n{HEAD}");
    for row in &rows {
        println!("{}", row.text());
    }
    println!("idle subscriber: handler {:.0} kB, floor {:.0} kB\n", idle.handler, idle.base);
    for row in &rows {
        println!("{}", row.line());
    }
    if let Some(path) = &options.json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        std::fs::write(path, serde_json::json!(rows).to_string()).expect("the file for JSON can be written");
    }
    if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
