//! Every bound and interval of the forwarding, with its reason. A shell may configure them; these are the defaults.

use std::time::Duration;

/// See each field; [`Default`] is what runs in production.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Participants registered at a time.
    pub participants_max: usize,
    /// Media streams' layers of all participants together.
    pub sources_max: usize,
    /// Subscriptions of all participants together.
    pub subscriptions_max: usize,
    /// Subscriptions one participant may have.
    pub subscriptions_per_participant_max: usize,
    /// Sessions that have said hello.
    pub sessions_max: usize,
    /// An unspent connection token is forgotten after this (DESIGN section 5).
    pub token_life: Duration,
    /// How long a removed participant is remembered, so that a registration that was under way, or comes from a controller that was frozen
    /// meanwhile, does not bring it back: longer than any call, and than a connection token lives.
    pub removed_memory: Duration,
    /// Unspent tokens one participant may have: a client that dials twice and a move, with one to spare.
    pub tokens_per_participant_max: usize,
    /// Media sessions one participant may hold while it moves (DESIGN section 5).
    pub sessions_per_participant_max: usize,
    /// Frame ids one ingress QUIC stream may carry: a simulcast picture with sound, doubled.
    pub ids_per_ingress_max: usize,
    /// Sound is cut into groups of this length (DESIGN section 5).
    pub audio_group: Duration,
    /// A group of sound ends after this much silence (DESIGN section 5; DTX sends every 400 ms).
    pub audio_silence: Duration,
    /// A joiner starts at the cached group while its key frame is no older; older groups leave the cache, since nobody
    /// can join there any more (DESIGN section 5 allows up to 10 s).
    pub join_key_age_max: Duration,
    /// A joiner starts at the cached group while it takes no more memory; bigger ones leave the cache (DESIGN allows up to 8 MiB).
    pub join_group_bytes_max: u64,
    /// Groups of one layer under way: as many as a subscription may have, and as many again that nobody reads.
    pub groups_per_source_max: usize,
    /// Payload that the records under way of one session may come to, in bytes: the largest record, and what the other media streams
    /// of its publisher send meanwhile. So records that are begun and never finished cost no more.
    pub under_way_bytes_max: u64,
    /// How long a joiner's first burst is exempt from its latency budget (DESIGN section 5).
    pub burst: Duration,
    /// Memory that what one subscriber lags behind may take, all its subscriptions together and whatever their latency budgets: it pins
    /// that much of the shared logs. The largest record fits; with QUIC's windows a subscriber that reads nothing costs under 6 MiB.
    pub lag_bytes_max: u64,
    /// What one subscriber is sent, in bits per second, with a burst of one second.
    pub egress_bitrate_max: u64,
    /// Groups one subscription may have under way: more than a second of intra-only pictures is late anyway.
    pub groups_per_subscription_max: usize,
    /// Group streams open to a subscriber (DESIGN section 5; Chromium allows about 100).
    pub group_streams_max: usize,
    /// Of these, kept for sound.
    pub group_streams_for_audio: usize,
    /// Between key-frame requests to a publisher for one layer; doubled at each repetition that brings none.
    pub key_frame_interval: Duration,
    /// The longest interval between repetitions: what a publisher sends by itself (DESIGN section 5).
    pub key_frame_interval_max: Duration,
    /// A layer of pictures that nobody takes is paused at its publisher after this (DESIGN section 5).
    pub pause_untaken_after: Duration,
    /// Between key frames wanted on behalf of one subscription that lost its group and whose subscriber takes bytes again; doubled at
    /// each one, so that a slow receiver, or one that comes and goes, does not cost the others a stream of key frames. Who returns from a
    /// stall wants the first one at once.
    pub lost_key_frame_interval: Duration,
    /// The longest such interval: a publisher sends key frames by itself four times as often.
    pub lost_key_frame_interval_max: Duration,
    /// A subscriber that took nothing for so long is stalled, and not merely slow: what a reset gives back to its QUIC is no sign that it
    /// reads again. Twice the usual latency budget.
    pub stall_sure: Duration,
    /// A subscriber that takes no byte while some are due is closed after this: within 30 s of its last byte read (DESIGN section 5), for
    /// its windows may take a group or two to fill.
    pub stall_max: Duration,
    /// Nothing due to a subscriber for so long: what it did not take before does not count against it any more. Publishers send a key
    /// frame at least every 4 s, so one that reads nothing is not spared by this.
    pub stall_rest: Duration,
    /// A reset gives a subscriber's QUIC room for as much as it had of the group, although nobody reads. A subscriber that is blocked so
    /// long after a reset has used that room up. Longer than a round trip; shorter than between two resets on a path that is merely slow.
    pub stall_echo: Duration,
    /// Groups that a subscriber may stop in the long run, a second. Each stop costs it the group and us a stream.
    pub stops_per_second_max: u64,
    /// And at once: all its group streams, several times over, as when a page changes its layout.
    pub stops_burst: u64,
    /// Bytes per write: a frame at once (a key frame in a few), and other media streams get their turn.
    pub write_bytes_max: usize,
    /// Writes planned at a time, so that the hub is soon free for others.
    pub writes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            participants_max: 10_000,
            // A camera in three layers, a screen and a microphone each, doubled.
            sources_max: 100_000,
            // About 400 bytes each.
            subscriptions_max: 250_000,
            // Everything in a meeting of a thousand, each with camera, microphone and screen.
            subscriptions_per_participant_max: 3_000,
            // Twice the participants: each may hold two while it moves.
            sessions_max: 20_000,
            token_life: Duration::from_secs(60),
            removed_memory: Duration::from_secs(90),
            tokens_per_participant_max: 4,
            sessions_per_participant_max: 2,
            ids_per_ingress_max: 16,
            audio_group: Duration::from_secs(1),
            audio_silence: Duration::from_millis(60),
            join_key_age_max: Duration::from_secs(2),
            join_group_bytes_max: 2 * 1024 * 1024,
            groups_per_source_max: 64,
            under_way_bytes_max: 4 * 1024 * 1024 + 512 * 1024,
            burst: Duration::from_secs(2),
            lag_bytes_max: 4 * 1024 * 1024 + 512 * 1024,
            egress_bitrate_max: 200_000_000,
            groups_per_subscription_max: 32,
            group_streams_max: 80,
            group_streams_for_audio: 16,
            key_frame_interval: Duration::from_millis(500),
            key_frame_interval_max: Duration::from_secs(4),
            // As long as who reloads a page, or turns it, may be away.
            pause_untaken_after: Duration::from_secs(5),
            lost_key_frame_interval: Duration::from_secs(1),
            lost_key_frame_interval_max: Duration::from_secs(16),
            stall_sure: Duration::from_secs(1),
            stall_max: Duration::from_secs(27),
            stall_rest: Duration::from_secs(10),
            stall_echo: Duration::from_millis(250),
            stops_per_second_max: 64,
            stops_burst: 512,
            write_bytes_max: 128 * 1024,
            writes_max: 64,
        }
    }
}
