//! Receivers that take what they have to ignore, and ignore what they have to take.

use std::collections::HashMap;

use towline_conformance::wire::{Message, SEGMENT_OVERHEAD, Wire};

use super::{DATA_PLANE, EXIT, Fault, HOPRNET_EXIT};
use crate::mischief::{Letter, Mischief, lose, lose_raw, mend_length, raw};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "does not look at the version of a data message",
        of: EXIT,
        found_by: &[("data.version", "byte 0 of what comes back")],
        spares: "data.type",
        plant: |_| received(|message| message[0] = 1),
    },
    Fault {
        name: "takes unknown types for segments",
        of: DATA_PLANE,
        found_by: &[("data.type", "byte 0 of what comes back")],
        spares: "data.version",
        plant: |_| received(|message| message[1] *= u8::from(message[1] < 3)),
    },
    Fault {
        name: "does not look at the length of a data message",
        of: DATA_PLANE,
        found_by: &[("data.length.beyond", "byte 0 of what comes back")],
        spares: "data.type",
        plant: |_| received(|message| mend_length(message)),
    },
    Fault {
        name: "bears messages longer than the MTU",
        of: EXIT,
        found_by: &[("data.length.limit", "byte 0 of what comes back")],
        spares: "data.type",
        plant: |wire| {
            raw(move |letter| {
                if letter.message.len() > wire.mtu {
                    letter.message.truncate(wire.mtu);
                    mend_length(&mut letter.message);
                }
            })
        },
    },
    Fault {
        name: "bears no messages as long as the MTU",
        of: DATA_PLANE,
        found_by: &[("data.length.limit", "bytes come back")],
        spares: "data.type",
        plant: |wire| {
            lose_raw(move |letter| letter.goes_to_subject() && letter.message.len() == wire.mtu)
        },
    },
    Fault {
        name: "looks at the first message of a datagram only",
        of: DATA_PLANE,
        found_by: &[
            ("data.datagram.sequence", "bytes come back"),
            ("data.datagram.partial", "byte 0 of what comes back"),
        ],
        spares: "data.type",
        plant: |_| {
            raw(|letter| {
                if let Some(first) = messages(&letter.message).first() {
                    letter.message = first.to_vec();
                }
            })
        },
    },
    Fault {
        name: "takes what is complete of a datagram that is not",
        of: EXIT,
        found_by: &[("data.datagram.partial", "byte 0 of what comes back")],
        spares: "data.datagram.sequence",
        plant: |_| {
            raw(|letter| {
                let whole: usize = messages(&letter.message).iter().map(|it| it.len()).sum();
                if whole > 0 && !letter.is_start() {
                    letter.message.truncate(whole);
                }
            })
        },
    },
    Fault {
        name: "ignores a datagram when a message in it is malformed",
        of: DATA_PLANE,
        found_by: &[("data.datagram.malformed", "bytes come back")],
        spares: "data.datagram.sequence",
        plant: |wire| {
            lose_raw(move |letter| {
                messages(&letter.message).iter().any(|message| wire.decode(message).is_err())
            })
        },
    },
    Fault {
        name: "does not survive a segment that ends within its fields",
        of: DATA_PLANE,
        found_by: &[("data.segment.truncated", "bytes come back")],
        spares: "data.type",
        plant: |_| {
            let mut is_dead = false;
            lose_raw(move |letter| {
                is_dead |= is_segment(letter) && letter.message.len() < SEGMENT_OVERHEAD;
                is_dead
            })
        },
    },
    Fault {
        name: "takes frame 0 for the first",
        of: DATA_PLANE,
        found_by: &[("data.segment.frame-zero", "byte 0 of what comes back")],
        spares: "data.type",
        plant: |_| {
            segments(|fields| {
                if fields[..4] == [0; 4] {
                    fields[3] = 1;
                }
            })
        },
    },
    Fault {
        name: "does not hold the index against the count",
        of: DATA_PLANE,
        found_by: &[("data.segment.index", "byte 0 of what comes back")],
        spares: "data.type",
        plant: |_| segments(|fields| fields[4] %= (fields[5] & 0x3f) + 1),
    },
    Fault {
        name: "ignores the reserved flag of a segment",
        of: EXIT,
        found_by: &[("data.segment.reserved", "byte 0 of what comes back")],
        spares: "data.type",
        plant: |_| segments(|fields| fields[5] &= !0x40),
    },
    Fault {
        name: "takes a count of zero for none",
        of: EXIT,
        found_by: &[("data.segment.count-zero", "bytes come back")],
        spares: "start.version",
        plant: |_| {
            lose_raw(|letter| {
                letter.goes_to_subject() && is_segment(letter) && letter.message[9] == 0
            })
        },
    },
    Fault {
        name: "takes a count of zero for one in hoprnet",
        of: HOPRNET_EXIT,
        found_by: &[("data.segment.count-zero", "byte 0 of what comes back")],
        spares: "data.type",
        plant: |_| {
            segments(|fields| {
                if fields[5] & 0x3f == 0 {
                    fields[5] |= 1;
                }
            })
        },
    },
    Fault {
        name: "answers requests that are malformed",
        of: DATA_PLANE,
        found_by: &[("data.request.malformed", "malformed requests are answered")],
        spares: "data.acknowledgement.again",
        plant: answers_malformed_requests,
    },
    Fault {
        name: "believes acknowledgements that are malformed",
        of: DATA_PLANE,
        found_by: &[(
            "data.acknowledgement.malformed",
            "a frame that is not acknowledged comes again: not within",
        )],
        spares: "data.padding",
        plant: |wire| {
            raw(move |letter| {
                let is_malformed = wire.decode(&letter.message).is_err();
                if !letter.is_start() && is_malformed && letter.message.get(1) == Some(&2) {
                    let ids = letter.message[4..].chunks_exact(4);
                    let mut frames: Vec<u32> = ids
                        .filter_map(|id| id.first_chunk().copied().map(u32::from_be_bytes))
                        .collect();
                    frames.sort_unstable();
                    frames.dedup();
                    letter.message = wire.encode(&Message::Acknowledgement(frames));
                }
            })
        },
    },
    Fault {
        name: "does not understand padding",
        of: DATA_PLANE,
        found_by: &[("data.padding", "is sent again after it was acknowledged")],
        spares: "data.acknowledgement.malformed",
        plant: |wire| {
            lose(wire, move |letter, message| {
                matches!(message, Message::Acknowledgement(frames)
                    if letter.goes_to_subject() && letter.message.len() > 4 + 4 * frames.len())
            })
        },
    },
];

fn is_segment(letter: &Letter) -> bool {
    !letter.is_start() && letter.message.starts_with(&[1, 0])
}

/// Changes the bytes of each data message, which are at least a header, on their way to the subject.
fn received(change: fn(&mut Vec<u8>)) -> Mischief {
    raw(move |letter| {
        if letter.goes_to_subject() && !letter.is_start() && letter.message.len() >= 4 {
            change(&mut letter.message);
        }
    })
}

/// Changes the six bytes of each segment's fields on their way to the subject.
fn segments(change: fn(&mut [u8])) -> Mischief {
    raw(move |letter| {
        if letter.goes_to_subject()
            && is_segment(letter)
            && let Some(fields) = letter.message.get_mut(4..SEGMENT_OVERHEAD)
        {
            change(fields);
        }
    })
}

/// The complete messages at the beginning of a datagram.
fn messages(mut datagram: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let &[_, _, high, low, ..] = datagram {
        let length = 4 + usize::from(u16::from_be_bytes([high, low]));
        let Some((message, rest)) = datagram.split_at_checked(length) else { break };
        messages.push(message);
        datagram = rest;
    }
    messages
}

/// The latest segment that the subject has sent, for each request that names nothing.
fn answers_malformed_requests(wire: Wire) -> Mischief {
    let mut latest = HashMap::new();
    Box::new(move |letter| {
        match wire.decode(&letter.message) {
            Ok(Message::Segment(_)) if !letter.goes_to_subject() => {
                latest.insert(letter.conversation(), letter.message.clone());
            }
            Err(_) if letter.message.starts_with(&[1, 1]) => {
                if let Some(segment) = latest.get(&letter.conversation()) {
                    return vec![letter.returning(segment.clone())];
                }
            }
            _ => {}
        }
        vec![letter]
    })
}
