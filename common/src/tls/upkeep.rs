//! Keeps a process's certificates good while it runs. In: files, the time, SIGHUP. Out: replacements in [`LiveIdentity`] and
//! [`LiveCertificate`], metrics, warnings.
//!
//! Files are read every few seconds, whole, and compared with what is in use: no notification to miss, no clock of a file system to trust.
//! What does not serve is kept out, and what is in use goes on. Self-signed certificates are made here: one is in use while the next
//! is published already.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::files::expect_current;
use super::{Certificate, Holder, IdentityFiles, LiveCertificate, LiveIdentity, SELF_SIGNED_LIFE, TlsError, Validity};
use crate::admin::Readiness;
use crate::clock::unix_seconds;

/// Between two looks at the files: sooner than an operator wonders.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// From so long before a certificate's end on there are warnings: two weeks, so that a holiday is no outage.
const WARNING_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);
/// Between two warnings of the same certificate.
const WARNING_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Where a public certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicSource {
    /// Of an authority that browsers know.
    Files {
        /// The chain, leaf first, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
    /// Made here.
    SelfSigned {
        /// DNS names and IP addresses in it.
        names: Vec<String>,
        /// From when it is made to its end.
        life: Duration,
    },
}

impl PublicSource {
    /// What a `[public]` section asks for: the chain and key it names, or self-signed certificates if it names neither.
    pub fn configured(chain: Option<&Path>, key: Option<&Path>, names: &[String], life: Duration) -> Result<Self, TlsError> {
        match (chain, key) {
            (Some(chain), Some(key)) => Ok(Self::Files { certificate: chain.into(), key: key.into() }),
            (None, None) if life > SELF_SIGNED_LIFE || life < Duration::from_secs(1) => Err(TlsError::Life(life)),
            (None, None) => Ok(Self::SelfSigned { names: names.to_vec(), life }),
            _ => Err(TlsError::Half),
        }
    }
}

/// A process's certificates and where they come from.
pub struct Upkeep {
    node: Option<Node>,
    certificate: LiveCertificate,
    public: PublicSource,
    /// What was said last of what cannot be used, so that it is said once.
    problems: [Option<String>; 2],
    warned: [Option<Instant>; 3],
}

struct Node {
    files: IdentityFiles,
    holder: Holder,
    identity: LiveIdentity,
}

impl Upkeep {
    /// Reads or makes everything for the first time. A node certificate that has expired is taken, and told of: it may be replaced any time.
    pub fn of_node(files: IdentityFiles, holder: Holder, public: PublicSource) -> Result<(Self, LiveIdentity), TlsError> {
        let identity = LiveIdentity::from(files.read(&holder)?);
        let node = Some(Node { files, holder, identity: identity.clone() });
        Ok((Self { node, ..Self::of_public(public)? }, identity))
    }

    /// Of a public certificate alone.
    pub fn of_public(public: PublicSource) -> Result<Self, TlsError> {
        let certificate = match &public {
            PublicSource::Files { certificate, key } => Certificate::load(certificate, key)?.into(),
            PublicSource::SelfSigned { names, life } => LiveCertificate::self_signed(names, *life)?,
        };
        Ok(Self { node: None, certificate, public, problems: Default::default(), warned: Default::default() })
    }

    fn identity(&self) -> Option<LiveIdentity> {
        self.node.as_ref().map(|node| node.identity.clone())
    }

    /// The public certificate.
    pub fn certificate(&self) -> LiveCertificate {
        self.certificate.clone()
    }

    /// That nothing has expired.
    pub fn readiness(&self) -> Vec<Readiness> {
        let certificate = self.certificate.clone();
        let mut checks = vec![Readiness::new("public certificate", move || good(Validity::of(&certificate.current().chain[0])))];
        if let Some(identity) = self.identity() {
            let other = identity.clone();
            checks.push(Readiness::new("node certificate", move || good(node_validity(&identity))));
            checks.push(Readiness::new("cluster authority", move || good(authority_validity(&other))));
        }
        checks
    }

    /// Looks after them until `stop`; at once on SIGHUP.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP is not heard; files are looked at all the same");
                None
            }
        };
        loop {
            let asked = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = asked => tracing::info!("certificates are read again, as SIGHUP asks for"),
                _ = looks.tick() => {}
            }
            // Files may be on a disk that hangs; nobody else should.
            let Ok(looked) = tokio::task::spawn_blocking(move || {
                self.look(unix_seconds());
                self
            })
            .await
            else {
                tracing::error!("certificates are looked after no more");
                return;
            };
            self = looked;
        }
    }

    /// One look, at `now` (seconds since the epoch).
    fn look(&mut self, now: u64) {
        let node = self.look_at_node(now);
        let public = self.look_at_public(now);
        for ((what, found), before) in [("node", node), ("public", public)].into_iter().zip(&mut self.problems) {
            let problem = found.err().map(|error| error.to_string());
            if problem != *before {
                match &problem {
                    Some(reason) => {
                        tracing::warn!(certificate = what, reason, "what the files hold is not used; the certificate of before goes on")
                    }
                    None => tracing::info!(certificate = what, "the files are in order again"),
                }
                *before = problem;
            }
        }
        self.tell(now);
    }

    fn look_at_node(&self, now: u64) -> Result<(), TlsError> {
        let Some(Node { files, holder, identity }) = &self.node else { return Ok(()) };
        let found = files.read(holder)?;
        if found == *identity.current() {
            return Ok(());
        }
        let validity = Validity::of(&found.chain()?[0])?;
        expect_current(&files.certificate, &validity, now)?;
        let authorities = found.authorities()?.len();
        identity.replace(found)?;
        let Validity { serial, not_after, .. } = validity;
        tracing::info!(node = %holder.id, serial, expires = moment(not_after), authorities, "the node certificate was replaced");
        count("node");
        Ok(())
    }

    fn look_at_public(&self, now: u64) -> Result<(), TlsError> {
        let (certificate, why) = match &self.public {
            PublicSource::Files { certificate, key } => {
                let (found, current) = (Certificate::load(certificate, key)?, self.certificate.current());
                if (&found.chain, &found.key) == (&current.chain, &current.key) {
                    return Ok(());
                }
                expect_current(certificate, &Validity::of(&found.chain[0])?, now)?;
                self.certificate.replace(found)?;
                (self.certificate.current(), "the files hold another")
            }
            PublicSource::SelfSigned { names, life } => {
                if !self.certificate.renew(names, *life, now)? {
                    return Ok(());
                }
                (self.certificate.current(), "the next one was published for long enough")
            }
        };
        let Validity { serial, not_after, .. } = Validity::of(&certificate.chain[0])?;
        tracing::info!(
            serial,
            expires = moment(not_after),
            sha256 = super::hash_base64(&certificate.sha256()),
            why,
            "the public certificate was replaced"
        );
        count("public");
        Ok(())
    }

    /// Metrics, and warnings of an end that is near.
    fn tell(&mut self, now: u64) {
        let identity = self.identity();
        let ends = [
            ("node", identity.as_ref().map(node_validity)),
            ("authority", identity.as_ref().map(authority_validity)),
            ("public", Some(Validity::of(&self.certificate.current().chain[0]))),
        ];
        let renews_itself = matches!(self.public, PublicSource::SelfSigned { .. });
        for ((what, validity), warned) in ends.into_iter().zip(&mut self.warned) {
            let Some(Ok(validity)) = validity else { continue };
            metrics::gauge!("dark_tower_certificate_expires_seconds", "certificate" => what).set(validity.not_after as f64);
            let left = validity.not_after.saturating_sub(now);
            let is_quiet = warned.is_some_and(|at| at.elapsed() < WARNING_INTERVAL) || (what == "public" && renews_itself);
            if left > WARNING_BEFORE.as_secs() || is_quiet {
                continue;
            }
            *warned = Some(Instant::now());
            let (serial, expires, days) = (&validity.serial, moment(validity.not_after), left / (24 * 3600));
            if left == 0 {
                tracing::error!(certificate = what, serial, expires, "a certificate has expired");
            } else {
                tracing::warn!(certificate = what, serial, expires, days, "a certificate expires soon");
            }
        }
    }
}

fn count(certificate: &'static str) {
    metrics::counter!("dark_tower_certificate_replacements_total", "certificate" => certificate).increment(1);
}

fn node_validity(identity: &LiveIdentity) -> Result<Validity, TlsError> {
    Validity::of(&identity.current().chain()?[0])
}

/// Of the authority by which we are believed: while one follows the other, the one that lasts longer.
fn authority_validity(identity: &LiveIdentity) -> Result<Validity, TlsError> {
    let all = identity.current().authorities()?.iter().map(Validity::of).collect::<Result<Vec<_>, _>>()?;
    all.into_iter()
        .max_by_key(|validity| validity.not_after)
        .ok_or(TlsError::Material { what: "the cluster's authority", reason: "none".to_owned() })
}

fn good(validity: Result<Validity, TlsError>) -> Result<(), String> {
    let validity = validity.map_err(|error| error.to_string())?;
    if unix_seconds() < validity.not_after { Ok(()) } else { Err(format!("expired at {}", moment(validity.not_after))) }
}

/// Seconds since the epoch, as people read them (RFC 3339).
pub fn moment(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    at.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests;
