//! The frame codec: what each record costs a handler before anything is decided about it.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::frame_reader::FrameReader;
use common_core::{FrameFlags, FrameHeader, FrameKind, StreamId};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A delta frame of 1 Mb/s at 30 frames a second.
const PAYLOAD_BYTES: u32 = 3_700;
/// About a megabyte of records.
const RECORDS: u64 = 280;
/// How much QUIC hands over at a time: a datagram's worth, a few, and a full window.
const READ_BYTES: [usize; 3] = [1_200, 16 * 1024, 256 * 1024];

fn header(sequence: u64) -> FrameHeader {
    FrameHeader {
        kind: FrameKind::VideoDelta,
        stream_id: StreamId::from_bytes([7; 16]),
        timestamp_us: 1_705_406_400_000_000 + sequence * 33_333,
        sequence,
        payload_length: PAYLOAD_BYTES,
        flags: FrameFlags::END_OF_FRAME,
        reserved: [0; 6],
    }
}

fn wire() -> Bytes {
    let payload = vec![0xa5; PAYLOAD_BYTES as usize];
    let mut wire = BytesMut::new();
    for sequence in 0..RECORDS {
        wire.extend_from_slice(&header(sequence).encode());
        wire.extend_from_slice(&payload);
    }
    wire.freeze()
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let (decoded, encoded) = (header(42), header(42).encode());
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(&decoded).encode()));
    group.bench_function("decode", |bencher| bencher.iter(|| FrameHeader::decode(black_box(&encoded), PAYLOAD_BYTES_MAX)));
    group.finish();
}

fn reader(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let wire = wire();
    group.throughput(Throughput::Bytes(wire.len() as u64));
    for read_bytes in READ_BYTES {
        group.bench_with_input(BenchmarkId::new("frame_reader", read_bytes), &read_bytes, |bencher, read_bytes| {
            bencher.iter(|| events(&wire, *read_bytes));
        });
    }
    group.bench_function("walk", |bencher| bencher.iter(|| black_box(&wire).iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte))));
    group.finish();
}

/// How many events `wire` makes when it is read in pieces, as a handler reads it: shared, not copied.
fn events(wire: &Bytes, read_bytes: usize) -> usize {
    let (mut reader, mut rest, mut events) = (FrameReader::new(PAYLOAD_BYTES_MAX), wire.clone(), 0);
    while !rest.is_empty() {
        reader.push(rest.split_to(read_bytes.min(rest.len())));
        while let Some(event) = reader.next_event().expect("the records are ours") {
            black_box(event);
            events += 1;
        }
    }
    events
}

criterion_group!(benches, headers, reader);
criterion_main!(benches);
