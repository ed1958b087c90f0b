//! Sessions asked of an exit.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use towline_wire::Dialect;

use crate::case::{Case, EXIT, Mode, Of, TAGGED, Verdict, failed, require, skipped};
use crate::script::{BUSY, Channel, NO_SLOTS, Peer, Script};
use crate::subject::Framing;
use crate::wire::{self, Message, StartSession};

const ALONE: Of = Of { alone: true, ..EXIT };

pub(super) const CASES: &[Case] = &[
    Case {
        id: "start.request.granted",
        rules: &["start#session-established", "start#session-id", "framing#session-tags"],
        asks: "A request is granted with its challenge, whatever that is",
        of: EXIT,
        play: request_granted,
    },
    Case {
        id: "start.request.repeated",
        rules: &["start#repeated-request"],
        asks: "A repeated request gets the same session",
        of: EXIT,
        play: request_repeated,
    },
    Case {
        id: "start.request.repeated-late",
        rules: &["start#repeated-request"],
        asks: "A request repeated after the session was confirmed gets the same session, unharmed",
        of: EXIT,
        play: request_repeated_late,
    },
    Case {
        id: "start.request.after-the-end",
        rules: &["start#repeated-request"],
        asks: "A request repeated when its session is over opens no other",
        of: EXIT,
        play: request_after_the_end,
    },
    Case {
        id: "start.request.same-challenge",
        rules: &["start#repeated-request"],
        asks: "The same challenge from another peer is another request",
        of: TAGGED,
        play: same_challenge,
    },
    Case {
        id: "start.request.answers",
        rules: &["start#admission"],
        asks: "One request gets one answer",
        of: EXIT,
        play: one_answer,
    },
    Case {
        id: "start.request.refused",
        rules: &["start#session-error", "start#decision", "start#repeated-request"],
        asks: "A target that cannot be reached is refused with the challenge, and again when repeated",
        of: EXIT,
        play: request_refused,
    },
    Case {
        id: "start.request.bare",
        rules: &["framing#bare"],
        asks: "In bare framing a second session from the same address is refused for lack of slots",
        of: EXIT,
        play: second_session_in_bare_framing,
    },
    Case {
        id: "start.session-id.unique",
        rules: &["start#session-id"],
        asks: "Session ids are unique and lie far apart",
        of: EXIT,
        play: session_ids,
    },
    Case {
        id: "start.capabilities.unknown",
        rules: &["start#capabilities"],
        asks: "Unknown capabilities and additional data are ignored",
        of: EXIT,
        play: unknown_capabilities,
    },
    Case {
        id: "start.capabilities.reliable",
        rules: &["start#capabilities"],
        asks: "Either kind of retransmission makes a session reliable",
        of: EXIT,
        play: reliable_capabilities,
    },
    Case {
        id: "start.capabilities.unreliable",
        rules: &["start#capabilities"],
        asks: "A session without retransmission acknowledges nothing",
        of: EXIT,
        play: unreliable_capabilities,
    },
    Case {
        id: "start.slots",
        rules: &["start#admission", "start#session-error"],
        asks: "When all slots are taken a request is refused for it, and one that is freed is granted again",
        of: ALONE,
        play: slots,
    },
    Case {
        id: "start.flood.requests",
        rules: &["start#admission"],
        asks: "A flood of requests gets at most an answer each, and an honest one is granted after it",
        of: ALONE,
        play: request_flood,
    },
];

fn request_granted(script: &Script<'_>) -> Verdict {
    for number in [0, 1, u64::MAX, crate::script::challenge()] {
        let peer = script.peer()?;
        let request = StartSession { challenge: number, ..peer.request(Mode::Reliable) };
        let id = peer.granted(&request)?;
        peer.enter(id, Mode::Reliable)?.echo(b"granted")?;
    }
    Ok(())
}

fn request_repeated(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let request = peer.request(Mode::Reliable);
    let first = peer.granted(&request)?;
    for _ in 0..3 {
        let again = peer.granted(&request)?;
        require!(
            again == first,
            "first the session {}, then the session {}",
            hex::encode(&first),
            hex::encode(&again)
        );
    }
    peer.enter(first, Mode::Reliable)?.echo(b"one session")
}

fn request_repeated_late(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let request = peer.request(Mode::Reliable);
    let first = peer.granted(&request)?;
    let mut session = peer.enter(first.clone(), Mode::Reliable)?;
    session.echo(b"before")?;
    let again = peer.granted(&request)?;
    require!(again == first, "another session: {}", hex::encode(&again));
    session.echo(b"after")
}

fn request_after_the_end(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let request = peer.request(Mode::Reliable);
    let first = peer.granted(&request)?;
    let mut session = peer.enter(first.clone(), Mode::Reliable)?;
    session.echo(b"over soon")?;
    session.close()?;
    // Its duplicates may be answered for a while yet, and until then it is not over.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match peer.ask(&request)? {
            Err(_) => return Ok(()),
            Ok(id) => require!(id == first, "a second session {}", hex::encode(&id)),
        }
        thread::sleep(Duration::from_millis(200));
    }
    failed("the session is granted again long after its end")
}

fn same_challenge(script: &Script<'_>) -> Verdict {
    let (one, other) = (script.peer()?, script.peer()?);
    let request = one.request(Mode::Reliable);
    let first = one.granted(&request)?;
    let second = other.granted(&request)?;
    require!(first != second, "both peers got the session {}", hex::encode(&first));
    one.enter(first, Mode::Reliable)?.echo(b"one")?;
    other.enter(second, Mode::Reliable)?.echo(b"other")
}

fn one_answer(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut before = 0;
    // The subject may be busy with other cases, which is an answer as well.
    loop {
        let request = peer.request(Mode::Reliable);
        peer.say(Channel::Start, &peer.encode(&Message::StartSession(request.clone())))?;
        let granted = peer.answer(request.challenge)?;
        thread::sleep(Duration::from_millis(50));
        let second = peer.hear(Channel::Start, Instant::now())?;
        require!(second.is_none(), "a second answer to one request");
        match granted {
            Ok(id) => return peer.enter(id, Mode::Reliable)?.echo(b"answered"),
            Err(BUSY | NO_SLOTS) if before < 50 => before += 1,
            Err(reason) => return failed(format!("refused for the reason {reason}")),
        }
    }
}

fn request_refused(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    // The top-level domain that never is (RFC 6761).
    let request =
        StartSession { target: wire::text("refused.invalid:9"), ..peer.request(Mode::Reliable) };
    let patience = Duration::from_secs(10).max(script.subject.times.patience);
    let deadline = Instant::now() + patience;
    peer.say(Channel::Start, &peer.encode(&Message::StartSession(request.clone())))?;
    let reason = loop {
        match peer.hear(Channel::Start, deadline)? {
            Some(Message::SessionError { challenge, reason }) => {
                require!(challenge == request.challenge, "a refusal of another request");
                break reason;
            }
            Some(Message::SessionEstablished { .. }) => {
                return skipped("the exit grants sessions to targets that do not exist");
            }
            Some(_) => {}
            None => return failed(format!("no answer within {patience:?}")),
        }
    };
    match peer.ask(&request)? {
        Err(again) if again == reason => Ok(()),
        Err(again) => failed(format!("first the reason {reason}, then {again}")),
        Ok(_) => failed("a refused request is granted when it is repeated"),
    }
}

fn second_session_in_bare_framing(script: &Script<'_>) -> Verdict {
    if script.subject.framing != Framing::Bare {
        return skipped("there are tags");
    }
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"first")?;
    match peer.ask(&peer.request(Mode::Reliable))? {
        Err(NO_SLOTS) => session.echo(b"unharmed"),
        Err(reason) => failed(format!("refused for the reason {reason}")),
        Ok(_) => failed("a second session from the same address"),
    }
}

fn session_ids(script: &Script<'_>) -> Verdict {
    const SESSIONS: usize = 8;
    let mut ids = BTreeSet::new();
    let mut numbers = Vec::new();
    for _ in 0..SESSIONS {
        let peer = script.peer()?;
        let mut session = peer.open(Mode::Reliable)?;
        numbers.extend(wire::as_number(session.id()));
        require!(ids.insert(session.id().to_vec()), "{} twice", hex::encode(session.id()));
        session.close()?;
    }
    // A counter would be as unique, and known to everybody. By chance eight of 2^61 lie this close to each
    // other once in a billion runs.
    numbers.sort_unstable();
    let close = numbers.windows(2).find(|pair| pair[1] - pair[0] < 1 << 26);
    require!(close.is_none(), "session ids that can be guessed: {close:?}");
    Ok(())
}

fn unknown_capabilities(script: &Script<'_>) -> Verdict {
    if script.subject.wire.dialect == Dialect::Hoprnet {
        return skipped("peers of this dialect refuse them");
    }
    let peer = script.peer()?;
    let request = StartSession {
        capabilities: 0x8e,
        additional_data: 0xdead_beef,
        ..peer.request(Mode::Reliable)
    };
    let id = peer.granted(&request)?;
    peer.enter(id, Mode::Reliable)?.echo(b"whatever they mean")
}

fn reliable_capabilities(script: &Script<'_>) -> Verdict {
    for capabilities in [0x0a, 0x0c, 0x0e] {
        let peer = script.peer()?;
        let request = StartSession { capabilities, ..peer.request(Mode::Reliable) };
        let id = peer.granted(&request)?;
        let mut session = peer.enter(id, Mode::Reliable)?;
        let frame = session.send(b"reliable")?;
        session
            .until("the frame is acknowledged", |heard| heard.acknowledged.contains_key(&frame))?;
        session.echoed()?;
    }
    Ok(())
}

fn unreliable_capabilities(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Unreliable)?;
    session.echo(b"unreliable")?;
    // The session fails the case if anything but segments comes.
    session.listen(script.subject.times.ack_delay * 3)
}

fn slots(script: &Script<'_>) -> Verdict {
    let Some(slots) = script.subject.slots else {
        return skipped("it is not known how many slots there are: --slots tells");
    };
    // In bare framing a session needs an address of its own.
    let peers: Vec<Peer<'_>> = (0..=slots).map(|_| script.peer()).collect::<Result<_, _>>()?;
    let mut sessions = Vec::new();
    let mut refused = None;
    for peer in &peers {
        match peer.ask_patiently(&peer.request(Mode::Reliable), |reason| reason == BUSY)? {
            Ok(id) => sessions.push(peer.enter(id, Mode::Reliable)?),
            Err(reason) => {
                refused = Some((peer, reason));
                break;
            }
        }
    }
    let Some((turned_away, reason)) = refused else {
        return failed(format!("{} sessions in {slots} slots", sessions.len()));
    };
    require!(reason == NO_SLOTS, "refused for the reason {reason} when all slots are taken");
    let Some(mut session) = sessions.pop() else {
        return skipped("others take all the slots");
    };
    session.echo(b"unharmed")?;
    session.close()?;
    // The slot is free once the last duplicates cannot matter any more.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let request = turned_away.request(Mode::Reliable);
        if let Ok(id) = turned_away.ask_patiently(&request, |reason| reason == BUSY)? {
            return turned_away.enter(id, Mode::Reliable)?.echo(b"at last");
        }
        // The other sessions must not fall silent meanwhile.
        for session in &sessions {
            session.keep_alive()?;
        }
        thread::sleep(Duration::from_millis(200));
    }
    failed("the slot of a session that is over stays taken")
}

fn request_flood(script: &Script<'_>) -> Verdict {
    const REQUESTS: u64 = 3000;
    let peer = script.peer()?;
    let template = peer.request(Mode::Reliable);
    let first = template.challenge >> 16 << 16;
    let mut answers = Vec::new();
    for challenge in first..first + REQUESTS {
        let request = StartSession { challenge, ..template.clone() };
        peer.say(Channel::Start, &peer.encode(&Message::StartSession(request)))?;
        // What is not taken from the socket in time is lost.
        if challenge % 100 == 0 {
            while let Some(message) = peer.hear(Channel::Start, Instant::now())? {
                answers.push(message);
            }
        }
    }
    let deadline = Instant::now() + script.subject.times.patience;
    while let Some(message) = peer.hear(Channel::Start, deadline)? {
        answers.push(message);
    }
    let mut answered = BTreeSet::new();
    for message in answers {
        let challenge = match message {
            Message::SessionEstablished { challenge, .. } => challenge,
            Message::SessionError { challenge, reason: BUSY | NO_SLOTS } => challenge,
            Message::SessionError { reason, .. } => {
                return failed(format!("a request of a flood is refused for the reason {reason}"));
            }
            _ => continue,
        };
        require!((first..first + REQUESTS).contains(&challenge), "an answer to no request");
        require!(answered.insert(challenge), "two answers to one request");
    }
    let honest = script.peer()?;
    honest.open(Mode::Reliable)?.echo(b"after the flood")
}
