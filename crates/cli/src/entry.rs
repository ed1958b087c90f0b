//! `towline entry`: the near end of sessions.

use std::net::SocketAddr;
use std::str::FromStr;

use tokio::net::TcpListener;
use towline::forward::{Entry, ForwardError, Forwarded};
use towline::{Mode, Protocol, Target};

use crate::args::{HostPort, PLAIN_UDP, Patience, TransportArg, Tuning, local_address_for, modes};
use crate::failure::{Failure, connect_advice};
use crate::notices::Notices;
use crate::shutdown::Shutdown;

/// Listen locally and open a session for each connection
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline entry --listen tcp://127.0.0.1:2222 --exit 192.0.2.1:9000 --target tcp://127.0.0.1:22
  ssh -p 2222 127.0.0.1

The target is reached from the exit: its 127.0.0.1 is the exit's own. The exit need not be up yet.")]
pub(crate) struct Args {
    /// Where to listen for connections: tcp://HOST:PORT
    #[arg(long, value_name = "URL")]
    listen: Local,
    /// Where the exit is
    #[arg(long, value_name = "HOST:PORT")]
    exit: HostPort,
    /// Where the sessions shall lead: tcp://HOST:PORT
    #[arg(long, value_name = "TARGET", required = true)]
    target: Target,
    /// Whether lost data is recovered; a TCP connection needs that
    #[arg(long, default_value = "reliable", value_parser = modes())]
    mode: Mode,
    #[command(flatten)]
    transport: TransportArg,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    tuning: Tuning,
}

/// Where connections come from.
#[derive(Clone, Debug)]
struct Local(HostPort);

impl FromStr for Local {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("tcp", address)) => address.parse().map(Self).map_err(str::to_owned),
            Some((scheme @ ("udp" | "socks5"), _)) => {
                Err(format!("{scheme}:// listeners are not supported yet, only tcp://"))
            }
            _ => Err("a listener is tcp://HOST:PORT".to_owned()),
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    check(&args.target, args.mode).map_err(Failure::Usage)?;
    let mut shutdown = Shutdown::listen();
    let local = args.listen.0.resolve().await?;
    let exit = args.exit.resolve().await?;
    let listener = TcpListener::bind(local).await.map_err(|error| Failure::listen(local, error))?;
    let local = listener.local_addr().map_err(|error| Failure::listen(local, error))?;
    let endpoint = args.patience.apply(args.tuning.endpoint()).bind(local_address_for(exit))?;
    eprintln!("{PLAIN_UDP}");
    eprintln!("listening on tcp://{local}");

    let notices = Notices::new();
    let report = move |forwarded| notices.say(|| describe(exit, &forwarded));
    Entry::new(endpoint, exit, args.target).run(listener, shutdown.asked(), report).await;
    Ok(())
}

/// What a TCP connection cannot do with.
fn check(target: &Target, mode: Mode) -> Result<(), String> {
    if !matches!(target, Target::Service { protocol: Protocol::Tcp, .. }) {
        return Err(format!("connections to a tcp:// listener cannot lead to {target}"));
    }
    if mode == Mode::Unreliable {
        return Err("connections to a tcp:// listener need --mode reliable".to_owned());
    }
    Ok(())
}

fn describe(exit: SocketAddr, forwarded: &Forwarded<SocketAddr>) -> String {
    let Forwarded { peer, target, outcome, .. } = forwarded;
    match outcome {
        Ok(traffic) => format!(
            "{peer} to {target}: done, {} bytes there and {} back",
            traffic.sent, traffic.received
        ),
        Err(ForwardError::Connect(error)) => {
            format!("{peer}: {}", connect_advice(&exit, target, error))
        }
        Err(error) => format!("{peer} to {target}: {error}"),
    }
}
