//! What becomes of a record for one subscription: exactly one of eight things (DESIGN section 5, "Late").

/// Why a record was, or was not, handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Fate {
    /// Handed to QUIC whole.
    Delivered = 0,
    /// Late: its group was reset.
    Expired = 1,
    /// Late, and no other frame needs it.
    Discardable = 2,
    /// Of a layer that this subscription does not take.
    Layer = 3,
    /// The path does not carry it.
    Bandwidth = 4,
    /// Of a group whose key frame this subscription does not have.
    NoKeyFrame = 5,
    /// No stream could be opened for its group in time.
    StreamLimit = 6,
    /// Session, subscription, media stream or the publisher's QUIC stream ended first, or the subscriber stopped the group.
    Closed = 7,
}

impl Fate {
    /// All fates, by number.
    pub const ALL: [Fate; 8] = [
        Fate::Delivered,
        Fate::Expired,
        Fate::Discardable,
        Fate::Layer,
        Fate::Bandwidth,
        Fate::NoKeyFrame,
        Fate::StreamLimit,
        Fate::Closed,
    ];

    /// The name in reports, telemetry and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Fate::Delivered => "delivered",
            Fate::Expired => "expired",
            Fate::Discardable => "discardable",
            Fate::Layer => "layer",
            Fate::Bandwidth => "bandwidth",
            Fate::NoKeyFrame => "no_key_frame",
            Fate::StreamLimit => "stream_limit",
            Fate::Closed => "closed",
        }
    }
}

/// Records by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates([u64; Fate::ALL.len()]);

impl Fates {
    /// Counts `records` more of `fate`.
    pub fn add(&mut self, fate: Fate, records: u64) {
        self.0[fate as usize] += records;
    }

    /// How many had `fate`.
    pub fn of(&self, fate: Fate) -> u64 {
        self.0[fate as usize]
    }

    /// All records that had a fate.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// All but those delivered.
    pub fn dropped(&self) -> u64 {
        self.total() - self.of(Fate::Delivered)
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Fates) {
        for fate in Fate::ALL {
            self.add(fate, other.of(fate));
        }
    }
}
