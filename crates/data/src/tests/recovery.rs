//! Single losses, and how they are made good.

use std::sync::Arc;
use std::time::Duration;

use towline_netsim::{LinkConfig, Loss};
use towline_wire::data::Message;
use towline_wire::{Dialect, Mtu};

use super::pair::Pair;
use super::random::{frames, payload};
use crate::{Config, ConfigBuilder, SendError};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn builder() -> ConfigBuilder {
    Config::builder(Dialect::Rfc0007, Mtu::new(256).unwrap())
}

/// Two ends 20 ms from each other, whose messages are kept.
fn pair(config: ConfigBuilder) -> Pair {
    let mut pair =
        Pair::new(&Arc::new(config.build().unwrap()), &LinkConfig::default().with_delay(MS(20)), 1);
    (pair.a.log, pair.b.log) = (Some(Vec::new()), Some(Vec::new()));
    pair
}

/// Lets the ends measure the round trip.
fn warm_up(pair: &mut Pair) {
    pair.a.queue(frames(1, 10));
    pair.b.queue(frames(1, 10));
    pair.run_for(Duration::from_secs(1));
    pair.a.inbox.clear();
    pair.b.inbox.clear();
}

/// Loses the first copy of the segments of frame `id` whose index `which` picks.
fn lose_once(pair: &mut Pair, id: u32, which: impl Fn(u8) -> bool + 'static) {
    let mut lost = [false; 64];
    pair.a.lose = Some(Box::new(move |_, message| match message {
        Message::Segment(segment) if segment.header.frame_id().get() == id => {
            let index = segment.header.index();
            which(index) && !std::mem::replace(&mut lost[usize::from(index)], true)
        }
        _ => false,
    }));
}

/// Runs until `count` frames arrived and returns how long that took.
#[track_caller]
fn time_to_receive(pair: &mut Pair, count: usize) -> Duration {
    let start = pair.now;
    pair.run_until(Duration::from_secs(60), |pair| pair.b.inbox.len() >= count);
    pair.now - start
}

#[track_caller]
fn assert_all_arrive(pair: &mut Pair, sent: &[bytes::Bytes]) {
    pair.a.finish = true;
    pair.b.finish = true;
    pair.run_to_good_end(Duration::from_secs(120));
    assert!(pair.b.received() == sent, "{pair:#?}");
}

//= docs/spec/data.md#segmentation
//= type=test
//# A sender MUST fill every segment of a frame but the last with `C - 10` bytes of data.
#[test]
fn a_frame_of_exactly_full_segments_arrives_in_that_many() {
    for count in [1, 2, 3, 8] {
        let mut pair = pair(builder());
        let sent = vec![payload(246 * count, 7)];
        pair.a.queue(sent.clone());
        assert_all_arrive(&mut pair, &sent);
        assert_eq!(pair.a.connection.stats().segments_sent as usize, count + 1);
    }
}

//= docs/spec/data.md#segmentation
//= type=test
//# A sender MUST send a frame without data as one empty segment.
#[test]
fn empty_frames_arrive() {
    let mut pair = pair(builder());
    let sent = frames(5, 0);
    pair.a.queue(sent.clone());
    assert_all_arrive(&mut pair, &sent);
}

//= docs/spec/data.md#segmentation
//= type=test
//# A receiver MUST accept frames of as many segments as the dialect can count.
#[test]
fn frames_of_64_segments_arrive() {
    let mut pair = pair(builder().frame_size(64 * 246));
    let sent = frames(4, 64 * 246);
    pair.a.queue(sent.clone());
    assert_all_arrive(&mut pair, &sent);
}

//= docs/spec/data.md#retransmission
//= type=test
//# In reliable mode a sender MUST send again, without being asked, segments past the eighth that
//# may be lost.
#[test]
fn segments_past_the_eighth_come_back_without_a_request() {
    let mut pair = pair(builder().frame_size(64 * 246));
    lose_once(&mut pair, 1, |index| index >= 8);
    let sent = frames(1, 64 * 246);
    pair.a.queue(sent.clone());
    assert_all_arrive(&mut pair, &sent);
}

#[test]
fn segments_past_the_eighth_come_back_within_a_second() {
    let mut pair = pair(builder().frame_size(64 * 246));
    warm_up(&mut pair);
    lose_once(&mut pair, 2, |index| index == 40);
    pair.a.queue(frames(6, 64 * 246));
    assert!(time_to_receive(&mut pair, 1) < MS(600), "{pair:#?}");
}

#[test]
fn a_lost_segment_comes_back_in_about_two_round_trips() {
    let mut pair = pair(builder());
    warm_up(&mut pair);
    lose_once(&mut pair, 4, |index| index == 3);
    pair.a.queue(frames(20, 8 * 246));
    assert!(time_to_receive(&mut pair, 3) < MS(120), "{pair:#?}");
}

//= docs/spec/data.md#requesting
//= type=test
//# A receiver MUST NOT request a segment that it has,
//= docs/spec/data.md#answering-requests
//= type=test
//# A sender MUST answer a request with the segments that it names and that were not sent within the
//# last round trip, and no others.
#[test]
fn a_lost_segment_alone_is_sent_again() {
    let mut pair = pair(builder());
    lose_once(&mut pair, 4, |index| index == 3);
    let sent = frames(20, 8 * 246);
    pair.a.queue(sent.clone());
    assert_all_arrive(&mut pair, &sent);
    assert_eq!(pair.a.connection.stats().segments_retransmitted, 1);
}

//= docs/spec/data.md#requesting
//= type=test
//# A receiver MUST request a frame of which it has no segment with every bit set.
#[test]
fn a_frame_lost_whole_is_requested_with_every_bit() {
    let mut pair = pair(builder());
    warm_up(&mut pair);
    lose_once(&mut pair, 4, |_| true);
    pair.a.queue(frames(20, 8 * 246));
    time_to_receive(&mut pair, 20);
    let request = pair.b.sent(|message| match message {
        Message::Request(request) => request.entries().next(),
        _ => None,
    });
    let (_, first) = request.into_iter().next().unwrap();
    assert_eq!((first.frame_id.get(), first.missing.bits()), (4, 0xff));
}

#[test]
fn a_lost_last_segment_comes_back_within_a_few_round_trips() {
    let mut pair = pair(builder());
    warm_up(&mut pair);
    lose_once(&mut pair, 6, |index| index == 7);
    pair.a.queue(frames(5, 8 * 246));
    assert!(time_to_receive(&mut pair, 5) < MS(200), "{pair:#?}");
}

//= docs/spec/data.md#retransmission
//= type=test
//# In reliable mode a sender MUST send a frame again, without being asked, whose acknowledgement is
//# overdue.
#[test]
fn a_lost_last_frame_comes_back_within_a_few_round_trips() {
    let mut pair = pair(builder());
    warm_up(&mut pair);
    lose_once(&mut pair, 6, |_| true);
    pair.a.queue(frames(5, 8 * 246));
    assert!(time_to_receive(&mut pair, 5) < MS(400), "{pair:#?}");
}

//= docs/spec/data.md#requesting
//= type=test
//# A receiver MUST repeat a request for a frame that stays incomplete.
#[test]
fn lost_requests_are_repeated() {
    let mut pair = pair(builder());
    lose_once(&mut pair, 4, |index| index == 3);
    let mut requests = 0;
    pair.b.lose = Some(Box::new(move |_, message| {
        requests += u32::from(matches!(message, Message::Request(_)));
        matches!(message, Message::Request(_)) && requests <= 3
    }));
    let sent = frames(20, 8 * 246);
    pair.a.queue(sent.clone());
    assert_all_arrive(&mut pair, &sent);
}

#[test]
fn lost_acknowledgements_are_made_good() {
    let mut pair = pair(builder());
    let mut count = 0;
    pair.b.lose = Some(Box::new(move |_, message| {
        count += u32::from(matches!(message, Message::Acknowledgement(_)));
        matches!(message, Message::Acknowledgement(_)) && count % 4 != 0
    }));
    let sent = frames(300, 246);
    pair.a.queue(sent.clone());
    assert_all_arrive(&mut pair, &sent);
}

#[test]
fn all_acknowledgements_lost_for_a_second_cost_little() {
    let mut pair = pair(builder());
    pair.b.lose = Some(Box::new(|at, message| {
        at < MS(1000) && matches!(message, Message::Acknowledgement(_))
    }));
    let sent = frames(100, 246);
    pair.a.queue(sent.clone());
    assert_all_arrive(&mut pair, &sent);
    assert!(pair.a.connection.stats().segments_retransmitted < 40, "{pair:#?}");
}

/// Nothing passes in the directions given, from 0.1 s to 5.1 s.
fn black_out(pair: &mut Pair, forward: bool, backward: bool) {
    let dark = |at: Duration| (MS(100)..MS(5100)).contains(&at);
    if forward {
        pair.a.lose = Some(Box::new(move |at, _| dark(at)));
    }
    if backward {
        pair.b.lose = Some(Box::new(move |at, _| dark(at)));
    }
}

#[test]
fn a_transfer_survives_a_blackout_of_five_seconds() {
    for (forward, backward) in [(true, true), (true, false), (false, true)] {
        let mut pair = pair(builder());
        black_out(&mut pair, forward, backward);
        let sent = frames(2000, 8 * 246);
        pair.a.queue(sent.clone());
        assert_all_arrive(&mut pair, &sent);
    }
}

#[test]
fn recovery_from_a_blackout_starts_within_the_longest_probe_interval() {
    let mut pair = pair(builder());
    black_out(&mut pair, true, true);
    pair.a.queue(frames(2000, 8 * 246));
    pair.run_for(MS(5100));
    let before = pair.b.inbox.len();
    pair.run_for(MS(2200));
    assert!(pair.b.inbox.len() > before, "{pair:#?}");
}

#[test]
fn a_blackout_costs_few_retransmissions() {
    let mut pair = pair(builder());
    black_out(&mut pair, true, true);
    pair.a.queue(frames(2000, 8 * 246));
    pair.run_for(MS(5100));
    assert!(pair.a.connection.stats().segments_retransmitted < 300, "{pair:#?}");
}

#[test]
fn bursts_of_loss_are_made_good() {
    super::random::for_each_seed(20, |seed, _| {
        let link =
            LinkConfig::default().with_delay(MS(20)).with_loss(Loss::bursts(0.1, 8.0).unwrap());
        let mut pair = Pair::new(&Arc::new(builder().build().unwrap()), &link, seed);
        let sent = frames(200, 8 * 246);
        pair.a.queue(sent.clone());
        pair.run_until(Duration::from_secs(120), |pair| pair.b.inbox.len() == sent.len());
        assert!(pair.b.received() == sent);
    });
}

//= docs/spec/data.md#send-window
//= type=test
//# In reliable mode a sender MUST NOT have more than 255 frames sent and not acknowledged.
#[test]
fn no_more_than_255_frames_are_unacknowledged() {
    let mut pair = pair(builder());
    pair.b.lose = Some(Box::new(|_, _| true));
    pair.a.queue(frames(400, 1));
    pair.a.finish = true;
    pair.run_for(Duration::from_secs(5));
    let newest = pair.a.sent(|message| match message {
        Message::Segment(segment) => Some(segment.header.frame_id().get()),
        _ => None,
    });
    assert_eq!(newest.map(|(_, id)| id).max(), Some(255));
}

#[test]
fn a_full_window_and_the_terminating_frame_arrive() {
    let mut pair = pair(builder());
    let now = pair.now;
    let sent = frames(255, 1);
    for frame in &sent {
        pair.a.connection.send_frame(now, frame.clone()).unwrap();
    }
    assert_eq!(pair.a.connection.send_frame(now, payload(1, 1)), Err(SendError::Blocked));
    assert_all_arrive(&mut pair, &sent);
}

#[test]
fn acknowledged_frames_are_counted_once() {
    let link = LinkConfig::default().with_delay(MS(5)).with_duplicate(0.5);
    let mut pair = Pair::new(&Arc::new(builder().build().unwrap()), &link, 3);
    let sent = frames(100, 100);
    pair.a.queue(sent.clone());
    assert_all_arrive(&mut pair, &sent);
    assert_eq!(pair.a.connection.stats().frames_acknowledged, 101);
}

//= docs/spec/data.md#timing
//= type=test
//# A sender MUST NOT measure the round trip by a frame of which it sent anything twice.
#[test]
fn a_frame_that_was_sent_twice_measures_no_round_trip() {
    let mut pair = pair(builder());
    lose_once(&mut pair, 1, |_| true);
    pair.a.queue(frames(1, 100));
    pair.run_for(Duration::from_secs(2));
    let stats = pair.a.connection.stats();
    assert_eq!((stats.frames_acknowledged, stats.rtt), (1, None));
}

//= docs/spec/data.md#retransmission
//= type=test
//# A sender SHOULD double the time between its own retransmissions of a frame, up to 2 seconds or
//# to what the path takes.
#[test]
fn retransmissions_in_vain_double_their_distance_up_to_two_seconds() {
    let mut pair = pair(builder());
    pair.a.lose = Some(Box::new(|_, _| true));
    pair.a.queue(frames(1, 100));
    pair.run_for(Duration::from_secs(10));
    let times: Vec<_> = pair.a.sent(|_| Some(())).map(|(at, ())| at).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [300, 600, 1200, 2000, 2000, 2000].map(MS));
}

#[test]
fn frames_lost_in_a_burst_come_again_together_though_the_peer_asks_for_none() {
    let config = Config::builder(Dialect::Hoprnet, Mtu::new(256).unwrap()).build().unwrap();
    let mut pair = Pair::new(&Arc::new(config), &LinkConfig::default().with_delay(MS(1)), 1);
    warm_up(&mut pair);
    pair.b.lose = Some(Box::new(|_, message| matches!(message, Message::Request(_))));
    let mut lost = 0;
    pair.a.lose = Some(Box::new(move |_, _| {
        lost += 1;
        lost <= 20
    }));
    pair.a.queue(frames(20, 100));
    let time = time_to_receive(&mut pair, 20);
    // Two times of our own retransmission: one finds out, one makes good.
    assert!(time < MS(400), "{time:?}");
}

/// What one overdue frame may send beyond a full window is not taken from it by the next.
#[test]
fn long_frames_are_repaired_without_waiting_for_a_timeout_a_segment() {
    for seed in 0..10 {
        let config = builder().frame_size(64 * 246).build().unwrap();
        let link = LinkConfig::default().with_delay(MS(80)).with_loss(Loss::Random(0.2));
        let mut pair = Pair::new(&Arc::new(config), &link, seed);
        pair.a.queue(frames(2, 64 * 246).into_iter().chain(frames(20, 500)));
        assert!(time_to_receive(&mut pair, 22) < Duration::from_secs(20), "{pair:#?}");
    }
}
