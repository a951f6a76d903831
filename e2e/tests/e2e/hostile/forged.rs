//! Tokens that nobody gave out, and tokens shown more often than once.

use std::time::Instant;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::token::{ACCESS_TYPE, JOIN_TYPE, JoinClaims, TokenSigner};
use common_core::Code;
use e2e::ground::{Ground, REFUSAL_LIMIT, refused_within, scale};
use e2e::peer::{Peer, dial_media, join_request};
use e2e::within;
use futures_util::future::{FutureExt, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use proto::v1;
use serde_json::{Value, json};

use super::STACK;
use super::doors::{Answer, Visit, access_token, hello, say_hello};

/// How often a token is shown at once.
fn replays() -> usize {
    scale().of(40, 100)
}

/// Sessions dialled at a time: what is shown many times at once is the token; handshakes are another test's.
const DIALLED_AT_ONCE: usize = 4;

async fn in_turns<T, F: Future<Output = anyhow::Result<T>>>(dial: impl Fn(usize) -> F) -> anyhow::Result<Vec<T>> {
    let mut dialled = Vec::new();
    while dialled.len() < replays() {
        for one in join_all((0..DIALLED_AT_ONCE).map(|number| dial(dialled.len() + number))).await {
            dialled.push(one?);
        }
    }
    Ok(dialled)
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn read(part: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}

/// HMAC-SHA-256 under a key that everybody knows: the public one.
fn hs256(message: &str, key: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()))
}

/// Every trick that JWT libraries have fallen for, made of a good token. `public`: what its keys' list shows.
fn tricks(good: &str, public: &[u8], claims: &JoinClaims) -> anyhow::Result<Vec<(String, String)>> {
    let [header, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().ok().context("three parts")?;
    let (head, body) = (read(header)?, read(payload)?);
    let with = |of: &Value, name: &str, value: Value| {
        let mut changed = of.clone();
        changed[name] = value;
        changed
    };
    let mut tricks: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| tricks.push((what.to_owned(), token));
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "ES256", "RS256", "Ed25519"] {
        let head = part(&with(&head, "alg", json!(alg)));
        add(&format!("alg {alg:?} without a signature"), format!("{head}.{payload}."));
        add(&format!("alg {alg:?} with the good signature"), format!("{head}.{payload}.{signature}"));
    }
    let head_hs = part(&with(&head, "alg", json!("HS256")));
    for (what, key) in [("bytes", public.to_vec()), ("base64", URL_SAFE_NO_PAD.encode(public).into_bytes())] {
        add(&format!("HS256 under the public key's {what}"), {
            let message = format!("{head_hs}.{payload}");
            let sum = hs256(&message, &key);
            format!("{message}.{sum}")
        });
    }
    let stranger = TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8())?;
    let foreign = stranger.sign_join(claims)?;
    add("another cluster's", foreign.clone());
    let foreign_signature = foreign.rsplit('.').next().context("a signature")?;
    add("another cluster's under our key's name", format!("{header}.{payload}.{foreign_signature}"));
    for (name, value) in [
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!(["a"])),
        ("kid", Value::Null),
        ("jku", json!("https://attacker.example/jwks.json")),
        ("x5u", json!("https://attacker.example/c.pem")),
        ("x5c", json!(["AAAA"])),
        ("jwk", stranger.jwk()),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("typ", json!("JWT")),
        ("typ", json!(ACCESS_TYPE)),
    ] {
        add(&format!("{name} {value}"), format!("{}.{payload}.{signature}", part(&with(&head, name, value.clone()))));
    }
    for (name, value) in [
        ("exp", json!(u64::MAX)),
        ("exp", json!("9999999999")),
        ("exp", json!(9_999_999_999.5)),
        ("exp", json!(-1)),
        ("exp", Value::Null),
        ("nbf", json!("0")),
        ("iat", json!(0)),
        ("aud", json!(["dark-tower/meeting-controller"])),
        ("role", json!("host")),
    ] {
        add(&format!("{name} {value}"), format!("{header}.{}.{signature}", part(&with(&body, name, value.clone()))));
    }
    let nested = URL_SAFE_NO_PAD.encode("[".repeat(10_000));
    add("claims nested ten thousand deep", format!("{header}.{nested}.{signature}"));
    add("a header nested ten thousand deep", format!("{nested}.{payload}.{signature}"));
    add("a signature in another spelling", format!("{good}="));
    add("a fourth part", format!("{good}.{payload}"));
    add("no signature", format!("{header}.{payload}."));
    add("two parts", format!("{header}.{payload}"));
    add("sixty thousand characters", format!("{good}{}", "A".repeat(60_000)));
    add("line ends", format!("{good}\r\n"));
    Ok(tricks)
}

/// None of them opens signaling by either door, a media session, or the API; each is refused within a second, and all of a door in the same words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_trick_makes_a_token() -> anyhow::Result<()> {
    let ground = Ground::start("forged tokens").await?;
    let good = ground.invite("Mallory").await?;
    let claims: JoinClaims = serde_json::from_value(read(good.join_token.split('.').nth(1).context("claims")?)?)?;
    let answer = ground.api.request(reqwest::Method::GET, "/.well-known/jwks.json").send().await?;
    let keys: Value = answer.json().await?;
    let public = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().context("a key")?)?;
    let access = access_token(&ground).await?;
    let honest = ground.stranger("Ana").await?;
    let info = honest.welcome.media_server.clone().context("a media server")?;

    let mut tokens = tricks(&good.join_token, &public, &claims)?;
    tokens.push(("none".to_owned(), String::new()));
    tokens.push(("an access token".to_owned(), access.clone()));
    let access_parts: Vec<&str> = access.split('.').collect();
    let retyped = {
        let mut head = read(access_parts[0])?;
        head["typ"] = json!(JOIN_TYPE);
        part(&head)
    };
    tokens.push(("an access token with another type".to_owned(), format!("{retyped}.{}.{}", access_parts[1], access_parts[2])));
    let mut words = std::collections::BTreeSet::new();
    let mut slowest = std::time::Duration::ZERO;
    for (what, token) in &tokens {
        for by_websocket in [false, true] {
            let request = v1::JoinRequest { join_token: token.clone(), ..join_request(&good, "Mallory") };
            let began = Instant::now();
            let (code, said) = refused_within(REFUSAL_LIMIT, what, async {
                Visit::dial(&ground, &good, by_websocket).await?.join(request).await?.refusal()
            })
            .await?;
            slowest = slowest.max(began.elapsed());
            ensure!(code == Code::Unauthorized, "{what}: {code}");
            words.insert(said);
        }
        let (code, _) = refused_within(REFUSAL_LIMIT, what, async { hello(&info, token).await?.refusal() }).await?;
        ensure!(code == Code::Unauthorized, "{what} as a connection token: {code}");
    }
    ensure!(words.len() == 1, "refusals tell tricks apart: {words:?}");

    // At the API: a join token and its tricks, and tricks with an access token.
    let path = format!("/api/v1/meetings/{}", good.meeting_id);
    let mut bearers = tokens.clone();
    bearers.retain(|(what, _)| what != "an access token" && what != "none");
    bearers.push(("a join token".to_owned(), good.join_token.clone()));
    bearers.extend(tricks(&access, &public, &claims)?.into_iter().map(|(what, token)| (format!("access: {what}"), token)));
    let asks = bearers.iter().filter(|(_, token)| token.bytes().all(|byte| byte.is_ascii_graphic()));
    for (what, token) in asks {
        let status = refused_within(REFUSAL_LIMIT, what, async {
            Ok(ground.api.request(reqwest::Method::GET, &path).bearer_auth(token).send().await?.status().as_u16())
        })
        .await?;
        // A head over its limit is refused before it is read (RFC 6585 section 5).
        ensure!(status == 401 || (status == 431 && token.len() > 10_000), "{what} as a bearer: {status}");
    }
    eprintln!("{} tricks at four doors; the slowest refusal took {slowest:?}", tokens.len() + bearers.len());
    Peer::join(STACK, &good, "Mallory").await.context("none of that has spent the good one")?.leave().await?;
    honest.leave().await?;
    ground.settled().await?;
    Ok(())
}

/// Many at once (a hundred in `make hostile`), over WebTransport and WebSocket mixed: one is let in. So is one media session by a connection token. By a resume token, which stays
/// good until the session that replaced it has spoken, one session stands in the end, and the token is worth nothing from its first word on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_shown_many_times_at_once_lets_one_in() -> anyhow::Result<()> {
    let ground = Ground::start("replays").await?;
    let invitation = ground.invite("Mallory").await?;
    let visits = in_turns(|number| Visit::dial(&ground, &invitation, number % 2 == 1)).await?;
    let began = Instant::now();
    let answers = join_all(visits.into_iter().map(|visit| visit.join(join_request(&invitation, "Mallory")))).await;
    let took = began.elapsed();
    let mut inside = Vec::new();
    for answer in answers {
        match answer? {
            Answer::In(one) => inside.push(one),
            Answer::Refused(code, words) => ensure!(code == Code::Unauthorized, "{code}: {words}"),
        }
    }
    ensure!(inside.len() == 1, "{} were let in by one join token", inside.len());
    let (mut visit, welcome) = inside.remove(0);
    eprintln!("a join token {} times at once: 1 let in, all answered after {took:?}", replays());

    let info = welcome.media_server.clone().context("a media server")?;
    let sessions = in_turns(|_| dial_media(STACK, &info)).await?;
    let began = Instant::now();
    let answers = join_all(sessions.into_iter().map(|session| say_hello(session, &info.connection_token))).await;
    let took = began.elapsed();
    let mut inside = Vec::new();
    for answer in answers {
        match answer? {
            Answer::In(one) => inside.push(one),
            Answer::Refused(code, words) => ensure!(code == Code::Unauthorized, "{code}: {words}"),
        }
    }
    ensure!(inside.len() == 1, "{} were welcomed by one connection token", inside.len());
    eprintln!("a connection token {} times at once: 1 welcomed, all answered after {took:?}", replays());

    let resume =
        v1::JoinRequest { meeting_id: invitation.meeting_id.clone(), resume_token: welcome.resume_token.clone(), ..Default::default() };
    let visits = in_turns(|number| Visit::dial(&ground, &invitation, number % 2 == 1)).await?;
    let began = Instant::now();
    let answers = join_all(visits.into_iter().map(|visit| visit.join(resume.clone()))).await;
    let took = began.elapsed();
    let (mut inside, mut refused) = (Vec::new(), 0);
    for answer in answers {
        match answer? {
            Answer::In((visit, again)) => {
                ensure!(again.participant_id == welcome.participant_id, "somebody else came back");
                inside.push(visit);
            }
            Answer::Refused(code, words) => {
                ensure!([Code::Moved, Code::RateLimited, Code::Unauthorized].contains(&code), "{code}: {words}");
                refused += 1;
            }
        }
    }
    let came_in = inside.len();
    ensure!(came_in >= 1, "nobody came back");
    // The one before was replaced, and so was each of these but one, whichever came last.
    let mut closes: FuturesUnordered<_> = std::iter::once(&mut visit).chain(&mut inside).map(Visit::close_number).collect();
    for number in 0..came_in {
        let what = format!("the end of the replaced session {number} of {came_in}");
        let code = within(REFUSAL_LIMIT, &what, async { closes.next().await.context("all have ended")? }).await?;
        ensure!(code == Code::Moved.number(), "replaced sessions are told so, and not {code}");
    }
    ensure!(closes.len() == 1 && closes.next().now_or_never().is_none(), "one session stands");
    drop(closes);
    eprintln!(
        "a resume token {} times at once: {came_in} came in one after the other, {refused} refused, 1 stands; all answered after {took:?}",
        replays()
    );
    ground.settled().await?;
    Ok(())
}
