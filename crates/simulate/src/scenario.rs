//! A random network, handshakes and data over it, to the end of every session.

mod plan;
mod trace;
mod world;

use std::fmt;
use std::time::Duration;

use self::plan::Plan;
use self::trace::Trace;
use self::world::World;
use crate::choice::Seeded;
use crate::fault::Fault;
use crate::session::Outcome;
use crate::violation::Violation;

/// One exit and one to three entries that open sessions to it, all decided by a seed.
pub struct Scenario<'a> {
    seed: u64,
    fault: Option<Fault>,
    trace: Trace<'a>,
}

/// What a scenario came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sessions that were asked for.
    pub sessions: u64,
    /// How many of them ended how, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Datagrams sent.
    pub datagrams: u64,
    /// Frames delivered.
    pub frames: u64,
    /// Virtual time until the last session was over.
    pub time: Duration,
}

/// A scenario in which a rule was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, after {at:?}{}: {violation}", Named(*session))]
pub struct Failure {
    /// The seed that repeats it.
    pub seed: u64,
    /// Virtual time.
    pub at: Duration,
    /// The session, if it was one's.
    pub session: Option<usize>,
    /// The rule.
    pub violation: Violation,
}

struct Named(Option<usize>);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |session| write!(f, ", session {session}"))
    }
}

/// Runs the scenario of a seed.
///
/// # Errors
/// The first rule that was broken.
pub fn scenario(seed: u64) -> Result<Report, Failure> {
    Scenario::new(seed).run()
}

impl<'a> Scenario<'a> {
    /// The scenario of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, fault: None, trace: Trace::none() }
    }

    /// Plants a fault in the exit's end of every session.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// Calls `log` with virtual time and a line for every datagram and event.
    #[must_use]
    pub fn with_trace(self, log: impl FnMut(Duration, &str) + 'a) -> Self {
        Self { trace: Trace::to(log), ..self }
    }

    /// Runs it to the end of every session.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn run(self) -> Result<Report, Failure> {
        let Self { seed, fault, trace } = self;
        World::new(seed, Plan::new(&mut Seeded::new(seed)), fault, trace).run()
    }
}

impl Report {
    /// Adds what another scenario came to.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        for (sum, count) in self.outcomes.iter_mut().zip(other.outcomes) {
            *sum += count;
        }
        self.datagrams += other.datagrams;
        self.frames += other.frames;
        self.time += other.time;
    }

    /// Sessions that ended in this way.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }
}
