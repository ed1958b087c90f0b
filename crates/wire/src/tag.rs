//! Tagged framing: which session a message belongs to, on transports that carry many.

use core::fmt;

use bytes::{Buf, Bytes};

use crate::DecodeError;

/// The 64-bit number, big-endian on the wire, that stands before each message in tagged framing.
///
/// The top three bits are zero. 0 is reserved for probing the path, [`Tag::START`] carries the Start
/// protocol, and [`Tag::FIRST_SESSION`] to [`Tag::MAX`] belong to sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

impl Tag {
    /// The handshake.
    pub const START: Self = Self(1);
    /// The smallest tag of a session.
    pub const FIRST_SESSION: Self = Self(15);
    /// The largest tag.
    pub const MAX: Self = Self((1 << 61) - 1);
    /// Bytes that a tag takes on the wire.
    pub const LEN: usize = 8;

    /// A tag, or `None` above [`Tag::MAX`].
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        //= docs/spec/framing.md#tag-ranges
        //# A receiver MUST ignore a datagram in whose tag one of the top three bits is set.
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether sessions may have this tag.
    #[must_use]
    pub const fn is_session(self) -> bool {
        self.0 >= Self::FIRST_SESSION.0
    }

    /// The bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Splits a tagged datagram into its tag and its message.
///
/// # Errors
/// [`DecodeError::Truncated`] below 8 bytes, [`DecodeError::ReservedTag`] when one of the top three
/// bits is set.
pub fn split_tag(mut datagram: Bytes) -> Result<(Tag, Bytes), DecodeError> {
    //= docs/spec/framing.md#tag-ranges
    //# A receiver MUST ignore a datagram that is shorter than a tag.
    if datagram.len() < Tag::LEN {
        return Err(DecodeError::Truncated { needed: Tag::LEN, have: datagram.len() });
    }
    //= docs/spec/framing.md#tag-ranges
    //# A receiver MUST ignore a datagram in whose tag one of the top three bits is set.
    let tag = Tag::new(datagram.get_u64()).ok_or(DecodeError::ReservedTag)?;
    Ok((tag, datagram))
}
