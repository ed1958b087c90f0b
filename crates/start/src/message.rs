//! What the machines need of messages beyond their codec.

use bytes::Bytes;
use towline_wire::start::{Capabilities, Cbor, KeepAlive, KeepAliveFlags, Message};
use towline_wire::{Dialect, EncodeError, Tag};

/// What an initiator asks for (RFC-0007, 4.2.3); the challenge is the machine's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the session shall offer.
    pub capabilities: Capabilities,
    /// Options that depend on the capabilities; 0 to ignore.
    pub additional_data: u32,
    /// Where the session leads.
    pub target: Cbor,
}

/// A keep-alive for a session, without flags or additional data (RFC-0007, 4.2.6).
///
/// It is the same in every dialect; the width of its empty data is the codec's business.
#[must_use]
pub fn keep_alive(session_id: Cbor) -> Message {
    Message::KeepAlive(KeepAlive { flags: KeepAliveFlags::NONE, additional_data: 0, session_id })
}

/// The session id that stands for a tag: a CBOR unsigned integer (RFC-0007, 4.2.4).
#[must_use]
pub fn session_id(tag: Tag) -> Cbor {
    //= docs/spec/start.md#session-id
    //# A responder MUST issue session ids that are CBOR unsigned integers from 15 to 2^61 - 1,
    //# drawn at random from the whole range.
    Cbor::new(&tag.get()).expect("an unsigned integer has a CBOR form")
}

/// The tag that a session id stands for, or `None` when it is no integer in the range of sessions.
#[must_use]
pub fn session_tag(session_id: &Cbor) -> Option<Tag> {
    //= docs/spec/framing.md#session-tags
    //# An initiator MUST give up a granted session whose id is no integer from 15 to 2^61 - 1.
    session_id.to().ok().and_then(Tag::new).filter(|tag| tag.is_session())
}

/// Bytes that a message takes on the wire.
pub(crate) fn encoded_len(message: &Message, dialect: Dialect) -> usize {
    let mut bytes = Vec::new();
    match message.encode(dialect, &mut bytes) {
        Err(EncodeError::TooLong { length, .. }) => length,
        _ => bytes.len(),
    }
}

/// A copy that does not keep alive the whole buffer that the datagram came in.
pub(crate) fn detached(item: &Cbor) -> Cbor {
    let bytes = Bytes::copy_from_slice(item.as_bytes());
    Cbor::from_bytes(bytes).expect("the copy of an item is an item")
}

#[cfg(test)]
mod tests {
    use super::*;

    //= docs/spec/start.md#session-id
    //= type=test
    //# A responder MUST issue session ids that are CBOR unsigned integers from 15 to 2^61 - 1,
    #[test]
    fn session_ids_are_unsigned_integers_on_the_wire() {
        let tag = Tag::new(0x0102_0304_0506_0708).unwrap();
        assert_eq!(session_id(tag).as_bytes()[..], [0x1b, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn session_ids_and_tags_convert_both_ways() {
        for tag in [Tag::FIRST_SESSION, Tag::MAX] {
            assert_eq!(session_tag(&session_id(tag)), Some(tag));
        }
    }

    #[test]
    fn no_other_session_id_is_a_tag() {
        let above = Tag::MAX.get() + 1;
        for id in
            [Cbor::new(&Tag::START.get()), Cbor::new(&above), Cbor::new("15"), Cbor::new(&-15)]
        {
            assert_eq!(session_tag(&id.unwrap()), None);
        }
    }

    #[test]
    fn a_keep_alive_is_well_formed_in_every_dialect() {
        let message = keep_alive(session_id(Tag::FIRST_SESSION));
        for dialect in Dialect::ALL {
            let mut bytes = Vec::new();
            message.encode(dialect, &mut bytes).unwrap();
            assert_eq!(Message::decode(dialect, bytes.into()).as_ref(), Ok(&message));
        }
    }
}
