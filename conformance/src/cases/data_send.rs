//! What a sender sends, sends again, and does not.

use std::time::{Duration, Instant};

use crate::case::{Case, Mode, RELIABLE, Stop, Verdict, failed, require};
use crate::script::Script;
use crate::session::{Frame, Session};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "data.send.ids",
        rules: &["data#frame-ids"],
        asks: "Frame ids are 1, 2, 3 and so on",
        of: RELIABLE,
        play: ids,
    },
    Case {
        id: "data.send.segments",
        rules: &["data#segmentation", "data#length"],
        asks: "All segments of a frame but the last are full, and there are at most eight",
        of: RELIABLE,
        play: segmentation,
    },
    Case {
        id: "data.send.window",
        rules: &["data#send-window"],
        asks: "No more than 255 frames are sent and not acknowledged",
        of: RELIABLE,
        play: window,
    },
    Case {
        id: "data.send.again",
        rules: &["data#retransmission"],
        asks: "A frame that is not acknowledged is sent again, unasked",
        of: RELIABLE,
        play: unasked,
    },
    Case {
        id: "data.send.acknowledged",
        rules: &["data#answering-requests"],
        asks: "A frame that was acknowledged is not sent again, not even when asked for",
        of: RELIABLE,
        play: acknowledged,
    },
    Case {
        id: "data.send.requested",
        rules: &["data#answering-requests"],
        asks: "A request is answered with the segments that it names",
        of: RELIABLE,
        play: requested,
    },
    Case {
        id: "data.send.requested-whole",
        rules: &["data#answering-requests"],
        asks: "A request with every bit set brings the segments that there are",
        of: RELIABLE,
        play: requested_whole,
    },
    Case {
        id: "data.send.request-unsent",
        rules: &["data#answering-requests"],
        asks: "Requests for frames that were never sent do no harm",
        of: RELIABLE,
        play: request_unsent,
    },
    Case {
        id: "data.send.request-storm",
        rules: &["data#answering-requests"],
        asks: "A storm of requests is not answered at its pace",
        of: RELIABLE,
        play: request_storm,
    },
    Case {
        id: "data.send.acknowledge-unsent",
        rules: &["data#send-window"],
        asks: "Acknowledgements of what was never sent count for nothing later",
        of: RELIABLE,
        play: acknowledge_unsent,
    },
];

/// What the path looks like after [`look_far`]. On loopback everything comes at once otherwise, asked for or not.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// Acknowledges so late that the subject measures a long path, and nothing from there on. Returns the last
/// frame that it has sent.
fn look_far(session: &mut Session<'_>) -> Result<u32, Stop> {
    const FRAMES: u32 = 4;
    session.acknowledges = false;
    for id in 1..=FRAMES {
        session.send(b"x")?;
        session.until("the echo of a frame", |heard| heard.frames.contains_key(&id))?;
        session.listen(ROUND_TRIP)?;
        session.acknowledge(&[id])?;
    }
    Ok(FRAMES)
}

/// The frame is not sent again, for as long as a sender might take to do so.
pub(super) fn stays_quiet(session: &mut Session<'_>, frame: u32) -> Verdict {
    let times = session.peer.script.subject.times;
    // What was under way when the acknowledgement was sent has come by now.
    session.listen(Duration::from_millis(50))?;
    let before = session.heard.frames.get(&frame).map_or(0, Frame::copies);
    session.listen(times.frame_timeout + times.ack_delay * 2)?;
    let after = session.heard.frames.get(&frame).map_or(0, Frame::copies);
    require!(after == before, "frame {frame} is sent again after it was acknowledged");
    Ok(())
}

fn ids(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    for words in [&b"one"[..], b"two", b"three"] {
        session.echo(words)?;
    }
    are_numbered(&session)
}

/// The subject's frames are 1, 2, 3 and so on.
pub(super) fn are_numbered(session: &Session<'_>) -> Verdict {
    let ids: Vec<u32> = session.heard.frames.keys().copied().collect();
    let expected: Vec<u32> = (1..=ids.len() as u32).collect();
    require!(ids == expected, "frame ids {ids:?}");
    Ok(())
}

fn segmentation(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let full = session.wire().segment_data();
    let data: Vec<u8> = (0..full * 20 + 3).map(|at| (at / 3) as u8).collect();
    for piece in data.chunks(full * 8) {
        session.send(piece)?;
    }
    session.echoed()?;
    let mut most = 0;
    for (id, frame) in &session.heard.frames {
        most = most.max(frame.count);
        let short = frame
            .segments
            .iter()
            .find(|&(&index, (data, _))| index + 1 < frame.count && data.len() != full);
        require!(short.is_none(), "frame {id} has a segment amid it that is not full");
        require!(frame.count <= 8, "frame {id} has {} segments", frame.count);
    }
    // An echo that cuts its bytes smaller than a segment shows nothing of this.
    require!(most > 1, "no frame has more than one segment");
    Ok(())
}

fn window(script: &Script<'_>) -> Verdict {
    const FRAMES: u32 = 300;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.acknowledges = false;
    // Frames so small that nothing but their number holds the sender up.
    for _ in 0..FRAMES {
        session.send(b"y")?;
        session.listen(Duration::from_micros(300))?;
    }
    session.listen(script.subject.times.frame_timeout)?;
    let sent = session.heard.frames.len();
    require!(sent <= 255, "{sent} frames are sent and not acknowledged");
    Ok(())
}

fn unasked(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.acknowledges = false;
    session.echo(b"not acknowledged")?;
    let id = last_frame(&session)?;
    let before = session.heard.frames[&id].copies();
    let times = script.subject.times;
    let limit = times.frame_timeout * 3 + times.patience;
    session.until_within(limit, "an unacknowledged frame is sent again", |heard| {
        heard.frames[&id].copies() > before
    })?;
    session.acknowledge(&[id])?;
    session.acknowledges = true;
    session.echo(b"and on")
}

fn acknowledged(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"acknowledged")?;
    stays_quiet(&mut session, 1)?;
    let before = session.heard.frames[&1].copies();
    for _ in 0..3 {
        session.request(1, 0xff)?;
    }
    session.echo(b"and on")?;
    let after = session.heard.frames[&1].copies();
    require!(after == before, "frame 1 is sent again when asked for after it was acknowledged");
    stays_quiet(&mut session, 1)
}

fn requested(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let frames = look_far(&mut session)?;
    let full = session.wire().segment_data();
    let data: Vec<u8> = (0..full * 6).map(|at| (at / 7) as u8).collect();
    session.send(&data)?;
    session.echoed()?;
    session.listen(ROUND_TRIP)?;
    let long = session.heard.frames.range(frames + 1..).find(|(_, frame)| frame.count > 2);
    let Some((&id, frame)) = long else {
        return failed("no frame of more than two segments: nothing to ask for by bits");
    };
    let wanted = frame.count - 2;
    // It may have been sent a moment ago; a peer that lacks it goes on asking.
    for _ in 0..40 {
        session.request(id, 1 << wanted)?;
        session.listen(Duration::from_millis(25))?;
        let segments = &session.heard.frames[&id].segments;
        let times = |index: u8| segments.get(&index).map_or(0, |&(_, times)| times);
        // Unasked, the frame would come whole, or its last segment to see whether anybody is there.
        if (0..wanted).all(|other| times(wanted) > times(other)) {
            return Ok(());
        }
    }
    failed(format!(
        "segment {wanted} of frame {id} is asked for, and comes no more often than others"
    ))
}

fn requested_whole(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"x")?;
    session.acknowledges = false;
    session.echo(b"asked for whole")?;
    let asked_for = last_frame(&session)?;
    session.echo(b"not asked for")?;
    let other = last_frame(&session)?;
    let deadline = Instant::now() + script.subject.times.patience;
    while Instant::now() < deadline {
        session.request(asked_for, 0xff)?;
        session.listen(Duration::from_millis(25))?;
        let copies = |frame| session.heard.frames[&frame].copies();
        // Unasked, both would be sent again as often.
        if copies(asked_for) >= copies(other) + 2 {
            return Ok(());
        }
    }
    failed(format!("frame {asked_for} is asked for in vain"))
}

/// The last frame that the subject has sent.
pub(super) fn last_frame(session: &Session<'_>) -> Result<u32, Stop> {
    match session.heard.frames.last_key_value() {
        Some((&id, _)) => Ok(id),
        None => failed("there is no frame"),
    }
}

fn request_unsent(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"sent")?;
    for frame in [2, 3, 200, 300, u32::MAX] {
        session.request(frame, 0xff)?;
    }
    session.listen(script.subject.times.ack_delay)?;
    let unsent = session.heard.frames.keys().find(|&&id| id > 1).copied();
    require!(unsent.is_none(), "a frame {unsent:?} of which there was nothing to send");
    session.echo(b", and on")
}

fn request_storm(script: &Script<'_>) -> Verdict {
    const REQUESTS: usize = 60;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let id = look_far(&mut session)? + 1;
    session.send(b"asked for again and again")?;
    session.until("the echo of a frame", |heard| heard.frames.contains_key(&id))?;
    session.listen(ROUND_TRIP)?;
    for _ in 0..REQUESTS {
        session.request(id, 0xff)?;
        session.listen(Duration::from_millis(2))?;
    }
    let copies = session.heard.frames[&id].copies();
    let few = copies < REQUESTS / 4;
    require!(few, "{copies} copies for {REQUESTS} requests in a round trip or two");
    session.acknowledge(&[id])?;
    session.acknowledges = true;
    session.echo(b", and on")
}

fn acknowledge_unsent(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.acknowledges = false;
    for frames in [&[1_u32, 2, 3][..], &[200, 5000, u32::MAX]] {
        session.acknowledge(frames)?;
    }
    session.send(b"not acknowledged yet")?;
    session.echoed()?;
    let before = session.heard.frames[&1].copies();
    let times = script.subject.times;
    let limit = times.frame_timeout * 3 + times.patience;
    session.until_within(limit, "a frame that was acknowledged too early comes again", |heard| {
        heard.frames[&1].copies() > before
    })
}
