//! The UDP sockets of a port: one, or one for each worker, between which the kernel divides packets by connection id.
//!
//! In: an address and a number of workers. Out: bound sockets, in the workers' order. Never reads or writes one.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::EndpointError;
#[cfg(target_os = "linux")]
use super::program::program;
use super::steering::{Steering, WORKERS_MAX, Worker, WorkerConnectionIds};

/// What the kernel holds for a socket, each way: a key frame's burst to a hundred subscribers.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A port that stands.
#[derive(Debug)]
pub struct Port {
    /// As bound, its number told if it was any free one.
    pub address: SocketAddr,
    /// One for each worker, in order: the kernel knows them by their place.
    pub sockets: Vec<UdpSocket>,
    /// Whether the kernel divides packets by connection id.
    is_steered: bool,
}

impl Port {
    /// Binds `address` (port 0: any free one) for so many workers, 1 to [`WORKERS_MAX`]. Where the kernel does not divide packets by connection
    /// id it divides them by addresses, and a line in the log says so.
    pub fn bind(address: SocketAddr, workers: u16) -> Result<Self, EndpointError> {
        let mut port = Self::bind_unsteered(address, workers)?;
        if port.sockets.len() > 1 {
            port.is_steered = steer(&port);
        }
        Ok(port)
    }

    /// The same on a kernel that divides packets by addresses alone.
    pub fn bind_unsteered(address: SocketAddr, workers: u16) -> Result<Self, EndpointError> {
        let fail = |source| EndpointError::Bind { address, source };
        let first = open(address).and_then(|socket| bind(socket, address)).map_err(fail)?;
        let address = first.local_addr().map_err(fail)?;
        let mut sockets = vec![first];
        if workers > 1 {
            join(&mut sockets, address, workers.min(WORKERS_MAX)).map_err(fail)?;
        }
        Ok(Self { address, sockets, is_steered: false })
    }

    /// How packets find their workers.
    pub fn steering(&self) -> Steering {
        Steering { workers: u16::try_from(self.sockets.len()).unwrap_or(WORKERS_MAX), by_id: self.is_steered }
    }

    /// The QUIC configuration of each worker, in order. What a client may show to another worker than the one it has it from (tokens that
    /// prove an address, stateless resets) is good with all of them.
    pub fn endpoint_configs(&self) -> Vec<quinn::EndpointConfig> {
        let (shared, of) = (quinn::EndpointConfig::default(), self.steering().workers);
        if of == 1 {
            return vec![shared];
        }
        let config = |index| {
            let mut config = shared.clone();
            config.cid_generator(move || Box::new(WorkerConnectionIds(Worker { index, of })));
            config
        };
        (0..of).map(config).collect()
    }
}

/// Lets others share the port of the one socket in `sockets`, and adds those of the other workers.
#[cfg(target_os = "linux")]
fn join(sockets: &mut Vec<UdpSocket>, address: SocketAddr, workers: u16) -> io::Result<()> {
    // The first was bound alone, so nobody else had the port: two processes with one configuration do not share it unnoticed.
    share(&sockets[0])?;
    for _ in 1..workers {
        let socket = open(address)?;
        share(&socket)?;
        sockets.push(bind(socket, address)?);
    }
    Ok(())
}

/// Has the kernel divide packets by connection id. Whether it does.
#[cfg(target_os = "linux")]
fn steer(port: &Port) -> bool {
    let workers = port.steering().workers;
    let attached = super::attach::attach(&port.sockets[0], &program(workers));
    if let Err(error) = &attached {
        tracing::warn!(
            %error,
            workers,
            "the kernel cannot divide a port's packets by connection id and goes by addresses: workers hand over those of clients that move"
        );
    }
    attached.is_ok()
}

#[cfg(not(target_os = "linux"))]
fn steer(_: &Port) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn share(socket: &UdpSocket) -> io::Result<()> {
    socket2::SockRef::from(socket).set_reuse_port(true)
}

/// Where there is no such thing as a divided port.
#[cfg(not(target_os = "linux"))]
fn join(_: &mut Vec<UdpSocket>, _: SocketAddr, workers: u16) -> io::Result<()> {
    tracing::warn!(workers, "this system cannot divide a port's packets by connection id: one core serves them all");
    Ok(())
}

/// A UDP socket with large buffers; a kernel that clamps them is told of in the log.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    // The kernel reports twice what it grants to programs.
    let granted = socket.recv_buffer_size()?.min(socket.send_buffer_size()?) / 2;
    if granted < SOCKET_BUFFER_BYTES {
        tracing::warn!(
            granted,
            wanted = SOCKET_BUFFER_BYTES,
            "the kernel clamps UDP buffers; raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    Ok(socket.into())
}

fn bind(socket: UdpSocket, address: SocketAddr) -> io::Result<UdpSocket> {
    socket2::SockRef::from(&socket).bind(&address.into())?;
    Ok(socket)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv6Addr;
    use std::time::{Duration, Instant};

    use super::*;

    /// A packet on loopback is there at once, unless the machine has no time for it.
    const PATIENCE: Duration = Duration::from_secs(5);
    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn short(head: u16) -> Vec<u8> {
        [&[0x40][..], &head.to_be_bytes(), &[7; 30]].concat()
    }

    fn long(head: u16) -> Vec<u8> {
        [&[0xc0, 0, 0, 0, 1, 8][..], &head.to_be_bytes(), &[7; 30]].concat()
    }

    /// Sends `packet` from a socket of its own; which worker has it. No other may have anything.
    fn arrives_at(port: &Port, packet: &[u8]) -> usize {
        let sender = UdpSocket::bind((port.address.ip(), 0)).expect("a sender");
        sender.send_to(packet, port.address).expect("sent");
        let (mut buffer, mut holders) = ([0; 64], Vec::new());
        let deadline = Instant::now() + PATIENCE;
        while holders.is_empty() {
            assert!(Instant::now() < deadline, "{packet:x?} came to nobody");
            std::thread::yield_now();
            for (index, socket) in port.sockets.iter().enumerate() {
                socket.set_nonblocking(true).expect("a socket");
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    assert_eq!((&buffer[..length], from.port()), (packet, sender.local_addr().expect("bound").port()));
                    holders.push(index);
                }
            }
        }
        assert_eq!(holders.len(), 1, "{packet:x?} came to {holders:?}");
        holders[0]
    }

    #[test]
    fn packets_find_the_worker_whose_id_they_carry_from_whatever_address() {
        for (address, workers) in [(LOOPBACK, 2), (LOOPBACK, 5), (SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), 3)] {
            let port = Port::bind(address, workers).expect("a port");
            assert_eq!(port.sockets.len(), usize::from(workers));
            assert!(port.sockets.iter().all(|socket| socket.local_addr().expect("bound") == port.address));
            // Each time from another port: a hash of the addresses would miss some of them.
            for head in (0..u16::MAX).step_by(1999) {
                let worker = usize::from(head % workers);
                assert_eq!((arrives_at(&port, &short(head)), arrives_at(&port, &long(head))), (worker, worker), "{head} of {workers}");
            }
        }
    }

    /// What steering is for: by itself the kernel goes by the addresses, and who changes one lands elsewhere.
    #[test]
    fn without_steering_a_client_that_moves_comes_to_another_worker() {
        let port = Port::bind_unsteered(LOOPBACK, 2).expect("a port");
        let packet = short(4);
        let workers: BTreeSet<usize> = (0..64).map(|_| arrives_at(&port, &packet)).collect();
        assert_eq!(workers, BTreeSet::from([0, 1]), "each of 64 senders has a port of its own");
    }

    #[test]
    fn what_has_no_id_comes_to_the_first_worker() {
        let port = Port::bind(LOOPBACK, 4).expect("a port");
        for runt in [&[] as &[u8], &[0x40], &[0x40, 3], &[0xc0, 0, 0, 0, 1, 0], &[0xc0, 0, 0, 0, 1, 8, 3]] {
            assert_eq!(arrives_at(&port, runt), 0, "{runt:x?}");
        }
    }

    #[test]
    fn workers_give_out_ids_that_lead_to_themselves() {
        let port = Port::bind(LOOPBACK, 3).expect("a port");
        for index in 0..3 {
            let mut ids = WorkerConnectionIds(Worker { index, of: 3 });
            for _ in 0..20 {
                let id = quinn::ConnectionIdGenerator::generate_cid(&mut ids);
                assert_eq!(arrives_at(&port, &[&[0x40][..], &id, &[0; 20]].concat()), usize::from(index));
            }
        }
    }

    /// Also for a port that others of this user share: who starts the same thing twice is told.
    #[test]
    fn a_port_belongs_to_one_process() {
        for workers in [1, 2] {
            let port = Port::bind(LOOPBACK, workers).expect("a port");
            for again in [1, 2] {
                let error = Port::bind(port.address, again).expect_err("it is taken");
                assert!(error.to_string().contains(&port.address.to_string()), "{error}");
            }
            drop(port.sockets);
            Port::bind(port.address, workers).expect("it is free again");
        }
    }

    /// A worker that is gone takes nobody along: its place is kept while somebody keeps its socket.
    #[test]
    fn a_kept_socket_keeps_its_place() {
        let mut port = Port::bind(LOOPBACK, 3).expect("a port");
        let kept = port.sockets[0].try_clone().expect("a second handle");
        drop(std::mem::replace(&mut port.sockets[0], kept));
        for head in 0..12 {
            assert_eq!(arrives_at(&port, &short(head)), usize::from(head % 3));
        }
    }
}
