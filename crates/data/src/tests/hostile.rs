//! Peers that mean harm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_netsim::LinkConfig;
use towline_wire::data::{FrameId, Message, MissingSegments, RequestEntry, Segment, SegmentHeader};
use towline_wire::{Dialect, Mtu};

use super::law::some_datagram;
use super::pair::Pair;
use super::random::{for_each_seed, frames, payload};
use crate::{Config, ConfigBuilder, Connection, Event, Mode};

const MS: fn(u64) -> Duration = Duration::from_millis;
const BUFFER: usize = 300_000;

fn builder() -> ConfigBuilder {
    Config::builder(Dialect::Rfc0007, Mtu::new(1000).unwrap()).receive_buffer(BUFFER)
}

fn id(id: u32) -> FrameId {
    FrameId::new(id).unwrap()
}

/// One connection and a peer that is nothing but a test.
struct Victim {
    connection: Connection,
    now: Instant,
    sent: Vec<Bytes>,
}

impl Victim {
    fn new(config: ConfigBuilder) -> Self {
        let now = super::epoch();
        let config = Arc::new(config.build().unwrap());
        Self { connection: Connection::new(config, now), now, sent: Vec::new() }
    }

    fn poll(&mut self) {
        let mut buf = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(self.now, 16, &mut buf) {
            let run = Bytes::from(std::mem::take(&mut buf));
            for start in (0..run.len()).step_by(transmit.segment_size) {
                self.sent.push(run.slice(start..run.len().min(start + transmit.segment_size)));
            }
        }
        while self.connection.poll_event().is_some() {}
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.poll();
        while let Some(at) = self.connection.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.connection.handle_timeout(self.now);
            self.poll();
        }
        self.now = end;
    }

    fn segment(&mut self, header: SegmentHeader, data: Bytes) {
        self.feed(&Message::Segment(Segment { header, data }));
    }

    fn feed(&mut self, message: &Message) {
        let mut datagram = Vec::new();
        self.connection.config().codec().encode(message, &mut datagram).unwrap();
        self.raw(datagram.into());
    }

    fn raw(&mut self, datagram: Bytes) {
        let _ = self.connection.handle_datagram(self.now, datagram);
        self.poll();
    }

    fn request(&mut self, frames: std::ops::RangeInclusive<u32>) {
        let mut datagram = Vec::new();
        let entries =
            frames.map(|frame| RequestEntry { frame_id: id(frame), missing: MissingSegments::ALL });
        let codec = self.connection.config().codec();
        codec.encode_request(entries.take(codec.max_request_entries()), &mut datagram).unwrap();
        self.raw(datagram.into());
    }

    /// The frames that its acknowledgements have named, each as often as it was.
    fn acknowledged(&self) -> Vec<u32> {
        let codec = self.connection.config().codec();
        let messages = self.sent.iter().map(|datagram| codec.decode(datagram.clone()).unwrap());
        let frames = messages.flat_map(|message| match message {
            Message::Acknowledgement(ack) => ack.frames().map(FrameId::get).collect(),
            _ => Vec::new(),
        });
        frames.collect()
    }

    fn acknowledge(&mut self, frames: std::ops::RangeInclusive<u32>) {
        let mut datagram = Vec::new();
        self.connection
            .config()
            .codec()
            .encode_acknowledgement(frames.map(id), &mut datagram)
            .unwrap();
        self.raw(datagram.into());
    }
}

//= docs/spec/data.md#bounds
//= type=test
//# A receiver MUST bound the memory that it keeps for a session, whatever its peer sends.
#[test]
fn a_flood_of_incomplete_frames_is_kept_within_the_buffer() {
    for mode in [Mode::Reliable, Mode::Unreliable] {
        let mut victim = Victim::new(builder().mode(mode));
        for round in 0..8 {
            for frame in 1..=400 {
                let header = SegmentHeader::new(id(frame), round, 64).unwrap();
                victim.segment(header, payload(900, frame));
                let kept = victim.connection.stats().receive_buffered;
                assert!(kept <= BUFFER + 64 * 1064, "{kept}");
            }
        }
    }
}

#[test]
fn small_segments_that_claim_long_frames_pay_for_their_lists() {
    let mut victim = Victim::new(builder());
    for frame in 1..=255 {
        victim.segment(SegmentHeader::new(id(frame), 3, 64).unwrap(), Bytes::new());
    }
    let stats = victim.connection.stats();
    assert!(stats.segments_received as usize <= BUFFER / (64 * 32), "{stats:?}");
}

#[test]
fn a_flood_that_nobody_reads_is_kept_within_the_buffer() {
    let mut victim = Victim::new(builder());
    for frame in 1..=5000 {
        victim.segment(SegmentHeader::single(id(frame)), payload(900, frame));
    }
    assert!(victim.connection.stats().receive_buffered <= BUFFER + 1064);
}

//= docs/spec/data.md#acknowledging
//= type=test
//# A receiver MUST NOT send acknowledgements at the pace of the duplicates that it receives.
#[test]
fn duplicates_at_line_rate_are_answered_at_the_pace_of_acknowledgements() {
    let mut victim = Victim::new(builder());
    for frame in 1..=10 {
        victim.segment(SegmentHeader::single(id(frame)), payload(900, frame));
    }
    victim.wait(MS(1000));
    let before = victim.sent.len();
    for _ in 0..10_000 {
        victim.segment(SegmentHeader::single(id(5)), payload(900, 5));
        victim.wait(Duration::from_micros(100));
    }
    // A second, and at least a millisecond between any two.
    assert!(victim.sent.len() - before <= 1000, "{}", victim.sent.len() - before);
}

//= docs/spec/data.md#answering-requests
//= type=test
//# A sender MUST NOT answer requests for a segment more than once in a round trip.
#[test]
fn a_request_storm_is_answered_once_a_round_trip() {
    for measured in [true, false] {
        let mut victim = Victim::new(builder().initial_rtt(MS(40)));
        let now = victim.now;
        for salt in 0..21 {
            victim.connection.send_frame(now, payload(900, salt)).unwrap();
        }
        victim.wait(MS(40));
        if measured {
            victim.acknowledge(1..=1);
        }
        let before = victim.sent.len();
        for _ in 0..10_000 {
            victim.request(2..=21);
            victim.wait(Duration::from_micros(100));
        }
        // 20 segments, a second, 35 ms from one answer of two copies to the next; and what our own timer
        // adds.
        let answers = victim.sent.len() - before;
        assert!(answers <= 2 * 20 * (1000 / 35 + 1) + 100, "{answers}");
    }
}

//= docs/spec/data.md#answering-requests
//= type=test
//# A sender MUST NOT answer with more than two copies of a segment.
//= docs/spec/data.md#answering-requests
//= type=test
//# A sender whose frames wait for the path MUST NOT answer with two copies of a segment that it sends
//# again for the first time.
//= docs/spec/data.md#hoprnet-peers
//= type=test
//# In `hoprnet` a sender MUST NOT answer with two copies of a segment.
#[test]
fn what_was_lost_again_comes_in_two_copies_and_on_an_idle_path_what_was_lost_at_all() {
    for (dialect, frames, answers) in [
        (Dialect::Rfc0007, 1, [2, 2, 2]),
        (Dialect::Rfc0007, 16, [1, 2, 2]),
        (Dialect::Hoprnet, 1, [1, 1, 1]),
        (Dialect::Hoprnet, 16, [1, 1, 1]),
    ] {
        let config = Config::builder(dialect, Mtu::new(1000).unwrap()).initial_rtt(MS(20));
        let mut victim = Victim::new(config);
        for frame in 1..=frames {
            victim.connection.send_frame(victim.now, payload(900, frame)).unwrap();
        }
        victim.wait(MS(25));
        for copies in answers {
            let before = victim.sent.len();
            victim.request(1..=1);
            victim.wait(MS(25));
            let first = victim.sent[0].clone();
            let sent = victim.sent[before..].iter().filter(|datagram| **datagram == first).count();
            assert_eq!(sent, copies, "in {dialect}, one of {frames} frames");
        }
    }
}

//= docs/spec/data.md#answering-requests
//= type=test
//# A sender MUST ignore requests for frames and segments that it has not sent.
#[test]
fn acknowledgements_and_requests_of_what_was_never_sent_are_counted() {
    let mut victim = Victim::new(builder());
    victim.acknowledge(1..=100);
    victim.request(1..=100);
    assert_eq!(victim.connection.stats().unexpected, 200);
    assert!(victim.sent.is_empty());
}

//= docs/spec/data.md#send-window
//= type=test
//# A sender MUST ignore acknowledgements of frames that it has not sent whole.
#[test]
fn a_frame_that_was_not_sent_whole_cannot_be_acknowledged_away() {
    let mut victim = Victim::new(builder());
    victim.acknowledge(1..=5);
    let now = victim.now;
    victim.connection.send_frame(now, payload(900, 1)).unwrap();
    victim.poll();
    assert_eq!(victim.sent.len(), 1);
}

//= docs/spec/data.md#reassembly
//= type=test
//# A receiver MUST ignore a segment whose count is not that of the first segment received of its
//# frame.
#[test]
fn the_first_count_of_a_frame_decides() {
    let mut victim = Victim::new(builder());
    victim.segment(SegmentHeader::new(id(1), 0, 2).unwrap(), payload(10, 1));
    victim.segment(SegmentHeader::new(id(1), 0, 1).unwrap(), payload(10, 2));
    victim.segment(SegmentHeader::new(id(1), 2, 3).unwrap(), payload(10, 3));
    assert!(victim.connection.recv_frame().is_none());
    victim.segment(SegmentHeader::new(id(1), 1, 2).unwrap(), payload(10, 4));
    assert_eq!(victim.connection.recv_frame().unwrap().len(), 20);
}

//= docs/spec/data.md#acknowledging
//= type=test
//# In reliable mode a receiver MUST acknowledge every frame that it has whole, the terminating
//# frame included, whether or not it is in turn.
#[test]
fn a_frame_is_acknowledged_though_one_before_it_is_missing() {
    let mut victim = Victim::new(builder());
    victim.segment(SegmentHeader::single(id(2)), payload(10, 2));
    victim.segment(SegmentHeader::terminating(id(3)), Bytes::new());
    victim.wait(MS(200));
    assert_eq!(victim.acknowledged(), [2, 3]);
}

//= docs/spec/data.md#acknowledging
//= type=test
//# In reliable mode a receiver MUST NOT acknowledge a frame that it does not have whole.
#[test]
fn a_frame_that_is_not_whole_is_not_acknowledged() {
    let mut victim = Victim::new(builder());
    victim.segment(SegmentHeader::new(id(1), 0, 2).unwrap(), payload(10, 1));
    victim.segment(SegmentHeader::new(id(1), 0, 2).unwrap(), payload(10, 1));
    victim.wait(MS(1000));
    assert_eq!(victim.acknowledged(), []);
}

//= docs/spec/data.md#acknowledging
//= type=test
//# In reliable mode a receiver MUST acknowledge a frame again when segments of it arrive again.
#[test]
fn a_frame_that_comes_again_is_acknowledged_again() {
    let mut victim = Victim::new(builder());
    for _ in 0..3 {
        victim.segment(SegmentHeader::single(id(1)), payload(10, 1));
        victim.wait(MS(1000));
    }
    assert_eq!(victim.acknowledged(), [1, 1, 1]);
}

//= docs/spec/data.md#receive-window
//= type=test
//# In reliable mode a receiver MUST accept segments of the 255 frames from the first one that it
//# has not delivered, and of no later one.
#[test]
fn a_reliable_receiver_takes_a_window_of_frames_and_no_more() {
    let mut victim = Victim::new(builder());
    for frame in 2..=256 {
        victim.segment(SegmentHeader::single(id(frame)), payload(10, frame));
    }
    assert_eq!(victim.connection.stats().segments_dropped, 1);
    victim.segment(SegmentHeader::single(id(1)), payload(10, 1));
    assert_eq!(std::iter::from_fn(|| victim.connection.recv_frame()).count(), 255);
}

//= docs/spec/data.md#bounds
//= type=test
//# A receiver MUST accept the segments of the first frame that is missing although its memory is
//# full.
#[test]
fn the_first_missing_frame_is_let_in_although_the_buffer_is_full() {
    let mut victim = Victim::new(builder());
    for frame in 2..=255 {
        let header = SegmentHeader::new(id(frame), 0, 8).unwrap();
        victim.segment(header, payload(900, frame));
    }
    assert!(victim.connection.stats().segments_dropped > 0);
    victim.segment(SegmentHeader::single(id(1)), payload(900, 1));
    assert!(victim.connection.recv_frame().is_some());
}

//= docs/spec/data.md#modes
//= type=test
//# In unreliable mode an end MUST ignore requests and acknowledgements.
#[test]
fn an_unreliable_end_ignores_requests_and_acknowledgements() {
    let mut victim = Victim::new(builder().mode(Mode::Unreliable));
    let now = victim.now;
    victim.connection.send_frame(now, payload(900, 1)).unwrap();
    victim.poll();
    victim.wait(MS(1000));
    victim.request(1..=1);
    victim.acknowledge(1..=1);
    victim.wait(MS(1000));
    assert_eq!((victim.sent.len(), victim.connection.stats().unexpected), (1, 2));
}

//= docs/spec/data.md#answering-requests
//= type=test
//# A sender MUST ignore requests for frames that were acknowledged.
#[test]
fn a_request_for_an_acknowledged_frame_is_ignored() {
    let mut victim = Victim::new(builder().initial_rtt(MS(40)));
    let now = victim.now;
    for salt in 0..2 {
        victim.connection.send_frame(now, payload(900, salt)).unwrap();
    }
    victim.wait(MS(40));
    // The first keeps the second in the window.
    victim.acknowledge(2..=2);
    let before = victim.sent.len();
    victim.now += MS(40);
    victim.request(2..=2);
    assert_eq!(victim.sent.len(), before);
    victim.request(1..=1);
    assert_eq!(victim.sent[before..], [victim.sent[0].clone(), victim.sent[0].clone()]);
}

//= docs/spec/data.md#segment
//= type=test
//# In `hoprnet` a receiver SHOULD report once that its peer sends segments that only `rfc0007`
//# gives a meaning.
#[test]
fn a_dialect_that_does_not_fit_is_reported_once() {
    let now = super::epoch();
    let config = Config::builder(Dialect::Hoprnet, Mtu::new(1000).unwrap()).build().unwrap();
    let mut connection = Connection::new(Arc::new(config), now);
    let mut reports = Vec::new();
    for frame in 1..=3 {
        // The only segment of a frame, as RFC-0007 counts.
        let datagram = Bytes::from(vec![1, 0, 0, 6, 0, 0, 0, frame, 0, 0x00]);
        connection.handle_datagram(now, datagram).unwrap_err();
        reports.extend(std::iter::from_fn(|| connection.poll_event()));
    }
    assert_eq!(reports, [Event::DialectMismatch { likely: Dialect::Rfc0007 }]);
}

//= docs/spec/data.md#terminating-segment
//= type=test
//# A receiver MUST ignore segments with data that have an id above that of the terminating frame.
#[test]
fn data_behind_the_terminating_frame_is_ignored() {
    let mut victim = Victim::new(builder());
    victim.segment(SegmentHeader::terminating(id(2)), Bytes::new());
    victim.segment(SegmentHeader::single(id(3)), payload(10, 3));
    victim.segment(SegmentHeader::single(id(1)), payload(10, 1));
    let frames = std::iter::from_fn(|| victim.connection.recv_frame());
    let ids: Vec<_> = frames.map(|frame| frame.id().get()).collect();
    assert_eq!(ids, [1]);
}

//= docs/spec/data.md#terminating-segment
//= type=test
//# A receiver MUST ignore a terminating segment with an id below the highest that it has received.
#[test]
fn a_terminating_frame_before_the_last_data_is_ignored() {
    let mut victim = Victim::new(builder());
    victim.segment(SegmentHeader::single(id(1)), payload(10, 1));
    victim.segment(SegmentHeader::single(id(4)), payload(10, 4));
    for low in 1..=3 {
        victim.segment(SegmentHeader::terminating(id(low)), Bytes::new());
    }
    for frame in [2, 3] {
        victim.segment(SegmentHeader::single(id(frame)), payload(10, frame));
    }
    let count = std::iter::from_fn(|| victim.connection.recv_frame()).count();
    assert_eq!((count, victim.connection.is_closed()), (4, false));
}

#[test]
fn a_terminating_frame_that_never_comes_in_reach_ends_the_session_with_an_error() {
    let mut victim = Victim::new(builder());
    victim.segment(SegmentHeader::terminating(id(u32::MAX)), Bytes::new());
    victim.wait(Duration::from_secs(15));
    assert!(victim.connection.is_closed() && !victim.connection.is_end_of_stream());
}

//= docs/spec/data.md#terminating-segment
//= type=test
//# A receiver MUST ignore the data of a terminating segment.
#[test]
fn a_terminating_frame_may_carry_data_which_is_ignored() {
    let mut victim = Victim::new(builder());
    // No encoder writes one: its header, one byte, and the length that says so.
    let mut datagram = Vec::new();
    let codec = victim.connection.config().codec();
    codec.encode_segment(SegmentHeader::terminating(id(1)), &[], &mut datagram).unwrap();
    datagram[3] += 1;
    datagram.push(7);
    victim.raw(datagram.into());
    assert!(victim.connection.recv_frame().is_none() && victim.connection.is_end_of_stream());
}

//= docs/spec/data.md#bounds
//= type=test
//# A receiver MUST NOT let a message that it ignores change the session.
#[test]
fn noise_on_the_path_does_not_keep_honest_data_from_arriving() {
    for_each_seed(100, |seed, rng| {
        let config = Arc::new(builder().build().unwrap());
        let mut pair = Pair::new(&config, &LinkConfig::default().with_delay(MS(10)), seed);
        let sent = frames(200, 3000);
        pair.a.queue(sent.clone());
        while pair.b.inbox.len() < sent.len() && pair.step() {
            let now = pair.now;
            assert!(pair.elapsed() < Duration::from_secs(60), "{pair:#?}");
            // Requests and acknowledgements from B that A's peer could have sent itself, but no
            // segments: those would be data.
            let datagram = some_datagram(rng, &config);
            if matches!(config.codec().decode(datagram.clone()), Ok(Message::Request(_))) {
                let _ = pair.a.connection.handle_datagram(now, datagram);
            }
            // Datagrams of nobody's making.
            let _ =
                pair.b.connection.handle_datagram(now, Bytes::from_static(b"\x01\x00\x00\x01x"));
        }
        assert!(pair.b.received() == sent, "{pair:#?}");
    });
}

#[test]
fn terminating_segments_that_claim_long_frames_keep_nothing() {
    let mut victim = Victim::new(builder());
    let codec = victim.connection.config().codec();
    for frame in 2..=255 {
        // No encoder writes one of several: its header, with another count.
        let mut datagram = Vec::new();
        codec.encode_segment(SegmentHeader::terminating(id(frame)), &[], &mut datagram).unwrap();
        datagram[9] |= 0x3f;
        victim.raw(datagram.into());
    }
    assert_eq!(victim.connection.stats().receive_buffered, 0);
}

#[test]
fn a_segment_that_comes_long_after_its_request_is_no_measure_of_the_path() {
    // The process stood still, or the answer got lost and the sender's own timer brought this one.
    for (late, measured) in [(MS(50), true), (Duration::from_secs(5), false)] {
        let mut victim = Victim::new(builder());
        victim.segment(SegmentHeader::new(id(1), 1, 2).unwrap(), payload(500, 1));
        victim.wait(MS(40));
        assert_eq!(victim.connection.stats().requests_sent, 2);
        victim.now += late;
        victim.segment(SegmentHeader::new(id(1), 0, 2).unwrap(), payload(990, 1));
        assert_eq!(victim.connection.stats().segments_received, 2);
        assert_eq!(victim.connection.stats().rtt.is_some(), measured, "after {late:?}");
    }
}

#[test]
fn what_comes_in_turn_is_copied_only_from_a_peer_most_of_whose_bytes_are_thrown_away() {
    for (rubbish, in_place) in [(0, true), (1, true), (9, false)] {
        let mut victim = Victim::new(builder().receive_buffer(4 << 20));
        // All that the window holds, and more than may be held in place whatever happens, but for the first.
        for frame in (2..=255).chain([1]) {
            for _ in 0..rubbish {
                victim.raw(vec![0; 990].into());
            }
            let header = SegmentHeader::single(id(frame));
            let mut datagram = Vec::new();
            let codec = victim.connection.config().codec();
            codec.encode_segment(header, &payload(990, frame), &mut datagram).unwrap();
            let datagram = Bytes::from(datagram);
            victim.raw(datagram.clone());
            if frame == 1 {
                let frame = victim.connection.recv_frame().unwrap();
                let chunk = frame.chunks().next().unwrap();
                assert_eq!(chunk, &datagram[10..]);
                let stays = chunk.as_ptr() == datagram[10..].as_ptr();
                assert_eq!(stays, in_place, "{rubbish} of {} datagrams", rubbish + 1);
            }
        }
    }
}
