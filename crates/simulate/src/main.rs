//! Simulations at scale: random networks and sessions over them, a seed each.

use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use towline_simulate::{Fault, Outcome, Report, Scenario};

/// Failures that are printed in full; all are counted.
const PRINTED: usize = 20;

/// Runs random sessions over random networks on virtual time and checks that they keep the rules.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// How many seeds to run
    #[arg(long, default_value_t = 1000, value_name = "N")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0, value_name = "S")]
    first_seed: u64,
    /// Run this seed alone
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "first_seed"])]
    seed: Option<u64>,
    /// Print every datagram and event with its virtual time; for one seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads; by default one per core
    #[arg(long, value_name = "J")]
    jobs: Option<NonZero<usize>>,
    /// Plant a fault in every session, to see the rules catch it
    #[arg(long, value_name = "FAULT")]
    plant: Option<Fault>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What all seeds came to.
#[derive(Default)]
struct Total {
    report: Report,
    failures: Vec<(u64, String)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read the output has gone.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Returns whether every seed kept the rules.
fn run(args: &Args) -> io::Result<bool> {
    let (first, count) = args.seed.map_or((args.first_seed, args.seeds), |seed| (seed, 1));
    let started = now();
    let total = if args.trace { trace(args, first) } else { simulate(args, first, count) };
    let took = now() - started;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", as_json(&total, first, count, took))?;
    } else {
        print(&mut out, args, &total, count, took)?;
    }
    Ok(total.failures.is_empty())
}

/// Real time: of this program, not of the simulation.
#[expect(clippy::disallowed_methods, reason = "the program measures itself")]
fn now() -> Instant {
    Instant::now()
}

fn simulate(args: &Args, first: u64, count: u64) -> Total {
    let cores = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let jobs = args.jobs.unwrap_or(cores).get();
    let total = Mutex::new(Total::default());
    let next = AtomicU64::new(0);
    let progress = progress(args, count);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    let seed = first.wrapping_add(at);
                    let result = outcome(scenario(args, seed));
                    let mut total = total.lock().expect("no thread panics while it adds");
                    total.add(seed, result);
                    progress.inc(1);
                }
            });
        }
    });
    progress.finish_and_clear();
    let mut total = total.into_inner().expect("no thread panics while it adds");
    total.failures.sort_unstable();
    total
}

fn trace(args: &Args, seed: u64) -> Total {
    let mut total = Total::default();
    let mut out = io::stdout().lock();
    let scenario = scenario(args, seed).with_trace(|at, line| {
        // The reader of a trace may have seen enough.
        let _ = writeln!(out, "{:12.6} {line}", at.as_secs_f64());
    });
    total.add(seed, outcome(scenario));
    total
}

fn scenario(args: &Args, seed: u64) -> Scenario<'static> {
    let scenario = Scenario::new(seed);
    match args.plant {
        Some(fault) => scenario.with_fault(fault),
        None => scenario,
    }
}

/// Runs a scenario; a panic in it is a broken rule like any other.
fn outcome(scenario: Scenario<'_>) -> Result<Report, String> {
    match catch_unwind(AssertUnwindSafe(|| scenario.run())) {
        Ok(result) => result.map_err(|failure| failure.to_string()),
        Err(_) => Err("a panic, printed above".to_owned()),
    }
}

/// A progress line on a terminal, and nothing elsewhere.
fn progress(args: &Args, count: u64) -> ProgressBar {
    if args.json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{pos}/{len} seeds {wide_bar} {eta}");
    let bar = ProgressBar::new(count);
    bar.set_style(style.expect("the template is well-formed"));
    bar
}

impl Total {
    fn add(&mut self, seed: u64, result: Result<Report, String>) {
        match result {
            Ok(report) => self.report.add(&report),
            Err(failure) => self.failures.push((seed, failure)),
        }
    }
}

fn print(
    out: &mut impl Write,
    args: &Args,
    total: &Total,
    count: u64,
    took: Duration,
) -> io::Result<()> {
    let plant = args.plant.map_or(String::new(), |fault| format!(" --plant {fault}"));
    for (seed, failure) in total.failures.iter().take(PRINTED) {
        writeln!(out, "{failure}")?;
        writeln!(out, "  again: cargo xtask simulate --seed {seed} --trace{plant}")?;
    }
    if total.failures.len() > PRINTED {
        writeln!(out, "and {} more", total.failures.len() - PRINTED)?;
    }
    let report = &total.report;
    let hours = report.time.as_secs_f64() / 3600.0;
    let seconds = took.as_secs_f64();
    writeln!(out, "{count} seeds in {seconds:.1} s: {} failed", total.failures.len())?;
    writeln!(out, "{} sessions, {hours:.1} virtual hours", report.sessions)?;
    writeln!(out, "{} datagrams, {} frames delivered", report.datagrams, report.frames)?;
    let outcomes = Outcome::ALL.map(|it| format!("{} {}", report.count(it), it.name()));
    writeln!(out, "{}", outcomes.join(", "))
}

fn as_json(total: &Total, first: u64, count: u64, took: Duration) -> Value {
    let report = &total.report;
    let outcomes = Outcome::ALL.map(|it| (it.name().replace(' ', "_"), json!(report.count(it))));
    let failures: Vec<_> = total
        .failures
        .iter()
        .map(|(seed, failure)| json!({ "seed": seed, "failure": failure }))
        .collect();
    json!({
        "first_seed": first,
        "seeds": count,
        "seconds": took.as_secs_f64(),
        "sessions": report.sessions,
        "outcomes": Value::Object(outcomes.into_iter().collect()),
        "datagrams": report.datagrams,
        "frames": report.frames,
        "virtual_seconds": report.time.as_secs_f64(),
        "failures": failures,
    })
}
