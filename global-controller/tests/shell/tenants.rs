//! Nobody sees or guesses another's: what is another tenant's looks like what is not there.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{World, participant};

const ALL: &str = "meetings:create meetings:read meetings:join meetings:end participants:act-as participants:manage";
const ABSENT: &str = "550e8400-e29b-41d4-a716-446655440000";
const ABSENT_CODE: &str = "abcdefghij";
const PARTICIPANT: &str = "00000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn anothers_meeting_looks_like_none() {
    let (world, controller, _handler) = World::with_nodes().await;
    let (_, owner) = world.api_client(ALL).await;
    let (_, stranger) = world.api_client(ALL).await;
    let meeting = world.post("/api/v1/meetings", Some(&owner), json!({"display_name": "Secret"})).await.expect(StatusCode::CREATED);
    controller.holds(&meeting, vec![participant(1, "Ana", "ana")]);
    let id = meeting["meeting_id"].as_str().expect("an id").to_owned();
    let code = meeting["meeting_url"].as_str().and_then(|url| url.rsplit('/').next()).expect("a code").to_owned();
    let calls = [
        (Method::GET, String::new(), None),
        (Method::DELETE, String::new(), None),
        (Method::POST, "/join".to_owned(), Some(json!({"display_name": "Eve"}))),
        (Method::POST, "/join".to_owned(), Some(json!({"resume_token": "guessed"}))),
        (Method::GET, "/participants".to_owned(), None),
        (Method::DELETE, format!("/participants/{PARTICIPANT}"), None),
        (Method::PATCH, format!("/participants/{PARTICIPANT}"), Some(json!({"is_muted": true}))),
    ];
    for (method, rest, body) in calls {
        let ask = async |name: &str| {
            let body = body.as_ref().map(ToString::to_string);
            world.send(method.clone(), &format!("/api/v1/meetings/{name}{rest}"), Some(&stranger), body).await
        };
        for (theirs, absent) in [(id.as_str(), ABSENT), (code.as_str(), ABSENT_CODE)] {
            let (seen, none) = (ask(theirs).await, ask(absent).await);
            assert_eq!(seen.status, StatusCode::NOT_FOUND, "{method} {rest}: {}", seen.text);
            assert_eq!((seen.status, seen.text), (none.status, none.text.replace(absent, theirs)), "{method} {rest}");
            let names = |headers: &reqwest::header::HeaderMap| headers.keys().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(names(&seen.headers), names(&none.headers), "{method} {rest}");
        }
    }
    assert_eq!(world.get("/api/v1/meetings", Some(&stranger)).await.expect(StatusCode::OK)["total"], 0);
    assert_eq!(world.get("/api/v1/meetings?user_id=ana", Some(&stranger)).await.expect(StatusCode::OK)["total"], 0);
    // It was none of the stranger's business, and nothing came of it.
    let shown = world.get(&format!("/api/v1/meetings/{id}"), Some(&owner)).await.expect(StatusCode::OK);
    assert!(shown["ended_at"].is_null());
    let told = controller.told();
    assert!(told.kicked.is_empty() && told.muted.is_empty() && told.ended.is_empty());
}
