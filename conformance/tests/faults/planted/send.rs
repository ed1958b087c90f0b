//! Senders that number, cut and repeat their frames the wrong way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use towline_conformance::wire::{Message, Segment, Wire};

use super::{DATA_PLANE, EXIT, Fault, UNRELIABLE};
use crate::mischief::Way::{FromSubject, ToSubject};
use crate::mischief::{Conversation, Letter, Mischief, edit, invent, lose, raw};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "forgets a frame once it is sent",
        of: DATA_PLANE,
        found_by: &[
            ("data.send.again", "an unacknowledged frame is sent again: not within"),
            ("data.send.window", "frames are sent and not acknowledged"),
            ("data.finish.lost", "the terminating frame comes again: not within"),
        ],
        spares: "data.send.ids",
        plant: forgets_what_it_sent,
    },
    Fault {
        name: "believes acknowledgements before it has sent the frame",
        of: EXIT,
        found_by: &[(
            "data.send.acknowledge-unsent",
            "a frame that was acknowledged too early comes again: not within",
        )],
        spares: "data.send.ids",
        plant: believes_early_acknowledgements,
    },
    Fault {
        name: "sends again only what is asked for",
        of: DATA_PLANE,
        found_by: &[
            ("data.send.again", "an unacknowledged frame is sent again: not within"),
            ("data.finish.lost", "the terminating frame comes again: not within"),
        ],
        spares: "data.send.requested",
        plant: |wire| {
            let (mut sent, mut requested) = (HashSet::new(), HashSet::new());
            lose(wire, move |letter, message| {
                let conversation = letter.conversation();
                match (letter.way, message) {
                    (ToSubject, Message::Request(entries)) => {
                        requested.extend(entries.iter().map(|&(frame, _)| (conversation, frame)));
                        false
                    }
                    (FromSubject, Message::Segment(segment)) => {
                        let Segment { frame, index, .. } = *segment;
                        !sent.insert((conversation, frame, index))
                            && !requested.contains(&(conversation, frame))
                    }
                    _ => false,
                }
            })
        },
    },
    Fault {
        name: "sends again what was acknowledged",
        of: EXIT,
        found_by: &[
            ("data.send.acknowledged", "is sent again after it was acknowledged"),
            ("data.padding", "is sent again after it was acknowledged"),
        ],
        spares: "data.send.ids",
        plant: |wire| {
            invent(wire, |letter, message| match message {
                Message::Segment(_) if !letter.goes_to_subject() => {
                    vec![letter.clone().later(Duration::from_millis(500))]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "answers every request with all it has ever sent of the frame",
        of: EXIT,
        found_by: &[
            ("data.send.acknowledged", "is sent again when asked for after it was acknowledged"),
            ("data.send.request-storm", "copies for 60 requests"),
        ],
        spares: "data.send.ids",
        plant: answers_every_request,
    },
    Fault {
        name: "answers requests in unreliable sessions",
        of: UNRELIABLE,
        found_by: &[("data.unreliable.deaf", "a request is answered")],
        spares: "data.unreliable.reassembly",
        plant: answers_every_request,
    },
    Fault {
        name: "answers a request ten times",
        of: DATA_PLANE,
        found_by: &[("data.send.request-storm", "copies for 60 requests")],
        spares: "data.send.ids",
        plant: |wire| {
            let mut requested = HashMap::new();
            invent(wire, move |letter, message| match (letter.way, message) {
                (ToSubject, Message::Request(entries)) => {
                    let conversation = letter.conversation();
                    let named = entries.iter().map(|&(frame, bits)| ((conversation, frame), bits));
                    requested.extend(named);
                    Vec::new()
                }
                (FromSubject, Message::Segment(segment)) => {
                    let bits = requested.get(&(letter.conversation(), segment.frame));
                    let is_named = bits.is_some_and(|bits| bits & (1 << segment.index) != 0);
                    vec![letter.clone(); if is_named { 9 } else { 0 }]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "answers a request with the whole frame",
        of: EXIT,
        found_by: &[("data.send.requested", "is asked for, and comes no more often than others")],
        spares: "data.send.requested-whole",
        plant: |wire| asks_for(wire, |_| 0xff),
    },
    Fault {
        name: "does not answer requests",
        of: DATA_PLANE,
        found_by: &[
            ("data.send.requested", "is asked for, and comes no more often than others"),
            ("data.send.requested-whole", "is asked for in vain"),
        ],
        spares: "data.send.ids",
        plant: |wire| {
            lose(wire, |letter, message| {
                letter.goes_to_subject() && matches!(message, Message::Request(_))
            })
        },
    },
    Fault {
        name: "answers a request with other segments than it names",
        of: EXIT,
        found_by: &[("data.send.requested", "is asked for, and comes no more often than others")],
        spares: "data.send.requested-whole",
        plant: |wire| asks_for(wire, |missing| missing.rotate_right(1)),
    },
    Fault {
        name: "makes up frames that are asked for",
        of: DATA_PLANE,
        found_by: &[("data.send.request-unsent", "of which there was nothing to send")],
        spares: "data.send.requested",
        plant: |wire| {
            let mut latest = HashMap::new();
            invent(wire, move |letter, message| {
                let latest = latest.entry(letter.conversation()).or_insert(0);
                match (letter.way, message) {
                    (FromSubject, Message::Segment(segment)) => {
                        *latest = segment.frame.max(*latest);
                    }
                    (ToSubject, Message::Request(entries)) => {
                        let unsent = entries.iter().filter(|&(frame, _)| frame > latest);
                        let made_up = unsent.map(|&(frame, _)| {
                            let (index, count, terminating, data) = (0, 1, false, vec![0]);
                            let segment = Segment { frame, index, count, terminating, data };
                            letter.returning(wire.encode(&Message::Segment(segment)))
                        });
                        return made_up.collect();
                    }
                    _ => {}
                }
                Vec::new()
            })
        },
    },
    Fault {
        name: "numbers its frames from 0",
        of: EXIT,
        found_by: &[("data.send.ids", "a segment of frame 0")],
        spares: "start.version",
        plant: |wire| renumbers(wire, |frame| frame - 1, |frame| frame + 1),
    },
    Fault {
        name: "leaves frame ids out",
        of: EXIT,
        found_by: &[("data.send.ids", "0 of 3 bytes come back")],
        spares: "start.version",
        plant: |wire| renumbers(wire, |frame| frame * 2, |frame| frame / 2),
    },
    Fault {
        name: "counts one segment too many",
        of: EXIT,
        found_by: &[("data.send.ids", "0 of 3 bytes come back")],
        spares: "start.version",
        plant: |wire| {
            edit(wire, |letter, message| {
                if let (FromSubject, Message::Segment(segment)) = (letter.way, message) {
                    segment.count += 1;
                }
            })
        },
    },
    Fault {
        name: "sends another content when it sends again",
        of: DATA_PLANE,
        found_by: &[("data.send.again", "is another when sent again")],
        spares: "data.send.ids",
        plant: |wire| {
            let mut sent = HashSet::new();
            edit(wire, move |letter, message| {
                if let (FromSubject, Message::Segment(segment)) = (letter.way, message)
                    && !sent.insert((letter.conversation(), segment.frame, segment.index))
                    && let Some(byte) = segment.data.first_mut()
                {
                    *byte ^= 1;
                }
            })
        },
    },
    Fault {
        name: "cuts its frames smaller than it may",
        of: DATA_PLANE,
        found_by: &[("data.send.segments", "has a segment amid it that is not full")],
        spares: "data.send.ids",
        plant: cuts_in_halves,
    },
    Fault {
        name: "puts two messages in a datagram",
        of: EXIT,
        found_by: &[("data.send.ids", "length 9, but 22 bytes of payload")],
        spares: "start.version",
        plant: |wire| {
            raw(move |letter| {
                if let (FromSubject, Ok(Message::Segment(_))) =
                    (letter.way, wire.decode(&letter.message))
                {
                    letter.message.extend_from_within(..);
                }
            })
        },
    },
    Fault {
        name: "sends messages longer than the MTU",
        of: EXIT,
        found_by: &[("data.send.segments", "bytes of payload, 1014 allowed")],
        spares: "data.send.ids",
        plant: |wire| {
            edit(wire, move |letter, message| {
                if let (FromSubject, Message::Segment(segment)) = (letter.way, message)
                    && segment.data.len() == wire.segment_data()
                {
                    segment.data.push(0);
                }
            })
        },
    },
];

/// Asks the subject for other segments than the suite does.
fn asks_for(wire: Wire, others: fn(u8) -> u8) -> Mischief {
    edit(wire, move |letter, message| {
        if let (ToSubject, Message::Request(entries)) = (letter.way, message) {
            entries.iter_mut().for_each(|(_, missing)| *missing = others(*missing));
        }
    })
}

/// Acknowledges in the suite's place.
pub(super) fn forgets_what_it_sent(wire: Wire) -> Mischief {
    invent(wire, move |letter, message| match message {
        Message::Segment(segment) if !letter.goes_to_subject() => {
            let early = Message::Acknowledgement(vec![segment.frame]);
            vec![letter.returning(wire.encode(&early))]
        }
        _ => Vec::new(),
    })
}

fn believes_early_acknowledgements(wire: Wire) -> Mischief {
    let mut believed: HashSet<(Conversation, u32)> = HashSet::new();
    invent(wire, move |letter, message| {
        let conversation = letter.conversation();
        match (letter.way, message) {
            (ToSubject, Message::Acknowledgement(frames)) => {
                believed.extend(frames.iter().map(|&frame| (conversation, frame)));
            }
            (FromSubject, Message::Segment(segment))
                if believed.contains(&(conversation, segment.frame)) =>
            {
                let early = Message::Acknowledgement(vec![segment.frame]);
                return vec![letter.returning(wire.encode(&early))];
            }
            _ => {}
        }
        Vec::new()
    })
}

fn answers_every_request(wire: Wire) -> Mischief {
    let mut sent: HashMap<(Conversation, u32), BTreeMap<u8, Letter>> = HashMap::new();
    invent(wire, move |letter, message| {
        let conversation = letter.conversation();
        match (letter.way, message) {
            (FromSubject, Message::Segment(segment)) => {
                let frame = sent.entry((conversation, segment.frame)).or_default();
                frame.insert(segment.index, letter.clone());
            }
            (ToSubject, Message::Request(entries)) => {
                let frames = entries.iter().filter_map(|&(id, _)| sent.get(&(conversation, id)));
                return frames.flat_map(BTreeMap::values).cloned().collect();
            }
            _ => {}
        }
        Vec::new()
    })
}

/// Other frame ids for the suite than the subject gives, and back.
pub(super) fn renumbers(wire: Wire, there: fn(u32) -> u32, back: fn(u32) -> u32) -> Mischief {
    edit(wire, move |letter, message| match (letter.way, message) {
        (FromSubject, Message::Segment(segment)) => segment.frame = there(segment.frame),
        (ToSubject, Message::Acknowledgement(frames)) => {
            frames.iter_mut().for_each(|frame| *frame = back(*frame));
        }
        (ToSubject, Message::Request(entries)) => {
            entries.iter_mut().for_each(|(frame, _)| *frame = back(*frame));
        }
        _ => {}
    })
}

/// Frames of several segments come in twice as many.
fn cuts_in_halves(wire: Wire) -> Mischief {
    Box::new(move |letter| {
        let Ok(Message::Segment(whole)) = wire.decode(&letter.message) else { return vec![letter] };
        if letter.goes_to_subject() || whole.count == 1 {
            return vec![letter];
        }
        let (first, second) = whole.data.split_at(whole.data.len() / 2);
        let half = |index, data: &[u8]| {
            let (count, data) = (whole.count * 2, data.to_vec());
            let half = Message::Segment(Segment { index, count, data, ..whole });
            letter.saying(wire.encode(&half))
        };
        vec![half(whole.index * 2, first), half(whole.index * 2 + 1, second)]
    })
}
