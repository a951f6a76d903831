//! Several workers behind one port: all of them serve, meetings go across them, and a client keeps its own wherever it comes from.

use std::net::{SocketAddr, UdpSocket};

use common::quic::TransportLimits;
use common_core::{Code, StreamId};
use media_handler::Running;
use proto::v1;

use crate::client::{Client, GroupEnd, group, write};
use crate::world::{World, camera, endpoint, stream_id, within};

/// Clients choose their worker by chance: that fewer than two of so many come to one of three workers happens once in 10^8 runs.
const COMERS_MAX: usize = 60;
/// Without steering two clients would come to their workers each time by chance once in 10^6 runs.
const MOVES: u64 = 10;

/// A budget that no machine is too slow for.
fn patient() -> v1::SubscriptionOptions {
    v1::SubscriptionOptions { max_latency_ms: 20_000, ..Default::default() }
}

/// A participant whose worker is known.
struct Comer {
    endpoint: quinn::Endpoint,
    client: Client,
    camera: StreamId,
}

/// Lets participants come until each worker has so many; they are told by worker.
async fn crowd(world: &mut World, each: usize) -> Vec<Vec<Comer>> {
    let mut crowd: Vec<Vec<Comer>> = world.handler.sessions_by_worker().iter().map(|_| Vec::new()).collect();
    for _ in 0..COMERS_MAX {
        let (endpoint, id, before) = (endpoint(), stream_id(), world.handler.sessions_by_worker());
        let streams = vec![camera(id)];
        let client = world.participant_from(&endpoint, world.meeting, streams, TransportLimits::SIGNALING).await;
        // Whoever has been welcomed is served.
        let after = world.handler.sessions_by_worker();
        let worker = (0..after.len()).find(|worker| after[*worker] > before[*worker]).expect("somebody serves the client");
        crowd[worker].push(Comer { endpoint, client, camera: id });
        if crowd.iter().all(|comers| comers.len() >= each) {
            return crowd;
        }
    }
    panic!("of {COMERS_MAX} there came {:?}", world.handler.sessions_by_worker());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_goes_across_all_workers() {
    let handler = go_across(World::with_workers(3).await).await;
    assert_eq!(handler.packets_handed_over(), (0, 0), "each read its own alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_goes_across_all_workers_on_ticks() {
    go_across(World::on_ticks(3).await).await;
}

/// Whatever a worker reads is another's, from the first packet of a client on.
#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_goes_across_workers_that_read_each_others_packets() {
    let world = World::missteered(3).await;
    let (passed, dropped) = go_across(world).await.packets_handed_over();
    // Of what nine clients sent there, none of which came to its worker by itself.
    assert!(passed > 100 && dropped == 0, "{passed}, {dropped}");
}

/// On each worker somebody publishes, and somebody on each of them gets every byte.
async fn go_across(mut world: World) -> Running {
    let crowd = crowd(&mut world, 2).await;
    let came = crowd.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(world.handler.sessions_by_worker(), came);
    for comers in &crowd {
        let Comer { client: publisher, camera: id, .. } = &comers[0];
        let viewers = || crowd.iter().map(|comers| &comers[1].client);
        for viewer in viewers() {
            world.route(*id, viewer, patient()).await;
        }
        let (first, second) = (group(*id, 0, 20, 20_000), group(*id, 21, 3, 3_700));
        let mut stream = publisher.publish(&first).await;
        write(&mut stream, &second).await;
        stream.finish().expect("the stream stands");
        for viewer in viewers() {
            for records in [&first, &second] {
                let mut group = viewer.expect(records).await;
                assert_eq!(group.end().await, (vec![], GroupEnd::Finished));
            }
        }
    }
    world.handler
}

/// On ticks a mere subscriber's acknowledgements cost no visit of their own.
#[tokio::test(flavor = "multi_thread")]
async fn on_ticks_acknowledgements_wait_for_deliveries() {
    let mut world = World::on_ticks(1).await;
    let crowd = crowd(&mut world, 2).await;
    let (publisher, viewer) = (&crowd[0][0], &crowd[0][1].client);
    world.route(publisher.camera, viewer, patient()).await;
    within("visits put off", async {
        let mut sequence = 0;
        while world.handler.visits_put_off() == 0 {
            let records = group(publisher.camera, sequence, 9, 3_700);
            sequence += 10;
            publisher.client.publish(&records).await.finish().expect("the stream stands");
            let mut group = viewer.expect(&records).await;
            assert_eq!(group.end().await, (vec![], GroupEnd::Finished));
        }
    })
    .await;
}

/// A client's address changes (another network, another port of its router) ten times while media flows: each time the kernel's own choice would
/// be another worker, or not, by chance.
#[tokio::test(flavor = "multi_thread")]
async fn who_changes_address_keeps_session_and_loses_nothing() {
    let handler = move_about(World::with_workers(2).await).await;
    assert_eq!(handler.packets_handed_over(), (0, 0), "the kernel knows each client's worker");
}

/// The same on a kernel that goes by addresses: workers hand over what is not theirs.
#[tokio::test(flavor = "multi_thread")]
async fn without_steering_too_who_changes_address_keeps_session_and_loses_nothing() {
    let (passed, dropped) = move_about(World::unsteered(2).await).await.packets_handed_over();
    assert!(passed > 0 && dropped == 0, "{passed}, {dropped}");
}

async fn move_about(mut world: World) -> Running {
    let crowd = crowd(&mut world, 1).await;
    let Comer { endpoint: from, client: publisher, camera: id } = &crowd[0][0];
    let Comer { endpoint: to, client: viewer, .. } = &crowd[1][0];
    world.route(*id, viewer, patient()).await;
    let sessions = world.handler.sessions_by_worker();
    for round in 0..MOVES {
        let (before, after) = records_of_round(*id, round);
        let mut stream = publisher.publish(&before).await;
        let mut group = viewer.accept().await;
        moves(from);
        write(&mut stream, &after).await;
        moves(to);
        stream.finish().expect("the stream stands");
        group.expect(&[before, after].concat()).await;
        assert_eq!(group.end().await, (vec![], GroupEnd::Finished));
    }
    assert_eq!(world.handler.sessions_by_worker(), sessions);
    world.handler
}

/// A group in two parts.
fn records_of_round(id: StreamId, round: u64) -> (Vec<bytes::Bytes>, Vec<bytes::Bytes>) {
    let mut records = group(id, round * 10, 9, 10_000);
    let after = records.split_off(5);
    (records, after)
}

/// From now on the client comes from another port.
fn moves(endpoint: &quinn::Endpoint) {
    let before = endpoint.local_addr().expect("bound");
    let socket = UdpSocket::bind(SocketAddr::new(before.ip(), 0)).expect("another port");
    endpoint.rebind(socket).expect("it can move");
    assert_ne!(endpoint.local_addr().expect("bound"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workers_end_in_order() {
    let mut world = World::with_workers(2).await;
    let crowd = crowd(&mut world, 1).await;
    let address = world.handler.public_address();
    within("an orderly end", world.handler.stop()).await;
    for Comer { client, .. } in crowd.iter().flatten() {
        assert_eq!(client.closed().await, Code::Unavailable);
    }
    UdpSocket::bind(address).expect("nobody holds the port any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_end_with_their_handler() {
    let mut world = World::with_workers(2).await;
    let crowd = crowd(&mut world, 1).await;
    drop(world.handler);
    for Comer { client, .. } in crowd.iter().flatten() {
        within("the end of the session", client.session.closed()).await;
    }
}
