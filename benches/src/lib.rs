//! What `make bench` measures, for feeling and for comparing two commits on one machine; no test judges by these numbers.
//!
//! - `codec`: one frame header encoded and decoded, and a megabyte of records split while it arrives in reads of several sizes.
//!   The yardstick is what the same bytes cost to walk over once (`codec/walk`): a reader that shares payloads stays near or
//!   below it.
//! - `placement`: a meeting placed, and a joiner's handlers ranked, in clusters of 10, 100 and 1000 nodes.
