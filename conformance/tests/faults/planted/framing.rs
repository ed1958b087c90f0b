//! Exits that lose track of whose message is whose.

use std::collections::HashMap;
use std::net::SocketAddr;

use towline_conformance::wire::{Message, Wire, as_number};

use super::{EXIT, Fault};
use crate::mischief::{Letter, Mischief, intercept, lose_raw, raw};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "does not survive a datagram that is shorter than a tag",
        of: EXIT,
        found_by: &[("framing.tag.short", "bytes come back")],
        spares: "start.request.repeated",
        plant: |_| {
            let mut is_dead = false;
            lose_raw(move |letter| {
                is_dead |= letter.tag.is_none();
                is_dead
            })
        },
    },
    Fault {
        name: "does not look at the reserved bits of a tag",
        of: EXIT,
        found_by: &[("framing.tag.reserved", "byte 0 of what comes back")],
        spares: "framing.tag.nobody",
        plant: |_| raw(|letter| letter.tag = letter.tag.map(|tag| tag & (u64::MAX >> 3))),
    },
    Fault {
        name: "sets a reserved bit of its tags",
        of: EXIT,
        found_by: &[("framing.tag.separate", "no tag to send with")],
        spares: "start.version",
        plant: |_| answers_under(|tag| tag | 1 << 63),
    },
    Fault {
        name: "answers under another tag",
        of: EXIT,
        found_by: &[("framing.tag.separate", "bytes come back")],
        spares: "start.keep-alive.answered",
        plant: |_| answers_under(|tag| tag ^ 1 << 40),
    },
    Fault {
        name: "takes a tag that is nobody's for that of the peer's session",
        of: EXIT,
        found_by: &[("framing.tag.nobody", "byte 0 of what comes back")],
        spares: "framing.tag.reserved",
        plant: |wire| {
            let mut sessions = Sessions::default();
            raw(move |letter| {
                sessions.learn(wire, letter);
                let is_known = letter.tag.is_none_or(|tag| {
                    tag == 1 || tag >= 1 << 61 || sessions.owners.contains_key(&tag)
                });
                if letter.goes_to_subject() && !is_known {
                    letter.tag = sessions.latest.get(&letter.peer).copied();
                }
            })
        },
    },
    Fault {
        name: "sorts messages by their version instead of their tag",
        of: EXIT,
        found_by: &[("framing.tag.crossed", "byte 0 of what comes back")],
        spares: "framing.tag.reserved",
        plant: |wire| {
            let mut sessions = Sessions::default();
            raw(move |letter| {
                sessions.learn(wire, letter);
                if letter.is_start() && letter.message.first() == Some(&1) {
                    letter.tag = sessions.latest.get(&letter.peer).copied();
                }
            })
        },
    },
    Fault {
        name: "takes requests under the tag of a session",
        of: EXIT,
        found_by: &[("framing.tag.crossed", "an answer: session established")],
        spares: "framing.tag.reserved",
        plant: |wire| {
            let mut sessions = Sessions::default();
            raw(move |letter| {
                sessions.learn(wire, letter);
                let is_session = letter.tag.is_some_and(|tag| sessions.owners.contains_key(&tag));
                if is_session && letter.message.first() == Some(&2) {
                    letter.tag = Some(1);
                }
            })
        },
    },
    Fault {
        name: "takes a stranger for the peer whose tag it knows",
        of: EXIT,
        found_by: &[
            ("framing.tag.foreign", "byte 0 of what comes back"),
            ("start.half-open.foreign", "the session is still there"),
        ],
        spares: "framing.tag.nobody",
        plant: takes_strangers_for_peers,
    },
    Fault {
        name: "has one session with each peer",
        of: EXIT,
        found_by: &[("framing.tag.separate", "both sessions have one tag")],
        spares: "framing.tag.nobody",
        plant: |wire| {
            let mut grants = HashMap::new();
            intercept(wire, move |letter, message| match message {
                Message::SessionEstablished { session_id, .. } => {
                    grants.insert(letter.peer, session_id.clone());
                    None
                }
                Message::StartSession(request) if letter.is_start() => {
                    let session_id = grants.get(&letter.peer)?.clone();
                    let challenge = request.challenge;
                    Some(Message::SessionEstablished { challenge, session_id })
                }
                _ => None,
            })
        },
    },
];

/// The tags of granted sessions, and whose they are.
#[derive(Default)]
struct Sessions {
    owners: HashMap<u64, SocketAddr>,
    latest: HashMap<SocketAddr, u64>,
}

impl Sessions {
    fn learn(&mut self, wire: Wire, letter: &Letter) {
        let Ok(Message::SessionEstablished { session_id, .. }) = wire.decode(&letter.message)
        else {
            return;
        };
        if let (false, Some(tag)) = (letter.goes_to_subject(), as_number(&session_id)) {
            self.owners.insert(tag, letter.peer);
            self.latest.insert(letter.peer, tag);
        }
    }
}

fn answers_under(change: fn(u64) -> u64) -> Mischief {
    raw(move |letter| {
        if !letter.goes_to_subject() && !letter.is_start() {
            letter.tag = letter.tag.map(change);
        }
    })
}

fn takes_strangers_for_peers(wire: Wire) -> Mischief {
    let mut sessions = Sessions::default();
    raw(move |letter| {
        sessions.learn(wire, letter);
        let named = match wire.decode(&letter.message) {
            Ok(Message::KeepAlive { session_id, .. }) => as_number(&session_id),
            _ => letter.tag,
        };
        let owner = named.and_then(|tag| sessions.owners.get(&tag));
        if let (true, Some(&owner)) = (letter.goes_to_subject(), owner) {
            letter.peer = owner;
        }
    })
}
