use super::LivenessAction::{Dead, SendKeepAlive};
use super::*;
use crate::testing::{at, builder, epoch};

fn config() -> Config {
    builder().build().unwrap()
}

/// What happens until `end` when nothing is heard: action and seconds.
fn actions_until(liveness: &mut Liveness, end: f64) -> Vec<(LivenessAction, f64)> {
    let mut actions = Vec::new();
    while liveness.poll_timeout() <= at(end) {
        let now = liveness.poll_timeout();
        let action = liveness.handle_timeout(now).expect("something is due at the timeout");
        actions.push((action, (now - epoch()).as_secs_f64()));
        if action == Dead {
            break;
        }
    }
    actions
}

#[test]
fn it_fits_in_tens_of_bytes() {
    assert!(size_of::<Liveness>() <= 48);
}

//= docs/spec/start.md#liveness
//= type=test
//# An end SHOULD send a KeepAlive when it has sent nothing in a session for a third of the idle
//# timeout.
//= docs/spec/start.md#liveness
//= type=test
//# An end MUST end a session in which it has received no valid message for the idle timeout, which
//# is 180 seconds by default.
#[test]
fn an_exit_sends_a_keep_alive_every_third_of_the_idle_timeout_and_dies_of_silence() {
    let mut liveness = Liveness::exit(&config(), epoch());
    let actions = actions_until(&mut liveness, 1000.0);
    assert_eq!(actions, [(SendKeepAlive, 60.0), (SendKeepAlive, 120.0), (Dead, 180.0)]);
}

//= docs/spec/start.md#liveness
//= type=test
//# An initiator that has heard nothing from the responder in a session MUST repeat its KeepAlive at
//# the pace of a request.
#[test]
fn an_entry_repeats_its_keep_alive_with_doubling_pauses_until_the_exit_shows_life() {
    let mut liveness = Liveness::entry(&config(), epoch());
    let times: Vec<_> = actions_until(&mut liveness, 40.0).into_iter().map(|(_, at)| at).collect();
    assert_eq!(times, [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
    liveness.heard(at(40.0));
    assert_eq!(liveness.poll_timeout(), at(91.5));
}

#[test]
fn an_entry_that_hears_the_exit_goes_over_to_the_regular_interval() {
    let mut liveness = Liveness::entry(&config(), epoch());
    liveness.heard(at(0.1));
    assert_eq!(actions_until(&mut liveness, 100.0), [(SendKeepAlive, 60.0)]);
}

#[test]
fn the_repetition_starts_no_slower_than_the_regular_interval() {
    let config = builder()
        .request_interval(Duration::from_secs(4))
        .idle_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let mut liveness = Liveness::entry(&config, epoch());
    assert_eq!(actions_until(&mut liveness, 1.5), [(SendKeepAlive, 1.0)]);
}

#[test]
fn whatever_is_sent_counts_as_our_life() {
    let mut liveness = Liveness::exit(&config(), epoch());
    liveness.sent(at(50.0));
    assert_eq!(liveness.poll_timeout(), at(110.0));
}

#[test]
fn whatever_is_received_counts_as_the_peers_life() {
    let mut liveness = Liveness::exit(&config(), epoch());
    liveness.heard(at(100.0));
    assert_eq!(actions_until(&mut liveness, 1000.0).last(), Some(&(Dead, 280.0)));
}

#[test]
fn sending_does_not_keep_the_peer_alive() {
    let mut liveness = Liveness::exit(&config(), epoch());
    liveness.sent(at(179.0));
    assert_eq!(liveness.handle_timeout(at(180.0)), Some(Dead));
}

#[test]
fn an_early_timeout_does_nothing() {
    let mut liveness = Liveness::exit(&config(), epoch());
    assert_eq!(liveness.handle_timeout(at(59.9)), None);
    assert_eq!(liveness.poll_timeout(), at(60.0));
}

#[test]
fn a_late_timeout_sends_one_keep_alive() {
    let mut liveness = Liveness::exit(&config(), epoch());
    assert_eq!(liveness.handle_timeout(at(170.0)), Some(SendKeepAlive));
    assert_eq!(liveness.handle_timeout(at(170.0)), None);
}

#[test]
fn two_idle_sides_keep_each_other_alive_for_a_day() {
    let config = config();
    let mut sides = [Liveness::entry(&config, epoch()), Liveness::exit(&config, epoch())];
    let end = at(86_400.0);
    let mut keep_alives = 0;
    loop {
        let side = usize::from(sides[1].poll_timeout() < sides[0].poll_timeout());
        let now = sides[side].poll_timeout();
        if now > end {
            break;
        }
        assert_eq!(sides[side].handle_timeout(now), Some(SendKeepAlive));
        sides[1 - side].heard(now);
        keep_alives += 1;
    }
    assert!((2 * 1440..2 * 1440 + 10).contains(&keep_alives), "{keep_alives} keep-alives");
}
