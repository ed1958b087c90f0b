//! Sessions in which what is lost stays lost.

use std::time::{Duration, Instant};

use crate::case::{Case, Mode, UNRELIABLE, Verdict, failed, require};
use crate::script::Script;
use crate::session::{Session, terminating};
use crate::wire::Message;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "data.unreliable.silent",
        rules: &["data#modes"],
        asks: "Neither acknowledgements nor requests are sent",
        of: UNRELIABLE,
        play: silent,
    },
    Case {
        id: "data.unreliable.deaf",
        rules: &["data#modes"],
        asks: "Acknowledgements and requests are ignored",
        of: UNRELIABLE,
        play: deaf,
    },
    Case {
        id: "data.unreliable.once",
        rules: &["data#unreliable"],
        asks: "Each segment is sent once",
        of: UNRELIABLE,
        play: once,
    },
    Case {
        id: "data.unreliable.reassembly",
        rules: &["data#reassembly"],
        asks: "Segments are joined by their index, and delivered once",
        of: UNRELIABLE,
        play: reassembly,
    },
    Case {
        id: "data.unreliable.gap",
        rules: &["data#unreliable"],
        asks: "A missing frame is given up within the frame timeout, and stays given up",
        of: UNRELIABLE,
        play: gap,
    },
    Case {
        id: "data.unreliable.depth",
        rules: &["data#unreliable"],
        asks: "A missing frame is given up once many wait behind it",
        of: UNRELIABLE,
        play: depth,
    },
    Case {
        id: "data.unreliable.jump",
        rules: &["data#receive-window"],
        asks: "One segment far ahead is not believed, and the session goes on where it was",
        of: UNRELIABLE,
        play: jump,
    },
    Case {
        id: "data.unreliable.finish",
        rules: &["data#unreliable", "data#literal-close", "data#terminating-segment"],
        asks: "A terminating segment ends both directions, though frames are missing before it",
        of: UNRELIABLE,
        play: finish,
    },
];

fn silent(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Unreliable)?;
    session.echo(b"one")?;
    // A gap, and a frame that stays incomplete: a reliable receiver would ask for both.
    session.cut(b"never sent", 1000);
    let messages = session.cut(b"not whole", 3);
    session.say(&messages[0])?;
    session.send(b"three")?;
    // The session fails the case if anything but segments comes.
    session.listen(script.subject.times.frame_timeout + script.subject.times.ack_delay)
}

fn deaf(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Unreliable)?;
    session.echo(b"one")?;
    session.acknowledge(&[1])?;
    session.request(1, 0xff)?;
    session.echo(b"two")?;
    require!(session.heard.frames[&1].copies() == 1, "a request is answered");
    Ok(())
}

fn once(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Unreliable)?;
    for words in [&b"one"[..], b"two", b"three"] {
        session.echo(words)?;
    }
    session.listen(script.subject.times.frame_timeout)?;
    for (id, frame) in &session.heard.frames {
        let copies = frame.copies();
        require!(copies == usize::from(frame.count), "frame {id} came in {copies} segments");
    }
    Ok(())
}

fn reassembly(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Unreliable)?;
    for order in 0..2 {
        let mut messages = session.cut(b"a frame of several segments", 6);
        match order {
            0 => messages.reverse(),
            _ => messages.rotate_left(2),
        }
        for message in messages.iter().chain(&messages) {
            session.say(message)?;
        }
        session.echoed()?;
    }
    session.echo(b", delivered once")
}

/// What has come back by now, frame by frame.
fn received(session: &Session<'_>) -> Vec<Vec<u8>> {
    session.heard.frames.values().map(crate::session::Frame::data).collect()
}

/// Waits until this frame has come back, and fails if `never` has.
fn comes_back(session: &mut Session<'_>, wanted: &[u8], never: &[u8]) -> Verdict {
    let times = session.peer.script.subject.times;
    let limit = times.frame_timeout + times.patience;
    session.until_within(limit, "what follows a missing frame comes back", |heard| {
        heard.frames.values().any(|frame| frame.data() == wanted)
    })?;
    let found = received(session).iter().any(|frame| frame == never);
    require!(!found, "a frame that was given up comes back");
    Ok(())
}

fn gap(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Unreliable)?;
    session.echo(b"before")?;
    let missing = session.cut(b"missing", 1000);
    session.send(b"after")?;
    comes_back(&mut session, b"after", b"missing")?;
    for message in &missing {
        session.say(message)?;
    }
    session.send(b"later")?;
    comes_back(&mut session, b"later", b"missing")
}

fn depth(script: &Script<'_>) -> Verdict {
    let timeout = script.subject.times.frame_timeout;
    let mut fastest = Duration::MAX;
    // A machine that is busy with other things may be late once.
    for _ in 0..3 {
        let peer = script.peer()?;
        let mut session = peer.open(Mode::Unreliable)?;
        session.echo(b"before")?;
        let started = Instant::now();
        let _missing = session.cut(b"missing", 1000);
        for at in 0..20_u8 {
            session.send(&[at; 4])?;
        }
        comes_back(&mut session, &[19; 4], b"missing")?;
        let frames = received(&session);
        let in_order = frames[1..].iter().zip(0..).all(|(frame, at)| frame == &[at; 4]);
        require!(in_order, "what waited comes back out of order or not at all");
        fastest = fastest.min(started.elapsed());
        if fastest < timeout {
            return Ok(());
        }
    }
    failed(format!("given up after {fastest:?}, as if nothing waited behind it"))
}

fn jump(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Unreliable)?;
    session.echo(b"one")?;
    for message in crate::session::segments(4_000_000, b"a lie", 1000) {
        session.say_bytes(&peer.encode(&message))?;
    }
    session.echo(b"two")
}

fn finish(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Unreliable)?;
    session.echo(b"before")?;
    let _missing = session.cut(b"missing", 1000);
    let end = session.finish()?;
    let times = script.subject.times;
    let limit = times.frame_timeout + times.patience;
    session.until_within(limit, "the subject finishes, too", |heard| heard.end().is_some())?;
    // It is over, and what comes late is not sent back.
    let late: Vec<Message> = crate::session::segments(end - 1, b"missing", 1000);
    for message in &late {
        session.say(message)?;
    }
    session.say_bytes(&peer.encode(&terminating(end)))?;
    session.listen(times.ack_delay)?;
    if received(&session).iter().any(|frame| frame == b"missing") {
        return failed("a frame that came after the end comes back");
    }
    Ok(())
}
