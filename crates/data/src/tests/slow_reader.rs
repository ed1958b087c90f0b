//! Readers that pause.

use std::sync::Arc;
use std::time::Duration;

use towline_netsim::LinkConfig;
use towline_wire::{Dialect, Mtu};

use super::pair::Pair;
use super::random::frames;
use crate::{Config, ConfigBuilder, ConnectionError, Delivery, Mode};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;
const BUFFER: usize = 256 << 10;

fn builder() -> ConfigBuilder {
    Config::builder(Dialect::Rfc0007, Mtu::new(1024).unwrap())
        .receive_buffer(BUFFER)
        .send_buffer(BUFFER)
}

/// A sender with more than all buffers hold, and a reader that has not begun.
fn stalled(config: ConfigBuilder) -> Pair {
    let mut pair =
        Pair::new(&Arc::new(config.build().unwrap()), &LinkConfig::default().with_delay(MS(10)), 1);
    pair.b.reading = false;
    pair.a.queue(frames(200, 8000));
    pair.run_for(S(2));
    pair
}

//= docs/spec/data.md#acknowledging
//= type=test
//# In reliable mode a receiver MUST hold back acknowledgements while its application leaves no room
//# for frames.
#[test]
fn a_reader_that_pauses_stops_the_sender() {
    let mut pair = stalled(builder());
    assert!(!pair.a.outbox.is_empty());
    let waiting = pair.a.outbox.len();
    pair.run_for(S(60));
    assert_eq!(pair.a.outbox.len(), waiting);
}

#[test]
fn what_waits_for_the_reader_is_bounded() {
    let mut pair = stalled(builder());
    pair.run_for(S(60));
    assert!(pair.b.connection.stats().receive_buffered <= BUFFER + 9000, "{pair:#?}");
}

//= docs/spec/data.md#silence
//= type=test
//# By default an end MUST NOT end a session whose peer shows life because it acknowledges nothing
//# new.
#[test]
fn a_session_outlives_a_pause_beyond_the_idle_timeout() {
    for delivery in [Delivery::Ordered, Delivery::Unordered] {
        let mut pair = stalled(builder().delivery(delivery).idle_timeout(S(30)));
        pair.run_for(S(600));
        assert_eq!((pair.a.closed, pair.b.closed), (None, None));
        pair.b.reading = true;
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_good_end(S(60));
        assert_eq!(pair.b.inbox.len(), 200);
    }
}

#[test]
fn a_pause_costs_few_retransmissions() {
    let mut pair = stalled(builder());
    let before = pair.a.connection.stats().segments_sent;
    pair.run_for(S(600));
    let sent = pair.a.connection.stats().segments_sent - before;
    // Two frames of eight segments, each two seconds.
    assert!(sent <= 300 * 16, "{sent} segments in ten minutes");
}

#[test]
fn the_transfer_resumes_soon_after_the_reader() {
    let mut pair = stalled(builder());
    pair.run_for(S(600));
    pair.b.reading = true;
    pair.run_for(S(3));
    assert_eq!(pair.b.inbox.len(), 200, "{pair:#?}");
}

#[test]
fn a_pause_does_not_pass_for_a_round_trip() {
    let mut pair = stalled(builder());
    pair.run_for(S(600));
    pair.b.reading = true;
    pair.run_for(S(3));
    assert!(pair.a.connection.stats().rtt.unwrap() < MS(200), "{pair:#?}");
}

#[test]
fn a_pause_as_long_as_the_progress_timeout_ends_the_session() {
    let mut pair = stalled(builder().progress_timeout(Some(S(20))));
    pair.run_for(S(25));
    assert_eq!(pair.a.closed, Some(Some(ConnectionError::NoProgress)), "{pair:#?}");
}

#[test]
fn the_end_is_seen_when_the_last_frame_is_taken() {
    let mut pair = Pair::new(&Arc::new(builder().build().unwrap()), &LinkConfig::default(), 1);
    pair.b.reading = false;
    pair.a.queue(frames(25, 8000));
    (pair.a.finish, pair.b.finish) = (true, true);
    pair.run_for(S(100));
    assert!(!pair.b.peer_finished);
    pair.b.reading = true;
    pair.run_to_good_end(S(20));
}

#[test]
fn a_reader_that_pauses_with_a_gap_and_a_known_end_loses_nothing() {
    for timing in [crate::Timing::Adaptive, crate::Timing::Fixed] {
        let mut pair = stalled(builder().timing(timing));
        pair.a.finish = true;
        // Let the sender get to its end step by step.
        for _ in 0..200 {
            pair.b.reading = true;
            pair.run_for(MS(5));
            pair.b.reading = false;
            pair.run_for(S(15));
        }
        (pair.b.reading, pair.b.finish) = (true, true);
        pair.run_to_good_end(S(60));
        assert_eq!(pair.b.inbox.len(), 200);
    }
}

#[test]
fn a_literal_end_keeps_what_a_slow_reader_has_not_taken() {
    let config = builder().close_on_peer_finish(true);
    let mut pair = Pair::new(&Arc::new(config.build().unwrap()), &LinkConfig::default(), 1);
    pair.b.reading = false;
    pair.a.queue(frames(25, 8000));
    pair.b.finish = true;
    pair.run_for(S(100));
    pair.b.reading = true;
    pair.run_for(S(100));
    let count = pair.a.connection.stats().frames_sent as usize;
    assert_eq!(pair.b.inbox.len(), count, "{pair:#?}");
}

#[test]
fn an_unreliable_reader_that_pauses_gets_what_fits() {
    let config = builder().mode(Mode::Unreliable);
    let mut pair = Pair::new(&Arc::new(config.build().unwrap()), &LinkConfig::default(), 1);
    pair.b.reading = false;
    // The second is lost, so what waits behind the full queue begins with a gap.
    let mut count = 0;
    pair.a.lose = Some(Box::new(move |_, _| {
        count += 1;
        count == 180
    }));
    pair.a.queue(frames(28, 8000));
    pair.run_for(S(10));
    pair.b.reading = true;
    pair.run_for(S(10));
    assert!(pair.b.inbox.len() >= 26, "{pair:#?}");
    assert_eq!(pair.b.connection.stats().receive_buffered, 0);
}

#[test]
fn a_reader_with_the_default_buffer_stops_its_peer_without_losing_anything() {
    for mtu in [256, 1000, 1400, 9000] {
        let config = Config::builder(Dialect::Rfc0009, Mtu::new(mtu).unwrap()).build().unwrap();
        let size = config.frame_size();
        let link = LinkConfig::default().with_delay(MS(1));
        let mut pair = Pair::new(&Arc::new(config), &link, 1);
        pair.b.reading = false;
        pair.a.queue(frames(1000, size));
        pair.run_for(S(1));
        assert_eq!(pair.b.connection.stats().segments_dropped, 0, "MTU {mtu}: {pair:#?}");
    }
}
