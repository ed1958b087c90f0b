//! `towline pipe`: standard input and output over a session.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Running, finish, noise, run, text, two_addresses};

/// Arguments of a bare pipe.
fn bare<'a>(local: &'a str, peer: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["pipe", "--bare", "--local", local, "--peer", peer], more].concat()
}

/// Both ends of a bare pipe, and what came out of each.
fn transfer(more: &[&str], there: &[u8], back: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (one, other) = two_addresses();
    let receiver = Running::start(&bare(&other, &one, more), back.to_vec());
    let sender = Running::start(&bare(&one, &other, more), there.to_vec());
    let (sender, receiver) = (finish(sender), finish(receiver));
    for output in [&sender, &receiver] {
        assert!(output.status.success(), "{more:?}: {}", text(&output.stderr));
    }
    (receiver.stdout, sender.stdout)
}

#[test]
fn bytes_arrive_whole_in_every_dialect_and_size() {
    thread::scope(|scope| {
        for dialect in ["rfc0007", "rfc0009", "hoprnet"] {
            for mtu in ["256", "466", "1018", "1500"] {
                scope.spawn(move || {
                    let more = ["--mode", "reliable", "--mtu", mtu, "--dialect", dialect];
                    let data = noise(500_000, mtu.len() as u64);
                    let (received, returned) = transfer(&more, &data, b"");
                    assert!(received == data, "{dialect}, MTU {mtu}");
                    assert!(returned.is_empty());
                });
            }
        }
    });
}

#[test]
fn both_directions_carry_data_at_once() {
    let more =
        ["--mode", "reliable", "--mtu", "1018", "--frame-size", "1500", "--ack-delay-ms", "20"];
    let (there, back) = (noise(700_000, 1), noise(400_000, 2));
    let (received, returned) = transfer(&more, &there, &back);
    assert!(received == there);
    assert!(returned == back);
}

#[test]
fn an_unreliable_pipe_carries_what_is_not_lost() {
    // So little that not even a busy machine loses any.
    let more = ["--mode", "unreliable", "--mtu", "1018", "--frame-timeout-ms", "500"];
    let data = noise(20_000, 3);
    let (one, other) = two_addresses();
    let mut receiver = Running::start(&bare(&other, &one, &more), Vec::new());
    // Nothing sends again what comes too early.
    receiver.expect("listening on");
    let sender = Running::start(&bare(&one, &other, &more), data.clone());
    let (sender, receiver) = (finish(sender), finish(receiver));
    assert!(sender.status.success() && receiver.status.success());
    assert!(receiver.stdout == data);
}

#[test]
fn an_unreliable_pipe_leaves_though_the_end_of_its_peer_is_lost() {
    let more = ["--mode", "unreliable", "--mtu", "1018"];
    let (one, other) = two_addresses();
    let receiver = Running::start(&bare(&other, &one, &more), Vec::new());
    // The receiver has nothing to say, and has said so by now to nobody.
    thread::sleep(Duration::from_secs(1));
    let sender = Running::start(&bare(&one, &other, &more), b"hello".to_vec());
    let (sender, receiver) = (finish(sender), finish(receiver));
    assert!(sender.status.success() && receiver.status.success());
    assert!(text(&sender.stderr).contains("its end may be lost"), "{}", text(&sender.stderr));
    assert_eq!(receiver.stdout, b"hello");
}

#[test]
fn a_peer_that_starts_late_is_waited_for() {
    let more = ["--mode", "reliable", "--mtu", "1018"];
    let (one, other) = two_addresses();
    let sender = Running::start(&bare(&one, &other, &more), b"patience".to_vec());
    thread::sleep(Duration::from_secs(2));
    let mut receiver = Running::start(&bare(&other, &one, &more), Vec::new());
    let begun = Instant::now();
    receiver.expect("8 received");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(finish(sender).status.success());
    assert_eq!(finish(receiver).stdout, b"patience");
}

#[test]
fn a_session_with_handshake_carries_both_ways() {
    let mut acceptor = Running::start(&["pipe", "--accept", "127.0.0.1:0"], b"welcome".to_vec());
    let address = acceptor.address();
    let args = ["pipe", "--connect", &address, "--target", "tcp://anything:1"];
    let connector = run(&args, b"hello");
    assert!(connector.status.success(), "{}", text(&connector.stderr));
    assert_eq!(connector.stdout, b"welcome");
    let acceptor = finish(acceptor);
    assert!(acceptor.status.success());
    assert_eq!(acceptor.stdout, b"hello");
}

#[cfg(unix)]
#[test]
fn a_pipe_that_is_cut_off_fails_on_both_sides() {
    let (one, other) = two_addresses();
    let more = ["--mode", "reliable", "--mtu", "1018"];
    // More than the reader's queues hold, and nobody who reads it: the transfer is under way.
    let data = noise(64 << 20, 4);
    let mut receiver = Running::start(&bare(&other, &one, &more), Vec::new());
    receiver.expect("listening on");
    let mut sender = Running::start(&bare(&one, &other, &more), data);
    sender.expect("listening on");
    receiver.terminate();
    assert_eq!(receiver.status().code(), Some(1));
    assert_eq!(sender.status().code(), Some(1));
}
