//! Plays cases against a subject.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::{Case, Stop, Verdict};
use crate::script::Script;
use crate::subject::Subject;

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case's id.
    pub id: String,
    /// The sections of the specification that it covers.
    pub rules: Vec<&'static str>,
    /// What it asks.
    pub asks: String,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// What went over the wire, if it failed.
    pub trace: Vec<String>,
}

/// Plays the cases, `jobs` at a time but for those that have to be alone, and returns what came of them in
/// their order. `report` hears of each as it ends.
pub fn run(
    subject: &Subject,
    cases: &[&Case],
    jobs: usize,
    report: impl Fn(&Outcome) + Sync,
) -> Vec<Outcome> {
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    let play = |at: usize| {
        let outcome = play(subject, cases[at]);
        report(&outcome);
        // A poisoned list would mean that a push panicked.
        outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
    };
    let (alone, together): (Vec<usize>, Vec<usize>) =
        (0..cases.len()).partition(|&at| cases[at].of.alone);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(&at) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    play(at);
                }
            });
        }
    });
    alone.into_iter().for_each(play);
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|&(at, _)| at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn play(subject: &Subject, case: &Case) -> Outcome {
    let started = Instant::now();
    let script = Script::new(subject);
    let verdict = match case.unfit(subject) {
        Some(why) => Err(Stop::Skipped(why.to_owned())),
        // A fault of the suite must not hide the other cases.
        None => catch_unwind(AssertUnwindSafe(|| (case.play)(&script)))
            .unwrap_or_else(|_| Err(Stop::Failed("the suite itself panicked".to_owned()))),
    };
    let failed = matches!(verdict, Err(Stop::Failed(_)));
    let trace = if failed { script.into_trace().lines().collect() } else { Vec::new() };
    Outcome {
        id: case.id.to_owned(),
        rules: case.rules.to_vec(),
        asks: case.asks.to_owned(),
        verdict,
        took: started.elapsed(),
        trace,
    }
}
