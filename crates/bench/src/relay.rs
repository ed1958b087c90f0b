//! The message relay over loopback, in a process of its own, with either store: SQLite, which is on the disk before it
//! answers, and one NATS server, in another process, with its own settings.

mod client;
mod idle;
mod load;
mod nats;
mod server;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Failure, median, runtime};
use load::{Load, Times};
use nats::Nats;
use server::Relay;

pub(crate) use server::{Arguments as ServerArguments, run as serve};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds that each load lasts
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Bytes of a message
    #[arg(long, default_value = "512", value_parser = clap::value_parser!(u32).range(16..=16_384))]
    bytes: u32,
    /// Messages per second of the even load
    #[arg(long, default_value = "5000", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    rate: u32,
    /// Rounds, whose medians are printed
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Connections that are logged in and then left alone
    #[arg(long, default_value = "5000", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    idle: u32,
    /// Where the store is kept meanwhile; what counts is how fast this disk syncs [default: the current directory]
    #[arg(long)]
    directory: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { seconds, bytes, rate, rounds, idle, directory } = arguments;
    let time = Duration::from_secs(*seconds);
    let directory = directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let bytes = *bytes as usize;
    let loads = [
        ("8 pairs, 64 on their way each", Load { pairs: 8, window: 64, rate: None, bytes, time }),
        ("8 pairs, an even load", Load { pairs: 8, window: 1000, rate: Some(*rate), bytes, time }),
        ("1 pair, 1 on its way", Load { pairs: 1, window: 1, rate: None, bytes, time }),
    ];
    let mut sqlite = vec![Vec::new(); loads.len()];
    let mut nats = vec![Vec::new(); loads.len()];
    let mut syncs = Vec::new();
    for _ in 0..*rounds {
        for (index, (_, load)) in loads.iter().enumerate() {
            let directory = tempfile::tempdir_in(&directory)?;
            sqlite[index].push(measure(load, directory.path().as_os_str())?);
            if let Some(server) = Nats::start(directory.path())? {
                nats[index].push(measure(load, server.url().as_ref())?);
            }
        }
        syncs.push(sync_time(&directory)?);
    }

    println!("{bytes}-byte messages, {seconds} s, median of {rounds} rounds");
    println!();
    println!("| | store | msg/s | p50 ms | p99 ms | max ms |");
    println!("|---|---|---|---|---|---|");
    for (store, all) in [("SQLite", &sqlite), ("NATS", &nats)] {
        for ((name, _), times) in loads.iter().zip(all).filter(|(_, times)| !times.is_empty()) {
            let of = |value: fn(&Times) -> f64| median(times.iter().map(value));
            println!(
                "| {name} | {store} | {:.0} | {:.2} | {:.2} | {:.1} |",
                of(|times| times.rate),
                of(|times| times.p50),
                of(|times| times.p99),
                of(|times| times.max),
            );
        }
    }
    println!("| fdatasync of this disk alone | | | {:.2} | | |", median(syncs.into_iter()));
    if nats[0].is_empty() {
        println!();
        println!("skipped: NATS: there is no nats-server");
    }

    if *idle > 0 {
        println!();
        let directory = tempfile::tempdir_in(&directory)?;
        idle::run(directory.path(), *idle)?;
    }
    Ok(())
}

/// A load on a relay with this store.
fn measure(load: &Load, store: &OsStr) -> Result<Times, Failure> {
    let relay = Relay::start(store)?;
    let times = runtime()?.block_on(load.run(relay.address()))?;
    relay.end()?;
    Ok(times)
}

/// Milliseconds, the median, until a few bytes are on the disk.
fn sync_time(directory: &Path) -> Result<f64, Failure> {
    let mut file = tempfile_in(directory)?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times.into_iter()))
}

fn tempfile_in(directory: &Path) -> Result<File, Failure> {
    Ok(tempfile::tempfile_in(directory)?)
}
