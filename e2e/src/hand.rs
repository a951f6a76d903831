//! A participant whose media session a test works by hand: every stream, every byte, windows as it likes. Signaling goes as for any
//! [`Peer`](crate::peer::Peer), and nothing of what the handler sends is taken unless the test takes it.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use common::quic::TransportLimits;
use common_core::{Code, ParticipantId, StreamId};
use proto::v1::{self, client_message, media_client_message, media_server_message, server_message};
use web_transport_quinn::{SessionError, WebTransportError, quinn};

use crate::api::Invitation;
use crate::peer::{Signaling, hello, join_request, publication};
use crate::session::{Reader, Session, Stack, Writer};
use crate::wire;

/// See the module.
pub struct Hand {
    /// The signaling session.
    pub signaling: Signaling,
    /// The media session, hello said.
    pub media: web_transport_quinn::Session,
    /// Given by the controller.
    pub participant_id: ParticipantId,
    /// Where its media goes.
    pub info: v1::MediaServerInfo,
    control: (Writer, Reader),
}

impl Hand {
    /// Joins, subscribes to all present and future media streams, and says hello.
    pub async fn join(invitation: &Invitation, name: &str) -> anyhow::Result<Self> {
        Self::join_with(invitation, join_request(invitation, name), TransportLimits::SIGNALING).await
    }

    /// [`join`](Self::join) with a request and windows of the caller's.
    pub async fn join_with(invitation: &Invitation, request: v1::JoinRequest, windows: TransportLimits) -> anyhow::Result<Self> {
        let (signaling, participant_id, info) = Self::enter(invitation, request).await?;
        let media = dial(&info, windows).await?;
        let control = hello(&Session::WebTransportQuinn(Box::new(media.clone())), &info.connection_token).await?;
        Ok(Self { signaling, media, participant_id, info, control })
    }

    /// Joins over signaling alone; with where media would go.
    pub async fn enter(
        invitation: &Invitation,
        request: v1::JoinRequest,
    ) -> anyhow::Result<(Signaling, ParticipantId, v1::MediaServerInfo)> {
        let mut signaling = Signaling::dial(Stack::WebTransportQuinn, invitation).await?;
        let welcome = match signaling.request(client_message::Body::Join(request)).await? {
            server_message::Body::Join(welcome) => welcome,
            other => bail!("instead of a JoinResponse came {other:?}"),
        };
        let mut info = welcome.media_server.context("the JoinResponse names no media server")?;
        if let Some(url) = &invitation.media_url_instead {
            info.media_handler_url.clone_from(url);
        }
        Ok((signaling, ParticipantId::from_str(&welcome.participant_id)?, info))
    }

    /// Publishes a media stream; it is acked when frames flow.
    pub async fn publish(&mut self, stream_id: StreamId, stream_type: v1::StreamType) -> anyhow::Result<()> {
        self.signaling.acked(client_message::Body::Publish(publication(stream_id, stream_type))).await
    }

    /// Subscribes to one media stream; it is acked when frames flow.
    pub async fn subscribe(&mut self, stream_id: StreamId, options: v1::SubscriptionOptions) -> anyhow::Result<()> {
        let wish = v1::SubscribeStream { stream_id: stream_id.to_string(), options: Some(options) };
        self.signaling.acked(client_message::Body::Subscribe(wish)).await
    }

    /// Says something on the control stream.
    pub async fn say(&mut self, body: media_client_message::Body) -> anyhow::Result<()> {
        wire::send(&mut self.control.0, &v1::MediaClientMessage { version: proto::VERSION, body: Some(body) }).await
    }

    /// What the handler says next on the control stream. Dropped before it is done, it may have read half a message.
    pub async fn hear(&mut self) -> anyhow::Result<media_server_message::Body> {
        let message: v1::MediaServerMessage = wire::receive(&mut self.control.1).await?;
        message.body.context("a message without a body")
    }

    /// Sends `bytes` on a stream of their own, and ends it.
    pub async fn send(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut stream = self.media.open_uni().await?;
        stream.write_all(bytes).await?;
        stream.finish()?;
        Ok(())
    }

    /// Leaves the meeting, whatever became of the media session.
    pub async fn leave(&mut self) -> anyhow::Result<()> {
        self.signaling.acked(client_message::Body::Leave(v1::Leave {})).await?;
        self.signaling.session.close();
        self.media.close(Code::Normal.number(), b"bye");
        Ok(())
    }

    /// With which code the handler has closed the media session; waits until it has.
    pub async fn closed(&self) -> anyhow::Result<Code> {
        closed(&self.media).await
    }
}

/// With which code the handler has closed a session; waits until it has.
pub async fn closed(session: &web_transport_quinn::Session) -> anyhow::Result<Code> {
    match session.closed().await {
        SessionError::WebTransportError(WebTransportError::Closed(number, _)) => {
            Code::from_number(number).with_context(|| format!("the close code {number} is not in the contract"))
        }
        other => bail!("the session did not end with a code: {other}"),
    }
}

/// Opens a session with the handler of `info`, with windows of the caller's; says nothing yet.
pub async fn dial(info: &v1::MediaServerInfo, windows: TransportLimits) -> anyhow::Result<web_transport_quinn::Session> {
    let tls = client::Trust::from_hashes(&info.certificate_hashes).tls_config(&[common::webtransport::ALPN])?;
    let mut config = quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(windows.transport()));
    let endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let url: reqwest::Url = info.media_handler_url.parse()?;
    Ok(web_transport_quinn::Client::new(endpoint, config).connect(url).await?)
}
