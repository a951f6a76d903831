//! The counters of requests, resolved once for each combination of labels: to look them up by name costs more than to count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram};

/// Classes of statuses, by their first digit.
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// See the module. One entry for each route that there is, protocol and class of status: some hundreds.
#[derive(Clone, Default)]
pub struct Meters(Arc<Mutex<HashMap<String, Protocols>>>);

/// Of one route.
type Protocols = HashMap<&'static str, [Option<(Counter, Histogram)>; CLASSES.len()]>;

impl Meters {
    /// Counts a request that was answered.
    pub fn count(&self, route: &str, status: u16, protocol: &'static str, elapsed: Duration) {
        let class = match usize::from(status / 100) {
            class if class < CLASSES.len() => class,
            _ => 0,
        };
        // Nothing panics while it is locked, so what is found is whole.
        let mut routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Protocols::new());
        }
        let Some(protocols) = routes.get_mut(route) else { return };
        let (requests, seconds) =
            protocols.entry(protocol).or_default()[class].get_or_insert_with(|| resolve(route, CLASSES[class], protocol));
        requests.increment(1);
        seconds.record(elapsed);
    }
}

fn resolve(route: &str, status: &'static str, protocol: &'static str) -> (Counter, Histogram) {
    let labels = [("route", route.to_owned()), ("status", status.to_owned()), ("protocol", protocol.to_owned())];
    (metrics::counter!("dark_tower_http_requests_total", &labels), metrics::histogram!("dark_tower_http_request_seconds", &labels))
}
