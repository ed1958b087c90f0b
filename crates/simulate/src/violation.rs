//! The rules that sessions are held to.

use std::time::Duration;

use towline_data::ConnectionError;
use towline_wire::DecodeError;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The reader got a frame that the writer has not sent.
    #[error("frame {0} was delivered and never sent")]
    NeverSent(u32),
    /// The reader got a frame twice.
    #[error("frame {0} was delivered twice")]
    Duplicate(u32),
    /// The reader got a frame after one that was sent later, in ordered delivery.
    #[error("frame {id} was delivered after frame {after}")]
    Reordered {
        /// The late frame.
        id: u32,
        /// The one before it.
        after: u32,
    },
    /// The reader got a frame without the one before it, in reliable and ordered delivery.
    #[error("frame {id} was delivered after frame {after}: a hole")]
    Hole {
        /// The frame behind the hole.
        id: u32,
        /// The one before it.
        after: u32,
    },
    /// The reader got other bytes than the writer sent.
    #[error("frame {0} was delivered with other bytes than it was sent with")]
    Damaged(u32),
    /// Something that cannot get lost did.
    #[error("{delivered} of {sent} frames were delivered although nothing was lost")]
    Lost {
        /// Frames that the reader got.
        delivered: usize,
        /// Frames that the writer sent.
        sent: usize,
    },
    /// The session ended well for a side that had not got everything.
    #[error("a good end with {delivered} of {sent} frames delivered")]
    GoodEndTooSoon {
        /// Frames that the reader got.
        delivered: usize,
        /// Frames that the writer sent.
        sent: usize,
    },
    /// The session ended with an error that nothing in the scenario explains.
    #[error("an end that nothing explains: {0}")]
    UnexplainedEnd(ConnectionError),
    /// The handshake failed although nothing in the scenario explains it.
    #[error("a handshake that failed though nothing explains it: {0}")]
    UnexplainedRefusal(towline_start::RequestError),
    /// A datagram is longer than the MTU allows.
    #[error("a datagram of {len} bytes, {limit} are allowed")]
    TooLong {
        /// Bytes of the datagram.
        len: usize,
        /// The most that are allowed.
        limit: usize,
    },
    /// What was sent is not of the session's dialect.
    #[error("a datagram that does not decode: {0}")]
    Malformed(DecodeError),
    /// An unreliable end sent something that is no segment.
    #[error("an unreliable end sent a request or an acknowledgement")]
    Control,
    /// Received data takes more memory than configured.
    #[error("received data takes {charged} bytes, {bound} are allowed")]
    Memory {
        /// Bytes charged.
        charged: usize,
        /// The most that are allowed.
        bound: usize,
    },
    /// More frames are unacknowledged than RFC-0007, 4.8.2 allows.
    #[error("{0} frames are unacknowledged")]
    Window(u64),
    /// Something goes on and on while the clock stands.
    #[error("a busy loop: {0}")]
    BusyLoop(&'static str),
    /// The session goes on although it should have ended long ago.
    #[error("not over after {0:?}")]
    Stalled(Duration),
    /// Something is left of what has ended.
    #[error("left behind at the end: {0}")]
    Leftover(&'static str),
    /// Both sides have other ideas of a session than they should.
    #[error("the handshake: {0}")]
    Handshake(&'static str),
}
