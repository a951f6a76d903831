//! The media handler as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use media_handler::config::Config;

/// Forwards media between the participants of meetings.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// TOML file; DARK_TOWER__SECTION__KEY in the environment goes over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

// Media has threads of its own; what is left for this one is gRPC, heartbeats and upkeep.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("media-handler: {error:#}");
            error.downcast_ref::<media_handler::RunError>().map_or(ExitCode::FAILURE, |error| ExitCode::from(error.exit_code()))
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config: Config = common::config::load_from_environment(arguments.config.as_deref(), [])?;
    common::tls::install_crypto_provider();
    common::telemetry::init_logging(&config.log);
    let shutdown = common::shutdown::Shutdown::on_signals()?;
    media_handler::run(config, shutdown).await?;
    Ok(())
}
