//! Which of a port's workers a packet is for: it is in the connection ids that a worker gives out, where the kernel's program (`program.rs`) finds it.
//!
//! In: a worker, packets. Out: connection ids that name it, whose a packet is. Never reads a socket.
//!
//! A client that has none of our ids yet makes one up (RFC 9000 section 7.2), and so picks a worker by chance. From the answer on it uses the ids that
//! this worker gave, whatever its address: a client that moves stays where its session is, which the kernel's own choice, a hash of both
//! addresses and ports, would not see to.
//!
//! Not every packet comes to its worker by itself: a network card or the kernel merges packets from one address (UDP GRO), of several connections
//! too, and steers them by the first; and some kernels take no program. Then who reads a packet finds its worker with [`Steering::owner`].
//!
//! The worker is in the first two bytes, modulo the number of workers, and all eight are random otherwise. So ids tell an observer which connections
//! share a worker (as with the unencrypted ids of draft-ietf-quic-load-balancers), and not which are one connection.

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;

use crate::random;

/// At least as long as the ids that clients make up, which makes them as hard to guess.
const ID_BYTES: usize = 8;
/// Different first two bytes of an id.
const HEADS: u32 = 1 << 16;
/// More cores than this serve a meeting better as a second handler. The share of a worker among the ids that clients make up is even to 0.4 %.
pub const WORKERS_MAX: u16 = 256;

/// The bit of a packet's first byte that makes its header a long one (RFC 9000 section 17.2).
pub(super) const LONG_HEADER: u8 = 0x80;
/// Where the destination's id begins behind a long header: first byte, version, the id's length.
pub(super) const LONG_ID_AT: u8 = 1 + 4 + 1;
/// And behind a short one (section 17.3).
pub(super) const SHORT_ID_AT: u8 = 1;

/// How a port's packets find their workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// How many there are; 1 to [`WORKERS_MAX`].
    pub(super) workers: u16,
    /// Whether the kernel goes by connection ids, and not by addresses.
    pub(super) by_id: bool,
}

impl Steering {
    /// The worker whose packet this is, from 0; `None`: whoever has read it. A payload that is too short for an id is nobody's.
    ///
    /// Behind a long header may stand an id that the client made up. Where the kernel goes by ids, all packets with it are for the worker that they
    /// name; where it goes by addresses, they come to one worker anyway, which need not be that one: it answers, with ids of its own.
    pub fn owner(self, packet: &[u8]) -> Option<u16> {
        let at = match packet.first()? {
            first if first & LONG_HEADER == 0 => SHORT_ID_AT,
            _ if self.by_id => LONG_ID_AT,
            _ => return None,
        };
        let head = packet.get(usize::from(at)..)?.first_chunk()?;
        Some(u16::from_be_bytes(*head) % self.workers.max(1))
    }
}

/// One of a number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// From 0.
    pub index: u16,
    /// How many there are; 1 to [`WORKERS_MAX`].
    pub of: u16,
}

impl Worker {
    /// Whether packets with this connection id come to this worker.
    fn owns(self, id: &[u8]) -> bool {
        matches!(id, [high, low, ..] if u16::from_be_bytes([*high, *low]) % self.of == self.index)
    }
}

/// Makes the connection ids of one worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConnectionIds(pub Worker);

impl ConnectionIdGenerator for WorkerConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let Worker { index, of } = self.0;
        let (index, of) = (u32::from(index), u32::from(of));
        let mut id: [u8; ID_BYTES] = random::bytes();
        // One of those that leave `index`, all as likely.
        let of_this_worker = (HEADS - index).div_ceil(of);
        let chosen = (u32::from(u16::from_be_bytes([id[0], id[1]])) * of_this_worker) / HEADS;
        let head = u16::try_from(index + of * chosen).expect("it is below 2^16: `chosen` is below how many there are");
        id[..2].copy_from_slice(&head.to_be_bytes());
        ConnectionId::new(&id)
    }

    /// What another worker would get is none of ours: it is dropped without an answer.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        if self.0.owns(id) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_name_their_worker_and_nothing_else() {
        for of in [1, 2, 3, 7, 64, 255, 256] {
            for index in [0, of / 2, of - 1] {
                let worker = Worker { index, of };
                let mut ids = WorkerConnectionIds(worker);
                let made: Vec<ConnectionId> = (0..200).map(|_| ids.generate_cid()).collect();
                assert!(made.iter().all(|id| id.len() == ID_BYTES && worker.owns(id) && ids.validate(id).is_ok()), "{worker:?}");
                let others = Worker { index: (index + 1) % of, of };
                assert!(of == 1 || made.iter().all(|id| WorkerConnectionIds(others).validate(id).is_err()), "{others:?}");
                // 256 values at least are left for the first two bytes, of which 200 draws hit 139 on average.
                let heads: BTreeSet<_> = made.iter().map(|id| [id[0], id[1]]).collect();
                let tails: BTreeSet<_> = made.iter().map(|id| id[2..].to_vec()).collect();
                assert!(heads.len() > 100 && tails.len() == made.len(), "{worker:?}: {} heads, {} tails", heads.len(), tails.len());
            }
        }
        assert!(WorkerConnectionIds(Worker { index: 0, of: 2 }).validate(&ConnectionId::new(&[])).is_err());
    }

    #[test]
    fn made_up_ids_are_spread_evenly() {
        for workers in 2..=WORKERS_MAX {
            let share = |index: u16| (HEADS - u32::from(index)).div_ceil(workers.into());
            let (most, least) = (share(0), share(workers - 1));
            assert!(f64::from(most) / f64::from(least) < 1.004, "{workers}: {most} to {least}");
        }
    }
}
