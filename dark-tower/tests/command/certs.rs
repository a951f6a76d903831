//! `dark-tower certs`: an authority, certificates, renewals and a rotation, as an operator types them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::tls::{Holder, IdentityFiles, NodeIdentity, NodeKind, Validity};
use serde_json::Value;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A folder without an authority.
    fn empty() -> Self {
        common::tls::install_crypto_provider();
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// With an authority.
    fn new() -> Self {
        let place = Self::empty();
        place.does(&["init"]);
        place
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dark-tower"));
        command.arg("certs").args(arguments).arg("--dir").arg(self.dir()).output().expect("it runs")
    }

    /// What it prints.
    fn does(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Why it refuses.
    fn refuses(&self, arguments: &[&str], because: &str) {
        let output = self.run(arguments);
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty() && reason.contains(because), "{arguments:?}: {reason}");
    }

    fn node(&self, id: &str) -> PathBuf {
        self.dir().join("nodes").join(id)
    }

    fn list(&self) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.does(&["list", "--json"])).expect("JSON");
        list["certificates"].as_array().expect("a list").clone()
    }
}

/// What the folder of a node holds, as the node itself would read it.
fn read(folder: &Path, id: &str, kind: NodeKind) -> NodeIdentity {
    let files = IdentityFiles { certificate: folder.join("node.pem"), key: folder.join("node.key"), authority: folder.join("cluster.pem") };
    files.read(&Holder { id: id.parse().expect("a node id"), kind }).expect("it serves")
}

fn days_left(identity: &NodeIdentity) -> u64 {
    let validity = Validity::of(&identity.chain().expect("PEM")[0]).expect("it parses");
    (validity.not_after - common::clock::unix_seconds() + 60) / (24 * 3600)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn nodes_get_certificates_of_one_authority() {
    let place = Place::new();
    assert_eq!((mode(&place.dir()), mode(&place.dir().join("authority.key"))), (0o700, 0o600));
    let said = place.does(&["issue", "mc-eu-1", "--kind", "meeting-controller"]);
    assert!(said.contains("meeting-controller mc-eu-1: node.pem, node.key and cluster.pem in ") && !said.contains("PRIVATE"), "{said}");
    let identity = read(&place.node("mc-eu-1"), "mc-eu-1", NodeKind::MeetingController);
    identity.check().expect("the authority believes it");
    assert_eq!((days_left(&identity), mode(&place.node("mc-eu-1").join("node.key"))), (365, 0o600));

    let out = place.folder.path().join("elsewhere");
    place.does(&["issue", "mh-1", "--kind", "media-handler", "--days", "30", "--out", out.to_str().expect("UTF-8")]);
    assert_eq!(days_left(&read(&out, "mh-1", NodeKind::MediaHandler)), 30);
    assert!(!place.node("mh-1").join("node.key").exists(), "its key is where it was asked for");
    place.does(&["issue", "ana", "--kind", "operator"]);
    place.does(&["issue", "gc-1", "--kind", "global-controller"]);

    let list = place.list();
    let kinds: Vec<&str> = list.iter().map(|it| it["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["authority", "operator", "global-controller", "meeting-controller", "media-handler"]);
    assert_eq!((&list[4]["node_id"], &list[4]["issuer"]), (&"mh-1".into(), &list[0]["issuer"]));
    // Whole days: all thirty only within the second in which it was made.
    assert!(matches!(list[4]["days_left"].as_u64(), Some(29 | 30)), "{}", list[4]);
    let table = place.does(&["list"]);
    assert!(table.starts_with("NODE_ID") && table.lines().count() == 6, "{table}");

    let shown = Command::new(env!("CARGO_BIN_EXE_dark-tower")).args(["certs", "show"]).arg(out.join("node.pem")).output().expect("it runs");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("media-handler"), "{shown:?}");
}

#[test]
fn errors_say_what_would_be_right() {
    let place = Place::empty();
    place.refuses(&["issue", "mc-1", "--kind", "media-handler"], "make one by `dark-tower certs init --dir");
    place.refuses(&["list"], "make one by `dark-tower certs init --dir");
    place.does(&["init", "--days", "100"]);
    let key = std::fs::read(place.dir().join("authority.key")).expect("it is there");
    place.refuses(&["init"], "an authority that is written over cannot be brought back");
    assert_eq!(std::fs::read(place.dir().join("authority.key")).expect("it is there"), key);
    for id in ["mc_1", "MC-1", "mc-1.example.org", "mc-", "", &"a".repeat(64)] {
        place.refuses(&["issue", id, "--kind", "media-handler"], "such as mc-eu-1");
    }
    place.refuses(&["issue", "mc-1", "--kind", "controller"], "meeting-controller");
    place.refuses(&["issue", "mc-1"], "--kind");
    place.refuses(&["issue", "mc-1", "--kind", "operator", "--days", "0"], "0 is not in 1..=36500");
    let said = place.does(&["issue", "mc-1", "--kind", "meeting-controller"]);
    assert!(said.contains("the end of the authority"), "a year is longer than its hundred days: {said}");
    place.refuses(&["issue", "mc-1", "--kind", "media-handler"], "renew it by `dark-tower certs renew");
    place.refuses(&["renew", "mc-2"], "mc-2 has no certificate");
    place.refuses(&["renew"], "NODE_ID");
    // A broken key is told of, not worked around.
    std::fs::write(place.dir().join("authority.key"), "nothing").expect("written");
    place.refuses(&["issue", "mc-2", "--kind", "meeting-controller"], "authority.key holds no certificate");
}

#[test]
fn certificates_are_renewed_by_name_or_by_their_end() {
    let place = Place::new();
    for (id, days) in [("mc-1", "10"), ("mc-2", "100"), ("mc-3", "10")] {
        place.does(&["issue", id, "--kind", "meeting-controller", "--days", days]);
    }
    let now = |id: &str| read(&place.node(id), id, NodeKind::MeetingController);
    let before = ["mc-1", "mc-2", "mc-3"].map(now);
    place.does(&["renew", "--within", "30", "--days", "60"]);
    let after = ["mc-1", "mc-2", "mc-3"].map(now);
    assert_eq!(after.each_ref().map(days_left), [60, 100, 60]);
    assert_eq!((&after[1], before[0].key_pem == after[0].key_pem), (&before[1], false));
    assert!(place.does(&["renew", "--within", "30"]).contains("no certificate"));
    place.does(&["renew", "mc-2", "--keep-key"]);
    let kept = now("mc-2");
    assert_eq!((kept.key_pem == before[1].key_pem, days_left(&kept)), (true, 365));
    assert_eq!(mode(&place.node("mc-2").join("node.key")), 0o600);
}

/// At no step is there a node that another does not believe, whichever of the two has its new files already.
#[test]
fn the_authority_is_rotated_in_steps() {
    let place = Place::new();
    let ids = ["mc-1", "mc-2"];
    ids.iter().for_each(|id| drop(place.does(&["issue", id, "--kind", "meeting-controller"])));
    let now = || ids.map(|id| read(&place.node(id), id, NodeKind::MeetingController));
    let believe_each_other = |old: &[NodeIdentity; 2], new: &[NodeIdentity; 2]| {
        for (shown, believer) in [(&old[0], &new[1]), (&new[0], &old[1]), (&new[0], &new[1])] {
            let met = NodeIdentity { authority_pem: believer.authority_pem.clone(), ..shown.clone() };
            met.check().expect("it is believed");
        }
    };
    place.refuses(&["renew", "--authority", "switch"], "`--authority begin` makes the new authority first");
    place.refuses(&["renew", "--authority", "finish"], "there is nothing to finish");
    let first = now();
    assert!(place.does(&["renew", "--authority", "begin"]).contains("--authority switch"));
    let begun = now();
    believe_each_other(&first, &begun);
    assert_eq!(begun[0].authorities().map(|all| all.len()).ok(), Some(2));
    place.refuses(&["renew", "--authority", "begin"], "a rotation has begun already");
    place.refuses(&["renew", "--authority", "finish"], "`--authority switch` comes first");
    // A node that comes now is of the old authority still, and believes both.
    place.does(&["issue", "mc-3", "--kind", "meeting-controller"]);
    assert!(place.does(&["renew", "--authority", "switch"]).contains("mc-1, mc-2, mc-3"));
    let switched = now();
    believe_each_other(&begun, &switched);
    place.refuses(&["renew", "--authority", "switch"], "no rotation has begun");
    place.refuses(&["renew", "--authority", "begin"], "end that rotation first");
    // One whose certificate was put back by mistake is named.
    let path = place.node("mc-3").join("node.pem");
    let good = std::fs::read(&path).expect("it is there");
    std::fs::write(&path, &first[0].certificate_pem).expect("written");
    place.refuses(&["renew", "--authority", "finish"], "these have no good certificate of the new authority: meeting-controller mc-1");
    std::fs::write(&path, good).expect("written");
    place.does(&["renew", "--authority", "finish"]);
    let finished = now();
    believe_each_other(&switched, &finished);
    let old = NodeIdentity { authority_pem: finished[0].authority_pem.clone(), ..first[0].clone() };
    assert!(old.check().is_err(), "the old authority is worth nothing");
    assert_eq!(place.list().iter().filter(|it| it["kind"] == "authority").count(), 1);
}
