//! Strangers flood a running exit with noise while honest clients use it.
//!
//! Bounded by count; `TOWLINE_FLOOD_DATAGRAMS` raises it, and `TOWLINE_SEED` replays the noise.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::path::{Path, udp_socket};
use crate::support::{PATIENCE, Running, environment};

/// What the exit's memory may grow by while strangers flood it, in KiB. Its tables for rates, answers
/// and half-open sessions fill up to their bounds, and no further.
const MEMORY_GROWTH: u64 = 64 << 10;

#[test]
fn an_exit_under_a_flood_stays_small_and_serves_its_clients() {
    let seed = environment("TOWLINE_SEED", 1);
    let datagrams = environment("TOWLINE_FLOOD_DATAGRAMS", 200_000);
    eprintln!("TOWLINE_SEED={seed} TOWLINE_FLOOD_DATAGRAMS={datagrams}");

    let service = echo_service();
    let target = format!("tcp://{service}");
    let mut exit = Running::serve(&["exit", "--listen", "127.0.0.1:0", "--allow", &target]);
    let exit_address = exit.address().parse().expect("an address");
    let path = Path::start(exit_address, 0.0);
    let through = path.address.to_string();
    let listen = "tcp://127.0.0.1:0";
    let mut entry =
        Running::serve(&["entry", "--listen", listen, "--exit", &through, "--target", &target]);
    let entry_address = entry.address().parse().expect("an address");

    echo(entry_address, 256 << 10, seed);
    let samples = path.samples();
    assert!(samples.len() > 10, "the path saw too little to mutate");
    let before = resident_kib(&exit);

    let flooding = Arc::new(AtomicBool::new(true));
    let sent = Arc::new(AtomicU64::new(0));
    let flood = {
        let (flooding, sent) = (flooding.clone(), sent.clone());
        std::thread::spawn(move || {
            flood(exit_address, &samples, datagrams, seed, &sent);
            flooding.store(false, Ordering::Release);
        })
    };
    let mut transfers = 0;
    while flooding.load(Ordering::Acquire) || transfers == 0 {
        echo(entry_address, 64 << 10, seed + transfers);
        transfers += 1;
    }
    flood.join().expect("the flood ends");

    assert!(exit.is_running(), "the exit ended");
    echo(entry_address, 256 << 10, seed);
    let after = resident_kib(&exit);
    let sent = sent.load(Ordering::Acquire);
    eprintln!(
        "{sent} datagrams, {transfers} transfers meanwhile, memory {before:?} to {after:?} KiB"
    );
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after < before + MEMORY_GROWTH, "memory grew from {before} to {after} KiB");
    }
}

/// Sends noise from many addresses: random bytes, random bytes behind the handshake's tag, and honest
/// datagrams with a few bytes changed.
fn flood(exit: SocketAddr, samples: &[Vec<u8>], datagrams: u64, seed: u64, sent: &AtomicU64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sockets: Vec<_> = (0..16).map(|_| udp_socket()).collect();
    for number in 0..datagrams {
        if number % 10_000 == 9_999 {
            sockets.rotate_left(1);
            sockets[0] = udp_socket();
        }
        let mut datagram = match number % 3 {
            0 => random_bytes(&mut random),
            1 => {
                let mut datagram = 1_u64.to_be_bytes().to_vec();
                datagram.extend([2, random.random_range(0..5)]);
                datagram.extend(random_bytes(&mut random));
                datagram
            }
            _ => samples[random.random_range(0..samples.len())].clone(),
        };
        for _ in 0..random.random_range(0..4) {
            if !datagram.is_empty() {
                let at = random.random_range(0..datagram.len());
                datagram[at] = random.random();
            }
        }
        let socket = &sockets[number as usize % sockets.len()];
        // A full socket buffer is the flood's own trouble.
        let _ = socket.send_to(&datagram, exit);
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

fn random_bytes(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..256)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Sends `length` bytes through the tunnel and expects them back.
#[track_caller]
fn echo(entry: SocketAddr, length: usize, seed: u64) {
    let mut stream = TcpStream::connect(entry).expect("the entry listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is no zero");
    let mut sent = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut sent);
    let mut writer = stream.try_clone().expect("a socket can be cloned");
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).and_then(|()| writer.shutdown(Shutdown::Write))
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("the bytes come back");
    writing.join().expect("the writer ends").expect("the bytes can be sent");
    assert!(received == sent, "{} of {length} bytes came back", received.len());
}

fn echo_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &stream, &mut &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

/// What a process holds in memory; `None` where the system does not tell.
fn resident_kib(process: &Running) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
