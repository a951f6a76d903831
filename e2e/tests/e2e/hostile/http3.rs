//! Tricks with HTTP/3 below WebTransport: lengths that lie, frames without end, capsules, a second CONNECT.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use e2e::api::Invitation;
use e2e::ground::{Ground, REFUSAL_LIMIT, refused_within, scale};
use e2e::raw::{self, RawSession, foreign_address, frame, varint};
use e2e::within;
use web_transport_quinn::quinn::{Connection, Endpoint};

const GIBIBYTE: u64 = 1 << 30;
const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
const SETTINGS: u64 = 0x04;
/// Of the form 0x1f * N + 0x21: to be ignored (RFC 9114 section 7.2.8).
const GREASE: u64 = 0x21;
const CLOSE_SESSION: u64 = 0x2843;

fn headers(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, block)
}

/// What comes on the control stream and on the stream for CONNECT, before there is a session.
fn openings() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let settings = raw::settings();
    let lying = |kind: u64| [varint(kind), varint(GIBIBYTE)].concat();
    vec![
        ("a push stream instead of a control stream", [varint(1), varint(0)].concat(), vec![]),
        ("SETTINGS of a gibibyte", [varint(0), lying(SETTINGS)].concat(), vec![]),
        ("SETTINGS without WebTransport", [varint(0), frame(SETTINGS, &[])].concat(), vec![]),
        ("HEADERS before SETTINGS", [varint(0), headers(&[0, 0])].concat(), vec![]),
        ("HEADERS of a gibibyte", settings.clone(), lying(HEADERS)),
        ("HEADERS of 17 KiB", settings.clone(), headers(&vec![0; 17 * 1024])),
        ("an unknown frame of a gibibyte", settings.clone(), lying(GREASE)),
        // Required insert count 1: an entry of the dynamic table, which there is none of.
        ("a header block that needs a dynamic table", settings.clone(), headers(&[2, 0, 0x80])),
        // Each byte names an entry of the static table: 15 KiB of them stand for ten times as much.
        ("a header block that grows tenfold", settings.clone(), headers(&[vec![0, 0], vec![0xc0 | 29; 15 * 1024]].concat())),
        // A literal name whose length runs over the end of the block, and over 32 bits.
        ("a header whose length is a lie", settings.clone(), headers(&[vec![0, 0, 0x27], vec![0xff; 5], vec![0x0f]].concat())),
        ("a length of more than 64 bits", settings.clone(), headers(&[vec![0, 0, 0x27], vec![0xff; 20]].concat())),
        // :method GET, :scheme https, :path /.
        ("a GET", settings, headers(&[0, 0, 0xc0 | 17, 0xc0 | 23, 0xc0 | 1])),
    ]
}

async fn ends(what: &str, connection: &Connection) -> anyhow::Result<()> {
    refused_within(REFUSAL_LIMIT, what, async {
        connection.closed().await;
        Ok(())
    })
    .await
}

async fn opened_with(endpoint: &Endpoint, server: SocketAddr, control: &[u8], request: &[u8]) -> anyhow::Result<Connection> {
    let connection = raw::connect(endpoint, server).await?;
    connection.open_uni().await?.write_all(control).await?;
    // The server may have ended it by now, for what came on the control stream or for the request.
    if let Ok((mut stream, answer)) = connection.open_bi().await {
        let _ = stream.write_all(request).await;
        // Both stay open: what the server sees is all there is to come.
        std::mem::forget((stream, answer));
    }
    Ok(connection)
}

/// Joins over a session that was opened by hand: it lives.
async fn joins(session: &RawSession, invitation: &Invitation) -> anyhow::Result<()> {
    within(REFUSAL_LIMIT * 2, "a join over a session that was played with", async { session.join(invitation).await.map(|_| ()) }).await
}

/// Wrong openings are refused within a second, at either listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openings_that_lie_are_refused() -> anyhow::Result<()> {
    let ground = Ground::start("HTTP/3 openings").await?;
    let endpoint = raw::endpoint(foreign_address(1))?;
    for server in [ground.signaling_address()?, ground.media_address()?] {
        for (what, control, request) in openings() {
            let connection = opened_with(&endpoint, server, &control, &request).await.with_context(|| what.to_owned())?;
            ends(what, &connection).await?;
        }
        // Frames that must be ignored, without end.
        let connection = raw::connect(&endpoint, server).await?;
        let mut control = connection.open_uni().await?;
        control.write_all(&varint(0)).await?;
        let grease = frame(GREASE, &[0; 1000]);
        refused_within(REFUSAL_LIMIT, "ignored frames without end", async {
            while control.write_all(&grease).await.is_ok() {}
            Ok(())
        })
        .await?;
        // Another path is answered, and the connection ends when its time for reading that is over.
        let connection = raw::connect(&endpoint, server).await?;
        connection.open_uni().await?.write_all(&raw::settings()).await?;
        let (mut stream, mut answer) = connection.open_bi().await?;
        stream.write_all(&raw::connect_request(&format!("https://localhost:{}/elsewhere", server.port()))?).await?;
        refused_within(REFUSAL_LIMIT, "another path", async {
            let bytes = answer.read_to_end(1024).await?;
            ensure!(bytes.first() == Some(&1), "no HEADERS: {bytes:?}");
            Ok(())
        })
        .await?;
        within(REFUSAL_LIMIT * 2, "the end after another path", async { Ok(connection.closed().await) }).await?;
    }
    let refused = ground.metric("dark_tower_refused_total", &["http3"]).await?;
    ensure!(refused >= 20.0, "only {refused} are counted");
    ground.settled().await?;
    Ok(())
}

/// Capsules, a second CONNECT, streams and datagrams that nobody asked for: what lies ends the session, what is merely unknown does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capsules_and_second_requests_end_that_session_or_nothing() -> anyhow::Result<()> {
    let ground = Ground::start("capsules").await?;
    let endpoint = raw::endpoint(foreign_address(1))?;
    let (server, url) = (ground.signaling_address()?, ground.file.signaling_url.clone());
    let open = || RawSession::open(&endpoint, server, &url);

    let long_close = [0_u32.to_be_bytes().to_vec(), vec![b'x'; 2000]].concat();
    let lies = [
        ("an unknown capsule of a gibibyte", frame(DATA, &[varint(0x1234), varint(GIBIBYTE)].concat())),
        ("a DATA frame of a gibibyte", [varint(DATA), varint(GIBIBYTE)].concat()),
        ("an ignored frame of a gibibyte", [varint(GREASE), varint(GIBIBYTE)].concat()),
        ("a close whose message is over 1024 bytes", frame(DATA, &frame(CLOSE_SESSION, &long_close))),
        ("a close that is no text", frame(DATA, &frame(CLOSE_SESSION, &[0, 0, 0, 0, 0xff, 0xfe]))),
    ];
    for (what, bytes) in lies {
        let mut session = open().await?;
        session.connect.0.write_all(&bytes).await?;
        ends(what, &session.connection).await?;
    }

    // The library waits for the rest of a close that is too short; the end of the stream is the end of the session then.
    let mut session = open().await?;
    session.connect.0.write_all(&frame(DATA, &frame(CLOSE_SESSION, &[0]))).await?;
    session.connect.0.finish()?;
    ends("a close without a code", &session.connection).await?;

    // A second CONNECT is not answered with a session, and the first one lives.
    let session = open().await?;
    let (mut again, mut answer) = session.connection.open_bi().await?;
    again.write_all(&raw::connect_request(&url)?).await?;
    let bytes = refused_within(REFUSAL_LIMIT, "a second CONNECT", async { Ok(answer.read_to_end(1024).await.unwrap_or_default()) }).await?;
    ensure!(bytes.is_empty(), "a second CONNECT got {bytes:?}");
    joins(&session, &ground.invite("Mallory").await?).await?;

    // Unknown capsules, each within its bounds, do nothing; the log does not grow with them.
    let log_before = ground.log_bytes()?;
    let mut session = open().await?;
    for number in 0..scale().of(2_000, 100_000_u64) {
        session.capsule(0x1234 + number % 64, &[0; 8]).await?;
    }
    joins(&session, &ground.invite("Mallory").await?).await?;
    let grown = ground.log_bytes()? - log_before;
    ensure!(grown < 16 * 1024, "the log grew by {grown} bytes");

    // Streams of unknown kinds, QPACK's and the reserved ones, and datagrams for nobody.
    let session = open().await?;
    let mut open_streams = Vec::new();
    for kind in [0x02, 0x03, 0x21, 0x21 + 0x1f, 0x1234] {
        let mut stream = session.connection.open_uni().await?;
        // One that is stopped is refused as it should be.
        let _ = stream.write_all(&[varint(kind), vec![0; 2000]].concat()).await;
        open_streams.push(stream);
    }
    for _ in 0..scale().of(1_000, 10_000) {
        session.connection.send_datagram_wait(vec![0; 1000].into()).await?;
    }
    joins(&session, &ground.invite("Mallory").await?).await?;
    ground.settled().await?;
    Ok(())
}
