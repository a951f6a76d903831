//! The gate before a door that strangers come to: who is let in to begin a handshake, and what each may hold.
//!
//! In: arrivals by address. Out: tickets, held while a connection lives; refusals, each counted. One gate may stand before several
//! doors (WebTransport and WebSocket of a controller), so that an address has one share of both.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common_core::gate::{Gate, GateLimits, Refusal, Verdict};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::millis;
use crate::shares::caller_address;

/// What the kernel holds of a TCP connection, each way, and would let grow to megabytes: 20 Mb/s at 100 ms.
const SOCKET_BUFFER_BYTES: usize = 256 * 1024;
/// A handshake older than this gives way when there is no room: over a slow path one takes two round trips and half a second.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(1);

/// What strangers may cost before they are known: the `[limits.door]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorConfig {
    /// Handshakes under way at once, the request to open a session included.
    pub handshakes: usize,
    /// Of these, from one address (IPv6: a /64).
    pub handshakes_per_address: usize,
    /// With so many under way, addresses must prove themselves first (Retry, RFC 9000 section 8.1.2).
    pub retry_from: usize,
    /// The same with more arrivals than this in a second.
    pub retry_from_per_second: u32,
    /// Connections of one address, joined or not.
    pub connections_per_address: usize,
    /// New connections of one address in a second; two seconds' worth may come at once.
    pub handshakes_per_address_per_second: u32,
    /// From the first packet to the request to open a session.
    #[serde(rename = "handshake_timeout_ms", deserialize_with = "millis::deserialize")]
    pub handshake_timeout: Duration,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            // A handshake under way is about 50 kB and a signature: 25 MB.
            handshakes: 512,
            // A quarter: one address cannot keep the others out.
            handshakes_per_address: 128,
            // Below it a round trip is saved; a forged address cannot hold more than this.
            retry_from: 128,
            // More than a large meeting brings in the second in which it begins.
            retry_from_per_second: 250,
            // A company behind one address; a tenth of a controller's sessions.
            connections_per_address: 1024,
            // Such a company, when the clock strikes: two hundred at once and a hundred more each second.
            handshakes_per_address_per_second: 100,
            // Two round trips, and a slow machine.
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

/// See the module. Clones stand for the same gate.
#[derive(Clone)]
pub struct DoorKeeper(Arc<Inner>);

struct Inner {
    clock: Clock,
    config: DoorConfig,
    state: Mutex<State>,
}

struct State {
    gate: Gate<IpAddr>,
    /// How to break off each handshake that is under way.
    breaks: HashMap<u64, CancellationToken>,
}

/// What becomes of somebody who has come.
pub enum Arrival {
    /// Let in.
    Admitted(Ticket),
    /// It has to prove its address first.
    MustProve,
    /// Turned away, and counted.
    Refused(Refusal),
}

/// The right to be connected, given back when it is dropped.
pub struct Ticket {
    keeper: DoorKeeper,
    number: u64,
    address: IpAddr,
    door: &'static str,
    stands: AtomicBool,
    broken_off: CancellationToken,
}

impl DoorKeeper {
    /// A gate that nobody has come to.
    pub fn new(config: DoorConfig) -> Self {
        let limits = GateLimits {
            handshakes: config.handshakes,
            handshakes_per_address: config.handshakes_per_address,
            prove_from: config.retry_from,
            prove_from_per_second: config.retry_from_per_second,
            connections_per_address: config.connections_per_address,
            handshakes_per_address_per_second: config.handshakes_per_address_per_second,
            gives_way_after: GIVES_WAY_AFTER,
        };
        let state = State { gate: Gate::new(limits), breaks: HashMap::new() };
        Self(Arc::new(Inner { clock: Clock::start(), config, state: Mutex::new(state) }))
    }

    /// What was configured.
    pub fn config(&self) -> &DoorConfig {
        &self.0.config
    }

    /// Somebody arrives at `door`. `is_proven`: packets to the address are known to reach it, as they are with TCP.
    pub fn arrive(&self, door: &'static str, remote: SocketAddr, is_proven: bool) -> Arrival {
        let address = caller_address(remote.ip());
        let mut state = self.state();
        match state.gate.arrive(self.0.clock.now(), address, is_proven) {
            Verdict::Admit { number, gives_way } => {
                if let Some(broken_off) = gives_way.and_then(|number| state.breaks.remove(&number)) {
                    broken_off.cancel();
                }
                let broken_off = CancellationToken::new();
                state.breaks.insert(number, broken_off.clone());
                Arrival::Admitted(Ticket { keeper: self.clone(), number, address, door, stands: AtomicBool::new(false), broken_off })
            }
            Verdict::Prove => Arrival::MustProve,
            Verdict::Refuse(refusal) => {
                count_refusal(door, refusal.name());
                Arrival::Refused(refusal)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked, so what is found is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The handshake is done: a session stands.
    pub fn stands(&self) {
        if !self.stands.swap(true, Ordering::Relaxed) {
            let mut state = self.keeper.state();
            state.gate.stands(self.number);
            state.breaks.remove(&self.number);
            metrics::gauge!("dark_tower_sessions", "door" => self.door).increment(1.0);
        }
    }

    /// Resolves when the handshake has to give way to others. Cancel-safe.
    pub async fn broken_off(&self) {
        self.broken_off.cancelled().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.keeper.state();
        state.gate.left(self.keeper.0.clock.now(), self.number, self.address);
        state.breaks.remove(&self.number);
        if *self.stands.get_mut() {
            metrics::gauge!("dark_tower_sessions", "door" => self.door).decrement(1.0);
        }
    }
}

/// Bounds what the kernel holds of a stranger's TCP connection.
pub fn bound_buffers(socket: &tokio::net::TcpStream) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)
}

/// Counts somebody turned away, or something refused, at a door (`wt`, `ws`, `media`, `grpc`, `http`, `admin`) for a reason of a
/// closed set of words: `dark_tower_refused_total`.
pub fn count_refusal(door: &'static str, reason: &'static str) {
    metrics::counter!("dark_tower_refused_total", "door" => door, "reason" => reason).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(arrival: Arrival) -> Ticket {
        match arrival {
            Arrival::Admitted(ticket) => ticket,
            Arrival::MustProve => panic!("has to prove its address"),
            Arrival::Refused(refusal) => panic!("turned away: {refusal:?}"),
        }
    }

    #[test]
    fn places_come_back_however_a_ticket_ends() {
        let keeper = DoorKeeper::new(DoorConfig { connections_per_address: 2, handshakes_per_address: 1, ..DoorConfig::default() });
        let remote = "192.0.2.7:1000".parse().expect("an address");
        let first = ticket(keeper.arrive("wt", remote, true));
        assert!(matches!(keeper.arrive("ws", remote, true), Arrival::Refused(Refusal::AddressHandshakes)));
        first.stands();
        let second = ticket(keeper.arrive("ws", remote, true));
        second.stands();
        assert!(matches!(keeper.arrive("wt", remote, true), Arrival::Refused(Refusal::AddressConnections)));
        drop(first);
        drop(ticket(keeper.arrive("wt", remote, true)));
        let _third = ticket(keeper.arrive("wt", remote, true));
        assert_eq!(keeper.state().breaks.len(), 1);
    }
}
