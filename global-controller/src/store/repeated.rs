//! Requests that may be repeated: what one is known by, and what came of it.

use super::UnixMillis;

/// How long an idempotency key stands for its first request: a day.
pub const IDEMPOTENCY_LIFE_MS: UnixMillis = 24 * 3600 * 1000;

/// Makes a POST repeatable: the same caller's same key within a day means the same request.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Who asks, as its requests are counted: an API client, or an address.
    pub caller: String,
    /// What is asked for, such as `create` or `join MEETING`: one key may serve for two operations.
    pub operation: String,
    /// As the client sent it. Whoever has it gets what came of the request.
    pub key: String,
    /// SHA-256 of what the request asks for.
    pub fingerprint: [u8; 32],
    /// When it was first seen.
    pub created_at: UnixMillis,
}

impl IdempotencyKey {
    /// The operation of registering a webhook.
    pub const CREATE_WEBHOOK: &str = "create webhook";
    /// What came of a request whose webhook was deleted since.
    pub const DELETED: &str = "deleted";

    /// An API client as a caller.
    pub fn caller_of(client: &str) -> String {
        format!("client {client}")
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdempotencyKey").field("caller", &self.caller).field("operation", &self.operation).finish_non_exhaustive()
    }
}

/// Whether a request was made before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// Not under this key.
    New,
    /// Yes: what came of it, such as the id of the meeting.
    Same(String),
    /// The key stands for a request with another body.
    Different,
}
