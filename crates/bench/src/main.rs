//! Sessions beside what else carries bytes over loopback, in one run: the table says more as ratios than
//! as figures of one machine.
//!
//! Every contender has one thread for each end and sends messages that fit datagrams of 1000 bytes, or a
//! stream where it knows no messages. The rounds of all take turns, so that what else the machine does
//! is shared; medians are printed.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod sessions;
mod tcp;
mod udp;
mod usage;

use std::error::Error;
use std::time::Duration;

use clap::Parser;

use self::usage::processor_time;

type Failure = Box<dyn Error + Send + Sync>;
type Ask = fn(u32) -> Result<Vec<Duration>, Failure>;

/// Bytes of a datagram, without what UDP adds.
const DATAGRAM: usize = 1000;

/// Compare sessions with raw UDP and with the kernel's TCP, over loopback
#[derive(Parser)]
#[command(name = "towline-bench", max_term_width = 100)]
struct Arguments {
    /// Rounds of each contender
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Megabytes (10^6) that each carries in a round
    #[arg(long, default_value = "2000", value_parser = clap::value_parser!(u64).range(10..=100_000))]
    megabytes: u64,
    /// Requests of 100 bytes that each answers in a round
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    requests: u32,
}

/// Something that carries bytes from one thread of this process to another.
struct Contender {
    name: &'static str,
    carry: fn(u64) -> Result<Carried, Failure>,
    /// How long each answer took, for those that compare in that.
    ask: Option<Ask>,
}

/// What came of one round.
struct Carried {
    /// Bytes that arrived.
    bytes: u64,
    /// From the beginning, with sockets to open and a handshake where there is one, to the last that
    /// arrived.
    time: Duration,
}

const CONTENDERS: [Contender; 5] = [
    Contender {
        name: "session, reliable",
        carry: sessions::carry_reliably,
        ask: Some(sessions::ask),
    },
    Contender { name: "session, unreliable", carry: sessions::carry_unreliably, ask: None },
    Contender { name: "UDP with offload", carry: udp::carry_in_runs, ask: None },
    Contender {
        name: "UDP, one datagram a call",
        carry: udp::carry_one_by_one,
        ask: Some(udp::ask),
    },
    Contender { name: "kernel TCP", carry: tcp::carry, ask: Some(tcp::ask) },
];

fn main() -> Result<(), Failure> {
    let Arguments { rounds, megabytes, requests } = Arguments::parse();
    let mut throughput = CONTENDERS.map(|_| Vec::new());
    let mut latency = CONTENDERS.map(|_| Vec::new());
    for _ in 0..rounds {
        for (at, contender) in CONTENDERS.iter().enumerate() {
            throughput[at].push(Round::measure(contender, megabytes * 1_000_000)?);
            if let Some(ask) = contender.ask {
                latency[at].push(Answers::new(ask(requests)?));
            }
        }
    }

    let first = median(throughput[0].iter().map(|round| round.rate));
    println!(
        "| {DATAGRAM}-byte datagrams over loopback | MB/s | from | to | CPU s/GiB, both ends | lost | of ours |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (contender, rounds) in CONTENDERS.iter().zip(&throughput) {
        let rates = || rounds.iter().map(|round| round.rate);
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.1} % | {:.2} |",
            contender.name,
            median(rates()),
            rates().fold(f64::MAX, f64::min),
            rates().fold(0.0, f64::max),
            median(rounds.iter().map(|round| round.processor)),
            100.0 * median(rounds.iter().map(|round| round.lost)),
            median(rates()) / first,
        );
    }
    println!();
    println!("| request and response of 100 bytes | p50 µs | p99 µs |");
    println!("|---|---|---|");
    for (contender, rounds) in CONTENDERS.iter().zip(&latency).filter(|(_, all)| !all.is_empty()) {
        println!(
            "| {} | {:.1} | {:.1} |",
            contender.name,
            median(rounds.iter().map(|answers| answers.p50)),
            median(rounds.iter().map(|answers| answers.p99)),
        );
    }
    Ok(())
}

struct Round {
    /// Megabytes per second that arrived.
    rate: f64,
    /// Processor seconds of both ends for each GiB that arrived.
    processor: f64,
    /// Share of the bytes that did not arrive.
    lost: f64,
}

impl Round {
    fn measure(contender: &Contender, bytes: u64) -> Result<Self, Failure> {
        let before = processor_time();
        let carried = (contender.carry)(bytes)?;
        let used = processor_time().saturating_sub(before);
        let arrived = carried.bytes as f64;
        Ok(Self {
            rate: arrived / 1e6 / carried.time.as_secs_f64(),
            processor: used.as_secs_f64() / arrived * f64::from(1 << 30),
            lost: 1.0 - arrived / bytes as f64,
        })
    }
}

/// In microseconds.
struct Answers {
    p50: f64,
    p99: f64,
}

impl Answers {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e6;
        Self { p50: at(50), p99: at(99) }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs one end in a thread of its own and the other here.
fn both_ends<T: Send>(
    there: impl FnOnce() -> Result<T, Failure> + Send,
    here: impl FnOnce() -> Result<(), Failure>,
) -> Result<T, Failure> {
    std::thread::scope(|scope| {
        let there = scope.spawn(there);
        here()?;
        there.join().map_err(|_| "the other end panicked")?
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
