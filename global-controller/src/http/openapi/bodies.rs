//! What `derive(ToSchema)` cannot say of bodies: which fields go together, and which call an answer leads to.

use serde_json::{Map, Value, json};

use super::object;

/// Calls that make something: the operation, the field of its answer that has the new id, and the parameter that takes it.
const MAKERS: [(&str, &str, &str); 2] = [("createMeeting", "meeting_id", "{meeting_id}"), ("createWebhook", "webhook_id", "{webhook_id}")];

/// Says of each body which of its fields exclude or need each other; `null` counts as absent.
pub fn narrow(schemas: &mut Map<String, Value>) {
    if let Some(schema) = schemas.get_mut("JoinMeeting") {
        schema["oneOf"] = json!([
            {"title": "To join", "required": ["display_name"],
                "properties": {"display_name": {"type": "string"}, "resume_token": {"type": "null"}}},
            {"title": "To come back", "required": ["resume_token"],
                "properties": {"resume_token": {"type": "string"}, "display_name": {"type": "null"}, "user_id": {"type": "null"}}},
        ]);
    }
    if let Some(schema) = schemas.get_mut("ChangeParticipant") {
        schema["properties"]["is_muted"]["enum"] = json!([true, null]);
        schema["properties"]["is_video_on"]["enum"] = json!([false, null]);
        schema["anyOf"] = json!([
            {"title": "The microphone", "required": ["is_muted"], "properties": {"is_muted": {"const": true}}},
            {"title": "The camera", "required": ["is_video_on"], "properties": {"is_video_on": {"const": false}}},
        ]);
    }
}

/// The links of each call that makes something: to all calls whose path has its id.
pub fn links(document: &Value) -> Map<String, Value> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations: Vec<(&String, &Value)> = paths
        .flat_map(|(path, item)| item.as_object().into_iter().flat_map(move |item| item.values().map(move |one| (path, one))))
        .collect();
    let of_maker = |(maker, field, parameter): (&str, &str, &str)| {
        let takers = operations.iter().filter(|(path, _)| path.contains(parameter) && path.matches('{').count() == 1);
        let links: Map<String, Value> = takers
            .filter_map(|(_, operation)| operation["operationId"].as_str())
            .map(|taker| {
                let parameters = json!({field: format!("$response.body#/{field}")});
                (taker.to_owned(), json!({"operationId": taker, "parameters": parameters}))
            })
            .collect();
        (maker.to_owned(), Value::from(links))
    };
    MAKERS.map(of_maker).into_iter().collect()
}

/// Adds an operation's links to the answer that has the id.
pub fn link(operation: &mut Value, links: &Map<String, Value>) {
    let Some(of_this) = operation["operationId"].as_str().and_then(|id| links.get(id)).cloned() else { return };
    if let Some(created) = object(&mut operation["responses"]).get_mut("201") {
        created["links"] = of_this;
    }
}
