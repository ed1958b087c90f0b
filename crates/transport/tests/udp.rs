//! UDP over the loopback interface.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use towline_transport::udp::{UdpConfig, UdpReceiver, UdpSender, UdpTransport};
use towline_transport::{DatagramReceiver, DatagramSender, Received, Transmit, Transport};

/// Only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(10);

fn v4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A sender, a receiver, and the addresses of both.
struct Pair {
    sender: UdpSender,
    source: SocketAddr,
    receiver: UdpReceiver,
    destination: SocketAddr,
    _unused: (UdpReceiver, UdpSender),
}

fn pair(local: SocketAddr, remote: SocketAddr, config: UdpConfig) -> io::Result<Pair> {
    let here = UdpTransport::bind_with(local, config)?;
    let there = UdpTransport::bind(remote)?;
    let (source, destination) = (here.local_address()?, there.local_address()?);
    let (sender, unused_receiver) = here.split();
    let (unused_sender, receiver) = there.split();
    let _unused = (unused_receiver, unused_sender);
    Ok(Pair { sender, source, receiver, destination, _unused })
}

async fn recv(receiver: &mut UdpReceiver, count: usize) -> Vec<(SocketAddr, Bytes)> {
    let mut datagrams = Vec::new();
    while datagrams.len() < count {
        let mut received = Vec::new();
        let runs = tokio::time::timeout(PATIENCE, receiver.recv(&mut received)).await;
        assert_eq!(runs.expect("datagrams arrive").unwrap(), received.len());
        for run in received {
            let source = run.source;
            datagrams.extend(run.datagrams().map(|datagram| (source, datagram)));
        }
    }
    assert_eq!(datagrams.len(), count);
    datagrams
}

/// Numbered datagrams of 1000 bytes, the last one shorter.
fn numbered(count: usize) -> Vec<u8> {
    let mut contents: Vec<u8> = (0..count).flat_map(|number| [number as u8; 1000]).collect();
    contents.truncate(count * 1000 - 300);
    contents
}

async fn assert_run_arrives_in_order(pair: &mut Pair, count: usize) {
    let contents = numbered(count);
    let run =
        Transmit { destination: pair.destination, contents: &contents, segment_size: Some(1000) };
    pair.sender.send(&run).await.unwrap();
    let expected = run.datagrams().map(|datagram| (pair.source, Bytes::copy_from_slice(datagram)));
    let expected: Vec<_> = expected.collect();
    assert_eq!(recv(&mut pair.receiver, count).await, expected);
}

async fn assert_works(pair: &mut Pair) {
    for contents in [&b"hello"[..], b"", &[7; 60_000]] {
        pair.sender.send(&Transmit::datagram(pair.destination, contents)).await.unwrap();
        let expected = (pair.source, Bytes::copy_from_slice(contents));
        assert_eq!(recv(&mut pair.receiver, 1).await, [expected]);
    }
}

#[tokio::test]
async fn ipv4_round_trip() {
    assert_works(&mut pair(v4(), v4(), UdpConfig::default()).unwrap()).await;
}

#[tokio::test]
async fn ipv6_round_trip() {
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    match pair(v6, v6, UdpConfig::default()) {
        Ok(mut pair) => assert_works(&mut pair).await,
        Err(error) => eprintln!("skipped, this host has no IPv6: {error}"),
    }
}

#[tokio::test]
async fn ipv4_peers_of_an_ipv6_socket_have_ipv4_addresses() {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let Ok(both) = UdpTransport::bind(any) else {
        return eprintln!("skipped, this host has no IPv6");
    };
    let port = both.local_address().unwrap().port();
    let only_v4 = UdpTransport::bind(v4()).unwrap();
    let v4_address = only_v4.local_address().unwrap();
    let (mut both_sender, mut both_receiver) = both.split();
    let (mut v4_sender, mut v4_receiver) = only_v4.split();

    let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    v4_sender.send(&Transmit::datagram(destination, b"ping")).await.unwrap();
    assert_eq!(recv(&mut both_receiver, 1).await, [(v4_address, "ping".into())]);
    both_sender.send(&Transmit::datagram(v4_address, b"pong")).await.unwrap();
    assert_eq!(recv(&mut v4_receiver, 1).await, [(destination, "pong".into())]);
}

#[tokio::test]
async fn batch_of_64_arrives_in_order() {
    let mut pair = pair(v4(), v4(), UdpConfig::default()).unwrap();
    eprintln!("max_batch {}", pair.sender.max_batch(1000));
    assert_run_arrives_in_order(&mut pair, 64).await;
}

#[tokio::test]
async fn batch_without_offload_arrives_in_order() {
    let config = UdpConfig { offload: false, ..UdpConfig::default() };
    let mut pair = pair(v4(), v4(), config).unwrap();
    assert_eq!(pair.sender.max_batch(1000), 1);
    assert_run_arrives_in_order(&mut pair, 64).await;
}

#[tokio::test]
async fn run_longer_than_a_system_call_takes_arrives_in_order() {
    let mut pair = pair(v4(), v4(), UdpConfig::default()).unwrap();
    assert_run_arrives_in_order(&mut pair, 100).await;
}

#[tokio::test]
async fn batch_never_exceeds_what_fits_an_ip_packet() {
    let pair = pair(v4(), v4(), UdpConfig::default()).unwrap();
    for datagram_size in [0, 1, 1000, 1452, 9000, 65_507, usize::MAX] {
        let batch = pair.sender.max_batch(datagram_size);
        assert!((1..=64).contains(&batch));
        assert!(batch == 1 || batch * datagram_size <= 65_507);
    }
}

#[tokio::test]
async fn long_runs_survive_while_later_ones_are_received() {
    let mut pair = pair(v4(), v4(), UdpConfig::default()).unwrap();
    let mut held = Vec::new();
    for number in 0..200u8 {
        let contents = vec![number; 50_000];
        pair.sender.send(&Transmit::datagram(pair.destination, &contents)).await.unwrap();
        let (_, datagram) = recv(&mut pair.receiver, 1).await.remove(0);
        // Every third is let go, so that its memory is used again between those that are not.
        if number % 3 != 0 {
            held.push((number, datagram));
        }
    }
    for (number, datagram) in held {
        assert_eq!(datagram, vec![number; 50_000]);
    }
}

#[tokio::test]
async fn port_in_use_is_recognisable() {
    let first = UdpTransport::bind(v4()).unwrap();
    let error = UdpTransport::bind(first.local_address().unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn wrong_configuration_is_refused() {
    let config = UdpConfig { max_datagram_size: 0, ..UdpConfig::default() };
    let error = UdpTransport::bind_with(v4(), config).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "max_datagram_size is 0, must be from 1 to 65507");
}

/// Sends runs that cannot be sent and asserts that they are counted, and that nothing else suffers.
async fn assert_dropped(transmit: impl Fn(&Pair) -> Transmit<'static, SocketAddr>) {
    let here = UdpTransport::bind(v4()).unwrap();
    let monitor = here.monitor();
    let mut pair = pair(v4(), v4(), UdpConfig::default()).unwrap();
    pair.source = here.local_address().unwrap();
    let (sender, _receiver) = here.split();
    pair.sender = sender;
    let batch = pair.sender.max_batch(1000);

    let transmit = transmit(&pair);
    for _ in 0..3 {
        pair.sender.send(&transmit).await.unwrap();
    }
    assert_eq!(monitor.stats().send_dropped, 3 * transmit.count() as u64);
    assert_eq!(pair.sender.max_batch(1000), batch, "offload outlives a bad datagram");
    assert_run_arrives_in_order(&mut pair, 64).await;
    assert_eq!(monitor.stats().sent, 64);
}

#[tokio::test]
async fn oversize_datagram_does_not_kill_the_socket() {
    assert_dropped(|pair| Transmit::datagram(pair.destination, &[0; 65_508])).await;
}

#[tokio::test]
async fn run_of_oversize_datagrams_does_not_kill_the_socket() {
    assert_dropped(|pair| Transmit {
        destination: pair.destination,
        contents: &[0; 200_000],
        segment_size: Some(70_000),
    })
    .await;
}

#[tokio::test]
async fn port_zero_does_not_kill_the_socket() {
    assert_dropped(|pair| Transmit {
        destination: SocketAddr::new(pair.destination.ip(), 0),
        contents: &[0; 4000],
        segment_size: Some(1000),
    })
    .await;
}

#[tokio::test]
async fn destination_of_the_wrong_family_does_not_kill_the_socket() {
    assert_dropped(|_| Transmit {
        destination: (Ipv6Addr::LOCALHOST, 9).into(),
        contents: &[0; 4000],
        segment_size: Some(1000),
    })
    .await;
}

#[tokio::test]
async fn destination_that_may_not_be_sent_to_does_not_kill_the_socket() {
    assert_dropped(|_| Transmit {
        destination: (Ipv4Addr::BROADCAST, 9).into(),
        contents: &[0; 4000],
        segment_size: Some(1000),
    })
    .await;
}

#[tokio::test]
async fn closed_port_does_not_kill_the_socket() {
    let closed = std::net::UdpSocket::bind(v4()).unwrap().local_addr().unwrap();
    let here = UdpTransport::bind(v4()).unwrap();
    let here_address = here.local_address().unwrap();
    let (mut sender, mut receiver) = here.split();
    for _ in 0..10 {
        sender.send(&Transmit::datagram(closed, b"anyone?")).await.unwrap();
    }
    sender.send(&Transmit::datagram(here_address, b"alive")).await.unwrap();
    assert_eq!(recv(&mut receiver, 1).await, [(here_address, "alive".into())]);
}

#[tokio::test]
async fn datagrams_received_are_counted() {
    let there = UdpTransport::bind(v4()).unwrap();
    let monitor = there.monitor();
    let destination = there.local_address().unwrap();
    let (_, mut receiver) = there.split();
    let mut pair = pair(v4(), v4(), UdpConfig::default()).unwrap();
    let run = Transmit { destination, contents: &numbered(5), segment_size: Some(1000) };
    pair.sender.send(&run).await.unwrap();
    recv(&mut receiver, 5).await;
    assert_eq!(monitor.stats().received, 5);
}

/// A pair whose sender has to wait after a few datagrams, until the receiver takes them.
fn narrow_pair() -> Pair {
    let config = UdpConfig { send_buffer: 1, offload: false, ..UdpConfig::default() };
    pair(v4(), v4(), config).unwrap()
}

#[tokio::test]
async fn full_send_buffer_makes_the_sender_wait() {
    let Pair { mut sender, mut receiver, destination, _unused, .. } = narrow_pair();
    let send = async {
        for number in 0..=255 {
            sender.send(&Transmit::datagram(destination, &[number; 1000])).await.unwrap();
        }
    };
    let ((), datagrams) = tokio::join!(send, recv(&mut receiver, 256));
    for (number, (_, datagram)) in (0..=255).zip(datagrams) {
        assert_eq!(datagram, [number; 1000][..]);
    }
}

#[tokio::test]
async fn end_of_a_run_that_is_too_long_goes_out_before_the_next_one() {
    let Pair { mut sender, mut receiver, destination, _unused, .. } = narrow_pair();
    let contents = numbered(64);
    let run = Transmit { destination, contents: &contents, segment_size: Some(1000) };
    let send = async {
        sender.send(&run).await.unwrap();
        sender.send(&Transmit::datagram(destination, b"next")).await.unwrap();
    };
    let ((), mut datagrams) = tokio::join!(send, recv(&mut receiver, 65));
    assert_eq!(datagrams.pop().unwrap().1, "next");
    assert!(run.datagrams().eq(datagrams.iter().map(|(_, datagram)| datagram)));
}

#[tokio::test]
async fn source_is_the_address_that_was_sent_from() {
    let mut pair = pair(v4(), v4(), UdpConfig::default()).unwrap();
    pair.sender.send(&Transmit::datagram(pair.destination, b"who")).await.unwrap();
    let mut received: Vec<Received<SocketAddr>> = Vec::new();
    pair.receiver.recv(&mut received).await.unwrap();
    assert_eq!(received[0].source.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(received[0].source, pair.source);
}
