//! The wire by hand: messages behind a length and media records, over any bytes.
//!
//! The length and the records are cut here once more, apart from the servers' and the client's code: a mistake that those
//! share would show.

use anyhow::{Context, bail, ensure};
use common_core::StreamId;
use common_core::frame::{FRAME_HEADER_BYTES, FrameFlags, FrameHeader, FrameKind, PAYLOAD_BYTES_MAX};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The first byte of a media control stream.
pub const CONTROL_STREAM: u8 = 0x00;
/// Largest message that a server may send.
/// In every payload: what a process would print of one can be told.
const PAYLOAD: &str = "a payload that no log may show. ";
const SERVER_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Writes one message behind its length.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> anyhow::Result<()> {
    let body = message.encode_to_vec();
    let mut bytes = u32::try_from(body.len())?.to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    to.write_all(&bytes).await.context("a message could not be written")
}

/// Reads one message behind its length.
pub async fn receive<M: Message + Default>(from: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.context("no further message")?;
    let length = usize::try_from(u32::from_be_bytes(length))?;
    ensure!((1..=SERVER_MESSAGE_BYTES_MAX).contains(&length), "a message of {length} bytes is against the contract");
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.context("the stream ended inside a message")?;
    Ok(M::decode(body.as_slice())?)
}

/// A media record with its bytes as they are on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Decoded.
    pub header: FrameHeader,
    /// Header and payload.
    pub bytes: Vec<u8>,
}

impl Record {
    /// A whole frame in one record. The reserved bytes and bits are set: what comes in must go out.
    pub fn new(kind: FrameKind, stream_id: StreamId, sequence: u64, payload: &[u8]) -> Self {
        let header = FrameHeader {
            kind,
            stream_id,
            timestamp_us: common::clock::unix_micros(),
            sequence,
            payload_length: u32::try_from(payload.len()).expect("payloads of tests are small"),
            flags: FrameFlags::END_OF_FRAME.with(FrameFlags(0xA5A0)),
            reserved: [0xDA, 0x12, 0x34, 0x56, 0x78, 0x9A],
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(payload);
        Self { header, bytes }
    }

    /// The record at `sequence` of a media stream in which each payload tells its place.
    pub fn numbered(kind: FrameKind, stream_id: StreamId, sequence: u64, payload_bytes: usize) -> Self {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| canary::keep("media payload", PAYLOAD));
        let payload: Vec<u8> = sequence.to_be_bytes().into_iter().chain(PAYLOAD.bytes().cycle()).take(payload_bytes).collect();
        Self::new(kind, stream_id, sequence, &payload)
    }
}

/// Reads one record; `None` at a clean end between two.
pub async fn read_record(from: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Option<Record>> {
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    if from.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut bytes[1..]).await.context("the stream ended inside a header")?;
    let header = match FrameHeader::decode(&bytes, PAYLOAD_BYTES_MAX) {
        Ok(header) => header,
        Err(error) => bail!("not a record: {error}"),
    };
    bytes.resize(FRAME_HEADER_BYTES + usize::try_from(header.payload_length)?, 0);
    from.read_exact(&mut bytes[FRAME_HEADER_BYTES..]).await.context("the stream ended inside a payload")?;
    Ok(Some(Record { header, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn records_are_read_as_they_were_written() {
        let stream_id = StreamId::from_bytes([7; 16]);
        let (first, second) =
            (Record::numbered(FrameKind::VideoKey, stream_id, 0, 100), Record::numbered(FrameKind::VideoDelta, stream_id, 1, 0));
        let wire = [first.bytes.clone(), second.bytes.clone()].concat();
        let mut from = wire.as_slice();
        assert_eq!(read_record(&mut from).await.expect("a record"), Some(first));
        assert_eq!(read_record(&mut from).await.expect("a record"), Some(second));
        assert_eq!(read_record(&mut from).await.expect("a clean end"), None);
        assert!(read_record(&mut &wire[..60]).await.is_err());
    }
}
