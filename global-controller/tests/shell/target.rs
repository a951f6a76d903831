//! An application that is called back: it keeps what it is told, and answers as a test wants it to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::world::eventually;

/// How a call is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    /// To a place on the same server.
    Redirect(&'static str),
    /// Never.
    Nothing,
    /// Not at all: the connection closes.
    Close,
    /// With a body that has no end.
    Endless,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a call is JSON")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII")).unwrap_or_default()
    }
}

#[derive(Default)]
struct Kept {
    calls: Vec<Call>,
    /// What the next calls are answered; what comes behind is taken.
    script: VecDeque<Answer>,
    /// Kinds of events that are never taken.
    refused: Vec<&'static str>,
    /// Nothing is ever answered.
    silent: bool,
}

pub struct Target {
    pub url: String,
    kept: Arc<Mutex<Kept>>,
}

impl Target {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let router = Router::new().fallback(answer).with_state(kept.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, kept }
    }

    /// The same one by another URL.
    pub fn also_at(&self, part: &str, instead: &str) -> Self {
        Self { url: self.url.replace(part, instead), kept: self.kept.clone() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next calls are answered like this.
    pub fn answers(&self, script: impl IntoIterator<Item = Answer>) {
        self.kept().script.extend(script);
    }

    pub fn refuses(&self, kinds: &[&'static str]) {
        self.kept().refused = kinds.to_vec();
    }

    pub fn falls_silent(&self) {
        self.kept().silent = true;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.kept().calls.clone()
    }

    /// `type sequence` of each call, in their order.
    pub fn told(&self) -> Vec<String> {
        self.calls().iter().map(|call| brief(&call.event())).collect()
    }

    /// Waits until there was a call about such an event.
    pub async fn is_told(&self, brief: &str) {
        eventually(brief, || async { self.told().iter().any(|told| told == brief).then_some(()) }).await;
    }
}

/// `type sequence` of an event.
pub fn brief(event: &Value) -> String {
    format!("{} {}", event["type"].as_str().expect("a type"), event["sequence"])
}

async fn answer(State(kept): State<Arc<Mutex<Kept>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let answer = {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let call = Call { path: uri.path().to_owned(), headers, body };
        let kind = call.event()["type"].as_str().unwrap_or_default().to_owned();
        kept.calls.push(call);
        match kept.script.pop_front() {
            _ if kept.silent => Answer::Nothing,
            _ if kept.refused.iter().any(|refused| *refused == kind) => Answer::Status(500),
            Some(answer) => answer,
            None => Answer::Status(204),
        }
    };
    match answer {
        Answer::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Answer::Redirect(place) => (StatusCode::TEMPORARY_REDIRECT, [("location", place)]).into_response(),
        Answer::Nothing => std::future::pending().await,
        // hyper closes the connection of a handler that panics; said without a panic, by a body that breaks off inside its stated length.
        Answer::Close => {
            let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe))]);
            (StatusCode::SERVICE_UNAVAILABLE, [("connection", "close")], axum::body::Body::from_stream(broken)).into_response()
        }
        Answer::Endless => {
            let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])));
            axum::body::Body::from_stream(endless).into_response()
        }
    }
}

/// The signature that the specification asks for, made from its words: HMAC (RFC 2104) by hand.
pub fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut key = STANDARD.decode(secret.strip_prefix("whsec_").expect("the prefix")).expect("base64");
    assert!(key.len() <= 64, "a longer key is hashed first");
    key.resize(64, 0);
    let keyed = |pad: u8, message: &[u8]| {
        let bytes: Vec<u8> = key.iter().map(|byte| byte ^ pad).chain(message.iter().copied()).collect();
        digest(&SHA256, &bytes)
    };
    let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    format!("v1,{}", STANDARD.encode(keyed(0x5c, keyed(0x36, &message).as_ref())))
}
