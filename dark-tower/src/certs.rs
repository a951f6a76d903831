//! `dark-tower certs`: the cluster's own authority, the certificates of nodes and operators, and how both are renewed. Works on files alone;
//! running nodes notice within seconds when their copies are replaced.

mod folder;
mod rotation;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use common::clock::unix_seconds;
use common::tls::{ClusterAuthority, Holder, NodeKind, Validity, moment};
use common_core::NodeId;
use serde::Serialize;

use crate::operator::table;
use crate::output::Usage;
use folder::{Folder, Issued};
use rotation::Step;

const DAY: u64 = 24 * 3600;
/// Ten years: an authority that ends is a rotation that nobody planned.
const AUTHORITY_DAYS: u64 = 3650;
/// A year.
const NODE_DAYS: u64 = 365;
/// What rustls and people can make sense of.
const DAYS_MAX: u64 = 36_500;

/// The cluster's certificates.
#[derive(Args)]
#[command(after_help = "Examples:
  dark-tower certs init --dir certs/cluster
  dark-tower certs issue --dir certs/cluster mc-eu-1 --kind meeting-controller
  dark-tower certs list --dir certs/cluster
  dark-tower certs renew --dir certs/cluster --within 30
  dark-tower certs renew --dir certs/cluster --authority begin

Copy node.pem, node.key and cluster.pem of DIR/nodes/NODE_ID to the node ([cluster] certificate, key and authority of its
configuration). authority.key never leaves the folder. Running nodes read their files again within seconds, or at once on SIGHUP.")]
pub struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Subcommand)]
enum CertsCommand {
    /// Makes the cluster's authority: once, and never over another.
    Init(InitArgs),
    /// Issues a certificate for a node or an operator.
    Issue(IssueArgs),
    /// Issues certificates anew, or moves the cluster to a new authority.
    Renew(RenewArgs),
    /// Lists the authorities and certificates of a folder, and when each ends.
    List(ListArgs),
    /// Says whom PEM files are for, who has signed them, and when they end.
    Show(ShowArgs),
}

#[derive(Args)]
struct Place {
    /// The folder of the cluster's authority.
    #[arg(long, value_name = "DIR", default_value = "certs/cluster")]
    dir: PathBuf,
}

#[derive(Args)]
struct InitArgs {
    #[command(flatten)]
    place: Place,
    /// How long the authority is good.
    #[arg(long, value_name = "DAYS", default_value_t = AUTHORITY_DAYS, value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
    days: u64,
}

#[derive(Args)]
struct IssueArgs {
    #[command(flatten)]
    place: Place,
    /// The node's id, as in its configuration: a DNS label, such as mc-eu-1.
    #[arg(value_name = "NODE_ID", value_parser = node_id)]
    node_id: NodeId,
    /// What it is.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Where its files are written; DIR/nodes/NODE_ID otherwise.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How long the certificate is good; no longer than the authority.
    #[arg(long, value_name = "DAYS", default_value_t = NODE_DAYS, value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
    days: u64,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["node_ids", "within", "authority"]))]
struct RenewArgs {
    #[command(flatten)]
    place: Place,
    /// Whose certificates.
    #[arg(value_name = "NODE_ID", value_parser = node_id)]
    node_ids: Vec<NodeId>,
    /// All that end within so many days.
    #[arg(long, value_name = "DAYS")]
    within: Option<u64>,
    /// The next step to a new authority: begin (both are believed), switch (the new one signs), finish (the old one is believed no
    /// more). After each, every node needs its files before the next.
    #[arg(long, value_enum, value_name = "STEP")]
    authority: Option<Step>,
    /// How long the new certificates, or the new authority, are good [default: 365 for nodes, 3650 for an authority]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
    days: Option<u64>,
    /// Keeps the key of each node, for who has pinned it.
    #[arg(long, conflicts_with = "authority")]
    keep_key: bool,
    /// Where the files of the one node are written; DIR/nodes/NODE_ID otherwise.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["within", "authority"])]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct ListArgs {
    #[command(flatten)]
    place: Place,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ShowArgs {
    /// Certificates, PEM.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    GlobalController,
    MeetingController,
    MediaHandler,
    /// A person who runs `dark-tower status` and the like.
    Operator,
}

impl From<Kind> for NodeKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::GlobalController => NodeKind::GlobalController,
            Kind::MeetingController => NodeKind::MeetingController,
            Kind::MediaHandler => NodeKind::MediaHandler,
            Kind::Operator => NodeKind::Operator,
        }
    }
}

fn node_id(text: &str) -> Result<NodeId, String> {
    text.parse().map_err(|_| {
        "a node id has 1 to 63 lower-case letters, digits and hyphens, begins with a letter or digit and does not end in a hyphen, \
         such as mc-eu-1; it has no dots, because dotted names in a certificate mean something else"
            .to_owned()
    })
}

/// Does what was asked for.
#[expect(clippy::unused_async, reason = "as the other commands")]
pub async fn run(args: CertsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        CertsCommand::Init(args) => init(&args)?,
        CertsCommand::Issue(args) => issue(&args)?,
        CertsCommand::Renew(args) => renew(&args)?,
        CertsCommand::List(args) => {
            let folder = Folder::at(&args.place.dir);
            print(args.json, &[folder.authorities()?, folder.issued()?.into_iter().map(|it| it.shown).collect()].concat())?;
        }
        CertsCommand::Show(args) => {
            let shown = args.files.iter().map(|path| shown_in(path)).collect::<anyhow::Result<Vec<_>>>()?;
            print(args.json, &shown.concat())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn init(args: &InitArgs) -> anyhow::Result<()> {
    let folder = Folder::at(&args.place.dir);
    let authority = ClusterAuthority::generate_for(Duration::from_secs(args.days * DAY))?;
    folder.create(&authority)?;
    say(&format!(
        "{} is the cluster's authority until {}. Whoever has it can join the cluster: keep it off the nodes, and keep a copy of it.\n\
         Next: dark-tower certs issue --dir {} NODE_ID --kind KIND\n",
        folder.authority_path().display(),
        moment(authority.not_after()),
        args.place.dir.display()
    ))
}

fn issue(args: &IssueArgs) -> anyhow::Result<()> {
    let folder = Folder::at(&args.place.dir);
    let holder = Holder { id: args.node_id.clone(), kind: args.kind.into() };
    if let Some(before) = folder.issued()?.into_iter().find(|it| it.holder.id == holder.id) {
        bail!(
            "{} has a certificate already, as a {}, until {}: renew it by `dark-tower certs renew --dir {} {}`, or delete {} to start anew",
            holder.id,
            before.holder.kind.name(),
            before.shown.expires,
            args.place.dir.display(),
            holder.id,
            before.folder.display()
        );
    }
    let identity = folder.authority()?.issue_for(&holder, Duration::from_secs(args.days * DAY), None)?;
    let written = folder.write_node(&holder, identity, args.out.as_deref())?;
    told(&holder, &written, args.days)
}

fn renew(args: &RenewArgs) -> anyhow::Result<()> {
    let folder = Folder::at(&args.place.dir);
    if let Some(step) = args.authority {
        return say(&rotation::take(&folder, step, args.days.unwrap_or(AUTHORITY_DAYS))?);
    }
    if args.out.is_some() && args.node_ids.len() != 1 {
        return Err(Usage("--out is for one node: name one NODE_ID".to_owned()).into());
    }
    let (authority, mut issued) = (folder.authority()?, folder.issued()?);
    if let Some(days) = args.within {
        let until = unix_seconds() + days * DAY;
        issued.retain(|it| it.shown.validity.not_after <= until);
        if issued.is_empty() {
            return say(&format!("no certificate in {} ends within {days} days\n", args.place.dir.display()));
        }
    } else {
        for id in &args.node_ids {
            let is_known = issued.iter().any(|it| &it.holder.id == id);
            ensure!(is_known, "{id} has no certificate in {}: `dark-tower certs issue` makes one", args.place.dir.display());
        }
        issued.retain(|it| args.node_ids.contains(&it.holder.id));
    }
    let days = args.days.unwrap_or(NODE_DAYS);
    for Issued { holder, folder: place, .. } in &issued {
        let key = if args.keep_key { Some(folder::read_key(&args.out.clone().unwrap_or_else(|| place.clone()))?) } else { None };
        let identity = authority.issue_for(holder, Duration::from_secs(days * DAY), key.as_ref())?;
        let written = folder.write_node(holder, identity, args.out.as_deref())?;
        told(holder, &written, days)?;
    }
    Ok(())
}

/// Says what was written, and when it ends if that is sooner than was asked for.
fn told(holder: &Holder, (place, not_after): &(PathBuf, u64), days: u64) -> anyhow::Result<()> {
    let is_short = *not_after + DAY / 2 < unix_seconds() + days * DAY;
    let why = if is_short { " (the end of the authority: `certs renew --authority begin` makes another)" } else { "" };
    say(&format!(
        "{} {}: node.pem, node.key and cluster.pem in {}, good until {}{why}\n",
        holder.kind.name(),
        holder.id,
        place.display(),
        moment(*not_after)
    ))
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(crate::output::print(text)?)
}

/// A certificate as it is printed.
#[derive(Clone, Debug, Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
    kind: String,
    serial: String,
    expires: String,
    days_left: u64,
    issuer: String,
    #[serde(skip)]
    validity: Validity,
}

impl Shown {
    fn new(node_id: Option<String>, kind: &str, validity: Validity, issuer: String) -> Self {
        Self {
            node_id,
            kind: kind.to_owned(),
            serial: validity.serial.clone(),
            expires: moment(validity.not_after),
            days_left: validity.not_after.saturating_sub(unix_seconds()) / DAY,
            issuer,
            validity,
        }
    }

    fn row(&self) -> [String; 6] {
        let left = if unix_seconds() >= self.validity.not_after { "EXPIRED".to_owned() } else { self.days_left.to_string() };
        let id = self.node_id.clone().unwrap_or_else(|| "-".to_owned());
        [id, self.kind.clone(), self.expires.clone(), left, self.issuer.clone(), self.serial.clone()]
    }
}

fn print(as_json: bool, certificates: &[Shown]) -> anyhow::Result<()> {
    if as_json {
        return say(&(serde_json::to_string_pretty(&serde_json::json!({"certificates": certificates}))? + "\n"));
    }
    let rows: Vec<[String; 6]> = certificates.iter().map(Shown::row).collect();
    say(&table(["NODE_ID", "KIND", "EXPIRES", "DAYS", "SIGNED_BY", "SERIAL"], &rows))
}

/// Every certificate in a PEM file.
fn shown_in(path: &Path) -> anyhow::Result<Vec<Shown>> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    folder::certificates(&pem)
        .and_then(|all| all.iter().map(folder::shown).collect::<anyhow::Result<Vec<_>>>())
        .with_context(|| format!("{} holds no certificates", path.display()))
}
