//! The OpenAPI document's `webhooks`: what a call to an application looks like, and what its answers mean.

use serde_json::{Value, json};

/// One call, whatever happened.
pub fn calls() -> Value {
    let header = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "header", "required": true, "description": description, "schema": schema});
    let description = "Sent to the URL of each webhook that wants this kind of event, signed as [Standard Webhooks](https://www.standardwebhooks.com/) \
        says. Of one meeting, events come in order; each comes at least once, so keep `webhook-id` to know a repeat.\n\n\
        Verify before you believe: the signature is `v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`, keyed by \
        the base64-decoded part of the secret behind `whsec_`. Refuse timestamps that are minutes away from your clock.\n\n\
        Answer within seconds with any 2xx. Anything else is tried again, after longer and longer waits, for a day unless the operator decides \
        otherwise; redirects are not followed. `410` deletes the webhook.";
    json!({"event": {"post": {
        "operationId": "onEvent",
        "tags": ["Webhooks"],
        "summary": "Something happened in a meeting",
        "description": description,
        "parameters": [
            header("webhook-id", "The event's id, the same at each try.", json!({"type": "string", "format": "uuid"})),
            header("webhook-timestamp", "When this call was made: seconds since the epoch.", json!({"type": "integer", "example": 1_737_028_807})),
            header("webhook-signature", "Signatures separated by spaces; one that fits is enough.",
                json!({"type": "string", "example": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="})),
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Event"}}}},
        "responses": {
            "2XX": {"description": "It has arrived."},
            "410": {"description": "The webhook is not wanted any more: it is deleted."},
            "default": {"description": "It is tried again; not before `Retry-After` seconds, if the answer has it."},
        },
    }}})
}
