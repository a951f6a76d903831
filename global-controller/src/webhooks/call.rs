//! One call to a target. In: what is due. Out: how it ended. Follows no redirect, uses no proxy, keeps nothing of the answer but its status.

use std::path::{Path, PathBuf};
use std::time::Duration;

use global_controller_core::address::is_public;
use reqwest::{Response, StatusCode, header, redirect};
use thiserror::Error;
use url::Url;

use super::resolve::{CheckedResolver, Lookup, NotPublic, system_lookup};
use super::{signature, target};
use crate::config::WebhooksConfig;
use crate::events::EventBody;
use crate::store::Delivery;

/// Of an answer's body, so much is read, so that the connection can serve the next call; a longer one costs the connection.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// How long that may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// An unused connection to a target is kept for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Unused connections that are kept per host.
const IDLE_PER_HOST: usize = 2;
/// Names us to targets.
const USER_AGENT: &str = concat!("dark-tower/", env!("CARGO_PKG_VERSION"));

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it.
    Delivered,
    /// The target is no more, and says so.
    Gone,
    /// It has to be made again.
    Failed {
        /// In short, for metrics.
        label: &'static str,
        /// In words, for the application.
        reason: String,
        /// The target asked to be left alone for so long.
        wished: Option<Duration>,
    },
}

impl Outcome {
    /// In short, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Gone => "gone",
            Outcome::Failed { label, .. } => label,
        }
    }

    fn failed(label: &'static str, reason: impl Into<String>) -> Self {
        Self::Failed { label, reason: reason.into(), wished: None }
    }
}

/// The extra authority for targets cannot be read.
#[derive(Debug, Error)]
#[error("webhooks.authority: {path}: {reason}")]
pub struct AuthorityError {
    path: PathBuf,
    reason: String,
}

/// Makes calls.
pub struct Caller {
    /// Without it there are no calls, for this reason: no certificate is believed on this machine.
    client: Result<reqwest::Client, String>,
    allow_private: bool,
    timeout: Duration,
}

impl Caller {
    /// Calls within the bounds of `config`.
    pub fn new(config: &WebhooksConfig) -> Result<Self, AuthorityError> {
        Self::with(config, system_lookup(), if config.allow_private { |_| true } else { is_public })
    }

    fn with(config: &WebhooksConfig, lookup: Lookup, allowed: fn(std::net::IpAddr) -> bool) -> Result<Self, AuthorityError> {
        let authority = config.authority.as_deref().map(authority).transpose()?.unwrap_or_default();
        let client = reqwest::Client::builder()
            .dns_resolver(CheckedResolver::new(lookup, allowed))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .https_only(!config.allow_private)
            .user_agent(USER_AGENT)
            .timeout(config.timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .tls_certs_merge(authority)
            .build()
            .map_err(|error| innermost(&error));
        if let Err(reason) = &client {
            tracing::warn!(reason, "webhooks cannot be called");
        }
        Ok(Self { client, allow_private: config.allow_private, timeout: config.timeout })
    }

    /// Makes the call that is due; takes no longer than the configured timeout and a moment for the answer's end.
    pub async fn call(&self, delivery: &Delivery) -> Outcome {
        let webhook = &delivery.webhook;
        let client = match &self.client {
            Ok(client) => client,
            Err(reason) => return Outcome::failed("failed", reason.as_str()),
        };
        // What was allowed when it was registered may not be any more. The resolver is asked for names alone.
        let url = match Url::parse(&webhook.url) {
            Ok(url) if self.allow_private || target::leads_outside(&url) => url,
            Ok(_) => return Outcome::failed("not_public", NotPublic.to_string()),
            Err(error) => return Outcome::failed("failed", format!("the URL cannot be read: {error}")),
        };
        let body = match serde_json::to_vec(&EventBody::from(delivery.event.clone())) {
            Ok(body) => body,
            Err(error) => return Outcome::failed("failed", format!("the event cannot be written: {error}")),
        };
        let (id, timestamp) = (delivery.event.id.to_string(), common::clock::unix_seconds());
        let Some(signature) = signature::sign(&webhook.secret, &id, timestamp, &body) else {
            return Outcome::failed("failed", "the webhook's secret cannot be read");
        };
        let request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            Ok(response) => judge(response).await,
            Err(error) => self.explain(&error),
        }
    }

    fn explain(&self, error: &reqwest::Error) -> Outcome {
        if sources(error).any(|source| source.is::<NotPublic>()) {
            Outcome::failed("not_public", NotPublic.to_string())
        } else if error.is_timeout() {
            Outcome::failed("timeout", format!("no answer within {} ms", self.timeout.as_millis()))
        } else if error.is_connect() {
            Outcome::failed("unreachable", format!("cannot connect: {}", innermost(error)))
        } else {
            Outcome::failed("unreachable", format!("no answer: {}", innermost(error)))
        }
    }
}

/// Certificates in a PEM file.
fn authority(path: &Path) -> Result<Vec<reqwest::Certificate>, AuthorityError> {
    let fail = |reason: String| AuthorityError { path: path.into(), reason };
    let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| fail(innermost(&error)))?;
    if certificates.is_empty() { Err(fail("holds no certificate".to_owned())) } else { Ok(certificates) }
}

async fn judge(mut response: Response) -> Outcome {
    let status = response.status();
    let wished = retry_after(&response);
    let discard = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > ANSWER_BYTES_MAX {
                return;
            }
        }
    };
    // The status says it all; a body that does not end costs its connection, no more.
    let _ = tokio::time::timeout(ANSWER_TIMEOUT, discard).await;
    match status {
        StatusCode::GONE => Outcome::Gone,
        status if status.is_success() => Outcome::Delivered,
        status if status.is_redirection() => {
            Outcome::Failed { label: "refused", reason: format!("the target answered {status}; redirects are not followed"), wished }
        }
        status => Outcome::Failed { label: "refused", reason: format!("the target answered {status}"), wished },
    }
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); a date is not looked at.
fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn sources<'a>(error: &'a (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// What is at the bottom of an error: the layers above say little, and name the URL.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    sources(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
