//! `dark-tower dev`: the three services in one process, on loopback, with the same listeners, tokens and mTLS as in
//! production, and a plain HTTP door for the browser, where a page is a secure context.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use common::Secret;
use common::admin::{self, Readiness};
use common::shutdown::Shutdown;
use common::telemetry::{LogConfig, init_logging, init_metrics};
use common::tls::{ClusterAuthority, NodeKind, PublicSource, SELF_SIGNED_LIFE, Upkeep, hash_base64};
use global_controller::{ClientCredentials, Scopes};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::output::OutputError;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long the nodes may take to find each other; on an idle laptop it is a few milliseconds.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at whether they have.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// After this an orderly end is given up.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// What of the global controller's configuration the environment may change here: whatever has nothing to do with who finds whom, and the
/// pages that may call the API, for an application that is being written on a port of its own.
const OPEN_SECTIONS: [&str; 5] = ["PUBLIC__ORIGINS", "RATES__", "STORE__", "TOKENS__", "WEBHOOKS__"];

/// The configuration of the global controller that [`run`] starts, but for its addresses.
pub fn config(data_dir: &Path) -> anyhow::Result<global_controller::Config> {
    let environment = std::env::vars().filter(|(name, _)| is_open_here(name));
    let mut config: global_controller::Config = common::config::load(None, environment, [])?;
    common::config::Validate::validate(&config)?;
    config.node_id = "gc-dev".parse()?;
    config.allow_anonymous_create = true;
    // Everything here is on loopback, the application that is being written as well.
    config.webhooks.allow_private = true;
    config.store.path = data_dir.join("dark-tower.sqlite");
    Ok(config)
}

fn is_open_here(variable: &str) -> bool {
    let path = variable.strip_prefix(common::config::ENVIRONMENT_PREFIX);
    path.is_some_and(|path| OPEN_SECTIONS.iter().any(|section| path.starts_with(section)))
}

/// Ports and the data folder. Port 0 means any free one; what was chosen is written to DATA_DIR/dev.json.
#[derive(clap::Args)]
pub struct DevArgs {
    /// TCP port of the plain HTTP door for the browser.
    #[arg(long, default_value_t = 8080)]
    http_port: u16,
    /// UDP and TCP port of the API over HTTP/3, HTTP/2 and HTTP/1.1.
    #[arg(long, default_value_t = 8443)]
    https_port: u16,
    /// UDP and TCP port of signaling.
    #[arg(long, default_value_t = 4433)]
    signaling_port: u16,
    /// UDP port of media.
    #[arg(long, default_value_t = 4434)]
    media_port: u16,
    /// TCP port of /healthz, /readyz and /metrics.
    #[arg(long, default_value_t = 9090)]
    admin_port: u16,
    /// Where the database and dev.json lie.
    #[arg(long, default_value = "data", value_name = "DIR")]
    data_dir: PathBuf,
    /// What is logged, such as info or info,media_handler=debug.
    #[arg(long, default_value = "info", value_name = "FILTER", value_parser = log_filter, env = "DARK_TOWER__LOG__FILTER", hide_env_values = true)]
    log: String,
}

/// A filter that is understood.
pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    common::telemetry::check_filter(text).map(|()| text.to_owned())
}

/// The contents of dev.json.
#[derive(Serialize)]
struct DevFile<'a> {
    http_url: &'a str,
    https_url: &'a str,
    signaling_url: &'a str,
    media_url: &'a str,
    admin_url: &'a str,
    certificate_sha256: &'a str,
    client_id: &'a str,
    client_secret: &'a str,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    init_logging(&LogConfig { filter: args.log.clone(), ..LogConfig::default() });
    let metrics = init_metrics();
    let shutdown = Shutdown::on_signals()?;
    std::fs::create_dir_all(&args.data_dir).with_context(|| format!("cannot create {}", args.data_dir.display()))?;

    let http = admin::bind(SocketAddr::new(LOOPBACK, args.http_port)).await?;
    let http_url = format!("http://localhost:{}", http.local_addr()?.port());
    let admin_listener = admin::bind(SocketAddr::new(LOOPBACK, args.admin_port)).await?;
    let admin_url = format!("http://{}", admin_listener.local_addr()?);

    let authority = ClusterAuthority::generate()?;
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let source = PublicSource::SelfSigned { names: names.to_vec(), life: SELF_SIGNED_LIFE };
    let upkeep = Upkeep::of_public(source)?;
    let certificate = upkeep.certificate();
    let grpc_bind = SocketAddr::new(LOOPBACK, 0);

    let mut config = config(&args.data_dir)?;
    config.meeting_page_url = Some(http_url.clone());
    config.cluster.grpc_bind = grpc_bind;
    config.public.bind = SocketAddr::new(LOOPBACK, args.https_port);
    // A page of somebody's whose name leads to this machine must not speak to the plain door as if it were ours (DNS rebinding).
    config.public.hosts = names.to_vec();
    let identity = authority.issue(&config.node_id, NodeKind::GlobalController)?;
    let front = global_controller::start(config, identity, certificate.clone()).await?;
    let global_controllers = vec![front.grpc_address().to_string()];

    let mut config = media_handler::config::Config { node_id: "mh-dev".parse()?, ..Default::default() };
    config.cluster.grpc_bind = grpc_bind;
    config.public.bind = SocketAddr::new(LOOPBACK, args.media_port);
    // A developer's machine has other things to do, and a few people on one machine do not keep one core busy.
    config.forwarding.workers = 1;
    config.cluster.global_controllers.clone_from(&global_controllers);
    let identity = authority.issue(&config.node_id, NodeKind::MediaHandler)?;
    let handler = media_handler::start(config, identity, certificate.clone()).await?;

    let mut config = meeting_controller::config::Config { node_id: "mc-dev".parse()?, ..Default::default() };
    config.cluster.grpc_bind = grpc_bind;
    config.public.bind = SocketAddr::new(LOOPBACK, args.signaling_port);
    config.cluster.global_controllers = global_controllers;
    let identity = authority.issue(&config.node_id, NodeKind::MeetingController)?;
    let controller = meeting_controller::start(config, identity, certificate.clone()).await?;

    tokio::spawn(upkeep.run(shutdown.now.clone()));
    let readiness: Vec<Readiness> = [front.readiness(), handler.readiness(), controller.readiness()].concat();
    wait_until_ready(&readiness).await?;
    tokio::spawn(admin::serve(admin_listener, admin::router(metrics, readiness), shutdown.now.clone()));
    serve_plain(http, &front, controller.websocket_router()).await;

    let path = args.data_dir.join("dev.json");
    let credentials = credentials(&front, &path).await?;
    let file = DevFile {
        http_url: &http_url,
        https_url: front.public_url(),
        signaling_url: controller.public_url(),
        media_url: handler.public_url(),
        admin_url: &admin_url,
        certificate_sha256: &hash_base64(&certificate.current().sha256()),
        client_id: &credentials.client_id,
        client_secret: credentials.client_secret.expose(),
    };
    write_private(&path, &serde_json::to_vec_pretty(&file)?).with_context(|| format!("cannot write {}", path.display()))?;
    match announce(&file, &path) {
        // Who has read enough, as a script that waits for the ready line, does not end the cluster.
        Ok(()) | Err(OutputError::ReaderGone) => {}
        Err(error) => return Err(error.into()),
    }

    tokio::select! {
        () = shutdown.drain.cancelled() => {}
        () = shutdown.now.cancelled() => return Ok(()),
    }
    let stop = async {
        controller.stop().await;
        handler.stop().await;
        front.stop().await;
    };
    tokio::select! {
        () = stop => {}
        () = shutdown.now.cancelled() => {}
        () = tokio::time::sleep(STOP_TIMEOUT) => tracing::warn!("an orderly end took too long; ending now"),
    }
    Ok(())
}

/// Those of the last start, as its dev.json has them, if they are still good for everything; else those of a new API client.
async fn credentials(front: &global_controller::Running, path: &Path) -> anyhow::Result<ClientCredentials> {
    #[derive(Deserialize)]
    struct Last {
        client_id: String,
        client_secret: Secret,
    }
    let all = Scopes::all();
    let last = tokio::fs::read(path).await.ok().and_then(|text| serde_json::from_slice::<Last>(&text).ok());
    if let Some(Last { client_id, client_secret }) = last {
        let credentials = ClientCredentials { client_id, client_secret };
        if front.accepts(&credentials, &all).await? {
            return Ok(credentials);
        }
    }
    Ok(front.create_client("dev", all).await?)
}

async fn wait_until_ready(readiness: &[Readiness]) -> anyhow::Result<()> {
    let ready = async {
        while readiness.iter().any(|readiness| (readiness.check)().is_err()) {
            tokio::time::sleep(READY_INTERVAL).await;
        }
    };
    if tokio::time::timeout(READY_TIMEOUT, ready).await.is_err() {
        let missing: Vec<String> =
            readiness.iter().filter_map(|it| (it.check)().err().map(|reason| format!("{}: {reason}", it.name))).collect();
        anyhow::bail!("not ready after {} s: {}", READY_TIMEOUT.as_secs(), missing.join("; "));
    }
    Ok(())
}

/// Serves the browser's door on 127.0.0.1 and, where the port is free there too, on ::1: the API, the page, and signaling over WebSocket, within
/// the limits of the public door.
async fn serve_plain(listener: TcpListener, front: &global_controller::Running, signaling: Router) {
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    front.serve_plain(listener, signaling.clone());
    match TcpListener::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)).await {
        Ok(listener) => front.serve_plain(listener, signaling),
        Err(error) => tracing::warn!(%error, port, "::1 is not served: a browser that tries it first may reach another program there"),
    }
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_private(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let partial = path.with_extension("json.partial");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(partial, path)
}

fn announce(file: &DevFile<'_>, path: &Path) -> Result<(), OutputError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "  meeting page   {}", file.http_url)?;
    writeln!(out, "  API            {}/api/v1 (HTTP/3, HTTP/2, HTTP/1.1)", file.https_url)?;
    writeln!(out, "  signaling      {}", file.signaling_url)?;
    writeln!(out, "  media          {}", file.media_url)?;
    writeln!(out, "  admin          {}/metrics", file.admin_url)?;
    writeln!(out, "  credentials    {}", path.display())?;
    writeln!(out, "dark-tower dev: ready")?;
    Ok(out.flush()?)
}
