//! What the others notice of a subscriber that stops reading: W1 with nineteen of them and one aside, in turn with one that reads on and with one
//! that does not. In: how long. Out: the others' latency beside both, the handler's growth, and when the one was closed.

use std::process::ExitCode;

use benches::measure::{Rounds, forget_peak, peak_bytes, resident_bytes};

use crate::compare::{Course, REST, Refused};
use crate::load::Outcome;
use crate::side::Side;
use crate::workload::Workload;

/// Those whose latency counts.
const OTHERS: usize = 19;
/// All read for so long: buffers and windows have been used before anything counts.
const CALM: f64 = 6.0;
/// R9 of the anchors: how much longer the others' p99 may get, and what the handler may grow by.
const P99_GROWTH_MAX: f64 = 1.10;
const GROWTH_BYTES_MAX: f64 = 16.0 * 1024.0 * 1024.0;
/// And when it is closed at the latest, seconds.
const CLOSED_MAX: f64 = 30.0;

#[derive(clap::Args)]
pub struct Options {
    /// How long the one does not read, in each round.
    #[arg(long, default_value_t = 60.0)]
    stall: f64,
}

/// One round: of the others, and of the handler meanwhile.
struct Measured {
    others: Outcome,
    growth_bytes: f64,
    closed_after: Option<f64>,
}

/// Measures rounds in turn, and prints a line for each pair and one for all.
pub async fn run(course: &Course, options: &Options) -> ExitCode {
    let mut pairs = Vec::new();
    // As many of one order as of the other.
    for number in 1..=course.rounds.next_multiple_of(2) {
        // Now the one first, now the other: the second of a pair has had the longer latencies on every machine so far.
        let order = [number % 2 == 0, number % 2 == 1];
        let mut pair = Vec::new();
        for stalls in order {
            match measure(course, options.stall, stalls).await {
                Ok(measured) => pair.push(measured),
                Err(Refused(reason)) => {
                    println!("bench-media-stall refused: {reason}");
                    return ExitCode::FAILURE;
                }
            }
        }
        if order[0] {
            pair.reverse();
        }
        let (stalled, calm) = (pair.remove(1), pair.remove(0));
        eprintln!(
            "  round {number}: p50 {:.2} ms, p99 {:.2} ms, longest {:.1} ms beside one that reads; {:.2}, {:.2}, {:.1} beside one that does not; \
             memory +{:.2} MiB and +{:.2} MiB; closed after {:?} s",
            calm.others.p50_ms,
            calm.others.p99_ms,
            calm.others.max_ms,
            stalled.others.p50_ms,
            stalled.others.p99_ms,
            stalled.others.max_ms,
            calm.growth_bytes / 1048576.0,
            stalled.growth_bytes / 1048576.0,
            stalled.closed_after,
        );
        pairs.push((calm, stalled));
    }
    let over = |part: fn(&(Measured, Measured)) -> f64| pairs.iter().map(part).collect::<Rounds>();
    let ratios: Vec<f64> = pairs.iter().map(|(calm, stalled)| stalled.others.p99_ms / calm.others.p99_ms).collect();
    // A mean of ratios, so that what the order does to two neighbours cancels out.
    let ratio = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / pairs.len() as f64).exp();
    let growth = over(|(_, stalled)| stalled.growth_bytes);
    let closed = over(|(_, stalled)| stalled.closed_after.unwrap_or(f64::INFINITY));
    println!(
        "bench-media-stall p99_ratio={:.2} p99_ratio_min={:.2} p99_ratio_max={:.2} calm_p99_ms={:.2} stalled_p99_ms={:.2} growth_mib={:.2} closed_s={:.1}",
        ratio,
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
        over(|(calm, _)| calm.others.p99_ms).median(),
        over(|(_, stalled)| stalled.others.p99_ms).median(),
        growth.max() / 1048576.0,
        closed.max(),
    );
    // A stall shorter than that is not closed.
    let is_closed = options.stall < CLOSED_MAX || closed.max() <= CLOSED_MAX;
    if ratio <= P99_GROWTH_MAX && growth.max() <= GROWTH_BYTES_MAX && is_closed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A handler of its own, nineteen that are counted and one aside, which reads on or stops.
async fn measure(course: &Course, seconds: f64, stalls: bool) -> Result<Measured, Refused> {
    let workload = Workload::broadcast_to(OTHERS);
    let mut side = Side::start(&course.handler, &workload, course.handler_cores).await;
    side.connect(&workload, &workload.members).await;
    let reads_for = if stalls { CALM } else { 2.0 * (CALM + seconds) };
    side.connect_aside(&workload, &workload.members[OTHERS], reads_for).await;
    tokio::time::sleep(REST).await;
    // All read. What this leaves of its seconds is less than a group.
    side.round(CALM / 2.0, CALM / 2.0 - REST.as_secs_f64()).await.map_err(Refused)?;
    let (pid, before) = (side.pid(), resident_bytes(side.pid()));
    forget_peak(pid);
    let others = side.round(0.0, seconds).await.map_err(Refused)?;
    let growth_bytes = peak_bytes(pid).saturating_sub(before) as f64;
    let closed_after = if stalls { side.aside_closed().await } else { None };
    side.stop().await;
    Ok(Measured { others, growth_bytes, closed_after })
}
