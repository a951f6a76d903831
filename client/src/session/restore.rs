//! What becomes of a request whose session was lost before its answer came. Pure.

use proto::v1::client_message::Body;

/// How a participant came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// As itself.
    Resumed,
    /// As a new participant: nothing of the old one is known.
    Rejoined,
}

/// What to do with a request after a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Send it again: doing it twice is the same as doing it once, or it was never sent.
    Repeat,
    /// The new snapshot shows that it was done.
    Granted,
    /// It may or may not have been done, and twice would be wrong.
    Interrupted,
}

/// `was_sent`: handed to the lost session. `is_known`: whether the snapshot has a media stream of ours with that id. `is_said`: whether its history
/// has a chat message of ours, as whom we were before, with that client message id.
pub(super) fn fate(
    body: Option<&Body>,
    was_sent: bool,
    how: Return,
    is_known: impl Fn(&str) -> bool,
    is_said: impl Fn(&str) -> bool,
) -> Fate {
    match (body, how) {
        _ if !was_sent => Fate::Repeat,
        (Some(Body::Chat(chat)), Return::Rejoined) if is_said(&chat.client_message_id) => Fate::Granted,
        // It is told apart by its id among the messages of one participant, and may be on its way to being stored still.
        (Some(Body::Chat(_)), Return::Rejoined) => Fate::Interrupted,
        (Some(Body::Publish(publish)), _) if is_known(&publish.stream_id) => Fate::Granted,
        (Some(Body::Unpublish(unpublish)), _) if !is_known(&unpublish.stream_id) => Fate::Granted,
        (Some(Body::Relay(_) | Body::Kick(_)) | None, _) => Fate::Interrupted,
        // Chat comes once under its id; the others set a state.
        (Some(_), _) => Fate::Repeat,
    }
}

#[cfg(test)]
mod tests {
    use proto::v1;

    use super::*;

    #[test]
    fn nothing_happens_twice() {
        use Return::{Rejoined, Resumed};
        let publish = Body::Publish(v1::PublishStream { stream_id: "a".into(), ..Default::default() });
        let unpublish = Body::Unpublish(v1::UnpublishStream { stream_id: "a".into() });
        let chat = Body::Chat(v1::SendChat::default());
        let relay = Body::Relay(v1::RelayMessage::default());
        for (body, was_sent, how, known, expected) in [
            (&publish, true, Resumed, true, Fate::Granted),
            (&publish, true, Resumed, false, Fate::Repeat),
            (&unpublish, true, Resumed, false, Fate::Granted),
            (&unpublish, true, Resumed, true, Fate::Repeat),
            (&chat, true, Resumed, false, Fate::Repeat),
            (&chat, true, Rejoined, false, Fate::Interrupted),
            (&chat, true, Rejoined, true, Fate::Granted),
            (&chat, false, Rejoined, false, Fate::Repeat),
            (&relay, false, Rejoined, false, Fate::Repeat),
            (&relay, true, Resumed, false, Fate::Interrupted),
            (&relay, false, Resumed, false, Fate::Repeat),
        ] {
            assert_eq!(fate(Some(body), was_sent, how, |_| known, |_| known), expected, "{body:?}");
        }
    }
}
