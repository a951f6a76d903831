//! `dark-tower`: the one command people type.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::config::load_from_environment;
use common::node::RunError;
use common::shutdown::Shutdown;
use common::telemetry::init_logging;
use dark_tower::{certs, clients, dev, join, keys, output, status};

/// A video-meeting cluster for which QUIC is native.
#[derive(Parser)]
#[command(version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a whole cluster in one process on loopback: nothing to configure, real TLS, throw-away certificates.
    Dev(dev::DevArgs),
    // Its description is that of its arguments.
    Join(join::JoinArgs),
    /// Makes, lists and shuts out API clients.
    Client(clients::ClientArgs),
    /// Makes the cluster's authority; issues and renews certificates of nodes and operators.
    Certs(certs::CertsArgs),
    /// Rotates and lists the keys that sign tokens.
    Keys(keys::KeysArgs),
    /// Shows who is in the cluster, how they are, and where meetings go.
    Status(status::StatusArgs),
    /// Runs a global controller: the public API and the cluster's registry.
    GlobalController(ServiceArgs),
    /// Runs a meeting controller: signaling.
    MeetingController(ServiceArgs),
    /// Runs a media handler: forwards media.
    MediaHandler(ServiceArgs),
}

#[derive(clap::Args)]
struct ServiceArgs {
    /// A TOML file; DARK_TOWER__SECTION__KEY in the environment lies over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    common::tls::install_crypto_provider();
    run(Cli::parse().command).await.unwrap_or_else(|error| output::end("dark-tower", &error))
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Dev(args) => dev::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Join(args) => join::run(args).await,
        Command::Client(args) => clients::run(args).await,
        Command::Certs(args) => certs::run(args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::GlobalController(args) => {
            let config: global_controller::config::Config = load_from_environment(args.config.as_deref(), [])?;
            init_logging(&config.log);
            global_controller::run(config, Shutdown::on_signals()?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::MeetingController(args) => {
            let config: meeting_controller::config::Config = load_from_environment(args.config.as_deref(), [])?;
            init_logging(&config.log);
            ended(meeting_controller::run(config, Shutdown::on_signals()?).await)
        }
        Command::MediaHandler(args) => {
            let config: media_handler::config::Config = load_from_environment(args.config.as_deref(), [])?;
            init_logging(&config.log);
            ended(media_handler::run(config, Shutdown::on_signals()?).await)
        }
    }
}

/// A process that was superseded ends with a code of its own, for whoever would start it again.
fn ended<E: std::error::Error + Send + Sync + 'static>(result: Result<(), RunError<E>>) -> anyhow::Result<ExitCode> {
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ RunError::Superseded) => {
            output::complain("dark-tower", &error.to_string());
            Ok(ExitCode::from(error.exit_code()))
        }
        Err(error) => Err(error.into()),
    }
}
