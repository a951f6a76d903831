//! The floor: as little as a forwarder over quinn can be, with the media handler's own transport settings and none of its policy.
//!
//! In: records on unidirectional streams; on a bidirectional one the ids that a subscriber wants. Out: each record to each of them, whole, as
//! shared bytes in one write, on a stream for each group. It never drops by age, counts, or reports; it ends with its standard input.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use common::tls::{Certificate, LiveCertificate};
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, StreamId};
use media_handler::transport;
use serde_json::json;
use tokio::sync::mpsc;

/// What QUIC must agree on.
pub const ALPN: &[u8] = b"dark-tower-floor";
/// Records that wait for a subscriber: seconds of the busiest workload.
const QUEUE_MAX: usize = 4096;
/// Chunks read at a time, as in the handler.
const CHUNKS_MAX: usize = 32;
/// Ids that a subscriber may want at once.
const WISH_BYTES_MAX: usize = 16 * 4096;

/// What a subscriber is told about a group.
enum Item {
    Record { group: u64, is_audio: bool, record: Bytes },
    End { group: u64 },
}

#[derive(Default)]
struct Hub {
    subscribers: HashMap<StreamId, Vec<mpsc::Sender<Item>>>,
    groups: u64,
}

type Shared = Arc<Mutex<Hub>>;

fn lock(hub: &Shared) -> MutexGuard<'_, Hub> {
    hub.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until standard input ends.
pub fn run() {
    common::tls::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(|| {
        std::io::stdin().lines().for_each(drop);
        std::process::exit(0);
    });
    runtime.block_on(async {
        let certificate = Certificate::self_signed(&["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
        let der = STANDARD.encode(&certificate.chain[0]);
        let config = transport::server_config(&LiveCertificate::from(certificate), ALPN).expect("it serves");
        let endpoint = common::quic::server_endpoint(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), config).expect("a free port");
        println!("{}", json!({"address": endpoint.local_addr().expect("it is bound").to_string(), "certificate": der}));
        let hub = Shared::default();
        while let Some(incoming) = endpoint.accept().await {
            let hub = hub.clone();
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    serve(hub, connection).await;
                }
            });
        }
    });
}

async fn serve(hub: Shared, connection: quinn::Connection) {
    transport::grow(&connection);
    // What the handler's comes to on this path.
    connection.set_send_window(transport::SEND_WINDOW_BYTES_MAX);
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => drop(tokio::spawn(ingest(hub.clone(), stream))),
                Err(_) => return,
            },
            stream = connection.accept_bi() => match stream {
                Ok((answer, wish)) => drop(tokio::spawn(subscribe(hub.clone(), connection.clone(), answer, wish))),
                Err(_) => return,
            },
        }
    }
}

/// The ids end with the stream; so does the answer, once they are subscribed to.
async fn subscribe(hub: Shared, connection: quinn::Connection, mut answer: quinn::SendStream, mut wish: quinn::RecvStream) {
    let Ok(ids) = wish.read_to_end(WISH_BYTES_MAX).await else { return };
    let (queue, items) = mpsc::channel(QUEUE_MAX);
    for id in ids.as_chunks::<16>().0 {
        lock(&hub).subscribers.entry(StreamId::from_bytes(*id)).or_default().push(queue.clone());
    }
    drop(queue);
    // An error means that the connection is over.
    let _ = answer.finish();
    deliver(connection, items).await;
}

/// One group, from a publisher to all who are subscribed when it begins.
async fn ingest(hub: Shared, mut stream: quinn::RecvStream) {
    let group = {
        let mut hub = lock(&hub);
        hub.groups += 1;
        hub.groups
    };
    let mut subscribers: Option<Vec<mpsc::Sender<Item>>> = None;
    let mut chunks = vec![Bytes::new(); CHUNKS_MAX];
    let mut input = BytesMut::new();
    while let Ok(Some(count)) = stream.read_chunks(&mut chunks).await {
        for chunk in &mut chunks[..count] {
            input.extend_from_slice(&std::mem::take(chunk));
            while input.len() >= FRAME_HEADER_BYTES {
                let Ok(header) = FrameHeader::decode(&input, PAYLOAD_BYTES_MAX) else { return };
                let length = FRAME_HEADER_BYTES + header.payload_length as usize;
                if input.len() < length {
                    input.reserve(length - input.len());
                    break;
                }
                let record = input.split_to(length).freeze();
                let is_audio = header.kind == FrameKind::Audio;
                let all = subscribers.get_or_insert_with(|| lock(&hub).subscribers.get(&header.stream_id).cloned().unwrap_or_default());
                for subscriber in all {
                    // One that is full or gone misses it, and the load notices.
                    let _ = subscriber.try_send(Item::Record { group, is_audio, record: record.clone() });
                }
            }
        }
    }
    for subscriber in subscribers.unwrap_or_default() {
        let _ = subscriber.try_send(Item::End { group });
    }
}

/// Writes to one subscriber until its connection or all publishers are gone.
async fn deliver(connection: quinn::Connection, mut items: mpsc::Receiver<Item>) {
    let mut open: Vec<(u64, quinn::SendStream)> = Vec::new();
    while let Some(item) = items.recv().await {
        match item {
            Item::Record { group, is_audio, record } => {
                let index = match open.iter().position(|(known, _)| *known == group) {
                    Some(index) => index,
                    None => {
                        let Ok(stream) = connection.open_uni().await else { return };
                        // An error means that the stream is over: the write will tell.
                        let _ = stream.set_priority(i32::from(is_audio));
                        open.push((group, stream));
                        open.len() - 1
                    }
                };
                if open[index].1.write_chunk(record).await.is_err() {
                    open.swap_remove(index);
                }
            }
            Item::End { group } => {
                if let Some(index) = open.iter().position(|(known, _)| *known == group) {
                    // The same.
                    let _ = open.swap_remove(index).1.finish();
                }
            }
        }
    }
}
