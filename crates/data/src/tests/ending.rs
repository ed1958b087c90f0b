//! The ways in which sessions end.

use std::sync::Arc;
use std::time::Duration;

use towline_netsim::LinkConfig;
use towline_wire::data::{FrameId, Message, SegmentHeader};
use towline_wire::{Dialect, Mtu};

use super::pair::{Lose, Pair};
use super::random::{frames, payload};
use crate::{Config, ConfigBuilder, ConnectionError, Mode, SendError};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn builder() -> ConfigBuilder {
    Config::builder(Dialect::Rfc0007, Mtu::new(512).unwrap())
}

fn pair(config: ConfigBuilder) -> Pair {
    let mut pair =
        Pair::new(&Arc::new(config.build().unwrap()), &LinkConfig::default().with_delay(MS(20)), 1);
    (pair.a.log, pair.b.log) = (Some(Vec::new()), Some(Vec::new()));
    pair
}

/// Loses the first `count` messages that `which` picks.
fn lose_first(mut count: u32, which: impl Fn(&Message) -> bool + 'static) -> Option<Lose> {
    Some(Box::new(move |_, message| {
        let lost = which(message) && count > 0;
        count -= u32::from(lost);
        lost
    }))
}

fn is_terminating(message: &Message) -> bool {
    matches!(message, Message::Segment(segment) if segment.header.is_terminating())
}

fn names(message: &Message, id: u32) -> bool {
    matches!(message, Message::Acknowledgement(ack) if ack.frames().any(|frame| frame.get() == id))
}

//= docs/spec/data.md#termination
//= type=test
//# An end MUST close the session when both directions are finished.
#[test]
fn both_may_finish_one_after_the_other() {
    for mode in [Mode::Reliable, Mode::Unreliable] {
        let mut pair = pair(builder().mode(mode));
        pair.a.queue(frames(3, 100));
        pair.a.finish = true;
        pair.run_for(S(1));
        assert!(pair.b.peer_finished);
        pair.b.finish = true;
        pair.run_to_good_end(S(60));
    }
}

#[test]
fn both_may_finish_at_once_without_data() {
    for dialect in Dialect::ALL {
        let config = Config::builder(dialect, Mtu::new(512).unwrap());
        let mut pair = pair(config);
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_good_end(S(60));
    }
}

//= docs/spec/data.md#termination
//= type=test
//# In reliable mode a sender MUST send its terminating segment again until it is acknowledged.
#[test]
fn lost_terminating_segments_are_sent_again() {
    for count in 1..6 {
        let mut pair = pair(builder());
        pair.a.lose = lose_first(count, is_terminating);
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_good_end(S(60));
    }
}

#[test]
fn lost_acknowledgements_of_terminating_segments_are_made_good() {
    for count in 1..6 {
        let mut pair = pair(builder());
        pair.b.lose = lose_first(count, |message| names(message, 1));
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_good_end(S(60));
    }
}

//= docs/spec/data.md#termination
//= type=test
//# In reliable mode an end that has closed MUST go on acknowledging frames that its peer repeats,
//# until the peer falls silent.
#[test]
fn an_end_that_has_closed_acknowledges_what_its_peer_repeats() {
    let mut pair = pair(builder());
    pair.b.lose = lose_first(2, |message| names(message, 1));
    (pair.a.finish, pair.b.finish) = (true, true);
    pair.run_until(S(4), |pair| pair.a.closed.is_some());
    assert_eq!(pair.a.closed, Some(None));
}

//= docs/spec/data.md#termination
//= type=test
//# An end that lacks only the acknowledgement of its terminating frame MUST close without an error
//# when a peer that has finished stays silent.
#[test]
fn the_last_acknowledgement_may_be_lost_for_good() {
    let mut pair = pair(builder());
    pair.a.finish = true;
    pair.run_for(S(1));
    // B finishes last, and A's acknowledgement of that never arrives.
    pair.a.lose = Some(Box::new(|_, message| names(message, 1)));
    pair.b.finish = true;
    pair.run_to_good_end(S(60));
}

#[test]
fn a_drained_peer_is_not_needed_for_a_good_end() {
    let mut pair = pair(builder());
    pair.a.queue(frames(40, 500));
    pair.a.finish = true;
    pair.b.finish = true;
    // Every acknowledgement from the one that would complete the transfer on is lost for a while.
    pair.b.lose = lose_first(4, |message| names(message, 40));
    pair.run_to_good_end(S(60));
}

//= docs/spec/data.md#unreliable
//= type=test
//# In unreliable mode a sender SHOULD send its terminating segment three times.
#[test]
fn unreliable_terminating_segments_are_sent_thrice() {
    let mut pair = pair(builder().mode(Mode::Unreliable));
    pair.a.finish = true;
    pair.run_to_good_end(S(60));
    assert_eq!(pair.a.sent(|message| is_terminating(message).then_some(())).count(), 3);
}

#[test]
fn an_unreliable_end_whose_peer_never_answers_closes() {
    let mut pair = pair(builder().mode(Mode::Unreliable));
    pair.b.lose = Some(Box::new(|_, _| true));
    // An incomplete frame that nothing follows must not keep the session.
    pair.a.lose = lose_first(10, |message| match message {
        Message::Segment(segment) => segment.header.index() == 0 || segment.header.is_terminating(),
        _ => false,
    });
    pair.a.queue([payload(1000, 1)]);
    pair.run_for(S(1));
    pair.b.finish = true;
    pair.run_until(S(30), |pair| pair.b.closed.is_some());
    assert_eq!(pair.b.closed, Some(None));
}

//= docs/spec/data.md#half-close
//= type=test
//# In reliable mode, in `rfc0007` and `rfc0009`, an end whose peer has finished MUST keep its own
//# direction open by default.
//= docs/spec/data.md#half-close
//= type=test
//# An end that has finished MUST go on receiving what its peer sends.
#[test]
fn data_flows_on_against_a_finished_direction() {
    let mut pair = pair(builder());
    pair.a.queue(frames(3, 100));
    pair.a.finish = true;
    pair.run_for(S(1));
    assert!(pair.b.peer_finished && pair.b.closed.is_none());
    let sent = frames(50, 1000);
    pair.b.queue(sent.clone());
    pair.b.finish = true;
    pair.run_to_good_end(S(60));
    assert!(pair.a.received() == sent);
}

#[test]
fn a_literal_end_finishes_when_its_peer_does() {
    let mut pair = pair(builder().close_on_peer_finish(true));
    pair.a.finish = true;
    pair.run_to_good_end(S(60));
}

//= docs/spec/data.md#literal-close
//= type=test
//# In unreliable mode and in `hoprnet` an end whose peer has finished MUST finish its own direction
//# by default,
#[test]
fn unreliable_ends_and_those_of_the_deployed_dialect_follow_their_peer_by_default() {
    for (dialect, mode) in [
        (Dialect::Rfc0007, Mode::Unreliable),
        (Dialect::Rfc0009, Mode::Unreliable),
        (Dialect::Hoprnet, Mode::Unreliable),
        (Dialect::Hoprnet, Mode::Reliable),
    ] {
        let mut pair = pair(Config::builder(dialect, Mtu::new(512).unwrap()).mode(mode));
        pair.a.finish = true;
        pair.run_to_good_end(S(60));
    }
}

//= docs/spec/data.md#literal-close
//= type=test
//# after what it has queued.
#[test]
fn a_literal_end_sends_what_it_has_queued_before_it_follows() {
    let mut pair = pair(builder().close_on_peer_finish(true));
    let sent = frames(200, 500);
    let now = pair.now;
    for frame in &sent {
        pair.b.connection.send_frame(now, frame.clone()).unwrap();
    }
    pair.a.finish = true;
    pair.run_to_good_end(S(60));
    assert!(pair.a.received() == sent);
}

//= docs/spec/data.md#terminating-segment
//= type=test
//# and without data.
#[test]
fn a_terminating_frame_is_one_segment_without_data() {
    let mut pair = pair(builder());
    pair.a.queue(frames(3, 100));
    (pair.a.finish, pair.b.finish) = (true, true);
    pair.run_to_good_end(S(60));
    let segments = pair.a.sent(|message| match message {
        Message::Segment(segment) => Some(segment),
        _ => None,
    });
    let (_, last) = segments.last().unwrap();
    assert_eq!(last.header, SegmentHeader::terminating(FrameId::new(4).unwrap()));
    assert!(last.data.is_empty());
}

//= docs/spec/data.md#terminating-segment
//= type=test
//# A sender MUST NOT send a frame after its terminating frame.
#[test]
fn a_finished_direction_takes_no_more_frames() {
    let mut pair = pair(builder());
    let now = pair.now;
    pair.a.connection.finish(now);
    assert_eq!(pair.a.connection.send_frame(now, payload(1, 1)), Err(SendError::Finished));
}

//= docs/spec/data.md#silence
//= type=test
//# In reliable mode an end MUST end the session with an error when its peer owes acknowledgements
//# or segments and sends nothing valid for the idle timeout,
#[test]
fn a_silent_peer_ends_the_session_of_writer_and_reader() {
    let mut pair = pair(builder().idle_timeout(S(30)));
    pair.a.queue(frames(50, 4000));
    pair.run_for(MS(70));
    let dark: fn() -> Option<Lose> = || Some(Box::new(|_, _| true));
    (pair.a.lose, pair.b.lose) = (dark(), dark());
    pair.a.queue(frames(50, 4000));
    pair.run_for(S(29));
    assert_eq!(pair.a.closed, None);
    pair.run_for(S(3));
    assert_eq!(pair.a.closed, Some(Some(ConnectionError::TimedOut)), "{pair:#?}");
    assert_eq!(pair.b.closed, Some(Some(ConnectionError::TimedOut)), "{pair:#?}");
}

//= docs/spec/data.md#silence
//= type=test
//# An end MUST NOT end a session because of the silence of a peer that owes nothing.
#[test]
fn an_idle_session_does_not_time_out() {
    let mut pair = pair(builder().idle_timeout(S(30)).progress_timeout(Some(S(5))));
    pair.a.queue(frames(5, 100));
    pair.run_for(S(1000));
    let sent = frames(5, 200);
    pair.a.queue(sent.clone());
    pair.run_for(S(10));
    pair.b.queue(sent);
    pair.run_for(S(100));
    (pair.a.finish, pair.b.finish) = (true, true);
    pair.run_to_good_end(S(60));
}

#[test]
fn an_idle_time_does_not_count_as_the_peers_silence() {
    let mut pair = pair(builder().idle_timeout(S(30)).progress_timeout(Some(S(5))));
    pair.a.queue(frames(5, 100));
    pair.run_for(S(1000));
    // For two seconds, less than either limit, nothing gets through.
    let start = pair.elapsed();
    pair.a.lose = Some(Box::new(move |at, _| at < start + S(2)));
    pair.a.queue(frames(5, 100));
    pair.a.finish = true;
    pair.b.finish = true;
    pair.run_to_good_end(S(60));
}

//= docs/spec/data.md#no-hole
//= type=test
//# In reliable mode with ordered delivery a receiver MUST NOT deliver a frame while one before it
//# is missing.
//= docs/spec/data.md#no-hole
//= type=test
//# In reliable mode an end that gives up a frame MUST end the session with an error.
//= docs/spec/data.md#retransmission
//= type=test
//# A sender with a limit of retransmissions MUST end the session with an error when a frame exceeds
//# it.
#[test]
fn the_retransmission_limit_ends_the_session_on_both_sides() {
    let mut pair = pair(builder().max_retransmissions(Some(3)));
    pair.a.lose = Some(Box::new(
        |_, message| matches!(message, Message::Segment(segment) if segment.header.frame_id().get() == 5),
    ));
    pair.a.queue(frames(20, 100));
    pair.run_to_end(S(60));
    assert_eq!(pair.a.closed, Some(Some(ConnectionError::RetransmissionLimit)));
    assert_eq!(pair.b.closed, Some(Some(ConnectionError::PeerClosed)));
    assert_eq!(pair.b.inbox.len(), 4, "what follows the hole is not delivered");
}

//= docs/spec/data.md#no-hole
//= type=test
//# In reliable mode a receiver MUST NOT report the end of its peer's direction while it knows of a
//# missing frame.
//= docs/spec/data.md#abort
//= type=test
//# In reliable mode a receiver MUST end the session with an error when its peer falls silent with
//# frames missing before its terminating frame.
#[test]
fn an_abort_is_an_error_at_the_other_end() {
    for queued in [0, 5, 255] {
        let mut pair = pair(builder());
        pair.a.queue(frames(queued, 100));
        pair.run_for(S(1));
        let now = pair.now;
        pair.a.connection.abort(now);
        pair.run_to_end(S(60));
        assert_eq!(pair.a.closed, Some(Some(ConnectionError::Aborted)));
        assert_eq!(pair.b.closed, Some(Some(ConnectionError::PeerClosed)), "{pair:#?}");
        assert!(!pair.b.peer_finished && !pair.b.connection.is_end_of_stream());
    }
}

/// When the terminating segments of an end left, and the ids of their frames.
fn farewells(pair: &Pair) -> Vec<(Duration, u32)> {
    let terminating = pair.a.sent(|message| match message {
        Message::Segment(segment) if segment.header.is_terminating() => {
            Some(segment.header.frame_id().get())
        }
        _ => None,
    });
    terminating.collect()
}

//= docs/spec/data.md#abort
//= type=test
//# An end that aborts a session, for whatever reason, SHOULD send a terminating segment three
//# times, 50 milliseconds apart.
//= docs/spec/data.md#abort
//= type=test
//# In `rfc0007` and `rfc0009` the terminating segment of an aborted session MUST leave one frame id
//# out.
#[test]
fn an_abort_is_said_three_times_50_ms_apart_with_one_id_left_out() {
    let mut pair = pair(builder());
    pair.a.queue(frames(5, 100));
    pair.run_for(S(1));
    let now = pair.now;
    pair.a.connection.abort(now);
    pair.run_to_end(S(60));
    assert_eq!(farewells(&pair), [(MS(1000), 7), (MS(1050), 7), (MS(1100), 7)]);
}

//= docs/spec/data.md#hoprnet-peers
//= type=test
//# In `hoprnet` a sender MUST NOT send its terminating frame before every other frame is
//# acknowledged.
#[test]
fn a_deployed_peer_gets_the_terminating_frame_after_all_its_acknowledgements() {
    let mut pair = pair(Config::builder(Dialect::Hoprnet, Mtu::new(512).unwrap()));
    pair.b.lose = Some(Box::new(|at, _| at < S(1)));
    pair.a.queue(frames(5, 100));
    (pair.a.finish, pair.b.finish) = (true, true);
    pair.run_to_good_end(S(60));
    let (first, _) = farewells(&pair)[0];
    assert!(first > S(1), "{first:?}");
}

#[test]
fn an_abort_is_an_error_for_a_reader_that_has_stopped() {
    let mut pair = pair(builder().receive_buffer(64 << 10));
    pair.b.reading = false;
    pair.a.queue(frames(300, 2000));
    pair.run_for(S(5));
    let now = pair.now;
    pair.a.connection.abort(now);
    pair.run_until(S(60), |pair| pair.b.closed.is_some());
    assert_eq!(pair.b.closed, Some(Some(ConnectionError::PeerClosed)), "{pair:#?}");
}

//= docs/spec/data.md#abort
//= type=test
//# In reliable mode a receiver MUST end the session with an error when it receives a second
//# terminating frame behind the first.
#[test]
fn an_abort_after_finishing_is_an_error_for_a_writer() {
    let mut pair = pair(builder());
    pair.a.finish = true;
    pair.run_for(S(1));
    pair.b.queue(frames(100, 4000));
    pair.run_for(MS(10));
    let now = pair.now;
    pair.a.connection.abort(now);
    pair.run_until(S(15), |pair| pair.b.closed.is_some());
    assert_eq!(pair.b.closed, Some(Some(ConnectionError::PeerClosed)), "{pair:#?}");
}

#[test]
fn an_abort_ends_the_session_when_called_twice_as_well() {
    let mut pair = pair(builder());
    let now = pair.now;
    pair.a.connection.abort(now);
    pair.a.connection.abort(now);
    pair.run_to_end(S(60));
}

/// The documented difference: the deployed dialect bears no holes, so an abort looks like a finish.
//= docs/spec/data.md#abort
//= type=test
//# In `hoprnet` the terminating segment of an aborted session MUST NOT leave a frame id out.
#[test]
fn an_abort_leaves_no_hole_in_the_deployed_dialect() {
    let mut pair = pair(Config::builder(Dialect::Hoprnet, Mtu::new(512).unwrap()));
    pair.a.queue(frames(5, 100));
    pair.run_for(S(1));
    let now = pair.now;
    pair.a.connection.abort(now);
    pair.run_to_end(S(60));
    let last = pair.a.sent(|message| match message {
        Message::Segment(segment) => Some(segment.header.frame_id().get()),
        _ => None,
    });
    assert_eq!(last.map(|(_, id)| id).max(), Some(6));
}

//= docs/spec/data.md#id-exhaustion
//= type=test
//# A sender MUST keep the last id, 2^32 - 1, for its terminating frame, and finish its direction
//# when every other id is used.
#[test]
fn the_last_frame_id_is_kept_for_the_terminating_frame() {
    for mode in [Mode::Reliable, Mode::Unreliable] {
        let mut pair = pair(builder().mode(mode));
        pair.a.connection.start_at(u64::from(u32::MAX) - 3);
        pair.b.connection.start_at(u64::from(u32::MAX) - 3);
        pair.a.queue(frames(10, 100));
        pair.b.finish = mode == Mode::Reliable;
        pair.run_to_good_end(S(60));
        assert_eq!(pair.b.received(), frames(3, 100), "{pair:#?}");
        let last = pair.a.sent(|message| match message {
            Message::Segment(segment) => Some(segment.header),
            _ => None,
        });
        let (_, last) = last.last().unwrap();
        assert!(last.is_terminating() && last.frame_id().get() == u32::MAX);
    }
}

#[test]
fn an_abort_at_the_end_of_the_ids_ends_the_session() {
    let mut pair = pair(builder());
    pair.a.connection.start_at(u64::from(u32::MAX) - 1);
    pair.b.connection.start_at(u64::from(u32::MAX) - 1);
    pair.a.queue(frames(10, 100));
    pair.run_for(MS(1));
    let now = pair.now;
    pair.a.connection.abort(now);
    pair.run_until(S(30), |pair| pair.a.drained);
}
