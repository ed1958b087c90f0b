//! What can go wrong with an endpoint and its sessions.

use std::io;

use towline_data::ConnectionError;
use towline_start::RequestError;
use towline_wire::Mtu;
use towline_wire::start::{Cbor, ErrorReason};

/// The endpoint's task has ended: it was closed, or its transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint is closed")]
pub struct EndpointClosed;

/// [`Endpoint::listen`](crate::Endpoint::listen) was called before and its listener is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint has a listener already")]
pub struct AlreadyListening;

/// Why no session came to be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer did not answer within the request timeout.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The peer refused.
    #[error("the peer refused the session: {0}")]
    Refused(ErrorReason),
    /// The request cannot be made.
    #[error(transparent)]
    Request(#[from] towline_start::ConnectError),
    /// The peer gave the session an id that tells nothing apart here: no tag, or one that is taken.
    #[error("the peer gave the session an id that cannot be used: {0:?}")]
    UnusableSessionId(Cbor),
    /// In bare framing there is one session per peer address.
    #[error("there is a session with this peer already")]
    AddressInUse,
    /// Sessions without a handshake need bare framing.
    #[error("a session without a handshake needs bare framing")]
    NotBare,
    /// The endpoint is closed.
    #[error(transparent)]
    Closed(#[from] EndpointClosed),
}

impl From<RequestError> for ConnectError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(reason) => Self::Refused(reason),
            _ => Self::TimedOut,
        }
    }
}

/// Why an incoming session could not be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It took too long, and the request was refused.
    #[error("the request has been refused meanwhile")]
    TooLate,
    /// The transport's datagrams or the endpoint's settings do not go with the session's own MTU.
    #[error("sessions with an MTU of {0} bytes are not possible here")]
    Mtu(Mtu),
    /// The endpoint is closed.
    #[error(transparent)]
    Closed(#[from] EndpointClosed),
}

/// Why a session ended other than by both sides finishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer went silent.
    #[error("the peer went silent")]
    TimedOut,
    /// The peer shows life but takes no data.
    #[error("the peer accepts no more data")]
    NoProgress,
    /// A frame was retransmitted as often as configured, in vain.
    #[error("a frame was retransmitted too often")]
    RetransmissionLimit,
    /// The peer ended the session before everything was delivered both ways.
    #[error("the peer ended the session early")]
    PeerClosed,
    /// The session was aborted on this side.
    #[error("the session was aborted")]
    Aborted,
    /// The sending direction was finished, or has used up its frame ids.
    #[error("the sending direction is finished")]
    Finished,
    /// The frame is longer than the session's frame size.
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The endpoint was closed, or its transport failed.
    #[error("the endpoint is closed")]
    EndpointClosed,
}

impl From<ConnectionError> for SessionError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::NoProgress => Self::NoProgress,
            ConnectionError::RetransmissionLimit => Self::RetransmissionLimit,
            ConnectionError::PeerClosed => Self::PeerClosed,
            ConnectionError::Aborted => Self::Aborted,
            _ => Self::TimedOut,
        }
    }
}

impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        let kind = match error {
            SessionError::TimedOut | SessionError::NoProgress => io::ErrorKind::TimedOut,
            SessionError::RetransmissionLimit | SessionError::PeerClosed => {
                io::ErrorKind::ConnectionReset
            }
            SessionError::Aborted => io::ErrorKind::ConnectionAborted,
            SessionError::Finished => io::ErrorKind::BrokenPipe,
            SessionError::TooLong { .. } => io::ErrorKind::InvalidInput,
            SessionError::EndpointClosed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}
