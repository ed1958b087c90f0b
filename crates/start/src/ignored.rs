//! Why a message from a peer changes nothing.

/// Why a message was ignored: the sender's fault or the network's, never a reason to do anything but
/// count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ignored {
    /// No request with this challenge waits: it timed out, was cancelled, or never was.
    #[error("no request has this challenge")]
    UnknownChallenge,
    /// The peer is not the one that the request or the session belongs to.
    #[error("the message is from another peer")]
    ForeignPeer,
    /// The request has been granted already, with another answer than this.
    #[error("the request has another answer already")]
    AnotherAnswer,
    /// No session has this id.
    #[error("no session has this id")]
    UnknownSession,
    /// The message holds an item that is longer than messages may be, or an id that leaves no room for
    /// a keep-alive (RFC-0007, 4.2.8, rule 4).
    #[error("the message holds an item that is too long")]
    TooLong,
    /// More requests than the configured rates allow, and more than are worth an answer.
    #[error("too many requests")]
    OverRate,
}
