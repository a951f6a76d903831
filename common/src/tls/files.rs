//! Certificates from files: what belongs together, and which file is at fault when it does not.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, InconsistentKeys};

use super::{Certificate, Holder, NodeIdentity, TlsError, Validity};

/// The three files of a node's identity, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whom to believe.
    pub authority: PathBuf,
}

impl IdentityFiles {
    /// What the files hold, if it can serve as `holder`: the key is the certificate's, one of the authorities has signed it, and it is for
    /// this node. Its dates are not looked at (see [`NodeIdentity::check`]). Errors name the file.
    pub fn read(&self, holder: &Holder) -> Result<NodeIdentity, TlsError> {
        let identity = NodeIdentity::load(&self.certificate, &self.key, &self.authority)?;
        let chain = identity.chain().map_err(|error| wrong(&self.certificate, error))?;
        let named = Holder::of(&chain[0]).map_err(|error| wrong(&self.certificate, error))?;
        if &named != holder {
            let reason = format!(
                "the certificate is for the {} {}, and this node is the {} {}",
                named.kind.name(),
                named.id,
                holder.kind.name(),
                holder.id
            );
            return Err(wrong(&self.certificate, reason));
        }
        identity.authorities().map_err(|error| wrong(&self.authority, error))?;
        identity.secured().map_err(|error| match error {
            TlsError::Use(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                wrong(&self.key, format!("it is not the key of {}", self.certificate.display()))
            }
            TlsError::Material { what: "the node key", reason } => wrong(&self.key, reason),
            other => wrong(&self.certificate, other),
        })?;
        match identity.check() {
            Err(TlsError::Use(rustls::Error::InvalidCertificate(error))) if !is_about_dates(&error) => {
                let reason = format!("none of the authorities in {} has signed it ({error:?})", self.authority.display());
                Err(wrong(&self.certificate, reason))
            }
            _ => Ok(identity),
        }
    }
}

/// Whether a certificate is refused for the time alone.
fn is_about_dates(error: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

fn wrong(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Wrong { path: path.into(), reason: reason.to_string() }
}

impl Certificate {
    /// Reads a PEM chain (leaf first) and a PEM key, as a public authority hands them out. Errors name the file.
    pub fn load(chain_path: &Path, key_path: &Path) -> Result<Self, TlsError> {
        let fail = |what, path: &Path, reason: String| TlsError::File { what, path: path.into(), reason };
        let chain = CertificateDer::pem_file_iter(chain_path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| fail("a certificate chain", chain_path, error.to_string()))?;
        if chain.is_empty() {
            return Err(fail("a certificate chain", chain_path, "no certificate in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(key_path).map_err(|error| fail("a private key", key_path, error.to_string()))?;
        let certificate = Self { chain, key, self_signed: false };
        certificate.certified().map_err(|error| match error {
            TlsError::Use(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                wrong(key_path, format!("it is not the key of {}", chain_path.display()))
            }
            other => wrong(chain_path, other),
        })?;
        Ok(certificate)
    }
}

/// Refuses dates that `now` (seconds since the epoch) is not within.
pub(super) fn expect_current(path: &Path, validity: &Validity, now: u64) -> Result<(), TlsError> {
    if now >= validity.not_after {
        return Err(wrong(path, format!("the certificate {} has expired", validity.serial)));
    }
    if now < validity.not_before {
        return Err(wrong(path, format!("the certificate {} is not good yet", validity.serial)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{ClusterAuthority, NodeKind};

    #[test]
    fn errors_name_the_file_at_fault() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let files = IdentityFiles { certificate: at("node.pem"), key: at("node.key"), authority: at("cluster.pem") };
        let (authority, other) = (ClusterAuthority::generate().expect("an authority"), ClusterAuthority::generate().expect("another"));
        let holder = |id: &str| Holder { id: id.parse().expect("a node id"), kind: NodeKind::MediaHandler };
        let issue = |authority: &ClusterAuthority| authority.issue(&holder("mh-1").id, NodeKind::MediaHandler).expect("a certificate");
        let (good, foreign) = (issue(&authority), issue(&other));
        let check = |identity: &NodeIdentity, id: &str, expected: Result<(), (&str, &str)>| {
            std::fs::write(&files.certificate, &identity.certificate_pem).expect("written");
            std::fs::write(&files.key, &identity.key_pem).expect("written");
            std::fs::write(&files.authority, &identity.authority_pem).expect("written");
            match (files.read(&holder(id)), expected) {
                (Ok(read), Ok(())) => assert_eq!(&read, identity),
                (Err(error), Err((file, reason))) => {
                    let text = error.to_string();
                    assert!(text.contains(&format!("{file}: ")) && text.contains(reason), "{text}");
                }
                (result, expected) => panic!("{result:?} instead of {expected:?}"),
            }
        };
        check(&good, "mh-1", Ok(()));
        check(&good, "mh-2", Err(("node.pem", "is for the media-handler mh-1, and this node is the media-handler mh-2")));
        check(&NodeIdentity { key_pem: foreign.key_pem.clone(), ..good.clone() }, "mh-1", Err(("node.key", "it is not the key of")));
        check(&NodeIdentity { key_pem: good.key_pem[..60].to_owned(), ..good.clone() }, "mh-1", Err(("node.key", "")));
        let half = &good.certificate_pem[..good.certificate_pem.len() / 2];
        check(&NodeIdentity { certificate_pem: half.to_owned(), ..good.clone() }, "mh-1", Err(("node.pem", "")));
        check(
            &NodeIdentity { authority_pem: foreign.authority_pem.clone(), ..good.clone() },
            "mh-1",
            Err(("node.pem", "none of the authorities")),
        );
        check(&NodeIdentity { authority_pem: "\n".to_owned(), ..good.clone() }, "mh-1", Err(("cluster.pem", "no certificate in it")));
        std::fs::remove_file(&files.key).expect("it was there");
        assert!(files.read(&holder("mh-1")).expect_err("it is not there").to_string().contains("node.key"));
    }
}
