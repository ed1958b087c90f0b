//! Whoever asks for sessions, met by a scripted responder.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use towline_wire::Dialect;

use super::data_send::are_numbered;
use crate::case::{Case, INITIATOR, Mode, Of, Stop, Verdict, failed, require};
use crate::script::{Channel, Peer, Script};
use crate::session::Session;
use crate::wire::{self, Message, StartSession};

const TAGGED: Of = Of { tagged: true, ..INITIATOR };

pub(super) const CASES: &[Case] = &[
    Case {
        id: "initiator.request.form",
        rules: &["start#start-session", "start#capabilities", "start#header"],
        asks: "A request is well-formed and asks for what the dialect knows",
        of: INITIATOR,
        play: form,
    },
    Case {
        id: "initiator.request.repeated",
        rules: &["start#requesting"],
        asks: "A request that is not answered is repeated as it was, at growing intervals",
        of: INITIATOR,
        play: repeated,
    },
    Case {
        id: "initiator.request.answered",
        rules: &["start#requesting"],
        asks: "A request that was granted is not repeated",
        of: INITIATOR,
        play: answered,
    },
    Case {
        id: "initiator.request.refused",
        rules: &["start#requesting", "start#unknown-reasons"],
        asks: "A request that was refused, for a known reason or not, is not repeated",
        of: INITIATOR,
        play: refused,
    },
    Case {
        id: "initiator.challenge",
        rules: &["start#challenge"],
        asks: "Challenges differ and lie far apart",
        of: INITIATOR,
        play: challenges,
    },
    Case {
        id: "initiator.answer.foreign",
        rules: &["start#challenge"],
        asks: "Answers with a challenge of no request are ignored",
        of: INITIATOR,
        play: foreign_challenge,
    },
    Case {
        id: "initiator.answer.stranger",
        rules: &["start#challenge"],
        asks: "Answers of somebody who was not asked are ignored",
        of: INITIATOR,
        play: stranger,
    },
    Case {
        id: "initiator.answer.malformed",
        rules: &["start#header", "start#session-established", "start#cbor"],
        asks: "Answers that are malformed or of another version are ignored",
        of: INITIATOR,
        play: malformed,
    },
    Case {
        id: "initiator.answer.repeated",
        rules: &["start#answers"],
        asks: "A repeated grant is answered by another keep-alive",
        of: INITIATOR,
        play: answer_repeated,
    },
    Case {
        id: "initiator.answer.another",
        rules: &["start#answers"],
        asks: "A second grant with another session id is ignored",
        of: TAGGED,
        play: another_id,
    },
    Case {
        id: "initiator.answer.late-refusal",
        rules: &["start#answers"],
        asks: "A refusal that comes after the grant is ignored",
        of: INITIATOR,
        play: late_refusal,
    },
    Case {
        id: "initiator.session-id.bytes",
        rules: &["start#cbor", "start#keep-alive", "framing#session-tags"],
        asks: "The session id comes back in the very bytes in which it was sent",
        of: INITIATOR,
        play: id_bytes,
    },
    Case {
        id: "initiator.session-id.no-tag",
        rules: &["framing#session-tags"],
        asks: "A session whose id is no tag is given up",
        of: TAGGED,
        play: id_no_tag,
    },
    Case {
        id: "initiator.keep-alive.repeated",
        rules: &["start#liveness"],
        asks: "While the responder is silent the keep-alive is repeated",
        of: INITIATOR,
        play: keep_alive_repeated,
    },
    Case {
        id: "initiator.data",
        rules: &["data#frame-ids", "data#termination", "framing#session-tags"],
        asks: "The session's data comes under its tag and ends as it should",
        of: INITIATOR,
        play: data,
    },
    Case {
        id: "initiator.data.lost",
        rules: &["data#retransmission"],
        asks: "Data that is not acknowledged is sent again",
        of: INITIATOR,
        play: data_lost,
    },
];

/// A session id that no case has used, a tag as well.
fn session_id() -> Vec<u8> {
    wire::number(1 << 32 | crate::script::challenge() >> 16)
}

fn grant(peer: &Peer<'_>, request: &StartSession, session_id: &[u8]) -> Verdict {
    let session_id = session_id.to_vec();
    let challenge = request.challenge;
    peer.say(Channel::Start, &peer.encode(&Message::SessionEstablished { challenge, session_id }))
}

fn refuse(peer: &Peer<'_>, request: &StartSession, reason: u8) -> Verdict {
    let message = Message::SessionError { challenge: request.challenge, reason };
    peer.say(Channel::Start, &peer.encode(&message))
}

/// The id that the next keep-alive names.
fn keep_alive(peer: &Peer<'_>) -> Result<Vec<u8>, Stop> {
    peer.expect(Channel::Start, "keep-alive", |message| match message {
        Message::KeepAlive { session_id, .. } => Some(session_id),
        _ => None,
    })
}

/// Grants the request, and returns the session once it is confirmed.
fn open<'a>(peer: &'a Peer<'a>, request: &StartSession) -> Result<Session<'a>, Stop> {
    let id = session_id();
    grant(peer, request, &id)?;
    let named = keep_alive(peer)?;
    require!(named == id, "the keep-alive names the session {}", hex::encode(&named));
    let channel = peer.script.channel_of(&id)?;
    Ok(Session::new(peer, channel, id, Mode::Reliable))
}

/// Takes all that the initiator has to say, and ends the session as it does.
fn complete(session: &mut Session<'_>) -> Verdict {
    let limit = session.peer.script.subject.times.patience * 2;
    session.until_within(limit, "the initiator says something and finishes", |heard| {
        heard.end().is_some_and(|end| (1..end).all(|id| heard.frames.contains_key(&id)))
    })?;
    require!(!session.heard.stream().is_empty(), "the initiator says nothing");
    let frame = session.finish()?;
    session.until("our end is acknowledged", |heard| heard.acknowledged.contains_key(&frame))
}

fn form(script: &Script<'_>) -> Verdict {
    // That it is well-formed was checked when it was read.
    let (peer, request) = script.arrival()?;
    let known = if script.subject.wire.dialect == Dialect::Hoprnet { 0x1f } else { 0xff };
    let strange = request.capabilities & !known;
    require!(strange == 0, "asks for the capabilities {strange:#04x}, which peers refuse");
    complete(&mut open(&peer, &request)?)
}

fn repeated(script: &Script<'_>) -> Verdict {
    script.affords(Duration::from_secs(5))?;
    let (peer, request) = script.arrival()?;
    let mut times = vec![Instant::now()];
    for _ in 0..2 {
        let again =
            peer.expect(Channel::Start, "repetition of the request", |message| match message {
                Message::StartSession(again) if again.challenge == request.challenge => Some(again),
                _ => None,
            })?;
        require!(again == request, "the request is another when it is repeated");
        times.push(Instant::now());
    }
    complete(&mut open(&peer, &request)?)?;
    let (first, second) = (times[1] - times[0], times[2] - times[1]);
    require!(second > first * 5 / 4, "repeated after {first:?}, and again after {second:?}");
    Ok(())
}

fn answered(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let mut session = open(&peer, &request)?;
    complete(&mut session)?;
    is_not_repeated(&peer, &request)
}

fn refused(script: &Script<'_>) -> Verdict {
    for reason in [0, 1, 0x77] {
        let (peer, request) = script.arrival()?;
        refuse(&peer, &request, reason)?;
        is_not_repeated(&peer, &request)?;
    }
    Ok(())
}

fn is_not_repeated(peer: &Peer<'_>, request: &StartSession) -> Verdict {
    let deadline = Instant::now() + Duration::from_millis(1200);
    while let Some(message) = peer.hear(Channel::Start, deadline)? {
        let repeated = matches!(&message, Message::StartSession(again) if again == request);
        require!(!repeated, "the request is repeated after its answer");
    }
    Ok(())
}

fn challenges(script: &Script<'_>) -> Verdict {
    let mut challenges = BTreeSet::new();
    for _ in 0..6 {
        let (peer, request) = script.arrival()?;
        challenges.insert(request.challenge);
        refuse(&peer, &request, 0)?;
    }
    // By chance six numbers of 64 bits lie this close to each other less than once in a billion runs.
    let numbers: Vec<u64> = challenges.into_iter().collect();
    let close = numbers.windows(2).any(|pair| pair[1] - pair[0] < 1 << 26);
    require!(!close, "challenges that can be guessed: {numbers:x?}");
    Ok(())
}

fn foreign_challenge(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let foreign = StartSession { challenge: request.challenge ^ 1, ..request.clone() };
    grant(&peer, &foreign, &session_id())?;
    refuse(&peer, &foreign, 0)?;
    complete(&mut open(&peer, &request)?)
}

fn stranger(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let stranger = script.stranger_to(&peer)?;
    grant(&stranger, &request, &session_id())?;
    refuse(&stranger, &request, 0)?;
    complete(&mut open(&peer, &request)?)?;
    let answer = stranger.hear(Channel::Start, Instant::now())?;
    require!(answer.is_none(), "the stranger gets an answer");
    Ok(())
}

fn malformed(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let challenge = request.challenge;
    let good = peer.encode(&Message::SessionEstablished { challenge, session_id: session_id() });
    let mut wrongs: Vec<Vec<u8>> = (1..good.len()).map(|length| good[..length].to_vec()).collect();
    for (at, byte) in [(0, 1), (0, 3), (0, 0xff), (1, 4), (1, 0xff)] {
        let mut wrong = good.clone();
        wrong[at] = byte;
        wrongs.push(wrong);
    }
    if script.subject.wire.dialect != Dialect::Hoprnet {
        wrongs.push([&good[..], &[0]].concat());
        let mut longer = [&good[..], &[0]].concat();
        longer[3] += 1;
        wrongs.push(longer);
    }
    for wrong in &wrongs {
        peer.say(Channel::Start, wrong)?;
    }
    complete(&mut open(&peer, &request)?)
}

fn answer_repeated(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let mut session = open(&peer, &request)?;
    // Once it has heard of us, it sends no keep-alive but in answer, or when nothing was said for long.
    session.keep_alive()?;
    let times = script.subject.times;
    let wait = times.patience.min(times.idle / 5);
    session.listen(wait / 2)?;
    while peer.hear(Channel::Start, Instant::now())?.is_some() {}
    grant(&peer, &request, session.id())?;
    let deadline = Instant::now() + wait;
    loop {
        match peer.hear(Channel::Start, deadline)? {
            Some(Message::KeepAlive { session_id, .. }) if session_id == session.id() => break,
            // It asks for the next session, and knows nothing of our waiting.
            Some(Message::StartSession(_)) => {}
            Some(other) => return failed(format!("instead of a keep-alive: {other}")),
            None => return failed(format!("no keep-alive within {wait:?}")),
        }
    }
    complete(&mut session)
}

fn another_id(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let mut session = open(&peer, &request)?;
    let other = session_id();
    grant(&peer, &request, &other)?;
    complete(&mut session)?;
    while let Some(message) = peer.hear(Channel::Start, Instant::now())? {
        let named =
            matches!(&message, Message::KeepAlive { session_id, .. } if *session_id == other);
        require!(!named, "the second grant is answered");
    }
    Ok(())
}

fn late_refusal(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let mut session = open(&peer, &request)?;
    refuse(&peer, &request, 2)?;
    complete(&mut session)
}

fn id_bytes(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    // A number in more bytes than it needs, as CBOR allows.
    let number = 1 << 20 | crate::script::challenge() >> 48;
    let id = [&[0x1b], &number.to_be_bytes()[..]].concat();
    grant(&peer, &request, &id)?;
    let named = keep_alive(&peer)?;
    require!(named == id, "{} came back as {}", hex::encode(&id), hex::encode(&named));
    let channel = script.channel_of(&id)?;
    complete(&mut Session::new(&peer, channel, id, Mode::Reliable))
}

fn id_no_tag(script: &Script<'_>) -> Verdict {
    let (mut peer, mut request) = script.arrival()?;
    for id in [wire::text("no tag"), wire::number(14), wire::number(1 << 61)] {
        grant(&peer, &request, &id)?;
        // It asks for another session instead, at once or in its own time.
        let (next_peer, next) = script.next_arrival(&peer)?;
        (peer, request) = (next_peer, next);
    }
    complete(&mut open(&peer, &request)?)
}

fn keep_alive_repeated(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let id = session_id();
    grant(&peer, &request, &id)?;
    for _ in 0..3 {
        let named = keep_alive(&peer)?;
        require!(named == id, "the keep-alive names another session");
    }
    let channel = script.channel_of(&id)?;
    complete(&mut Session::new(&peer, channel, id, Mode::Reliable))
}

fn data(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let mut session = open(&peer, &request)?;
    complete(&mut session)?;
    are_numbered(&session)
}

fn data_lost(script: &Script<'_>) -> Verdict {
    let (peer, request) = script.arrival()?;
    let mut session = open(&peer, &request)?;
    session.acknowledges = false;
    let times = script.subject.times;
    let limit = times.frame_timeout * 3 + times.patience;
    session.until_within(limit, "the first frame comes again", |heard| {
        heard.frames.get(&1).is_some_and(|frame| frame.copies() > usize::from(frame.count))
    })?;
    session.acknowledges = true;
    let Some(end) = session.heard.frames.last_key_value().map(|(&id, _)| id) else {
        return failed("there is no frame");
    };
    session.acknowledge(&(1..=end).collect::<Vec<u32>>())?;
    complete(&mut session)
}
