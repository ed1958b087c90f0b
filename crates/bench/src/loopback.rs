//! Sessions beside raw UDP, the kernel's TCP, QUIC and KCP.
//!
//! Every contender has one thread for each end and sends messages that fit datagrams of 1000 bytes, or a
//! stream where it knows no messages. QUIC's are of 1200, since it has no smaller ones.

use std::time::Duration;

use crate::usage::processor_time;
use crate::{Carried, DATAGRAM, Failure, kcp, median, quic, sessions, tcp, udp};

type Ask = fn(u32) -> Result<Vec<Duration>, Failure>;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds of each contender
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Megabytes (10^6) that each carries in a round
    #[arg(long, default_value = "2000", value_parser = clap::value_parser!(u64).range(10..=100_000))]
    megabytes: u64,
    /// Requests of 100 bytes that each answers in a round
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    requests: u32,
    /// Only contenders whose names contain this, as for a profile
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    only: String,
}

/// Something that carries bytes from one thread of this process to another.
struct Contender {
    name: &'static str,
    carry: fn(u64) -> Result<Carried, Failure>,
    /// How long each answer took, for those that compare in that.
    ask: Option<Ask>,
}

const CONTENDERS: [Contender; 9] = [
    Contender {
        name: "session, reliable",
        carry: sessions::carry_reliably,
        ask: Some(sessions::ask),
    },
    Contender {
        name: "session, reliable, one datagram a call",
        carry: sessions::carry_without_offload,
        ask: None,
    },
    Contender { name: "session, unreliable", carry: sessions::carry_unreliably, ask: None },
    Contender { name: "UDP with offload", carry: udp::carry_in_runs, ask: None },
    Contender {
        name: "UDP, one datagram a call",
        carry: udp::carry_one_by_one,
        ask: Some(udp::ask),
    },
    Contender { name: "kernel TCP", carry: tcp::carry, ask: Some(tcp::ask) },
    Contender { name: "QUIC (quinn), CUBIC", carry: quic::carry_with_cubic, ask: Some(quic::ask) },
    Contender { name: "QUIC (quinn), BBR", carry: quic::carry_with_bbr, ask: None },
    Contender { name: "KCP (tokio_kcp), fastest", carry: kcp::carry, ask: Some(kcp::ask) },
];

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let &Arguments { rounds, megabytes, requests, ref only } = arguments;
    let contenders: Vec<_> = CONTENDERS.iter().filter(|it| it.name.contains(only)).collect();
    if contenders.is_empty() {
        return Err(format!("no contender has {only:?} in its name").into());
    }
    let mut throughput = vec![Vec::new(); contenders.len()];
    let mut latency = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (at, contender) in contenders.iter().enumerate() {
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
    for (contender, rounds) in contenders.iter().zip(&throughput) {
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
    for (contender, rounds) in contenders.iter().zip(&latency).filter(|(_, all)| !all.is_empty()) {
        println!(
            "| {} | {:.1} | {:.1} |",
            contender.name,
            median(rounds.iter().map(|answers| answers.p50)),
            median(rounds.iter().map(|answers| answers.p99)),
        );
    }
    Ok(())
}

#[derive(Clone)]
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
#[derive(Clone)]
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
