//! What the global controller holds after a tenth of many requests, after half of them, and after all.

use benches::measure::resident_bytes;

use crate::child::{Call, Child};
use crate::load::{Connection, Protocol, Until, drive};
use crate::{CONNECTIONS, IN_FLIGHT};

#[derive(clap::Args)]
pub struct Options {
    /// Meetings that are asked for.
    #[arg(long, default_value_t = 1_000_000)]
    gets: u64,
    /// Joins.
    #[arg(long, default_value_t = 100_000)]
    joins: u64,
    /// Meetings that are made.
    #[arg(long, default_value_t = 100_000)]
    creates: u64,
}

pub async fn run(child: Child, options: Options) {
    for (call, count) in [(Call::Get, options.gets), (Call::Join, options.joins), (Call::Create, options.creates)] {
        measure(&child, call, count).await;
    }
    child.stop().await;
}

/// Half of the requests over each protocol.
async fn measure(child: &Child, call: Call, count: u64) {
    let requests = child.requests(call, false);
    let mut held = Vec::new();
    for share in [count / 10, count * 4 / 10, count / 2] {
        for protocol in Protocol::ALL {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(Connection::open(&child.target, protocol).await);
            }
            drive(&connections, &requests, IN_FLIGHT, Until::Count(share / 2)).await;
        }
        held.push(resident_bytes(child.pid) as f64 / 1e6);
    }
    println!(
        "bench-api memory {} requests={count} rss_mb_at_10_percent={:.1} rss_mb_at_50_percent={:.1} rss_mb_at_100_percent={:.1} growth={:.3}",
        call.name(),
        held[0],
        held[1],
        held[2],
        held[2] / held[0],
    );
}
