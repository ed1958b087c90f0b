//! Which cases are put to whom.

use std::thread;

use towline_wire::{Dialect, Mtu};

use crate::case::{Case, Mode, Stop};
use crate::own::{Error, Own};
use crate::report::{Group, Report};
use crate::run::{Outcome, run};
use crate::subject::{Framing, Role, Subject};
use crate::{cases, vectors};

/// Puts to a subject every case that makes sense for it, or `only` those that are named.
pub fn ask(
    subject: &Subject,
    only: &[String],
    jobs: usize,
    progress: impl Fn(&Outcome) + Sync,
) -> Group {
    let cases: Vec<&Case> = cases::all()
        .filter(|case| is_wanted(case.id, only) && case.unfit(subject).is_none())
        .collect();
    // An initiator has one session at a time.
    let jobs = if subject.role == Role::Initiator { 1 } else { jobs };
    let outcomes = run(subject, &cases, jobs, progress);
    Group { subject: subject.name.clone(), brief: false, outcomes }
}

/// Puts every case to this project's own endpoints in these dialects, and the vectors to its codec.
///
/// # Errors
/// When there is no socket or no thread for an endpoint.
pub fn own(
    dialects: &[Dialect],
    mtu: Mtu,
    only: &[String],
    jobs: usize,
    progress: impl Fn(&Outcome) + Sync,
) -> Result<Report, Error> {
    let mut report = Report::default();
    for &dialect in dialects {
        report.groups.push(codec(dialect, only, &progress));
        let own = Own::new(dialect, mtu)?;
        let subjects = [
            own.exit(Framing::Tagged)?,
            own.exit(Framing::Bare)?,
            own.data_plane(Mode::Reliable)?,
            own.data_plane(Mode::Unreliable)?,
            own.initiator(Framing::Tagged)?,
        ];
        // Most of the time is spent waiting.
        let groups = thread::scope(|scope| {
            let progress = &progress;
            let put = |subject| scope.spawn(move || ask(subject, only, jobs, progress));
            let threads: Vec<_> = subjects.iter().map(put).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for group in groups {
            report.groups.push(group.map_err(|_| "a thread of the suite panicked")?);
        }
    }
    report.groups.retain(|group| !group.outcomes.is_empty());
    Ok(report)
}

/// Holds the codec against the vectors of a dialect.
fn codec(dialect: Dialect, only: &[String], progress: &impl Fn(&Outcome)) -> Group {
    let outcomes: Vec<Outcome> = vectors::checks(dialect)
        .filter(|check| is_wanted(&check.id, only))
        .map(Outcome::from)
        .collect();
    outcomes.iter().for_each(progress);
    Group { subject: format!("our codec ({dialect})"), brief: true, outcomes }
}

impl From<vectors::Check> for Outcome {
    fn from(check: vectors::Check) -> Self {
        Self {
            id: check.id,
            rules: Vec::new(),
            asks: "Bytes and fields of the vector stand for each other".to_owned(),
            verdict: check.outcome.map_err(Stop::Failed),
            took: std::time::Duration::ZERO,
            trace: Vec::new(),
        }
    }
}

/// Whether any case or vector has this name.
#[must_use]
pub fn knows(name: &str) -> bool {
    let vectors = || Dialect::ALL.into_iter().flat_map(vectors::checks);
    cases::all().any(|case| is_named(case.id, name)) || vectors().any(|it| is_named(&it.id, name))
}

fn is_wanted(id: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|name| is_named(id, name))
}

/// Whether this is the id's name, or that of a group that it belongs to.
fn is_named(id: &str, name: &str) -> bool {
    id.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
