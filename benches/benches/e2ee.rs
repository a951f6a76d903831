//! End-to-end encryption: what sealing and opening a record costs a native client. The browser's figures come from
//! `npm run bench:e2ee` in `e2e/browser`.

use std::hint::black_box;

use client::e2ee::sframe::{Key, Suite};
use client::e2ee::{MeetingKeys, Secret, StreamOpener, chat};
use common_core::{FRAME_HEADER_BYTES, MeetingId, ParticipantId, StreamId};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// An Opus packet; a delta and a key frame of 1 Mb/s at 30 a second; a key frame of 3 Mb/s.
const PAYLOAD_BYTES: [usize; 4] = [150, 3_700, 30_000, 100_000];

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("e2ee");
    let key = Key::derive(Suite::Aes256GcmSha512, 0, &[7; 32]);
    let header = [3; FRAME_HEADER_BYTES];
    for bytes in PAYLOAD_BYTES {
        let plain = vec![0xa5; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::new("seal", bytes), &plain, |bencher, plain| {
            // The same counter again and again, which costs as much as any: nothing of it leaves the bench.
            bencher.iter(|| key.seal(black_box(1 << 20), &header, plain));
        });
        let sealed = key.seal(1 << 20, &header, &plain);
        group.bench_with_input(BenchmarkId::new("open", bytes), &sealed, |bencher, sealed| {
            bencher.iter(|| key.open(1 << 20, &header, black_box(sealed)).expect("it was sealed so"));
        });
    }
    group.finish();
}

/// Once per media stream that is watched, and once per chat message.
fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("e2ee");
    let keys = MeetingKeys::new(&Secret::generate(), MeetingId::from_bytes([1; 16]));
    group.bench_function("derive", |bencher| bencher.iter(|| StreamOpener::new(&keys, black_box(StreamId::from_bytes([2; 16])))));
    let me = ParticipantId::from_bytes([2; 16]);
    group.bench_function("chat", |bencher| bencher.iter(|| chat::seal(&keys, me, "1", black_box("Hello")).expect("it fits")));
    group.finish();
}

criterion_group!(benches, records, keys);
criterion_main!(benches);
