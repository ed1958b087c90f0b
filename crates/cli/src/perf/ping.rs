//! `towline perf ping`: how long answers take.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::{Instant, sleep_until, timeout_at};
use towline::{Mode, RecvHalf, SendHalf, Session};

use super::LINGER;
use super::latency::{Latencies, Summary};
use super::service::{PerfTarget, Service, failure, options};
use crate::args::{HostPort, PLAIN_UDP, Patience, TransportArg, Tuning, local_address_for, modes};
use crate::failure::Failure;
use crate::shutdown::Shutdown;

/// Measure how long a `towline perf serve` takes to answer
///
/// One message waits for the answer to the one before, unless --rate is given: then they leave when they
/// are due, and times count from there even if one leaves late.
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline perf ping --to 192.0.2.1:9000 --count 1000 --size 100 --rate 200 --json")]
pub(crate) struct Args {
    /// Where the server is
    #[arg(long, value_name = "HOST:PORT")]
    to: HostPort,
    /// Messages to send
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    count: u64,
    /// Bytes in each, at least 8
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(8..))]
    size: u32,
    /// Messages per second
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Whether lost data is recovered
    #[arg(long, default_value = "reliable", value_parser = modes())]
    mode: Mode,
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

/// How long an answer may take before it counts as lost.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut shutdown = Shutdown::listen();
    let to = args.to.resolve().await?;
    let endpoint = args.patience.apply(args.tuning.endpoint()).bind(local_address_for(to))?;
    eprintln!("{PLAIN_UDP}");
    let target = PerfTarget { service: Service::Echo, mtu: args.tuning.mtu }.into();
    let work = async {
        let session = endpoint.connect_with(to, &target, options(args.mode)).await;
        measure(&args, session.map_err(|error| failure(to, error))?).await
    };
    let result = shutdown.guard(work).await;
    if result.is_err() {
        endpoint.close().await;
    }
    let summary = result?;
    if args.json {
        crate::json::print(&summary)?;
    } else {
        describe(&args, &summary);
    }
    shutdown.linger(&endpoint, Some(LINGER)).await;
    Ok(())
}

async fn measure(args: &Args, mut session: Session) -> Result<Summary, Failure> {
    let size = args.size as usize;
    if size > session.frame_size() {
        session.abort();
        return Err(Failure::Usage(format!(
            "--size {size} is more than one message of this session holds, which is {} bytes",
            session.frame_size()
        )));
    }
    let (mut recv, mut send) = session.into_split();
    let latencies = match args.rate {
        None => one_by_one(&mut recv, &mut send, args.count, size).await?,
        Some(rate) => {
            let start = Instant::now();
            let due = |number: u64| start + Duration::from_secs_f64(number as f64 / rate);
            let (_, latencies) = tokio::try_join!(
                send_when_due(&mut send, args.count, size, due),
                collect(&mut recv, args.count, due)
            )?;
            latencies
        }
    };
    send.finish().await?;
    // Until the peer has finished too, or is known to be gone.
    while let Ok(Ok(Some(_))) =
        timeout_at(Instant::now() + ANSWER_PATIENCE, recv.recv_frame()).await
    {}
    Ok(latencies.summary(args.count))
}

async fn one_by_one(
    recv: &mut RecvHalf,
    send: &mut SendHalf,
    count: u64,
    size: usize,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::default();
    for number in 0..count {
        let start = Instant::now();
        send.send_frame(message(number, size)).await?;
        while let Ok(frame) = timeout_at(start + ANSWER_PATIENCE, recv.recv_frame()).await {
            let Some(frame) = frame? else { return Ok(latencies) };
            // An answer that was given up may come yet.
            if number_of(&frame.into_bytes()) == Some(number) {
                latencies.add(start.elapsed());
                break;
            }
        }
    }
    Ok(latencies)
}

async fn send_when_due(
    send: &mut SendHalf,
    count: u64,
    size: usize,
    due: impl Fn(u64) -> Instant,
) -> Result<(), Failure> {
    for number in 0..count {
        sleep_until(due(number)).await;
        send.send_frame(message(number, size)).await?;
    }
    Ok(())
}

async fn collect(
    recv: &mut RecvHalf,
    count: u64,
    due: impl Fn(u64) -> Instant,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::default();
    let end = due(count) + ANSWER_PATIENCE;
    for _ in 0..count {
        let Ok(frame) = timeout_at(end, recv.recv_frame()).await else { break };
        let Some(frame) = frame? else { break };
        if let Some(number) = number_of(&frame.into_bytes()).filter(|&number| number < count) {
            latencies.add(Instant::now().saturating_duration_since(due(number)));
            // In an unreliable session nothing comes after the last one.
            if number + 1 == count {
                break;
            }
        }
    }
    Ok(latencies)
}

/// A message that tells its number.
fn message(number: u64, size: usize) -> Bytes {
    let mut message = BytesMut::zeroed(size);
    (&mut message[..]).put_u64(number);
    message.freeze()
}

fn number_of(message: &[u8]) -> Option<u64> {
    message.first_chunk().map(|&bytes| u64::from_be_bytes(bytes))
}

fn rate(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of messages per second, from 0.001 to 1000000"),
    }
}

fn describe(args: &Args, summary: &Summary) {
    let time = |micros: Option<f64>| {
        micros.map_or_else(|| "none".to_owned(), |micros| format!("{:.3} ms", micros / 1e3))
    };
    eprintln!(
        "{} messages of {} bytes: median {}, 90 % {}, 99 % {}, 99.9 % {}, longest {}, {} lost",
        args.count,
        args.size,
        time(summary.p50_us),
        time(summary.p90_us),
        time(summary.p99_us),
        time(summary.p999_us),
        time(summary.max_us),
        summary.lost
    );
}
