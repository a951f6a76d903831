//! `global-controller --config FILE`: one global controller in a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::shutdown::Shutdown;

/// A global controller of a Dark Tower cluster.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration in TOML; `DARK_TOWER__SECTION__KEY` in the environment lies over it.
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("global-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    common::tls::install_crypto_provider();
    let config: global_controller::Config = common::config::load_from_environment(arguments.config.as_deref(), [])?;
    common::telemetry::init_logging(&config.log);
    let shutdown = Shutdown::on_signals()?;
    Ok(global_controller::run(config, shutdown).await?)
}
