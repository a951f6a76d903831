//! A participant by raw messages: joins, publishes and subscribes as `signaling.proto` and `media.proto` say, over either
//! stack, without the Rust client.

use std::collections::VecDeque;
use std::str::FromStr;

use anyhow::{Context, bail};
use common_core::frame::FrameKind;
use common_core::{ParticipantId, StreamId};
use proto::v1::{self, client_message, media_client_message, media_server_message, server_message};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::api::Invitation;
use crate::session::{Reader, Session, Stack, Writer};
use crate::wire::{self, CONTROL_STREAM, Record};

/// Records received and not yet looked at; a test that lets more pile up is held back by QUIC.
const RECORDS_MAX: usize = 4096;
/// Unasked messages that are kept for a later look.
const UNASKED_MAX: usize = 4096;

/// The signaling of one session.
pub struct Signaling {
    /// The session below.
    pub session: Session,
    /// What this end writes.
    pub writer: Writer,
    reader: Reader,
    last_request: u64,
    unasked: VecDeque<server_message::Body>,
}

impl Signaling {
    /// Dials and opens the stream; says nothing yet.
    pub async fn dial(stack: Stack, invitation: &Invitation) -> anyhow::Result<Self> {
        let session = Session::dial(stack, &invitation.meeting_controller_url, &invitation.hashes()?).await?;
        let (writer, reader) = session.open_bi().await?;
        Ok(Self { session, writer, reader, last_request: 0, unasked: VecDeque::new() })
    }

    /// Sends a request and waits for its reply, which may be an `ErrorMessage`.
    pub async fn request(&mut self, body: client_message::Body) -> anyhow::Result<server_message::Body> {
        self.last_request += 1;
        let request_id = self.last_request;
        wire::send(&mut self.writer, &v1::ClientMessage { version: proto::VERSION, request_id, body: Some(body) }).await?;
        self.reply_to(request_id).await
    }

    /// The reply to a request that was written by hand.
    pub async fn reply_to(&mut self, request_id: u64) -> anyhow::Result<server_message::Body> {
        loop {
            let (replies_to, body) = self.message().await?;
            if replies_to == request_id {
                return Ok(body);
            }
            self.keep(body)?;
        }
    }

    /// Sends a request that must be answered with `Ack`.
    pub async fn acked(&mut self, body: client_message::Body) -> anyhow::Result<()> {
        match self.request(body).await? {
            server_message::Body::Ack(_) => Ok(()),
            other => bail!("instead of an Ack came {other:?}"),
        }
    }

    /// The first unasked message that `pick` takes; those before it are dropped.
    pub async fn event<T>(&mut self, pick: impl Fn(server_message::Body) -> Option<T>) -> anyhow::Result<T> {
        loop {
            let body = match self.unasked.pop_front() {
                Some(body) => body,
                None => self.message().await?.1,
            };
            if let Some(picked) = pick(body) {
                return Ok(picked);
            }
        }
    }

    fn keep(&mut self, body: server_message::Body) -> anyhow::Result<()> {
        if self.unasked.len() == UNASKED_MAX {
            bail!("{UNASKED_MAX} unasked messages wait and nobody looks at them");
        }
        self.unasked.push_back(body);
        Ok(())
    }

    async fn message(&mut self) -> anyhow::Result<(u64, server_message::Body)> {
        let message: v1::ServerMessage = wire::receive(&mut self.reader).await?;
        anyhow::ensure!(message.version == proto::VERSION, "a message of version {}", message.version);
        Ok((message.request_id, message.body.context("a message without a body")?))
    }
}

/// The first message of a session with a join token.
pub fn join_request(invitation: &Invitation, name: &str) -> v1::JoinRequest {
    v1::JoinRequest {
        meeting_id: invitation.meeting_id.clone(),
        join_token: invitation.join_token.clone(),
        participant_name: name.to_owned(),
        auto_subscribe: true,
        ..Default::default()
    }
}

/// A participant with signaling and media.
pub struct Peer {
    /// See [`Signaling`].
    pub signaling: Signaling,
    /// The session with the handler.
    pub media: Session,
    /// Given by the controller.
    pub participant_id: ParticipantId,
    /// The first answer.
    pub welcome: v1::JoinResponse,
    records: mpsc::Receiver<anyhow::Result<Record>>,
    _control: (Writer, Reader),
    _accept: AbortOnDropHandle<()>,
}

impl Peer {
    /// Joins, subscribes to all present and future media streams, and says hello to the handler.
    pub async fn join(stack: Stack, invitation: &Invitation, name: &str) -> anyhow::Result<Self> {
        Self::join_with(stack, invitation, join_request(invitation, name)).await
    }

    /// [`join`](Self::join) with a request of the caller's.
    pub async fn join_with(stack: Stack, invitation: &Invitation, request: v1::JoinRequest) -> anyhow::Result<Self> {
        let mut signaling = Signaling::dial(stack, invitation).await?;
        let welcome = match signaling.request(client_message::Body::Join(request)).await? {
            server_message::Body::Join(welcome) => welcome,
            other => bail!("instead of a JoinResponse came {other:?}"),
        };
        let participant_id = ParticipantId::from_str(&welcome.participant_id)?;
        canary::keep("resume_token", &welcome.resume_token);
        let mut info = welcome.media_server.clone().context("the JoinResponse names no media server")?;
        if let Some(url) = &invitation.media_url_instead {
            info.media_handler_url.clone_from(url);
        }
        canary::keep("connection_token", &info.connection_token);
        let media = dial_media(stack, &info).await?;
        let control = hello(&media, &info.connection_token).await?;
        let (sender, records) = mpsc::channel(RECORDS_MAX);
        let accept = AbortOnDropHandle::new(tokio::spawn(accept_groups(media.clone(), sender)));
        Ok(Self { signaling, media, participant_id, welcome, records, _control: control, _accept: accept })
    }

    /// Publishes a media stream; it is acked when frames flow.
    pub async fn publish(&mut self, stream_id: StreamId, stream_type: v1::StreamType) -> anyhow::Result<()> {
        self.signaling.acked(client_message::Body::Publish(publication(stream_id, stream_type))).await
    }

    /// Subscribes to one media stream; it is acked when frames flow.
    pub async fn subscribe(&mut self, stream_id: StreamId) -> anyhow::Result<()> {
        let wish = v1::SubscribeStream { stream_id: stream_id.to_string(), options: None };
        self.signaling.acked(client_message::Body::Subscribe(wish)).await
    }

    /// Sends records, a QUIC stream for each group.
    pub async fn send(&self, records: &[Record]) -> anyhow::Result<()> {
        let mut stream: Option<Writer> = None;
        for record in records {
            if record.header.kind != FrameKind::VideoDelta
                && let Some(mut last) = stream.take()
            {
                last.shutdown().await?;
            }
            let stream = match &mut stream {
                Some(stream) => stream,
                none => none.insert(self.media.open_uni().await?),
            };
            stream.write_all(&record.bytes).await?;
        }
        if let Some(mut last) = stream {
            last.shutdown().await?;
        }
        Ok(())
    }

    /// The next record of any group, in the order of arrival.
    pub async fn record(&mut self) -> anyhow::Result<Record> {
        self.records.recv().await.context("the media session is over")?
    }

    /// Leaves and closes both sessions.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        self.signaling.acked(client_message::Body::Leave(v1::Leave {})).await?;
        self.signaling.session.close();
        self.media.close();
        Ok(())
    }
}

/// A publication of a picture or of sound, as plain as the contract allows.
pub fn publication(stream_id: StreamId, stream_type: v1::StreamType) -> v1::PublishStream {
    let metadata = match stream_type {
        v1::StreamType::Audio => v1::StreamMetadata { codec: "Opus".into(), sample_rate: 48_000, channels: 2, ..Default::default() },
        _ => {
            let video = v1::VideoMetadata { width: 320, height: 180, framerate: 30, ..Default::default() };
            v1::StreamMetadata { codec: "VP9".into(), video: Some(video), ..Default::default() }
        }
    };
    v1::PublishStream { stream_id: stream_id.to_string(), stream_type: stream_type.into(), metadata: Some(metadata) }
}

/// A stream id that no other test has.
pub fn fresh_stream_id() -> StreamId {
    StreamId::new(uuid::Uuid::new_v4())
}

/// Opens the session with the handler of `info`.
pub async fn dial_media(stack: Stack, info: &v1::MediaServerInfo) -> anyhow::Result<Session> {
    let hashes: Vec<Vec<u8>> = info.certificate_hashes.iter().map(|hash| hash.to_vec()).collect();
    Session::dial(stack, &info.media_handler_url, &hashes).await
}

/// Opens the control stream, shows the token and waits for the welcome.
pub async fn hello(media: &Session, connection_token: &str) -> anyhow::Result<(Writer, Reader)> {
    let (mut writer, mut reader) = media.open_bi().await?;
    writer.write_all(&[CONTROL_STREAM]).await?;
    let hello = v1::MediaHello { connection_token: connection_token.to_owned(), datagrams: false };
    let body = Some(media_client_message::Body::Hello(hello));
    wire::send(&mut writer, &v1::MediaClientMessage { version: proto::VERSION, body }).await?;
    let answer: v1::MediaServerMessage = wire::receive(&mut reader).await?;
    match answer.body {
        Some(media_server_message::Body::Welcome(_)) => Ok((writer, reader)),
        other => bail!("instead of a MediaWelcome came {other:?}"),
    }
}

/// Takes each group's stream and hands out its records; a group that the handler resets just ends.
async fn accept_groups(media: Session, records: mpsc::Sender<anyhow::Result<Record>>) {
    let mut groups = JoinSet::new();
    while let Ok(mut group) = media.accept_uni().await {
        while groups.try_join_next().is_some() {}
        let records = records.clone();
        groups.spawn(async move {
            loop {
                match wire::read_record(&mut group).await {
                    Ok(Some(record)) => {
                        if records.send(Ok(record)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        // Lost with the receiver only when the test is over.
                        _ = records.send(Err(error)).await;
                        return;
                    }
                }
            }
        });
    }
}

/// Of a frame at `sequence` when each `group`th is a key frame.
pub fn kind_in_groups_of(group: u64, sequence: u64) -> FrameKind {
    if sequence.is_multiple_of(group) { FrameKind::VideoKey } else { FrameKind::VideoDelta }
}
