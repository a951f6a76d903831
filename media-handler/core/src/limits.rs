//! Every bound and interval of the forwarding, with its reason. A shell may configure them; these are the defaults.

use std::time::Duration;

/// See each field; [`Default`] is what runs in production.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Participants registered at a time.
    pub participants_max: usize,
    /// An unspent connection token is forgotten after this (DESIGN section 5).
    pub token_life: Duration,
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
    /// A joiner starts at the cached group while it is no bigger; bigger ones leave the cache (DESIGN allows up to 8 MiB).
    pub join_group_bytes_max: u64,
    /// How long a joiner's first burst is exempt from its latency budget (DESIGN section 5).
    pub burst: Duration,
    /// What one subscription may lag behind in bytes, whatever its latency budget: it pins that much of the shared log.
    pub lag_bytes_max: u64,
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
    /// Between requests on behalf of one subscription that was late, so that a slow receiver does not cost the others
    /// a stream of key frames; a publisher sends one by itself as often.
    pub late_key_frame_interval: Duration,
    /// A subscriber that takes no byte while some are due is closed after this (DESIGN section 5).
    pub stall_max: Duration,
    /// Control messages waiting for one session; more key-frame requests than ids it publishes cannot be.
    pub control_messages_max: usize,
    /// Bytes per write: a frame at once (a key frame in a few), and other media streams get their turn.
    pub write_bytes_max: usize,
    /// Writes planned at a time, so that the hub is soon free for others.
    pub writes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            participants_max: 10_000,
            token_life: Duration::from_secs(60),
            tokens_per_participant_max: 4,
            sessions_per_participant_max: 2,
            ids_per_ingress_max: 16,
            audio_group: Duration::from_secs(1),
            audio_silence: Duration::from_millis(60),
            join_key_age_max: Duration::from_secs(2),
            join_group_bytes_max: 2 * 1024 * 1024,
            burst: Duration::from_secs(2),
            lag_bytes_max: 8 * 1024 * 1024,
            groups_per_subscription_max: 32,
            group_streams_max: 80,
            group_streams_for_audio: 16,
            key_frame_interval: Duration::from_millis(500),
            key_frame_interval_max: Duration::from_secs(4),
            late_key_frame_interval: Duration::from_secs(4),
            stall_max: Duration::from_secs(30),
            control_messages_max: 64,
            write_bytes_max: 128 * 1024,
            writes_max: 64,
        }
    }
}
