//! Peers that do not know when to give up what is lost.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use towline_conformance::wire::{Message, Segment};

use super::receive::{delivers_as_they_come, takes_segments_in_order};
use super::{EXIT, Fault, UNRELIABLE};
use crate::mischief::Way::{FromSubject, ToSubject};
use crate::mischief::{Conversation, invent, lose};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "waits for what is lost",
        of: UNRELIABLE,
        found_by: &[("data.unreliable.gap", "what follows a missing frame comes back: not within")],
        spares: "data.unreliable.reassembly",
        plant: |wire| {
            let mut seen: HashMap<Conversation, BTreeSet<u32>> = HashMap::new();
            lose(wire, move |letter, message| match message {
                Message::Segment(segment) if letter.goes_to_subject() => {
                    let seen = seen.entry(letter.conversation()).or_default();
                    let is_in_turn = segment.frame == 1 || seen.contains(&(segment.frame - 1));
                    if is_in_turn {
                        seen.insert(segment.frame);
                    }
                    !is_in_turn
                }
                _ => false,
            })
        },
    },
    Fault {
        name: "waits as long for a missing frame when many are there behind it",
        of: UNRELIABLE,
        found_by: &[("data.unreliable.depth", "as if nothing waited behind it")],
        spares: "data.unreliable.gap",
        plant: |wire| {
            let mut latest = HashMap::new();
            Box::new(move |letter| {
                let Ok(Message::Segment(segment)) = wire.decode(&letter.message) else {
                    return vec![letter];
                };
                let latest = latest.entry(letter.conversation()).or_insert(0);
                if !letter.goes_to_subject() {
                    return vec![letter];
                }
                if segment.frame == *latest + 1 {
                    *latest = segment.frame;
                    return vec![letter];
                }
                vec![letter.later(Duration::from_millis(800))]
            })
        },
    },
    Fault {
        name: "delivers what it has given up",
        of: UNRELIABLE,
        found_by: &[("data.unreliable.gap", "a frame that was given up comes back")],
        spares: "data.unreliable.reassembly",
        plant: delivers_as_they_come,
    },
    Fault {
        name: "sends each segment twice in unreliable sessions",
        of: EXIT,
        found_by: &[("data.unreliable.once", "frame 1 came in 2 segments")],
        spares: "data.unreliable.reassembly",
        plant: |wire| {
            invent(wire, |letter, message| match (letter.way, message) {
                (FromSubject, Message::Segment(_)) => vec![letter.clone()],
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "takes segments of unreliable frames in the order of their indices only",
        of: EXIT,
        found_by: &[("data.unreliable.reassembly", "bytes come back")],
        spares: "data.unreliable.deaf",
        plant: takes_segments_in_order,
    },
    Fault {
        name: "believes any frame id",
        of: UNRELIABLE,
        found_by: &[("data.unreliable.jump", "bytes come back")],
        spares: "data.unreliable.gap",
        plant: |wire| {
            let mut latest = HashMap::new();
            lose(wire, move |letter, message| match message {
                Message::Segment(segment) if letter.goes_to_subject() => {
                    let latest = latest.entry(letter.conversation()).or_insert(0);
                    *latest = segment.frame.max(*latest);
                    segment.frame + 1000 < *latest
                }
                _ => false,
            })
        },
    },
    Fault {
        name: "does not finish when its peer does in an unreliable session",
        of: EXIT,
        found_by: &[("data.unreliable.finish", "the subject finishes, too: not within")],
        spares: "data.unreliable.gap",
        plant: |wire| {
            lose(wire, |letter, message| {
                !letter.goes_to_subject()
                    && matches!(message, Message::Segment(segment) if segment.terminating)
            })
        },
    },
    Fault {
        name: "sends back what comes after the end",
        of: UNRELIABLE,
        found_by: &[("data.unreliable.finish", "follows the terminating frame")],
        spares: "data.unreliable.gap",
        plant: |wire| {
            let mut ended: HashMap<Conversation, u32> = HashMap::new();
            invent(wire, move |letter, message| {
                let conversation = letter.conversation();
                match (letter.way, message) {
                    (FromSubject, Message::Segment(segment)) if segment.terminating => {
                        ended.insert(conversation, segment.frame);
                    }
                    (ToSubject, Message::Segment(segment)) if !segment.terminating => {
                        let Some(end) = ended.get(&conversation) else { return Vec::new() };
                        let late = Segment { frame: end + 1, ..segment.clone() };
                        return vec![letter.returning(wire.encode(&Message::Segment(late)))];
                    }
                    _ => {}
                }
                Vec::new()
            })
        },
    },
];
