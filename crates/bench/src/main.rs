//! What sessions cost over loopback: beside what else carries bytes there, and by the thousand. Pictures of what
//! they reach on emulated paths. And what the message relay does.
//!
//! A table says more as ratios than as figures of one machine, so the rounds of all that stands in it take turns
//! in one run; medians are printed.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod kcp;
mod loopback;
mod plots;
mod quic;
mod relay;
mod scale;
mod sessions;
mod table;
mod tcp;
mod udp;
mod usage;

use std::error::Error;
use std::time::Duration;

use clap::Parser;

type Failure = Box<dyn Error + Send + Sync>;

/// Bytes of a datagram, without what UDP adds.
const DATAGRAM: usize = 1000;

/// Measure what sessions cost over loopback, and draw what they reach on emulated paths
#[derive(Parser)]
#[command(name = "towline-bench", max_term_width = 100)]
enum Benchmark {
    /// Sessions beside raw UDP, the kernel's TCP, QUIC and KCP
    Loopback(loopback::Arguments),
    /// Sessions by the thousand
    Scale(scale::Arguments),
    /// The message relay: how fast, how soon, and how many
    Relay(relay::Arguments),
    /// The relay that `relay` measures, until standard input ends
    #[command(hide = true)]
    RelayServer(relay::ServerArguments),
    /// Pictures of the tables that the tests of the congestion control keep
    Plots(plots::Arguments),
}

/// What came of one round.
struct Carried {
    /// Bytes that arrived.
    bytes: u64,
    /// From the beginning, with sockets to open and a handshake where there is one, to the last that
    /// arrived.
    time: Duration,
}

fn main() -> Result<(), Failure> {
    match Benchmark::parse() {
        Benchmark::Loopback(arguments) => loopback::run(&arguments),
        Benchmark::Scale(arguments) => scale::run(&arguments),
        Benchmark::Relay(arguments) => relay::run(&arguments),
        Benchmark::RelayServer(arguments) => relay::serve(&arguments),
        Benchmark::Plots(arguments) => plots::run(&arguments),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs one end in a thread of its own and the other here. If that fails, nobody waits for the one there.
fn both_ends<T: Send + 'static>(
    there: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    here: impl FnOnce() -> Result<(), Failure>,
) -> Result<T, Failure> {
    let there = std::thread::spawn(there);
    here()?;
    there.join().map_err(|_| "the other end panicked")?
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
