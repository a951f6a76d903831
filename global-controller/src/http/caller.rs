//! Who asks: the bearer of an access token, or nobody.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use common::token::TokenError;
use global_controller_core::{Scope, Scopes};

use super::ApiError;
use crate::app::App;
use crate::store::{ANONYMOUS_TENANT, IdempotencyKey, TenantId};

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody said.
    Anonymous,
    /// An API client, by its token.
    Bearer(Bearer),
}

/// What an access token says.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The API client.
    pub subject: String,
    /// Whose meetings it sees.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Scopes,
    /// When the token ends, seconds since the epoch.
    pub expires_at: u64,
    /// Requests in a window, if not as many as others.
    pub rate_limit: Option<u32>,
}

/// Who asks, or why what was shown is no access token; found out once for a request.
#[derive(Clone, Debug)]
pub struct Shown(pub Result<Caller, TokenError>);

impl Shown {
    /// By the `authorization` header (RFC 6750 section 2.1). Whatever is in it and is no access token is refused in the same words, so that
    /// nobody learns by trying how far it got.
    pub fn of(app: &App, headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        Self(match (values.next(), values.next()) {
            (None, _) => Ok(Caller::Anonymous),
            (Some(value), None) => bearer(app, value.to_str().unwrap_or_default()).map(Caller::Bearer),
            // Which of them would be meant?
            (Some(_), Some(_)) => Err(TokenError::Invalid),
        })
    }
}

fn bearer(app: &App, credentials: &str) -> Result<Bearer, TokenError> {
    let (scheme, token) = credentials.split_once(' ').unwrap_or((credentials, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Invalid);
    }
    // RFC 9110 section 11.4 allows several spaces after the scheme, and nothing else.
    let claims = app.verifier().verify_access(token.trim_start_matches(' '))?;
    let tenant = claims.tenant.parse().map_err(|_| TokenError::Invalid)?;
    if app.revoked.has(&claims.sub) {
        return Err(TokenError::Invalid);
    }
    Ok(Bearer {
        subject: claims.sub.clone(),
        tenant,
        scopes: Scopes::known_in(&claims.scope),
        expires_at: claims.exp,
        rate_limit: claims.rate_limit,
    })
}

/// Someone who may do what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Whose meetings it sees.
    pub tenant: TenantId,
    /// Its account: the API client, or the person it speaks for. `None`: without one.
    pub account: Option<String>,
}

impl Caller {
    /// An actor if `scope` is granted. Where meetings may be created without a bearer, nobody has every scope in a tenant of its own.
    pub fn permit(&self, app: &App, scope: Scope) -> Result<Actor, ApiError> {
        match self {
            Caller::Bearer(bearer) if bearer.scopes.has(scope) => {
                Ok(Actor { tenant: bearer.tenant, account: Some(bearer.subject.clone()) })
            }
            Caller::Bearer(_) => Err(ApiError::missing_scope(scope)),
            Caller::Anonymous if app.config.allow_anonymous_create => Ok(Actor { tenant: ANONYMOUS_TENANT, account: None }),
            Caller::Anonymous => Err(ApiError::no_bearer()),
        }
    }

    /// The account that `user_id` names, if this caller may speak for it: a bearer for itself, and for others with the scope for that. Else a
    /// `user_id` changes nothing.
    pub fn believed(&self, user_id: Option<String>) -> Option<String> {
        let Caller::Bearer(bearer) = self else { return None };
        user_id.filter(|user_id| bearer.scopes.has(Scope::ActAsParticipants) || *user_id == bearer.subject)
    }

    /// Tells callers apart as their requests are counted: an API client by its id, everybody else by the `address`.
    pub fn key(&self, address: IpAddr) -> String {
        match self {
            Caller::Bearer(bearer) => IdempotencyKey::caller_of(&bearer.subject),
            Caller::Anonymous => format!("address {address}"),
        }
    }

    /// Whether meetings of `tenant` are there for this caller. What nobody may see, a bearer may see as well.
    pub fn sees(&self, app: &App, tenant: TenantId) -> bool {
        let open = app.config.allow_anonymous_create && tenant == ANONYMOUS_TENANT;
        open || matches!(self, Caller::Bearer(bearer) if bearer.tenant == tenant)
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        // The rate limiter has looked already, where it counts.
        let shown = parts.extensions.get::<Shown>().cloned().unwrap_or_else(|| Shown::of(app, &parts.headers));
        shown.0.map_err(ApiError::bad_bearer)
    }
}
