//! Sessions that are confirmed, kept alive, or not.

use std::thread;
use std::time::{Duration, Instant};

use towline_wire::Dialect;

use super::start_malformed::quiet_but_honest;
use crate::case::{Case, EXIT, Mode, Stop, TAGGED, Verdict, failed, require, skipped};
use crate::script::{Channel, Peer, Script};
use crate::session::{Session, segments};
use crate::wire::{self, Message, message_of};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "start.keep-alive.unknown",
        rules: &["start#half-open"],
        asks: "A keep-alive of an unknown session is not answered",
        of: EXIT,
        play: unknown_keep_alive,
    },
    Case {
        id: "start.keep-alive.answered",
        rules: &["start#half-open", "start#keep-alive"],
        asks: "The first keep-alive of a session is answered by another, with the same id",
        of: EXIT,
        play: keep_alive_answered,
    },
    Case {
        id: "start.keep-alive.flags",
        rules: &["start#keep-alive"],
        asks: "Flags of a keep-alive do not keep it from showing life",
        of: EXIT,
        play: keep_alive_flags,
    },
    Case {
        id: "start.keep-alive.width",
        rules: &["start#keep-alive"],
        asks: "A keep-alive of the other width is no life, in hoprnet it is",
        of: EXIT,
        play: keep_alive_width,
    },
    Case {
        id: "start.half-open.confirmed",
        rules: &["start#half-open"],
        asks: "A session that was confirmed outlives the half-open timeout",
        of: EXIT,
        play: confirmed,
    },
    Case {
        id: "start.half-open.by-data",
        rules: &["start#half-open"],
        asks: "Data confirms a session as well as a keep-alive does",
        of: EXIT,
        play: confirmed_by_data,
    },
    Case {
        id: "start.half-open.dropped",
        rules: &["start#half-open"],
        asks: "A session without life is dropped after the half-open timeout",
        of: EXIT,
        play: half_open_dropped,
    },
    Case {
        id: "start.half-open.foreign",
        rules: &["start#half-open"],
        asks: "Another peer's keep-alive confirms nothing",
        of: TAGGED,
        play: half_open_foreign,
    },
    Case {
        id: "start.liveness.keep-alives",
        rules: &["start#liveness"],
        asks: "A quiet session gets keep-alives",
        of: EXIT,
        play: keep_alives,
    },
    Case {
        id: "start.liveness.silence",
        rules: &["start#liveness"],
        asks: "A session without life for the idle timeout is over",
        of: EXIT,
        play: silence,
    },
];

fn unknown_keep_alive(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    for session_id in [wire::number(0x1234_5678), wire::number(1), wire::text("none")] {
        let message = Message::KeepAlive { flags: 0, additional_data: 0, session_id };
        peer.say(Channel::Start, &peer.encode(&message))?;
    }
    quiet_but_honest(&peer)
}

fn keep_alive_answered(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let id = peer.granted(&peer.request(Mode::Reliable))?;
    let _session = peer.enter(id.clone(), Mode::Reliable)?;
    // Before one comes that would have come anyway.
    let times = script.subject.times;
    let wait = times.patience.min(times.idle / 5);
    keeps_alive(&peer, &id, wait)
}

fn keep_alive_flags(script: &Script<'_>) -> Verdict {
    let flags: &[u8] =
        if script.subject.wire.dialect == Dialect::Hoprnet { &[1, 2] } else { &[1, 0x80, 0xff] };
    for &flags in flags {
        let peer = script.peer()?;
        let id = peer.granted(&peer.request(Mode::Reliable))?;
        let message = Message::KeepAlive { flags, additional_data: 7, session_id: id };
        peer.say(Channel::Start, &peer.encode(&message))?;
        shows_life(&peer)?;
    }
    Ok(())
}

fn keep_alive_width(script: &Script<'_>) -> Verdict {
    let wire = script.subject.wire;
    let other = if wire.dialect == Dialect::Rfc0007 { 8 } else { 4 };
    for _ in 0..100 {
        let peer = script.peer()?;
        let id = peer.granted(&peer.request(Mode::Reliable))?;
        let payload = [&vec![0; 1 + other], &id[..]].concat();
        if wire.dialect != Dialect::Hoprnet {
            peer.say(Channel::Start, &message_of(2, 3, &payload))?;
            return quiet_but_honest(&peer);
        }
        // Where an item begins after eight bytes, too, that is what counts.
        let is_ambiguous = payload
            .get(9..)
            .is_some_and(|rest| ciborium::from_reader::<ciborium::Value, _>(rest).is_ok());
        if !is_ambiguous {
            peer.say(Channel::Start, &message_of(2, 3, &payload))?;
            return shows_life(&peer);
        }
    }
    skipped("all its session ids can be read as another after four more bytes")
}

fn confirmed(script: &Script<'_>) -> Verdict {
    let wait = past_half_open(script)?;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.listen(wait)?;
    session.echo(b"still there")
}

fn confirmed_by_data(script: &Script<'_>) -> Verdict {
    let wait = past_half_open(script)?;
    let peer = script.peer()?;
    let id = peer.granted(&peer.request(Mode::Reliable))?;
    let channel = script.channel_of(&id)?;
    let mut session = Session::new(&peer, channel, id, Mode::Reliable);
    session.echo(b"no keep-alive before")?;
    session.listen(wait)?;
    session.echo(b"still there")
}

fn half_open_dropped(script: &Script<'_>) -> Verdict {
    let wait = past_half_open(script)?;
    let peer = script.peer()?;
    let id = peer.granted(&peer.request(Mode::Reliable))?;
    thread::sleep(wait);
    is_over(&peer, &id)
}

fn half_open_foreign(script: &Script<'_>) -> Verdict {
    let wait = past_half_open(script)?;
    let (peer, stranger) = (script.peer()?, script.peer()?);
    let id = peer.granted(&peer.request(Mode::Reliable))?;
    let message = Message::KeepAlive { flags: 0, additional_data: 0, session_id: id.clone() };
    stranger.say(Channel::Start, &stranger.encode(&message))?;
    thread::sleep(wait);
    is_over(&peer, &id)
}

fn keep_alives(script: &Script<'_>) -> Verdict {
    let wait = script.subject.times.idle / 3 * 5 / 4 + Duration::from_millis(500);
    script.affords(wait)?;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"before the silence")?;
    // What was said until now is no news.
    while peer.hear(Channel::Start, Instant::now())?.is_some() {}
    keeps_alive(&peer, session.id(), wait)
}

fn silence(script: &Script<'_>) -> Verdict {
    let wait = script.subject.times.idle * 5 / 4 + Duration::from_secs(1);
    script.affords(wait)?;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"last words")?;
    thread::sleep(wait);
    let id = session.id().to_vec();
    is_over(&peer, &id)
}

/// A time after which no session is half-open any more.
fn past_half_open(script: &Script<'_>) -> Result<Duration, Stop> {
    let wait = script.subject.times.half_open * 3 / 2;
    script.affords(wait)?;
    Ok(wait)
}

/// The next message of the handshake is a keep-alive of this session, and comes within `wait`.
fn keeps_alive(peer: &Peer<'_>, id: &[u8], wait: Duration) -> Verdict {
    match peer.hear(Channel::Start, Instant::now() + wait)? {
        Some(Message::KeepAlive { session_id, .. }) if session_id == id => Ok(()),
        Some(other) => failed(format!("instead of a keep-alive: {other}")),
        None => failed(format!("no keep-alive within {wait:?}")),
    }
}

/// The session that was granted before is confirmed: its keep-alive is answered.
fn shows_life(peer: &Peer<'_>) -> Verdict {
    peer.expect(Channel::Start, "keep-alive in return", |message| {
        matches!(message, Message::KeepAlive { .. }).then_some(())
    })
}

/// The session is over: what is said in it is not acknowledged, while an honest one goes on.
fn is_over(peer: &Peer<'_>, id: &[u8]) -> Verdict {
    let channel = peer.script.channel_of(id)?;
    // A frame that no session of this peer has had.
    for segment in segments(200, b"nobody hears", 1000) {
        peer.say(channel, &peer.encode(&segment))?;
    }
    let honest = peer.script.peer()?;
    honest.open(Mode::Reliable)?.echo(b"in another session")?;
    let acknowledged =
        |message| matches!(message, Message::Acknowledgement(frames) if frames.contains(&200));
    let deadline = Instant::now() + peer.script.subject.times.ack_delay * 3;
    while let Some(message) = peer.hear(channel, deadline)? {
        require!(!acknowledged(message), "the session is still there");
    }
    Ok(())
}
