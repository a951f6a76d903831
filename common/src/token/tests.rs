//! What is a token, and the many things that are none.

use serde_json::{Value, json};

use super::*;

const MEETING: &str = "550e8400-e29b-41d4-a716-446655440000";

fn signer() -> TokenSigner {
    TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8()).expect("a fresh key serves")
}

fn verifier(signer: &TokenSigner) -> TokenVerifier {
    TokenVerifier::new([(signer.key_id(), &signer.public_key()[..])], Duration::from_secs(5))
}

fn claims(lives: i64) -> JoinClaims {
    let now = unix_seconds();
    JoinClaims {
        iss: ISSUER.into(),
        aud: JOIN_AUDIENCE.into(),
        sub: "ana".into(),
        jti: "1".into(),
        iat: now.saturating_add_signed(lives.min(0) - 1),
        exp: now.saturating_add_signed(lives),
        meeting_id: MEETING.into(),
        role: "host".into(),
        name: "Ana".into(),
        account: true,
        resumes: None,
        handlers: vec!["mh-1".into()],
    }
}

/// Header and claims as given, rightly signed.
fn signed(signer: &TokenSigner, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &signer.key, Algorithm::EdDSA).expect("signed");
    format!("{message}.{signature}")
}

fn header(signer: &TokenSigner) -> Value {
    json!({"alg": "EdDSA", "typ": ACCESS_TYPE, "kid": signer.key_id()})
}

fn access_claims() -> Value {
    let now = unix_seconds();
    json!({
        "iss": ISSUER, "aud": ACCESS_AUDIENCE, "sub": "client", "jti": "1", "iat": now, "exp": now + 60,
        "tenant": MEETING, "scope": "meetings:read",
    })
}

/// `base` with the member `name` set, or without it.
fn with(base: &Value, name: &str, value: Option<Value>) -> Value {
    let mut object = base.as_object().expect("an object").clone();
    match value {
        Some(value) => object.insert(name.to_owned(), value),
        None => object.remove(name),
    };
    Value::Object(object)
}

#[test]
fn a_join_token_grants_one_meeting() {
    let signer = signer();
    let token = signer.sign_join(&claims(60)).expect("signed");
    let grant = verifier(&signer).verify_join(&token).expect("verified");
    assert_eq!((grant.meeting_id.to_string().as_str(), grant.role, grant.handlers.len()), (MEETING, Role::Host, 1));
}

#[test]
fn an_access_token_says_who_may_what() {
    let signer = signer();
    let read = verifier(&signer).verify_access(&signed(&signer, &header(&signer), &access_claims())).expect("verified");
    assert_eq!((read.sub.as_str(), read.scope.as_str(), read.rate_limit), ("client", "meetings:read", None));
    let limited = with(&access_claims(), "rate_limit", Some(json!(7)));
    let token = signed(&signer, &header(&signer), &limited);
    assert_eq!(verifier(&signer).verify_access(&token).map(|claims| claims.rate_limit), Ok(Some(7)));
    let own = signer.sign_access(&verifier(&signer).verify_access(&token).expect("verified")).expect("signed");
    assert_eq!(verifier(&signer).verify_access(&own).map(|claims| claims.rate_limit), Ok(Some(7)));
}

/// What is remembered of a token does not outlive it, and is nothing to other keys.
#[test]
fn an_access_token_that_was_seen_before_ends_all_the_same() {
    let signer = signer();
    let (verifier, now) = (verifier(&signer), unix_seconds());
    let claims = with(&with(&access_claims(), "iat", Some(json!(now))), "exp", Some(json!(now + 60)));
    let token = signed(&signer, &header(&signer), &claims);
    for (at, expected) in
        [(now, None), (now, None), (now + 64, None), (now + 65, Some(TokenError::Expired)), (now + 66, Some(TokenError::Expired))]
    {
        assert_eq!(verifier.verify_access_at(&token, at).err(), expected, "{}", at - now);
    }
    let rotated = TokenVerifier::new([], Duration::from_secs(5));
    assert_eq!(rotated.verify_access_at(&token, now).err(), Some(TokenError::Invalid));
    // One letter of the signature.
    let forged = format!("{}{}", &token[..token.len() - 2], if token.ends_with("AA") { "BA" } else { "AA" });
    assert_eq!(verifier.verify_access_at(&forged, now).err(), Some(TokenError::Invalid));
}

#[test]
fn tokens_of_others_and_of_other_kinds_are_refused() {
    let ours = signer();
    let verifier = verifier(&ours);
    let check = |token: &str, expected: TokenError| assert_eq!(verifier.verify_join(token), Err(expected), "{token}");
    check(&ours.sign_join(&claims(-60)).expect("signed"), TokenError::Expired);
    check(&signer().sign_join(&claims(60)).expect("signed"), TokenError::Invalid);
    check(&ours.sign(ACCESS_TYPE, &claims(60)).expect("signed"), TokenError::Invalid);
    check(&ours.sign_join(&JoinClaims { aud: ACCESS_AUDIENCE.into(), ..claims(60) }).expect("signed"), TokenError::Invalid);
    check(&ours.sign_join(&JoinClaims { iss: "dark-tower2".into(), ..claims(60) }).expect("signed"), TokenError::Invalid);
    check(&ours.sign_join(&JoinClaims { iat: unix_seconds() + 60, ..claims(90) }).expect("signed"), TokenError::Invalid);
    check(&ours.sign_join(&claims(301)).expect("signed"), TokenError::Invalid);
    check(&ours.sign_join(&JoinClaims { role: "king".into(), ..claims(60) }).expect("signed"), TokenError::Invalid);
    check(&ours.sign_join(&JoinClaims { meeting_id: "x".into(), ..claims(60) }).expect("signed"), TokenError::Invalid);
    check(&ours.sign_join(&JoinClaims { resumes: Some("x".into()), ..claims(60) }).expect("signed"), TokenError::Invalid);
    let access = signed(&ours, &header(&ours), &access_claims());
    check(&access, TokenError::Invalid);
    assert_eq!(verifier.verify_access(&ours.sign_join(&claims(60)).expect("signed")).err(), Some(TokenError::Invalid));
}

#[test]
fn what_is_not_written_as_a_token_is_refused() {
    let ours = signer();
    let verifier = verifier(&ours);
    let good = signed(&ours, &header(&ours), &access_claims());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let (head, payload) = message.split_once('.').expect("three parts");
    let last = good.chars().last().expect("not empty");
    // The last of 86 characters carries two bits: its neighbours in the alphabet mean the same to a sloppy decoder.
    let sloppy = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars().find(|it| *it as u32 == last as u32 + 1);
    let sloppy = format!("{}{}", &good[..good.len() - 1], sloppy.expect("A, Q, g or w has a neighbour"));
    let long = with(&access_claims(), "scope", Some(json!("a".repeat(TOKEN_BYTES_MAX))));
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!(".{payload}.{signature}"),
        format!("{head}..{signature}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}="),
        format!("{good}=="),
        format!("{head}=.{payload}.{signature}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{head}. {payload}.{signature}"),
        format!("{good}.{signature}"),
        good.replace('.', "%2e"),
        sloppy,
        signed(&ours, &header(&ours), &long),
    ] {
        assert_eq!(verifier.verify_access(&bad).err(), Some(TokenError::Invalid), "{bad}");
    }
    assert!(verifier.verify_access(&good).is_ok());
}

/// Rightly signed throughout: only we could have made them, and still only the exact header will do.
#[test]
fn headers_that_are_not_exactly_ours_are_refused() {
    let ours = signer();
    let (verifier, good) = (verifier(&ours), header(&ours));
    let jwk = ours.jwk();
    for (name, value) in [
        ("alg", None),
        ("alg", Some(json!("none"))),
        ("alg", Some(json!("None"))),
        ("alg", Some(json!("NONE"))),
        ("alg", Some(json!("nOnE"))),
        ("alg", Some(json!("HS256"))),
        ("alg", Some(json!("RS256"))),
        ("alg", Some(json!("eddsa"))),
        ("alg", Some(json!("EdDSA "))),
        ("alg", Some(json!(["EdDSA"]))),
        ("alg", Some(Value::Null)),
        ("typ", None),
        ("typ", Some(json!("JWT"))),
        ("typ", Some(json!("DT-ACCESS+JWT"))),
        ("typ", Some(json!(JOIN_TYPE))),
        ("kid", None),
        ("kid", Some(json!(""))),
        ("kid", Some(json!("AAAAAAAAAAAAAAAA"))),
        ("kid", Some(json!("../../../../dev/null"))),
        ("kid", Some(json!("' OR 1=1 --"))),
        ("kid", Some(json!({"$ne": ""}))),
        ("jku", Some(json!("https://127.0.0.1:1/jwks.json"))),
        ("x5u", Some(json!("https://127.0.0.1:1/chain.pem"))),
        ("x5c", Some(json!(["MIIB"]))),
        ("jwk", Some(jwk)),
        ("crit", Some(json!(["exp"]))),
        ("b64", Some(json!(false))),
        ("zip", Some(json!("DEF"))),
        ("cty", Some(json!("JWT"))),
    ] {
        let bad = with(&good, name, value);
        assert_eq!(verifier.verify_access(&signed(&ours, &bad, &access_claims())).err(), Some(TokenError::Invalid), "{bad}");
    }
}

#[test]
fn claims_that_are_missing_or_of_another_type_are_refused() {
    let ours = signer();
    let (verifier, good, now) = (verifier(&ours), access_claims(), unix_seconds());
    let check = |name: &str, value: Option<Value>, expected: Option<TokenError>| {
        let claims = with(&good, name, value);
        assert_eq!(verifier.verify_access(&signed(&ours, &header(&ours), &claims)).err(), expected, "{claims}");
    };
    for name in ["iss", "aud", "sub", "jti", "iat", "exp", "tenant", "scope"] {
        check(name, None, Some(TokenError::Invalid));
        check(name, Some(Value::Null), Some(TokenError::Invalid));
        check(name, Some(json!([good[name]])), Some(TokenError::Invalid));
        check(name, Some(json!("")), if ["tenant", "scope"].contains(&name) { None } else { Some(TokenError::Invalid) });
    }
    for name in ["iat", "exp", "nbf"] {
        for value in [json!(now.to_string()), json!(-1), json!(now as f64 + 0.5), json!(1e300), json!(u64::MAX), json!(true), json!({})] {
            check(name, Some(value), Some(TokenError::Invalid));
        }
    }
    check("nbf", Some(json!(now)), None);
    check("nbf", Some(json!(now + 4)), None);
    check("nbf", Some(json!(now + 60)), Some(TokenError::Invalid));
    check("iat", Some(json!(now + 60)), Some(TokenError::Invalid));
    check("exp", Some(json!(now + 24 * 3600 + 1)), Some(TokenError::Invalid));
    check("exp", Some(json!(0)), Some(TokenError::Invalid));
    check("aud", Some(json!(JOIN_AUDIENCE)), Some(TokenError::Invalid));
    check("iss", Some(json!("someone else")), Some(TokenError::Invalid));
    check("rate_limit", Some(json!("7")), Some(TokenError::Invalid));
    check("rate_limit", Some(json!(-7)), Some(TokenError::Invalid));
    check("new", Some(json!("is passed over")), None);
}

/// The leeway is for clocks that are off, at both ends; an expired token is called so only if nothing else is wrong.
#[test]
fn time_is_kept_to_the_second_and_the_leeway() {
    let check = |iat: u64, exp: u64, nbf: Option<u64>, expected: Result<(), TokenError>| {
        let claims = Registered { iss: ISSUER.into(), aud: "here".into(), sub: "a".into(), jti: "b".into(), iat, exp, nbf };
        assert_eq!(claims.check("here", Duration::from_secs(100), 1000, 5), expected, "{iat} {exp} {nbf:?}");
        assert_eq!(claims.check("there", Duration::from_secs(100), 1000, 5), Err(TokenError::Invalid));
    };
    check(950, 1050, None, Ok(()));
    check(950, 996, None, Ok(()));
    check(950, 995, None, Err(TokenError::Expired));
    check(1005, 1050, None, Ok(()));
    check(1006, 1050, None, Err(TokenError::Invalid));
    check(950, 1051, None, Err(TokenError::Invalid));
    check(950, 950, None, Err(TokenError::Invalid));
    check(950, 1050, Some(1005), Ok(()));
    check(950, 1050, Some(1006), Err(TokenError::Invalid));
    check(950, 995, Some(1006), Err(TokenError::Invalid));
}

/// HMAC with what everybody may know: refused by the algorithm's name before any key is touched.
#[test]
fn the_public_key_is_no_secret_key() {
    let ours = signer();
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some(ACCESS_TYPE.into());
    header.kid = Some(ours.key_id().into());
    let x = URL_SAFE_NO_PAD.encode(ours.public_key());
    for secret in [&ours.public_key()[..], x.as_bytes(), ours.jwk().to_string().as_bytes()] {
        let forged = jsonwebtoken::encode(&header, &access_claims(), &EncodingKey::from_secret(secret)).expect("signed");
        assert_eq!(verifier(&ours).verify_access(&forged).err(), Some(TokenError::Invalid));
    }
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": ACCESS_TYPE, "kid": ours.key_id()}).to_string()),
        URL_SAFE_NO_PAD.encode(access_claims().to_string())
    );
    assert_eq!(verifier(&ours).verify_access(&unsigned).err(), Some(TokenError::Invalid));
}
