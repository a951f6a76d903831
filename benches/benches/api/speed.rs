//! Requests per CPU second, ours and the bare handler's in turn; and what becomes of a create's time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use benches::measure::Rounds;

use crate::child::{Call, Child};
use crate::load::{Connection, Protocol, Until, drive};
use crate::measure::Cpu;
use crate::{CONNECTIONS, IN_FLIGHT};

/// Not measured, at the beginning of each kind.
const WARM_UP: Duration = Duration::from_millis(500);
/// Meetings that are kept without HTTP for comparison.
const ALONE: u64 = 2000;

#[derive(clap::Args)]
pub struct Options {
    /// These kinds alone; given once for each.
    #[arg(long)]
    only: Vec<Call>,
    /// This protocol alone.
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Turns of each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a turn.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
}

/// One turn.
struct Turn {
    requests: f64,
    seconds: f64,
    cpu: Cpu,
}

impl Turn {
    fn per_cpu_second(&self) -> f64 {
        self.requests / self.cpu.total
    }
}

/// What one kind came to.
struct Measured {
    name: String,
    ratio: Rounds,
    bare: Rounds,
    ours: Rounds,
    per_second: Rounds,
    sql_share: Rounds,
    busy: Rounds,
    calls: BTreeMap<String, f64>,
    requests: f64,
}

pub async fn run(mut child: Child, options: Options) {
    let calls: Vec<Call> = Call::ALL.into_iter().filter(|call| options.only.is_empty() || options.only.contains(call)).collect();
    let mut measured = Vec::new();
    for &call in &calls {
        for protocol in Protocol::ALL.into_iter().filter(|protocol| options.protocol.is_none_or(|only| only == *protocol)) {
            measured.push(measure(&mut child, call, protocol, &options).await);
        }
    }
    let alone = match calls.contains(&Call::Create) {
        true => Some(create_alone(&mut child).await),
        false => None,
    };
    child.stop().await;
    report(&measured, alone.as_ref());
}

async fn measure(child: &mut Child, call: Call, protocol: Protocol, options: &Options) -> Measured {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(&child.target, protocol).await);
    }
    let (bare, ours) = (child.requests(call, true), child.requests(call, false));
    for requests in [&bare, &ours] {
        drive(&connections, requests, IN_FLIGHT, Until::Elapsed(WARM_UP)).await;
    }
    let mut measured = Measured {
        name: format!("{} {}", call.name(), protocol.name()),
        ratio: Rounds::default(),
        bare: Rounds::default(),
        ours: Rounds::default(),
        per_second: Rounds::default(),
        sql_share: Rounds::default(),
        busy: Rounds::default(),
        calls: BTreeMap::new(),
        requests: 0.0,
    };
    let before = child.ask(json!({"do": "store calls"})).await;
    let length = Duration::from_secs_f64(options.seconds);
    for _ in 0..options.rounds {
        let mut turns = Vec::new();
        for requests in [&bare, &ours] {
            let (cpu, started) = (Cpu::of(child.pid), Instant::now());
            let answered = drive(&connections, requests, IN_FLIGHT, Until::Elapsed(length)).await;
            let seconds = started.elapsed().as_secs_f64();
            turns.push(Turn { requests: answered as f64, seconds, cpu: Cpu::of(child.pid).since(cpu) });
        }
        let (bare, ours) = (&turns[0], &turns[1]);
        measured.ratio.push(ours.per_cpu_second() / bare.per_cpu_second());
        measured.bare.push(bare.per_cpu_second());
        measured.ours.push(ours.per_cpu_second());
        measured.per_second.push(ours.requests / ours.seconds);
        measured.sql_share.push(ours.cpu.sql / ours.cpu.total);
        measured.busy.push(ours.cpu.total / ours.seconds);
        measured.requests += ours.requests;
    }
    let after = child.ask(json!({"do": "store calls"})).await;
    for (operation, told) in after.as_object().expect("an object") {
        let count = |told: &serde_json::Value| told[0].as_f64().unwrap_or_default();
        measured.calls.insert(operation.clone(), (count(told) - count(&before[operation.as_str()])) / measured.requests);
    }
    // What the process does beside requests, such as asking whether the store is there, is far less than one in a hundred.
    measured.calls.retain(|_, per_request| *per_request >= 0.01);
    measured
}

/// Creates meetings without HTTP.
async fn create_alone(child: &mut Child) -> Turn {
    let cpu = Cpu::of(child.pid);
    let told = child.ask(json!({"do": "create", "count": ALONE})).await;
    let number = |name: &str| told[name].as_f64().expect("a number");
    Turn { requests: number("requests"), seconds: number("seconds"), cpu: Cpu::of(child.pid).since(cpu) }
}

fn report(measured: &[Measured], alone: Option<&Turn>) {
    println!("\nRequests per second of CPU time of the global controller (medians; least and greatest ratio of a round):\n");
    println!(
        "{:<15} {:>9} {:>9} {:>7} {:>13} {:>8} {:>9} {:>6} {:>9}  store calls per request",
        "", "bare", "ours", "ratio", "", "µs each", "µs SQL", "busy", "answers/s"
    );
    for kind in measured {
        let each = 1e6 / kind.ours.median();
        let calls: Vec<String> = kind.calls.iter().map(|(operation, calls)| format!("{operation} {calls:.2}")).collect();
        println!(
            "{:<15} {:>9.0} {:>9.0} {:>7.2} {:>13} {:>8.1} {:>9.1} {:>5.0}% {:>9.0}  {}",
            kind.name,
            kind.bare.median(),
            kind.ours.median(),
            kind.ratio.median(),
            format!("({:.2}–{:.2})", kind.ratio.min(), kind.ratio.max()),
            each,
            each * kind.sql_share.median(),
            kind.busy.median() * 100.0,
            kind.per_second.median(),
            calls.join(", "),
        );
    }
    if let Some(alone) = alone {
        let (each, per_second) = (1e6 * alone.cpu.total / alone.requests, alone.requests / alone.seconds);
        println!("{:<15} {:>43} {each:>11.1} {:>9.1} {:>6} {per_second:>9.0}  one transaction each", "store alone", "", each, "");
    }
    println!();
    for kind in measured {
        print!(
            "bench-api {} ratio={:.3} ratio_min={:.3} ratio_max={:.3} per_cpu_s={:.0} bare_per_cpu_s={:.0} per_s={:.0} sql_share={:.3}",
            kind.name,
            kind.ratio.median(),
            kind.ratio.min(),
            kind.ratio.max(),
            kind.ours.median(),
            kind.bare.median(),
            kind.per_second.median(),
            kind.sql_share.median(),
        );
        let calls: f64 = kind.calls.values().sum();
        print!(" store_calls={calls:.2}");
        match alone {
            Some(alone) if kind.name.starts_with("create") => {
                println!(" of_store={:.3}", kind.per_second.median() / (alone.requests / alone.seconds));
            }
            _ => println!(),
        }
    }
}
