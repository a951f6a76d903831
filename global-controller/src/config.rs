//! The configuration of a global controller: defaults for production, every limit and lifetime a field.

mod values;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::Secret;
use common::config::millis;
use common::telemetry::LogConfig;
use common::tls::SELF_SIGNED_LIFE;
use common::token::{ACCESS_LIFE_MAX, JOIN_LIFE_MAX};
use common_core::NodeId;
use serde::Deserialize;

/// See the module. In TOML the field names are the keys; lengths of time are whole milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// As in the node's certificate.
    #[serde(deserialize_with = "common::config::node_id")]
    pub node_id: NodeId,
    /// Where it stands: the region that a meeting is placed in first.
    pub region: String,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub admin_bind: SocketAddr,
    /// See [`LogConfig`].
    pub log: LogConfig,
    /// Towards the other nodes.
    pub cluster: ClusterConfig,
    /// Towards clients.
    pub public: PublicConfig,
    /// What outlives the process.
    pub store: StoreConfig,
    /// Access and join tokens.
    pub tokens: TokenConfig,
    /// What one caller, and all together, may take.
    pub limits: LimitsConfig,
    /// How many requests one caller may make.
    pub rates: RatesConfig,
    /// Calls to applications, and the feed of what happens in meetings.
    pub webhooks: WebhooksConfig,
    /// Whether meetings may be created, listed and ended without a bearer, in a tenant of their own. For `dev`.
    pub allow_anonymous_create: bool,
    /// Base of `meeting_url`; `public.url` if absent.
    pub meeting_page_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_id: "gc-1".parse().expect("it is a node id"),
            region: "default".into(),
            admin_bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            log: LogConfig::default(),
            cluster: ClusterConfig::default(),
            public: PublicConfig::default(),
            store: StoreConfig::default(),
            tokens: TokenConfig::default(),
            limits: LimitsConfig::default(),
            rates: RatesConfig::default(),
            webhooks: WebhooksConfig::default(),
            allow_anonymous_create: false,
            meeting_page_url: None,
        }
    }
}

/// The `[cluster]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// This node's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The cluster's authority, PEM.
    pub authority: PathBuf,
    /// Where the registry is served.
    pub grpc_bind: SocketAddr,
    /// What nodes are told to keep between heartbeats.
    #[serde(rename = "heartbeat_interval_ms", deserialize_with = "millis::deserialize")]
    pub heartbeat_interval: Duration,
    /// A node is lost when it was silent for this long.
    #[serde(rename = "lease_ms", deserialize_with = "millis::deserialize")]
    pub lease: Duration,
    /// Nobody is lost for this long after a start or a freeze of this process.
    #[serde(rename = "grace_ms", deserialize_with = "millis::deserialize")]
    pub grace: Duration,
    /// How long a controller may take to be told of a meeting.
    #[serde(rename = "call_timeout_ms", deserialize_with = "millis::deserialize")]
    pub call_timeout: Duration,
    /// Between rounds of looking after ended meetings that still run, lost nodes and the store.
    #[serde(rename = "sweep_interval_ms", deserialize_with = "millis::deserialize")]
    pub sweep_interval: Duration,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            certificate: "/etc/dark-tower/node.pem".into(),
            key: "/etc/dark-tower/node.key".into(),
            authority: "/etc/dark-tower/cluster.pem".into(),
            grpc_bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 50051)),
            heartbeat_interval: Duration::from_secs(1),
            lease: Duration::from_secs(3),
            grace: Duration::from_secs(6),
            // A person waits for it, and another controller may have to be tried within the two seconds of patience.
            call_timeout: Duration::from_millis(900),
            sweep_interval: Duration::from_secs(1),
        }
    }
}

/// The `[public]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublicConfig {
    /// UDP for HTTP/3 and TCP for HTTP/2 and HTTP/1.1, the same port number.
    pub bind: SocketAddr,
    /// How clients reach it; `https://` and the bound address if absent.
    pub url: Option<String>,
    /// Certificate chain, PEM; self-signed if absent.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Names in a self-signed certificate.
    pub names: Vec<String>,
    /// Life of a self-signed certificate; the next one is known for about half of it before it is used.
    #[serde(rename = "self_signed_life_ms", deserialize_with = "millis::deserialize")]
    pub self_signed_life: Duration,
    /// Origins of pages, other than our own, that may call the API (CORS).
    pub origins: Vec<String>,
    /// Host names (without port) that requests may be addressed to; empty: any.
    pub hosts: Vec<String>,
}

impl Default for PublicConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)),
            url: None,
            certificate: None,
            key: None,
            names: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
            self_signed_life: SELF_SIGNED_LIFE,
            origins: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

/// The `[store]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The SQLite file; its folder is made if it is not there.
    pub path: PathBuf,
    /// `postgres://…`: PostgreSQL instead of the file. Holds a password.
    pub url: Option<Secret>,
    /// Connections to the store at most.
    pub connections: u32,
    /// How long a request waits for the store: for a connection, a lock, an answer.
    #[serde(rename = "timeout_ms", deserialize_with = "millis::deserialize")]
    pub timeout: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: "/var/lib/dark-tower/global-controller.sqlite".into(),
            url: None,
            connections: 8,
            // An answer "not available" is due within two seconds (DESIGN section 7).
            timeout: Duration::from_millis(1500),
        }
    }
}

/// The `[tokens]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// Life of an access token, at most a day.
    #[serde(rename = "access_life_ms", deserialize_with = "millis::deserialize")]
    pub access_life: Duration,
    /// Life of a join token, at most five minutes.
    #[serde(rename = "join_life_ms", deserialize_with = "millis::deserialize")]
    pub join_life: Duration,
    /// After this a new signing key is used: until then every node has heard of it.
    #[serde(rename = "key_activation_ms", deserialize_with = "millis::deserialize")]
    pub key_activation: Duration,
    /// How far the clocks of a cluster may be apart.
    #[serde(rename = "leeway_ms", deserialize_with = "millis::deserialize")]
    pub leeway: Duration,
}

impl TokenConfig {
    /// Life of an access token: what is configured, a day at most.
    pub fn access_life(&self) -> Duration {
        self.access_life.min(ACCESS_LIFE_MAX)
    }

    /// Life of a join token: what is configured, five minutes at most.
    pub fn join_life(&self) -> Duration {
        self.join_life.min(JOIN_LIFE_MAX)
    }
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            access_life: Duration::from_secs(3600),
            join_life: JOIN_LIFE_MAX,
            // Ten heartbeats.
            key_activation: Duration::from_secs(10),
            leeway: Duration::from_secs(30),
        }
    }
}

/// The `[limits]` section.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Longest request body, bytes.
    pub body_bytes: usize,
    /// Longest request head, bytes; heads of up to four times as many are answered with words, longer ones as the protocol can.
    pub head_bytes: u32,
    /// Requests under way at once, over all connections; more are told to come again.
    pub requests: usize,
    /// Requests under way at once on one HTTP/2 or HTTP/3 connection.
    pub requests_per_connection: u32,
    /// TCP connections at once, and QUIC connections at once.
    pub connections: usize,
    /// Handshakes under way at once, TCP and QUIC each.
    pub handshakes: usize,
    /// Of these, one address (IPv6: a /64) may have.
    pub handshakes_per_address: usize,
    /// Of the connections, one address (IPv6: a /64) may have, TCP and QUIC each.
    pub connections_per_address: usize,
    /// Of the requests under way at once, one address may have.
    pub requests_per_address: usize,
    /// How long a handshake may take.
    #[serde(rename = "handshake_timeout_ms", deserialize_with = "millis::deserialize")]
    pub handshake_timeout: Duration,
    /// How long a request's head, and then its body, may take to arrive. A connection that carried nothing between two looks so far apart is
    /// closed.
    #[serde(rename = "read_timeout_ms", deserialize_with = "millis::deserialize")]
    pub read_timeout: Duration,
    /// How long a client may take to accept a piece of an answer.
    #[serde(rename = "write_timeout_ms", deserialize_with = "millis::deserialize")]
    pub write_timeout: Duration,
    /// Secrets hashed at once; each takes about 20 MiB and a core.
    pub hashes: usize,
    /// Requests that wait for a turn to hash; more are told to come again.
    pub hashes_waiting: usize,
    /// Of these, one address may have.
    pub hashes_per_address: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body_bytes: 1024 * 1024,
            head_bytes: 32 * 1024,
            requests: 1024,
            // RFC 9114 section 6.1: at least a hundred should be permitted.
            requests_per_connection: 100,
            connections: 4096,
            handshakes: 256,
            // A handshake is over in a tenth of a second: hundreds a second, and three quarters of the places are others'.
            handshakes_per_address: 64,
            // An office behind one address, with pages and applications.
            connections_per_address: 1024,
            requests_per_address: 512,
            handshake_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(15),
            hashes: 2,
            hashes_waiting: 64,
            hashes_per_address: 8,
        }
    }
}

/// The `[rates]` section (DESIGN section 3, "Rate limit").
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RatesConfig {
    /// The length of a window, which starts with a caller's first request.
    #[serde(rename = "window_ms", deserialize_with = "millis::deserialize")]
    pub window: Duration,
    /// Requests of one caller in a window, unless its API client has a number of its own.
    pub requests: u32,
    /// Joins without a bearer from one address in a window: an office behind one address has one.
    pub anonymous_joins: u32,
    /// Callers of each kind (API clients, addresses, addresses that join) that are counted at once; about 200 bytes each.
    pub callers: usize,
}

impl Default for RatesConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), requests: 100, anonymous_joins: 1000, callers: 100_000 }
    }
}

/// The `[webhooks]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Whether `http://` and addresses inside (loopback, private, link-local) may be called.
    pub allow_private: bool,
    /// Certificates of authorities that targets may have besides those that the operating system believes, PEM.
    pub authority: Option<PathBuf>,
    /// Webhooks of one API client.
    pub per_client: u32,
    /// Calls under way at once.
    pub at_once: usize,
    /// How long a call may take.
    #[serde(rename = "timeout_ms", deserialize_with = "millis::deserialize")]
    pub timeout: Duration,
    /// Until a failed call is made again; twice as long after each further failure.
    #[serde(rename = "retry_ms", deserialize_with = "millis::deserialize")]
    pub retry: Duration,
    /// The longest wait between two tries.
    #[serde(rename = "retry_max_ms", deserialize_with = "millis::deserialize")]
    pub retry_max: Duration,
    /// An event that could not be told for this long is told no more.
    #[serde(rename = "give_up_ms", deserialize_with = "millis::deserialize")]
    pub give_up: Duration,
    /// How long events are kept for the feed.
    #[serde(rename = "retention_ms", deserialize_with = "millis::deserialize")]
    pub retention: Duration,
    /// Feeds that are followed at once.
    pub feeds: usize,
    /// Of these, one caller may have: an API client, or an address where no token is needed.
    pub feeds_per_caller: usize,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            allow_private: false,
            authority: None,
            per_client: 16,
            at_once: 32,
            timeout: Duration::from_secs(10),
            retry: Duration::from_secs(1),
            retry_max: Duration::from_secs(600),
            give_up: Duration::from_secs(24 * 3600),
            retention: Duration::from_secs(7 * 24 * 3600),
            feeds: 256,
            feeds_per_caller: 64,
        }
    }
}
