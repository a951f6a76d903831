//! `link`: a network path in user space between two loopback addresses, to try a cluster from afar.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use e2e::link::{Conditions, Link};
use tokio::sync::mpsc;

/// Read ahead of those that are obeyed.
const COMMANDS_MAX: usize = 16;

/// Forwards UDP and TCP from one address to another, with a delay each way.
///
/// Takes commands while it runs, one a line on standard input: `cut` lets nothing pass, `heal` lets it pass again, `delay MS` changes the delay, `up KBPS` what passes
/// toward the target (0: everything). Each
/// is answered by a line.
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
    /// What passes toward the target, in kb/s; everything if absent.
    #[arg(long, value_name = "KBPS")]
    up_kbps: Option<u64>,
    /// What passes back, in kb/s; everything if absent.
    #[arg(long, value_name = "KBPS")]
    down_kbps: Option<u64>,
}

/// What standard input may say.
enum Command {
    Cut,
    Heal,
    Delay(u64),
    Up(u64),
}

impl Command {
    fn parse(line: &str) -> Option<Self> {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["cut"] => Some(Self::Cut),
            ["heal"] => Some(Self::Heal),
            ["delay", milliseconds] => milliseconds.parse().ok().map(Self::Delay),
            ["up", kbps] => kbps.parse().ok().map(Self::Up),
            _ => None,
        }
    }

    fn obey(&self, link: &Link) -> String {
        match self {
            Self::Cut => {
                link.cut();
                "link: cut".to_owned()
            }
            Self::Heal => {
                link.heal();
                "link: healed".to_owned()
            }
            Self::Delay(milliseconds) => {
                link.delay(Duration::from_millis(*milliseconds));
                format!("link: {milliseconds} ms each way")
            }
            Self::Up(kbps) => {
                link.narrow_up((*kbps > 0).then(|| kbps.saturating_mul(1000)));
                format!("link: {kbps} kb/s up")
            }
        }
    }
}

/// The lines of standard input, until it ends. A read of it cannot be called off, so it has a thread, which ends with the process.
fn listen() -> mpsc::Receiver<String> {
    let (heard, commands) = mpsc::channel(COMMANDS_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if heard.blocking_send(line).is_err() {
                return;
            }
        }
    });
    commands
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bits = |kbps: Option<u64>| kbps.map(|kbps| kbps.saturating_mul(1000));
    let delayed = Conditions::delayed(Duration::from_millis(args.delay_ms));
    let conditions = Conditions { up: bits(args.up_kbps), down: bits(args.down_kbps), ..delayed };
    let link = Link::bind(args.listen, args.to, conditions).await?;
    let mut out = std::io::stdout();
    writeln!(out, "link: {} to {}, {} ms each way", link.address(), args.to, args.delay_ms)?;
    let mut commands = listen();
    loop {
        tokio::select! {
            // Without anybody to command it, it forwards on.
            Some(line) = commands.recv() => {
                let answer = Command::parse(&line).map_or_else(|| format!("link: neither cut, heal, delay MS nor up KBPS: {line:?}"), |it| it.obey(&link));
                writeln!(out, "{answer}")?;
            }
            interrupted = tokio::signal::ctrl_c() => break interrupted?,
        }
    }
    let counters = link.counters();
    writeln!(out, "link: {} datagrams, {} dropped by a full queue", counters.forwarded(), counters.dropped_by_queue())?;
    Ok(())
}
