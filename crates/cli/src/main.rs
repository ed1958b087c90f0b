//! The program `towline`.

mod args;
mod decode;
mod demo;
mod entry;
mod exit;
mod failure;
mod json;
mod notices;
mod perf;
mod pipe;
mod relay;
mod shutdown;
mod size;
mod stdio;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Sessions over networks that lose, reorder and delay packets, and a relay for who is away.
#[derive(Parser)]
#[command(name = "towline", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Exit(exit::Args),
    Entry(entry::Args),
    Pipe(pipe::Args),
    #[command(subcommand)]
    Perf(perf::Command),
    Decode(decode::Args),
    Demo(demo::Args),
    #[command(subcommand)]
    Relay(relay::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What a person has to know is printed; this is for those who look for a fault.
    let filter = match std::env::var("TOWLINE_LOG").as_deref().map(EnvFilter::try_new) {
        Ok(Ok(filter)) => filter,
        Ok(Err(error)) => {
            eprintln!("towline: TOWLINE_LOG: {error}");
            return ExitCode::from(2);
        }
        Err(_) => EnvFilter::new("warn"),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let result = match cli.command {
        Command::Decode(args) => decode::run(&args),
        Command::Exit(args) => live(exit::run(args)),
        Command::Entry(args) => live(entry::run(args)),
        Command::Pipe(args) => live(pipe::run(args)),
        // One thread: handing frames to another costs more than it saves.
        Command::Perf(command) => live_on(Builder::new_current_thread(), perf::run(command)),
        Command::Demo(args) => live(demo::run(args)),
        Command::Relay(command) => relay::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            Cli::command().error(clap::error::ErrorKind::ValueValidation, message).exit()
        }
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("towline: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that talks to the network.
fn live(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    live_on(Builder::new_multi_thread(), command)
}

fn live_on(
    mut runtime: Builder,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = runtime.enable_all().build().map_err(Failure::Runtime)?;
    let result = runtime.block_on(command);
    // A thread may be stuck in reading standard input or in resolving a name: the end does not wait for it.
    runtime.shutdown_background();
    result
}
