//! CBOR items (RFC 8949) that the protocol carries without looking into them.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::DecodeError;

/// One well-formed CBOR item, kept as the bytes that the peer sent.
///
/// Well-formed means complete, within [`Cbor::MAX_NESTING`], and text that is UTF-8. Whether the item
/// is the value that the application hoped for shows in [`Cbor::to`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cbor(Bytes);

impl Cbor {
    //= docs/spec/start.md#cbor
    //# A receiver MUST accept well-formed items of indefinite length, and those of up to 16 levels.
    /// How deep arrays, maps and tags may nest, the outermost included.
    pub const MAX_NESTING: usize = 16;

    /// Encodes a value.
    ///
    /// # Errors
    /// [`CborError::Unrepresentable`] for what CBOR or [`Cbor::MAX_NESTING`] cannot hold.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, CborError> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).map_err(|_| CborError::Unrepresentable)?;
        Self::from_bytes(bytes.into()).map_err(|_| CborError::Unrepresentable)
    }

    /// Decodes the value as a `T`.
    ///
    /// # Errors
    /// [`CborError::Mismatch`] when the item is something else.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, CborError> {
        // The nesting has been checked; the limit here is one that checked items cannot reach.
        ciborium::de::from_reader_with_recursion_limit(&self.0[..], 4 * Self::MAX_NESTING)
            .map_err(|_| CborError::Mismatch)
    }

    /// Takes bytes that are exactly one item.
    ///
    /// # Errors
    /// [`DecodeError::InvalidCbor`], [`DecodeError::TruncatedCbor`], [`DecodeError::NestingTooDeep`] or
    /// [`DecodeError::TrailingBytes`].
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let length = item_len(&bytes)?;
        if length < bytes.len() {
            return Err(DecodeError::TrailingBytes(bytes.len() - length));
        }
        Ok(Self(bytes))
    }

    /// Takes the item at the start of `bytes`, whatever follows it.
    pub(super) fn from_prefix(mut bytes: Bytes) -> Result<Self, DecodeError> {
        //= docs/spec/start.md#header
        //# In `hoprnet` a receiver MUST accept bytes behind the last field of a Start message.
        let length = item_len(&bytes)?;
        bytes.truncate(length);
        Ok(Self(bytes))
    }

    /// The item as it is on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Cbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cbor(")?;
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// A CBOR item and a Rust value do not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborError {
    /// The value cannot be written as CBOR, or nests too deep.
    #[error("the value has no CBOR form")]
    Unrepresentable,
    /// The item is well-formed but not of the wanted type.
    #[error("the CBOR item is of another type")]
    Mismatch,
}

/// What an open array, map or tag still waits for.
#[derive(Clone, Copy)]
enum Open {
    /// This many items.
    Items(u64),
    /// Items until a break.
    Array,
    /// Pairs until a break; `true` amid a pair.
    Map(bool),
}

/// The length of the item at the start of `bytes`.
///
/// One pass over the input and a stack of fixed size: no input makes it recurse or allocate.
fn item_len(bytes: &[u8]) -> Result<usize, DecodeError> {
    //= docs/spec/start.md#cbor
    //# A receiver MUST ignore a Start message whose item is not well-formed CBOR or holds text that
    //# is not UTF-8.
    let mut stack = [Open::Array; Cbor::MAX_NESTING];
    let mut depth = 0_usize;
    let mut cursor = Cursor { bytes, position: 0 };
    loop {
        match cursor.head()? {
            Head::Scalar => {}
            Head::Bytes(length) => cursor.skip(length)?,
            Head::Text(length) => cursor.skip_text(length)?,
            //= docs/spec/start.md#cbor
            //# A receiver MUST accept well-formed items of indefinite length, and those of up to 16
            //# levels.
            Head::Chunks(major) => cursor.skip_chunks(major)?,
            Head::Open(open) => {
                //= docs/spec/start.md#cbor
                //# A receiver MUST ignore a Start message whose item nests more than 16 levels
                //# deep.
                *stack.get_mut(depth).ok_or(DecodeError::NestingTooDeep)? = open;
                depth += 1;
                if !matches!(open, Open::Items(0)) {
                    continue;
                }
            }
            Head::Break => match depth.checked_sub(1).map(|top| stack[top]) {
                Some(Open::Array | Open::Map(false)) => depth -= 1,
                _ => return Err(DecodeError::InvalidCbor),
            },
        }
        // One item is complete, and with it perhaps those around it.
        loop {
            let Some(top) = depth.checked_sub(1) else { return Ok(cursor.position) };
            match &mut stack[top] {
                Open::Items(left) if *left > 1 => *left -= 1,
                Open::Items(_) => {
                    depth -= 1;
                    continue;
                }
                Open::Map(amid_pair) => *amid_pair = !*amid_pair,
                Open::Array => {}
            }
            break;
        }
    }
}

const BYTES: u8 = 2;
const TEXT: u8 = 3;

enum Head {
    Scalar,
    Bytes(u64),
    Text(u64),
    /// A string in chunks of this major type, until a break.
    Chunks(u8),
    Open(Open),
    Break,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Cursor<'_> {
    fn head(&mut self) -> Result<Head, DecodeError> {
        let initial = self.take(1)?[0];
        let (major, info) = (initial >> 5, initial & 0x1f);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => {
                let width = 1 << (info - 24);
                let bytes = self.take(width)?;
                Some(bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
            }
            31 => None,
            _ => return Err(DecodeError::InvalidCbor),
        };
        Ok(match (major, argument) {
            (0 | 1, Some(_)) => Head::Scalar,
            (BYTES, Some(length)) => Head::Bytes(length),
            (TEXT, Some(length)) => Head::Text(length),
            (BYTES | TEXT, None) => Head::Chunks(major),
            (4, Some(items)) => Head::Open(Open::Items(items)),
            (4, None) => Head::Open(Open::Array),
            // More pairs than half of 2^64 are never there; say so where the bytes run out.
            (5, Some(pairs)) => Head::Open(Open::Items(pairs.saturating_mul(2))),
            (5, None) => Head::Open(Open::Map(false)),
            (6, Some(_)) => Head::Open(Open::Items(1)),
            // A simple value below 32 has a one-byte form and no other.
            (7, Some(value)) if info == 24 && value < 32 => return Err(DecodeError::InvalidCbor),
            (7, Some(_)) => Head::Scalar,
            (7, None) => Head::Break,
            _ => return Err(DecodeError::InvalidCbor),
        })
    }

    fn take(&mut self, length: u64) -> Result<&[u8], DecodeError> {
        let rest = &self.bytes[self.position..];
        let length = usize::try_from(length).map_err(|_| DecodeError::TruncatedCbor)?;
        let taken = rest.get(..length).ok_or(DecodeError::TruncatedCbor)?;
        self.position += length;
        Ok(taken)
    }

    fn skip(&mut self, length: u64) -> Result<(), DecodeError> {
        self.take(length).map(drop)
    }

    /// Chunks are definite strings of the major type that they add up to (RFC 8949, 3.2.3).
    fn skip_chunks(&mut self, major: u8) -> Result<(), DecodeError> {
        loop {
            match self.head()? {
                Head::Break => return Ok(()),
                Head::Bytes(length) if major == BYTES => self.skip(length)?,
                Head::Text(length) if major == TEXT => self.skip_text(length)?,
                _ => return Err(DecodeError::InvalidCbor),
            }
        }
    }

    fn skip_text(&mut self, length: u64) -> Result<(), DecodeError> {
        //= docs/spec/start.md#cbor
        //# A receiver MUST ignore a Start message whose item is not well-formed CBOR or holds text
        //# that is not UTF-8.
        match core::str::from_utf8(self.take(length)?) {
            Ok(_) => Ok(()),
            Err(_) => Err(DecodeError::InvalidCbor),
        }
    }
}
