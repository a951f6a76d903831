//! `dark-tower client`: programs that may use the API. Works on the store; running global controllers notice within a second or two.

use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use common_core::name::escape;
use global_controller::Scopes;
use global_controller::admin::{NewClient, rfc3339_millis};
use global_controller::store::{ApiClient, ClientChange};
use serde::Serialize;
use uuid::Uuid;

use crate::operator::{StoreArgs, table};
use crate::output::Usage;

/// What most applications need: meetings of their own, and nothing in other people's names.
const SCOPES_DEFAULT: &str = "meetings:create meetings:read meetings:join meetings:end";
/// Of the list.
const HEAD: [&str; 6] = ["CLIENT_ID", "NAME", "TENANT", "LIMIT", "STATE", "SCOPES"];
/// Characters of a name that a line of the list shows.
const NAME_SHOWN: usize = 40;

/// Programs that may use the API (OAuth 2.0 client credentials).
#[derive(Args)]
pub struct ClientArgs {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Subcommand)]
enum ClientCommand {
    /// Makes an API client, and shows its secret this once.
    Create(CreateArgs),
    /// Lists all API clients, without secrets.
    List(StoreArgs),
    /// Gives an API client other scopes or another rate limit; tokens that it has keep theirs until they expire.
    Set(SetArgs),
    /// Shuts an API client out for good: it gets no token, and those that it has are refused within two seconds.
    Revoke(RevokeArgs),
}

#[derive(Args)]
#[command(after_help = "Examples:
  dark-tower client create \"Calendar\" --config /etc/dark-tower/global-controller.toml
  dark-tower client create bot --scope meetings:read --scope meetings:join --rate-limit 600 --json --data-dir data

The secret is printed on standard output and kept nowhere: only its argon2id hash is stored.
Clients of one tenant see the same meetings; each client has a tenant of its own unless --tenant says which.

Scopes: meetings:create, meetings:read, meetings:join, meetings:end, participants:act-as (its user_id is believed),
participants:manage (remove and mute), webhooks:manage.")]
struct CreateArgs {
    /// What it is called in lists.
    name: String,
    /// What it may do; may be repeated. Default: meetings:create, meetings:read, meetings:join and meetings:end.
    #[arg(long = "scope", value_name = "SCOPE", value_parser = |text: &str| text.replace(',', " ").parse::<Scopes>())]
    scopes: Vec<Scopes>,
    /// Requests in a window of the rate limit (a minute, unless configured), in place of what is configured for all.
    #[arg(long, value_name = "NUMBER")]
    rate_limit: Option<NonZeroU32>,
    /// Whose meetings it sees, as another client's tenant in `client list`. Default: a new tenant.
    #[arg(long, value_name = "UUID")]
    tenant: Option<Uuid>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
#[command(after_help = "Example:
  dark-tower client revoke 2f0c9a51-7d1c-4b67-8f2e-0b5c3f8f2a11 --config /etc/dark-tower/global-controller.toml")]
struct RevokeArgs {
    /// Its client_id.
    id: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:
  dark-tower client set 2f0c9a51-7d1c-4b67-8f2e-0b5c3f8f2a11 --rate-limit 600 --config /etc/dark-tower/global-controller.toml
  dark-tower client set 2f0c9a51-7d1c-4b67-8f2e-0b5c3f8f2a11 --rate-limit usual --scope meetings:read --data-dir data

It holds for the next access token. To take something away at once, revoke the client and make another.")]
struct SetArgs {
    /// Its client_id.
    id: String,
    /// All that it may do from now on; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", value_parser = |text: &str| text.replace(',', " ").parse::<Scopes>())]
    scopes: Vec<Scopes>,
    /// Requests in a window of the rate limit, or `usual`: as many as others.
    #[arg(long, value_name = "NUMBER|usual", value_parser = rate_limit)]
    rate_limit: Option<RateLimit>,
    #[command(flatten)]
    store: StoreArgs,
}

/// `None`: as many as others.
#[derive(Clone, Copy)]
struct RateLimit(Option<u32>);

fn rate_limit(text: &str) -> Result<RateLimit, String> {
    if text == "usual" {
        return Ok(RateLimit(None));
    }
    text.parse::<NonZeroU32>().map(|number| RateLimit(Some(number.get()))).map_err(|_| "a number of at least 1, or `usual`".to_owned())
}

/// A client as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    name: &'a str,
    tenant_id: String,
    scopes: Vec<String>,
    rate_limit: Option<u32>,
    created_at: String,
    revoked_at: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(client: &'a ApiClient, client_secret: Option<&'a str>) -> Self {
        Self {
            client_id: &client.id,
            client_secret,
            name: &client.name,
            tenant_id: client.tenant.to_string(),
            scopes: client.scopes.to_string().split_whitespace().map(str::to_owned).collect(),
            rate_limit: client.rate_limit,
            created_at: rfc3339_millis(client.created_at),
            revoked_at: client.revoked_at.map(rfc3339_millis),
        }
    }

    fn row(&self) -> [String; 6] {
        let limit = self.rate_limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        let state = self.revoked_at.as_ref().map_or_else(|| format!("since {}", self.created_at), |at| format!("REVOKED {at}"));
        [self.client_id.to_owned(), escape(self.name, NAME_SHOWN), self.tenant_id.clone(), limit, state, self.scopes.join(" ")]
    }
}

/// Does what was asked for.
pub async fn run(args: ClientArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ClientCommand::Create(args) => create(args).await?,
        ClientCommand::List(store) => list(&store).await?,
        ClientCommand::Set(args) => set(args).await?,
        ClientCommand::Revoke(args) => revoke(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let words: Vec<String> = args.scopes.iter().map(Scopes::to_string).collect();
    let scopes = if words.is_empty() { SCOPES_DEFAULT.to_owned() } else { words.join(" ") };
    let wanted =
        NewClient { name: args.name, scopes: scopes.parse()?, rate_limit: args.rate_limit.map(NonZeroU32::get), tenant: args.tenant };
    let (client, secret) = args.store.open().await?.create_client(wanted).await?;
    let shown = Shown::of(&client, Some(secret.expose()));
    args.store.print(&shown, || {
        format!(
            "client_id      {}\nclient_secret  {}\ntenant_id      {}\nscopes         {}\nrate_limit     {}\n",
            shown.client_id,
            secret.expose(),
            shown.tenant_id,
            shown.scopes.join(" "),
            shown.rate_limit.map_or_else(|| "as configured".to_owned(), |limit| limit.to_string()),
        )
    })?;
    if !args.store.json {
        crate::output::complain("dark-tower client create", "keep the secret now: it is not shown again");
    }
    Ok(())
}

async fn list(store: &StoreArgs) -> anyhow::Result<()> {
    let clients = store.open().await?.clients().await?;
    let shown: Vec<Shown<'_>> = clients.iter().map(|client| Shown::of(client, None)).collect();
    store.print(&serde_json::json!({"clients": shown}), || {
        let rows: Vec<[String; 6]> = shown.iter().map(Shown::row).collect();
        table(HEAD, &rows)
    })
}

async fn set(args: SetArgs) -> anyhow::Result<()> {
    let words: Vec<String> = args.scopes.iter().map(Scopes::to_string).collect();
    let scopes = if words.is_empty() { None } else { Some(words.join(" ").parse()?) };
    let change = ClientChange { scopes, rate_limit: args.rate_limit.map(|RateLimit(limit)| limit) };
    if change == ClientChange::default() {
        return Err(Usage("nothing is to be changed: give --scope or --rate-limit".to_owned()).into());
    }
    let Some(client) = args.store.open().await?.change_client(&args.id, change).await? else {
        anyhow::bail!("there is no API client {} that may be changed; `dark-tower client list` shows all", escape(&args.id, 64));
    };
    let shown = Shown::of(&client, None);
    args.store.print(&shown, || table(HEAD, &[shown.row()]))
}

async fn revoke(args: RevokeArgs) -> anyhow::Result<()> {
    if !args.store.open().await?.revoke_client(&args.id).await? {
        anyhow::bail!("there is no API client {}; `dark-tower client list` shows all", escape(&args.id, 64));
    }
    let id = &args.id;
    args.store.print(&serde_json::json!({"client_id": id, "revoked": true}), || format!("{id} is shut out\n"))
}
