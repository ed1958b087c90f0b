//! Segments of all kinds and in all orders, given to a receiver.

use std::thread;
use std::time::{Duration, Instant};

use crate::case::{Case, Mode, Of, RELIABLE, Verdict, failed, require};
use crate::script::Script;
use crate::session::Session;
use crate::wire::{Message, Segment};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "data.reassembly.order",
        rules: &["data#reassembly"],
        asks: "Segments are joined by their index, in whatever order they come",
        of: RELIABLE,
        play: orders,
    },
    Case {
        id: "data.reassembly.interleaved",
        rules: &["data#reassembly", "data#delivery"],
        asks: "Segments of several frames may come interleaved",
        of: RELIABLE,
        play: interleaved,
    },
    Case {
        id: "data.reassembly.duplicates",
        rules: &["data#reassembly"],
        asks: "Segments and frames that come several times are delivered once",
        of: RELIABLE,
        play: duplicates,
    },
    Case {
        id: "data.reassembly.most-segments",
        rules: &["data#segmentation"],
        asks: "A frame of as many segments as the dialect can count is understood",
        of: RELIABLE,
        play: most_segments,
    },
    Case {
        id: "data.reassembly.disagreement",
        rules: &["data#reassembly"],
        asks: "A segment that disagrees with its frame's first about the count or the end is ignored",
        of: RELIABLE,
        play: disagreement,
    },
    Case {
        id: "data.reassembly.empty",
        rules: &["data#segmentation"],
        asks: "An empty frame is a frame",
        of: RELIABLE,
        play: empty_frame,
    },
    Case {
        id: "data.delivery.order",
        rules: &["data#delivery", "data#no-hole"],
        asks: "Frames that come in reverse are delivered in their order",
        of: RELIABLE,
        play: frames_in_reverse,
    },
    Case {
        id: "data.delivery.hole",
        rules: &["data#no-hole"],
        asks: "Nothing behind a missing frame is delivered, for as long as it is missing",
        of: RELIABLE,
        play: hole,
    },
    Case {
        id: "data.window.inside",
        rules: &["data#receive-window"],
        asks: "The last frame of the window is kept",
        of: RELIABLE,
        play: inside_the_window,
    },
    Case {
        id: "data.window.outside",
        rules: &["data#receive-window"],
        asks: "The first frame behind the window is not taken",
        of: RELIABLE,
        play: outside_the_window,
    },
    Case {
        id: "data.acknowledgement.time",
        rules: &["data#acknowledging", "data#timing"],
        asks: "A whole frame is acknowledged within the acknowledgement delay",
        of: RELIABLE,
        play: acknowledged_in_time,
    },
    Case {
        id: "data.acknowledgement.out-of-turn",
        rules: &["data#acknowledging"],
        asks: "A frame is acknowledged though one before it is missing",
        of: RELIABLE,
        play: acknowledged_out_of_turn,
    },
    Case {
        id: "data.acknowledgement.incomplete",
        rules: &["data#acknowledging"],
        asks: "An incomplete frame is not acknowledged",
        of: RELIABLE,
        play: incomplete,
    },
    Case {
        id: "data.acknowledgement.again",
        rules: &["data#acknowledging"],
        asks: "A frame that comes again is acknowledged again",
        of: RELIABLE,
        play: acknowledged_again,
    },
    Case {
        id: "data.acknowledgement.pace",
        rules: &["data#acknowledging"],
        asks: "A flood of duplicates is not answered at its pace",
        of: RELIABLE,
        play: acknowledged_slowly,
    },
    Case {
        id: "data.acknowledgement.batch",
        rules: &["data#acknowledgement"],
        asks: "Many frames at once are acknowledged in fewer messages",
        of: RELIABLE,
        play: batched,
    },
    Case {
        id: "data.request.gap",
        rules: &["data#requesting", "data#request", "data#timing"],
        asks: "Missing segments are requested within the frame timeout, those and no others",
        of: RELIABLE,
        play: gap,
    },
    Case {
        id: "data.request.each",
        rules: &["data#request"],
        asks: "Each of the first eight segments is requested by its own bit",
        of: RELIABLE,
        play: each_bit,
    },
    Case {
        id: "data.request.frame",
        rules: &["data#requesting"],
        asks: "A frame of which nothing came is requested with every bit set",
        of: RELIABLE,
        play: whole_frame,
    },
    Case {
        id: "data.request.tail",
        rules: &["data#requesting"],
        asks: "Segments that stop coming are requested although nothing follows them",
        of: RELIABLE,
        play: tail,
    },
    Case {
        id: "data.request.ninth",
        rules: &["data#request", "data#requesting"],
        asks: "Segments past the eighth are not requested, and those before are",
        of: RELIABLE,
        play: past_the_eighth,
    },
    Case {
        id: "data.request.repeated",
        rules: &["data#requesting"],
        asks: "A request that is not answered is repeated",
        of: RELIABLE,
        play: repeated,
    },
    Case {
        id: "data.request.over",
        rules: &["data#requesting"],
        asks: "A frame that became whole is requested no more",
        of: RELIABLE,
        play: over,
    },
    Case {
        id: "data.flood",
        rules: &["data#bounds"],
        asks: "A flood of segments far and near does no harm",
        of: Of { alone: true, ..RELIABLE },
        play: flood,
    },
];

const WORDS: &[u8] = b"a frame of several segments";

fn say_all<'a>(
    session: &mut Session<'_>,
    messages: impl IntoIterator<Item = &'a Message>,
) -> Verdict {
    messages.into_iter().try_for_each(|message| session.say(message))
}

fn orders(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    for order in 0..3 {
        let mut messages = session.cut(WORDS, 6);
        match order {
            0 => messages.reverse(),
            1 => messages.rotate_left(2),
            _ => messages.swap(0, 3),
        }
        say_all(&mut session, &messages)?;
    }
    session.echoed_unrepeated()
}

fn interleaved(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let (one, two) = (session.cut(b"onetwothree", 3), session.cut(b"fourfivesix", 3));
    let alternating = one.iter().zip(&two).flat_map(|(one, two)| [two, one]);
    say_all(&mut session, alternating)?;
    session.echoed_unrepeated()
}

fn duplicates(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let messages = session.cut(WORDS, 6);
    for message in messages.iter().chain(&messages) {
        session.say(message)?;
        session.say(message)?;
    }
    session.echo(b", once")?;
    say_all(&mut session, &messages)?;
    session.echo(b" and only once")
}

fn most_segments(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let data: Vec<u8> = (0..script.subject.wire.max_segments() * 5).map(|at| at as u8).collect();
    let messages = session.cut(&data, 5);
    say_all(&mut session, messages.iter().rev())?;
    session.echoed_unrepeated()
}

fn disagreement(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let messages = session.cut(WORDS, 6);
    let count = messages.len() as u8;
    let [first, rest @ ..] = &messages[..] else { return Ok(()) };
    session.say(first)?;
    let data = b"xxxxxx".to_vec();
    let (frame, index) = (1, 1);
    for wrong in [
        Segment { frame, index, count: count - 1, terminating: false, data: data.clone() },
        Segment { frame, index, count: count + 1, terminating: false, data: data.clone() },
        Segment { frame, index, count, terminating: true, data },
    ] {
        session.say_bytes(&peer.encode(&Message::Segment(wrong)))?;
    }
    say_all(&mut session, rest)?;
    session.echoed_unrepeated()
}

fn empty_frame(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let empty = session.send(b"")?;
    session.echo(b"after nothing")?;
    session
        .until("the empty frame is acknowledged", |heard| heard.acknowledged.contains_key(&empty))
}

fn frames_in_reverse(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let frames = [b"one, ", b"two, ", b"three"].map(|words| session.cut(words, 1000));
    say_all(&mut session, frames.iter().rev().flatten())?;
    session.echoed_unrepeated()
}

fn hole(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"before, ")?;
    let missing = session.cut(b"between, ", 1000);
    session.send(b"after")?;
    session.listen(script.subject.times.frame_timeout * 3)?;
    let heard = session.heard.stream_len();
    require!(heard == 8, "{} bytes from behind the hole come back", heard - 8);
    say_all(&mut session, &missing)?;
    session.echoed()
}

/// Frames that a receiver takes beyond the last that it has delivered.
const WINDOW: u32 = 255;

fn inside_the_window(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let frames: Vec<Vec<Message>> =
        (0..WINDOW).map(|at| session.cut(&at.to_be_bytes(), 1000)).collect();
    say_all(&mut session, frames.last().into_iter().flatten())?;
    session.until("the last frame of the window is acknowledged", |heard| {
        heard.acknowledged.contains_key(&WINDOW)
    })?;
    say_all(&mut session, frames.iter().flatten())?;
    session.echoed()
}

fn outside_the_window(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let frames: Vec<Vec<Message>> =
        (0..=WINDOW).map(|at| session.cut(&at.to_be_bytes(), 1000)).collect();
    let (first, behind) = (frames.first(), frames.last());
    say_all(&mut session, behind.into_iter().flatten())?;
    session.listen(script.subject.times.ack_delay * 3)?;
    let acknowledged = session.heard.acknowledged.contains_key(&(WINDOW + 1));
    require!(!acknowledged, "a frame behind the window is acknowledged");
    say_all(&mut session, first.into_iter().flatten())?;
    session
        .until("the first frame is acknowledged", |heard| heard.acknowledged.contains_key(&1))?;
    say_all(&mut session, frames.iter().flatten())?;
    session.echoed()
}

fn acknowledged_in_time(script: &Script<'_>) -> Verdict {
    let times = script.subject.times;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    // A machine that is busy with other things may be late once.
    let mut fastest = times.patience;
    for _ in 0..5 {
        let started = Instant::now();
        let frame = session.send(b"in time")?;
        session
            .until("a frame is acknowledged", |heard| heard.acknowledged.contains_key(&frame))?;
        fastest = fastest.min(started.elapsed());
    }
    let limit = times.ack_delay + Duration::from_millis(50);
    require!(fastest <= limit, "acknowledged after {fastest:?} at the earliest");
    session.echoed()
}

fn acknowledged_out_of_turn(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let missing = session.cut(b"missing, ", 1000);
    let frame = session.send(b"there")?;
    session.until("a frame behind a missing one is acknowledged", |heard| {
        heard.acknowledged.contains_key(&frame)
    })?;
    say_all(&mut session, &missing)?;
    session.echoed()
}

fn incomplete(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let messages = session.cut(WORDS, 6);
    let Some((last, rest)) = messages.split_last() else { return Ok(()) };
    say_all(&mut session, rest)?;
    // The session fails the case when it hears of a frame that was not said whole.
    session.listen(script.subject.times.ack_delay * 3)?;
    session.say(last)?;
    session.echoed()
}

fn acknowledged_again(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let messages = session.cut(b"again", 1000);
    say_all(&mut session, &messages)?;
    session.echoed()?;
    session.listen(script.subject.times.ack_delay * 3)?;
    let before = session.heard.acknowledged.get(&1).copied().unwrap_or(0);
    require!(before > 0, "the frame is not acknowledged once");
    say_all(&mut session, &messages)?;
    session.until("the frame is acknowledged again", |heard| {
        heard.acknowledged.get(&1).is_some_and(|&times| times > before)
    })
}

fn acknowledged_slowly(script: &Script<'_>) -> Verdict {
    const DUPLICATES: usize = 300;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let messages = session.cut(b"again and again", 1000);
    say_all(&mut session, &messages)?;
    session.echoed()?;
    let before = session.heard.log.len();
    for _ in 0..DUPLICATES {
        say_all(&mut session, &messages)?;
    }
    session.echo(b" and on")?;
    let answers = session.heard.log.len() - before;
    require!(answers < DUPLICATES / 2, "{answers} answers to {DUPLICATES} duplicates");
    Ok(())
}

fn batched(script: &Script<'_>) -> Verdict {
    const FRAMES: u32 = 100;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    for at in 0..FRAMES {
        session.send(&at.to_be_bytes())?;
    }
    session.echoed()?;
    session.until("every frame is acknowledged", |heard| {
        (1..=FRAMES).all(|frame| heard.acknowledged.contains_key(&frame))
    })?;
    let is_acknowledgement = |message: &Message| matches!(message, Message::Acknowledgement(_));
    let messages = session.heard.log.iter().filter(|(_, message)| is_acknowledgement(message));
    let messages = messages.count();
    require!(messages <= FRAMES as usize / 2, "{messages} acknowledgements of {FRAMES} frames");
    Ok(())
}

/// Sends a frame of eight segments without those in `missing`, and another frame behind it if `followed`.
/// Returns what was left out.
fn leave_out(
    session: &mut Session<'_>,
    missing: u8,
    followed: bool,
) -> Result<Vec<Message>, crate::case::Stop> {
    let messages = session.cut(b"11112222333344445555666677778888", 4);
    let is_missing = |at: usize| missing & (1 << at) != 0;
    let mut left_out = Vec::new();
    for (at, message) in messages.into_iter().enumerate() {
        if is_missing(at) {
            left_out.push(message);
        } else {
            session.say(&message)?;
        }
    }
    if followed {
        session.send(b"behind it")?;
    }
    Ok(left_out)
}

/// Waits for the first request for a frame, and returns its bits.
fn first_request(session: &mut Session<'_>, frame: u32) -> Result<u8, crate::case::Stop> {
    let times = session.peer.script.subject.times;
    let limit = times.frame_timeout + times.patience;
    session.until_within(limit, "a request for what is missing", |heard| {
        heard.requests(frame).next().is_some()
    })?;
    match session.heard.requests(frame).next() {
        Some((_, bits)) => Ok(bits),
        None => failed("no request"),
    }
}

fn gap(script: &Script<'_>) -> Verdict {
    const MISSING: u8 = 0b0010_0110;
    let times = script.subject.times;
    let mut fastest = times.patience;
    for _ in 0..3 {
        let peer = script.peer()?;
        let mut session = peer.open(Mode::Reliable)?;
        let left_out = leave_out(&mut session, MISSING, true)?;
        let started = Instant::now();
        let bits = first_request(&mut session, 1)?;
        fastest = fastest.min(started.elapsed());
        require!(bits == MISSING, "requests {bits:08b} where {MISSING:08b} are missing");
        say_all(&mut session, &left_out)?;
        session.echoed()?;
    }
    let limit = times.frame_timeout + Duration::from_millis(100);
    require!(fastest <= limit, "requested after {fastest:?} at the earliest");
    Ok(())
}

fn each_bit(script: &Script<'_>) -> Verdict {
    for at in 0..8 {
        let peer = script.peer()?;
        let mut session = peer.open(Mode::Reliable)?;
        let left_out = leave_out(&mut session, 1 << at, true)?;
        let bits = first_request(&mut session, 1)?;
        require!(bits == 1 << at, "requests {bits:08b} where segment {at} is missing");
        say_all(&mut session, &left_out)?;
        session.echoed()?;
    }
    Ok(())
}

fn whole_frame(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let missing = session.cut(b"missing, ", 1000);
    session.send(b"there")?;
    let bits = first_request(&mut session, 1)?;
    require!(bits == 0xff, "requests {bits:08b} of a frame of which nothing came");
    say_all(&mut session, &missing)?;
    session.echoed()
}

fn tail(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let left_out = leave_out(&mut session, 0b1100_0000, false)?;
    let bits = first_request(&mut session, 1)?;
    require!(bits == 0b1100_0000, "requests {bits:08b} where the last two are missing");
    say_all(&mut session, &left_out)?;
    session.echoed()
}

fn past_the_eighth(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let data: Vec<u8> = (0..12).collect();
    let mut messages = session.cut(&data, 1);
    let ninth = messages.remove(9);
    let third = messages.remove(3);
    say_all(&mut session, &messages)?;
    session.send(b"behind it")?;
    let bits = first_request(&mut session, 1)?;
    require!(bits == 1 << 3, "requests {bits:08b} where segments 3 and 9 are missing");
    session.say(&third)?;
    let heard = session.heard.log.len();
    session.listen(script.subject.times.frame_timeout + script.subject.times.ack_delay)?;
    // One that was on its way already is no fault, but segment 9 has no bit.
    let later = session.heard.log[heard..].iter().filter_map(|(_, message)| match message {
        Message::Request(entries) => Some(entries),
        _ => None,
    });
    let strange = later.flatten().find(|&&(frame, bits)| frame != 1 || bits != 1 << 3);
    require!(strange.is_none(), "requests {strange:?} where segment 9 is missing");
    session.say(&ninth)?;
    session.echoed()
}

fn repeated(script: &Script<'_>) -> Verdict {
    let times = script.subject.times;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let left_out = leave_out(&mut session, 1, true)?;
    let limit = times.frame_timeout * 6 + times.patience;
    session.until_within(limit, "a third request for what is still missing", |heard| {
        heard.requests(1).nth(2).is_some()
    })?;
    let other = session.heard.requests(1).find(|&(_, bits)| bits != 1);
    require!(
        other.is_none(),
        "requests {:08b} where the first is missing",
        other.map_or(0, |it| it.1)
    );
    say_all(&mut session, &left_out)?;
    session.echoed()
}

fn over(script: &Script<'_>) -> Verdict {
    let times = script.subject.times;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let left_out = leave_out(&mut session, 0b1001, true)?;
    first_request(&mut session, 1)?;
    say_all(&mut session, &left_out)?;
    session.echo(b"whole by now")?;
    let before = session.heard.requests(1).count();
    session.listen(times.frame_timeout * 2)?;
    let after = session.heard.requests(1).count();
    require!(after == before, "{} requests for a whole frame", after - before);
    Ok(())
}

fn flood(script: &Script<'_>) -> Verdict {
    const SEGMENTS: u32 = 4000;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    for at in 0..SEGMENTS {
        // Frames behind the window, never whole: each run sends the same.
        let noise = at.wrapping_mul(0x9e37_79b9);
        let frame = 300 + noise % 0x00ff_ffff;
        let count = 2 + (noise >> 8) as u8 % 60;
        let data = vec![0x5a; 200];
        let segment = Segment { frame, index: count - 1, count, terminating: false, data };
        session.say_bytes(&peer.encode(&Message::Segment(segment)))?;
        if at % 200 == 0 {
            // What the socket cannot take is lost, and asks nothing of the subject.
            thread::sleep(Duration::from_millis(1));
        }
    }
    session.echo(b"unharmed")
}
