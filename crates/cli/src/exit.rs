//! `towline exit`: the far end of sessions.

use std::net::SocketAddr;

use towline::forward::{AllowRule, Exit, ForwardError, Forwarded};

use crate::args::{HostPort, PLAIN_UDP, TransportArg, Tuning};
use crate::failure::Failure;
use crate::notices::Notices;
use crate::shutdown::Shutdown;

const ALLOW_HELP: &str = "A target that sessions may lead to; may be given several times: tcp://HOST:PORT or \
    udp://HOST:PORT, where the host is a name, *.NAME, an address, a block such as 10.0.0.0/8 or [fd00::]/8, or *, \
    and the port a number or *";

/// Accept sessions and connect each to its target
///
/// Without a rule that allows it, a target is refused.
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline exit --listen 0.0.0.0:9000 --allow tcp://127.0.0.1:22 --allow 'tcp://10.0.0.0/8:443'
  (and elsewhere) towline entry --listen tcp://127.0.0.1:2222 --exit HOST:9000 --target tcp://127.0.0.1:22")]
pub(crate) struct Args {
    /// Where to listen for sessions
    #[arg(long, value_name = "HOST:PORT")]
    listen: HostPort,
    /// A target that sessions may lead to; may be given several times
    #[arg(long, value_name = "TARGET", required = true, help = ALLOW_HELP)]
    allow: Vec<AllowRule>,
    /// Most sessions at a time
    #[arg(long, value_name = "N", default_value = "16384")]
    max_sessions: usize,
    #[command(flatten)]
    transport: TransportArg,
    #[command(flatten)]
    tuning: Tuning,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut shutdown = Shutdown::listen();
    let max_sessions = args.max_sessions;
    let address = args.listen.resolve().await?;
    let endpoint = args
        .tuning
        .endpoint()
        .start(move |config| config.max_sessions(max_sessions))
        .bind(address)?;
    let listener = endpoint.listen().map_err(|error| Failure::Failed(error.to_string()))?;
    eprintln!("{PLAIN_UDP}");
    eprintln!("listening on {}", endpoint.local_address());

    let exit = Exit::new(args.allow.into_iter().collect());
    let notices = Notices::new();
    let report = move |forwarded| notices.say(|| describe(&forwarded));
    exit.run(endpoint, listener, shutdown.asked(), report).await;
    Ok(())
}

fn describe(forwarded: &Forwarded<SocketAddr>) -> String {
    let Forwarded { peer, target, outcome, .. } = forwarded;
    match outcome {
        Ok(traffic) => format!(
            "{peer} to {target}: done, {} bytes there and {} back",
            traffic.received, traffic.sent
        ),
        Err(ForwardError::NotAllowed) => {
            format!("{peer} to {target}: refused, no --allow rule covers it")
        }
        Err(error @ (ForwardError::Unsupported | ForwardError::Unreachable(_))) => {
            format!("{peer} to {target}: refused, {error}")
        }
        Err(error) => format!("{peer} to {target}: {error}"),
    }
}
