//! Datagrams without any protocol: what sessions are built upon, and cannot do better than.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use towline_transport::udp::{UdpConfig, UdpTransport};
use towline_transport::{DatagramReceiver, DatagramSender, Transmit, Transport};

use crate::{Carried, DATAGRAM, Failure, both_ends, runtime};

/// Datagrams in a call with offload.
const RUN: usize = 64;
/// An answer that takes longer got lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this long without a datagram all have arrived that will.
const SILENCE: Duration = Duration::from_millis(200);

pub(crate) fn carry_in_runs(bytes: u64) -> Result<Carried, Failure> {
    let there = UdpSocket::bind("127.0.0.1:0")?;
    let destination = there.local_addr()?;
    let began = Instant::now();
    both_ends(
        move || {
            runtime()?.block_on(async {
                let transport = UdpTransport::from_std(there, UdpConfig::default())?;
                let (_sender, mut receiver) = transport.split();
                let (mut arrived, mut last) = (0, began);
                let mut runs = Vec::new();
                loop {
                    match tokio::time::timeout(SILENCE, receiver.recv(&mut runs)).await {
                        Ok(result) => result?,
                        Err(_) if arrived == 0 && began.elapsed() < PATIENCE => continue,
                        Err(_) => return Ok(Carried { bytes: arrived, time: last - began }),
                    };
                    arrived += runs.drain(..).map(|run| run.contents.len() as u64).sum::<u64>();
                    last = Instant::now();
                }
            })
        },
        || {
            runtime()?.block_on(async {
                let (mut sender, _receiver) = UdpTransport::bind("127.0.0.1:0".parse()?)?.split();
                let contents = vec![0xa5; RUN * DATAGRAM];
                let mut left = bytes;
                while left > 0 {
                    let length = left.min(contents.len() as u64);
                    let contents = &contents[..length as usize];
                    let segment_size = Some(DATAGRAM);
                    sender.send(&Transmit { destination, contents, segment_size }).await?;
                    left -= length;
                }
                Ok(())
            })
        },
    )
}

pub(crate) fn carry_one_by_one(bytes: u64) -> Result<Carried, Failure> {
    let there = UdpSocket::bind("127.0.0.1:0")?;
    let destination = there.local_addr()?;
    let began = Instant::now();
    both_ends(
        move || {
            there.set_read_timeout(Some(SILENCE))?;
            let (mut arrived, mut last) = (0, began);
            let mut buffer = [0; DATAGRAM];
            loop {
                match there.recv(&mut buffer) {
                    Ok(length) => arrived += length as u64,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if arrived > 0 || began.elapsed() > PATIENCE {
                            return Ok(Carried { bytes: arrived, time: last - began });
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                last = Instant::now();
            }
        },
        || {
            let here = UdpSocket::bind("127.0.0.1:0")?;
            let contents = [0xa5; DATAGRAM];
            for _ in 0..bytes / DATAGRAM as u64 {
                here.send_to(&contents, destination)?;
            }
            Ok(())
        },
    )
}

pub(crate) fn ask(requests: u32) -> Result<Vec<Duration>, Failure> {
    let there = UdpSocket::bind("127.0.0.1:0")?;
    let destination = there.local_addr()?;
    let mut times = Vec::new();
    there.set_read_timeout(Some(PATIENCE))?;
    both_ends(
        move || {
            let mut message = [0; 100];
            for _ in 0..requests {
                let (length, source) = there.recv_from(&mut message)?;
                there.send_to(&message[..length], source)?;
            }
            Ok(())
        },
        || {
            let here = UdpSocket::bind("127.0.0.1:0")?;
            here.connect(destination)?;
            here.set_read_timeout(Some(PATIENCE))?;
            let mut message = [0xa5; 100];
            for _ in 0..requests {
                let asked = Instant::now();
                here.send(&message)?;
                here.recv(&mut message)?;
                times.push(asked.elapsed());
            }
            Ok(())
        },
    )?;
    Ok(times)
}
