//! What `make bench`, `make bench-api` and `make bench-media` measure, for feeling and for comparing two commits on one machine; no test judges by these numbers.
//!
//! - `codec`: one frame header encoded and decoded, and a megabyte of records split while it arrives in reads of several sizes.
//!   The yardstick is what the same bytes cost to walk over once (`codec/walk`): a reader that shares payloads stays near or
//!   below it.
//! - `placement`: a meeting placed, and a joiner's handlers ranked, in clusters of 10, 100 and 1000 nodes.
//! - `e2ee`: a record sealed and opened, in four sizes; the keys of a media stream derived; a chat message sealed. The browser's are measured by
//!   `npm run bench:e2ee` in `e2e/browser`.
//! - `api`: the public API of a whole global controller in a process of its own, in requests per CPU second beside a bare axum handler on the
//!   same listeners in the same run (`make bench-api`), and what it holds after a million requests (`make bench-api-memory`).
//! - `media`: the media handler's CPU per delivered record beside a minimal quinn forwarder, under the same load in the same run
//!   (`make bench-media`), how it grows (`make bench-media-growth`), and what more cores bring (`make bench-media-cores`).
//!
//! The library has what several of them need: processes on cores of their own, what the kernel says of them, records and latencies.

#![warn(missing_docs)]

pub mod child;
pub mod latencies;
pub mod measure;
pub mod plot;
pub mod records;
