//! Receivers that join, acknowledge and request the wrong way.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use towline_conformance::wire::{Message, Wire, message_of};

use super::{DATA_PLANE, EXIT, Fault, HOPRNET_EXIT};
use crate::mischief::Way::{FromSubject, ToSubject};
use crate::mischief::{Conversation, Mischief, edit, invent, lose};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "requests what is missing once",
        of: DATA_PLANE,
        found_by: &[("data.request.repeated", "a third request for what is still missing")],
        spares: "data.request.tail",
        plant: |wire| {
            let mut requested = HashSet::new();
            requests(wire, move |conversation, frame, _| requested.insert((conversation, frame)))
        },
    },
    Fault {
        name: "requests a frame although it is whole",
        of: EXIT,
        found_by: &[("data.request.over", "requests for a whole frame")],
        spares: "data.request.tail",
        plant: |wire| {
            invent(wire, |letter, message| match message {
                Message::Request(_) if !letter.goes_to_subject() => {
                    vec![letter.clone().later(Duration::from_millis(1000))]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "never requests",
        of: EXIT,
        found_by: &[
            ("data.request.gap", "a request for what is missing"),
            ("data.finish.gap", "a request for what is missing before the end"),
        ],
        spares: "data.reassembly.order",
        plant: |wire| requests(wire, |_, _, _| false),
    },
    Fault {
        name: "requests all segments of a frame",
        of: DATA_PLANE,
        found_by: &[
            ("data.request.gap", "requests 11111111 where 00100110 are missing"),
            ("data.request.each", "requests 11111111 where segment 0 is missing"),
        ],
        spares: "data.request.frame",
        plant: |wire| {
            requests(wire, |_, _, missing| {
                *missing = 0xff;
                true
            })
        },
    },
    Fault {
        name: "mirrors the bitmap",
        of: EXIT,
        found_by: &[
            ("data.request.gap", "requests 01100100 where 00100110 are missing"),
            ("data.request.each", "requests 10000000 where segment 0 is missing"),
            ("data.send.requested", "is asked for, and comes no more often than others"),
        ],
        spares: "data.request.frame",
        plant: |wire| {
            edit(wire, |_, message| {
                if let Message::Request(entries) = message {
                    entries.iter_mut().for_each(|(_, missing)| *missing = missing.reverse_bits());
                }
            })
        },
    },
    Fault {
        name: "mirrors the bitmap in hoprnet",
        of: HOPRNET_EXIT,
        found_by: &[("data.request.each", "requests 10000000 where segment 0 is missing")],
        spares: "data.request.frame",
        plant: |wire| {
            requests(wire, |_, _, missing| {
                *missing = missing.reverse_bits();
                true
            })
        },
    },
    Fault {
        name: "never requests a frame of which nothing came",
        of: DATA_PLANE,
        found_by: &[("data.request.frame", "a request for what is missing")],
        spares: "data.request.tail",
        plant: |wire| requests(wire, |_, _, missing| *missing != 0xff),
    },
    Fault {
        name: "requests only what a later frame has overtaken",
        of: DATA_PLANE,
        found_by: &[("data.request.tail", "a request for what is missing")],
        spares: "data.request.frame",
        plant: |wire| {
            let mut latest = HashMap::new();
            edit(wire, move |letter, message| {
                let latest = latest.entry(letter.conversation()).or_insert(0);
                match (letter.way, message) {
                    (ToSubject, Message::Segment(segment)) => *latest = segment.frame.max(*latest),
                    (FromSubject, Message::Request(entries)) => {
                        entries.retain(|(frame, _)| frame < latest);
                    }
                    _ => {}
                }
            })
        },
    },
    Fault {
        name: "counts segments past the eighth from the first bit again",
        of: DATA_PLANE,
        found_by: &[("data.request.ninth", "requests 00001010 where segments 3 and 9 are missing")],
        spares: "data.request.frame",
        plant: |wire| {
            requests(wire, |_, _, missing| {
                *missing |= 1 << (9 % 8);
                true
            })
        },
    },
    Fault {
        name: "does not pad its messages in hoprnet",
        of: HOPRNET_EXIT,
        found_by: &[
            ("data.acknowledgement.time", "not padded to"),
            ("data.request.gap", "not padded to"),
        ],
        spares: "start.version",
        plant: |wire| {
            Box::new(move |letter| {
                let bytes = match wire.decode(&letter.message) {
                    Ok(Message::Request(entries)) => entries.len() * 5,
                    Ok(Message::Acknowledgement(frames)) => frames.len() * 4,
                    _ => return vec![letter],
                };
                if letter.goes_to_subject() {
                    return vec![letter];
                }
                let payload = letter.message[4..4 + bytes].to_vec();
                vec![letter.saying(message_of(1, letter.message[1], &payload))]
            })
        },
    },
    Fault {
        name: "requests frames that are to come",
        of: EXIT,
        found_by: &[("data.request.frame", "a request for frame 101, which is to come")],
        spares: "data.reassembly.order",
        plant: |wire| {
            edit(wire, |letter, message| {
                if let (FromSubject, Message::Request(entries)) = (letter.way, message) {
                    entries.iter_mut().for_each(|(frame, _)| *frame += 100);
                }
            })
        },
    },
    Fault {
        name: "acknowledges in descending order",
        of: EXIT,
        found_by: &[("data.acknowledgement.batch", " follows frame ")],
        spares: "start.version",
        plant: |wire| {
            edit(wire, |letter, message| {
                if let (FromSubject, Message::Acknowledgement(frames)) = (letter.way, message) {
                    frames.reverse();
                }
            })
        },
    },
    Fault {
        name: "never acknowledges",
        of: EXIT,
        found_by: &[
            ("data.acknowledgement.time", "a frame is acknowledged: not within"),
            ("data.reassembly.empty", "the empty frame is acknowledged: not within"),
            ("data.finish.ours", "our terminating frame is acknowledged: not within"),
            ("start.capabilities.reliable", "the frame is acknowledged: not within"),
        ],
        spares: "start.request.repeated",
        plant: |wire| acknowledgements(wire, |_, _| false),
    },
    Fault {
        name: "acknowledges late",
        of: DATA_PLANE,
        found_by: &[("data.acknowledgement.time", "at the earliest")],
        spares: "data.acknowledgement.out-of-turn",
        plant: |wire| {
            Box::new(move |letter| {
                let delay = match wire.decode(&letter.message) {
                    Ok(Message::Acknowledgement(_)) if !letter.goes_to_subject() => 400,
                    _ => 0,
                };
                vec![letter.later(Duration::from_millis(delay))]
            })
        },
    },
    Fault {
        name: "acknowledges each frame once",
        of: EXIT,
        found_by: &[
            ("data.acknowledgement.again", "the frame is acknowledged again: not within"),
            ("data.finish.repeated", "the terminating frame is acknowledged again: not within"),
        ],
        spares: "data.finish.ours",
        plant: |wire| {
            let mut acknowledged = HashSet::new();
            acknowledgements(wire, move |conversation, frame| {
                acknowledged.insert((conversation, frame))
            })
        },
    },
    Fault {
        name: "acknowledges frames in their turn only",
        of: DATA_PLANE,
        found_by: &[(
            "data.acknowledgement.out-of-turn",
            "a frame behind a missing one is acknowledged: not within",
        )],
        spares: "data.acknowledgement.again",
        plant: |wire| {
            let mut seen: HashMap<Conversation, BTreeSet<u32>> = HashMap::new();
            edit(wire, move |letter, message| {
                let seen = seen.entry(letter.conversation()).or_default();
                match (letter.way, message) {
                    (ToSubject, Message::Segment(segment)) => _ = seen.insert(segment.frame),
                    (FromSubject, Message::Acknowledgement(frames)) => {
                        frames.retain(|&frame| (1..frame).all(|earlier| seen.contains(&earlier)));
                    }
                    _ => {}
                }
            })
        },
    },
    Fault {
        name: "acknowledges each segment at once",
        of: EXIT,
        found_by: &[
            ("data.acknowledgement.incomplete", "acknowledges frame 1, which was not sent whole"),
            ("data.acknowledgement.pace", "answers to 300 duplicates"),
            ("data.acknowledgement.batch", "acknowledgements of 100 frames"),
            ("data.unreliable.silent", "in an unreliable session: acknowledgement"),
            ("start.capabilities.unreliable", "in an unreliable session: acknowledgement"),
        ],
        spares: "data.acknowledgement.again",
        plant: |wire| {
            invent(wire, move |letter, message| match message {
                Message::Segment(segment) if letter.goes_to_subject() => {
                    let early = Message::Acknowledgement(vec![segment.frame]);
                    vec![letter.returning(wire.encode(&early))]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "acknowledges frames behind the window",
        of: DATA_PLANE,
        found_by: &[("data.window.outside", "a frame behind the window is acknowledged")],
        spares: "data.window.inside",
        plant: |wire| {
            let mut has_first = HashSet::new();
            invent(wire, move |letter, message| {
                let Message::Segment(segment) = message else { return Vec::new() };
                if segment.frame == 1 {
                    has_first.insert(letter.conversation());
                }
                let is_behind = segment.frame > 255 && !has_first.contains(&letter.conversation());
                if !letter.goes_to_subject() || !is_behind {
                    return Vec::new();
                }
                let lie = Message::Acknowledgement(vec![segment.frame]);
                vec![letter.returning(wire.encode(&lie))]
            })
        },
    },
    Fault {
        name: "has a smaller window",
        of: DATA_PLANE,
        found_by: &[("data.window.inside", "the last frame of the window is acknowledged")],
        spares: "data.reassembly.order",
        plant: |wire| {
            let mut seen = HashSet::new();
            lose(wire, move |letter, message| match message {
                Message::Segment(segment) if letter.goes_to_subject() => {
                    seen.insert((letter.conversation(), segment.frame));
                    let start = segment.frame.saturating_sub(200);
                    start > 0 && !seen.contains(&(letter.conversation(), start))
                }
                _ => false,
            })
        },
    },
    Fault {
        name: "gives in to segments from behind the window",
        of: DATA_PLANE,
        found_by: &[("data.flood", "bytes come back")],
        spares: "data.window.inside",
        plant: |wire| {
            let mut wild = 0;
            lose(wire, move |letter, message| match message {
                Message::Segment(segment) if letter.goes_to_subject() => {
                    wild += usize::from(segment.frame > 300);
                    wild > 100
                }
                _ => false,
            })
        },
    },
    Fault {
        name: "delivers frames as they come",
        of: EXIT,
        found_by: &[
            ("data.delivery.order", "byte 0 of what comes back is not what was said"),
            ("data.delivery.hole", "bytes from behind the hole come back"),
            ("data.request.frame", "a request for what is missing"),
            ("data.finish.gap", "a request for what is missing before the end"),
        ],
        spares: "data.reassembly.order",
        plant: delivers_as_they_come,
    },
    Fault {
        name: "takes segments in the order of their indices only",
        of: DATA_PLANE,
        found_by: &[("data.reassembly.order", "bytes come back")],
        spares: "data.delivery.order",
        plant: takes_segments_in_order,
    },
    Fault {
        name: "joins one frame at a time",
        of: DATA_PLANE,
        found_by: &[("data.reassembly.interleaved", "bytes come back")],
        spares: "data.reassembly.order",
        plant: |wire| {
            let mut joined: HashMap<Conversation, (u32, BTreeSet<u8>)> = HashMap::new();
            lose(wire, move |letter, message| match message {
                Message::Segment(segment) if letter.goes_to_subject() => {
                    let (frame, indices) = joined.entry(letter.conversation()).or_default();
                    if indices.is_empty() {
                        *frame = segment.frame;
                    }
                    if segment.frame != *frame {
                        return true;
                    }
                    indices.insert(segment.index);
                    if indices.len() == usize::from(segment.count) {
                        indices.clear();
                    }
                    false
                }
                _ => false,
            })
        },
    },
    Fault {
        name: "delivers a frame twice when it comes twice",
        of: EXIT,
        found_by: &[(
            "data.reassembly.duplicates",
            "byte 27 of what comes back is not what was said",
        )],
        spares: "data.reassembly.order",
        plant: delivers_twice,
    },
    Fault {
        name: "knows at most 32 segments in a frame",
        of: DATA_PLANE,
        found_by: &[("data.reassembly.most-segments", "bytes come back")],
        spares: "data.reassembly.order",
        plant: |wire| {
            lose(wire, |letter, message| {
                letter.goes_to_subject()
                    && matches!(message, Message::Segment(segment) if segment.count > 32)
            })
        },
    },
    Fault {
        name: "does not notice segments that disagree about their frame",
        of: DATA_PLANE,
        found_by: &[(
            "data.reassembly.disagreement",
            "byte 6 of what comes back is not what was said",
        )],
        spares: "data.reassembly.order",
        plant: |wire| {
            let mut counts = HashMap::new();
            edit(wire, move |letter, message| {
                if let (ToSubject, Message::Segment(segment)) = (letter.way, message) {
                    let first = counts
                        .entry((letter.conversation(), segment.frame))
                        .or_insert((segment.count, segment.terminating));
                    (segment.count, segment.terminating) = *first;
                }
            })
        },
    },
    Fault {
        name: "takes an empty frame for none",
        of: EXIT,
        found_by: &[("data.reassembly.empty", "bytes come back")],
        spares: "data.reassembly.order",
        plant: |wire| {
            lose(wire, |letter, message| {
                letter.goes_to_subject()
                    && matches!(message, Message::Segment(segment)
                        if segment.data.is_empty() && !segment.terminating)
            })
        },
    },
];

/// Changes the bits of the subject's requests, and loses those for which `is_kept` is not.
fn requests(
    wire: Wire,
    mut is_kept: impl FnMut(Conversation, u32, &mut u8) -> bool + Send + 'static,
) -> Mischief {
    edit(wire, move |letter, message| {
        if let (FromSubject, Message::Request(entries)) = (letter.way, message) {
            entries.retain_mut(|(frame, missing)| is_kept(letter.conversation(), *frame, missing));
        }
    })
}

/// Loses the subject's acknowledgements of all frames but some.
fn acknowledgements(
    wire: Wire,
    mut is_kept: impl FnMut(Conversation, u32) -> bool + Send + 'static,
) -> Mischief {
    edit(wire, move |letter, message| {
        if let (FromSubject, Message::Acknowledgement(frames)) = (letter.way, message) {
            frames.retain(|&frame| is_kept(letter.conversation(), frame));
        }
    })
}

/// The subject sees frames numbered as they arrive, and the suite its own numbers in what comes back.
pub(super) fn delivers_as_they_come(wire: Wire) -> Mischief {
    let mut arrivals: HashMap<Conversation, Vec<u32>> = HashMap::new();
    edit(wire, move |letter, message| {
        let arrived = arrivals.entry(letter.conversation()).or_default();
        let original = |arrival: u32| arrived.get(arrival as usize - 1).copied().unwrap_or(arrival);
        match (letter.way, message) {
            (ToSubject, Message::Segment(segment)) => {
                let known = arrived.iter().position(|&frame| frame == segment.frame);
                let at = known.unwrap_or_else(|| {
                    arrived.push(segment.frame);
                    arrived.len() - 1
                });
                segment.frame = at as u32 + 1;
            }
            (FromSubject, Message::Acknowledgement(frames)) => {
                frames.iter_mut().for_each(|frame| *frame = original(*frame));
                frames.sort_unstable();
            }
            (FromSubject, Message::Request(entries)) => {
                entries.iter_mut().for_each(|(frame, _)| *frame = original(*frame));
                entries.sort_unstable();
            }
            _ => {}
        }
    })
}

pub(super) fn takes_segments_in_order(wire: Wire) -> Mischief {
    let mut next = HashMap::new();
    lose(wire, move |letter, message| match message {
        Message::Segment(segment) if letter.goes_to_subject() => {
            let next = next.entry((letter.conversation(), segment.frame)).or_insert(0);
            if segment.index == *next {
                *next += 1;
                return false;
            }
            segment.index > *next
        }
        _ => false,
    })
}

/// What came twice stands once more before the next frame.
fn delivers_twice(wire: Wire) -> Mischief {
    let mut seen = HashSet::new();
    let mut again: HashMap<Conversation, Vec<u8>> = HashMap::new();
    edit(wire, move |letter, message| {
        let (ToSubject, Message::Segment(segment)) = (letter.way, message) else { return };
        let again = again.entry(letter.conversation()).or_default();
        if !seen.insert((letter.conversation(), segment.frame, segment.index)) {
            again.clone_from(&segment.data);
        } else if segment.index == 0 && !again.is_empty() {
            segment.data.splice(..0, again.drain(..));
        }
    })
}
