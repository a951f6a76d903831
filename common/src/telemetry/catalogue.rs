//! Every metric of this house: what `/metrics` says of each, and what docs/metrics.md explains.
//!
//! Names and labels are a promise to whoever has a dashboard. A test holds this list, the sources and the document together. No label ever holds
//! what a stranger wrote: each takes its values from the program's own words.

/// What can be done with a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// A value of now.
    Gauge,
    /// A distribution.
    Histogram,
}

impl MetricKind {
    /// As in the exposition format.
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// A metric: name, kind, labels with commas between, meaning.
pub type Metric = (&'static str, MetricKind, &'static str, &'static str);

/// All of them, as docs/metrics.md has them.
pub const METRICS: &[Metric] = &[
    ("process_resident_memory_bytes", MetricKind::Gauge, "", "Memory that the kernel counts as the process's"),
    ("process_open_fds", MetricKind::Gauge, "", "Open file descriptors"),
    ("dark_tower_tasks", MetricKind::Gauge, "", "Tasks that are not over"),
    ("dark_tower_panics_total", MetricKind::Counter, "", "Panics, each a bug of ours, with a log line"),
    (
        "dark_tower_redacted_total",
        MetricKind::Counter,
        "shape",
        "Secrets that the log's last line of defence took out, by what they were told by",
    ),
    ("dark_tower_sessions", MetricKind::Gauge, "door", "Connections and sessions that are open, by door"),
    ("dark_tower_handshakes_total", MetricKind::Counter, "path, outcome", "Handshakes that came to an end, by listener and how"),
    (
        "dark_tower_refused_total",
        MetricKind::Counter,
        "door, reason",
        "Connections, requests and messages that were turned away, by door and reason",
    ),
    ("dark_tower_certificate_expires_seconds", MetricKind::Gauge, "certificate", "When a certificate ends, seconds since the epoch"),
    (
        "dark_tower_certificate_replacements_total",
        MetricKind::Counter,
        "certificate",
        "Certificates that were replaced while the process ran",
    ),
    ("dark_tower_health", MetricKind::Gauge, "", "How this node says it is: 0 healthy, 1 degraded, 2 unhealthy"),
    ("dark_tower_freezes_total", MetricKind::Counter, "", "Times in which this process stood still for over two seconds"),
    ("dark_tower_registry_outages_total", MetricKind::Counter, "", "Times in which a node lost its global controller"),
    ("dark_tower_yielded_total", MetricKind::Counter, "", "Times in which this process ended because a later one of its node id took over"),
    ("dark_tower_meetings_let_go_total", MetricKind::Counter, "", "Meetings that had moved on while this node was away, and were let go"),
    (
        "dark_tower_http_requests_total",
        MetricKind::Counter,
        "route, status, protocol",
        "Requests that were answered, by route, class of status and protocol",
    ),
    ("dark_tower_http_request_seconds", MetricKind::Histogram, "route, status, protocol", "How long answers took"),
    ("dark_tower_http_panics_total", MetricKind::Counter, "", "Requests whose handler panicked"),
    ("dark_tower_rate_limited_total", MetricKind::Counter, "bucket", "Requests over a rate limit, by kind of caller"),
    ("dark_tower_nodes_live", MetricKind::Gauge, "kind", "Nodes with a lease, by kind"),
    (
        "dark_tower_superseded_total",
        MetricKind::Counter,
        "",
        "Registrations and heartbeats of processes whose node id a later process has taken",
    ),
    ("dark_tower_assignments_total", MetricKind::Counter, "outcome", "Meetings that were given to a controller"),
    ("dark_tower_meetings_created_total", MetricKind::Counter, "", "Meetings that were created"),
    ("dark_tower_events_total", MetricKind::Counter, "kind", "Events of meetings that were stored, by kind"),
    ("dark_tower_events_rejected_total", MetricKind::Counter, "", "Events of a controller that make no sense"),
    ("dark_tower_webhook_calls_total", MetricKind::Counter, "outcome", "Calls to applications, by how they ended"),
    ("dark_tower_webhook_call_seconds", MetricKind::Histogram, "outcome", "How long calls took"),
    ("dark_tower_webhook_given_up_total", MetricKind::Counter, "", "Events that were never delivered"),
    ("dark_tower_webhook_pending", MetricKind::Gauge, "", "Calls that are still to be made"),
    ("dark_tower_webhook_unreadable_total", MetricKind::Counter, "", "Times in which a stored call could not be read"),
    ("dark_tower_store_seconds", MetricKind::Histogram, "operation", "How long the store took"),
    ("dark_tower_store_errors_total", MetricKind::Counter, "kind", "Failures of the store, by kind"),
    ("dark_tower_controller_meetings", MetricKind::Gauge, "", "Meetings that live here"),
    ("dark_tower_controller_participants", MetricKind::Gauge, "", "People and programs in them"),
    ("dark_tower_controller_sessions", MetricKind::Gauge, "", "Signaling sessions, joined or not"),
    ("dark_tower_controller_handlers", MetricKind::Gauge, "", "Handlers that may be used"),
    (
        "dark_tower_controller_joins_total",
        MetricKind::Counter,
        "outcome",
        "Joins, by how they ended: `joined`, `resumed`, or the code of the refusal",
    ),
    ("dark_tower_controller_left_total", MetricKind::Counter, "reason", "Participants who left, by why"),
    ("dark_tower_controller_lost_total", MetricKind::Counter, "", "Sessions that fell silent; most resume"),
    ("dark_tower_controller_messages_total", MetricKind::Counter, "kind", "Messages of participants, by kind"),
    ("dark_tower_controller_errors_total", MetricKind::Counter, "code", "Requests of participants that were refused, by code"),
    ("dark_tower_controller_denied_total", MetricKind::Counter, "action, code", "What somebody tried and may not do, by action"),
    ("dark_tower_controller_outbox_overflows_total", MetricKind::Counter, "", "Sessions closed because they did not read"),
    ("dark_tower_controller_handler_calls_total", MetricKind::Counter, "call, outcome", "Calls to handlers, by call and how they ended"),
    ("dark_tower_controller_handler_call_seconds", MetricKind::Histogram, "call", "How long they took"),
    ("dark_tower_controller_handler_moves_total", MetricKind::Counter, "", "Meetings that left a handler which failed"),
    ("dark_tower_controller_meeting_panics_total", MetricKind::Counter, "", "Meetings that were ended by a bug of ours"),
    ("dark_tower_controller_events_waiting", MetricKind::Gauge, "", "Events that no global controller has taken yet"),
    ("dark_tower_controller_events_reported_total", MetricKind::Counter, "", "Events that one has taken"),
    ("dark_tower_controller_events_dropped_total", MetricKind::Counter, "", "Events that were lost"),
    (
        "dark_tower_controller_unstored_removals_total",
        MetricKind::Counter,
        "",
        "People who were removed, which no global controller has stored",
    ),
    ("dark_tower_controller_withdrawals_waiting", MetricKind::Gauge, "", "Things to take back at handlers which were not reached yet"),
    ("dark_tower_controller_withdrawals_dropped_total", MetricKind::Counter, "", "Such things that were given up"),
    (
        "dark_tower_media_tick_changes_total",
        MetricKind::Counter,
        "reason",
        "Changes between reading a worker's socket at once and on ticks, by the reason of the new way",
    ),
    (
        "dark_tower_media_tick_reason",
        MetricKind::Gauge,
        "worker, reason",
        "1 for the reason why a worker ticks (busy, always) or does not (idle, sparse, never)",
    ),
    ("dark_tower_media_tick_seconds", MetricKind::Gauge, "worker", "Time between two reads of a worker's socket; 0: it is read at once"),
    (
        "dark_tower_media_visits_put_off_total",
        MetricKind::Counter,
        "worker",
        "Times that what a subscriber sent, mostly acknowledgements, waited for the end of a tick",
    ),
    (
        "dark_tower_media_packets_handed_over_total",
        MetricKind::Counter,
        "worker, outcome",
        "Packets for a worker that came to another, by whether there was room for them (passed, dropped)",
    ),
    (
        "dark_tower_media_worker_busy_milliseconds_total",
        MetricKind::Counter,
        "worker",
        "How long each worker, one thread for one core, had something to do",
    ),
    ("dark_tower_media_worker_sessions", MetricKind::Gauge, "worker", "Media sessions that each worker serves"),
    ("dark_tower_media_participants", MetricKind::Gauge, "", "Participants that controllers have registered here"),
    ("dark_tower_media_sessions", MetricKind::Gauge, "", "Media sessions, hello said or not"),
    ("dark_tower_media_sessions_waiting", MetricKind::Gauge, "", "Media sessions that have not said hello"),
    ("dark_tower_media_sessions_closed_total", MetricKind::Counter, "code", "Media sessions that this node closed, by code"),
    ("dark_tower_media_streams_refused_total", MetricKind::Counter, "code", "Publishers' streams that were stopped, by code"),
    ("dark_tower_media_bytes_total", MetricKind::Counter, "direction", "Bytes of records, in and out"),
    ("dark_tower_media_groups_total", MetricKind::Counter, "", "Groups that publishers began"),
    ("dark_tower_media_groups_undone_total", MetricKind::Counter, "", "Groups reset after they were counted as delivered"),
    ("dark_tower_media_records_total", MetricKind::Counter, "fate", "Records for subscriptions, by their fate"),
    ("dark_tower_media_key_frame_requests_total", MetricKind::Counter, "need", "Key frames that publishers were asked for, by what for"),
    (
        "dark_tower_media_layer_controls_total",
        MetricKind::Counter,
        "paused",
        "Times that publishers were told that nobody takes a layer (true), or that somebody does again (false)",
    ),
    ("dark_tower_media_group_streams", MetricKind::Gauge, "", "Group streams under way to subscribers"),
    ("dark_tower_media_held_bytes", MetricKind::Gauge, "", "Bytes of groups that are kept for subscribers"),
    ("dark_tower_media_subscriptions", MetricKind::Gauge, "", "Subscriptions"),
    ("dark_tower_media_layers", MetricKind::Gauge, "", "Layers that come in"),
    (
        "dark_tower_media_panics_total",
        MetricKind::Counter,
        "task",
        "Panics by what the handler was doing; that ends, and nothing else does",
    ),
    ("dark_tower_media_abandoned_total", MetricKind::Counter, "", "Participants removed because their controller is gone for good"),
];

/// Says what each metric means, for `/metrics`.
pub(super) fn describe() {
    for (name, kind, _, meaning) in METRICS {
        match kind {
            MetricKind::Counter => metrics::describe_counter!(*name, *meaning),
            MetricKind::Gauge => metrics::describe_gauge!(*name, *meaning),
            MetricKind::Histogram => metrics::describe_histogram!(*name, *meaning),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::*;

    fn house() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the house").to_owned()
    }

    /// Names, kinds, labels and meanings of the document's tables, in their order.
    #[test]
    fn the_document_has_them_all() {
        let document = std::fs::read_to_string(house().join("docs/metrics.md")).expect("the document");
        let rows = document.lines().filter(|line| line.starts_with("| `")).map(|line| {
            let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
            assert_eq!(cells.len(), 5, "{line}");
            assert!(!cells[4].is_empty(), "{line}: when to worry?");
            cells[..4].join(" | ")
        });
        let said: Vec<String> =
            METRICS.iter().map(|(name, kind, labels, meaning)| format!("{name} | {} | {labels} | {meaning}", kind.name())).collect();
        assert_eq!(rows.collect::<Vec<_>>(), said.iter().map(|row| row.replace('`', "")).collect::<Vec<_>>());
    }

    /// What the sources count is in the list by its kind, and what is in the list is counted.
    #[test]
    fn the_sources_count_these_and_no_others() {
        let mut counted: BTreeMap<String, &str> = BTreeMap::new();
        let services = ["common", "global-controller", "meeting-controller", "media-handler", "client", "dark-tower"];
        for service in services {
            let mut folders = vec![house().join(service).join("src")];
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(&folder).expect("a folder of sources").map(|entry| entry.expect("an entry").path()) {
                    if entry.is_dir() {
                        folders.push(entry);
                    } else if entry.file_name() != Path::new(file!()).file_name() && entry.extension().is_some_and(|it| it == "rs") {
                        note(&std::fs::read_to_string(entry).expect("a source"), &mut counted);
                    }
                }
            }
        }
        let listed: BTreeMap<String, &str> = METRICS.iter().map(|(name, kind, ..)| ((*name).to_owned(), kind.name())).collect();
        assert_eq!(counted, listed, "list it here and in docs/metrics.md, with its meaning and when to worry");
    }

    fn note(source: &str, counted: &mut BTreeMap<String, &'static str>) {
        for kind in ["counter", "gauge", "histogram"] {
            for (at, found) in source.match_indices(&format!("{kind}!(")) {
                let name = source[at + found.len()..].trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                if let Some(name) = name.filter(|_| !source[..at].ends_with("describe_")) {
                    counted.insert(name.to_owned(), kind);
                }
            }
        }
    }

    #[test]
    fn names_and_labels_follow_the_rules_of_prometheus() {
        for (name, kind, labels, meaning) in METRICS {
            assert!(name.starts_with("dark_tower_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
            assert!(labels.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b',' | b' ')), "{name}: {labels}");
            assert!(meaning.len() > 10 && !meaning.ends_with('.'), "{name}: {meaning}");
        }
    }
}
