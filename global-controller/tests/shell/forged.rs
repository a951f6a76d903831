//! What is no access token, over HTTP: whatever is wrong with it, it is refused in the very same answer, and nothing of it is followed.

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::clock::unix_seconds;
use common::token::{ACCESS_TYPE, JOIN_TYPE, TokenSigner};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{Answer, World};

/// Our own key, from the store: with it even what nobody else could sign is tried.
async fn stolen(world: &World) -> (Ed25519KeyPair, TokenSigner) {
    let pkcs8: Vec<u8> =
        sqlx::query_scalar("SELECT pkcs8 FROM signing_keys").fetch_one(&world.database().await).await.expect("there is a key");
    (Ed25519KeyPair::from_pkcs8(&pkcs8).expect("a key"), TokenSigner::from_pkcs8(&pkcs8).expect("a key"))
}

/// What is signed of a token.
fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn signed(key: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// The parts of a token as JSON.
fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"));
    let mut part = || serde_json::from_slice(&parts.next().expect("a part")).expect("JSON");
    (part(), part())
}

fn with(object: &Value, changes: &[(&str, Value)]) -> Value {
    let mut object = object.clone();
    for (name, value) in changes {
        object[*name] = value.clone();
    }
    object
}

fn without(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().expect("an object").remove(name);
    object
}

/// Status, body and challenge, all but what differs between any two answers.
fn refusal(answer: &Answer) -> (StatusCode, String, String) {
    (answer.status, answer.text.clone(), answer.header("www-authenticate").to_owned())
}

#[tokio::test]
async fn all_that_is_no_access_token_is_refused_alike() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (_, good) = world.api_client("meetings:create meetings:read").await;
    let (key, ours) = stolen(&world).await;
    let (header, claims) = parts(&good);
    let now = unix_seconds();
    let host = world.post("/api/v1/meetings", Some(&good), json!({"display_name": "Ours"})).await.expect(StatusCode::CREATED);
    // Whoever follows a header that names a key comes here.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let jwks = format!("http://{}/jwks.json", elsewhere.local_addr().expect("an address"));

    let resigned = signed(&key, &header, &claims);
    assert_eq!(world.get("/api/v1/meetings", Some(&resigned)).await.status, StatusCode::OK, "these tests can sign");
    let mut bad: Vec<(String, String)> = Vec::new();
    let head = |changes: &[(&str, Value)]| signed(&key, &with(&header, changes), &claims);
    let body = |changes: &[(&str, Value)]| signed(&key, &header, &with(&claims, changes));

    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS256", "ES256", "eddsa", "EDDSA", "Ed25519"] {
        bad.push((format!("alg {alg}"), head(&[("alg", json!(alg))])));
        let unsigned = head(&[("alg", json!(alg))]);
        bad.push((format!("alg {alg} without a signature"), unsigned[..=unsigned.rfind('.').expect("three parts")].to_owned()));
    }
    let secrets = [ours.public_key().to_vec(), URL_SAFE_NO_PAD.encode(ours.public_key()).into_bytes(), ours.jwk().to_string().into_bytes()];
    for secret in secrets {
        let message = message(&with(&header, &[("alg", json!("HS256"))]), &claims);
        let hmac = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret), message.as_bytes());
        bad.push(("HS256 with the public key".into(), format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac.as_ref()))));
    }
    for typ in ["JWT", "at+jwt", JOIN_TYPE, "DT-ACCESS+JWT", ""] {
        bad.push((format!("typ {typ}"), head(&[("typ", json!(typ))])));
    }
    for kid in
        ["", "../../../../../../dev/null", "/dev/null", "' OR 1=1 --", "x' UNION SELECT pkcs8 FROM signing_keys --", "AAAAAAAAAAAAAAAA"]
    {
        bad.push((format!("kid {kid}"), head(&[("kid", json!(kid))])));
    }
    for name in ["alg", "typ", "kid"] {
        bad.push((format!("no {name}"), signed(&key, &without(&header, name), &claims)));
    }
    for (name, value) in [
        ("jku", json!(jwks)),
        ("x5u", json!(jwks)),
        ("jwk", ours.jwk()),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
    ] {
        bad.push((format!("{name} in the header"), head(&[(name, value)])));
    }
    // Another key of the attacker's own, brought along in every way there is.
    let own_pkcs8 = TokenSigner::generate_pkcs8();
    let (own, own_signer) = (Ed25519KeyPair::from_pkcs8(&own_pkcs8).expect("a key"), TokenSigner::from_pkcs8(&own_pkcs8).expect("a key"));
    bad.push(("another key under our id".into(), signed(&own, &header, &claims)));
    for (name, value) in [("kid", json!(own_signer.key_id())), ("jwk", own_signer.jwk()), ("jku", json!(jwks)), ("x5u", json!(jwks))] {
        bad.push((format!("another key by {name}"), signed(&own, &with(&header, &[(name, value)]), &claims)));
    }

    for name in ["iss", "aud", "sub", "jti", "iat", "exp", "tenant", "scope"] {
        bad.push((format!("no {name}"), signed(&key, &header, &without(&claims, name))));
        bad.push((format!("{name} null"), body(&[(name, Value::Null)])));
    }
    for name in ["exp", "iat", "nbf"] {
        for value in [json!(now.to_string()), json!(-1), json!(1e300), json!(now as f64 + 0.5), json!(u64::MAX), json!([now]), json!(true)]
        {
            bad.push((format!("{name} {value}"), body(&[(name, value)])));
        }
    }
    for (name, value) in [
        ("nbf", json!(now + 600)),
        ("iat", json!(now + 600)),
        ("exp", json!(now + 48 * 3600)),
        ("iss", json!("https://evil.example.com")),
        ("aud", json!("dark-tower/meeting-controller")),
        ("aud", json!(["dark-tower/api"])),
        ("sub", json!("")),
        ("tenant", json!("' OR 1=1")),
        ("scope", json!(["meetings:read"])),
        ("rate_limit", json!("1000000")),
    ] {
        bad.push((format!("{name} {value}"), body(&[(name, value)])));
    }
    bad.push(("expired and of another issuer".into(), body(&[("iat", json!(now - 600)), ("exp", json!(now - 500)), ("iss", json!("x"))])));

    bad.push(("a join token".into(), host["join_token"].as_str().expect("a token").to_owned()));
    let mut broken = good.clone();
    broken.replace_range(good.len() - 6.., "AAAAAA");
    let (unsigned, signature) = good.rsplit_once('.').expect("three parts");
    for text in [
        String::new(),
        "x".into(),
        "a.b.c".into(),
        "null".into(),
        broken,
        unsigned.to_owned(),
        format!("{unsigned}."),
        format!("{good}="),
        format!("{good}=="),
        format!("{good}.{signature}"),
        format!("{good} {good}"),
        format!("{good}, {good}"),
        good.replacen('.', ". ", 1),
        good.to_ascii_uppercase(),
        format!("\"{good}\""),
        "A".repeat(4097),
        body(&[("scope", json!("a".repeat(4096)))]),
    ] {
        bad.push((format!("{:.20}… of {} bytes", text, text.len()), text));
    }

    let url = world.url("/api/v1/meetings");
    let one = refusal(&world.get("/api/v1/meetings", Some("x")).await);
    assert_eq!(one.0, StatusCode::UNAUTHORIZED);
    assert_eq!(one.2, "Bearer realm=\"dark-tower\", error=\"invalid_token\"");
    assert_eq!(world.get("/api/v1/meetings", Some("x")).await.refusal(), "401 UNAUTHORIZED: the token is not valid here");
    for (what, token) in &bad {
        assert_eq!(refusal(&world.get("/api/v1/meetings", Some(token)).await), one, "{what}");
    }
    let twice = world.http.get(&url).bearer_auth(&good).bearer_auth(&good);
    let tab = world.http.get(&url).header("authorization", format!("Bearer\t{good}"));
    let other_scheme = world.http.get(&url).header("authorization", format!("Token {good}"));
    let bare = world.http.get(&url).header("authorization", good.as_str());
    let bytes = world.http.get(&url).header("authorization", b"Bearer \xff\xfe".as_slice());
    for request in [twice, tab, other_scheme, bare, bytes] {
        assert_eq!(refusal(&Answer::of(request).await), one);
    }
    // A join by the link needs no token, but takes no wrong one either.
    let join = format!("/api/v1/meetings/{}/join", host["meeting_id"].as_str().expect("an id"));
    assert_eq!(refusal(&world.post(&join, Some("x"), json!({"display_name": "Eve"})).await), one);

    // That a token of ours is over may be said: it tells its holder what to do.
    let old = body(&[("iat", json!(now - 600)), ("exp", json!(now - 500))]);
    let answer = world.get("/api/v1/meetings", Some(&old)).await;
    assert_eq!(answer.refusal(), "401 UNAUTHORIZED: the token has expired; ask the API for a new one");
    assert_eq!(answer.header("www-authenticate"), one.2);
    // Several spaces and any case of the scheme are as RFC 9110 allows.
    let spaced = world.http.get(&url).header("authorization", format!("bEARER   {good}"));
    assert_eq!(Answer::of(spaced).await.status, StatusCode::OK);
    assert_eq!(parts(&good).0["typ"], ACCESS_TYPE);
    let visited = tokio::time::timeout(std::time::Duration::ZERO, elsewhere.accept()).await;
    assert!(visited.is_err(), "a key was looked for elsewhere");
}
