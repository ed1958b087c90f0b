//! The ways in which sessions end.

use std::sync::Arc;
use std::time::Duration;

use towline_netsim::LinkConfig;
use towline_wire::data::Message;
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

#[test]
fn a_finished_direction_takes_no_more_frames() {
    let mut pair = pair(builder());
    let now = pair.now;
    pair.a.connection.finish(now);
    assert_eq!(pair.a.connection.send_frame(now, payload(1, 1)), Err(SendError::Finished));
}

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
