//! What becomes of a request whose session was lost before its answer came. Pure.

use proto::v1::client_message::Body;

/// What to do with a request after a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Send it again: doing it twice is the same as doing it once, or it was never sent.
    Repeat,
    /// The new snapshot shows that it was done.
    Granted,
    /// It may or may not have been done, and twice would be wrong.
    Interrupted,
}

/// `was_sent`: handed to the lost session. `is_known`: whether the snapshot has a media stream of ours with that id.
pub(super) fn fate(body: Option<&Body>, was_sent: bool, is_known: impl Fn(&str) -> bool) -> Fate {
    if !was_sent {
        return Fate::Repeat;
    }
    match body {
        Some(Body::Publish(publish)) if is_known(&publish.stream_id) => Fate::Granted,
        Some(Body::Unpublish(unpublish)) if !is_known(&unpublish.stream_id) => Fate::Granted,
        Some(Body::Relay(_) | Body::Kick(_)) | None => Fate::Interrupted,
        // Chat is told apart by its client message id; the others set a state.
        Some(_) => Fate::Repeat,
    }
}

#[cfg(test)]
mod tests {
    use proto::v1;

    use super::*;

    #[test]
    fn nothing_happens_twice() {
        let publish = Body::Publish(v1::PublishStream { stream_id: "a".into(), ..Default::default() });
        let unpublish = Body::Unpublish(v1::UnpublishStream { stream_id: "a".into() });
        let chat = Body::Chat(v1::SendChat::default());
        let relay = Body::Relay(v1::RelayMessage::default());
        for (body, was_sent, known, expected) in [
            (&publish, true, true, Fate::Granted),
            (&publish, true, false, Fate::Repeat),
            (&unpublish, true, false, Fate::Granted),
            (&unpublish, true, true, Fate::Repeat),
            (&chat, true, false, Fate::Repeat),
            (&relay, true, false, Fate::Interrupted),
            (&relay, false, false, Fate::Repeat),
        ] {
            assert_eq!(fate(Some(body), was_sent, |_| known), expected, "{body:?}");
        }
    }
}
