//! Everything combined with everything, at random, on small transfers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use towline_netsim::{LinkConfig, Loss};
use towline_wire::data::Message;
use towline_wire::{Dialect, Mtu};

use super::pair::{Pair, Peer};
use super::random::{for_each_seed, one_of, payload};
use crate::{Config, Delivery, Mode, Timing};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn some_link(rng: &mut ChaCha8Rng) -> LinkConfig {
    let loss = one_of(rng, &[0.0, 0.01, 0.05, 0.1, 0.2]);
    let delay = one_of(rng, &[0, 1, 20, 150]);
    let mut link = LinkConfig::default().with_delay(MS(delay));
    if loss > 0.0 {
        link = link.with_loss(Loss::Random(loss));
    }
    if rng.random_bool(0.5) {
        link = link.with_reorder(0.1, MS(one_of(rng, &[1, 10, 40])));
    }
    if rng.random_bool(0.5) {
        link = link.with_duplicate(one_of(rng, &[0.02, 0.2]));
    }
    if rng.random_bool(0.3) {
        link = link.with_rate(one_of(rng, &[100_000, 5_000_000]), 200_000);
    }
    link
}

fn some_frames(rng: &mut ChaCha8Rng, config: &Config) -> Vec<Bytes> {
    let segment = config.codec().max_segment_data();
    let longest = config.frame_size();
    (0..rng.random_range(0..30))
        .map(|salt| {
            let len = match rng.random_range(0..6) {
                0 => 0,
                1 => longest,
                // As many full segments as will do.
                2 => segment * rng.random_range(1..=longest / segment),
                3 => rng.random_range(0..=longest),
                _ => rng.random_range(1..=segment),
            };
            payload(len, salt)
        })
        .collect()
}

fn some_pair(seed: u64, rng: &mut ChaCha8Rng, mode: Mode) -> Pair {
    let dialect = one_of(rng, &Dialect::ALL);
    let mtu = Mtu::new(one_of(rng, &[256, 512, 1024, 1500, 9000])).unwrap();
    let mut builder = Config::builder(dialect, mtu)
        .mode(mode)
        .delivery(one_of(rng, &[Delivery::Ordered, Delivery::Ordered, Delivery::Unordered]))
        .timing(one_of(rng, &[Timing::Adaptive, Timing::Adaptive, Timing::Fixed]));
    // An unreliable end that does not follow its peer may never learn that it has gone.
    if mode == Mode::Reliable && rng.random_bool(0.2) {
        builder = builder.close_on_peer_finish(rng.random());
    }
    if rng.random_bool(0.1) {
        builder = builder
            .frame_size(Config::builder(dialect, mtu).build().unwrap().codec().max_frame_len());
    }
    let config = Arc::new(builder.build().unwrap());
    let links = [some_link(rng), some_link(rng)];
    let mut pair = Pair::of([&config, &config], [&links[0], &links[1]], seed);
    for peer in [&mut pair.a, &mut pair.b] {
        peer.queue(some_frames(rng, &config));
        peer.max_datagrams = one_of(rng, &[1, 16, 64]);
        peer.log = Some(Vec::new());
    }
    pair
}

/// Whether `frames` is `sent` without some, in the same order.
fn is_subsequence(frames: &[Bytes], sent: &[Bytes]) -> bool {
    let mut rest = sent.iter();
    frames.iter().all(|frame| rest.any(|other| other == frame))
}

fn assert_bounded(peer: &Peer) {
    assert!(peer.max_message <= peer.connection.config().codec().max_message_len());
}

//= docs/spec/data.md#datagram
//= type=test
//# A sender MUST put one Data message in a datagram.
//= docs/spec/data.md#delivery
//= type=test
//# With ordered delivery a receiver MUST deliver frames in ascending order of their ids.
#[test]
fn reliable_sessions_deliver_everything_once_and_end_well() {
    for_each_seed(1500, |seed, rng| {
        let mut pair = some_pair(seed, rng, Mode::Reliable);
        let sent = [pair.a.outbox.clone(), pair.b.outbox.clone()];
        // A literal peer closes with the first that finishes: both have to have sent everything.
        let (a, b) = (sent[1].len(), sent[0].len());
        pair.run_until(Duration::from_secs(300), |pair| {
            pair.a.inbox.len() >= a && pair.b.inbox.len() >= b
        });
        let both = rng.random_range(0..3);
        (pair.a.finish, pair.b.finish) = (both != 1, both != 2);
        pair.run_until(Duration::from_secs(300), |pair| {
            (pair.a.peer_finished || !pair.b.finish) && (pair.b.peer_finished || !pair.a.finish)
        });
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_good_end(Duration::from_secs(300));

        for (peer, sent) in [(&pair.a, &sent[1]), (&pair.b, &sent[0])] {
            assert_bounded(peer);
            if pair.a.connection.config().delivery == Delivery::Ordered {
                assert!(peer.received().iter().eq(sent.iter()), "{pair:#?}");
            } else {
                let mut inbox = peer.inbox.clone();
                inbox.sort_by_key(|(id, _)| *id);
                assert!(inbox.iter().map(|(_, frame)| frame).eq(sent.iter()), "{pair:#?}");
            }
        }
    });
}

#[test]
fn reliable_sessions_finished_at_once_deliver_everything() {
    for_each_seed(800, |seed, rng| {
        let mut pair = some_pair(seed, rng, Mode::Reliable);
        let sent = [pair.a.outbox.clone(), pair.b.outbox.clone()];
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_end(Duration::from_secs(600));
        // A literal peer may finish before its application has sent all; what was sent arrives.
        let literal = pair.a.connection.config().close_on_peer_finish;
        for (peer, other, sent) in [(&pair.a, &pair.b, &sent[1]), (&pair.b, &pair.a, &sent[0])] {
            assert_eq!(peer.closed, Some(None), "{pair:#?}");
            let count = other.connection.stats().frames_sent as usize;
            assert!(literal || count == sent.len());
            assert_eq!(peer.inbox.len(), count, "{pair:#?}");
        }
    });
}

//= docs/spec/data.md#frame-ids
//= type=test
//# An end MUST give the frames that it sends the ids 1, 2, 3 and so on, without a hole.
//= docs/spec/data.md#modes
//= type=test
//# In unreliable mode an end MUST NOT send requests or acknowledgements.
#[test]
fn unreliable_sessions_deliver_nothing_twice_or_damaged_and_end() {
    for_each_seed(1500, |seed, rng| {
        let mut pair = some_pair(seed, rng, Mode::Unreliable);
        let sent = [pair.a.outbox.clone(), pair.b.outbox.clone()];
        pair.run_for(Duration::from_secs(3));
        let both = rng.random_range(0..3);
        (pair.a.finish, pair.b.finish) = (both != 1, both != 2);
        pair.run_for(Duration::from_secs(1));
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_end(Duration::from_secs(100));
        for (peer, sent) in [(&pair.a, &sent[1]), (&pair.b, &sent[0])] {
            assert_bounded(peer);
            assert_eq!(peer.closed, Some(None), "{pair:#?}");
            let ids: HashSet<u32> = peer.inbox.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids.len(), peer.inbox.len(), "twice: {pair:#?}");
            for (id, frame) in &peer.inbox {
                assert_eq!(frame, &sent[*id as usize - 1], "damaged: {pair:#?}");
            }
            if peer.connection.config().delivery == Delivery::Ordered {
                assert!(is_subsequence(&peer.received(), sent.as_slices().0), "{pair:#?}");
            }
            let control = peer.sent(|m| (!matches!(m, Message::Segment(_))).then_some(()));
            assert_eq!(control.count(), 0, "an unreliable end sends segments only");
        }
    });
}

#[test]
fn unreliable_sessions_deliver_everything_over_a_good_link() {
    for_each_seed(200, |seed, rng| {
        let mut pair = some_pair(seed, rng, Mode::Unreliable);
        for link in [&mut pair.a_to_b, &mut pair.b_to_a] {
            link.set_config(LinkConfig::default().with_delay(MS(10))).unwrap();
        }
        let sent = [pair.a.outbox.clone(), pair.b.outbox.clone()];
        pair.run_for(MS(500));
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_good_end(Duration::from_secs(30));
        assert!(pair.b.received().iter().eq(&sent[0]), "{pair:#?}");
        assert!(pair.a.received().iter().eq(&sent[1]), "{pair:#?}");
    });
}
