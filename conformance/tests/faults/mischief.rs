//! What a relay can do to the messages that it carries.

use std::net::SocketAddr;
use std::time::Duration;

use towline_conformance::subject::Framing;
use towline_conformance::wire::{Message, Wire};

/// What becomes of a letter: usually itself, or nothing, or others as well.
pub(crate) type Mischief = Box<dyn FnMut(Letter) -> Vec<Letter> + Send>;

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) way: Way,
    /// The address of the suite that it comes from or goes to.
    pub(crate) peer: SocketAddr,
    /// None in bare framing, and in a datagram that is too short to hold one.
    pub(crate) tag: Option<u64>,
    pub(crate) message: Vec<u8>,
    /// How long the relay keeps it.
    pub(crate) after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToSubject,
    FromSubject,
}

/// What tells conversations apart: the suite's address and the tag.
pub(crate) type Conversation = (SocketAddr, Option<u64>);

impl Letter {
    pub(crate) fn open(framing: Framing, way: Way, peer: SocketAddr, datagram: &[u8]) -> Self {
        let (tag, message) = match datagram.split_first_chunk() {
            Some((tag, message)) if framing == Framing::Tagged => {
                (Some(u64::from_be_bytes(*tag)), message)
            }
            _ => (None, datagram),
        };
        Self { way, peer, tag, message: message.to_vec(), after: Duration::ZERO }
    }

    pub(crate) fn seal(&self) -> Vec<u8> {
        let mut datagram = Vec::new();
        if let Some(tag) = self.tag {
            datagram.extend(tag.to_be_bytes());
        }
        datagram.extend(&self.message);
        datagram
    }

    pub(crate) fn goes_to_subject(&self) -> bool {
        self.way == Way::ToSubject
    }

    /// Whether it belongs to the handshake, whatever it says.
    pub(crate) fn is_start(&self) -> bool {
        self.tag.map_or(self.message.first() == Some(&2), |tag| tag == 1)
    }

    pub(crate) fn conversation(&self) -> Conversation {
        (self.peer, self.tag)
    }

    /// The same with another message.
    pub(crate) fn saying(&self, message: Vec<u8>) -> Self {
        Self { message, ..self.clone() }
    }

    /// A message that goes the other way, in the same conversation.
    pub(crate) fn returning(&self, message: Vec<u8>) -> Self {
        let way = if self.goes_to_subject() { Way::FromSubject } else { Way::ToSubject };
        Self { way, ..self.saying(message) }
    }

    pub(crate) fn later(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

/// Carries everything as it is.
pub(crate) fn none(_: Wire) -> Mischief {
    Box::new(|letter| vec![letter])
}

/// Changes datagrams, whether they make sense or not.
pub(crate) fn raw(mut change: impl FnMut(&mut Letter) + Send + 'static) -> Mischief {
    Box::new(move |mut letter| {
        change(&mut letter);
        vec![letter]
    })
}

/// Loses datagrams, whether they make sense or not.
pub(crate) fn lose_raw(mut is_lost: impl FnMut(&Letter) -> bool + Send + 'static) -> Mischief {
    Box::new(move |letter| if is_lost(&letter) { Vec::new() } else { vec![letter] })
}

/// Changes messages. A list that is left without an entry is not sent.
pub(crate) fn edit(
    wire: Wire,
    mut change: impl FnMut(&Letter, &mut Message) + Send + 'static,
) -> Mischief {
    Box::new(move |letter| {
        let Ok(before) = wire.decode(&letter.message) else { return vec![letter] };
        let mut message = before.clone();
        change(&letter, &mut message);
        match &message {
            // In the very bytes, padding and all.
            same if *same == before => vec![letter],
            Message::Acknowledgement(frames) if frames.is_empty() => Vec::new(),
            Message::Request(entries) if entries.is_empty() => Vec::new(),
            other => vec![letter.saying(wire.encode(other))],
        }
    })
}

/// Loses messages.
pub(crate) fn lose(
    wire: Wire,
    mut is_lost: impl FnMut(&Letter, &Message) -> bool + Send + 'static,
) -> Mischief {
    lose_raw(move |letter| {
        wire.decode(&letter.message).is_ok_and(|message| is_lost(letter, &message))
    })
}

/// Carries everything, and invents messages behind it.
pub(crate) fn invent(
    wire: Wire,
    mut others: impl FnMut(&Letter, &Message) -> Vec<Letter> + Send + 'static,
) -> Mischief {
    Box::new(move |letter| {
        let others = match wire.decode(&letter.message) {
            Ok(message) => others(&letter, &message),
            Err(_) => Vec::new(),
        };
        let mut letters = vec![letter];
        letters.extend(others);
        letters
    })
}

/// Answers messages in the subject's place: those that get an answer do not reach it.
pub(crate) fn intercept(
    wire: Wire,
    mut answer: impl FnMut(&Letter, &Message) -> Option<Message> + Send + 'static,
) -> Mischief {
    Box::new(move |letter| {
        let message = wire.decode(&letter.message).ok();
        match message.and_then(|message| answer(&letter, &message)) {
            Some(answer) => vec![letter.returning(wire.encode(&answer))],
            None => vec![letter],
        }
    })
}

/// Writes the length that the message has.
pub(crate) fn mend_length(message: &mut [u8]) {
    let length = message.len().saturating_sub(4) as u16;
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}
