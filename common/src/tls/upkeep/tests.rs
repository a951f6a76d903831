//! Looks at files that change, without waiting for the time between looks.

use std::path::PathBuf;

use super::*;
use crate::tls::{ClusterAuthority, NodeIdentity, NodeKind};

const DAY: u64 = 24 * 3600;

struct Files {
    folder: tempfile::TempDir,
    authority: ClusterAuthority,
}

impl Files {
    fn new() -> Self {
        crate::tls::install_crypto_provider();
        let it = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            authority: ClusterAuthority::generate().expect("an authority"),
        };
        it.write(&it.issue());
        it
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn holder() -> Holder {
        Holder { id: "mh-1".parse().expect("a node id"), kind: NodeKind::MediaHandler }
    }

    fn issue(&self) -> NodeIdentity {
        self.authority.issue(&Self::holder().id, NodeKind::MediaHandler).expect("a certificate")
    }

    fn write(&self, identity: &NodeIdentity) {
        for (name, text) in
            [("node.pem", &identity.certificate_pem), ("node.key", &identity.key_pem), ("cluster.pem", &identity.authority_pem)]
        {
            std::fs::write(self.at(name), text).expect("written");
        }
    }

    fn write_public(&self) -> Certificate {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["meet.example.org".to_owned()]).expect("a name");
        std::fs::write(self.at("public.pem"), params.self_signed(&key).expect("a certificate").pem()).expect("written");
        std::fs::write(self.at("public.key"), key.serialize_pem()).expect("written");
        Certificate::load(&self.at("public.pem"), &self.at("public.key")).expect("they fit")
    }

    fn upkeep(&self, public: PublicSource) -> Upkeep {
        let files = IdentityFiles { certificate: self.at("node.pem"), key: self.at("node.key"), authority: self.at("cluster.pem") };
        Upkeep::of_node(files, Self::holder(), public).expect("all in order").0
    }

    fn self_signed() -> PublicSource {
        PublicSource::configured(None, None, &["localhost".to_owned()], SELF_SIGNED_LIFE).expect("a good life")
    }
}

/// What is half written is kept out, what is whole is taken, and connections of before are told.
#[test]
fn a_node_certificate_is_replaced_when_all_of_it_is_there() {
    let files = Files::new();
    let mut upkeep = files.upkeep(Files::self_signed());
    let identity = upkeep.identity().expect("it was made with one");
    let (first, second, replaced) = (identity.current(), files.issue(), identity.replaced());
    let now = unix_seconds();

    std::fs::write(files.at("node.pem"), &second.certificate_pem).expect("written");
    upkeep.look(now);
    assert!(upkeep.problems[0].as_ref().is_some_and(|text| text.contains("node.key: it is not the key of")), "{:?}", upkeep.problems);
    assert_eq!(identity.current(), first);

    std::fs::write(files.at("node.key"), &second.key_pem).expect("written");
    upkeep.look(now);
    assert_eq!((upkeep.problems[0].clone(), &*identity.current(), replaced.is_cancelled()), (None, &second, true));

    // Another node's is no replacement, and neither is one that has expired, though its files are in order.
    let stranger = files.authority.issue(&"mh-2".parse().expect("a node id"), NodeKind::MediaHandler).expect("a certificate");
    files.write(&stranger);
    upkeep.look(now);
    assert!(upkeep.problems[0].as_ref().is_some_and(|text| text.contains("this node is the media-handler mh-1")), "{:?}", upkeep.problems);
    files.write(&files.issue());
    upkeep.look(now + 366 * DAY);
    assert!(upkeep.problems[0].as_ref().is_some_and(|text| text.contains("has expired")), "{:?}", upkeep.problems);
    assert_eq!(&*identity.current(), &second);

    // An authority more is a replacement as well.
    let other = ClusterAuthority::generate().expect("another");
    files.write(&NodeIdentity { authority_pem: format!("{}{}", second.authority_pem, other.certificate_pem()), ..second });
    upkeep.look(now);
    assert_eq!(identity.current().authorities().map(|all| all.len()).ok(), Some(2));
}

#[test]
fn a_public_certificate_from_files_is_replaced() {
    let files = Files::new();
    let first = files.write_public();
    let (chain, key) = (files.at("public.pem"), files.at("public.key"));
    let source = PublicSource::configured(Some(&chain), Some(&key), &[], SELF_SIGNED_LIFE).expect("both");
    let mut upkeep = files.upkeep(source);
    let live = upkeep.certificate();
    assert_eq!((live.current().sha256(), live.hashes().len()), (first.sha256(), 0), "browsers know who has signed it");
    let second = files.write_public();
    std::fs::write(&chain, first.chain[0].as_ref()).expect("written");
    upkeep.look(unix_seconds());
    assert!(upkeep.problems[1].as_ref().is_some_and(|text| text.contains("public.pem")), "{:?}", upkeep.problems);
    assert_eq!(live.current().sha256(), first.sha256());
    let third = files.write_public();
    upkeep.look(unix_seconds());
    assert_eq!((upkeep.problems[1].clone(), live.current().sha256()), (None, third.sha256()));
    assert_ne!(second.sha256(), third.sha256());
}

/// Each certificate is published long before it is used, and is out of use before it ends.
#[test]
fn self_signed_certificates_follow_each_other() {
    let files = Files::new();
    let mut upkeep = files.upkeep(Files::self_signed());
    let live = upkeep.certificate();
    let mut known = live.hashes();
    assert_eq!(known.len(), 2);
    let start = unix_seconds();
    let mut replacements = 0;
    for hour in 0..60 * 24 {
        let now = start + hour * 3600;
        upkeep.look(now);
        let hashes = live.hashes();
        assert!(hashes.len() == 2 && known.contains(&hashes[0]), "what is used was published before");
        assert!(Validity::of(&live.current().chain[0]).is_ok_and(|it| it.not_after > now), "it has not ended");
        if hashes != known {
            assert_eq!(hashes[0], known[1], "the next one has taken over");
            replacements += 1;
            known = hashes;
        }
    }
    assert_eq!(replacements, 9, "sixty days by six");
    // After a sleep longer than any life both are new.
    upkeep.look(start + 200 * DAY);
    assert!(live.hashes().iter().all(|hash| !known.contains(hash)));
}

#[test]
fn readiness_tells_of_what_has_expired() {
    let files = Files::new();
    let upkeep = files.upkeep(Files::self_signed());
    let checks = upkeep.readiness();
    assert!(checks.len() == 3 && checks.iter().all(|it| (it.check)().is_ok()));
    let ended = Validity { not_before: 0, not_after: 1_700_000_000, serial: String::new(), subject: String::new(), issuer: String::new() };
    assert_eq!(good(Ok(ended)), Err("expired at 2023-11-14T22:13:20Z".to_owned()));
    let life = PublicSource::configured(None, None, &[], Duration::from_secs(15 * DAY));
    assert!(life.is_err_and(|error| error.to_string().contains("self_signed_life_ms")));
}
