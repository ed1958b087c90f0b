//! The ways in which a reliable session ends.

use std::time::{Duration, Instant};

use towline_wire::Dialect;

use crate::case::{Case, Mode, RELIABLE, Stop, Verdict, failed, require, skipped};
use crate::script::Script;
use crate::session::{Session, terminating};
use crate::wire::{Message, Segment};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "data.finish.ours",
        rules: &["data#termination", "data#acknowledging", "data#terminating-segment"],
        asks: "A terminating frame is acknowledged, and the subject finishes with one of its own",
        of: RELIABLE,
        play: ours,
    },
    Case {
        id: "data.finish.form",
        rules: &["data#terminating-segment", "data#frame-ids"],
        asks: "The subject's terminating frame is one empty segment and follows its last frame",
        of: RELIABLE,
        play: form,
    },
    Case {
        id: "data.finish.lost",
        rules: &["data#termination"],
        asks: "A terminating frame that is not acknowledged is sent again",
        of: RELIABLE,
        play: lost,
    },
    Case {
        id: "data.finish.repeated",
        rules: &["data#termination"],
        asks: "An end that has closed acknowledges the peer's repetitions",
        of: RELIABLE,
        play: repeated,
    },
    Case {
        id: "data.finish.gap",
        rules: &["data#no-hole", "data#requesting"],
        asks: "What is missing before the terminating frame is requested, and the end waits for it",
        of: RELIABLE,
        play: gap,
    },
    Case {
        id: "data.finish.data",
        rules: &["data#terminating-segment"],
        asks: "Data in a terminating segment is ignored",
        of: RELIABLE,
        play: with_data,
    },
    Case {
        id: "data.finish.behind",
        rules: &["data#terminating-segment"],
        asks: "Frames behind the terminating one are ignored",
        of: RELIABLE,
        play: behind,
    },
    Case {
        id: "data.finish.early",
        rules: &["data#terminating-segment"],
        asks: "A terminating segment with an id below the highest is ignored",
        of: RELIABLE,
        play: early,
    },
    Case {
        id: "data.finish.pending",
        rules: &["data#acknowledging", "data#termination"],
        asks: "All frames are acknowledged before the session is closed",
        of: RELIABLE,
        play: pending,
    },
    Case {
        id: "data.half-close",
        rules: &["data#half-close"],
        asks: "The subject goes on sending after the peer has finished",
        of: RELIABLE,
        play: half_close,
    },
    Case {
        id: "data.finish.last-acknowledgement",
        rules: &["data#termination"],
        asks: "A session whose last acknowledgement never comes is over all the same",
        of: RELIABLE,
        play: last_acknowledgement,
    },
    Case {
        id: "data.abort.second-end",
        rules: &["data#abort"],
        asks: "A second terminating frame behind the first ends the session",
        of: RELIABLE,
        play: second_end,
    },
];

/// Ends both directions without acknowledging the subject's end, whose frame it returns.
fn close_unacknowledged(session: &mut Session<'_>) -> Result<u32, Stop> {
    session.echo(b"before the end")?;
    session.acknowledges = false;
    session.close()?;
    match session.heard.end() {
        Some(end) => Ok(end),
        None => failed("there is no end"),
    }
}

/// All that was said comes back, if the dialect leaves the subject the time to say it.
fn echoed_before_the_end(session: &mut Session<'_>) -> Verdict {
    if session.wire().dialect == Dialect::Hoprnet {
        return Ok(());
    }
    session.echoed()
}

fn ours(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"before the end")?;
    session.close()
}

fn form(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"one")?;
    session.echo(b"two")?;
    session.close()?;
    // A frame that follows it fails the case.
    session.listen(script.subject.times.ack_delay)?;
    let Some(end) = session.heard.end() else { return failed("there is no end") };
    let frame = &session.heard.frames[&end];
    // That it is empty was checked when it was read.
    require!(frame.count == 1, "the terminating frame has {} segments", frame.count);
    let last = session.heard.frames.keys().filter(|&&id| id != end).max().copied();
    require!(Some(end - 1) == last, "the terminating frame {end} follows frame {last:?}");
    Ok(())
}

fn lost(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let end = close_unacknowledged(&mut session)?;
    let times = script.subject.times;
    let limit = times.frame_timeout * 3 + times.patience;
    session.until_within(limit, "the terminating frame comes again", |heard| {
        heard.frames[&end].copies() > 1
    })?;
    session.acknowledge(&[end])
}

fn repeated(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"before the end")?;
    session.close()?;
    let end = session.next_frame() - 1;
    let before = session.heard.acknowledged[&end];
    session.say(&terminating(end))?;
    session.until("the terminating frame is acknowledged again", |heard| {
        heard.acknowledged[&end] > before
    })
}

fn gap(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"before, ")?;
    let missing = session.cut(b"missing", 1000);
    let (frame, end) = (session.next_frame() - 1, session.finish()?);
    let times = script.subject.times;
    let limit = times.frame_timeout + times.patience;
    session.until_within(limit, "a request for what is missing before the end", |heard| {
        heard.requests(frame).next().is_some()
    })?;
    require!(session.heard.end().is_none(), "the subject finishes though a frame is missing");
    for message in &missing {
        session.say(message)?;
    }
    echoed_before_the_end(&mut session)?;
    session.until("both ends are finished", |heard| {
        heard.acknowledged.contains_key(&end) && heard.end().is_some()
    })
}

fn with_data(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"all there is")?;
    let frame = session.next_frame();
    let data = b"not this".to_vec();
    let end = Segment { frame, index: 0, count: 1, terminating: true, data };
    session.say(&Message::Segment(end))?;
    session.until("the subject finishes", |heard| heard.end().is_some())?;
    // More than what was said would be found out here.
    session.echoed()
}

fn behind(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"all there is")?;
    let missing = session.cut(b", but this", 1000);
    let end = session.finish()?;
    let data = b"not this".to_vec();
    let behind = Segment { frame: end + 1, index: 0, count: 1, terminating: false, data };
    session.say_bytes(&peer.encode(&Message::Segment(behind)))?;
    for message in &missing {
        session.say(message)?;
    }
    session.until("the subject finishes", |heard| heard.end().is_some())?;
    echoed_before_the_end(&mut session)
}

fn early(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let missing = session.cut(b"one, ", 1000);
    session.send(b"two")?;
    session.say_bytes(&peer.encode(&terminating(1)))?;
    for message in &missing {
        session.say(message)?;
    }
    session.echoed()?;
    session.close()
}

fn pending(script: &Script<'_>) -> Verdict {
    const FRAMES: u32 = 40;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    for at in 0..FRAMES {
        session.send(&at.to_be_bytes())?;
    }
    let end = session.finish()?;
    session.until("every frame is acknowledged, the end included", |heard| {
        (1..=end).all(|frame| heard.acknowledged.contains_key(&frame))
    })?;
    session.until("the subject finishes", |heard| heard.end().is_some())?;
    echoed_before_the_end(&mut session)
}

fn half_close(script: &Script<'_>) -> Verdict {
    if script.subject.wire.dialect == Dialect::Hoprnet {
        return skipped("both directions close at once in this dialect");
    }
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let full = session.wire().segment_data() * 8;
    // More than is sent back before the end arrives, for a while nothing is acknowledged.
    session.acknowledges = false;
    for at in 0..40_u8 {
        session.send(&vec![at; full])?;
        // All of it at once would be too much for the buffers of most sockets.
        session.listen(Duration::from_millis(2))?;
    }
    session.finish()?;
    session.listen(Duration::from_millis(50))?;
    require!(session.heard.end().is_none(), "the subject finishes before all was sent back");
    session.acknowledges = true;
    let whole: Vec<u32> =
        session.heard.frames.iter().filter(|(_, it)| it.is_whole()).map(|(&id, _)| id).collect();
    session.acknowledge(&whole)?;
    // What this calls for at once may be more than the socket's buffer holds, and nothing asks for frames of which nothing
    // came: the subject sends them again one by one, each when it has waited for long enough.
    session.echoed_within(script.subject.times.patience * 8)?;
    session.until("the subject finishes", |heard| heard.end().is_some())
}

fn last_acknowledgement(script: &Script<'_>) -> Verdict {
    // What a side takes before it gives up the last acknowledgement is its own affair; this is long.
    let wait = Duration::from_secs(12);
    script.affords(wait)?;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let end = close_unacknowledged(&mut session)?;
    let deadline = Instant::now() + wait;
    let mut copies = session.heard.frames[&end].copies();
    let mut quiet_since = Instant::now();
    while Instant::now() < deadline {
        // The session's life is not in question.
        session.keep_alive()?;
        session.listen(Duration::from_millis(200))?;
        let now = session.heard.frames[&end].copies();
        if now > copies {
            (copies, quiet_since) = (now, Instant::now());
        } else if quiet_since.elapsed() > Duration::from_secs(5) {
            return Ok(());
        }
    }
    failed(format!("the terminating frame still comes after {wait:?}, {copies} times by now"))
}

fn second_end(script: &Script<'_>) -> Verdict {
    if script.subject.wire.dialect == Dialect::Hoprnet {
        return skipped("an end and an abort look alike in this dialect");
    }
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"before the end")?;
    let missing = session.cut(b"never comes", 1000);
    let end = session.finish()?;
    session.say_bytes(&peer.encode(&terminating(end + 1)))?;
    // The session is over: what was missing is of no use any more.
    session.listen(script.subject.times.ack_delay)?;
    for message in &missing {
        session.say(message)?;
    }
    session.listen(script.subject.times.ack_delay * 3)?;
    let acknowledged = session.heard.acknowledged.contains_key(&(end - 1));
    require!(!acknowledged, "the session goes on");
    Ok(())
}
