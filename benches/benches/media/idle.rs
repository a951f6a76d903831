//! What a subscriber costs that is welcomed, subscribed, and sent nothing: memory of the server's process with many of them, less what it had with few.

use std::time::Duration;

use benches::measure::proportional_bytes;

use crate::compare::Course;
use crate::report::Idle;
use crate::side::{APART, Kind, Side};
use crate::workload::Workload;

/// Connected before the first look, so that what is there once for all is not counted.
const BEFORE: usize = 25;
/// From the last connection to the look: MTU discovery is over, and what handshakes took is given back.
const REST: Duration = Duration::from_secs(2);

/// Of both, one after the other.
pub async fn measure(course: &Course, subscribers: usize) -> Idle {
    Idle { base: of(&course.base, subscribers).await, handler: of(&course.handler, subscribers).await }
}

/// Kilobytes (of 1000 bytes) for each.
async fn of(kind: &Kind, subscribers: usize) -> f64 {
    let workload = Workload::broadcast_to(BEFORE + subscribers);
    let mut side = Side::start(kind, &workload, APART).await;
    let (few, many) = workload.members.split_at(BEFORE + 1);
    side.connect(&workload, few).await;
    tokio::time::sleep(REST).await;
    let before = proportional_bytes(side.pid());
    side.connect(&workload, many).await;
    tokio::time::sleep(REST).await;
    let after = proportional_bytes(side.pid());
    side.stop().await;
    after.saturating_sub(before) as f64 / 1000.0 / subscribers as f64
}
