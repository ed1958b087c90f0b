//! The simulator itself: its scenarios pass, repeat themselves, and fail when they should.

use towline_simulate::{Fault, Outcome, Report, Scenario, Violation, scenario};

/// The seeds of a test: `count` of them, from `TOWLINE_SEED` on if that is set.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = std::env::var("TOWLINE_SEED").ok();
    let first = first.map(|seed| seed.parse().expect("TOWLINE_SEED is a number"));
    first.map_or(0..count, |first: u64| first..first + 1)
}

#[test]
fn random_sessions_over_random_networks_keep_the_rules() {
    let mut total = Report::default();
    for seed in seeds(150) {
        match scenario(seed) {
            Ok(report) => total.add(&report),
            Err(failure) => panic!("{failure}; again with TOWLINE_SEED={seed}"),
        }
    }
    eprintln!("{total:?}");
}

#[test]
fn most_sessions_end_well() {
    let mut total = Report::default();
    for seed in 0..100 {
        total.add(&scenario(seed).unwrap());
    }
    assert!(total.count(Outcome::Good) * 3 > total.sessions * 2, "{total:?}");
    assert!(total.count(Outcome::TwoGenerals) * 100 < total.sessions, "{total:?}");
    assert!(total.frames > 10 * total.sessions, "{total:?}");
}

#[test]
fn a_seed_repeats_itself_to_the_last_datagram() {
    let trace = |seed| {
        let mut lines = Vec::new();
        let traced =
            Scenario::new(seed).with_trace(|at, line| lines.push(format!("{at:?} {line}")));
        let report = traced.run().unwrap();
        assert_eq!(Ok(report), scenario(seed), "a trace changes nothing");
        lines
    };
    for seed in 0..10 {
        assert!(trace(seed) == trace(seed));
    }
}

/// How many of 60 seeds fail with a planted fault, and how.
fn failures(fault: Fault) -> Vec<Violation> {
    let runs = (0..60).map(|seed| Scenario::new(seed).with_fault(fault).run());
    runs.filter_map(|result| result.err().map(|failure| failure.violation)).collect()
}

/// The fault is found in as many of 60 seeds as are named, at least once in the way that fits it.
#[track_caller]
fn assert_caught(fault: Fault, least: usize, fits: impl Fn(&Violation) -> bool) {
    let failures = failures(fault);
    assert!(failures.len() >= least && failures.iter().any(fits), "{fault}: {failures:?}");
}

#[test]
fn a_frame_that_is_not_delivered_is_caught() {
    assert_caught(Fault::DropFrame, 30, |violation| matches!(violation, Violation::Hole { .. }));
    assert_caught(Fault::DropFrame, 30, |violation| {
        matches!(violation, Violation::GoodEndTooSoon { .. })
    });
}

#[test]
fn a_frame_that_is_delivered_twice_is_caught() {
    assert_caught(Fault::DuplicateFrame, 30, |it| matches!(it, Violation::Duplicate(_)));
}

#[test]
fn frames_that_change_places_are_caught() {
    assert_caught(Fault::SwapFrames, 20, |it| matches!(it, Violation::Reordered { .. }));
}

#[test]
fn a_bit_that_changes_is_caught() {
    assert_caught(Fault::FlipBit, 30, |it| matches!(it, Violation::Damaged(_)));
}

#[test]
fn a_session_that_does_not_end_is_caught() {
    assert_caught(Fault::NeverFinish, 10, |it| matches!(it, Violation::Stalled(_)));
}

#[test]
fn an_end_that_is_not_as_good_as_it_says_is_caught() {
    assert_caught(Fault::FalseEnd, 10, |it| matches!(it, Violation::GoodEndTooSoon { .. }));
}

#[test]
fn an_end_that_says_nothing_any_more_is_caught() {
    assert_caught(Fault::FallSilent, 10, |it| matches!(it, Violation::UnexplainedEnd(_)));
}

#[test]
fn a_deadline_that_never_passes_is_caught() {
    assert_caught(Fault::StuckDeadline, 60, |it| matches!(it, Violation::BusyLoop(_)));
}

#[test]
fn datagrams_that_are_too_long_are_caught() {
    assert_caught(Fault::LongDatagrams, 55, |it| matches!(it, Violation::TooLong { .. }));
}

#[test]
fn memory_beyond_the_bound_is_caught() {
    assert_caught(Fault::Hoard, 30, |it| matches!(it, Violation::Memory { .. }));
}

#[test]
fn a_slot_that_is_not_freed_is_caught() {
    assert_caught(Fault::KeepSlot, 50, |it| matches!(it, Violation::Leftover(_)));
}
