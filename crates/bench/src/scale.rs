//! Many sessions between two endpoints: what it takes to set them up, to keep them while nothing happens, and to
//! send over all of them at once.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use towline::start::Rate;
use towline::{EndpointBuilder, Session, SessionOptions, Target};

use crate::sessions::{between_endpoints, endpoint};
use crate::usage::{processor_time, resident_memory};
use crate::{DATAGRAM, Failure, median};

/// Requests for a session that wait for their answer at once.
const REQUESTS: usize = 256;
/// So long after the last session that has finished, there is no hope for the others.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Sessions that are set up, and then left alone
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    idle: u32,
    /// Seconds for which they are: each sends a keep-alive once a minute
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Sessions that send at once
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    active: u32,
    /// Megabytes (10^6) that all of these carry together
    #[arg(long, default_value = "2000", value_parser = clap::value_parser!(u64).range(10..=100_000))]
    megabytes: u64,
    /// Rounds of sending
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { idle, seconds, active, megabytes, rounds } = *arguments;
    let kept = keep(idle, Duration::from_secs(seconds))?;
    println!("| {idle} sessions over loopback, both ends together | |");
    println!("|---|---|");
    println!("| set up | {:.2} s |", kept.set_up.as_secs_f64());
    println!("| processor time of that | {:.2} s |", kept.set_up_processor.as_secs_f64());
    println!("| memory for each end of an idle one | {:.2} KiB |", kept.memory / 1024.0);
    println!("| processor time while idle | {:.2} % of a core |", 100.0 * kept.share);
    println!();

    let bytes = megabytes * 1_000_000;
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (costs, sessions) in costs.iter_mut().zip([1, active]) {
            costs.push(carry(sessions, bytes)?);
        }
    }
    println!("| {DATAGRAM}-byte datagrams | MB/s | CPU s/GiB, both ends |");
    println!("|---|---|---|");
    for (costs, sessions) in costs.iter().zip([1, active]) {
        println!(
            "| {sessions} at once | {:.0} | {:.2} |",
            median(costs.iter().map(|cost| cost.rate)),
            median(costs.iter().map(|cost| cost.processor)),
        );
    }
    Ok(())
}

struct Kept {
    set_up: Duration,
    set_up_processor: Duration,
    /// Bytes for each end.
    memory: f64,
    /// Of one core.
    share: f64,
}

fn keep(sessions: u32, time: Duration) -> Result<Kept, Failure> {
    let memory_before = resident_memory();
    let (tell, kept) = mpsc::channel();
    with_sessions(
        sessions,
        async |sessions| {
            // Until the other end is gone.
            let ends = sessions.into_iter().map(async |mut session| session.recv_frame().await);
            ends.collect::<FuturesUnordered<_>>().for_each(async |_| ()).await;
            Ok(())
        },
        async move |began, sessions| {
            let set_up = began.time.elapsed();
            let set_up_processor = processor_time().saturating_sub(began.processor);
            let memory = resident_memory().saturating_sub(memory_before) as f64;
            let before = processor_time();
            tokio::time::sleep(time).await;
            let idle = processor_time().saturating_sub(before);
            tell.send(Kept {
                set_up,
                set_up_processor,
                memory: memory / 2.0 / sessions.len() as f64,
                share: idle.as_secs_f64() / time.as_secs_f64(),
            })?;
            Ok(())
        },
    )?;
    Ok(kept.recv()?)
}

struct Cost {
    /// Megabytes per second that arrived.
    rate: f64,
    /// Processor seconds of both ends for each GiB.
    processor: f64,
}

/// Carries `bytes`, the same share over each session, and confirms them.
fn carry(sessions: u32, bytes: u64) -> Result<Cost, Failure> {
    let (tell, cost) = mpsc::channel();
    with_sessions(
        sessions,
        async |sessions| {
            let ends = sessions.into_iter().map(async |mut session| -> Result<(), Failure> {
                while let Some(frame) = session.recv_frame().await? {
                    drop(frame);
                }
                session.finish().await?;
                Ok(())
            });
            each(ends).await
        },
        async move |_, all| {
            let (began, before) = (Instant::now(), processor_time());
            let share = bytes / u64::from(sessions);
            each(all.into_iter().map(async |mut session| -> Result<(), Failure> {
                let frame = Bytes::from(vec![0xa5; session.frame_size()]);
                for _ in 0..share / frame.len() as u64 {
                    session.send_frame(frame.clone()).await?;
                }
                session.finish().await?;
                match session.recv_frame().await? {
                    None => Ok(()),
                    Some(frame) => Err(format!("{} bytes came back", frame.remaining()).into()),
                }
            }))
            .await?;
            let used = processor_time().saturating_sub(before).as_secs_f64();
            tell.send(Cost {
                rate: bytes as f64 / 1e6 / began.elapsed().as_secs_f64(),
                processor: used / bytes as f64 * f64::from(1 << 30),
            })?;
            Ok(())
        },
    )?;
    Ok(cost.recv()?)
}

async fn each(
    ends: impl Iterator<Item = impl Future<Output = Result<(), Failure>>>,
) -> Result<(), Failure> {
    let mut ends: FuturesUnordered<_> = ends.collect();
    while let Some(end) = tokio::time::timeout(PATIENCE, ends.next())
        .await
        .map_err(|_| format!("{} sessions stand still", ends.len()))?
    {
        end?;
    }
    Ok(())
}

/// When the first request was sent.
#[derive(Clone, Copy)]
struct Began {
    time: Instant,
    processor: Duration,
}

/// Sessions between two endpoints.
fn with_sessions(
    count: u32,
    there: impl AsyncFnOnce(Vec<Session>) -> Result<(), Failure> + Send + 'static,
    here: impl AsyncFnOnce(Began, Vec<Session>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    between_endpoints(
        open_endpoint,
        async move |mut listener| {
            let mut sessions = Vec::new();
            while sessions.len() < count as usize {
                let incoming = listener.next_incoming().await.ok_or("the listener has ended")?;
                sessions.push(incoming.accept().await?);
            }
            there(sessions).await
        },
        async move |entry, address| {
            let began = Began { time: Instant::now(), processor: processor_time() };
            let target = &Target::tcp("bench.example", 7);
            let requests =
                (0..count).map(|_| entry.connect_with(address, target, SessionOptions::reliable()));
            let mut requests = futures::stream::iter(requests).buffer_unordered(REQUESTS);
            let mut sessions = Vec::new();
            while let Some(session) = requests.next().await {
                sessions.push(session?);
            }
            here(began, sessions).await
        },
    )
}

/// An endpoint that lets one peer ask for as many sessions as it likes.
fn open_endpoint() -> Result<EndpointBuilder, Failure> {
    let any = Rate { burst: 1_000_000, refill: Duration::from_micros(1) };
    Ok(endpoint()?.start(move |start| {
        start.request_rate(any).peer_request_rate(any).max_sessions(100_000).max_remembered(100_000)
    }))
}
