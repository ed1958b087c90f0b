//! `towline relay`: messages and prekeys for devices that are away.

mod backup;
mod check;
mod client;
mod directory;
mod limits;
mod serve;

use crate::failure::Failure;
use crate::live;

/// Keep sealed messages and prekeys for devices that are away
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Serve(Box<serve::Args>),
    Check(check::Args),
    Backup(backup::Args),
    #[command(subcommand)]
    Client(client::Command),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => live(serve::run(*args)),
        Command::Check(args) => check::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Client(command) => live(client::run(command)),
    }
}
