//! `towline relay check`: whether a store is sound.

use std::path::PathBuf;

use serde::Serialize;
use towline_relay::store::sqlite::{self, Report};

use super::directory::Directory;
use crate::failure::Failure;
use crate::json;

/// Check the store of a relay that does not run
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay check --data ./relay-data")]
pub(crate) struct Args {
    /// The relay's directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    devices: u64,
    prekeys: u64,
    numbers: u64,
    messages: u64,
    bytes: u64,
    faults: Vec<String>,
}

impl From<Report> for Answer {
    fn from(report: Report) -> Self {
        let Report { devices, prekeys, numbers, messages, bytes, faults } = report;
        let faults = faults.iter().map(|(fault, places)| format!("{fault}, {places} times"));
        Self { devices, prekeys, numbers, messages, bytes, faults: faults.collect() }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let directory = Directory::from(args.data.clone());
    let store = directory.existing_store()?;
    let _lock = directory.lock()?;
    let report = sqlite::check(&store)
        .map_err(|error| Failure::Failed(format!("{}: {error}", store.display())))?;
    let answer = Answer::from(report);
    if args.json {
        json::print(&answer)?;
    } else {
        let Answer { devices, prekeys, numbers, messages, bytes, .. } = &answer;
        eprintln!("{devices} devices with {prekeys} one-time prekeys, {numbers} chat numbers");
        eprintln!("{messages} messages of {bytes} bytes in all");
    }
    if answer.faults.is_empty() {
        return Ok(());
    }
    for fault in &answer.faults {
        eprintln!("towline: {}: {fault}", store.display());
    }
    Err(Failure::Reported)
}
