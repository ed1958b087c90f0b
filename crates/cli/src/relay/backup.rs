//! `towline relay backup`: a copy of a store that is in use.

use std::path::PathBuf;

use towline_relay::store::sqlite;

use super::directory::Directory;
use crate::failure::Failure;

/// Copy the store of a relay, which may run meanwhile
///
/// The copy is what was in the store at one moment. To go on with it, put it as relay.db into a directory of its own,
/// and give that to a relay as its --data.
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay backup --data ./relay-data --to ./relay-2026-01-31.db")]
pub(crate) struct Args {
    /// The relay's directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file to write, which must not be there yet
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let store = Directory::from(args.data.clone()).existing_store()?;
    sqlite::backup(&store, &args.to)
        .map_err(|error| Failure::Failed(format!("{}: {error}", args.to.display())))?;
    eprintln!("copied to {}", args.to.display());
    Ok(())
}
