use std::fmt::Write;

use super::*;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authorisation.md"));

fn cell(actor: Actor, action: Action, relation: Relation) -> String {
    match permit(actor, action, relation) {
        Ok(()) => "yes".to_owned(),
        Err(denied) => denied.code.name().to_owned(),
    }
}

/// A table as `docs/authorisation.md` shows it: a line for each action, three columns for each actor.
fn table(actors: &[Actor]) -> String {
    let mut table = String::from("| action |");
    for actor in actors {
        for relation in Relation::ALL {
            write!(table, " {}: {} |", actor.name(), relation.name()).expect("a string takes it");
        }
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(actors.len() * Relation::ALL.len()));
    for action in Action::ALL {
        write!(table, "\n| `{}` |", action.name()).expect("a string takes it");
        for actor in actors {
            for relation in Relation::ALL {
                write!(table, " {} |", cell(*actor, action, relation)).expect("a string takes it");
            }
        }
    }
    table.push('\n');
    table
}

/// People read the document, programs the function: they say the same.
#[test]
fn the_document_has_the_whole_table() {
    let (participants, others) = Actor::ALL.split_at(2);
    for table in [table(participants), table(others)] {
        assert!(DOCUMENT.contains(&table), "docs/authorisation.md does not have this table:\n\n{table}");
    }
}

#[test]
fn lists_are_whole_and_names_differ() {
    let names: std::collections::BTreeSet<&str> = Action::ALL.iter().map(|action| action.name()).collect();
    assert_eq!(names.len(), Action::ALL.len());
    // A variant that is not in its list would be in no table: the last one's number says how many there are.
    assert_eq!(Action::ALL.len(), Action::RequestKeyFrame as usize + 1);
    assert_eq!(Relation::ALL.len(), Relation::OtherMeeting as usize + 1);
    let actors: std::collections::BTreeSet<&str> = Actor::ALL.iter().map(|actor| actor.name()).collect();
    assert_eq!(actors.len(), Actor::ALL.len());
}

/// Nobody learns from an answer whether something is in another meeting: whatever is not in one's own is never allowed, and never
/// `FORBIDDEN` unless the action is refused to that actor whatever it names.
#[test]
fn another_meetings_is_as_absent() {
    for actor in Actor::ALL {
        for action in Action::ALL {
            let answer = permit(actor, action, Relation::OtherMeeting);
            assert!(answer.is_err(), "{} may {} elsewhere", actor.name(), action.name());
            if answer.is_err_and(|denied| denied.code == Code::Forbidden) {
                let always = Relation::ALL.map(|relation| permit(actor, action, relation));
                assert!(always.iter().all(|one| *one == answer), "{}: {}", actor.name(), action.name());
            }
        }
    }
}

/// A handler is not told roles, so what it asks about must not depend on them.
#[test]
fn media_is_the_same_for_every_role() {
    for action in [Action::OpenMediaSession, Action::SendMedia, Action::RequestKeyFrame, Action::Ping] {
        for relation in Relation::ALL {
            let as_host = permit(Role::Host, action, relation);
            assert_eq!(as_host, permit(Role::Attendee, action, relation));
            assert_eq!(as_host, permit(Actor::MEDIA, action, relation));
        }
    }
}

/// Only a host can do what an attendee cannot, and that is removing others.
#[test]
fn a_host_may_kick_and_no_more() {
    for action in Action::ALL {
        for relation in Relation::ALL {
            let differs = permit(Role::Host, action, relation) != permit(Role::Attendee, action, relation);
            assert_eq!(differs, action == Action::Kick, "{}: {}", action.name(), relation.name());
        }
    }
}

/// Who has shown no token gets nothing but the way to one; who was removed gets nothing.
#[test]
fn strangers_and_removed_get_nothing() {
    for action in Action::ALL {
        for relation in Relation::ALL {
            assert!(permit(Actor::Removed, action, relation).is_err());
            let invited = action == Action::Invite && relation != Relation::OtherMeeting;
            assert_eq!(permit(Actor::Stranger, action, relation).is_ok(), invited, "{}", action.name());
        }
    }
}

#[test]
fn a_relation_is_found_by_the_owner() {
    assert_eq!(Relation::to(1, Some(1)), Relation::Own);
    assert_eq!(Relation::to(1, Some(2)), Relation::SameMeeting);
    assert_eq!(Relation::to(1, None), Relation::OtherMeeting);
}
