//! What came of the cases, for people and for machines.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use crate::case::Stop;
use crate::run::Outcome;

/// Everything that was asked of one subject, and what came of it.
#[derive(Clone, Debug)]
pub struct Group {
    /// What the subject is called.
    pub subject: String,
    /// Whether a table counts the cases that passed instead of listing them.
    pub brief: bool,
    /// The cases in their order.
    pub outcomes: Vec<Outcome>,
}

/// All that was asked in a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Subject by subject.
    pub groups: Vec<Group>,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The subject did as it should.
    pub passed: usize,
    /// It did not.
    pub failed: usize,
    /// It could not be asked.
    pub skipped: usize,
}

impl Report {
    /// How many cases ended how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in self.groups.iter().flat_map(|group| &group.outcomes) {
            match outcome.verdict {
                Ok(()) => counts.passed += 1,
                Err(Stop::Failed(_)) => counts.failed += 1,
                Err(Stop::Skipped(_)) => counts.skipped += 1,
            }
        }
        counts
    }

    /// A table of all cases, and below it what was on the wire of those that failed.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        let listed = self.groups.iter().filter(|group| !group.brief);
        let width = listed.flat_map(|group| &group.outcomes).map(|outcome| outcome.id.len());
        let width = width.max().unwrap_or(0);
        for Group { subject, brief, outcomes } in &self.groups {
            line(&mut table, format_args!("{subject}"));
            let (passed, others): (Vec<_>, Vec<_>) =
                outcomes.iter().partition(|outcome| *brief && outcome.verdict.is_ok());
            if *brief {
                line(&mut table, format_args!("  passed   {} cases", passed.len()));
            }
            for Outcome { id, asks, verdict, took, .. } in others {
                let (word, why) = words(verdict);
                let text = why.unwrap_or(asks);
                let took = took.as_millis();
                line(&mut table, format_args!("  {word:7}  {id:width$}  {took:5} ms  {text}"));
            }
            line(&mut table, format_args!(""));
        }
        for Group { subject, outcomes, .. } in &self.groups {
            let failed = outcomes.iter().filter(|it| matches!(it.verdict, Err(Stop::Failed(_))));
            for Outcome { id, rules, verdict, trace, asks, .. } in failed {
                line(&mut table, format_args!("{subject}: {id} failed"));
                line(&mut table, format_args!("  expected: {asks} ({})", rules.join(", ")));
                line(
                    &mut table,
                    format_args!("  found:    {}", words(verdict).1.unwrap_or_default()),
                );
                for datagram in trace {
                    line(&mut table, format_args!("  {datagram}"));
                }
                line(&mut table, format_args!(""));
            }
        }
        let Counts { passed, failed, skipped } = self.counts();
        line(&mut table, format_args!("{passed} passed, {failed} failed, {skipped} skipped"));
        table
    }

    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let case = |outcome: &Outcome| {
            let (word, why) = words(&outcome.verdict);
            json!({
                "id": outcome.id,
                "rules": outcome.rules,
                "asks": outcome.asks,
                "verdict": word,
                "reason": why,
                "milliseconds": outcome.took.as_millis() as u64,
                "trace": outcome.trace,
            })
        };
        let groups = self.groups.iter().map(|group| {
            let cases: Vec<Value> = group.outcomes.iter().map(case).collect();
            json!({ "subject": group.subject, "cases": cases })
        });
        let Counts { passed, failed, skipped } = self.counts();
        json!({
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "subjects": groups.collect::<Vec<Value>>(),
        })
    }

    /// Writes the report as JUnit XML, the form that CI services read.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_junit(&self, path: &Path) -> io::Result<()> {
        let mut report = quick_junit::Report::new("towline conformance");
        for group in &self.groups {
            let mut suite = TestSuite::new(group.subject.as_str());
            suite.add_test_cases(group.outcomes.iter().map(junit_case));
            report.add_test_suite(suite);
        }
        report.serialize(std::fs::File::create(path)?).map_err(io::Error::other)
    }
}

fn junit_case(outcome: &Outcome) -> TestCase {
    let (_, why) = words(&outcome.verdict);
    let mut status = match outcome.verdict {
        Ok(()) => TestCaseStatus::success(),
        Err(Stop::Failed(_)) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Err(Stop::Skipped(_)) => TestCaseStatus::skipped(),
    };
    if let Some(why) = why {
        status.set_message(why);
    }
    let mut case = TestCase::new(outcome.id.as_str(), status);
    case.set_time(outcome.took);
    if !outcome.trace.is_empty() {
        case.set_system_out(outcome.trace.join("\n"));
    }
    case
}

/// The verdict in a word, and why, unless the case passed.
fn words(verdict: &Result<(), Stop>) -> (&'static str, Option<&str>) {
    match verdict {
        Ok(()) => ("passed", None),
        Err(Stop::Failed(why)) => ("failed", Some(why)),
        Err(Stop::Skipped(why)) => ("skipped", Some(why)),
    }
}

fn line(table: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(table, "{text}").expect("a String takes every text");
}
