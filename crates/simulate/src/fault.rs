//! Faults that can be planted, to see the rules catch them.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// Something wrong with an end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// One frame is not delivered.
    DropFrame,
    /// One frame is delivered twice.
    DuplicateFrame,
    /// Two frames change places.
    SwapFrames,
    /// A bit of one frame changes.
    FlipBit,
    /// The application's end of the session is not passed on.
    NeverFinish,
    /// The session is aborted where it should be finished, and said to have ended well.
    FalseEnd,
    /// Nothing is sent any more after a while.
    FallSilent,
    /// A deadline is always due.
    StuckDeadline,
    /// Datagrams are a byte too long.
    LongDatagrams,
    /// Received data is kept beyond the bound.
    Hoard,
    /// The exit does not free the session's slot.
    KeepSlot,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 11] = [
        Self::DropFrame,
        Self::DuplicateFrame,
        Self::SwapFrames,
        Self::FlipBit,
        Self::NeverFinish,
        Self::FalseEnd,
        Self::FallSilent,
        Self::StuckDeadline,
        Self::LongDatagrams,
        Self::Hoard,
        Self::KeepSlot,
    ];

    /// The name that the command line uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropFrame => "drop-frame",
            Self::DuplicateFrame => "duplicate-frame",
            Self::SwapFrames => "swap-frames",
            Self::FlipBit => "flip-bit",
            Self::NeverFinish => "never-finish",
            Self::FalseEnd => "false-end",
            Self::FallSilent => "fall-silent",
            Self::StuckDeadline => "stuck-deadline",
            Self::LongDatagrams => "long-datagrams",
            Self::Hoard => "hoard",
            Self::KeepSlot => "keep-slot",
        }
    }

    /// What the fault makes of the frames that are ready. Returns whether it made anything of them.
    pub(crate) fn strike(self, frames: &mut Vec<(u32, Bytes)>) -> bool {
        let Some((id, data)) = frames.last().cloned() else { return false };
        let last = frames.len() - 1;
        match self {
            Self::DropFrame => frames.truncate(last),
            Self::DuplicateFrame => frames.push((id, data)),
            Self::SwapFrames if last > 0 => frames.swap(last - 1, last),
            Self::FlipBit if !data.is_empty() => {
                let mut bytes = data.to_vec();
                bytes[0] ^= 1;
                frames[last].1 = bytes.into();
            }
            _ => return false,
        }
        true
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no fault of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown fault")]
pub struct UnknownFault;

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        Self::ALL.into_iter().find(|fault| fault.name() == name).ok_or(UnknownFault)
    }
}
