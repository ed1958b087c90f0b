//! What a case is, and how it may end.

use std::fmt;

use crate::script::Script;
use crate::subject::Subject;

/// One question to a subject.
#[derive(Debug)]
pub struct Case {
    /// Its name on the command line and in reports, such as `data.request.gap`.
    pub id: &'static str,
    /// The sections of `docs/spec` that it covers, such as `data#requesting`.
    pub rules: &'static [&'static str],
    /// What has to be true, in a sentence.
    pub asks: &'static str,
    /// What the subject has to be for the question to make sense.
    pub of: Of,
    /// Plays the scripted peer.
    pub play: fn(&Script<'_>) -> Verdict,
}

/// What a subject has to be for a case to be played, and how.
#[derive(Clone, Copy, Debug)]
pub struct Of {
    /// Asked of exits.
    pub exits: bool,
    /// Asked of data-plane endpoints.
    pub data_planes: bool,
    /// Asked of initiators.
    pub initiators: bool,
    /// Needs reliable sessions, or unreliable ones.
    pub mode: Option<Mode>,
    /// Needs tags.
    pub tagged: bool,
    /// Fills the subject's slots or its queues: nothing else is played at the same time.
    pub alone: bool,
}

/// Whether a session recovers what is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Reliable,
    /// It does not.
    Unreliable,
}

/// For handshakes of exits.
pub const EXIT: Of = Of {
    exits: true,
    data_planes: false,
    initiators: false,
    mode: None,
    tagged: false,
    alone: false,
};
/// For exits in tagged framing.
pub const TAGGED: Of = Of { tagged: true, ..EXIT };
/// For reliable sessions of exits and of data-plane endpoints.
pub const RELIABLE: Of = Of { data_planes: true, mode: Some(Mode::Reliable), ..EXIT };
/// For unreliable sessions of either.
pub const UNRELIABLE: Of = Of { mode: Some(Mode::Unreliable), ..RELIABLE };
/// For whoever asks for sessions.
pub const INITIATOR: Of = Of { exits: false, initiators: true, ..EXIT };

/// How a case ended: well, or not.
pub type Verdict = Result<(), Stop>;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The subject did what it must not, or did not what it must.
    Failed(String),
    /// The question cannot be put to this subject.
    Skipped(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

/// A failure with this text.
pub fn failed<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Failed(why.into()))
}

/// A question that cannot be put, for this reason.
pub fn skipped<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skipped(why.into()))
}

/// Fails unless the condition holds.
macro_rules! require {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return crate::case::failed(format!($($why)+));
        }
    };
}
pub(crate) use require;

impl Case {
    /// Why the case cannot be played against a subject, if it cannot.
    #[must_use]
    pub fn unfit(&self, subject: &Subject) -> Option<&'static str> {
        use crate::subject::{Framing, Role};
        let Of { exits, data_planes, initiators, mode, tagged, .. } = self.of;
        match subject.role {
            Role::Exit if !exits => return Some("not a question to an exit"),
            Role::DataPlane if !data_planes => return Some("there is no handshake"),
            Role::Initiator if !initiators => return Some("not a question to an initiator"),
            _ => {}
        }
        if tagged && subject.framing == Framing::Bare {
            return Some("there are no tags");
        }
        match mode {
            Some(mode) if !subject.modes.contains(&mode) => {
                Some("the sessions are of another mode")
            }
            _ => None,
        }
    }
}
