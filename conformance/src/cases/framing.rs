//! Which session a datagram belongs to.

use std::time::Instant;

use super::start_malformed::AFTERTHOUGHT;
use crate::case::{Case, Mode, TAGGED, Verdict, require};
use crate::script::{Channel, Peer, Script};
use crate::session::segments;
use crate::wire::Message;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "framing.tag.short",
        rules: &["framing#tagged"],
        asks: "Datagrams shorter than a tag are ignored",
        of: TAGGED,
        play: short,
    },
    Case {
        id: "framing.tag.reserved",
        rules: &["framing#tag-ranges"],
        asks: "Datagrams with one of a tag's top three bits set are ignored",
        of: TAGGED,
        play: reserved,
    },
    Case {
        id: "framing.tag.nobody",
        rules: &["framing#tag-ranges"],
        asks: "Datagrams under tags that are nobody's are ignored",
        of: TAGGED,
        play: nobody,
    },
    Case {
        id: "framing.tag.crossed",
        rules: &["framing#tag-ranges", "framing#session-tags"],
        asks: "A message of one protocol under a tag of the other is ignored",
        of: TAGGED,
        play: crossed,
    },
    Case {
        id: "framing.tag.foreign",
        rules: &["framing#demultiplexing"],
        asks: "Another peer has no part in a session, though it knows the tag",
        of: TAGGED,
        play: foreign,
    },
    Case {
        id: "framing.tag.separate",
        rules: &["framing#session-tags", "framing#demultiplexing"],
        asks: "Two sessions of one peer are apart",
        of: TAGGED,
        play: separate,
    },
];

fn short(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    for length in 0..8 {
        peer.send(&[0, 0, 0, 0, 0, 0, 0, 1][..length])?;
    }
    session.echo(b"unharmed")
}

fn reserved(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let Channel::Session(tag) = session.channel() else { return Ok(()) };
    for bit in 61..64 {
        wrong_frame(&peer, tag | 1 << bit)?;
        let request = Message::StartSession(peer.request(Mode::Reliable));
        peer.send(&[&(1_u64 | 1 << bit).to_be_bytes(), &peer.encode(&request)[..]].concat())?;
    }
    session.echo(b"right")?;
    no_answer(&peer)
}

fn nobody(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    let Channel::Session(tag) = session.channel() else { return Ok(()) };
    let strangers = [0, 2, 14, 15, tag ^ 1 << 40, (1 << 61) - 1];
    for stranger in strangers {
        wrong_frame(&peer, stranger)?;
        let request = Message::StartSession(peer.request(Mode::Reliable));
        peer.send(&[&stranger.to_be_bytes(), &peer.encode(&request)[..]].concat())?;
    }
    session.echo(b"right")?;
    for stranger in strangers {
        let heard = peer.hear(Channel::Session(stranger), Instant::now())?;
        require!(heard.is_none(), "an answer under the tag {stranger:#x}");
    }
    no_answer(&peer)
}

fn crossed(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut session = peer.open(Mode::Reliable)?;
    session.say_bytes(&peer.encode(&Message::StartSession(peer.request(Mode::Reliable))))?;
    for segment in segments(1, b"wrong", 1000) {
        peer.say(Channel::Start, &peer.encode(&segment))?;
    }
    session.echo(b"right")?;
    no_answer(&peer)
}

fn foreign(script: &Script<'_>) -> Verdict {
    let (peer, stranger) = (script.peer()?, script.peer()?);
    let mut session = peer.open(Mode::Reliable)?;
    let Channel::Session(tag) = session.channel() else { return Ok(()) };
    wrong_frame(&stranger, tag)?;
    // An end that was not ours would cut the session off.
    stranger.say(session.channel(), &stranger.encode(&crate::session::terminating(1)))?;
    session.echo(b"right")?;
    let heard = stranger.hear(session.channel(), Instant::now())?;
    require!(heard.is_none(), "the stranger gets an answer");
    Ok(())
}

fn separate(script: &Script<'_>) -> Verdict {
    let peer = script.peer()?;
    let mut one = peer.open(Mode::Reliable)?;
    let mut other = peer.open(Mode::Reliable)?;
    require!(one.channel() != other.channel(), "both sessions have one tag");
    one.echo(b"one")?;
    other.echo(b"other")?;
    one.close()?;
    other.echo(b"goes on")
}

/// The first frame of a session, with what is not said in it.
fn wrong_frame(peer: &Peer<'_>, tag: u64) -> Verdict {
    for segment in segments(1, b"wrong", 1000) {
        peer.send(&[&tag.to_be_bytes(), &peer.encode(&segment)[..]].concat())?;
    }
    Ok(())
}

/// None of the requests that were said elsewhere is answered.
fn no_answer(peer: &Peer<'_>) -> Verdict {
    let deadline = Instant::now() + AFTERTHOUGHT;
    while let Some(message) = peer.hear(Channel::Start, deadline)? {
        require!(matches!(message, Message::KeepAlive { .. }), "an answer: {message}");
    }
    Ok(())
}
