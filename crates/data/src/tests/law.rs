//! The law of the pure core: any input, then poll until dry; more polls are harmless.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use towline_netsim::{LinkConfig, Loss};
use towline_wire::{Dialect, Mtu};

use super::pair::Pair;
use super::random::{for_each_seed, frames, one_of, payload};
use crate::{Config, Connection, Delivery, Mode, Timing};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn some_config(rng: &mut ChaCha8Rng, mtus: &[usize]) -> Arc<Config> {
    let mtu = Mtu::new(one_of(rng, mtus)).unwrap();
    let config = Config::builder(one_of(rng, &Dialect::ALL), mtu)
        .mode(one_of(rng, &[Mode::Reliable, Mode::Unreliable]))
        .delivery(one_of(rng, &[Delivery::Ordered, Delivery::Unordered]))
        .timing(one_of(rng, &[Timing::Adaptive, Timing::Fixed]))
        .progress_timeout(one_of(rng, &[None, Some(Duration::from_secs(20))]))
        .max_retransmissions(one_of(rng, &[None, Some(5)]));
    Arc::new(config.build().unwrap())
}

#[test]
fn extra_polls_and_early_timeouts_change_nothing_that_arrives() {
    for_each_seed(100, |seed, rng| {
        let config =
            Arc::new(Config::builder(Dialect::Rfc0007, Mtu::new(512).unwrap()).build().unwrap());
        let link = LinkConfig::default().with_delay(MS(20)).with_loss(Loss::Random(0.1));
        let mut pair = Pair::new(&config, &link, seed);
        let sent = frames(100, 2000);
        pair.a.queue(sent.clone());
        (pair.a.finish, pair.b.finish) = (true, true);
        while !(pair.a.drained && pair.b.drained) {
            let now = pair.now;
            for connection in [&mut pair.a.connection, &mut pair.b.connection] {
                for _ in 0..rng.random_range(0..3) {
                    connection.handle_timeout(now);
                    let _ = connection.poll_timeout();
                    let _ = connection.stats();
                    let _ = connection.poll_transmit(now, 0, &mut Vec::new());
                }
            }
            if !pair.step() {
                break;
            }
        }
        assert!(pair.b.received() == sent, "{pair:#?}");
        assert_eq!((pair.a.closed, pair.b.closed), (Some(None), Some(None)));
    });
}

#[test]
fn a_poll_writes_at_most_as_many_datagrams_as_asked_all_of_one_size() {
    for max in [1, 64] {
        let config =
            Arc::new(Config::builder(Dialect::Rfc0007, Mtu::new(512).unwrap()).build().unwrap());
        let mut pair = Pair::new(&config, &LinkConfig::default().with_delay(MS(20)), 1);
        // The pair checks each run.
        (pair.a.max_datagrams, pair.b.max_datagrams) = (max, max);
        let sent: Vec<Bytes> =
            (0..200).map(|salt| payload(37 * salt as usize % 4000, salt)).collect();
        pair.a.queue(sent.clone());
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_good_end(Duration::from_secs(60));
        assert!(pair.b.received() == sent);
    }
}

#[test]
fn what_the_buffer_held_before_a_poll_stays() {
    let config = Config::builder(Dialect::Rfc0007, Mtu::new(512).unwrap()).build().unwrap();
    let now = super::epoch();
    let mut connection = Connection::new(Arc::new(config), now);
    connection.send_frame(now, payload(10, 1)).unwrap();
    let mut buf = vec![1, 2, 3];
    connection.poll_transmit(now, 1, &mut buf).unwrap();
    assert_eq!((&buf[..3], buf.len()), (&[1, 2, 3][..], 3 + 20));
}

/// Polls until dry and checks that no deadline is left that has passed.
fn poll_dry(connection: &mut Connection, now: Instant, out: &mut Vec<Bytes>) {
    let mut buf = Vec::new();
    let mut runs = 0;
    while let Some(transmit) = connection.poll_transmit(now, 8, &mut buf) {
        let run = Bytes::from(std::mem::take(&mut buf));
        for start in (0..run.len()).step_by(transmit.segment_size) {
            out.push(run.slice(start..run.len().min(start + transmit.segment_size)));
        }
        runs += 1;
        assert!(runs < 100_000, "it never runs dry");
    }
    while connection.poll_event().is_some() {}
    connection.handle_timeout(now);
    let mut more = 0;
    while connection.poll_transmit(now, 8, &mut buf).is_some() {
        more += 1;
        assert!(more < 100_000, "it never runs dry");
    }
    while connection.poll_event().is_some() {}
    let next = connection.poll_timeout();
    assert!(next.is_none_or(|at| at > now), "a deadline that has passed is left: {connection:#?}");
}

/// A datagram that decodes, with whatever in it.
pub(super) fn some_datagram(rng: &mut ChaCha8Rng, config: &Config) -> Bytes {
    use towline_wire::data::{FrameId, MissingSegments, RequestEntry, SegmentHeader};
    let codec = config.codec();
    let high = one_of(rng, &[3, 20, 300, 1000, u32::MAX]);
    let mut ids: Vec<FrameId> = (0..rng.random_range(1..6))
        .filter_map(|_| FrameId::new(rng.random_range(1..=high)))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let mut out = Vec::new();
    let written = match rng.random_range(0..8) {
        0 => codec.encode_acknowledgement(
            ids.into_iter().take(codec.max_acknowledged_frames()),
            &mut out,
        ),
        1 => {
            let entries = ids.into_iter().take(codec.max_request_entries()).map(|frame_id| {
                RequestEntry { frame_id, missing: MissingSegments::from_bits(rng.random()) }
            });
            codec.encode_request(entries.collect::<Vec<_>>(), &mut out)
        }
        2 if rng.random_bool(0.1) => {
            codec.encode_segment(SegmentHeader::terminating(ids[0]), &[], &mut out)
        }
        _ => {
            let count = rng.random_range(1..=config.codec().dialect().max_segments());
            let count = one_of(rng, &[1, 2, 8, count]);
            let header = SegmentHeader::new(ids[0], rng.random_range(0..count), count).unwrap();
            let data = payload(rng.random_range(0..=codec.max_segment_data()), rng.random());
            codec.encode_segment(header, &data, &mut out)
        }
    };
    written.unwrap();
    out.into()
}

#[test]
fn any_order_of_calls_is_safe_and_leaves_no_deadline_behind() {
    for_each_seed(1500, |_, rng| {
        let config = some_config(rng, &[16, 64, 512, 1500]);
        let mut now = super::epoch();
        let mut connection = Connection::new(config.clone(), now);
        let mut echo = Vec::new();
        for _ in 0..200 {
            match rng.random_range(0..12) {
                0..4 => {
                    let datagram = some_datagram(rng, &config);
                    let _ = connection.handle_datagram(now, datagram);
                }
                4..6 => {
                    let len = rng.random_range(0..=config.frame_size() + 1);
                    let _ = connection.send_frame(now, payload(len, 1));
                }
                6 => drop(connection.recv_frame()),
                7 => {
                    let step = one_of(rng, &[0, 1, 10, 100, 1000, 100_000]);
                    now += MS(rng.random_range(0..=step));
                    connection.handle_timeout(now);
                }
                8 => {
                    if let Some(at) = connection.poll_timeout() {
                        now = now.max(at);
                        connection.handle_timeout(now);
                    }
                }
                9 if !echo.is_empty() => {
                    // Its own messages are as good as a peer's.
                    let datagram: Bytes = echo.swap_remove(rng.random_range(0..echo.len()));
                    let _ = connection.handle_datagram(now, datagram);
                }
                10 if rng.random_bool(0.03) => connection.finish(now),
                11 if rng.random_bool(0.01) => connection.abort(now),
                _ => {}
            }
            echo.truncate(50);
            poll_dry(&mut connection, now, &mut echo);
        }
    });
}

#[test]
fn random_bytes_are_refused_without_harm() {
    for_each_seed(300, |_, rng| {
        let config = some_config(rng, &[64, 512]);
        let now = super::epoch();
        let mut connection = Connection::new(config, now);
        for _ in 0..100 {
            let len = rng.random_range(0..100);
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
            if let [version, kind, high, low, ..] = &mut bytes[..] {
                (*version, *kind) = (1, *kind % 4);
                (*high, *low) = (0, (len - 4) as u8);
            }
            let _ = connection.handle_datagram(now, bytes.into());
            poll_dry(&mut connection, now, &mut Vec::new());
        }
    });
}

/// There is no checksum: that datagrams arrive as they were sent or not at all is the transport's job
/// (RFC-0007, 7.1), so content may be wrong here. Nothing worse may happen.
#[test]
fn flipped_bits_do_not_harm_the_machine() {
    for_each_seed(200, |seed, rng| {
        let config = some_config(rng, &[64, 512]);
        let link = LinkConfig::default().with_delay(MS(5)).with_corrupt(0.2);
        let mut pair = Pair::new(&config, &link, seed);
        pair.a.queue(frames(40, config.frame_size().min(1000)));
        pair.b.queue(frames(40, 10));
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_for(Duration::from_secs(30));
    });
}

#[test]
fn a_drained_connection_has_nothing_more_to_say() {
    use towline_wire::data::{FrameId, SegmentHeader};
    let config = Config::builder(Dialect::Rfc0007, Mtu::new(512).unwrap()).mode(Mode::Unreliable);
    let config = Arc::new(config.build().unwrap());
    let mut now = super::epoch();
    let mut connection = Connection::new(config.clone(), now);
    let mut datagram = Vec::new();
    let end = SegmentHeader::terminating(FrameId::FIRST);
    config.codec().encode_segment(end, &[], &mut datagram).unwrap();
    connection.handle_datagram(now, datagram.into()).unwrap();
    connection.poll_transmit(now, 1, &mut Vec::new()).unwrap();
    // The machine slept through the times of its last words.
    now += Duration::from_secs(60);
    connection.handle_timeout(now);
    assert!(connection.is_drained());
    assert_eq!(connection.poll_transmit(now, 1, &mut Vec::new()), None);
    assert_eq!(connection.poll_timeout(), None);
}
