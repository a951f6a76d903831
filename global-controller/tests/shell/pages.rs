//! Pages, their parts, health.

use reqwest::StatusCode;

use crate::world::{Answer, World};

#[tokio::test]
async fn the_page_is_served_with_its_policy() {
    let world = World::start(|_| {}).await;
    for path in ["/", "/m/abcdefghij", "/index.html"] {
        let answer = world.get(path, None).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' https: wss:;"), "{policy}");
        assert!(
            policy.contains("worker-src 'self';") && policy.ends_with("require-trusted-types-for 'script'; trusted-types default"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe-") && !policy.contains('*') && !policy.contains("http:"), "{policy}");
        assert_eq!((answer.header("x-content-type-options"), answer.header("referrer-policy")), ("nosniff", "no-referrer"));
        assert_eq!(
            (answer.header("cross-origin-opener-policy"), answer.header("cross-origin-resource-policy")),
            ("same-origin", "same-origin")
        );
        let permissions = answer.header("permissions-policy");
        for feature in ["camera", "microphone", "display-capture", "speaker-selection"] {
            assert!(permissions.contains(&format!("{feature}=(self)")), "{permissions}");
        }
        let known = world.http.get(world.url(path)).header("if-none-match", answer.header("etag"));
        let again = Answer::of(known).await;
        assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    }
    assert_eq!(world.get("/m/", None).await.refusal(), "404 NOT_FOUND: there is nothing at this path");
}

#[tokio::test]
async fn health_is_told() {
    let world = World::start(|_| {}).await;
    assert_eq!(world.get("/healthz", None).await.text, "ok\n");
    let ready = world.get("/readyz", None).await;
    assert_eq!((ready.status, ready.text.as_str()), (StatusCode::OK, "store: ok\n"));
    assert!(world.global_controller.readiness().iter().all(|readiness| (readiness.check)().is_ok()));
}
