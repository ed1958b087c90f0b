//! The largest message, `C` of the RFC.

use core::fmt;

/// The largest message in bytes, header included and tag excluded: `C` of RFC-0007, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

impl Mtu {
    /// The smallest MTU: a header and room for two request entries.
    pub const MIN: Self = Self(16);
    /// The largest MTU that is representable.
    pub const MAX: Self = Self(u16::MAX);

    /// An MTU of `bytes`, which must lie in `16..=65535`.
    pub const fn new(bytes: usize) -> Result<Self, MtuError> {
        if bytes < Self::MIN.0 as usize || bytes > Self::MAX.0 as usize {
            return Err(MtuError { bytes });
        }
        Ok(Self(bytes as u16))
    }

    /// The MTU in bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An MTU outside `16..=65535` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an MTU of {bytes} bytes is outside 16..=65535")]
pub struct MtuError {
    /// What was asked for.
    pub bytes: usize,
}
