//! `dark-tower keys`: the keys that sign tokens, rotated in peace or dropped in need. Works on the store; running global controllers notice within a second or two.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use common_core::name::escape;
use global_controller::KeyState;
use global_controller::admin::{KeyInfo, rfc3339_millis};
use serde::Serialize;

use crate::operator::{StoreArgs, table};

/// The keys that sign access and join tokens.
#[derive(Args)]
#[command(after_help = "Examples:
  dark-tower keys rotate --config /etc/dark-tower/global-controller.toml
  dark-tower keys list --json --data-dir data
  dark-tower keys drop KEY_ID --config /etc/dark-tower/global-controller.toml

A new key is published at once, signs after [tokens] key_activation_ms, and the one before stays published until the
last token that it has signed has expired. Nothing needs a restart, and no token becomes invalid.")]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Makes a new signing key, which takes over by itself.
    Rotate(StoreArgs),
    /// Lists the keys and what each is for.
    List(StoreArgs),
    /// Takes away a key that somebody else may have: every token it has signed is refused within seconds.
    Drop(DropArgs),
}

#[derive(Args)]
#[command(after_help = "Example:
  dark-tower keys drop KEY_ID --config /etc/dark-tower/global-controller.toml

Applications get new access tokens by themselves, people who are about to join ask for a new join token; meetings go on. If it was the only
key, a new one signs at once, and tokens of the first second or two may be refused by nodes that have not heard of it.")]
struct DropArgs {
    /// Its key_id, as `keys list` shows it: the `kid` in a token's header.
    key_id: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// A key as it is printed.
#[derive(Serialize)]
struct Shown {
    key_id: String,
    state: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signs_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_until: Option<String>,
}

impl From<KeyInfo> for Shown {
    fn from(key: KeyInfo) -> Self {
        let (state, signs_from, published_until) = match key.state {
            KeyState::Waiting { signs_from } => ("waiting", Some(rfc3339_millis(signs_from)), None),
            KeyState::Signing => ("signing", None, None),
            KeyState::Retired { until } => ("retired", None, Some(rfc3339_millis(until))),
            KeyState::Over => ("over", None, None),
        };
        Self { key_id: key.key_id, state, created_at: rfc3339_millis(key.created_at), signs_from, published_until }
    }
}

impl Shown {
    fn row(&self) -> [String; 4] {
        let until = match (&self.signs_from, &self.published_until) {
            (Some(from), _) => format!("signs from {from}"),
            (_, Some(until)) => format!("published until {until}"),
            _ => String::new(),
        };
        [self.key_id.clone(), self.state.to_owned(), self.created_at.clone(), until]
    }
}

/// Does what was asked for.
pub async fn run(args: KeysArgs) -> anyhow::Result<ExitCode> {
    let (keys, store) = match args.command {
        KeysCommand::Rotate(store) => (store.open().await?.rotate_keys().await?, store),
        KeysCommand::List(store) => (store.open().await?.keys().await?, store),
        KeysCommand::Drop(DropArgs { key_id, store }) => {
            let left = store.open().await?.drop_key(&key_id).await?;
            let Some(left) = left else {
                anyhow::bail!("there is no signing key {}; `dark-tower keys list` shows all", escape(&key_id, 64))
            };
            (left, store)
        }
    };
    let shown: Vec<Shown> = keys.into_iter().map(Shown::from).collect();
    store.print(&serde_json::json!({"keys": shown}), || {
        let rows: Vec<[String; 4]> = shown.iter().map(Shown::row).collect();
        table(["KEY_ID", "STATE", "CREATED", ""], &rows)
    })?;
    Ok(ExitCode::SUCCESS)
}
