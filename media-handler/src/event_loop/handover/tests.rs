//! Merged packets of several connections, as a network card leaves them, and those that really come that way.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use std::time::Duration;

use quinn::AsyncUdpSocket;
use quinn::udp::{BATCH_SIZE, Transmit, UdpSocketState};

use super::super::EventLoop;
use super::super::socket::Socket;
use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Of the packets here; what a worker reads into holds a few.
const PACKET_BYTES: usize = 100;
const BUFFER_BYTES: usize = 16 * PACKET_BYTES;
/// Packets on loopback are there at once, unless the machine has no time for them.
const PATIENCE: Duration = Duration::from_secs(20);

/// A packet with a short header for the id that begins with `head`.
fn short(head: u16, number: u8) -> Vec<u8> {
    let mut packet = vec![number; PACKET_BYTES];
    packet[0] = 0x40;
    packet[1..3].copy_from_slice(&head.to_be_bytes());
    packet
}

/// The same with a long one.
fn long(head: u16, number: u8) -> Vec<u8> {
    let mut packet = vec![number; PACKET_BYTES];
    packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
    packet[6..8].copy_from_slice(&head.to_be_bytes());
    packet
}

/// Packets, the last of which may be shorter, as the kernel merges them.
fn merged(packets: &[Vec<u8>]) -> (Vec<u8>, RecvMeta) {
    let stride = packets[0].len();
    let mut payload = packets.concat();
    let meta = RecvMeta { len: payload.len(), stride, addr: SocketAddr::from(([192, 0, 2, 7], 4433)), ..Default::default() };
    payload.resize(BUFFER_BYTES, 0);
    (payload, meta)
}

/// What lies in a buffer, packet by packet.
fn packets(buffer: &[u8], meta: &RecvMeta) -> Vec<Vec<u8>> {
    buffer[..meta.len].chunks(meta.stride.max(1)).map(<[u8]>::to_vec).collect()
}

/// Has `of` look at `read`; what it keeps.
fn keeps(of: &Handover, read: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut payload, meta) = merged(read);
    let mut metas = [meta];
    of.hand_over(&mut [IoSliceMut::new(&mut payload)], &mut metas);
    packets(&payload, &metas[0])
}

/// What lies in the inbox of `of`, by datagram.
fn fetched(of: &Handover) -> Vec<Vec<Vec<u8>>> {
    let mut memory = vec![vec![0; BUFFER_BYTES]; BATCH_SIZE];
    let mut metas = vec![RecvMeta::default(); BATCH_SIZE];
    let count = {
        let mut buffers: Vec<IoSliceMut<'_>> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        of.fetch(&mut buffers, &mut metas)
    };
    assert!(metas[..count].iter().all(|meta| meta.addr.port() == 4433), "whose they are goes with them");
    memory.iter().zip(&metas[..count]).map(|(buffer, meta)| packets(buffer, meta)).collect()
}

fn places(workers: u16) -> Vec<Handover> {
    Handover::among(&Port::bind(LOOPBACK, workers).expect("a port"))
}

/// Two connections of one address, and a third worker's, in one read: each gets its own, in order, and the short last one stays last.
#[test]
fn a_merged_datagram_is_divided_among_those_it_is_for() {
    let places = places(3);
    let last = short(3, 6)[..40].to_vec();
    let read = [short(0, 0), short(1, 1), short(4, 2), short(3, 3), long(1, 4), long(2, 5), last.clone()];
    assert_eq!(keeps(&places[0], &read), [short(0, 0), short(3, 3), last]);
    assert_eq!(fetched(&places[1]), [vec![short(1, 1), short(4, 2)], vec![long(1, 4)]]);
    assert_eq!(fetched(&places[2]), [[long(2, 5)]]);
    assert_eq!((places[1].totals(), places[2].totals(), places[0].totals()), ((3, 0), (1, 0), (0, 0)));
    assert!(places.iter().all(|place| fetched(place).is_empty()), "once");
}

#[test]
fn what_is_ones_own_or_nobodys_stays() {
    let places = places(2);
    for read in [vec![short(2, 1); 4], vec![long(6, 1)], vec![vec![0x40, 0]], vec![vec![0xc3]], vec![vec![]]] {
        let expected = read.clone();
        assert_eq!(keeps(&places[0], &read).concat(), expected.concat());
    }
    assert!(fetched(&places[1]).is_empty());
    let alone = &self::places(1)[0];
    assert_eq!(keeps(alone, &[short(1, 1), short(2, 2)]).len(), 2, "there is nobody else");
}

/// Where the kernel goes by addresses, whoever a client comes to answers it; ids that were given out lead to who gave them.
#[test]
fn without_steering_newcomers_stay_where_they_came() {
    let places = Handover::among(&Port::bind_unsteered(LOOPBACK, 2).expect("a port"));
    assert_eq!(keeps(&places[0], &[long(1, 1), short(1, 2)]), [long(1, 1)]);
    assert_eq!(fetched(&places[1]), [[short(1, 2)]]);
}

/// A worker that does not come for them costs a bounded amount of memory, and gets the rest when it does.
#[test]
fn an_inbox_is_bounded() {
    let places = places(2);
    let sent = 2 * INBOX_BYTES_MAX / PACKET_BYTES;
    for _ in 0..sent {
        assert!(keeps(&places[0], &[short(1, 1)]).is_empty());
    }
    let held = places[1].own().lock().bytes;
    assert!(held <= INBOX_BYTES_MAX && held > INBOX_BYTES_MAX - 1000, "{held}");
    let (passed, dropped) = places[1].totals();
    assert_eq!(passed + dropped, sent as u64);
    let mut came = 0;
    while let count @ 1.. = fetched(&places[1]).len() {
        came += count as u64;
    }
    assert_eq!((came, places[1].own().lock().bytes), (passed, 0));
    keeps(&places[0], &[short(1, 1)]);
    assert_eq!(fetched(&places[1]).len(), 1, "there is room again");
}

/// Counts its wakes.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Once for all that it has not fetched yet; also the successor of a worker that panicked.
#[test]
fn who_something_is_left_for_is_woken() {
    let places = places(2);
    for bell in [Arc::new(Bell::default()), Arc::new(Bell::default())] {
        places[1].wakes(&bell.clone().into());
        for number in 0..3 {
            keeps(&places[0], &[short(1, number)]);
        }
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        assert_eq!(fetched(&places[1]).len(), 3);
        keeps(&places[0], &[short(1, 3)]);
        assert_eq!(bell.0.load(Ordering::Relaxed), 2);
        assert_eq!(fetched(&places[1]).len(), 1);
    }
}

/// Packets of two connections that the kernel brings to one worker in one read, as a network card's merging has it: here the sender
/// gives them to the kernel as one.
#[tokio::test]
async fn packets_that_come_merged_reach_both_workers() {
    let port = Port::bind(LOOPBACK, 2).expect("a port");
    let (address, places) = (port.address, Handover::among(&port));
    let mut workers = Vec::new();
    for (udp, place) in port.sockets.into_iter().zip(&places) {
        let events = EventLoop::new(place.clone());
        workers.push(Socket::new(udp, events.0.clone()).expect("a socket"));
    }
    let sender = UdpSocket::bind(LOOPBACK).expect("a sender");
    let state = UdpSocketState::new((&sender).into()).expect("its state");
    let sent = [short(0, 0), short(1, 1), short(1, 2), short(2, 3)];
    // Where the kernel merges nothing there is nothing to divide, and they come all the same.
    for packets in sent.chunks(state.max_gso_segments().min(sent.len())) {
        let contents = packets.concat();
        let transmit = Transmit { destination: address, ecn: None, contents: &contents, segment_size: Some(PACKET_BYTES), src_ip: None };
        state.send((&sender).into(), &transmit).expect("sent");
    }
    let came = async {
        let mut came = [Vec::new(), Vec::new()];
        while came.iter().map(Vec::len).sum::<usize>() < sent.len() {
            let (worker, packets) = read_any(&workers).await;
            came[worker].extend(packets);
        }
        came
    };
    let came = tokio::time::timeout(PATIENCE, came).await.expect("all of them come");
    assert_eq!(came, [vec![short(0, 0), short(2, 3)], vec![short(1, 1), short(1, 2)]]);
}

/// The next packets that come to any of `workers`, and to which.
async fn read_any(workers: &[Socket]) -> (usize, Vec<Vec<u8>>) {
    let mut memory = vec![vec![0; 64 * 1024]; BATCH_SIZE];
    let mut metas = vec![RecvMeta::default(); BATCH_SIZE];
    let mut buffers: Vec<IoSliceMut<'_>> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
    let (worker, count) = poll_fn(|context| {
        for (index, worker) in workers.iter().enumerate() {
            if let std::task::Poll::Ready(count) = worker.poll_recv(context, &mut buffers, &mut metas) {
                return std::task::Poll::Ready((index, count.expect("the socket stands")));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    let of = |(buffer, meta): (&IoSliceMut<'_>, &RecvMeta)| packets(buffer, meta);
    (worker, buffers.iter().zip(&metas[..count]).flat_map(of).collect())
}
