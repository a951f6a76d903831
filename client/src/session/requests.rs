//! Requests: how the application makes them, and the table of those under way.
//!
//! In: requests, answers, returns of a lost session, instants. Out: messages in the order in which they were asked for, as fast as the session
//! takes them; answers. The table does no I/O: it is handed a way to send, and reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::v1::{self, client_message, client_message::Body, server_message};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Command;
use super::restore::{Fate, Return, fate};
use crate::meeting::RequestError;
use crate::signaling::client_message;

/// Requests of the application under way; one more is refused. An application that has so many does not listen to answers.
const PENDING_MAX: usize = 256;
/// How often a restoring request that was refused for a passing reason is said again. The longest such reason is our own old self, who is known
/// for eight seconds after a loss and still holds the ids of our media streams.
const RESTORE_ATTEMPTS_MAX: u32 = 20;
/// Between two of these attempts.
const RESTORE_INTERVAL: Duration = Duration::from_secs(1);

/// Makes requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Requests {
    /// One request, one answer. When the future is dropped, the request may be done all the same.
    pub(crate) async fn request(&self, body: client_message::Body) -> Result<server_message::Body, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Request { body, reply }).await.map_err(|_| RequestError::Ended)?;
        answer.await.unwrap_or(Err(RequestError::Ended))
    }

    /// A fresh token for a handler other than `failed_url`.
    pub(crate) async fn media_server(&self, failed_url: String) -> Result<v1::MediaServerInfo, RequestError> {
        match self.request(client_message::Body::MediaServer(v1::RequestMediaServer { failed_url })).await? {
            server_message::Body::MediaServer(info) => crate::convert::media_server(info).map_err(|_| RequestError::Answer),
            _ => Err(RequestError::Answer),
        }
    }
}

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<server_message::Body, RequestError>>;

/// Who asked.
#[derive(Debug)]
enum Asker {
    Application(Reply),
    /// The session itself, restoring what stood before a loss; so many times already.
    Restoring(u32),
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Pending {
    message: v1::ClientMessage,
    asker: Asker,
    deadline: Instant,
    /// Not to be sent earlier; only of those that restore.
    not_before: Option<Instant>,
    sent: bool,
}

impl Pending {
    /// What was asked.
    pub(super) fn body(&self) -> Option<&Body> {
        self.message.body.as_ref()
    }

    /// Hands the answer to whoever asked, who may be gone.
    pub(super) fn reply(self, answer: Result<server_message::Body, RequestError>) {
        if let Asker::Application(reply) = self.asker {
            let _ = reply.send(answer);
        }
    }
}

/// A restoring request that failed for good.
#[derive(Debug)]
pub(super) struct NotRestored {
    pub(super) body: Option<Body>,
    pub(super) error: RequestError,
}

/// Requests under way, by number.
#[derive(Debug)]
pub(super) struct RequestTable {
    next_number: u64,
    timeout: Duration,
    pending: BTreeMap<u64, Pending>,
}

impl RequestTable {
    /// An empty table, whose requests fail after `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { next_number: 1, timeout, pending: BTreeMap::new() }
    }

    /// A number that no other request has.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Takes a request of the application in, to be sent by [`flush`](Self::flush).
    pub(super) fn add(&mut self, body: Body, reply: Reply, now: Instant) {
        if self.pending.len() >= PENDING_MAX {
            // Whoever asked may be gone.
            let _ = reply.send(Err(RequestError::TooMany));
            return;
        }
        self.insert(body, Asker::Application(reply), None, now);
    }

    /// Takes in what has to be said again. It may be as much as stood before, whatever the bound for applications.
    pub(super) fn restore(&mut self, bodies: Vec<Body>, now: Instant) {
        for body in bodies {
            self.insert(body, Asker::Restoring(0), None, now);
        }
    }

    fn insert(&mut self, body: Body, asker: Asker, not_before: Option<Instant>, now: Instant) {
        let number = self.number();
        let deadline = not_before.unwrap_or(now) + self.timeout;
        let message = client_message(number, body);
        self.pending.insert(number, Pending { message, asker, deadline, not_before, sent: false });
    }

    /// Sends what was not sent, in order, until `send` says no.
    pub(super) fn flush(&mut self, now: Instant, mut send: impl FnMut(&v1::ClientMessage) -> bool) {
        for pending in self.pending.values_mut().filter(|it| !it.sent && it.not_before.is_none_or(|instant| instant <= now)) {
            if !send(&pending.message) {
                return;
            }
            pending.sent = true;
        }
    }

    /// The request that an answer is for.
    pub(super) fn take(&mut self, number: u64) -> Option<Pending> {
        self.pending.remove(&number)
    }

    /// A request failed: tells whoever asked, or tries a restoring one again later. What cannot be restored comes back.
    pub(super) fn fail(&mut self, pending: Pending, error: RequestError, now: Instant) -> Option<NotRestored> {
        let Asker::Restoring(attempts) = pending.asker else {
            pending.reply(Err(error));
            return None;
        };
        let may_pass = match &error {
            RequestError::Refused { code, .. } => code.worth_retrying() || *code == common_core::Code::Conflict,
            RequestError::Timeout => true,
            _ => false,
        };
        match pending.message.body {
            Some(body) if may_pass && attempts < RESTORE_ATTEMPTS_MAX => {
                self.insert(body, Asker::Restoring(attempts + 1), Some(now + RESTORE_INTERVAL), now);
                None
            }
            body => Some(NotRestored { body, error }),
        }
    }

    /// Those whose answer is overdue, taken out.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Pending> {
        let late: Vec<u64> = self.pending.iter().filter(|(_, it)| now >= it.deadline).map(|(number, _)| *number).collect();
        late.into_iter().filter_map(|number| self.pending.remove(&number)).collect()
    }

    /// A lost session is back: repeats what does no harm, and gives out, as granted, what the new snapshot shows to be done. Requests that restored
    /// the session before this one are dropped: the caller knows what is missing now.
    pub(super) fn carry_over(&mut self, how: Return, is_known: impl Fn(&str) -> bool, is_said: impl Fn(&str) -> bool) -> Vec<Pending> {
        let mut granted = Vec::new();
        for (number, mut pending) in std::mem::take(&mut self.pending) {
            if matches!(pending.asker, Asker::Restoring(_)) {
                continue;
            }
            match fate(pending.body(), pending.sent, how, &is_known, &is_said) {
                Fate::Repeat => {
                    pending.sent = false;
                    self.pending.insert(number, pending);
                }
                Fate::Granted => granted.push(pending),
                Fate::Interrupted => pending.reply(Err(RequestError::Interrupted)),
            }
        }
        granted
    }

    /// The meeting is over: nothing will be answered.
    pub(super) fn end(&mut self) {
        for pending in std::mem::take(&mut self.pending).into_values() {
            pending.reply(Err(RequestError::Ended));
        }
    }
}

#[cfg(test)]
mod tests {
    use common_core::Code;

    use super::*;

    fn subscribe(id: usize) -> Body {
        Body::Subscribe(v1::SubscribeStream { stream_id: id.to_string(), ..Default::default() })
    }

    /// What a session takes of a table until it is full.
    fn flush(table: &mut RequestTable, now: Instant, room: usize) -> Vec<u64> {
        let mut sent = Vec::new();
        table.flush(now, |message| {
            let fits = sent.len() < room;
            if fits {
                sent.push(message.request_id);
            }
            fits
        });
        sent
    }

    /// Far more than a session takes at once is said in the end, each once, in order.
    #[test]
    fn nothing_is_lost_behind_a_full_session() {
        let (mut table, now) = (RequestTable::new(Duration::from_secs(10)), Instant::now());
        table.restore((0..300).map(subscribe).collect(), now);
        let mut said = Vec::new();
        while said.len() < 300 {
            let sent = flush(&mut table, now, 64);
            assert!(!sent.is_empty());
            said.extend(sent);
        }
        assert_eq!(said, (1..=300).collect::<Vec<u64>>());
        assert!(flush(&mut table, now, 64).is_empty());
    }

    /// Our old self still holds the id of a media stream: it is asked for again a second later; what is forbidden is given up.
    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        let (mut table, now) = (RequestTable::new(Duration::from_secs(10)), Instant::now());
        let refused = |code| RequestError::Refused { code, message: String::new(), details: BTreeMap::new() };
        table.restore(vec![subscribe(1)], now);
        for attempt in 0..RESTORE_ATTEMPTS_MAX {
            let now = now + RESTORE_INTERVAL * attempt;
            let sent = flush(&mut table, now, 64);
            let pending = table.take(*sent.first().expect("it is due")).expect("it is under way");
            assert!(table.fail(pending, refused(Code::Conflict), now).is_none());
            assert!(flush(&mut table, now, 64).is_empty(), "not at once");
        }
        let later = now + RESTORE_INTERVAL * RESTORE_ATTEMPTS_MAX;
        let sent = flush(&mut table, later, 64);
        let pending = table.take(sent[0]).expect("it is under way");
        assert_eq!(table.fail(pending, refused(Code::Conflict), later).map(|it| it.body), Some(Some(subscribe(1))));

        table.restore(vec![subscribe(2)], now);
        let sent = flush(&mut table, now, 64);
        let pending = table.take(sent[0]).expect("it is under way");
        assert!(table.fail(pending, refused(Code::NotFound), now).is_some());
    }

    #[test]
    fn the_application_is_told_of_its_bounds_and_deadlines() {
        let (mut table, now) = (RequestTable::new(Duration::from_secs(10)), Instant::now());
        let mut answers = Vec::new();
        for id in 0..=PENDING_MAX {
            let (reply, answer) = oneshot::channel();
            table.add(subscribe(id), reply, now);
            answers.push(answer);
        }
        assert_eq!(answers[PENDING_MAX].try_recv(), Ok(Err(RequestError::TooMany)));
        assert!(table.overdue(now + Duration::from_secs(9)).is_empty());
        for pending in table.overdue(now + Duration::from_secs(10)) {
            assert!(table.fail(pending, RequestError::Timeout, now).is_none());
        }
        assert_eq!(answers[0].try_recv(), Ok(Err(RequestError::Timeout)));
        let (reply, mut answer) = oneshot::channel();
        table.add(subscribe(0), reply, now);
        table.end();
        assert_eq!(answer.try_recv(), Ok(Err(RequestError::Ended)));
    }

    /// After a return each request goes its own way, and numbers never come twice.
    #[test]
    fn a_return_repeats_grants_or_interrupts() {
        let (mut table, now) = (RequestTable::new(Duration::from_secs(10)), Instant::now());
        let publish = Body::Publish(v1::PublishStream { stream_id: "a".into(), ..Default::default() });
        let mut answers = Vec::new();
        for body in [publish, Body::Relay(v1::RelayMessage::default()), subscribe(1)] {
            let (reply, answer) = oneshot::channel();
            table.add(body, reply, now);
            answers.push(answer);
        }
        table.restore(vec![subscribe(2)], now);
        assert_eq!(flush(&mut table, now, 64).len(), 4);
        let granted = table.carry_over(Return::Resumed, |id| id == "a", |_| false);
        assert_eq!(granted.len(), 1);
        assert_eq!(answers[1].try_recv(), Ok(Err(RequestError::Interrupted)));
        assert_eq!(flush(&mut table, now, 64), [3]);
        assert_eq!(table.number(), 5);
    }
}
