//! Bytes that are no message of the Start protocol, and messages that have no place there.

use std::time::{Duration, Instant};

use towline_wire::Dialect;

use crate::case::{Case, EXIT, Mode, Of, Verdict, failed, skipped};
use crate::script::{Channel, Peer, Script};
use crate::wire::{self, Message, StartSession};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "start.version",
        rules: &["start#header"],
        asks: "Requests of other versions are not answered",
        of: EXIT,
        play: versions,
    },
    Case {
        id: "start.type",
        rules: &["start#header"],
        asks: "Messages of unknown types are not answered",
        of: EXIT,
        play: types,
    },
    Case {
        id: "start.length",
        rules: &["start#header"],
        asks: "A length that is not the payload's is refused, in hoprnet borne",
        of: EXIT,
        play: lengths,
    },
    Case {
        id: "start.truncated",
        rules: &["start#header", "start#start-session"],
        asks: "A request that ends early is not answered",
        of: EXIT,
        play: truncated,
    },
    Case {
        id: "start.cbor",
        rules: &["start#cbor"],
        asks: "A target that is no CBOR item is not answered",
        of: EXIT,
        play: malformed_items,
    },
    Case {
        id: "start.cbor.indefinite",
        rules: &["start#cbor"],
        asks: "A target of indefinite length is understood",
        of: EXIT,
        play: indefinite_item,
    },
    Case {
        id: "start.cbor.nesting",
        rules: &["start#cbor"],
        asks: "A target that nests 17 levels deep is ignored, one of 16 levels gets an answer",
        of: EXIT,
        play: nested_items,
    },
    Case {
        id: "start.answers.unasked",
        rules: &["start#answers", "start#challenge"],
        asks: "Answers to nobody's request are ignored",
        of: EXIT,
        play: unasked_answers,
    },
    Case {
        id: "start.flood.noise",
        rules: &["start#header"],
        asks: "A flood of noise does no harm",
        of: Of { alone: true, ..EXIT },
        play: noise_flood,
    },
];

fn versions(script: &Script<'_>) -> Verdict {
    unanswered(script, &[0, 1, 3, 4, 0x20, 0xff], |peer, request, &version| {
        let mut message = peer.encode(&Message::StartSession(request));
        message[0] = version;
        message
    })
}

fn types(script: &Script<'_>) -> Verdict {
    unanswered(script, &[4, 5, 0x10, 0x80, 0xff], |peer, request, &kind| {
        let mut message = peer.encode(&Message::StartSession(request));
        message[1] = kind;
        message
    })
}

fn lengths(script: &Script<'_>) -> Verdict {
    let wrong = |peer: &Peer<'_>, request: StartSession, by: &i32| {
        let mut message = peer.encode(&Message::StartSession(request));
        let length = u16::from_be_bytes([message[2], message[3]]);
        let [high, low] = length.wrapping_add_signed(*by as i16).to_be_bytes();
        message[2..4].copy_from_slice(&[high, low]);
        message
    };
    if script.subject.wire.dialect != Dialect::Hoprnet {
        return unanswered(script, &[-1, 1, 256, -5], wrong);
    }
    for by in [-1, 1, 256] {
        let peer = script.peer()?;
        let request = peer.request(Mode::Reliable);
        let challenge = request.challenge;
        peer.say(Channel::Start, &wrong(&peer, request, &by))?;
        if let Err(reason) = peer.answer(challenge)? {
            return failed(format!("refused for the reason {reason}"));
        }
    }
    Ok(())
}

fn truncated(script: &Script<'_>) -> Verdict {
    let lengths: Vec<usize> = (0..17).collect();
    unanswered(script, &lengths, |peer, request, &length| {
        let mut message = peer.encode(&Message::StartSession(request));
        message.truncate(length);
        if let Some(field) = message.get_mut(2..4) {
            field.copy_from_slice(&(length.saturating_sub(4) as u16).to_be_bytes());
        }
        message
    })
}

fn malformed_items(script: &Script<'_>) -> Verdict {
    let mut items: Vec<&[u8]> = vec![
        &[],                       // none
        &[0x61],                   // text without its byte
        &[0x82, 0x01],             // an array without its second item
        &[0xff],                   // a break of nothing
        &[0x1c],                   // a reserved length
        &[0x61, 0xff],             // text that is not UTF-8
        &[0xa1, 0x01],             // a map without its value
        &[0x9b; 9],                // an array of absurd length
        &[0x5f, 0x61, 0x41, 0xff], // bytes with a chunk of text
    ];
    if script.subject.wire.dialect != Dialect::Hoprnet {
        items.push(&[0x01, 0x02]); // an item and another byte
    }
    unanswered(script, &items, |peer, request, item| {
        peer.encode(&Message::StartSession(StartSession { target: item.to_vec(), ..request }))
    })
}

fn indefinite_item(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let request = peer.request(Mode::Reliable);
    let Ok(text) = ciborium::from_reader::<String, _>(&request.target[..]) else {
        return skipped("the target is no text");
    };
    let (one, other) = text.split_at(text.len() / 2);
    let target = [&[0x7f], &wire::text(one)[..], &wire::text(other)[..], &[0xff]].concat();
    let id = peer.granted(&StartSession { target, ..request })?;
    peer.enter(id, Mode::Reliable)?.echo(b"indefinite")
}

fn nested_items(script: &Script<'_>) -> Verdict {
    let nested = |levels: usize| [&vec![0x81; levels][..], &[0]].concat();
    unanswered(script, &[17, 18, 200], |peer, request, &levels| {
        let target = nested(levels);
        peer.encode(&Message::StartSession(StartSession { target, ..request }))
    })?;
    let peer = script.peer()?;
    let request = StartSession { target: nested(16), ..peer.request(Mode::Reliable) };
    // What it means is nothing to an echo, but it is a target.
    peer.ask(&request).map(drop)
}

fn unasked_answers(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let challenge = crate::script::challenge();
    let session_id = wire::number(0x1234_5678);
    for message in [
        Message::SessionEstablished { challenge, session_id },
        Message::SessionError { challenge, reason: 0 },
    ] {
        peer.say(Channel::Start, &peer.encode(&message))?;
    }
    quiet_but_honest(&peer)
}

fn noise_flood(script: &Script<'_>) -> Verdict {
    const DATAGRAMS: u32 = 5000;
    let honest = script.peer()?;
    let mut session = honest.open(Mode::Reliable)?;
    let peer = script.peer()?;
    let whole = peer.encode(&Message::StartSession(peer.request(Mode::Reliable)));
    for at in 0..DATAGRAMS {
        // Whole requests with a byte wrong somewhere, cut off somewhere: each run sends the same.
        let noise = at.wrapping_mul(0x9e37_79b9) as usize;
        let mut message = whole.clone();
        message[noise % whole.len()] ^= (noise >> 8) as u8 | 1;
        message.truncate(1 + (noise >> 16) % whole.len());
        match at % 3 {
            0 => peer.say(Channel::Start, &message)?,
            1 => peer.say(session.channel(), &message)?,
            _ => peer.send(&message)?,
        }
    }
    session.echo(b"unharmed")
}

/// Sends messages of each kind of wrongness, none of which may be answered, and an honest request after
/// them, which has to be.
fn unanswered<T>(
    script: &Script<'_>,
    wrongs: &[T],
    message: impl Fn(&Peer<'_>, StartSession, &T) -> Vec<u8>,
) -> Verdict {
    let peer = script.peer()?;
    for wrong in wrongs {
        let message = message(&peer, peer.request(Mode::Reliable), wrong);
        peer.say(Channel::Start, &message)?;
    }
    quiet_but_honest(&peer)
}

/// Nothing that was said so far is answered, but an honest request is.
pub(super) fn quiet_but_honest(peer: &Peer<'_>) -> Verdict {
    let honest = peer.request(Mode::Reliable);
    peer.say(Channel::Start, &peer.encode(&Message::StartSession(honest.clone())))?;
    peer.expect(Channel::Start, "answer to an honest request", |message| match message {
        Message::SessionEstablished { challenge, .. } | Message::SessionError { challenge, .. }
            if challenge == honest.challenge =>
        {
            Some(Ok(()))
        }
        other => Some(failed(format!("an answer to what is none: {other}"))),
    })??;
    // Requests are decided about side by side, and a wrong one may be answered after the honest one.
    match peer.hear(Channel::Start, Instant::now() + AFTERTHOUGHT)? {
        Some(other) => failed(format!("an answer to what is none: {other}")),
        None => Ok(()),
    }
}

/// What is answered at all is answered so soon after something else that was said later.
pub(super) const AFTERTHOUGHT: Duration = Duration::from_millis(100);
