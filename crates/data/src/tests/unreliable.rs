//! What an unreliable reader waits for, and what it believes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use towline_netsim::LinkConfig;
use towline_wire::data::{FrameId, Message, Segment, SegmentHeader};
use towline_wire::{Dialect, Mtu};

use super::pair::Pair;
use super::random::{frames, payload};
use crate::{Config, ConfigBuilder, Connection, Delivery, Mode, Timing};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn builder() -> ConfigBuilder {
    Config::builder(Dialect::Rfc0007, Mtu::new(512).unwrap()).mode(Mode::Unreliable)
}

/// A receiver that is fed by hand.
struct Receiver {
    connection: Connection,
    now: std::time::Instant,
}

impl Receiver {
    fn new(config: ConfigBuilder) -> Self {
        let now = super::epoch();
        Self { connection: Connection::new(Arc::new(config.build().unwrap()), now), now }
    }

    fn feed(&mut self, id: u32) {
        self.feed_segment(SegmentHeader::single(FrameId::new(id).unwrap()));
    }

    fn feed_segment(&mut self, header: SegmentHeader) {
        let segment = Message::Segment(Segment { header, data: payload(10, 1) });
        let mut datagram = Vec::new();
        self.connection.config().codec().encode(&segment, &mut datagram).unwrap();
        self.connection.handle_datagram(self.now, datagram.into()).unwrap();
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.connection.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.connection.handle_timeout(at);
        }
        self.now = end;
    }

    fn take(&mut self) -> Vec<u32> {
        let ids = std::iter::from_fn(|| self.connection.recv_frame()).map(|frame| frame.id().get());
        let ids = ids.collect();
        let _ = self.connection.poll_transmit(self.now, 1, &mut Vec::new());
        ids
    }
}

#[test]
fn a_gap_holds_later_frames_for_a_part_of_a_round_trip() {
    let mut receiver = Receiver::new(builder());
    [1, 3].into_iter().for_each(|id| receiver.feed(id));
    assert_eq!(receiver.take(), [1]);
    receiver.wait(MS(50));
    assert_eq!(receiver.take(), [3]);
}

//= docs/spec/data.md#unreliable
//= type=test
//# In unreliable mode with ordered delivery a receiver MUST give up a missing frame when 16
//# complete frames wait behind it,
#[test]
fn a_gap_is_given_up_when_enough_frames_wait_behind_it() {
    let mut receiver = Receiver::new(builder().reorder_depth(4));
    [2, 3, 4].into_iter().for_each(|id| receiver.feed(id));
    assert_eq!(receiver.take(), []);
    receiver.feed(5);
    assert_eq!(receiver.take(), [2, 3, 4, 5]);
}

//= docs/spec/data.md#unreliable
//= type=test
//# In unreliable mode a receiver MUST NOT deliver a frame that it has given up.
#[test]
fn a_late_frame_that_was_given_up_is_not_delivered() {
    let mut receiver = Receiver::new(builder().reorder_depth(1));
    [2, 1].into_iter().for_each(|id| receiver.feed(id));
    assert_eq!(receiver.take(), [2]);
}

//= docs/spec/data.md#delivery
//= type=test
//# With unordered delivery a receiver MUST deliver a frame as soon as it is complete, as far as its
//# application takes it.
#[test]
fn unordered_delivery_is_immediate() {
    let mut receiver = Receiver::new(builder().delivery(Delivery::Unordered));
    [5, 3].into_iter().for_each(|id| receiver.feed(id));
    assert_eq!(receiver.take(), [5, 3]);
}

#[test]
fn unordered_delivery_takes_a_late_frame_within_the_frame_timeout() {
    let mut receiver = Receiver::new(builder().delivery(Delivery::Unordered));
    receiver.feed(2);
    receiver.wait(MS(700));
    receiver.feed(1);
    assert_eq!(receiver.take(), [2, 1]);
}

#[test]
fn unordered_delivery_happens_once() {
    let mut receiver = Receiver::new(builder().delivery(Delivery::Unordered));
    [2, 2, 1, 2, 1].into_iter().for_each(|id| receiver.feed(id));
    assert_eq!(receiver.take(), [2, 1]);
}

//= docs/spec/data.md#receive-window
//= type=test
//# In unreliable mode a receiver MUST move its window forward to a frame that lies less than one
//# window beyond it.
#[test]
fn the_window_slides_to_a_frame_beyond_it() {
    let mut receiver = Receiver::new(builder().receive_window(10));
    [1, 15].into_iter().for_each(|id| receiver.feed(id));
    receiver.wait(MS(1000));
    assert_eq!(receiver.take(), [1, 15]);
}

#[test]
fn sliding_delivers_the_frames_that_are_complete() {
    let mut receiver = Receiver::new(builder().receive_window(10));
    [1, 3, 4, 15].into_iter().for_each(|id| receiver.feed(id));
    receiver.wait(MS(1000));
    assert_eq!(receiver.take(), [1, 3, 4, 15]);
}

#[test]
fn a_long_outage_is_followed_by_a_new_start() {
    let mut receiver = Receiver::new(builder());
    receiver.feed(1);
    (100_000..100_010).for_each(|id| receiver.feed(id));
    receiver.wait(MS(1000));
    assert_eq!(receiver.take().len(), 9, "the first, and all but two that were not believed");
}

#[test]
fn one_id_far_ahead_is_not_believed() {
    let mut receiver = Receiver::new(builder());
    [1, 4_000_000_000, 2, 3].into_iter().for_each(|id| receiver.feed(id));
    assert_eq!(receiver.take(), [1, 2, 3]);
}

//= docs/spec/data.md#receive-window
//= type=test
//# In unreliable mode a receiver MUST NOT move its window to a frame further beyond before three
//# such segments in a row lie within a window of each other.
#[test]
fn ids_far_ahead_and_far_apart_are_not_believed() {
    let mut receiver = Receiver::new(builder());
    [1, 4_000_000_000, 3_000_000_000, 2_000_000_000, 1_000_000_000, 2]
        .into_iter()
        .for_each(|id| receiver.feed(id));
    assert_eq!(receiver.take(), [1, 2]);
}

//= docs/spec/data.md#unreliable
//= type=test
//# In unreliable mode a receiver MUST NOT take a missing frame before the terminating frame for an
//# error.
#[test]
fn a_gap_before_the_terminating_frame_does_not_keep_the_session() {
    let mut receiver = Receiver::new(builder());
    receiver.feed(1);
    receiver.feed_segment(SegmentHeader::terminating(FrameId::new(3).unwrap()));
    receiver.wait(MS(100));
    assert_eq!(receiver.take(), [1]);
    assert!(receiver.connection.is_end_of_stream());
}

//= docs/spec/data.md#id-exhaustion
//= type=test
//# A receiver MUST accept a frame with the last id.
#[test]
fn the_receive_twin_of_the_last_id_is_accepted() {
    let mut receiver = Receiver::new(builder());
    receiver.connection.start_at(u64::from(u32::MAX) - 1);
    receiver.feed(u32::MAX - 1);
    receiver.feed(u32::MAX);
    assert_eq!(receiver.take(), [u32::MAX - 1, u32::MAX]);
}

#[test]
fn a_lost_frame_costs_only_itself() {
    let mut pair = Pair::new(
        &Arc::new(builder().build().unwrap()),
        &LinkConfig::default().with_delay(MS(10)),
        1,
    );
    pair.a.lose = Some(Box::new(
        |_, message| matches!(message, Message::Segment(segment) if segment.header.frame_id().get() == 7),
    ));
    let mut sent: Vec<Bytes> = frames(20, 1000);
    pair.a.queue(sent.clone());
    pair.run_for(MS(100));
    sent.remove(6);
    assert!(pair.b.received() == sent);
}

//= docs/spec/data.md#unreliable
//= type=test
//# In unreliable mode a sender MUST send each segment with data once.
#[test]
fn each_segment_is_sent_once() {
    let mut pair = Pair::new(
        &Arc::new(builder().build().unwrap()),
        &LinkConfig::default().with_delay(MS(10)),
        1,
    );
    pair.a.log = Some(Vec::new());
    pair.a.lose = Some(Box::new(|_, _| true));
    pair.a.queue(frames(3, 1000));
    pair.run_for(MS(5000));
    let sent = pair.a.sent(|message| match message {
        Message::Segment(segment) => {
            Some((segment.header.frame_id().get(), segment.header.index()))
        }
        _ => None,
    });
    let sent: Vec<_> = sent.map(|(_, segment)| segment).collect();
    assert_eq!(sent, [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]);
}

//= docs/spec/data.md#unreliable
//= type=test
//# In unreliable mode a receiver MUST give up a missing frame at the latest when the frame timeout
//# since it was overtaken is over.
#[test]
fn a_gap_is_given_up_when_the_frame_timeout_is_over() {
    let mut receiver = Receiver::new(builder().timing(Timing::Fixed));
    [1, 3].into_iter().for_each(|id| receiver.feed(id));
    receiver.wait(MS(799));
    assert_eq!(receiver.take(), [1]);
    receiver.wait(MS(1));
    assert_eq!(receiver.take(), [3]);
}

#[test]
fn unordered_delivery_gives_up_a_frame_when_the_frame_timeout_is_over() {
    let mut receiver = Receiver::new(builder().delivery(Delivery::Unordered));
    receiver.feed(2);
    receiver.wait(MS(801));
    receiver.feed(1);
    assert_eq!(receiver.take(), [2]);
}

/// A pass over the ring for each frame that is given up would take hours here.
#[test]
fn one_frame_far_ahead_in_a_long_window_costs_one_pass_over_it() {
    let window = 65_535;
    let config = builder().receive_window(window as usize).delivery(Delivery::Unordered);
    let mut receiver = Receiver::new(config);
    for round in 1..=200 {
        receiver.feed(round * window);
        assert_eq!(receiver.take(), [round * window]);
        receiver.wait(MS(1000));
    }
    assert_eq!(receiver.connection.stats().frames_skipped, 200 * u64::from(window - 1));
}
