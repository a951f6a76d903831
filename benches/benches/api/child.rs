//! The measured process as the load sees it: started on a core of its own, told what to do, asked over its listeners.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::tls::{ClusterAuthority, NodeKind};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use crate::load::{Connection, Protocol, Requests, Target};
use crate::nodes::Nodes;
use crate::{MEETINGS, MEETINGS_SPREAD, NAME, SERVER_CORE};

/// See the module. Ends with this process at the latest.
pub struct Child {
    pub pid: u32,
    pub target: Target,
    /// Paths of meetings in the API.
    pub meetings: Vec<String>,
    bearer: HeaderValue,
    process: benches::child::Child,
    folder: tempfile::TempDir,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Call {
    /// A meeting, by a bearer; one of a few.
    Get,
    /// One of many.
    GetSpread,
    /// A new one, by a bearer.
    Create,
    /// To be let in, as a guest.
    Join,
    /// To be let in, by a bearer.
    JoinBearer,
}

impl Call {
    pub const ALL: [Call; 5] = [Call::Get, Call::GetSpread, Call::Create, Call::Join, Call::JoinBearer];

    pub const fn name(self) -> &'static str {
        match self {
            Call::Get => "get",
            Call::GetSpread => "get-spread",
            Call::Create => "create",
            Call::Join => "join",
            Call::JoinBearer => "join-bearer",
        }
    }

    const fn bare(self) -> &'static str {
        match self {
            Call::Get | Call::GetSpread => "/bare/get",
            Call::Create => "/bare/create",
            Call::Join | Call::JoinBearer => "/bare/join",
        }
    }
}

impl Child {
    /// Starts it with two nodes, an API client and meetings.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // As in production: a line for each request, written to a file.
        let process = benches::child::Child::start(SERVER_CORE, "server", Some(&folder.path().join("log")));
        let pid = process.pid;
        let target = Target { address: ([127, 0, 0, 1], 0).into(), certificate: Vec::new().into() };
        let bearer = HeaderValue::from_static("");
        let mut child = Self { pid, target, meetings: Vec::new(), bearer, process, folder };
        child.introduce().await;
        child
    }

    async fn introduce(&mut self) {
        let authority = ClusterAuthority::generate().expect("an authority");
        let identity = |id: &str, kind| authority.issue(&id.parse().expect("a node id"), kind).expect("a certificate");
        let own = identity("gc-1", NodeKind::GlobalController);
        let said = self
            .ask(json!({
                "certificate": own.certificate_pem, "key": own.key_pem, "authority": own.authority_pem,
                "folder": self.folder.path().to_str().expect("a path in UTF-8"),
            }))
            .await;
        let text = |name: &str| said[name].as_str().expect("a text").to_owned();
        let certificate = STANDARD.decode(text("certificate")).expect("base64").into();
        self.target = Target { address: text("address").parse().expect("an address"), certificate };
        let (controller, handler) = (identity("mc-1", NodeKind::MeetingController), identity("mh-1", NodeKind::MediaHandler));
        Nodes { controller, handler, registry: text("registry") }.join().await;

        let mut connection = Connection::open(&self.target, Protocol::Http2).await;
        let mut post = async |path: &str, headers: HeaderMap, body: Value, status: StatusCode| -> (Value, String) {
            let (method, uris) = (Method::POST, vec![self.target.uri(path)]);
            let requests = Requests { method, uris, headers, body: body.to_string().into(), status };
            let (found, body) = connection.call(requests.request(0)).await;
            let text = String::from_utf8(body).expect("UTF-8");
            assert_eq!(found, status, "{text}");
            (serde_json::from_str(&text).expect("JSON"), text)
        };
        let asked = json!({"grant_type": "client_credentials", "client_id": text("client_id"), "client_secret": text("client_secret")});
        let (granted, _) = post("/api/v1/auth/token", json_headers(), asked, StatusCode::OK).await;
        let token = granted["access_token"].as_str().expect("a token");
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("ASCII");
        let mut headers = json_headers();
        headers.insert(AUTHORIZATION, bearer.clone());
        let mut created = String::new();
        let mut meetings = Vec::new();
        for _ in 0..MEETINGS_SPREAD {
            let (meeting, text) = post("/api/v1/meetings", headers.clone(), create_body(), StatusCode::CREATED).await;
            meetings.push(format!("/api/v1/meetings/{}", meeting["meeting_id"].as_str().expect("an id")));
            created = text;
        }
        let (_, joined) = post(&format!("{}/join", meetings[0]), json_headers(), join_body(), StatusCode::OK).await;
        let get = Requests {
            method: Method::GET,
            uris: vec![self.target.uri(&meetings[0])],
            headers,
            body: Bytes::new(),
            status: StatusCode::OK,
        };
        let (status, got) = connection.call(get.request(0)).await;
        assert_eq!(status, StatusCode::OK);
        (self.bearer, self.meetings) = (bearer, meetings);
        let get = String::from_utf8(got).expect("UTF-8");
        self.ask(json!({"do": "answer", "get": get, "create": created, "join": joined})).await;
    }

    /// Has it do something; its answer.
    pub async fn ask(&mut self, wish: Value) -> Value {
        self.process.ask(&wish).await
    }

    /// Requests of one kind: as `call` says, or the same to the bare handler.
    pub fn requests(&self, call: Call, bare: bool) -> Rc<Requests> {
        let mut headers = if matches!(call, Call::Get | Call::GetSpread) { HeaderMap::new() } else { json_headers() };
        if call != Call::Join {
            headers.insert(AUTHORIZATION, self.bearer.clone());
        }
        let (method, body, status) = match call {
            Call::Get | Call::GetSpread => (Method::GET, Bytes::new(), StatusCode::OK),
            Call::Create => (Method::POST, create_body().to_string().into(), StatusCode::CREATED),
            Call::Join | Call::JoinBearer => (Method::POST, join_body().to_string().into(), StatusCode::OK),
        };
        let uris = match call {
            _ if bare => vec![self.target.uri(call.bare())],
            Call::Get => self.meetings.iter().take(MEETINGS).map(|path| self.target.uri(path)).collect(),
            Call::GetSpread => self.meetings.iter().map(|path| self.target.uri(path)).collect(),
            Call::Create => vec![self.target.uri("/api/v1/meetings")],
            Call::Join | Call::JoinBearer => {
                self.meetings.iter().take(MEETINGS).map(|path| self.target.uri(&format!("{path}/join"))).collect()
            }
        };
        Rc::new(Requests { method, uris, headers, body, status: if bare { StatusCode::OK } else { status } })
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

fn create_body() -> Value {
    json!({"display_name": NAME, "max_participants": 100, "settings": {"enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false}})
}

fn join_body() -> Value {
    json!({"display_name": NAME})
}
