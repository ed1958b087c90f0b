//! Bytes that are no message of the Data protocol.

use towline_wire::Dialect;

use super::data_send::{last_frame, stays_quiet};
use crate::case::{Case, Mode, RELIABLE, Verdict, require};
use crate::script::Script;
use crate::session::terminating;
use crate::wire::{Message, Segment, message_of};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "data.version",
        rules: &["data#header"],
        asks: "Messages of other versions are ignored",
        of: RELIABLE,
        play: versions,
    },
    Case {
        id: "data.type",
        rules: &["data#header"],
        asks: "Messages of unknown types are ignored",
        of: RELIABLE,
        play: types,
    },
    Case {
        id: "data.length.beyond",
        rules: &["data#length", "data#datagram"],
        asks: "A datagram that ends before its message does is ignored",
        of: RELIABLE,
        play: beyond,
    },
    Case {
        id: "data.length.limit",
        rules: &["data#length"],
        asks: "A message of C bytes is understood, one of C + 1 bytes ignored",
        of: RELIABLE,
        play: limit,
    },
    Case {
        id: "data.datagram.sequence",
        rules: &["data#datagram"],
        asks: "Several messages in one datagram are all understood",
        of: RELIABLE,
        play: sequence,
    },
    Case {
        id: "data.datagram.partial",
        rules: &["data#datagram"],
        asks: "A datagram whose last message is incomplete is ignored whole",
        of: RELIABLE,
        play: partial,
    },
    Case {
        id: "data.datagram.malformed",
        rules: &["data#datagram"],
        asks: "A malformed message does not keep those beside it from being understood",
        of: RELIABLE,
        play: beside_malformed,
    },
    Case {
        id: "data.segment.truncated",
        rules: &["data#segment"],
        asks: "A segment that ends within its fixed fields is ignored",
        of: RELIABLE,
        play: truncated,
    },
    Case {
        id: "data.segment.frame-zero",
        rules: &["data#segment", "data#frame-ids"],
        asks: "A segment of frame 0 is ignored",
        of: RELIABLE,
        play: frame_zero,
    },
    Case {
        id: "data.segment.index",
        rules: &["data#segment"],
        asks: "A segment whose index is not below its count is ignored",
        of: RELIABLE,
        play: index,
    },
    Case {
        id: "data.segment.reserved",
        rules: &["data#segment"],
        asks: "A segment with the reserved flag is ignored",
        of: RELIABLE,
        play: reserved,
    },
    Case {
        id: "data.segment.count-zero",
        rules: &["data#segment"],
        asks: "Zero in the count stands for one segment, in hoprnet for none",
        of: RELIABLE,
        play: count_zero,
    },
    Case {
        id: "data.request.malformed",
        rules: &["data#request"],
        asks: "Requests that do not ascend or end amid an entry are ignored",
        of: RELIABLE,
        play: malformed_requests,
    },
    Case {
        id: "data.acknowledgement.malformed",
        rules: &["data#acknowledgement"],
        asks: "Acknowledgements that do not ascend or end amid an entry are ignored",
        of: RELIABLE,
        play: malformed_acknowledgements,
    },
    Case {
        id: "data.padding",
        rules: &["data#padding"],
        asks: "Padding does not keep an acknowledgement from being understood",
        of: RELIABLE,
        play: padding,
    },
];

/// The first frame, with what is not said in it.
fn wrong() -> Segment {
    Segment { frame: 1, index: 0, count: 1, terminating: false, data: b"wrong".to_vec() }
}

/// Sends messages that all have to be ignored, and the frame that they pretend to be.
fn ignored(script: &Script<'_>, wrongs: impl Fn(&Script<'_>) -> Vec<Vec<u8>>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    for message in wrongs(script) {
        session.say_bytes(&message)?;
    }
    session.echo(b"right")
}

fn edited(script: &Script<'_>, edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = script.subject.wire.encode(&Message::Segment(wrong()));
    edit(&mut message);
    message
}

fn versions(script: &Script<'_>) -> Verdict {
    ignored(script, |script| {
        [0, 3, 0x11, 0xff].map(|version| edited(script, |message| message[0] = version)).into()
    })
}

fn types(script: &Script<'_>) -> Verdict {
    ignored(script, |script| {
        [3, 4, 0x80, 0xff].map(|kind| edited(script, |message| message[1] = kind)).into()
    })
}

fn beyond(script: &Script<'_>) -> Verdict {
    ignored(script, |script| {
        let longer = [1, 2, 240].map(|by| edited(script, |message| message[3] += by));
        let whole = edited(script, |_| {});
        let shorter = (1..whole.len()).map(|length| whole[..length].to_vec());
        longer.into_iter().chain(shorter).collect()
    })
}

fn limit(script: &Script<'_>) -> Verdict {
    let wire = script.subject.wire;
    // What a receiver bears depends on C alone, whatever senders keep to.
    let most = wire.mtu - crate::wire::SEGMENT_OVERHEAD;
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let too_long = Segment { data: vec![b'x'; most + 1], ..wrong() };
    session.say_bytes(&wire.encode(&Message::Segment(too_long)))?;
    let fits: Vec<u8> = (0..most).map(|at| at as u8).collect();
    for segment in session.cut(&fits, most) {
        session.say(&segment)?;
    }
    session.echoed()
}

fn sequence(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let first = session.cut(b"one, ", 1000);
    let second = session.cut(b"other", 1000);
    let whole: Vec<Message> = first.into_iter().chain(second).collect();
    let datagram: Vec<u8> = whole.iter().flat_map(|message| peer.encode(message)).collect();
    session.say_as(&datagram, &whole)?;
    session.echoed_unrepeated()
}

fn partial(script: &Script<'_>) -> Verdict {
    ignored(script, |script| {
        let whole = edited(script, |_| {});
        [1, 4, 10, whole.len() - 1].map(|length| [&whole[..], &whole[..length]].concat()).into()
    })
}

fn beside_malformed(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let whole = session.cut(b"right", 1000);
    let unknown = message_of(1, 0x55, b"what is this?");
    let zero = script.subject.wire.encode(&Message::Segment(Segment { frame: 0, ..wrong() }));
    let right: Vec<u8> = whole.iter().flat_map(|message| peer.encode(message)).collect();
    session.say_as(&[&unknown[..], &right, &zero].concat(), &whole)?;
    session.echoed_unrepeated()
}

fn truncated(script: &Script<'_>) -> Verdict {
    ignored(script, |script| {
        let whole = edited(script, |_| {});
        (0..6).map(|length| message_of(1, 0, &whole[4..4 + length])).collect()
    })
}

fn frame_zero(script: &Script<'_>) -> Verdict {
    ignored(script, |script| {
        let message = Message::Segment(Segment { frame: 0, ..wrong() });
        let end = terminating(0);
        vec![script.subject.wire.encode(&message), script.subject.wire.encode(&end)]
    })
}

fn index(script: &Script<'_>) -> Verdict {
    ignored(script, |script| {
        [(1, 1), (2, 1), (7, 7), (200, 3)]
            .map(|(index, count)| Message::Segment(Segment { index, count, ..wrong() }))
            .map(|message| script.subject.wire.encode(&message))
            .into()
    })
}

fn reserved(script: &Script<'_>) -> Verdict {
    ignored(script, |script| {
        vec![
            edited(script, |message| message[9] |= 0x40),
            edited(script, |message| message[9] |= 0xc0),
        ]
    })
}

fn count_zero(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let mut message = edited(script, |message| message[9] = 0);
    if script.subject.wire.dialect == Dialect::Hoprnet {
        session.say_bytes(&message)?;
        message[9] = 0x80;
        session.say_bytes(&message)?;
        return session.echo(b"right");
    }
    for segment in session.cut(b"right", 1000) {
        let mut bytes = peer.encode(&segment);
        bytes[9] = 0;
        session.say_as(&bytes, &[segment])?;
    }
    session.echoed()
}

fn malformed_requests(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.echo(b"frame one")?;
    // Something to ask for: the next frame stays unacknowledged.
    session.acknowledges = false;
    session.send(b"frame two")?;
    session.until("the echo of a frame", |heard| heard.stream_len() == 18)?;
    let last = last_frame(&session)?;
    let wire = session.wire();
    let entry = |frame: u32| [&frame.to_be_bytes()[..], &[0xff]].concat();
    let twice = wire.padded([entry(last), entry(last)].concat());
    let back = wire.padded([entry(last + 1), entry(last)].concat());
    let cut = entry(last)[..4].to_vec();
    let heard = session.heard.frames[&last].copies();
    for _ in 0..3 {
        for payload in [&twice, &back, &cut] {
            session.say_bytes(&message_of(1, 1, payload))?;
        }
    }
    // The subject repeats the frame by itself sooner or later, though not nine times by now.
    session.echo(b"frame three")?;
    let copies = session.heard.frames[&last].copies() - heard;
    require!(copies < 3, "malformed requests are answered {copies} times");
    Ok(())
}

fn malformed_acknowledgements(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.acknowledges = false;
    session.send(b"not acknowledged")?;
    session.until("the echo of a frame", |heard| heard.stream_len() == 16)?;
    let wire = session.wire();
    let ids = |ids: &[u32]| wire.padded(ids.iter().flat_map(|id| id.to_be_bytes()).collect());
    let cut = [&ids(&[1])[..4], &[0, 0, 1]].concat();
    for payload in [ids(&[2, 1]), ids(&[1, 1]), cut] {
        session.say_bytes(&message_of(1, 2, &payload))?;
    }
    let before = session.heard.frames[&1].copies();
    // What counts as acknowledged is not sent again; this has to be.
    let patience = script.subject.times.patience + script.subject.times.frame_timeout * 2;
    session.until_within(patience, "a frame that is not acknowledged comes again", |heard| {
        heard.frames[&1].copies() > before
    })
}

fn padding(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.acknowledges = false;
    session.send(b"acknowledged")?;
    session.until("the echo of a frame", |heard| heard.stream_len() == 12)?;
    let mut payload = vec![0; (script.subject.wire.mtu - 4) / 4 * 4];
    payload[..4].copy_from_slice(&1_u32.to_be_bytes());
    session.say_bytes(&message_of(1, 2, &script.subject.wire.padded(payload)))?;
    stays_quiet(&mut session, 1)
}
