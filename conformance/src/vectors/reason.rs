//! The closed sets of reasons for which bytes or messages are refused, as the files name them.

use serde::{Deserialize, Serialize};
use towline_wire::{DecodeError, EncodeError};

/// Why a datagram is refused: a [`DecodeError`] by name and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", content = "values", rename_all = "kebab-case")]
pub(super) enum Reason {
    Truncated { needed: usize, have: usize },
    UnknownVersion { version: u8 },
    UnknownType { r#type: u8 },
    LengthBeyondEnd { length: usize, have: usize },
    TrailingBytes { bytes: usize },
    TooLong { length: usize, limit: usize },
    ZeroFrameId,
    IndexBeyondCount { index: u8, count: u8 },
    ZeroSegmentCount,
    ReservedBits { flags: u8 },
    UnorderedEntries,
    PartialEntry { bytes: usize },
    ReservedTag,
    InvalidCbor,
    TruncatedCbor,
    NestingTooDeep,
}

impl Reason {
    /// The reason of an error; `None` for one that is younger than the format of the files.
    pub(super) const fn of(error: DecodeError) -> Option<Self> {
        Some(match error {
            DecodeError::Truncated { needed, have } => Self::Truncated { needed, have },
            DecodeError::UnknownVersion(version) => Self::UnknownVersion { version },
            DecodeError::UnknownType(r#type) => Self::UnknownType { r#type },
            DecodeError::LengthBeyondEnd { length, have } => Self::LengthBeyondEnd { length, have },
            DecodeError::TrailingBytes(bytes) => Self::TrailingBytes { bytes },
            DecodeError::TooLong { length, limit } => Self::TooLong { length, limit },
            DecodeError::ZeroFrameId => Self::ZeroFrameId,
            DecodeError::IndexBeyondCount { index, count } => {
                Self::IndexBeyondCount { index, count }
            }
            DecodeError::ZeroSegmentCount => Self::ZeroSegmentCount,
            DecodeError::ReservedBits(flags) => Self::ReservedBits { flags },
            DecodeError::UnorderedEntries => Self::UnorderedEntries,
            DecodeError::PartialEntry(bytes) => Self::PartialEntry { bytes },
            DecodeError::ReservedTag => Self::ReservedTag,
            DecodeError::InvalidCbor => Self::InvalidCbor,
            DecodeError::TruncatedCbor => Self::TruncatedCbor,
            DecodeError::NestingTooDeep => Self::NestingTooDeep,
            _ => return None,
        })
    }
}

/// Why a message is not to be sent: an [`EncodeError`] by name and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", content = "values", rename_all = "kebab-case")]
pub(super) enum Refusal {
    TooLong { length: usize, limit: usize },
    TooManySegments { count: u8, limit: u8 },
    TooManyEntries { limit: usize },
    UnorderedEntries,
    AdditionalDataTooWide { width: usize },
    ReservedFlags { flags: u8 },
}

impl Refusal {
    /// The reason of an error; `None` for one that is younger than the format of the files.
    pub(super) const fn of(error: EncodeError) -> Option<Self> {
        Some(match error {
            EncodeError::TooLong { length, limit } => Self::TooLong { length, limit },
            EncodeError::TooManySegments { count, limit } => Self::TooManySegments { count, limit },
            EncodeError::TooManyEntries { limit } => Self::TooManyEntries { limit },
            EncodeError::UnorderedEntries => Self::UnorderedEntries,
            EncodeError::AdditionalDataTooWide { width } => Self::AdditionalDataTooWide { width },
            EncodeError::ReservedFlags(flags) => Self::ReservedFlags { flags },
            _ => return None,
        })
    }
}
