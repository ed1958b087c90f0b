//! Why a command fails, in words that tell a person what to do.

use std::io;
use std::net::SocketAddr;

use towline::{BindError, ConnectError, SessionError, Target};

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments do not go together: exit status 2.
    #[error("{0}")]
    Usage(String),
    /// It has been said already.
    #[error("failed")]
    Reported,
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("interrupted")]
    Interrupted,
    #[error("cannot resolve {address}: {error}")]
    Resolve { address: String, error: io::Error },
    #[error(
        "{address} is in use: choose another port, or end the program that listens there (port 0 takes any)"
    )]
    InUse { address: SocketAddr },
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("{0}")]
    Endpoint(BindError),
    #[error("{}", connect_advice(.peer, .target, .error))]
    Connect { peer: SocketAddr, target: Target, error: ConnectError },
    #[error("the session failed: {0}")]
    Session(#[from] SessionError),
    #[error("standard input cannot be read: {0}")]
    Stdin(io::Error),
    #[error("standard output cannot be written: {0}")]
    Stdout(io::Error),
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    pub(crate) fn listen(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            _ => Self::Listen { address, error },
        }
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Bind { address, error } => Self::listen(address, error),
            // What is left are settings out of range, all of which are arguments.
            BindError::Data(error) => Self::Usage(error.to_string()),
            BindError::Start(error) => Self::Usage(error.to_string()),
            BindError::MtuTooLarge { .. } => Self::Usage(error.to_string()),
            error => Self::Endpoint(error),
        }
    }
}

/// Standard input and output break with an error of the session's own, or of the operating system's.
pub(crate) fn session_error(error: io::Error) -> Failure {
    match error.downcast::<SessionError>() {
        Ok(error) => Failure::Session(error),
        Err(error) => Failure::Failed(format!("the session failed: {error}")),
    }
}

/// What a person can do about a session that did not come to be.
pub(crate) fn connect_advice(peer: &SocketAddr, target: &Target, error: &ConnectError) -> String {
    match error {
        ConnectError::TimedOut => format!(
            "no answer from {peer}: is it running there, does a firewall drop UDP, and do --dialect and --mtu agree?"
        ),
        ConnectError::Refused(reason) if reason.is_unknown() => format!(
            "{peer} refused a session to {target}: no --allow rule of the exit covers it, or the exit cannot reach it; its own output says which"
        ),
        ConnectError::Refused(reason) => {
            format!("{peer} refused a session to {target} ({reason}): try again later")
        }
        error => format!("no session with {peer} to {target}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_from_other_faults() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7000));
        let in_use = Failure::listen(address, io::ErrorKind::AddrInUse.into());
        assert!(in_use.to_string().starts_with("127.0.0.1:7000 is in use"));
        let denied = Failure::listen(address, io::ErrorKind::PermissionDenied.into());
        assert!(denied.to_string().starts_with("cannot listen on 127.0.0.1:7000"));
    }

    #[test]
    fn a_session_error_survives_its_way_through_io() {
        let failure = session_error(SessionError::TimedOut.into());
        assert!(matches!(failure, Failure::Session(SessionError::TimedOut)));
    }
}
