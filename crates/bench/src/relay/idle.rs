//! Connections that are logged in, and wait.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use futures::StreamExt;
use tokio::net::TcpSocket;
use tokio::time::{Duration, sleep};

use super::client::{Client, Person};
use super::server::{Relay, raise_file_limit};
use crate::{Failure, runtime};

/// Logins at once.
const AT_ONCE: usize = 64;

/// Connections from one address, which has some 28 000 ports, and finds no free one quickly when many are taken.
const PORTS: u32 = 10_000;

pub(super) fn run(directory: &Path, connections: u32) -> Result<(), Failure> {
    raise_file_limit();
    let relay = Relay::start(directory)?;
    let (address, before) = (relay.address(), relay.memory());
    runtime()?.block_on(async {
        let begun = Instant::now();
        let logins = (0..connections).map(async |index| {
            let person = Person::random()?;
            let socket = TcpSocket::new_v4()?;
            let from = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + index / PORTS);
            socket.bind((from, 0).into())?;
            Client::log_in_over(address, socket.connect(address).await?, &person).await
        });
        let mut logins = futures::stream::iter(logins).buffer_unordered(AT_ONCE);
        let mut clients = Vec::new();
        while let Some(client) = logins.next().await {
            clients.push(
                client.map_err(|error| format!("after {} connections: {error}", clients.len()))?,
            );
        }
        let set_up = begun.elapsed();
        // Buffers of the logins go back.
        sleep(Duration::from_secs(1)).await;
        let memory = relay.memory().saturating_sub(before) as f64;
        println!("| {connections} connections that are logged in and idle | |");
        println!("|---|---|");
        println!("| set up | {:.2} s |", set_up.as_secs_f64());
        println!(
            "| memory of the relay for each | {:.1} KiB |",
            memory / 1024.0 / f64::from(connections)
        );
        println!(
            "| so for 50 000 | {:.2} GiB |",
            memory / f64::from(connections) * 50_000.0 / f64::from(1 << 30)
        );
        drop(clients);
        Ok::<(), Failure>(())
    })?;
    relay.end()
}
