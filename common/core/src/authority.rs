//! Who may do what: the one answer for every path to media or to a meeting's state.
//!
//! In: who asks, what for, and how what it names is related to it. Out: yes, or the code and the words of the refusal. It never looks
//! anything up: whoever asks finds the relation in its own state, and finds it in the actor's own meeting alone. So an id of another
//! meeting and an id that nobody has are one relation, [`Relation::OtherMeeting`], and are answered in the very same bytes.
//!
//! Scopes of API clients are another question: they say what an application's token lets it ask at all, this says what may be done with
//! the meeting and the participant that it names. `docs/authorisation.md` has the whole table, and a test holds the two to each other.

use thiserror::Error;

use crate::code::Code;
use crate::grant::Role;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Whoever has shown no token that is good here: a session before its join or hello, a guest at the API.
    Stranger,
    /// Somebody who is in the meeting, or holds a verified token for it.
    Participant(Role),
    /// Somebody whose subject was removed from the meeting, and stays out.
    Removed,
    /// An API client whose token has the scope for what it asks.
    Application,
}

impl Actor {
    /// All of them, as the table lists them.
    pub const ALL: [Actor; 5] =
        [Actor::Participant(Role::Host), Actor::Participant(Role::Attendee), Actor::Application, Actor::Stranger, Actor::Removed];

    /// Somebody of whom a media handler knows that it is in the meeting, and no more: controllers do not tell roles to handlers. What is
    /// asked for on a media session does not depend on the role, which a test holds.
    pub const MEDIA: Actor = Actor::Participant(Role::Attendee);

    /// For the table, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Actor::Stranger => "stranger",
            Actor::Participant(role) => role.as_str(),
            Actor::Removed => "removed",
            Actor::Application => "application",
        }
    }
}

impl From<Role> for Actor {
    fn from(role: Role) -> Self {
        Actor::Participant(role)
    }
}

/// What is asked for. Every request of a client, every record, and every call of the API that touches a meeting's people is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To be handed a token for a meeting (API). The relation is the meeting's.
    Invite,
    /// To come in by a join token. The relation is that of the meeting that is asked for to the token's; `Own`: one is in already.
    Join,
    /// To take a place again by a resume token. The relation is the place's.
    Resume,
    /// To publish a media stream in somebody's name.
    Publish,
    /// To withdraw a media stream.
    Unpublish,
    /// To take a media stream, or change how.
    Subscribe,
    /// To end a subscription. The relation is the subscription's.
    Unsubscribe,
    /// To tell how a media stream fares. `Own`: one publishes it, or subscribes to it.
    ReportQuality,
    /// To write to everyone in a meeting.
    Chat,
    /// To say that somebody is muted, shown, speaking.
    ChangeState,
    /// To end somebody's stay.
    Leave,
    /// To hear that the other end is there.
    Ping,
    /// To send a payload to one participant.
    Relay,
    /// To be handed a token for a media session.
    RequestMediaServer,
    /// To remove somebody, and keep its subject out.
    Kick,
    /// To ask somebody to turn its microphone or camera off.
    AskToMute,
    /// To end a meeting for everyone.
    EndMeeting,
    /// To see who is in a meeting, and what happened there. Participants are told as they join.
    ListParticipants,
    /// To open a media session by a connection token. The relation is that of whoever the token was made for.
    OpenMediaSession,
    /// To send records under a frame id, on a stream or in a datagram.
    SendMedia,
    /// To ask for a key frame. The relation is that of the subscription that it is for.
    RequestKeyFrame,
}

impl Action {
    /// All of them, as the table lists them.
    pub const ALL: [Action; 21] = [
        Action::Invite,
        Action::Join,
        Action::Resume,
        Action::Publish,
        Action::Unpublish,
        Action::Subscribe,
        Action::Unsubscribe,
        Action::ReportQuality,
        Action::Chat,
        Action::ChangeState,
        Action::Leave,
        Action::Ping,
        Action::Relay,
        Action::RequestMediaServer,
        Action::Kick,
        Action::AskToMute,
        Action::EndMeeting,
        Action::ListParticipants,
        Action::OpenMediaSession,
        Action::SendMedia,
        Action::RequestKeyFrame,
    ];

    /// For the table, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Invite => "invite",
            Action::Join => "join",
            Action::Resume => "resume",
            Action::Publish => "publish",
            Action::Unpublish => "unpublish",
            Action::Subscribe => "subscribe",
            Action::Unsubscribe => "unsubscribe",
            Action::ReportQuality => "report_quality",
            Action::Chat => "chat",
            Action::ChangeState => "change_state",
            Action::Leave => "leave",
            Action::Ping => "ping",
            Action::Relay => "relay",
            Action::RequestMediaServer => "request_media_server",
            Action::Kick => "kick",
            Action::AskToMute => "ask_to_mute",
            Action::EndMeeting => "end_meeting",
            Action::ListParticipants => "list_participants",
            Action::OpenMediaSession => "open_media_session",
            Action::SendMedia => "send_media",
            Action::RequestKeyFrame => "request_key_frame",
        }
    }
}

/// How what is named is related to whoever names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Its own, or itself.
    Own,
    /// Another participant's of its meeting, or the meeting as a whole.
    SameMeeting,
    /// Not in its meeting: in another one, or nowhere. Nobody can tell the two apart.
    OtherMeeting,
}

impl Relation {
    /// All of them, as the table lists them.
    pub const ALL: [Relation; 3] = [Relation::Own, Relation::SameMeeting, Relation::OtherMeeting];

    /// Of what belongs to `owner`, as it was found in `actor`'s meeting; `None`: nothing was.
    pub fn to<T: PartialEq>(actor: T, owner: Option<T>) -> Self {
        match owner {
            Some(owner) if owner == actor => Relation::Own,
            Some(_) => Relation::SameMeeting,
            None => Relation::OtherMeeting,
        }
    }

    /// For the table, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Relation::Own => "own",
            Relation::SameMeeting => "same meeting",
            Relation::OtherMeeting => "other meeting",
        }
    }
}

/// No, and what the actor is told: both depend on the action, never on what was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{code}: {reason}")]
pub struct Denied {
    /// The contract's number.
    pub code: Code,
    /// For people.
    pub reason: &'static str,
}

impl Denied {
    /// What a session hears before its join is answered, whatever it asks for.
    pub const NOT_JOINED: Denied = Denied {
        code: Code::InvalidRequest,
        reason: "the first message must be a JoinRequest, and nothing may be asked for before it is answered",
    };
    /// What a session hears that joins again.
    pub const JOINED_ALREADY: Denied = Denied { code: Code::InvalidRequest, reason: "this session has joined already" };
    /// What somebody hears whose resume token is nobody's, or of a place that is not there any more.
    pub const NO_PLACE: Denied =
        Denied { code: Code::Unauthorized, reason: "the resume token is not good (any more); join with a new token from the API" };
    /// What somebody hears whose join token is of another meeting, of another cluster, or none at all.
    pub const NO_TOKEN: Denied = Denied { code: Code::Unauthorized, reason: "the token is not valid here" };
    /// What somebody hears whose connection token is unknown, spent or too old.
    pub const NO_CONNECTION: Denied =
        Denied { code: Code::Unauthorized, reason: "the connection token is not good here; ask for a new one over signaling" };
    /// What a media session hears before its hello, whatever it asks for.
    pub const NO_HELLO: Denied = Denied { code: Code::InvalidRequest, reason: "the first control message must be a hello" };
    /// What somebody hears who asks for a key frame of what it does not take.
    pub const NO_SUBSCRIPTION: Denied = Denied { code: Code::NotFound, reason: "you subscribe to no media stream of that id" };
    /// What somebody hears who was removed.
    pub const REMOVED: Denied = Denied { code: Code::Forbidden, reason: "removed from this meeting" };
}

/// Whether `actor` may do `action` to something that is so related to it.
pub fn permit(actor: impl Into<Actor>, action: Action, relation: Relation) -> Result<(), Denied> {
    match actor.into() {
        Actor::Stranger => stranger(action, relation),
        Actor::Participant(role) => participant(role, action, relation),
        Actor::Removed => Err(Denied::REMOVED),
        Actor::Application => application(action, relation),
    }
}

const fn deny(code: Code, reason: &'static str) -> Result<(), Denied> {
    Err(Denied { code, reason })
}

const NO_MEETING: &str = "no such meeting";
const NO_PARTICIPANT: &str = "no such participant in this meeting";
const NO_STREAM: &str = "no such media stream in this meeting";
const NO_STREAM_OF_YOURS: &str = "no such media stream of yours";
const NOT_YOURS: &str = "another participant's";

fn stranger(action: Action, relation: Relation) -> Result<(), Denied> {
    match (action, relation) {
        // Whoever has the link may ask for a way in; whether the meeting wants an account is the meeting's setting.
        (Action::Invite, Relation::Own | Relation::SameMeeting) => Ok(()),
        (Action::Invite, Relation::OtherMeeting) => deny(Code::NotFound, NO_MEETING),
        (Action::Join, _) => Err(Denied::NO_TOKEN),
        (Action::Resume, _) => Err(Denied::NO_PLACE),
        (Action::OpenMediaSession, _) => Err(Denied::NO_CONNECTION),
        // Held, like everything of an id that is not known yet, until the hello says whose session it is.
        (Action::SendMedia, _) => deny(Code::NotFound, NO_STREAM),
        (Action::RequestKeyFrame, _) => Err(Denied::NO_HELLO),
        (Action::AskToMute | Action::EndMeeting | Action::ListParticipants, _) => deny(Code::Unauthorized, "an access token is needed"),
        (
            Action::Publish
            | Action::Unpublish
            | Action::Subscribe
            | Action::Unsubscribe
            | Action::ReportQuality
            | Action::Chat
            | Action::ChangeState
            | Action::Leave
            | Action::Ping
            | Action::Relay
            | Action::RequestMediaServer
            | Action::Kick,
            _,
        ) => Err(Denied::NOT_JOINED),
    }
}

fn participant(role: Role, action: Action, relation: Relation) -> Result<(), Denied> {
    match (action, relation) {
        (Action::Invite | Action::AskToMute | Action::EndMeeting, _) => deny(Code::Forbidden, "an application's, by the API"),
        (Action::ListParticipants, Relation::Own | Relation::SameMeeting) => Ok(()),
        (Action::ListParticipants, Relation::OtherMeeting) => deny(Code::NotFound, NO_MEETING),

        (Action::Join, Relation::Own) => Err(Denied::JOINED_ALREADY),
        (Action::Join, Relation::SameMeeting) => Ok(()),
        (Action::Join, Relation::OtherMeeting) => Err(Denied::NO_TOKEN),
        (Action::Resume, Relation::Own) => Ok(()),
        (Action::Resume, _) => Err(Denied::NO_PLACE),

        (Action::Publish | Action::ChangeState | Action::Leave | Action::RequestMediaServer | Action::Ping, Relation::Own) => Ok(()),
        (Action::Publish | Action::ChangeState | Action::Leave | Action::RequestMediaServer | Action::Ping, Relation::SameMeeting) => {
            deny(Code::Forbidden, NOT_YOURS)
        }
        (Action::Publish | Action::ChangeState | Action::Leave | Action::RequestMediaServer | Action::Ping, Relation::OtherMeeting) => {
            deny(Code::NotFound, NO_PARTICIPANT)
        }
        (Action::Chat, Relation::Own | Relation::SameMeeting) => Ok(()),
        (Action::Chat, Relation::OtherMeeting) => deny(Code::NotFound, NO_MEETING),

        // Of what others publish one hears anyway; that it is not one's own is all there is to say.
        (Action::Unpublish, Relation::Own) => Ok(()),
        (Action::Unpublish, _) => deny(Code::NotFound, NO_STREAM_OF_YOURS),
        (Action::Subscribe, Relation::Own) => deny(Code::InvalidRequest, "this media stream is your own"),
        (Action::Subscribe, Relation::SameMeeting) => Ok(()),
        (Action::Subscribe, Relation::OtherMeeting) => deny(Code::NotFound, NO_STREAM),
        (Action::Unsubscribe, Relation::Own) => Ok(()),
        (Action::Unsubscribe, _) => deny(Code::NotFound, "no such subscription of yours"),
        (Action::ReportQuality, Relation::Own) => Ok(()),
        (Action::ReportQuality, _) => deny(Code::NotFound, "no such subscription or media stream of yours"),

        (Action::Relay, Relation::Own | Relation::SameMeeting) => Ok(()),
        (Action::Relay, Relation::OtherMeeting) => deny(Code::NotFound, NO_PARTICIPANT),
        (Action::Kick, _) if role != Role::Host => deny(Code::Forbidden, "only a host may remove participants"),
        (Action::Kick, Relation::Own) => deny(Code::InvalidRequest, "leave, rather than remove yourself"),
        (Action::Kick, Relation::SameMeeting) => Ok(()),
        (Action::Kick, Relation::OtherMeeting) => deny(Code::NotFound, NO_PARTICIPANT),

        (Action::OpenMediaSession, Relation::Own) => Ok(()),
        (Action::OpenMediaSession, _) => Err(Denied::NO_CONNECTION),
        (Action::SendMedia, Relation::Own) => Ok(()),
        (Action::SendMedia, Relation::SameMeeting) => deny(Code::Forbidden, "another participant's stream id"),
        (Action::SendMedia, Relation::OtherMeeting) => deny(Code::NotFound, NO_STREAM),
        (Action::RequestKeyFrame, Relation::Own) => Ok(()),
        (Action::RequestKeyFrame, _) => Err(Denied::NO_SUBSCRIPTION),
    }
}

/// An application acts on meetings of its tenant, and on who is in them; it owns nothing, and is nobody in there.
fn application(action: Action, relation: Relation) -> Result<(), Denied> {
    match (action, relation) {
        (
            Action::Invite | Action::Kick | Action::AskToMute | Action::EndMeeting | Action::ListParticipants,
            Relation::Own | Relation::SameMeeting,
        ) => Ok(()),
        (Action::Invite | Action::EndMeeting | Action::ListParticipants, Relation::OtherMeeting) => deny(Code::NotFound, NO_MEETING),
        (Action::Kick | Action::AskToMute, Relation::OtherMeeting) => deny(Code::NotFound, NO_PARTICIPANT),
        (
            Action::Join
            | Action::Resume
            | Action::Publish
            | Action::Unpublish
            | Action::Subscribe
            | Action::Unsubscribe
            | Action::ReportQuality
            | Action::Chat
            | Action::ChangeState
            | Action::Leave
            | Action::Ping
            | Action::Relay
            | Action::RequestMediaServer
            | Action::OpenMediaSession
            | Action::SendMedia
            | Action::RequestKeyFrame,
            _,
        ) => deny(Code::Forbidden, "a participant's, by a join token"),
    }
}

#[cfg(test)]
mod tests;
