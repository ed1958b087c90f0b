//! `towline demo`: the whole way in one process, over a bad network.

mod content;
mod progress;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use towline::forward::{AllowRule, Entry, Exit, Forwarded};
use towline::{Endpoint, EndpointBuilder, Stats, Target};
use towline_netsim::{LinkConfig, Loss};
use towline_transport::impaired::Impaired;
use towline_transport::udp::UdpTransport;

use self::content::Content;
use self::progress::Progress;
use crate::failure::Failure;
use crate::shutdown::Shutdown;
use crate::size;

/// Download through a bad network, all in this process
///
/// A TCP client downloads from a TCP service through an entry and an exit, whose UDP packets are lost and
/// delayed in both directions, and checks the SHA-256.
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline demo
  towline demo --bytes 256M --loss 20 --delay-ms 50 --json")]
pub(crate) struct Args {
    /// Bytes to download; K, M and G are powers of 1024
    #[arg(long, default_value = "64M", value_parser = size::parse)]
    bytes: u64,
    /// Packets that are lost in each direction, in percent
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    loss: f64,
    /// Time that packets travel one way, in milliseconds
    #[arg(long, value_name = "MS", default_value = "20", value_parser = clap::value_parser!(u64).range(..=10_000))]
    delay_ms: u64,
    /// Makes the same packets be lost again
    #[arg(long, value_name = "NUMBER", default_value = "7")]
    seed: u64,
    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    bytes: u64,
    seconds: f64,
    megabytes_per_second: f64,
    loss_percent: f64,
    delay_ms: u64,
    seed: u64,
    packets_lost: u64,
    retransmitted_segments: Option<u64>,
    rtt_ms: Option<f64>,
    sha256: String,
    verified: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut shutdown = Shutdown::listen();
    let report = shutdown.guard(download(&args)).await?;
    if args.json {
        crate::json::print(&report)?;
    }
    print(&report);
    if report.verified {
        Ok(())
    } else {
        Err(Failure::Failed(
            "the SHA-256 is another one: what came is not what was sent".to_owned(),
        ))
    }
}

async fn download(args: &Args) -> Result<Report, Failure> {
    eprintln!(
        "Downloading {} bytes through a network that loses {} % and takes {} ms each way (seed {})",
        args.bytes, args.loss, args.delay_ms, args.seed
    );
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));

    let (service, target) = listen_tcp().await?;
    let content = Content::new(args.seed, args.bytes);
    tokio::spawn(serve(service, content.clone()));

    let endpoint = builder().bind(local(0))?;
    let listener = endpoint.listen().map_err(|error| Failure::Failed(error.to_string()))?;
    let exit_address = endpoint.local_address();
    let (done, traffic) = oneshot::channel();
    let done = Mutex::new(Some(done));
    let rule: AllowRule = format!("tcp://{target}").parse().map_err(unexpected)?;
    let report = move |forwarded: Forwarded<SocketAddr>| {
        let done = done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            // The download may have been given up.
            let _ = done.send(forwarded.outcome);
        }
    };
    let exit = Exit::new([rule].into_iter().collect());
    tokio::spawn(exit.run(endpoint, listener, std::future::pending(), report));

    let link = LinkConfig {
        loss: Loss::Random(args.loss / 100.0),
        delay: Duration::from_millis(args.delay_ms),
        ..LinkConfig::default()
    };
    let udp = UdpTransport::bind(local(0)).map_err(|error| Failure::listen(local(0), error))?;
    let network = Impaired::new(udp, link.clone(), link, args.seed).map_err(unexpected)?;
    let control = network.control();
    let endpoint = builder().over(network)?;
    let (clients, entry_address) = listen_tcp().await?;
    let entry =
        Entry::new(endpoint, exit_address, Target::tcp(target.ip().to_string(), target.port()));
    let (refused, no_session) = oneshot::channel();
    let refused = Mutex::new(Some(refused));
    let report = move |forwarded: Forwarded<SocketAddr>| {
        let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(refused), Err(error)) = (refused, forwarded.outcome) {
            let _ = refused.send(error);
        }
    };
    tokio::spawn(entry.run(clients, std::future::pending(), report));

    let start = Instant::now();
    let sha256 = match fetch(entry_address, args.bytes).await {
        Ok(sha256) => sha256,
        Err(error) => {
            let cause =
                no_session.await.map_or_else(|_| error.to_string(), |cause| cause.to_string());
            return Err(Failure::Failed(format!("the download failed: {cause}")));
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let stats: Option<Stats> = match traffic.await {
        Ok(Ok(traffic)) => traffic.stats,
        _ => None,
    };
    let links = control.stats();
    Ok(Report {
        bytes: args.bytes,
        seconds,
        megabytes_per_second: args.bytes as f64 / 1e6 / seconds,
        loss_percent: args.loss,
        delay_ms: args.delay_ms,
        seed: args.seed,
        packets_lost: links.outgoing.lost + links.incoming.lost,
        retransmitted_segments: stats.map(|stats| stats.segments_retransmitted),
        rtt_ms: stats.and_then(|stats| stats.rtt).map(|rtt| rtt.as_secs_f64() * 1e3),
        verified: sha256 == content.sha256(),
        sha256: hex::encode(sha256),
    })
}

fn builder() -> EndpointBuilder {
    Endpoint::builder().data(|config| config.close_on_peer_finish(false))
}

async fn listen_tcp() -> Result<(TcpListener, SocketAddr), Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any).await.map_err(|error| Failure::listen(any, error))?;
    let address = listener.local_addr().map_err(|error| Failure::listen(any, error))?;
    Ok((listener, address))
}

/// The TCP service: sends the content to whoever connects.
async fn serve(listener: TcpListener, content: Content) {
    while let Ok((mut stream, _)) = listener.accept().await {
        for chunk in content.chunks() {
            // A client that leaves early has its reasons.
            if stream.write_all(&chunk).await.is_err() {
                break;
            }
        }
    }
}

/// The TCP client: the SHA-256 of all that comes, which is not more than was asked for.
async fn fetch(address: SocketAddr, bytes: u64) -> std::io::Result<[u8; 32]> {
    let mut stream = TcpStream::connect(address).await?;
    stream.shutdown().await?;
    let progress = Progress::new(bytes);
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            length => {
                sha256.update(&buffer[..length]);
                received += length as u64;
                progress.at(received);
            }
        }
    }
    progress.end();
    Ok(sha256.finalize().into())
}

fn unexpected(error: impl std::error::Error) -> Failure {
    Failure::Failed(error.to_string())
}

fn print(report: &Report) {
    eprintln!(
        "{} in {:.2} s: {} per second",
        size::human(report.bytes as f64),
        report.seconds,
        size::human(report.megabytes_per_second * 1e6)
    );
    let sent_again =
        report.retransmitted_segments.map_or("an unknown number of".to_owned(), |n| n.to_string());
    let rtt = report.rtt_ms.map_or("unknown".to_owned(), |rtt| format!("{rtt:.1} ms"));
    eprintln!(
        "{} packets lost, {sent_again} segments sent again, round trip {rtt}",
        report.packets_lost
    );
    eprintln!(
        "SHA-256 {} {}",
        report.sha256,
        if report.verified { "as sent" } else { "NOT as sent" }
    );
}

fn percent(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=90.0).contains(&percent) => Ok(percent),
        _ => Err("a loss is a number of percent, from 0 to 90"),
    }
}
