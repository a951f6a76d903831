//! Who asks: the bearer of an access token, or nobody.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use global_controller_core::{Scope, Scopes};

use super::ApiError;
use crate::app::App;
use crate::store::{ANONYMOUS_TENANT, TenantId};

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

    /// [`permit`](Self::permit), speaking for `user_id` if this bearer may speak for others; else a `user_id` changes nothing.
    pub fn permit_as(&self, app: &App, scope: Scope, user_id: Option<String>) -> Result<Actor, ApiError> {
        let actor = self.permit(app, scope)?;
        match (self, user_id) {
            (Caller::Bearer(bearer), Some(user_id)) if bearer.scopes.has(Scope::ActAsParticipants) => {
                Ok(Actor { account: Some(user_id), ..actor })
            }
            _ => Ok(actor),
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
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else { return Ok(Caller::Anonymous) };
        let text = value.to_str().map_err(|_| ApiError::bad_bearer("the authorization header cannot be read"))?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(ApiError::bad_bearer("authorization must be a bearer token"));
        }
        let claims = app.verifier.verify_access(token.trim()).map_err(ApiError::bad_bearer)?;
        let tenant = claims.tenant.parse().map_err(|_| ApiError::bad_bearer("the token is not valid here"))?;
        Ok(Caller::Bearer(Bearer { subject: claims.sub, tenant, scopes: Scopes::known_in(&claims.scope) }))
    }
}
