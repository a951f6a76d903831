//! What a participant has asked for and been granted, so that it can be asked for again after a return. Pure.
//!
//! In: granted requests, media streams that are gone. Out: the requests that a controller has to hear again.

use std::collections::BTreeMap;

use common_core::StreamId;
use proto::v1::{self, client_message::Body};

/// Wishes that stand. Bounded by what the controller grants: 32 publications, and a subscription per media stream of the meeting.
#[derive(Debug, Default)]
pub(super) struct Standing {
    published: BTreeMap<String, v1::PublishStream>,
    subscribed: BTreeMap<String, v1::SubscribeStream>,
    state: v1::UpdateState,
}

impl Standing {
    /// A request was granted.
    pub(super) fn granted(&mut self, request: Option<&Body>) {
        match request {
            Some(Body::Publish(publish)) => {
                self.published.insert(publish.stream_id.clone(), publish.clone());
            }
            Some(Body::Unpublish(unpublish)) => {
                self.published.remove(&unpublish.stream_id);
            }
            Some(Body::Subscribe(subscribe)) => {
                self.subscribed.insert(subscribe.stream_id.clone(), subscribe.clone());
            }
            Some(Body::Unsubscribe(unsubscribe)) => {
                self.subscribed.remove(&unsubscribe.stream_id);
            }
            Some(Body::State(state)) => {
                self.state.is_muted = state.is_muted.or(self.state.is_muted);
                self.state.is_video_on = state.is_video_on.or(self.state.is_video_on);
            }
            _ => {}
        }
    }

    /// Somebody's media stream is gone: nothing of it is wanted any more.
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.subscribed.remove(&stream.to_string());
    }

    /// A publication or subscription could not be restored, and will not be tried again.
    pub(super) fn give_up(&mut self, request: Option<&Body>) {
        match request {
            Some(Body::Publish(publish)) => drop(self.published.remove(&publish.stream_id)),
            Some(Body::Subscribe(subscribe)) => drop(self.subscribed.remove(&subscribe.stream_id)),
            _ => {}
        }
    }

    /// What a controller that knows these publications and subscriptions of ours, and nothing more, has to hear. `is_new`: it knows us as a new
    /// participant, who has said nothing about themselves.
    pub(super) fn missing(&self, is_known: impl Fn(&str) -> bool, subscriptions: &[String], is_new: bool) -> Vec<Body> {
        let publications = self.published.values().filter(|publish| !is_known(&publish.stream_id)).cloned().map(Body::Publish);
        let subscribed = self.subscribed.values().filter(|subscribe| !subscriptions.contains(&subscribe.stream_id));
        let says_something = self.state.is_muted.or(self.state.is_video_on).is_some();
        let state = (is_new && says_something).then(|| Body::State(self.state));
        publications.chain(subscribed.cloned().map(Body::Subscribe)).chain(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(id: &str) -> Body {
        Body::Publish(v1::PublishStream { stream_id: id.into(), ..Default::default() })
    }

    fn subscribe(id: &str) -> Body {
        Body::Subscribe(v1::SubscribeStream { stream_id: id.into(), ..Default::default() })
    }

    #[test]
    fn what_the_controller_does_not_know_is_said_again() {
        let camera = StreamId::from_bytes([7; 16]);
        let mut standing = Standing::default();
        for request in [publish("a"), publish("b"), publish("c"), subscribe("x"), subscribe("y"), subscribe(&camera.to_string())] {
            standing.granted(Some(&request));
        }
        standing.granted(Some(&Body::Unpublish(v1::UnpublishStream { stream_id: "c".into() })));
        standing.granted(Some(&Body::State(v1::UpdateState { is_muted: Some(true), ..Default::default() })));
        standing.granted(Some(&Body::State(v1::UpdateState { is_video_on: Some(true), audio_level: Some(0.5), ..Default::default() })));
        standing.forget(camera);
        assert_eq!(standing.missing(|id| id == "a", &["x".into()], false), [publish("b"), subscribe("y")]);
        let state = v1::UpdateState { is_muted: Some(true), is_video_on: Some(true), audio_level: None };
        let all = [publish("a"), publish("b"), subscribe("x"), subscribe("y"), Body::State(state)];
        assert_eq!(standing.missing(|_| false, &[], true), all);
        standing.give_up(Some(&publish("b")));
        assert_eq!(standing.missing(|id| id == "a", &["x".into(), "y".into()], false), []);
    }
}
