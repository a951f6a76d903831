//! Clients that share no code with the project's own: the contract alone is enough to take part.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use common_core::StreamId;
use e2e::api::Invitation;
use e2e::cluster::Dev;
use e2e::peer::{Peer, fresh_stream_id, join_request, kind_in_groups_of};
use e2e::process::{Process, python};
use e2e::session::Stack;
use e2e::wire::Record;
use e2e::within;
use proto::v1::{JoinRequest, StreamType, server_message};
use serde_json::{Value, json};
use tokio::process::Command;

/// Two clients, a few hundred records and a Python start, many times over.
const PATIENCE: Duration = Duration::from_secs(40);
/// Payloads of every kind of size: none, less than a header, a few packets, a key frame that fills many.
const PAYLOAD_BYTES: [usize; 5] = [0, 1, 45, 5_000, 70_000];
const GROUP: u64 = 25;

fn clip(stream_id: StreamId, records: u64) -> Vec<Record> {
    let size = |sequence: u64| PAYLOAD_BYTES[usize::try_from(sequence).expect("few records") % PAYLOAD_BYTES.len()];
    (0..records).map(|n| Record::numbered(kind_in_groups_of(GROUP, n), stream_id, n, size(n))).collect()
}

/// Takes records until as many are there as were sent; groups may overtake, so they are compared by sequence.
async fn receives(peer: &mut Peer, sent: &[Record]) -> anyhow::Result<()> {
    let mut arrived = BTreeMap::new();
    while arrived.len() < sent.len() {
        let record = peer.record().await.with_context(|| format!("after {} of {} records", arrived.len(), sent.len()))?;
        ensure!(arrived.insert(record.header.sequence, record).is_none(), "a record came twice");
    }
    for (expected, arrived) in sent.iter().zip(arrived.values()) {
        ensure!(expected.bytes == arrived.bytes, "record {} was changed under way", expected.header.sequence);
    }
    Ok(())
}

fn by_hand(invitation: &Invitation, name: &str) -> JoinRequest {
    JoinRequest { auto_subscribe: false, ..join_request(invitation, name) }
}

/// wtransport joins, publishes and subscribes; every record passes bit for bit, in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wtransport_takes_part() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let meeting = dev.api.create_meeting().await?.meeting_id;
    within(PATIENCE, "two stacks exchange records", async {
        let invitation = dev.api.invite(&meeting, "Ana").await?;
        let mut ana = Peer::join_with(Stack::Wtransport, &invitation, by_hand(&invitation, "Ana")).await?;
        let mut ben = Peer::join(Stack::WebTransportQuinn, &dev.api.invite(&meeting, "Ben").await?, "Ben").await?;
        let joined = ana.signaling.event(|body| match body {
            server_message::Body::ParticipantJoined(joined) => joined.participant,
            _ => None,
        });
        ensure!(joined.await?.participant_id == ben.participant_id.to_string(), "Ana hears of Ben");

        let from_ana = clip(fresh_stream_id(), 60);
        ana.publish(from_ana[0].header.stream_id, StreamType::VideoCamera).await?;
        let (sent, received) = tokio::join!(ana.send(&from_ana), receives(&mut ben, &from_ana));
        sent.and(received).context("from wtransport to web-transport-quinn")?;

        let from_ben = clip(fresh_stream_id(), 60);
        ben.publish(from_ben[0].header.stream_id, StreamType::VideoCamera).await?;
        ana.subscribe(from_ben[0].header.stream_id).await?;
        let (sent, received) = tokio::join!(ben.send(&from_ben), receives(&mut ana, &from_ben));
        sent.and(received).context("from web-transport-quinn to wtransport")?;
        ana.leave().await
    })
    .await
}

/// aioquic, in another language, does the same with records in pieces and reserved bits set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aioquic_takes_part() -> anyhow::Result<()> {
    const RECORDS: u64 = 100;
    let dev = Dev::start().await?;
    let meeting = dev.api.create_meeting().await?.meeting_id;
    let mut ben = Peer::join(Stack::WebTransportQuinn, &dev.api.invite(&meeting, "Ben").await?, "Ben").await?;
    let from_ben = clip(fresh_stream_id(), RECORDS);
    ben.publish(from_ben[0].header.stream_id, StreamType::VideoCamera).await?;

    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python()?);
    command.arg(manifest.join("python/stranger.py"));
    let mut stranger = Process::start(command, &dev.data_dir().join("stranger.log"))?;
    let invitation = dev.api.invite(&meeting, "Ana").await?;
    let wish = json!({
        "proto": manifest.join("../proto"),
        "meeting_controller_url": invitation.meeting_controller_url,
        "certificate_hashes": invitation.certificate_hashes,
        "meeting_id": meeting, "join_token": invitation.join_token, "name": "Ana",
        "publish": {"stream_id": fresh_stream_id().to_string(), "records": RECORDS, "group": GROUP, "payload_bytes": 2_500},
        "expect": RECORDS,
    });
    stranger.tell(&wish.to_string()).await?;
    let event = |line: &str, name: &str| serde_json::from_str(line).ok().filter(|value: &Value| value["event"] == name);
    stranger.line("its subscription", PATIENCE, |line| event(line, "subscribed")).await?;
    within(PATIENCE, "Ben sends", ben.send(&from_ben)).await?;

    let mut arrived = Vec::new();
    within(PATIENCE, "records of aioquic arrive", async {
        while arrived.len() < usize::try_from(RECORDS)? {
            arrived.push(ben.record().await?);
        }
        Ok(())
    })
    .await
    .with_context(|| stranger.last_words())?;
    arrived.sort_by_key(|record| record.header.sequence);
    let all = e2e::eventually("aioquic has every record of Ben's", PATIENCE, || async {
        let records: Vec<Vec<u8>> = bytes_of(&stranger.lines(), "record");
        if records.len() as u64 == RECORDS { Ok(records) } else { Err(format!("{} of {RECORDS}", records.len())) }
    });
    let mut at_aioquic = all.await.with_context(|| stranger.last_words())?;
    at_aioquic.sort_by_key(|bytes| bytes[26..34].to_vec());
    ensure!(at_aioquic == from_ben.iter().map(|record| record.bytes.clone()).collect::<Vec<_>>(), "a record to aioquic was changed");
    let sent = bytes_of(&stranger.lines(), "sent");
    ensure!(sent == arrived.iter().map(|record| record.bytes.clone()).collect::<Vec<_>>(), "a record from aioquic was changed");

    stranger.tell("").await?;
    stranger.line("that it has left", PATIENCE, |line| event(line, "done")).await?;
    let (status, _) = stranger.ended(PATIENCE).await?;
    ensure!(status.success(), "{status}; {}", stranger.last_words());
    Ok(())
}

/// The bytes of all events of that name, in their order.
fn bytes_of(lines: &[String], name: &str) -> Vec<Vec<u8>> {
    let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|event| event["event"] == name);
    events.filter_map(|event| unhex(event["bytes"].as_str()?)).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
