//! Peers that come to the wrong end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use towline_conformance::session::terminating;
use towline_conformance::wire::{Message, Segment, Wire};

use super::{DATA_PLANE, EXIT, Fault};
use crate::mischief::Way::{FromSubject, ToSubject};
use crate::mischief::{Letter, Mischief, edit, invent, lose};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "repeats its end for ever",
        of: EXIT,
        found_by: &[("data.finish.last-acknowledgement", "the terminating frame still comes")],
        spares: "data.finish.ours",
        plant: |wire| {
            let mut finished = HashSet::new();
            invent(wire, move |letter, message| match (letter.way, message) {
                (FromSubject, Message::Segment(segment))
                    if segment.terminating && finished.insert(letter.conversation()) =>
                {
                    let again = (1..30).map(|second| letter.clone().later(SECOND * second));
                    again.collect()
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "never finishes",
        of: EXIT,
        found_by: &[
            ("data.finish.ours", "the subject finishes, too: not within"),
            ("data.finish.data", "the subject finishes: not within"),
        ],
        spares: "data.send.ids",
        plant: |wire| {
            lose(wire, |letter, message| {
                !letter.goes_to_subject()
                    && matches!(message, Message::Segment(segment) if segment.terminating)
            })
        },
    },
    Fault {
        name: "says goodbye in its terminating segment",
        of: DATA_PLANE,
        found_by: &[("data.finish.form", "a terminating segment with data")],
        spares: "data.send.ids",
        plant: |wire| ends(wire, |end| end.data = b"bye".to_vec()),
    },
    Fault {
        name: "leaves a frame id out before its end",
        of: DATA_PLANE,
        found_by: &[("data.finish.form", "the terminating frame 4 follows frame Some(2)")],
        spares: "data.send.ids",
        plant: |wire| ends(wire, |end| end.frame += 1),
    },
    Fault {
        name: "gives its end the id of its last frame",
        of: DATA_PLANE,
        found_by: &[("data.finish.form", "segments of frame 2 disagree about it")],
        spares: "data.send.ids",
        plant: |wire| ends(wire, |end| end.frame -= 1),
    },
    Fault {
        name: "ends with a frame of two segments",
        of: EXIT,
        found_by: &[("data.finish.form", "the terminating frame has 2 segments")],
        spares: "data.finish.ours",
        plant: |wire| ends(wire, |end| end.count = 2),
    },
    Fault {
        name: "sends data behind its end",
        of: DATA_PLANE,
        found_by: &[("data.finish.form", "follows the terminating frame")],
        spares: "data.send.ids",
        plant: |wire| {
            invent(wire, move |letter, message| match (letter.way, message) {
                (FromSubject, Message::Segment(end)) if end.terminating => {
                    let (frame, data) = (end.frame + 1, b"one more thing".to_vec());
                    let behind = Segment { frame, data, terminating: false, ..*end };
                    vec![letter.saying(wire.encode(&Message::Segment(behind)))]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "sends its end once",
        of: EXIT,
        found_by: &[("data.finish.lost", "the terminating frame comes again: not within")],
        spares: "data.send.again",
        plant: |wire| {
            let mut finished = HashSet::new();
            lose(wire, move |letter, message| {
                !letter.goes_to_subject()
                    && matches!(message, Message::Segment(segment) if segment.terminating)
                    && !finished.insert(letter.conversation())
            })
        },
    },
    Fault {
        name: "acknowledges nothing but the end",
        of: DATA_PLANE,
        found_by: &[("data.finish.pending", "every frame is acknowledged, the end included")],
        spares: "data.finish.ours",
        plant: |wire| {
            let mut ends = HashSet::new();
            edit(wire, move |letter, message| match (letter.way, message) {
                (ToSubject, Message::Segment(segment)) if segment.terminating => {
                    ends.insert((letter.conversation(), segment.frame));
                }
                (FromSubject, Message::Acknowledgement(frames)) => {
                    frames.retain(|&frame| ends.contains(&(letter.conversation(), frame)));
                }
                _ => {}
            })
        },
    },
    Fault {
        name: "finishes as soon as its peer does",
        of: DATA_PLANE,
        found_by: &[
            ("data.finish.gap", "the subject finishes though a frame is missing"),
            ("data.half-close", "the subject finishes before all was sent back"),
        ],
        spares: "data.send.ids",
        plant: finishes_at_once,
    },
    Fault {
        name: "takes the data of a terminating segment",
        of: EXIT,
        found_by: &[("data.finish.data", "byte 12 of what comes back is not what was said")],
        spares: "data.finish.ours",
        plant: takes_data_of_the_end,
    },
    Fault {
        name: "takes data from behind the end",
        of: EXIT,
        found_by: &[("data.finish.behind", "of what comes back is not what was said")],
        spares: "data.finish.gap",
        plant: takes_data_behind_the_end,
    },
    Fault {
        name: "believes an end that earlier frames contradict",
        of: EXIT,
        found_by: &[("data.finish.early", "bytes come back")],
        spares: "data.finish.ours",
        plant: |wire| {
            let mut latest = HashMap::new();
            lose(wire, move |letter, message| {
                let (latest, is_over) = latest.entry(letter.conversation()).or_insert((0, false));
                if let (ToSubject, Message::Segment(segment)) = (letter.way, message) {
                    *is_over |= segment.terminating && segment.frame < *latest;
                    *latest = segment.frame.max(*latest);
                }
                *is_over
            })
        },
    },
    Fault {
        name: "does not mind a second end",
        of: EXIT,
        found_by: &[("data.abort.second-end", "the session goes on")],
        spares: "data.finish.gap",
        plant: |wire| {
            let mut ends = HashMap::new();
            lose(wire, move |letter, message| match (letter.way, message) {
                (ToSubject, Message::Segment(segment)) if segment.terminating => {
                    *ends.entry(letter.conversation()).or_insert(segment.frame) != segment.frame
                }
                _ => false,
            })
        },
    },
];

const SECOND: Duration = Duration::from_secs(1);

/// Changes the subject's terminating segment.
fn ends(wire: Wire, change: fn(&mut Segment)) -> Mischief {
    edit(wire, move |letter, message| {
        if let (FromSubject, Message::Segment(segment)) = (letter.way, message)
            && segment.terminating
        {
            change(segment);
        }
    })
}

/// An end in the subject's name, and nothing from it after that.
fn finishes_at_once(wire: Wire) -> Mischief {
    let mut latest = HashMap::new();
    let mut finished = HashSet::new();
    Box::new(move |letter| {
        let Ok(Message::Segment(segment)) = wire.decode(&letter.message) else {
            return vec![letter];
        };
        let latest = latest.entry(letter.conversation()).or_insert(0);
        if !letter.goes_to_subject() {
            *latest = segment.frame.max(*latest);
            let is_over = finished.contains(&letter.conversation());
            return if is_over { Vec::new() } else { vec![letter] };
        }
        if segment.terminating && finished.insert(letter.conversation()) {
            let early = Message::Segment(Segment { frame: *latest + 1, ..segment });
            return vec![letter.returning(wire.encode(&early)), letter];
        }
        vec![letter]
    })
}

/// The data becomes a frame of its own, and the end follows it.
fn takes_data_of_the_end(wire: Wire) -> Mischief {
    let mut ends = HashMap::new();
    Box::new(move |letter| {
        if let (FromSubject, Ok(Message::Acknowledgement(mut frames))) =
            (letter.way, wire.decode(&letter.message))
        {
            let end = ends.get(&letter.conversation()).copied().unwrap_or(u32::MAX);
            return acknowledging(wire, &letter, &mut frames, end);
        }
        let &[1, 0, _, _, a, b, c, d, 0, 0x80, ref data @ ..] = &letter.message[..] else {
            return vec![letter];
        };
        if data.is_empty() {
            return vec![letter];
        }
        let (frame, data) = (u32::from_be_bytes([a, b, c, d]), data.to_vec());
        ends.insert(letter.conversation(), frame);
        let data = Segment { frame, index: 0, count: 1, terminating: false, data };
        [Message::Segment(data), terminating(frame + 1)]
            .map(|it| letter.saying(wire.encode(&it)))
            .into()
    })
}

/// The end is kept back, and what comes behind it is put before it.
fn takes_data_behind_the_end(wire: Wire) -> Mischief {
    let mut ends = HashMap::new();
    Box::new(move |letter| {
        let conversation = letter.conversation();
        match (letter.way, wire.decode(&letter.message)) {
            (ToSubject, Ok(Message::Segment(segment))) => {
                if segment.terminating && !ends.contains_key(&conversation) {
                    ends.insert(conversation, segment.frame);
                    // Without anything behind it, it is believed after a while.
                    return vec![letter.later(Duration::from_millis(300))];
                }
                match ends.get(&conversation) {
                    Some(&end) if segment.frame == end + 1 => {
                        let data = Message::Segment(Segment { frame: end, ..segment });
                        [data, terminating(end + 1)]
                            .map(|it| letter.saying(wire.encode(&it)))
                            .into()
                    }
                    _ => vec![letter],
                }
            }
            (FromSubject, Ok(Message::Acknowledgement(mut frames))) => {
                let end = ends.get(&conversation).copied().unwrap_or(u32::MAX);
                acknowledging(wire, &letter, &mut frames, end)
            }
            _ => vec![letter],
        }
    })
}

/// An acknowledgement that says nothing of what was taken from behind the end.
fn acknowledging(wire: Wire, letter: &Letter, frames: &mut Vec<u32>, end: u32) -> Vec<Letter> {
    frames.retain(|&frame| frame <= end);
    if frames.is_empty() {
        return Vec::new();
    }
    vec![letter.saying(wire.encode(&Message::Acknowledgement(frames.clone())))]
}
