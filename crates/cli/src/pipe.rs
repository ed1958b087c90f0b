//! `towline pipe`: standard input and output over one session.

mod pace;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use towline::{
    Endpoint, EndpointBuilder, Framing, Mode, Mtu, Protocol, RecvHalf, SendHalf, Session,
    SessionOptions, Target,
};

use self::pace::Pace;
use crate::args::{
    HostPort, PLAIN_UDP, Patience, TransportArg, Wire, local_address_for, modes, mtu,
};
use crate::failure::{Failure, session_error};
use crate::shutdown::Shutdown;
use crate::stdio::{self, CHUNK, Stdout};

/// Carry standard input and output over one session
///
/// Each direction ends on its own: ours when standard input does. The program leaves when both are over. In
/// an unreliable session, where nothing tells how much the peer can take, input is sent at no more than
/// 25 MB/s, and five seconds of silence end the peer's direction once ours is over and anything was said.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  towline pipe --accept 0.0.0.0:9000 < /dev/null > copy
  towline pipe --connect 192.0.2.1:9000 --target tcp://copy:1 < original

  towline pipe --bare --local 127.0.0.1:7002 --peer 127.0.0.1:7001 --mode reliable --mtu 1018 < /dev/null > copy
  towline pipe --bare --local 127.0.0.1:7001 --peer 127.0.0.1:7002 --mode reliable --mtu 1018 < original")]
pub(crate) struct Args {
    /// Ask this exit for a session to --target
    #[arg(long, value_name = "HOST:PORT", group = "way", requires = "target")]
    connect: Option<HostPort>,
    /// Where the session shall lead: tcp://HOST:PORT or udp://HOST:PORT
    #[arg(long, value_name = "TARGET", requires = "connect")]
    target: Option<Target>,
    /// Listen here and accept the first session, whatever its target
    #[arg(long, value_name = "HOST:PORT", group = "way")]
    accept: Option<HostPort>,
    /// No handshake and no tag: each datagram is one data message of at most --mtu bytes
    #[arg(long, group = "way", required_unless_present_any = ["connect", "accept"],
        requires_all = ["local", "peer", "mode", "mtu"])]
    bare: bool,
    /// Where to listen for the peer's datagrams
    #[arg(long, value_name = "HOST:PORT", requires = "bare")]
    local: Option<HostPort>,
    /// Where the peer listens
    #[arg(long, value_name = "HOST:PORT", requires = "bare")]
    peer: Option<HostPort>,
    /// Whether lost data is recovered [default: reliable, but unreliable to a udp:// target]
    #[arg(long, value_parser = modes(), conflicts_with = "accept")]
    mode: Option<Mode>,
    /// Largest message in bytes; both ends must agree [default: 1400]
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    mtu: Option<Mtu>,
    /// How long a frame may stay incomplete before it is requested again or, if unreliable, skipped
    #[arg(long, value_name = "MS")]
    frame_timeout_ms: Option<u64>,
    /// How long an acknowledgement may wait for others
    #[arg(long, value_name = "MS")]
    ack_delay_ms: Option<u64>,
    #[command(flatten)]
    wire: Wire,
    #[command(flatten)]
    transport: TransportArg,
    #[command(flatten)]
    patience: Patience,
}

/// An MTU whose datagrams pass most of the Internet's tunnels, in bytes.
const DEFAULT_MTU: usize = 1400;

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut shutdown = Shutdown::listen();
    let (endpoint, session) = shutdown.guard(open(&args)).await?;
    let mode = session.options().mode;
    let (mut recv, mut send) = session.into_split();
    let (said_all, sent) = watch::channel(None);
    let both = async {
        tokio::try_join!(
            send_stdin(&mut send, mode, &said_all),
            receive_to_stdout(&mut recv, mode, sent)
        )
    };
    match shutdown.guard(both).await {
        Ok((sent, received)) => {
            eprintln!("towline: {sent} bytes sent, {} received", received.bytes);
            if received.ended {
                // The peer may have missed that we have everything, and would ask in vain.
                shutdown.linger(&endpoint, None).await;
            } else {
                eprintln!(
                    "towline: the peer is silent; its end may be lost in an unreliable session"
                );
            }
            Ok(())
        }
        Err(failure) => {
            endpoint.close().await;
            Err(failure)
        }
    }
}

async fn open(args: &Args) -> Result<(Endpoint, Session), Failure> {
    if let (Some(local), Some(peer), Some(mode)) = (&args.local, &args.peer, args.mode) {
        let (local, peer) = (local.resolve().await?, peer.resolve().await?);
        let endpoint = builder(args).framing(Framing::Bare).bind(local)?;
        announce(&endpoint);
        let session = endpoint.attach(peer, options(mode)).await;
        let session = session.map_err(|error| Failure::Failed(error.to_string()))?;
        return Ok((endpoint, session));
    }
    if let (Some(peer), Some(target)) = (&args.connect, &args.target) {
        let peer = peer.resolve().await?;
        let endpoint = args.patience.apply(builder(args)).bind(local_address_for(peer))?;
        eprintln!("{PLAIN_UDP}");
        let udp = matches!(target, Target::Service { protocol: Protocol::Udp, .. });
        let mode = args.mode.unwrap_or(if udp { Mode::Unreliable } else { Mode::Reliable });
        let session = endpoint.connect_with(peer, target, options(mode)).await;
        let failure = |error| Failure::Connect { peer, target: target.clone(), error };
        return Ok((endpoint, session.map_err(failure)?));
    }
    let Some(local) = &args.accept else {
        return Err(Failure::Usage("one of --connect, --accept and --bare is needed".to_owned()));
    };
    let endpoint = builder(args).bind(local.resolve().await?)?;
    let failure = |error: &dyn std::error::Error| Failure::Failed(error.to_string());
    let mut listener = endpoint.listen().map_err(|error| failure(&error))?;
    announce(&endpoint);
    loop {
        let incoming = listener.next_incoming().await;
        let incoming = incoming.ok_or_else(|| failure(&towline::EndpointClosed))?;
        let (peer, target) = (incoming.peer(), incoming.target());
        match incoming.accept().await {
            Ok(session) => {
                eprintln!("towline: session from {peer} to {target}");
                return Ok((endpoint, session));
            }
            Err(error) => eprintln!("towline: no session with {peer}: {error}"),
        }
    }
}

fn announce(endpoint: &Endpoint<SocketAddr>) {
    eprintln!("{PLAIN_UDP}");
    eprintln!("listening on {}", endpoint.local_address());
}

fn options(mode: Mode) -> SessionOptions {
    match mode {
        Mode::Reliable => SessionOptions::reliable(),
        Mode::Unreliable => SessionOptions::unreliable(),
    }
}

fn builder(args: &Args) -> EndpointBuilder {
    let frame_timeout = args.frame_timeout_ms.map(Duration::from_millis);
    let ack_delay = args.ack_delay_ms.map(Duration::from_millis);
    let mtu = args.mtu.unwrap_or(Mtu::new(DEFAULT_MTU).expect("the default is a valid MTU"));
    args.wire.endpoint(mtu, move |mut config| {
        if let Some(timeout) = frame_timeout {
            config = config.frame_timeout(timeout);
        }
        if let Some(delay) = ack_delay {
            config = config.ack_delay(delay);
        }
        config
    })
}

/// Sends standard input to its end; returns the number of bytes, and tells it, when the peer has them.
async fn send_stdin(
    send: &mut SendHalf,
    mode: Mode,
    said_all: &watch::Sender<Option<u64>>,
) -> Result<u64, Failure> {
    let mut input = stdio::stdin();
    let mut sent = 0;
    let mut pace = Pace::new(tokio::time::Instant::now());
    while let Some(chunk) = input.recv().await {
        let mut chunk = chunk.map_err(Failure::Stdin)?;
        sent += chunk.len() as u64;
        if mode == Mode::Unreliable {
            while !chunk.is_empty() {
                let frame = chunk.split_to(chunk.len().min(send.frame_size()));
                tokio::time::sleep_until(pace.after(tokio::time::Instant::now(), frame.len()))
                    .await;
                send.send_frame(frame).await?;
            }
        } else {
            send.write_all(&chunk).await.map_err(session_error)?;
        }
    }
    send.finish().await?;
    said_all.send_replace(Some(sent));
    Ok(sent)
}

/// What came of the peer's direction.
struct Received {
    bytes: u64,
    /// Whether the peer said so itself.
    ended: bool,
}

/// Silence that stands for the end of an unreliable peer: what says so may be lost, and nobody repeats it.
const SILENCE: Duration = Duration::from_secs(5);

/// Waits until an unreliable peer can be taken to be gone. One that has not come yet, when nothing was said
/// on either side, is waited for.
async fn gone(mode: Mode, sent: &mut watch::Receiver<Option<u64>>, received: u64) {
    if mode == Mode::Unreliable
        && let Ok(Some(sent)) = sent.wait_for(Option::is_some).await.map(|sent| *sent)
        && sent + received > 0
    {
        tokio::time::sleep(SILENCE).await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// Writes what comes to standard output; returns when all of it is written.
async fn receive_to_stdout(
    recv: &mut RecvHalf,
    mode: Mode,
    mut sent: watch::Receiver<Option<u64>>,
) -> Result<Received, Failure> {
    let mut output = Stdout::open().map_err(Failure::Stdout)?;
    let mut bytes = 0;
    let mut buffer = BytesMut::new();
    let ended = loop {
        buffer.reserve(CHUNK);
        let read = tokio::select! {
            read = recv.read_buf(&mut buffer) => read,
            () = gone(mode, &mut sent, bytes) => break Ok(false),
        };
        match read {
            Ok(0) => break Ok(true),
            Ok(length) => bytes += length as u64,
            Err(error) => break Err(session_error(error)),
        }
        output.write(buffer.split().freeze()).await.map_err(Failure::Stdout)?;
    };
    // What came before an error is good, whatever follows.
    output.finish().await.map_err(Failure::Stdout)?;
    Ok(Received { bytes, ended: ended? })
}
