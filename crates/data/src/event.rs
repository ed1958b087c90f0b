//! What a connection tells its driver: events, errors, and what to send.

use towline_wire::{DecodeError, Dialect};

/// Something the application wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Frames became ready: take them with [`Connection::recv_frame`](crate::Connection::recv_frame).
    Readable,
    /// A frame that was refused with [`SendError::Blocked`] may be accepted now.
    Writable,
    /// The peer ended its direction: no frames will follow those that are ready.
    PeerFinished,
    /// Everything sent, the terminating frame included, was acknowledged, or sent in unreliable mode.
    Finished,
    /// Both directions are over, or the session ended with an error.
    Closed {
        /// Why, unless both sides finished. [`Finished`](Event::Finished) has not come before if the peer, having
        /// finished, fell silent and our terminating frame is all that it has not acknowledged.
        error: Option<ConnectionError>,
    },
    /// The connection has nothing left to do and can be dropped.
    Drained,
    /// The peer sends what only another dialect can mean. Reported once.
    DialectMismatch {
        /// The dialect in which the peer's segments would be natural.
        likely: Dialect,
    },
}

/// Why a session ended other than by both sides finishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer owed acknowledgements or missing segments and was silent for the idle timeout.
    #[error("the peer went silent")]
    TimedOut,
    /// Nothing was acknowledged for the configured time, though the peer showed life.
    #[error("the peer accepts no more data")]
    NoProgress,
    /// A frame was retransmitted as often as configured, in vain.
    #[error("a frame was retransmitted too often")]
    RetransmissionLimit,
    /// The peer ended the session before everything was delivered both ways.
    #[error("the peer ended the session early")]
    PeerClosed,
    /// [`Connection::abort`](crate::Connection::abort) was called.
    #[error("the session was aborted")]
    Aborted,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The window or the buffer is full; [`Event::Writable`] will tell when to try again.
    #[error("the send window is full")]
    Blocked,
    /// The frame is longer than the configured frame size.
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
        /// The configured frame size.
        limit: usize,
    },
    /// The sending direction was finished, or has used up its frame ids.
    #[error("the sending direction is finished")]
    Finished,
    /// The session is over.
    #[error("the session is over: {0}")]
    Closed(ConnectionError),
}

/// Why a datagram had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ignored {
    /// It is no sequence of messages of the dialect.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The connection is over.
    #[error("the session is over")]
    Closed,
}

/// Datagrams that [`Connection::poll_transmit`](crate::Connection::poll_transmit) appended to its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Datagrams in the run.
    pub datagrams: usize,
    /// Bytes of each but the last, which may be shorter.
    pub segment_size: usize,
}
