//! `towline perf send`: how much sessions carry.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towline::{Mode, Session, Stats};

use super::LINGER;
use super::service::{PerfTarget, Service, count, failure, options};
use crate::args::{HostPort, PLAIN_UDP, Patience, TransportArg, Tuning, local_address_for, modes};
use crate::failure::Failure;
use crate::shutdown::Shutdown;
use crate::size;
use crate::usage::Usage;

/// Send as fast as possible to a `towline perf serve`
///
/// Bytes count when the server has confirmed them. Without --mode reliable nothing limits the sender but
/// its own socket, and what is lost is not made up for.
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline perf send --to 192.0.2.1:9000 --bytes 1G
  towline perf send --to 192.0.2.1:9000 --duration 10 --sessions 4 --mtu 1018 --json")]
pub(crate) struct Args {
    /// Where the server is
    #[arg(long, value_name = "HOST:PORT")]
    to: HostPort,
    /// Bytes to send, all sessions together; K, M and G are powers of 1024
    #[arg(long, value_parser = size::parse, required_unless_present = "duration", conflicts_with = "duration")]
    bytes: Option<u64>,
    /// Seconds to send for
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Whether lost data is recovered
    #[arg(long, default_value = "reliable", value_parser = modes())]
    mode: Mode,
    /// Sessions to send over, all at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    sessions: u16,
    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    transport: TransportArg,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    tuning: Tuning,
}

#[derive(Serialize)]
struct Report {
    seconds: f64,
    megabytes_per_second: f64,
    bytes: u64,
    mtu: usize,
    sessions: u16,
    cpu_user: Option<f64>,
    cpu_sys: Option<f64>,
    max_rss: Option<u64>,
    retransmitted_segments: u64,
    rtt_ms: Option<f64>,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut shutdown = Shutdown::listen();
    let to = args.to.resolve().await?;
    let endpoint = args.patience.apply(args.tuning.endpoint()).bind(local_address_for(to))?;
    eprintln!("{PLAIN_UDP}");
    let target = PerfTarget { service: Service::Sink, mtu: args.tuning.mtu }.into();
    let work = async {
        let mut sessions = Vec::new();
        for _ in 0..args.sessions {
            let session = endpoint.connect_with(to, &target, options(args.mode)).await;
            sessions.push(session.map_err(|error| failure(to, error))?);
        }
        measure(&args, sessions).await
    };
    let (report, sent) = match shutdown.guard(work).await {
        Ok(result) => result,
        Err(failure) => {
            endpoint.close().await;
            return Err(failure);
        }
    };
    print(&args, &report, sent)?;
    shutdown.linger(&endpoint, Some(LINGER)).await;
    Ok(())
}

async fn measure(args: &Args, sessions: Vec<Session>) -> Result<(Report, u64), Failure> {
    let before = Usage::now();
    let start = Instant::now();
    let mut running = JoinSet::new();
    for (index, session) in sessions.into_iter().enumerate() {
        let until = match (args.bytes, args.duration) {
            (Some(bytes), _) => Until::Bytes(share(bytes, index as u64, args.sessions.into())),
            (None, duration) => Until::Time(start + duration.unwrap_or_default()),
        };
        running.spawn(send(session, until));
    }
    let mut total = Outcome::default();
    let mut rtts = Vec::new();
    while let Some(outcome) = running.join_next().await {
        let outcome = outcome.map_err(|error| Failure::Failed(error.to_string()))??;
        total.sent += outcome.sent;
        total.confirmed += outcome.confirmed;
        total.stats.segments_retransmitted += outcome.stats.segments_retransmitted;
        rtts.extend(outcome.stats.rtt);
    }
    let seconds = start.elapsed().as_secs_f64();
    let usage = Usage::now();
    let cpu = |of: fn(&Usage) -> Duration| {
        Some(of(usage.as_ref()?).saturating_sub(of(before.as_ref()?)).as_secs_f64())
    };
    let rtt = rtts.iter().sum::<Duration>() / u32::try_from(rtts.len().max(1)).unwrap_or(u32::MAX);
    let report = Report {
        seconds,
        megabytes_per_second: total.confirmed as f64 / 1e6 / seconds,
        bytes: total.confirmed,
        mtu: args.tuning.mtu.get(),
        sessions: args.sessions,
        cpu_user: cpu(|usage| usage.user),
        cpu_sys: cpu(|usage| usage.system),
        max_rss: usage.map(|usage| usage.max_rss),
        retransmitted_segments: total.stats.segments_retransmitted,
        rtt_ms: (!rtts.is_empty()).then_some(rtt.as_secs_f64() * 1e3),
    };
    Ok((report, total.sent))
}

#[derive(Clone, Copy)]
enum Until {
    Bytes(u64),
    Time(Instant),
}

#[derive(Default)]
struct Outcome {
    sent: u64,
    confirmed: u64,
    stats: Stats,
}

async fn send(mut session: Session, until: Until) -> Result<Outcome, Failure> {
    let frame = Bytes::from(vec![0x5a; session.frame_size()]);
    let mut sent = 0;
    loop {
        let length = match until {
            Until::Bytes(bytes) => usize::try_from(bytes - sent).unwrap_or(usize::MAX),
            Until::Time(end) if Instant::now() < end => frame.len(),
            Until::Time(_) => 0,
        };
        if length == 0 {
            break;
        }
        let frame = frame.slice(..length.min(frame.len()));
        sent += frame.len() as u64;
        session.send_frame(frame).await?;
    }
    session.finish().await?;
    let stats = session.stats().await.unwrap_or_default();
    let confirmed = count(&mut session).await?;
    if session.options().mode == Mode::Reliable && confirmed != sent {
        return Err(Failure::Failed(format!("{sent} bytes sent, {confirmed} received")));
    }
    Ok(Outcome { sent, confirmed, stats })
}

/// What the session of this index sends of all bytes.
fn share(bytes: u64, index: u64, sessions: u64) -> u64 {
    bytes / sessions + u64::from(index < bytes % sessions)
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a duration is a number of seconds, up to a day".to_owned()),
    }
}

fn print(args: &Args, report: &Report, sent: u64) -> Result<(), Failure> {
    if args.json {
        return crate::json::print(report);
    }
    let per_second = report.megabytes_per_second * 1e6;
    eprintln!(
        "{} in {:.2} s: {} per second, {} segments sent again{}",
        size::human(report.bytes as f64),
        report.seconds,
        size::human(per_second),
        report.retransmitted_segments,
        report.rtt_ms.map_or_else(String::new, |rtt| format!(", round trip {rtt:.2} ms"))
    );
    if sent > report.bytes {
        let lost = (sent - report.bytes) as f64;
        eprintln!("{} lost, {:.2} %", size::human(lost), 100.0 * lost / sent as f64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (bytes, sessions) in [(10, 3), (2, 5), (0, 1), (1 << 30, 7)] {
            let sum: u64 = (0..sessions).map(|index| share(bytes, index, sessions)).sum();
            assert_eq!(sum, bytes);
        }
    }
}
