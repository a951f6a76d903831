//! `link`: a network path in user space between two loopback addresses, to try a cluster from afar.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use e2e::link::{Conditions, Link};

/// Forwards UDP and TCP from one address to another, with a delay each way.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Where to listen, UDP and TCP; port 0 means one that is free for both.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where to forward to.
    #[arg(long, value_name = "ADDRESS")]
    to: SocketAddr,
    /// One way, in milliseconds; a round trip is twice this.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay_ms: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let link = Link::bind(args.listen, args.to, Conditions::delayed(Duration::from_millis(args.delay_ms))).await?;
    writeln!(std::io::stdout(), "link: {} to {}, {} ms each way", link.address(), args.to, args.delay_ms)?;
    tokio::signal::ctrl_c().await?;
    let counters = link.counters();
    writeln!(std::io::stdout(), "link: {} datagrams, {} dropped by a full queue", counters.forwarded(), counters.dropped_by_queue())?;
    Ok(())
}
