//! Initiators that ask for sessions, and take answers, the wrong way.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use towline_conformance::wire::{self, Message, StartSession, Wire, as_number};
use towline_wire::Dialect;

use super::send::{forgets_what_it_sent, renumbers};
use super::{Fault, Honest, INITIATOR};
use crate::mischief::Way::FromSubject;
use crate::mischief::{Letter, Mischief, edit, invent, lose, raw};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "says its keep-alive once",
        of: INITIATOR,
        found_by: &[
            ("initiator.answer.repeated", "no keep-alive within"),
            ("initiator.keep-alive.repeated", "no keep-alive within"),
        ],
        spares: "initiator.data",
        plant: |wire| {
            let mut said = HashSet::new();
            lose(wire, move |_, message| match message {
                Message::KeepAlive { session_id, .. } => !said.insert(session_id.clone()),
                _ => false,
            })
        },
    },
    Fault {
        name: "asks again although it was answered",
        of: INITIATOR,
        found_by: &[
            ("initiator.request.answered", "the request is repeated after its answer"),
            ("initiator.request.refused", "the request is repeated after its answer"),
        ],
        spares: "initiator.data",
        plant: |wire| {
            invent(wire, |letter, message| match message {
                Message::StartSession(_) => {
                    let again = (1..6).map(|times| letter.clone().later(PAUSE * times));
                    again.collect()
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "asks once",
        of: INITIATOR,
        found_by: &[("initiator.request.repeated", "no repetition of the request within")],
        spares: "initiator.data",
        plant: |wire| {
            let mut asked = HashSet::new();
            lose(wire, move |_, message| match message {
                Message::StartSession(request) => !asked.insert(request.challenge),
                _ => false,
            })
        },
    },
    Fault {
        name: "asks again with another challenge",
        of: INITIATOR,
        found_by: &[("initiator.request.repeated", "no repetition of the request within")],
        spares: "initiator.data",
        plant: |wire| {
            repeats(wire, |request, times| {
                request.challenge = request.challenge.wrapping_add(times);
            })
        },
    },
    Fault {
        name: "asks for something else when it asks again",
        of: INITIATOR,
        found_by: &[("initiator.request.repeated", "the request is another when it is repeated")],
        spares: "initiator.data",
        plant: |wire| {
            repeats(wire, |request, times| request.capabilities ^= (times as u8 % 2) << 4)
        },
    },
    Fault {
        name: "asks at even intervals",
        of: INITIATOR,
        found_by: &[("initiator.request.repeated", "and again after")],
        spares: "initiator.data",
        plant: |wire| {
            let mut asked = HashSet::new();
            Box::new(move |letter| match wire.decode(&letter.message) {
                Ok(Message::StartSession(request)) => {
                    if !asked.insert(request.challenge) {
                        return Vec::new();
                    }
                    (0..8).map(|times| letter.clone().later(PAUSE * times)).collect()
                }
                _ => vec![letter],
            })
        },
    },
    Fault {
        name: "asks for capabilities that peers refuse in hoprnet",
        of: Honest::Initiator(Dialect::Hoprnet),
        found_by: &[("initiator.request.form", "asks for the capabilities 0x20")],
        spares: "initiator.data",
        plant: |wire| {
            edit(wire, |_, message| {
                if let Message::StartSession(request) = message {
                    request.capabilities |= 0x20;
                }
            })
        },
    },
    Fault {
        name: "counts its challenges",
        of: INITIATOR,
        found_by: &[("initiator.challenge", "challenges that can be guessed")],
        spares: "initiator.data",
        plant: counts_challenges,
    },
    Fault {
        name: "takes an answer with another challenge",
        of: INITIATOR,
        found_by: &[("initiator.answer.foreign", "the keep-alive names the session")],
        spares: "initiator.data",
        plant: |wire| {
            let mut asked = 0;
            edit(wire, move |_, message| match message {
                Message::StartSession(request) => asked = request.challenge,
                Message::SessionEstablished { challenge, .. }
                | Message::SessionError { challenge, .. } => *challenge = asked,
                _ => {}
            })
        },
    },
    Fault {
        name: "takes a stranger's answer",
        of: INITIATOR,
        found_by: &[("initiator.answer.stranger", "the keep-alive names the session")],
        spares: "initiator.data",
        plant: |_| {
            let mut responder = None;
            raw(move |letter| {
                let peer = *responder.get_or_insert(letter.peer);
                letter.peer = peer;
            })
        },
    },
    Fault {
        name: "does not look at the version of an answer",
        of: INITIATOR,
        found_by: &[("initiator.answer.malformed", "the keep-alive names the session")],
        spares: "initiator.answer.foreign",
        plant: |_| {
            raw(|letter| {
                if letter.goes_to_subject() && letter.tag == Some(1) {
                    letter.message[0] = 2;
                }
            })
        },
    },
    Fault {
        name: "takes a second grant with another session id",
        of: INITIATOR,
        found_by: &[("initiator.answer.another", "the second grant is answered")],
        spares: "initiator.answer.repeated",
        plant: |wire| {
            let mut grants = HashMap::new();
            invent(wire, move |letter, message| match message {
                Message::SessionEstablished { challenge, session_id } => {
                    let first = grants.entry(*challenge).or_insert_with(|| session_id.clone());
                    if first == session_id {
                        return Vec::new();
                    }
                    let session_id = session_id.clone();
                    let life = Message::KeepAlive { flags: 0, additional_data: 0, session_id };
                    vec![letter.returning(wire.encode(&life))]
                }
                _ => Vec::new(),
            })
        },
    },
    Fault {
        name: "gives a session up when it is refused after the grant",
        of: INITIATOR,
        found_by: &[("initiator.answer.late-refusal", "not within")],
        spares: "initiator.answer.repeated",
        plant: |wire| {
            let mut granted = HashSet::new();
            let mut is_over = false;
            lose(wire, move |letter, message| {
                match message {
                    Message::StartSession(request) => {
                        is_over &= granted.contains(&request.challenge);
                    }
                    Message::SessionEstablished { challenge, .. } => _ = granted.insert(*challenge),
                    Message::SessionError { challenge, .. } => {
                        is_over |= granted.contains(challenge);
                    }
                    _ => {}
                }
                is_over && !letter.is_start()
            })
        },
    },
    Fault {
        name: "writes session ids its own way",
        of: INITIATOR,
        found_by: &[("initiator.session-id.bytes", "came back as 1a")],
        spares: "initiator.data",
        plant: |wire| {
            edit(wire, |letter, message| {
                if let (FromSubject, Message::KeepAlive { session_id, .. }) = (letter.way, message)
                    && let Some(number) = as_number(session_id)
                {
                    *session_id = wire::number(number);
                }
            })
        },
    },
    Fault {
        name: "goes on with a session id that is no tag",
        of: INITIATOR,
        found_by: &[("initiator.session-id.no-tag", "no tag to send with")],
        spares: "initiator.data",
        plant: takes_any_session_id,
    },
    Fault {
        name: "leaves out frame ids as it greets",
        of: INITIATOR,
        found_by: &[("initiator.data", "the initiator says something and finishes: not within")],
        spares: "initiator.challenge",
        plant: |wire| renumbers(wire, |frame| frame * 2, |frame| frame / 2),
    },
    Fault {
        name: "greets under another tag than the session has",
        of: INITIATOR,
        found_by: &[("initiator.data", "the initiator says something and finishes: not within")],
        spares: "initiator.challenge",
        plant: |_| {
            raw(|letter| {
                if !letter.goes_to_subject() && !letter.is_start() {
                    letter.tag = letter.tag.map(|tag| tag ^ 1 << 40);
                }
            })
        },
    },
    Fault {
        name: "forgets its greeting once it is sent",
        of: INITIATOR,
        found_by: &[("initiator.data.lost", "the first frame comes again: not within")],
        spares: "initiator.data",
        plant: forgets_what_it_sent,
    },
];

const PAUSE: Duration = Duration::from_millis(300);

/// Changes requests by how often they were sent before.
fn repeats(wire: Wire, change: fn(&mut StartSession, u64)) -> Mischief {
    let mut asked: HashMap<u64, u64> = HashMap::new();
    edit(wire, move |_, message| {
        if let Message::StartSession(request) = message {
            let times = asked.entry(request.challenge).or_default();
            change(request, *times);
            *times += 1;
        }
    })
}

fn counts_challenges(wire: Wire) -> Mischief {
    let mut challenges: Vec<u64> = Vec::new();
    edit(wire, move |_, message| match message {
        Message::StartSession(request) => {
            let known = challenges.iter().position(|&known| known == request.challenge);
            let at = known.unwrap_or_else(|| {
                challenges.push(request.challenge);
                challenges.len() - 1
            });
            request.challenge = at as u64;
        }
        Message::SessionEstablished { challenge, .. } | Message::SessionError { challenge, .. } => {
            *challenge = challenges.get(*challenge as usize).copied().unwrap_or(*challenge);
        }
        _ => {}
    })
}

/// The initiator sees a tag in the place of what is none, and speaks under tag 14.
fn takes_any_session_id(wire: Wire) -> Mischief {
    const STAND_IN: u64 = 4711;
    Box::new(move |letter| {
        if letter.tag == Some(STAND_IN) && !letter.goes_to_subject() {
            return vec![Letter { tag: Some(14), ..letter }];
        }
        match wire.decode(&letter.message) {
            Ok(Message::SessionEstablished { challenge, session_id })
                if !as_number(&session_id).is_some_and(|id| (15..1 << 61).contains(&id)) =>
            {
                let session_id = wire::number(STAND_IN);
                let grant = Message::SessionEstablished { challenge, session_id };
                vec![letter.saying(wire.encode(&grant))]
            }
            _ => vec![letter],
        }
    })
}
