//! The fixed timing follows RFC-0007, 4.8.2, to the letter.

use std::sync::Arc;
use std::time::Duration;

use towline_netsim::{LinkConfig, Loss};
use towline_wire::data::Message;
use towline_wire::{Dialect, Mtu};

use super::pair::Pair;
use super::random::frames;
use crate::{Config, Timing};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn config(timing: Timing) -> Arc<Config> {
    let builder = Config::builder(Dialect::Rfc0007, Mtu::new(512).unwrap()).timing(timing);
    Arc::new(builder.build().unwrap())
}

fn pair() -> Pair {
    let link = LinkConfig::default().with_delay(MS(10));
    let mut pair = Pair::new(&config(Timing::Fixed), &link, 1);
    (pair.a.log, pair.b.log) = (Some(Vec::new()), Some(Vec::new()));
    pair
}

//= docs/spec/data.md#acknowledging
//= type=test
//# In reliable mode a receiver SHOULD acknowledge a frame within 100 milliseconds of its
//# completion,
//= docs/spec/data.md#timing
//= type=test
//# and to acknowledge one unless the message is full, the peer has finished, or the acknowledgement
//# was held back.
#[test]
fn an_acknowledgement_leaves_100_ms_after_the_first_frame_that_it_names() {
    let mut pair = pair();
    pair.a.queue(frames(1, 10));
    pair.run_for(MS(60));
    pair.a.queue(frames(1, 10));
    pair.run_for(MS(300));
    let acknowledgements: Vec<_> = pair
        .b
        .sent(|message| match message {
            Message::Acknowledgement(ack) => Some(ack.frames().count()),
            _ => None,
        })
        .collect();
    assert_eq!(acknowledgements, [(MS(110), 2)]);
}

//= docs/spec/data.md#requesting
//= type=test
//# In reliable mode a receiver MUST request a frame that is known to be incomplete within the frame
//# timeout, which is 800 milliseconds by default.
//= docs/spec/data.md#timing
//= type=test
//# With fixed timing an end MUST take exactly the configured times to request a frame,
#[test]
fn a_request_leaves_800_ms_after_the_gap_was_seen() {
    let mut pair = pair();
    let mut lost = false;
    pair.a.lose = Some(Box::new(move |_, message| match message {
        Message::Segment(segment) if segment.header.frame_id().get() == 1 => {
            segment.header.index() == 1 && !std::mem::replace(&mut lost, true)
        }
        _ => false,
    }));
    pair.a.queue(frames(2, 1000));
    pair.run_for(MS(3000));
    let request = pair.b.sent(|m| matches!(m, Message::Request(_)).then_some(())).next();
    assert_eq!(request.map(|(at, ())| at), Some(MS(810)));
}

#[test]
fn an_adaptive_sender_does_not_storm_a_literal_receiver() {
    for loss in [0.0, 0.05] {
        let link = LinkConfig::default().with_delay(MS(20)).with_loss(Loss::Random(loss));
        let mut pair =
            Pair::of([&config(Timing::Adaptive), &config(Timing::Fixed)], [&link, &link], 1);
        let sent = frames(1000, 4000);
        pair.a.queue(sent.clone());
        (pair.a.finish, pair.b.finish) = (true, true);
        pair.run_to_good_end(Duration::from_secs(600));
        assert!(pair.b.received() == sent);
        let stats = pair.a.connection.stats();
        let extra = stats.segments_retransmitted as f64 / stats.segments_sent as f64;
        assert!(extra < 0.15 + 3.0 * loss, "{extra} at {loss}: {pair:#?}");
    }
}

#[test]
fn an_adaptive_sender_does_not_collapse_towards_a_literal_receiver() {
    let link = LinkConfig::default().with_delay(MS(20)).with_loss(Loss::Random(0.02));
    let mut pair = Pair::of([&config(Timing::Adaptive), &config(Timing::Fixed)], [&link, &link], 1);
    pair.a.queue(frames(1000, 4000));
    pair.run_until(Duration::from_secs(60), |pair| pair.b.inbox.len() == 1000);
}

/// A receiver that knows nothing of the path but a long guess.
fn impatient() -> Pair {
    let config = Config::builder(Dialect::Rfc0007, Mtu::new(512).unwrap())
        .initial_rtt(Duration::from_secs(5))
        .ack_delay(MS(7))
        .frame_timeout(MS(50));
    let link = LinkConfig::default().with_delay(MS(10));
    let mut pair = Pair::new(&Arc::new(config.build().unwrap()), &link, 1);
    (pair.a.log, pair.b.log) = (Some(Vec::new()), Some(Vec::new()));
    pair
}

//= docs/spec/data.md#timing
//= type=test
//# With adaptive timing an end MUST NOT take longer than the configured times to acknowledge a
//# frame,
#[test]
fn an_adaptive_acknowledgement_waits_no_longer_than_configured() {
    let mut pair = impatient();
    pair.a.queue(frames(1, 10));
    pair.run_for(MS(1000));
    let first = pair.b.sent(|m| matches!(m, Message::Acknowledgement(_)).then_some(())).next();
    assert_eq!(first.map(|(at, ())| at), Some(MS(17)));
}

//= docs/spec/data.md#timing
//= type=test
//# and to request it first.
#[test]
fn an_adaptive_request_waits_no_longer_than_configured() {
    let mut pair = impatient();
    pair.a.lose = Some(Box::new(
        |_, message| matches!(message, Message::Segment(segment) if segment.header.index() == 0),
    ));
    pair.a.queue(frames(1, 1000));
    pair.run_for(MS(1000));
    let first = pair.b.sent(|m| matches!(m, Message::Request(_)).then_some(())).next();
    assert_eq!(first.map(|(at, ())| at), Some(MS(60)));
}
