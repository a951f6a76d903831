//! The folder of a cluster's authority. In: PEM. Out: files that are written whole or not at all, keys that their owner alone reads.
//!
//! ```text
//! DIR/authority.key         the authority that signs: its key and its certificate, in one file so that they never part
//! DIR/next.key              the one that will, between `begin` and `switch`
//! DIR/cluster.pem           the authorities that nodes believe: one, or two while one follows the other
//! DIR/nodes/NODE_ID/        node.pem, node.key, cluster.pem
//! ```

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use common::Secret;
use common::tls::{CertificateDer, ClusterAuthority, Holder, NodeIdentity, Validity, pem_certificates};

use super::Shown;

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// See the module.
pub(super) struct Folder {
    path: PathBuf,
}

/// A node's certificate that was issued here.
pub(super) struct Issued {
    pub holder: Holder,
    pub folder: PathBuf,
    pem: String,
    pub shown: Shown,
}

impl Issued {
    /// Whether who believes `authority` alone believes this one, now.
    pub fn is_signed_by(&self, authority: &ClusterAuthority) -> bool {
        let authority_pem = authority.certificate_pem().to_owned();
        NodeIdentity { certificate_pem: self.pem.clone(), key_pem: String::new(), authority_pem }.check().is_ok()
    }
}

impl Folder {
    pub fn at(path: &Path) -> Self {
        Self { path: path.into() }
    }

    pub fn authority_path(&self) -> PathBuf {
        self.path.join("authority.key")
    }

    pub fn next_path(&self) -> PathBuf {
        self.path.join("next.key")
    }

    pub fn believed_path(&self) -> PathBuf {
        self.path.join("cluster.pem")
    }

    /// Makes the folder, and keeps its first authority.
    pub fn create(&self, authority: &ClusterAuthority) -> anyhow::Result<()> {
        make_private_folder(&self.path)?;
        for path in [self.authority_path(), self.believed_path()] {
            ensure!(
                !path.exists(),
                "{} is there already, and an authority that is written over cannot be brought back: name another folder by --dir, or \
                 move this cluster to a new authority by `dark-tower certs renew --authority begin`",
                path.display()
            );
        }
        write_new(&self.authority_path(), both(authority).expose(), PRIVATE)?;
        write(&self.believed_path(), authority.certificate_pem(), PUBLIC)
    }

    /// The one that signs.
    pub fn authority(&self) -> anyhow::Result<ClusterAuthority> {
        let path = self.authority_path();
        if !path.exists() {
            bail!(
                "there is no authority in {} ({} is missing): make one by `dark-tower certs init --dir {}`, or name its folder by --dir",
                self.path.display(),
                path.display(),
                self.path.display()
            );
        }
        read_authority(&path)
    }

    /// The one that follows, if there is one yet.
    pub fn next(&self) -> anyhow::Result<Option<ClusterAuthority>> {
        let path = self.next_path();
        if path.exists() { read_authority(&path).map(Some) } else { Ok(None) }
    }

    /// What nodes believe, PEM.
    pub fn believed(&self) -> anyhow::Result<String> {
        let path = self.believed_path();
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The authorities that nodes believe, as they are printed.
    pub fn authorities(&self) -> anyhow::Result<Vec<Shown>> {
        self.authority()?;
        certificates(&self.believed()?)?.iter().map(shown).collect()
    }

    /// Every certificate that was issued here, by id.
    pub fn issued(&self) -> anyhow::Result<Vec<Issued>> {
        let nodes = self.path.join("nodes");
        let entries = match std::fs::read_dir(&nodes) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", nodes.display())),
        };
        let mut all = Vec::new();
        for entry in entries {
            let folder = entry.with_context(|| format!("cannot read {}", nodes.display()))?.path();
            let path = folder.join("node.pem");
            let pem = match std::fs::read_to_string(&path) {
                Ok(pem) => pem,
                // Somebody else's folder or file.
                Err(_) if !path.exists() => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            };
            let read = || -> anyhow::Result<Issued> {
                let certificate = certificates(&pem)?.swap_remove(0);
                let holder = Holder::of(&certificate)?;
                Ok(Issued { holder, shown: shown(&certificate)?, pem: pem.clone(), folder: folder.clone() })
            };
            all.push(read().with_context(|| format!("{} is no certificate of a node", path.display()))?);
        }
        all.sort_by(|a, b| a.holder.id.cmp(&b.holder.id));
        Ok(all)
    }

    /// Writes a node's three files to `out`, or to its place here; says where, and when the certificate ends. The certificate alone is
    /// kept here in any case, so that it is listed and renewed.
    pub fn write_node(&self, holder: &Holder, identity: NodeIdentity, out: Option<&Path>) -> anyhow::Result<(PathBuf, u64)> {
        let identity = NodeIdentity { authority_pem: self.believed()?, ..identity };
        identity
            .check()
            .with_context(|| format!("{} does not belong to {}", self.authority_path().display(), self.believed_path().display()))?;
        let here = self.path.join("nodes").join(holder.id.as_str());
        let place = out.map_or_else(|| here.clone(), Path::to_owned);
        make_private_folder(&place)?;
        // The certificate last: it is by the certificate that a folder counts as a node's.
        write(&place.join("cluster.pem"), &identity.authority_pem, PUBLIC)?;
        write(&place.join("node.key"), &identity.key_pem, PRIVATE)?;
        write(&place.join("node.pem"), &identity.certificate_pem, PUBLIC)?;
        if place != here {
            make_private_folder(&here)?;
            write(&here.join("node.pem"), &identity.certificate_pem, PUBLIC)?;
        }
        Ok((place, Validity::of(&identity.chain()?[0])?.not_after))
    }

    /// Changes what nodes believe, here and in each node's folder.
    pub fn write_believed(&self, pem: &str) -> anyhow::Result<()> {
        for node in self.issued()? {
            write(&node.folder.join("cluster.pem"), pem, PUBLIC)?;
        }
        // Last: a step that ended half-way is seen by it, and taken again.
        write(&self.believed_path(), pem, PUBLIC)
    }

    /// Keeps the authority that follows.
    pub fn write_next(&self, authority: &ClusterAuthority) -> anyhow::Result<()> {
        write_new(&self.next_path(), both(authority).expose(), PRIVATE)
    }

    /// The one that follows signs from now on.
    pub fn switch(&self) -> anyhow::Result<()> {
        let (from, to) = (self.next_path(), self.authority_path());
        std::fs::rename(&from, &to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
    }
}

fn both(authority: &ClusterAuthority) -> Secret {
    Secret::new(format!("{}{}", authority.key_pem().expose(), authority.certificate_pem()))
}

fn read_authority(path: &Path) -> anyhow::Result<ClusterAuthority> {
    let pem = Secret::new(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?);
    let begin = pem.expose().find("-----BEGIN CERTIFICATE-----");
    let begin = begin.with_context(|| format!("{} holds no certificate behind its key", path.display()))?;
    let (key, certificate) = pem.expose().split_at(begin);
    ClusterAuthority::from_pem(certificate, &Secret::new(key)).with_context(|| format!("{} is no authority", path.display()))
}

/// The key of a node that was issued to `place`.
pub(super) fn read_key(place: &Path) -> anyhow::Result<Secret> {
    let path = place.join("node.key");
    let key = std::fs::read_to_string(&path).with_context(|| format!("cannot read the key to keep, {}", path.display()))?;
    Ok(Secret::new(key))
}

/// At least one.
pub(super) fn certificates(pem: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    Ok(pem_certificates("a PEM file", pem)?)
}

pub(super) fn shown(certificate: &CertificateDer<'static>) -> anyhow::Result<Shown> {
    let validity = Validity::of(certificate)?;
    let issuer = validity.issuer.clone();
    Ok(match Holder::of(certificate) {
        Ok(holder) => Shown::new(Some(holder.id.to_string()), holder.kind.name(), validity, issuer),
        Err(_) if validity.subject == issuer => Shown::new(None, "authority", validity, issuer),
        Err(_) => Shown::new(None, "other", validity, issuer),
    })
}

fn make_private_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Writes a file whole or not at all, in the place of what was there.
fn write(path: &Path, contents: &str, mode: u32) -> anyhow::Result<()> {
    let partial = write_beside(path, contents, mode)?;
    std::fs::rename(&partial, path).and_then(|()| sync_folder(path)).with_context(|| format!("cannot write {}", path.display()))
}

/// [`write`], where nothing may be there.
fn write_new(path: &Path, contents: &str, mode: u32) -> anyhow::Result<()> {
    let partial = write_beside(path, contents, mode)?;
    // A link, unlike a rename, fails if there is something.
    let linked = std::fs::hard_link(&partial, path).and_then(|()| sync_folder(path));
    // What is left over is named for what it is, and the next try writes over it.
    let _ = std::fs::remove_file(&partial);
    linked.with_context(|| format!("cannot write {}", path.display()))
}

fn write_beside(path: &Path, contents: &str, mode: u32) -> anyhow::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let written = || -> std::io::Result<()> {
        // One that a crash left may be readable for more than its owner.
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()
    };
    written().with_context(|| format!("cannot write {}", partial.display()))?;
    Ok(partial)
}

/// So that the name outlives a power cut as well.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}
