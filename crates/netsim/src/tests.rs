//! Each impairment on its own, their independence of each other, and determinism.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{Link, LinkConfig, LinkStats, Loss, Packet, Path};

const PACKETS: u32 = 100_000;

/// The seed of the random tests; `TOWLINE_SEED` overrides it.
fn seed() -> u64 {
    let seed = match std::env::var("TOWLINE_SEED") {
        Ok(seed) => seed.parse().expect("TOWLINE_SEED is a number"),
        Err(_) => 7,
    };
    eprintln!("TOWLINE_SEED={seed}");
    seed
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Sends numbered packets, one each `interval`, and returns numbers and times of what arrives.
fn run(config: LinkConfig, interval: Duration) -> (Vec<(u32, Duration)>, LinkStats) {
    let mut link = Link::new(config, seed()).unwrap();
    let start = Instant::now();
    let mut arrived = Vec::new();
    for number in 0..PACKETS {
        link.send(start + interval * number, number.to_be_bytes().to_vec());
    }
    while let Some(now) = link.poll_timeout() {
        let packet = link.recv(now).expect("due packet is there");
        arrived.push((u32::from_be_bytes(packet.try_into().unwrap()), now - start));
    }
    assert_eq!(link.stats().in_flight(), 0);
    (arrived, link.stats())
}

/// Asserts that `count` of `of` events is within five standard deviations of `probability`.
fn assert_share(count: u64, of: u64, probability: f64) {
    let expected = of as f64 * probability;
    let deviation = (expected * (1.0 - probability)).sqrt();
    let off = (count as f64 - expected).abs();
    assert!(off <= 5.0 * deviation, "{count} of {of}, expected {expected} +- {deviation}");
}

fn numbers(arrived: &[(u32, Duration)]) -> Vec<u32> {
    arrived.iter().map(|&(number, _)| number).collect()
}

#[test]
fn perfect_link_delivers_everything_at_once_and_in_order() {
    let (arrived, stats) = run(LinkConfig::default(), millis(1));
    for (number, (arrived, at)) in (0..PACKETS).zip(arrived) {
        assert_eq!((arrived, at), (number, millis(1) * number));
    }
    assert_eq!(stats.delivered, u64::from(PACKETS));
    assert_eq!(stats.delivered_bytes, 4 * u64::from(PACKETS));
}

#[test]
fn nothing_arrives_before_its_time() {
    let mut link = Link::new(LinkConfig::default().with_delay(millis(30)), 0).unwrap();
    let start = Instant::now();
    link.send(start, vec![1]);
    assert_eq!(link.poll_timeout(), Some(start + millis(30)));
    assert_eq!(link.recv(start + millis(30) - Duration::from_nanos(1)), None);
    assert_eq!(link.recv(start + millis(30)), Some(vec![1]));
    assert_eq!(link.poll_timeout(), None);
}

#[test]
fn random_loss_has_the_given_rate() {
    let (arrived, stats) = run(LinkConfig::default().with_loss(Loss::Random(0.1)), millis(1));
    assert_share(stats.lost, stats.sent, 0.1);
    assert_eq!(stats.delivered + stats.lost, stats.sent);
    assert_eq!(stats.delivered, arrived.len() as u64);
}

#[test]
fn certain_loss_loses_everything() {
    let (arrived, _) = run(LinkConfig::default().with_loss(Loss::Random(1.0)), millis(1));
    assert!(arrived.is_empty());
}

#[test]
fn bursts_have_the_given_rate_and_length() {
    let loss = Loss::bursts(0.05, 4.0).unwrap();
    let (arrived, stats) = run(LinkConfig::default().with_loss(loss), millis(1));
    let gaps = arrived.windows(2).filter(|pair| pair[1].0 - pair[0].0 > 1).count();
    let rate = stats.lost as f64 / stats.sent as f64;
    let burst = stats.lost as f64 / gaps as f64;
    // 1250 bursts are expected; their number varies by some 3 %, their mean length likewise.
    assert!((0.04..0.06).contains(&rate), "loss rate {rate}");
    assert!((3.4..4.6).contains(&burst), "mean burst {burst}");
}

#[test]
fn jitter_spreads_arrivals_evenly_and_keeps_order() {
    let config = LinkConfig::default().with_delay(millis(10)).with_jitter(millis(8));
    let (arrived, stats) = run(config, millis(20));
    let extra = |&(number, at): &(u32, Duration)| at - millis(20) * number - millis(10);
    assert!(arrived.iter().all(|flight| extra(flight) < millis(8)));
    let early = arrived.iter().filter(|flight| extra(flight) < millis(2)).count();
    assert_share(early as u64, stats.sent, 0.25);
    assert_eq!(stats.reordered, 0);
}

#[test]
fn jitter_keeps_order_when_it_exceeds_the_interval() {
    let (arrived, stats) = run(LinkConfig::default().with_jitter(millis(50)), millis(1));
    assert_eq!(numbers(&arrived), (0..PACKETS).collect::<Vec<_>>());
    assert_eq!(stats.reordered, 0);
}

#[test]
fn jitter_reorders_when_allowed() {
    let config = LinkConfig { jitter_reorders: true, ..LinkConfig::default() };
    let (arrived, stats) = run(config.with_jitter(millis(50)), millis(1));
    assert!(stats.reordered > u64::from(PACKETS) / 2);
    assert!(arrived.is_sorted_by_key(|&(_, at)| at));
}

#[test]
fn reordered_packets_are_overtaken() {
    let config = LinkConfig::default().with_delay(millis(10)).with_reorder(0.1, millis(3));
    let (arrived, stats) = run(config, millis(2));
    // Held back for less than two packets: overtaken unless the next one is held back as well.
    assert_share(stats.reordered, stats.sent, 0.1 * 0.9);
    for (number, at) in arrived {
        let travelled = at - millis(2) * number;
        assert!(travelled == millis(10) || travelled == millis(13), "{travelled:?}");
    }
}

#[test]
fn duplicates_follow_their_original() {
    let (arrived, stats) = run(LinkConfig::default().with_duplicate(0.2), millis(1));
    assert_share(stats.duplicated, stats.sent, 0.2);
    assert_eq!(stats.delivered, stats.sent + stats.duplicated);
    assert_eq!(stats.reordered, 0);
    let pairs = arrived.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(pairs as u64, stats.duplicated);
}

#[test]
fn corruption_flips_one_bit_anywhere() {
    let mut link = Link::new(LinkConfig::default().with_corrupt(0.5), seed()).unwrap();
    let now = Instant::now();
    let sent = Bytes::from(vec![0; 16]);
    let mut hits = [0u64; 128];
    for _ in 0..PACKETS {
        link.send(now, sent.clone());
        let packet = link.recv(now).unwrap();
        let flipped = (0..128).filter(|bit| packet[bit / 8] >> (bit % 8) & 1 == 1);
        let flipped: Vec<_> = flipped.collect();
        assert!(flipped.len() <= 1);
        flipped.iter().for_each(|&bit| hits[bit] += 1);
    }
    assert!(sent.iter().all(|&byte| byte == 0), "the sender's bytes are untouched");
    assert_share(link.stats().corrupted, u64::from(PACKETS), 0.5);
    hits.iter().for_each(|&hit| assert_share(hit, link.stats().corrupted, 1.0 / 128.0));
}

#[test]
fn empty_packet_is_carried_and_cannot_be_corrupted() {
    let config = LinkConfig::default().with_corrupt(1.0).with_rate(1, 0);
    let mut link = Link::new(config, 0).unwrap();
    let now = Instant::now();
    link.send(now, Vec::new());
    assert_eq!(link.recv(now), Some(Vec::new()));
    assert_eq!(link.stats().corrupted, 0);
}

#[test]
fn rate_spaces_packets_exactly() {
    // 1000 bytes at 3 GB/s take 333.3 ns: the thirds must not get lost.
    let config = LinkConfig::default().with_rate(3_000_000_000, usize::MAX);
    let mut link = Link::new(config, 0).unwrap();
    let start = Instant::now();
    for _ in 0..3000 {
        link.send(start, vec![0; 1000]);
    }
    let mut last = start;
    while let Some(now) = link.poll_timeout() {
        link.recv(now).unwrap();
        last = now;
    }
    assert_eq!(last - start, millis(1));
}

#[test]
fn queue_drops_what_does_not_fit_and_drains_at_the_rate() {
    let mut link = Link::new(LinkConfig::default().with_rate(1000, 300), 0).unwrap();
    let start = Instant::now();
    for _ in 0..4 {
        link.send(start, vec![0; 100]);
    }
    assert_eq!(link.stats().queue_dropped, 1);
    assert_eq!(link.stats().queue_bytes, 300);

    // The first packet has left after 100 ms, which makes room for one more.
    assert!(link.recv(start + millis(100)).is_some());
    assert_eq!(link.stats().queue_bytes, 200);
    link.send(start + millis(100), vec![0; 100]);
    link.send(start + millis(100), vec![0; 100]);
    assert_eq!(link.stats().queue_dropped, 2);
    assert_eq!(link.stats().max_queue_bytes, 300);

    while link.recv(start + millis(400)).is_some() {}
    let stats = link.stats();
    assert_eq!((stats.delivered, stats.in_flight(), stats.queue_bytes), (4, 0, 0));
}

#[test]
fn idle_bottleneck_takes_a_packet_larger_than_its_queue() {
    let mut link = Link::new(LinkConfig::default().with_rate(1000, 10), 0).unwrap();
    let start = Instant::now();
    link.send(start, vec![0; 100]);
    link.send(start, vec![0; 1]);
    assert_eq!(link.poll_timeout(), Some(start + millis(100)));
    assert_eq!(link.stats().queue_dropped, 1);
}

#[test]
fn lost_packets_use_the_rate() {
    let config = LinkConfig::default().with_rate(1000, 1000);
    let mut link = Link::new(config.clone().with_loss(Loss::Random(1.0)), 0).unwrap();
    let start = Instant::now();
    link.send(start, vec![0; 100]);
    link.set_config(config).unwrap();
    link.send(start, vec![0; 100]);
    assert_eq!(link.poll_timeout(), Some(start + millis(200)));
}

#[test]
fn packets_above_the_mtu_are_dropped() {
    let mut link = Link::new(LinkConfig::default().with_mtu(10), 0).unwrap();
    let now = Instant::now();
    link.send(now, vec![0; 11]);
    link.send(now, vec![0; 10]);
    assert_eq!(link.recv(now).unwrap().len(), 10);
    assert_eq!(link.recv(now), None);
    assert_eq!(link.stats().too_large, 1);
}

#[test]
fn change_of_configuration_applies_to_later_packets() {
    let mut link = Link::new(LinkConfig::default().with_delay(millis(50)), 0).unwrap();
    let start = Instant::now();
    link.send(start, vec![1]);
    link.set_config(LinkConfig { jitter_reorders: true, ..LinkConfig::default() }).unwrap();
    link.send(start, vec![2]);
    assert_eq!(link.recv(start), Some(vec![2]));
    assert_eq!(link.recv(start), None);
    assert_eq!(link.recv(start + millis(50)), Some(vec![1]));
    assert_eq!(link.stats().reordered, 1);
}

#[test]
fn shorter_delay_does_not_reorder_what_is_on_the_way() {
    let mut link = Link::new(LinkConfig::default().with_delay(millis(50)), 0).unwrap();
    let start = Instant::now();
    link.send(start, vec![1]);
    link.set_config(LinkConfig::default()).unwrap();
    link.send(start, vec![2]);
    assert_eq!(link.recv(start), None);
    assert_eq!(link.recv(start + millis(50)), Some(vec![1]));
    assert_eq!(link.recv(start + millis(50)), Some(vec![2]));
}

#[test]
fn wrong_configuration_changes_nothing() {
    let mut link = Link::<Vec<u8>>::new(LinkConfig::default(), 0).unwrap();
    assert!(link.set_config(LinkConfig::default().with_corrupt(2.0)).is_err());
    assert_eq!(link.config(), &LinkConfig::default());
    assert!(Link::<Vec<u8>>::new(LinkConfig::default().with_corrupt(2.0), 0).is_err());
}

/// A bit of everything.
fn rough() -> LinkConfig {
    LinkConfig { jitter_reorders: true, ..LinkConfig::default() }
        .with_loss(Loss::bursts(0.05, 3.0).unwrap())
        .with_delay(millis(20))
        .with_jitter(millis(5))
        .with_reorder(0.02, millis(7))
        .with_duplicate(0.02)
        .with_rate(5000, 2000)
}

#[test]
fn same_seed_and_inputs_give_the_same_outputs() {
    assert_eq!(run(rough(), millis(1)), run(rough(), millis(1)));
}

#[test]
fn other_seed_gives_other_outputs() {
    let lost = |seed| {
        let mut link = Link::new(LinkConfig::default().with_loss(Loss::Random(0.5)), seed).unwrap();
        let now = Instant::now();
        (0..64).for_each(|number: u8| link.send(now, vec![number]));
        std::iter::from_fn(|| link.recv(now)).flatten().collect::<Vec<_>>()
    };
    assert_ne!(lost(1), lost(2));
}

#[test]
fn one_impairment_does_not_shift_the_decisions_of_another() {
    let lossy = LinkConfig::default().with_loss(Loss::bursts(0.1, 2.0).unwrap());
    let survivors = |config| {
        let mut numbers = numbers(&run(config, millis(1)).0);
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let expected = survivors(lossy.clone());
    let others = LinkConfig { loss: lossy.loss, ..rough() };
    assert_eq!(survivors(LinkConfig { rate: None, ..others }), expected);
    assert_eq!(survivors(lossy.clone().with_duplicate(0.3)), expected);
    assert_eq!(survivors(lossy.with_reorder(0.3, millis(9))), expected);
}

#[test]
fn directions_of_a_path_do_not_lose_the_same_packets() {
    let mut path =
        Path::symmetric(LinkConfig::default().with_loss(Loss::Random(0.5)), seed()).unwrap();
    let now = Instant::now();
    for number in 0..128 {
        path.forward.send(now, vec![number]);
        path.backward.send(now, vec![number]);
    }
    assert_eq!(path.poll_timeout(), Some(now));
    let forward: Vec<_> = std::iter::from_fn(|| path.forward.recv(now)).collect();
    let backward: Vec<_> = std::iter::from_fn(|| path.backward.recv(now)).collect();
    assert_ne!(forward, backward);
    assert_eq!(path.poll_timeout(), None);
}

#[test]
fn packet_with_an_address_has_the_size_of_its_payload() {
    let mut packet = ("peer", vec![0u8, 0]);
    assert_eq!(packet.len(), 2);
    packet.corrupt(9);
    assert_eq!(packet, ("peer", vec![0, 2]));
}
