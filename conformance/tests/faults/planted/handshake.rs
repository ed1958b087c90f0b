//! Exits that do the handshake wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use towline_conformance::wire::{self, Message, Wire, message_of};

use super::{BARE_EXIT, EXIT, Fault, HOPRNET_EXIT};
use crate::mischief::Way::{FromSubject, ToSubject};
use crate::mischief::{
    Letter, Mischief, edit, intercept, invent, lose, lose_raw, mend_length, raw,
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "answers a repeated request when its session is long over",
        of: EXIT,
        found_by: &[("start.request.after-the-end", "granted again long after its end")],
        spares: "start.request.repeated",
        plant: remembers_grants_for_ever,
    },
    Fault {
        name: "keeps the slot of a session that is over",
        of: BARE_EXIT,
        found_by: &[("start.slots", "the slot of a session that is over stays taken")],
        spares: "start.request.granted",
        plant: |wire| {
            let mut is_full = false;
            intercept(wire, move |letter, message| match (letter.way, message) {
                (FromSubject, Message::SessionError { reason: 1, .. }) => {
                    is_full = true;
                    None
                }
                (ToSubject, Message::StartSession(request)) if is_full => {
                    Some(Message::SessionError { challenge: request.challenge, reason: 1 })
                }
                _ => None,
            })
        },
    },
    Fault {
        name: "keeps sessions that are silent",
        of: EXIT,
        found_by: &[("start.liveness.silence", "the session is still there")],
        spares: "start.request.repeated",
        plant: |wire| {
            invent(wire, |letter, message| match (letter.way, message) {
                (FromSubject, Message::KeepAlive { .. }) => {
                    let life = letter.returning(letter.message.clone());
                    vec![life.later(Duration::from_millis(200))]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "gives in to a flood of requests",
        of: EXIT,
        found_by: &[("start.flood.requests", "no answer to the request")],
        spares: "start.request.granted",
        plant: |wire| {
            let mut requests = 0;
            lose(wire, move |letter, message| {
                requests += usize::from(matches!(message, Message::StartSession(_)));
                letter.goes_to_subject() && requests > 500
            })
        },
    },
    Fault {
        name: "gives in to noise",
        of: EXIT,
        found_by: &[("start.flood.noise", "bytes come back")],
        spares: "start.request.granted",
        plant: |wire| {
            let mut noise = 0;
            lose_raw(move |letter| {
                noise += usize::from(wire.decode(&letter.message).is_err());
                letter.goes_to_subject() && noise > 100
            })
        },
    },
    Fault {
        name: "drops sessions though a keep-alive confirmed them",
        of: EXIT,
        found_by: &[
            ("start.half-open.confirmed", "bytes come back"),
            ("start.keep-alive.answered", "no keep-alive within"),
        ],
        spares: "start.request.repeated",
        plant: |wire| {
            lose(wire, |letter, message| {
                letter.goes_to_subject() && matches!(message, Message::KeepAlive { .. })
            })
        },
    },
    Fault {
        name: "takes no data before a keep-alive",
        of: EXIT,
        found_by: &[("start.half-open.by-data", "bytes come back")],
        spares: "start.request.repeated",
        plant: |wire| {
            let mut confirmed = HashSet::new();
            lose(wire, move |letter, message| match (letter.way, message) {
                (ToSubject, Message::KeepAlive { .. }) => {
                    confirmed.insert(letter.peer);
                    false
                }
                (ToSubject, Message::Segment(_)) => !confirmed.contains(&letter.peer),
                _ => false,
            })
        },
    },
    Fault {
        name: "keeps sessions that nobody confirms",
        of: EXIT,
        found_by: &[
            ("start.half-open.dropped", "the session is still there"),
            ("start.half-open.foreign", "the session is still there"),
        ],
        spares: "start.request.repeated",
        plant: |wire| {
            invent(wire, move |letter, message| match message {
                Message::SessionEstablished { session_id, .. } => {
                    let session_id = session_id.clone();
                    let life = Message::KeepAlive { flags: 0, additional_data: 0, session_id };
                    vec![letter.returning(wire.encode(&life))]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "does not answer keep-alives",
        of: EXIT,
        found_by: &[
            ("start.keep-alive.answered", "no keep-alive within"),
            ("start.liveness.keep-alives", "no keep-alive within"),
        ],
        spares: "start.request.repeated",
        plant: |wire| {
            lose(wire, |letter, message| {
                !letter.goes_to_subject() && matches!(message, Message::KeepAlive { .. })
            })
        },
    },
    Fault {
        name: "names another session in its keep-alives",
        of: EXIT,
        found_by: &[
            ("start.keep-alive.answered", "instead of a keep-alive: keep-alive"),
            ("start.liveness.keep-alives", "instead of a keep-alive: keep-alive"),
        ],
        spares: "start.request.repeated",
        plant: |wire| {
            edit(wire, |letter, message| {
                if let (FromSubject, Message::KeepAlive { session_id, .. }) = (letter.way, message)
                {
                    *session_id = wire::number(4711);
                }
            })
        },
    },
    Fault {
        name: "sends keep-alives of the other width",
        of: EXIT,
        found_by: &[("start.keep-alive.answered", "bytes follow the CBOR item")],
        spares: "start.version",
        plant: |wire| {
            Box::new(move |letter| {
                let id = match wire.decode(&letter.message) {
                    Ok(Message::KeepAlive { session_id, .. }) if !letter.goes_to_subject() => {
                        session_id
                    }
                    _ => return vec![letter],
                };
                vec![letter.saying(message_of(2, 3, &[&[0; 9], &id[..]].concat()))]
            })
        },
    },
    Fault {
        name: "sets flags in its keep-alives",
        of: EXIT,
        found_by: &[("start.keep-alive.answered", "keep-alive flags 0x01")],
        spares: "start.version",
        plant: |wire| {
            edit(wire, |letter, message| {
                if let (FromSubject, Message::KeepAlive { flags, .. }) = (letter.way, message) {
                    *flags = 1;
                }
            })
        },
    },
    Fault {
        name: "takes keep-alives of the other width",
        of: EXIT,
        found_by: &[("start.keep-alive.width", "an answer to what is none: keep-alive")],
        spares: "start.keep-alive.answered",
        plant: |wire| {
            raw(move |letter| {
                let is_odd = wire.decode(&letter.message).is_err();
                if is_odd && letter.is_start() && letter.message.starts_with(&[2, 3]) {
                    letter.message.drain(5..9);
                    mend_length(&mut letter.message);
                }
            })
        },
    },
    Fault {
        name: "takes no keep-alives of the other width in hoprnet",
        of: HOPRNET_EXIT,
        found_by: &[("start.keep-alive.width", "no keep-alive in return")],
        spares: "start.keep-alive.answered",
        plant: |wire| {
            lose_raw(move |letter| {
                letter.message.starts_with(&[2, 3]) && wire.decode(&letter.message).is_err()
            })
        },
    },
    Fault {
        name: "ignores keep-alives with flags",
        of: EXIT,
        found_by: &[("start.keep-alive.flags", "no keep-alive in return")],
        spares: "start.keep-alive.answered",
        plant: |_| lose_raw(|letter| letter.message.starts_with(&[2, 3]) && letter.message[4] != 0),
    },
    Fault {
        name: "answers keep-alives of sessions that it does not know",
        of: EXIT,
        found_by: &[("start.keep-alive.unknown", "an answer to what is none: keep-alive")],
        spares: "start.keep-alive.answered",
        plant: |wire| {
            let mut known = BTreeSet::new();
            intercept(wire, move |letter, message| match (letter.way, message) {
                (FromSubject, Message::SessionEstablished { session_id, .. }) => {
                    known.insert(session_id.clone());
                    None
                }
                (ToSubject, Message::KeepAlive { session_id, .. }) => {
                    (!known.contains(session_id)).then(|| message.clone())
                }
                _ => None,
            })
        },
    },
    Fault {
        name: "takes answers that it did not ask for",
        of: EXIT,
        found_by: &[("start.answers.unasked", "an answer to what is none: keep-alive")],
        spares: "start.keep-alive.unknown",
        plant: |wire| {
            intercept(wire, |letter, message| match (letter.way, message) {
                (ToSubject, Message::SessionEstablished { session_id, .. }) => {
                    let session_id = session_id.clone();
                    Some(Message::KeepAlive { flags: 0, additional_data: 0, session_id })
                }
                _ => None,
            })
        },
    },
    Fault {
        name: "answers with another challenge",
        of: EXIT,
        found_by: &[("start.request.granted", "no answer to the request")],
        spares: "start.request.refused",
        plant: |wire| {
            edit(wire, |_, message| {
                if let Message::SessionEstablished { challenge, .. } = message {
                    *challenge ^= 1;
                }
            })
        },
    },
    Fault {
        name: "takes a challenge of zero for none",
        of: EXIT,
        found_by: &[("start.request.granted", "no answer to the request")],
        spares: "start.request.repeated",
        plant: |wire| {
            lose(
                wire,
                |_, message| matches!(message, Message::StartSession(request) if request.challenge == 0),
            )
        },
    },
    Fault {
        name: "grants a repeated request another session",
        of: EXIT,
        found_by: &[
            ("start.request.repeated", "first the session"),
            ("start.request.repeated-late", "another session"),
            ("start.request.after-the-end", "a second session"),
        ],
        spares: "start.request.granted",
        plant: grants_repetitions_anew,
    },
    Fault {
        name: "tells requests apart by their challenge alone",
        of: EXIT,
        found_by: &[("start.request.same-challenge", "both peers got the session")],
        spares: "start.request.repeated",
        plant: |wire| {
            let mut grants = BTreeMap::new();
            intercept(wire, move |_, message| match message {
                Message::SessionEstablished { challenge, .. } => {
                    grants.insert(*challenge, message.clone());
                    None
                }
                Message::StartSession(request) => grants.get(&request.challenge).cloned(),
                _ => None,
            })
        },
    },
    Fault {
        name: "answers each request twice",
        of: EXIT,
        found_by: &[
            ("start.request.answers", "a second answer to one request"),
            ("start.flood.requests", "two answers to one request"),
        ],
        spares: "start.request.repeated",
        plant: |wire| {
            invent(wire, |letter, message| match message {
                Message::SessionEstablished { .. } | Message::SessionError { .. } => {
                    vec![letter.clone()]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "refuses a repeated request for another reason",
        of: EXIT,
        found_by: &[("start.request.refused", "first the reason")],
        spares: "start.request.repeated",
        plant: |wire| {
            let mut refused = BTreeSet::new();
            edit(wire, move |_, message| {
                if let Message::SessionError { challenge, reason } = message
                    && !refused.insert(*challenge)
                {
                    *reason ^= 0x10;
                }
            })
        },
    },
    Fault {
        name: "gives another reason when its slots are taken",
        of: BARE_EXIT,
        found_by: &[
            ("start.request.bare", "refused for the reason 0"),
            ("start.slots", "refused for the reason 0 when all slots are taken"),
        ],
        spares: "start.request.granted",
        plant: |wire| {
            edit(wire, |_, message| {
                if let Message::SessionError { reason: reason @ 1, .. } = message {
                    *reason = 0;
                }
            })
        },
    },
    Fault {
        name: "grants more sessions than it has slots",
        of: BARE_EXIT,
        found_by: &[
            ("start.request.bare", "a second session from the same address"),
            ("start.slots", "49 sessions in 48 slots"),
        ],
        spares: "start.request.granted",
        plant: |wire| {
            let mut next = 1 << 40;
            edit(wire, move |_, message| {
                if let Message::SessionError { challenge, reason: 1 } = *message {
                    next += 1 << 30;
                    let session_id = wire::number(next);
                    *message = Message::SessionEstablished { challenge, session_id };
                }
            })
        },
    },
    Fault {
        name: "counts its session ids",
        of: BARE_EXIT,
        found_by: &[("start.session-id.unique", "session ids that can be guessed")],
        spares: "start.request.repeated",
        plant: |wire| issues(wire, |sessions| 1000 + sessions),
    },
    Fault {
        name: "gives all sessions one id",
        of: BARE_EXIT,
        found_by: &[("start.session-id.unique", "twice")],
        spares: "start.request.repeated",
        plant: |wire| issues(wire, |_| 1000),
    },
    Fault {
        name: "issues session ids that are no tags",
        of: EXIT,
        found_by: &[("start.request.granted", "is no tag of a session")],
        spares: "start.version",
        plant: |wire| {
            edit(wire, |_, message| {
                if let Message::SessionEstablished { session_id, .. } = message {
                    *session_id = wire::number(1 << 61);
                }
            })
        },
    },
    Fault {
        name: "refuses capabilities that it does not know",
        of: EXIT,
        found_by: &[("start.capabilities.unknown", "refused for the reason 0")],
        spares: "start.request.granted",
        plant: |wire| {
            intercept(wire, |_, message| match message {
                Message::StartSession(request) if request.capabilities & 0xc0 != 0 => {
                    Some(Message::SessionError { challenge: request.challenge, reason: 0 })
                }
                _ => None,
            })
        },
    },
    Fault {
        name: "knows only one capability that makes a session reliable",
        of: EXIT,
        found_by: &[("start.capabilities.reliable", "the frame is acknowledged: not within")],
        spares: "start.capabilities.unknown",
        plant: |wire| {
            edit(wire, |_, message| {
                if let Message::StartSession(request) = message
                    && request.capabilities & 4 == 0
                {
                    request.capabilities &= !2;
                }
            })
        },
    },
    Fault {
        name: "accepts requests of version 3",
        of: EXIT,
        found_by: &[("start.version", "an answer to what is none")],
        spares: "start.type",
        plant: |_| {
            raw(|letter| {
                if letter.is_start() && letter.message[0] == 3 {
                    letter.message[0] = 2;
                }
            })
        },
    },
    Fault {
        name: "takes unknown types for requests",
        of: EXIT,
        found_by: &[("start.type", "an answer to what is none")],
        spares: "start.version",
        plant: |_| {
            raw(|letter| {
                if letter.is_start() && letter.message[1] > 3 {
                    letter.message[1] = 0;
                }
            })
        },
    },
    Fault {
        name: "does not look at the length of a request",
        of: EXIT,
        found_by: &[("start.length", "an answer to what is none")],
        spares: "start.version",
        plant: |_| {
            raw(|letter| {
                if letter.goes_to_subject() && letter.is_start() {
                    mend_length(&mut letter.message);
                }
            })
        },
    },
    Fault {
        name: "is strict about lengths in hoprnet",
        of: HOPRNET_EXIT,
        found_by: &[("start.length", "no answer to the request")],
        spares: "start.version",
        plant: |_| {
            lose_raw(|letter| {
                let mut mended = letter.message.clone();
                mend_length(&mut mended);
                mended != letter.message
            })
        },
    },
    Fault {
        name: "answers requests that end early",
        of: EXIT,
        found_by: &[("start.truncated", "an answer to what is none")],
        spares: "start.cbor",
        plant: |wire| refuses_malformed(wire, 0..17),
    },
    Fault {
        name: "answers requests whose target is malformed",
        of: EXIT,
        found_by: &[("start.cbor", "an answer to what is none")],
        spares: "start.truncated",
        plant: |wire| refuses_malformed(wire, 17..usize::MAX),
    },
    Fault {
        name: "does not understand items of indefinite length",
        of: EXIT,
        found_by: &[("start.cbor.indefinite", "no answer to the request")],
        spares: "start.cbor",
        plant: |wire| {
            lose(
                wire,
                |_, message| matches!(message, Message::StartSession(request) if request.target[0] == 0x7f),
            )
        },
    },
    Fault {
        name: "follows items as deep as they nest",
        of: EXIT,
        found_by: &[("start.cbor.nesting", "an answer to what is none")],
        spares: "start.cbor",
        plant: |wire| {
            edit(wire, |_, message| {
                if let Message::StartSession(request) = message
                    && request.target.starts_with(&[0x81; 17])
                {
                    request.target = wire::number(17);
                }
            })
        },
    },
    Fault {
        name: "does not follow items that nest",
        of: EXIT,
        found_by: &[("start.cbor.nesting", "no answer to the request")],
        spares: "start.cbor",
        plant: |wire| {
            lose(
                wire,
                |_, message| matches!(message, Message::StartSession(request) if request.target[0] == 0x81),
            )
        },
    },
];

fn remembers_grants_for_ever(wire: Wire) -> Mischief {
    let mut grants = HashMap::new();
    intercept(wire, move |letter, message| match message {
        Message::SessionEstablished { challenge, .. } => {
            grants.insert((letter.peer, *challenge), message.clone());
            None
        }
        Message::StartSession(request) => grants.get(&(letter.peer, request.challenge)).cloned(),
        _ => None,
    })
}

/// The subject sees another challenge in each repetition, and the suite its own in the answers.
fn grants_repetitions_anew(wire: Wire) -> Mischief {
    let mut asked = HashSet::new();
    let mut originals = HashMap::new();
    edit(wire, move |letter, message| match message {
        Message::StartSession(request) => {
            let original = request.challenge;
            while !asked.insert((letter.peer, request.challenge)) {
                request.challenge = request.challenge.wrapping_add(1);
            }
            originals.insert((letter.peer, request.challenge), original);
        }
        Message::SessionEstablished { challenge, .. } | Message::SessionError { challenge, .. } => {
            *challenge = originals.get(&(letter.peer, *challenge)).copied().unwrap_or(*challenge);
        }
        _ => {}
    })
}

/// Session ids of the relay's own in bare framing, where a peer has one session.
fn issues(wire: Wire, id: fn(u64) -> u64) -> Mischief {
    let mut sessions: HashMap<_, (Vec<u8>, Vec<u8>)> = HashMap::new();
    edit(wire, move |letter, message| match (letter.way, message) {
        (FromSubject, Message::SessionEstablished { session_id, .. }) => {
            let count = sessions.len() as u64;
            let (_, issued) = sessions
                .entry(letter.peer)
                .or_insert_with(|| (session_id.clone(), wire::number(id(count))));
            session_id.clone_from(issued);
        }
        (way, Message::KeepAlive { session_id, .. }) => {
            if let Some((real, issued)) = sessions.get(&letter.peer) {
                session_id.clone_from(if way == ToSubject { real } else { issued });
            }
        }
        _ => {}
    })
}

/// Malformed requests of these lengths are refused where they have to be ignored.
fn refuses_malformed(wire: Wire, lengths: std::ops::Range<usize>) -> Mischief {
    Box::new(move |letter: Letter| {
        let is_malformed = letter.is_start() && wire.decode(&letter.message).is_err();
        let challenge = letter.message.get(4..12).and_then(|bytes| bytes.first_chunk());
        match challenge {
            Some(challenge) if is_malformed && lengths.contains(&letter.message.len()) => {
                let challenge = u64::from_be_bytes(*challenge);
                let refusal = Message::SessionError { challenge, reason: 0 };
                vec![letter.returning(wire.encode(&refusal))]
            }
            _ => vec![letter],
        }
    })
}
