//! `towline perf`: how fast sessions are.

mod latency;
mod ping;
mod send;
mod serve;
mod service;

use std::time::Duration;

use crate::failure::Failure;

/// How long to go on answering a peer once the result is confirmed: its last word alone may be lost.
const LINGER: Duration = Duration::from_secs(1);

/// Measure what sessions carry and how long they take
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Serve(serve::Args),
    Send(send::Args),
    Ping(ping::Args),
}

pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Send(args) => send::run(args).await,
        Command::Ping(args) => ping::run(args).await,
    }
}
