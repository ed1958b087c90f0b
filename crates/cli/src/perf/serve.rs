//! `towline perf serve`: the end that counts and echoes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use towline::start::Rate;
use towline::{Endpoint, EndpointBuilder, ErrorReason, Incoming, Mode, Session, SessionError};
use towline_transport::udp::{UdpConfig, UdpTransport};

use super::LINGER;
use super::service::{COPIES, COPY_SPACING, DialectArg, PerfTarget, SILENCE, Service, count_frame};
use crate::args::{HostPort, PLAIN_UDP, TransportArg};
use crate::failure::Failure;
use crate::notices::Notices;
use crate::shutdown::Shutdown;

/// Serve measurements
///
/// The server takes on the MTU that a measurement asks for.
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline perf serve --listen 0.0.0.0:9000
  (and elsewhere) towline perf send --to HOST:9000 --bytes 1G")]
pub(crate) struct Args {
    /// Where to listen for sessions
    #[arg(long, value_name = "HOST:PORT")]
    listen: HostPort,
    /// End after the first measurement
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    transport: TransportArg,
    #[command(flatten)]
    dialect: DialectArg,
}

/// The largest payload of a UDP datagram, in bytes.
const MAX_DATAGRAM: usize = 65_507;

/// How long the other sessions of a measurement may take to open before this one's data comes.
const BEGIN_PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut shutdown = Shutdown::listen();
    let endpoint = bind(args.listen.resolve().await?, &args)?;
    let mut listener = endpoint.listen().map_err(|error| Failure::Failed(error.to_string()))?;
    eprintln!("{PLAIN_UDP}");
    eprintln!("listening on {}", endpoint.local_address());

    let notices = Arc::new(Notices::new());
    let mut sessions = JoinSet::new();
    let mut failed = false;
    loop {
        tokio::select! {
            () = shutdown.asked() => {
                endpoint.close().await;
                return Ok(());
            }
            incoming = listener.next_incoming() => {
                let Some(incoming) = incoming else {
                    return Err(Failure::Failed("the socket failed".to_owned()));
                };
                sessions.spawn(serve(incoming, Arc::clone(&notices)));
            }
            Some(served) = sessions.join_next() => {
                match served {
                    Ok(Served::Refused) => continue,
                    Ok(Served::Well) => {}
                    Ok(Served::Failed) | Err(_) => failed = true,
                }
                // All sessions of a measurement begin before its first one ends.
                if args.once && sessions.is_empty() {
                    break;
                }
            }
        }
    }
    drop(listener);
    shutdown.linger(&endpoint, Some(LINGER)).await;
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

fn bind(address: SocketAddr, args: &Args) -> Result<Endpoint, Failure> {
    let udp = UdpConfig { max_datagram_size: MAX_DATAGRAM, ..UdpConfig::default() };
    let transport =
        UdpTransport::bind_with(address, udp).map_err(|error| Failure::listen(address, error))?;
    let many = Rate { burst: 4096, refill: Duration::from_millis(1) };
    let builder = EndpointBuilder::default()
        .dialect(args.dialect.dialect)
        .data(|config| config.close_on_peer_finish(false))
        // All sessions of a measurement come from one peer, at once.
        .start(move |config| config.request_rate(many).peer_request_rate(many));
    Ok(builder.over(transport)?)
}

enum Served {
    Well,
    Failed,
    Refused,
}

async fn serve(incoming: Incoming, notices: Arc<Notices>) -> Served {
    let peer = incoming.peer();
    let Ok(target) = PerfTarget::try_from(&incoming.target()) else {
        notices.say(|| format!("{peer} wants something else than a measurement: refused"));
        incoming.refuse(ErrorReason::UNKNOWN);
        return Served::Refused;
    };
    let session = match incoming.accept_with_mtu(target.mtu).await {
        Ok(session) => session,
        Err(error) => {
            notices.say(|| format!("{peer}, {target}: {error}"));
            return Served::Refused;
        }
    };
    let result = match target.service {
        Service::Sink => sink(session).await,
        Service::Echo => echo(session).await,
    };
    match result {
        Ok(bytes) => {
            notices.say(|| format!("{peer}, {target}: {bytes} bytes received"));
            Served::Well
        }
        Err(error) => {
            notices.say(|| format!("{peer}, {target}: {error}"));
            Served::Failed
        }
    }
}

async fn sink(mut session: Session) -> Result<u64, SessionError> {
    let mut bytes = 0;
    if session.options().mode == Mode::Reliable {
        while let Some(frame) = session.recv_frame().await? {
            bytes += frame.remaining() as u64;
        }
        session.send_frame(count_frame(bytes)).await?;
    } else {
        let mut patience = BEGIN_PATIENCE;
        while let Ok(frame) = timeout(patience, session.recv_frame()).await {
            let Some(frame) = frame? else { break };
            bytes += frame.remaining() as u64;
            patience = SILENCE;
        }
        for _ in 0..COPIES {
            session.send_frame(count_frame(bytes)).await?;
            sleep(COPY_SPACING).await;
        }
    }
    session.finish().await?;
    Ok(bytes)
}

async fn echo(mut session: Session) -> Result<u64, SessionError> {
    let mut bytes = 0;
    while let Some(frame) = session.recv_frame().await? {
        bytes += frame.remaining() as u64;
        session.send_frame(frame.into_bytes()).await?;
    }
    session.finish().await?;
    Ok(bytes)
}
