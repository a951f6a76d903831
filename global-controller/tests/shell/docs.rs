//! The description of the API: true, whole, and served to anybody.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::world::{Answer, World};

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

async fn document(world: &World) -> Value {
    world.get("/api/v1/openapi.json", None).await.expect(StatusCode::OK)
}

/// Path, method and description of each operation.
fn operations(document: &Value) -> Vec<(String, Method, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .expect("operations")
                .iter()
                .map(move |(method, operation)| (path.clone(), method.to_uppercase().parse().expect("a method"), operation))
        })
        .collect()
}

#[tokio::test]
async fn anybody_may_read_the_description_and_keep_it() {
    let world = World::start(|_| {}).await;
    let answer = world.get("/api/v1/openapi.json", None).await;
    let document = answer.expect(StatusCode::OK);
    assert_eq!((&document["openapi"], &document["servers"][0]["url"]), (&"3.1.0".into(), &world.global_controller.public_url().into()));
    let said = ["content-type", "cache-control", "access-control-allow-origin"].map(|name| answer.header(name));
    assert_eq!(said, ["application/json", "public, max-age=300", "*"]);
    let again = Answer::of(world.http.get(world.url("/api/v1/openapi.json")).header("if-none-match", answer.header("etag"))).await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
}

/// What is described is served, and what is not described is not, method by method.
#[tokio::test]
async fn description_and_router_agree() {
    let world = World::start(|_| {}).await;
    let document = document(&world).await;
    let operations = operations(&document);
    for path in document["paths"].as_object().expect("paths").keys() {
        for method in METHODS {
            let described = operations.iter().any(|(one, its, _)| one == path && *its == method);
            let asked = path.replace(['{', '}'], "");
            let answer = world.send(method.clone(), &asked, None, None).await;
            let no_route = answer.text.starts_with("{\"error\"") && answer.text.contains("there is nothing at this path");
            let served = answer.status != StatusCode::METHOD_NOT_ALLOWED && !no_route;
            assert_eq!(served, described, "{method} {path}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn the_documentation_page_may_load_from_here_alone() {
    let world = World::start(|_| {}).await;
    let page = world.get("/docs", None).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"), "{policy}");
    for part in ["/docs/docs.js", "/docs/docs.css", "/docs/licences.txt", "/icon.svg"] {
        assert_eq!(world.get(part, None).await.status, StatusCode::OK, "{part}");
    }
}

/// Each call that says it needs a token refuses those without one, with a false one, and with one that has other scopes.
#[tokio::test]
async fn what_is_said_of_access_holds() {
    let world = World::start(|_| {}).await;
    let document = document(&world).await;
    let mut checked = 0;
    for (path, method, operation) in operations(&document) {
        let security = operation["security"].as_array().cloned().unwrap_or_default();
        let Some(bearer) = security.iter().find_map(|one| one.get("bearerAuth")) else { continue };
        let is_optional = security.iter().any(|one| one == &serde_json::json!({}));
        let needed = bearer[0].as_str().expect("a scope");
        let other = if needed == "meetings:read" { "meetings:join" } else { "meetings:read" };
        let (_, lacking) = world.api_client(other).await;
        let path = path.replace("{meeting_id}", "550e8400-e29b-41d4-a716-446655440000").replace(['{', '}'], "");
        let body = operation.get("requestBody").map(|_| "{}".to_owned());
        let ask = async |token: Option<&str>| world.send(method.clone(), &path, token, body.clone()).await.status.as_u16();
        let expected = if is_optional { [404, 401, 403] } else { [401, 401, 403] };
        let found = [ask(None).await, ask(Some("x.y.z")).await, ask(Some(&lacking)).await];
        assert_eq!(found, expected, "{method} {path}");
        checked += 1;
    }
    assert!(checked >= 8, "{checked} calls");
}

/// What clients are written against; a change here is a change for them.
#[tokio::test]
async fn calls_and_statuses_are_as_clients_know_them() {
    let world = World::start(|_| {}).await;
    let document = document(&world).await;
    let said: Vec<String> = operations(&document)
        .into_iter()
        .map(|(path, method, operation)| {
            let statuses = operation["responses"].as_object().expect("answers").keys().cloned().collect::<Vec<_>>().join(" ");
            let name = operation["operationId"].as_str().expect("a name");
            format!("{method} {path} {name}: {statuses}")
        })
        .collect();
    assert_eq!(said.join("\n"), include_str!("calls.txt").trim_end());
}
