//! Refusals in the OpenAPI document: for each error code when it comes and what it looks like, and the answers of an operation by status.

use axum::http::StatusCode;
use global_controller_core::Scope;
use serde_json::{Map, Value, json};

use crate::http::ErrorCode;

/// Why a call may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    code: ErrorCode,
    status: StatusCode,
}

/// What the body of a request may be refused for besides its contents.
pub const OF_BODIES: [Case; 3] = [
    Case { code: ErrorCode::InvalidRequest, status: StatusCode::REQUEST_TIMEOUT },
    Case { code: ErrorCode::InvalidRequest, status: StatusCode::PAYLOAD_TOO_LARGE },
    Case { code: ErrorCode::InvalidRequest, status: StatusCode::UNSUPPORTED_MEDIA_TYPE },
];

impl Case {
    /// A code with the status that usually goes with it.
    pub const fn of(code: ErrorCode) -> Self {
        Self { code, status: code.parts().1 }
    }

    /// Every case there is.
    fn all() -> impl Iterator<Item = Self> {
        ErrorCode::ALL.into_iter().map(Self::of).chain(OF_BODIES)
    }

    /// Its name among the document's components.
    fn name(self) -> String {
        match self.status {
            StatusCode::REQUEST_TIMEOUT => "BODY_TOO_SLOW".to_owned(),
            StatusCode::PAYLOAD_TOO_LARGE => "BODY_TOO_LARGE".to_owned(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "WRONG_MEDIA_TYPE".to_owned(),
            _ => self.code.parts().0.to_owned(),
        }
    }

    /// When it comes, an example's message and its details.
    fn told(self) -> (&'static str, &'static str, Value) {
        match (self.code, self.status) {
            (_, StatusCode::REQUEST_TIMEOUT) => ("The body did not arrive in time.", "the body did not arrive in time", json!({})),
            (_, StatusCode::PAYLOAD_TOO_LARGE) => ("The body is too large.", "the body is over the limit of 1048576 bytes", json!({})),
            (_, StatusCode::UNSUPPORTED_MEDIA_TYPE) => {
                ("The body is of another media type.", "content-type must be application/json", json!({}))
            }
            (ErrorCode::InvalidRequest, _) => (
                "Something in the request is not as it should be; `details.field` names the field, if it is one.",
                "max_participants: must be a whole number between 1 and 1000",
                json!({"field": "max_participants"}),
            ),
            (ErrorCode::Unauthorized, _) => {
                ("No credentials, or some that do not hold.", "an access token is needed: POST /api/v1/auth/token gives one", json!({}))
            }
            (ErrorCode::Forbidden, _) => (
                "The access token lacks the scope, which `details.scope` names; or who asks is kept out.",
                "the access token lacks the scope meetings:create",
                json!({"scope": "meetings:create"}),
            ),
            (ErrorCode::NotFound, _) => ("There is no such thing.", "there is nothing at this path", json!({})),
            (ErrorCode::MeetingNotFound, _) => (
                "There is no such meeting, or it is another tenant's: the two look alike.",
                "Meeting 550e8400-e29b-41d4-a716-446655440000 does not exist",
                json!({}),
            ),
            (ErrorCode::MeetingEnded, _) => ("The meeting has ended.", "the meeting has ended", json!({})),
            (ErrorCode::CapacityExceeded, _) => (
                "No more fit in: the meeting is full, or the API client has all the webhooks that it may have.",
                "the meeting has its 100 participants",
                json!({}),
            ),
            (ErrorCode::Conflict, _) => (
                "The `Idempotency-Key` stands for a request with another body or account.",
                "Idempotency-Key: stands for a request with another body or account; a new request needs a new key",
                json!({"field": "Idempotency-Key"}),
            ),
            (ErrorCode::RateLimited, _) => (
                "Too many requests in this window; `Retry-After` says when it ends.",
                "more than 100 requests in this window; come again in 12 s",
                json!({"limit": 100, "retry_after": 12}),
            ),
            (ErrorCode::Unavailable, _) => (
                "Something that is needed is away for the moment; `Retry-After` says when to try again.",
                "no media handler is available",
                json!({}),
            ),
            (ErrorCode::InternalError, _) => (
                "Something went wrong on our side; the operator finds it by `details.request_id`.",
                "something went wrong on our side",
                json!({"request_id": "0b6f6c0e-6f0c-4d53-9a55-0d3c2b1f7a10"}),
            ),
        }
    }

    fn example(self) -> Value {
        let (_, message, details) = self.told();
        json!({"error": {"code": self.code, "message": message, "details": details}})
    }

    /// Headers of the answer besides those that all have.
    fn headers(self) -> &'static [&'static str] {
        match self.code {
            ErrorCode::Unauthorized => &["WWW-Authenticate"],
            ErrorCode::RateLimited | ErrorCode::Unavailable => &["Retry-After"],
            _ => &[],
        }
    }
}

/// The answers to refused requests: by status, with the cases of each.
pub fn by_status(cases: &[Case], in_oauth: bool) -> Map<String, Value> {
    let mut answers = Map::new();
    for case in cases {
        let same: Vec<Case> = Case::all().filter(|one| one.status == case.status && cases.contains(one)).collect();
        let may_be_oauth = in_oauth && case.status.is_client_error() && case.code != ErrorCode::RateLimited;
        let answer = match same[..] {
            [only] if !may_be_oauth => json!({"$ref": format!("#/components/responses/{}", only.name())}),
            _ => answer(&same, may_be_oauth),
        };
        answers.insert(case.status.as_str().to_owned(), answer);
    }
    answers
}

fn answer(cases: &[Case], may_be_oauth: bool) -> Value {
    let description: Vec<String> = cases.iter().map(|case| format!("`{}`: {}", case.code.parts().0, case.told().0)).collect();
    let mut examples: Map<String, Value> =
        cases.iter().map(|case| (case.name(), json!({"$ref": format!("#/components/examples/{}", case.name())}))).collect();
    let mut schema = json!({"$ref": "#/components/schemas/Error"});
    if may_be_oauth {
        examples.insert("OAUTH".to_owned(), json!({"$ref": "#/components/examples/OAUTH"}));
        schema = json!({"oneOf": [schema, {"$ref": "#/components/schemas/OAuthError"}]});
    }
    let mut headers = super::common_headers(true);
    for name in cases.iter().flat_map(|case| case.headers()) {
        headers.insert((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    }
    json!({
        "description": description.join("\n\n"),
        "headers": headers,
        "content": {"application/json": {"schema": schema, "examples": examples}},
    })
}

/// One answer for each case.
pub fn responses() -> Value {
    Case::all().map(|case| (case.name(), answer(&[case], false))).collect::<Map<_, _>>().into()
}

/// One example for each case.
pub fn examples() -> Value {
    let mut examples: Map<String, Value> =
        Case::all().map(|case| (case.name(), json!({"summary": case.told().0, "value": case.example()}))).collect();
    let oauth = json!({"error": "invalid_client", "error_description": "client_id or client_secret is wrong"});
    examples.insert("OAUTH".to_owned(), json!({"summary": "To a request by form or HTTP Basic (RFC 6749 section 5.2).", "value": oauth}));
    examples.into()
}

/// The bodies of refusals.
pub fn schemas() -> Map<String, Value> {
    let error = json!({
        "type": "object",
        "description": "A refusal.",
        "required": ["error"],
        "additionalProperties": false,
        "properties": {"error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "string", "enum": ErrorCode::ALL, "description": "For programs: what kind of refusal it is."},
                "message": {"type": "string", "description": "For people: what is wrong, and what would be right."},
                "details": {"type": "object", "description": "More for programs, such as `field`, `scope` or `request_id`.", "additionalProperties": true},
            },
        }},
    });
    let oauth = json!({
        "type": "object",
        "description": "A refusal as OAuth 2.0 writes it (RFC 6749 section 5.2).",
        "required": ["error", "error_description"],
        "additionalProperties": false,
        "properties": {
            "error": {
                "type": "string",
                "enum": ["invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type"],
            },
            "error_description": {"type": "string"},
        },
    });
    [("Error".to_owned(), error), ("OAuthError".to_owned(), oauth)].into_iter().collect()
}

/// What a scope lets one do.
pub const fn scope_meaning(scope: Scope) -> &'static str {
    match scope {
        Scope::CreateMeetings => "Create meetings.",
        Scope::ReadMeetings => "See the tenant's meetings.",
        Scope::JoinMeetings => "Join as the account that the token stands for.",
        Scope::EndMeetings => "End the tenant's meetings.",
        Scope::ManageParticipants => "Mute and remove participants of the tenant's meetings.",
        Scope::ManageWebhooks => "Register, see and delete webhooks.",
        Scope::ActAsParticipants => "Speak for the accounts of the application: its `user_id` is believed.",
    }
}
