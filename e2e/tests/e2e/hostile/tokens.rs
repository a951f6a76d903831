//! Tokens of the wrong kind, time, meeting or cluster.

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::token::{JoinClaims, TokenSigner};
use common_core::Code;
use e2e::eventually;
use e2e::ground::refused;
use e2e::peer::{Peer, dial_media, hello, join_request};
use proto::v1::{self, client_message};
use serde_json::json;

use super::{JOIN_LIFE, STACK, beside_bystanders, refused_as_first};

/// A token opens one meeting, once, in its time, in its cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_nothing_but_what_they_are_for() -> anyhow::Result<()> {
    beside_bystanders(|cluster| async move {
        let api = &cluster.api;
        let ours = api.create_meeting().await?.meeting_id;
        let theirs = api.create_meeting().await?.meeting_id;

        // The token that will be too old is made first; the others are tried meanwhile.
        let old = api.invite(&ours, "Mallory").await?;
        let fresh = api.invite(&ours, "Mallory").await?;
        let claims: JoinClaims = claims_of(&fresh.join_token)?;
        let stranger = TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8())?;
        let access = cluster.access_token().await?;
        let cases = [
            ("no token", String::new()),
            ("no token at all, but three dots", "a.b.c".to_owned()),
            ("a token that another cluster signed", stranger.sign_join(&claims)?),
            ("a token with its role changed", with_role_host(&fresh.join_token)?),
            ("a token without a signature", unsigned(&fresh.join_token)?),
            ("an access token", access),
        ];
        for (what, join_token) in cases {
            let request = v1::JoinRequest { join_token, ..join_request(&fresh, "Mallory") };
            refused_as_first(what, Code::Unauthorized, &fresh, client_message::Body::Join(request)).await?;
        }
        let request = v1::JoinRequest { meeting_id: theirs, ..join_request(&fresh, "Mallory") };
        refused_as_first("another meeting's token", Code::Unauthorized, &fresh, client_message::Body::Join(request)).await?;

        let honest = Peer::join(STACK, &fresh, "Ana").await.context("none of that has spent the token")?;
        let again = client_message::Body::Join(join_request(&fresh, "Mallory"));
        refused_as_first("a spent token", Code::Unauthorized, &fresh, again).await?;

        let token = &honest.welcome.media_server.as_ref().context("a media server")?.connection_token;
        for (what, connection_token) in [("a spent connection token", token.as_str()), ("a made-up connection token", "AAAA")] {
            let info = honest.welcome.media_server.clone().context("a media server")?;
            let media = dial_media(STACK, &info).await?;
            refused(what, Code::Unauthorized, async {
                ensure!(hello(&media, connection_token).await.is_err(), "it was welcomed");
                media.close_code().await
            })
            .await?;
        }

        let expires_at = claims_of(&old.join_token)?.exp;
        eventually("the old token is past its time", JOIN_LIFE * 2, || async move {
            let now = common::clock::unix_seconds();
            if now > expires_at { Ok(()) } else { Err(format!("{} s are left", expires_at + 1 - now)) }
        })
        .await?;
        refused_as_first("an expired token", Code::Unauthorized, &old, client_message::Body::Join(join_request(&old, "Mallory"))).await
    })
    .await
}

fn claims_of(token: &str) -> anyhow::Result<JoinClaims> {
    let payload = token.split('.').nth(1).context("a token has three parts")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?)
}

fn with_role_host(token: &str) -> anyhow::Result<String> {
    let [header, _, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().ok().context("three parts")?;
    let claims = JoinClaims { role: "host".into(), ..claims_of(token)? };
    Ok(format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims)?)))
}

fn unsigned(token: &str) -> anyhow::Result<String> {
    let payload = token.split('.').nth(1).context("a token has three parts")?;
    let header = json!({"alg": "none", "typ": common::token::JOIN_TYPE});
    Ok(format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header.to_string())))
}
