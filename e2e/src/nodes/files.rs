//! What a node is started from: its certificate, its key and its configuration, written as an operator writes them.
//!
//! In: who the node is and which ports it has. Out: files. Every file is small enough to be read as an example.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, bail};
use common::tls::{ClusterAuthority, NodeKind};

/// Ports are taken from here: below those that Linux gives to clients (from 32768), so that no client of a test sits on the
/// port of a node that restarts.
const PORT_FIRST: u16 = 12_000;
/// How many of them there are.
const PORT_COUNT: u16 = 20_000;

/// Where a node listens, all on loopback and the same after a restart.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// UDP and TCP for clients.
    pub public: SocketAddr,
    /// gRPC of the cluster.
    pub grpc: SocketAddr,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub admin: SocketAddr,
}

impl Addresses {
    /// Free ones.
    pub fn free() -> anyhow::Result<Self> {
        Ok(Self { public: free_address()?, grpc: free_address()?, admin: free_address()? })
    }
}

/// An address that is free for UDP and TCP, and that this process hands out once.
fn free_address() -> anyhow::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side begin at different places.
    let offset = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(PORT_COUNT))?;
    for _ in 0..PORT_COUNT {
        let step = (u32::from(offset) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(PORT_COUNT);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_FIRST + u16::try_from(step)?));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free from {PORT_FIRST} on")
}

/// Writes what the node needs into `folder`; returns the configuration file. `more`: lines at the end of the file.
pub fn write(
    folder: &Path,
    authority: &ClusterAuthority,
    (id, kind, region): (&str, NodeKind, &str),
    at: Addresses,
    global_controllers: &[SocketAddr],
    more: &str,
) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let identity = authority.issue(&id.parse()?, kind)?;
    let path = |name: &str| folder.join(name);
    std::fs::write(path("node.pem"), &identity.certificate_pem)?;
    std::fs::write(path("cluster.pem"), &identity.authority_pem)?;
    identity.key_pem.lines().filter(|line| !line.starts_with('-')).for_each(|line| canary::keep("private key", line));
    write_secret(&path("node.key"), &identity.key_pem)?;
    let config = path("node.toml");
    std::fs::write(&config, configuration(folder, (id, kind, region), at, global_controllers, more))
        .with_context(|| format!("cannot write {}", config.display()))?;
    Ok(config)
}

fn configuration(
    folder: &Path,
    (id, kind, region): (&str, NodeKind, &str),
    at: Addresses,
    global_controllers: &[SocketAddr],
    more: &str,
) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    let Addresses { public, grpc, admin } = at;
    let (anonymous, register, store) = match kind {
        NodeKind::GlobalController => (
            // One address asks for everybody here.
            "allow_anonymous_create = true\n[rates]\nrequests = 1000000\nanonymous_joins = 1000000\n",
            String::new(),
            format!("[store]\npath = \"{}\"\n", file("global-controller.sqlite")),
        ),
        _ => {
            let listed: Vec<String> = global_controllers.iter().map(|it| format!("\"{it}\"")).collect();
            ("", format!("global_controllers = [{}]\n", listed.join(", ")), String::new())
        }
    };
    format!(
        r#"node_id = "{id}"
region = "{region}"
admin_bind = "{admin}"
{anonymous}
[log]
format = "json"

[cluster]
grpc_bind = "{grpc}"
certificate = "{certificate}"
key = "{key}"
authority = "{authority}"
{register}
[public]
bind = "{public}"
names = ["127.0.0.1"]

{store}
{more}
"#,
        certificate = file("node.pem"),
        key = file("node.key"),
        authority = file("cluster.pem"),
    )
}

/// Readable by its owner alone, as a key must be.
fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
