use std::time::Duration;

use towline_wire::Mtu;

use super::*;
use crate::testing::{at, builder, epoch, request};

const EXIT: u32 = 1;
const STRANGER: u32 = 2;

fn initiator() -> Initiator<u32> {
    Initiator::new(&builder().build().unwrap()).unwrap()
}

/// An initiator with one request, and what it sent for it.
fn asking() -> (Initiator<u32>, RequestId, StartSession) {
    let mut initiator = initiator();
    let id = initiator.connect(epoch(), EXIT, request()).unwrap();
    let sent = start_session_in(initiator.poll_transmit());
    (initiator, id, sent)
}

fn start_session_in(transmit: Option<(u32, Message)>) -> StartSession {
    match transmit {
        Some((EXIT, Message::StartSession(sent))) => sent,
        other => panic!("no request but {other:?}"),
    }
}

fn grant(challenge: Challenge, id: u64) -> SessionEstablished {
    SessionEstablished { challenge, session_id: Cbor::new(&id).unwrap() }
}

fn refusal(challenge: Challenge) -> SessionError {
    SessionError { challenge, reason: ErrorReason::BUSY }
}

/// Runs to `end` by the initiator's own timeouts; when it sent something, in seconds.
fn sent_until(initiator: &mut Initiator<u32>, end: f64) -> Vec<f64> {
    let mut times = Vec::new();
    while let Some(now) = initiator.poll_timeout().filter(|&now| now <= at(end)) {
        initiator.handle_timeout(now);
        while initiator.poll_transmit().is_some() {
            times.push((now - epoch()).as_secs_f64());
        }
    }
    times
}

#[test]
fn a_request_carries_what_was_asked_for() {
    let (_, _, sent) = asking();
    let StartSession { capabilities, additional_data, target, .. } = sent;
    assert_eq!(Request { capabilities, additional_data, target }, request());
}

//= docs/spec/start.md#requesting
//= type=test
//# An initiator SHOULD repeat a request after 0.5 seconds and double the pause with each
//# repetition, up to 4 seconds.
#[test]
fn requests_are_repeated_with_doubling_pauses_up_to_the_limit() {
    let (mut initiator, ..) = asking();
    let times = sent_until(&mut initiator, 60.0);
    assert_eq!(times, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5]);
}

//= docs/spec/start.md#requesting
//= type=test
//# An initiator MUST repeat a request, with the same challenge and the same contents,
#[test]
fn repetitions_keep_their_challenge() {
    let (mut initiator, _, first) = asking();
    initiator.handle_timeout(at(0.5));
    assert_eq!(start_session_in(initiator.poll_transmit()), first);
}

#[test]
fn a_late_timeout_repeats_once() {
    let (mut initiator, ..) = asking();
    initiator.handle_timeout(at(20.0));
    assert_eq!(std::iter::from_fn(|| initiator.poll_transmit()).count(), 1);
}

#[test]
fn an_early_timeout_does_nothing() {
    let (mut initiator, ..) = asking();
    initiator.handle_timeout(at(0.499));
    assert_eq!(initiator.poll_transmit(), None);
    assert_eq!(initiator.poll_timeout(), Some(at(0.5)));
}

//= docs/spec/start.md#requesting
//= type=test
//# An initiator MUST give up a request that is not answered in time, which is 30 seconds by
//# default.
#[test]
fn an_unanswered_request_fails_at_the_timeout() {
    let (mut initiator, request, _) = asking();
    sent_until(&mut initiator, 29.999);
    assert_eq!(initiator.poll_event(), None);
    initiator.handle_timeout(at(30.0));
    let error = RequestError::TimedOut;
    assert_eq!(initiator.poll_event(), Some(InitiatorEvent::Failed { request, peer: EXIT, error }));
    assert_eq!(initiator.poll_timeout(), None);
}

#[test]
fn a_grant_establishes_the_session_with_its_round_trip_time() {
    let (mut initiator, request, sent) = asking();
    initiator.handle_established(at(0.2), EXIT, &grant(sent.challenge, 42)).unwrap();
    assert_eq!(
        initiator.poll_event(),
        Some(InitiatorEvent::Established {
            request,
            peer: EXIT,
            session_id: Cbor::new(&42).unwrap(),
            rtt: Some(Duration::from_millis(200)),
        })
    );
}

#[test]
fn a_repeated_request_gives_no_round_trip_time() {
    let (mut initiator, _, sent) = asking();
    initiator.handle_timeout(at(0.5));
    initiator.handle_established(at(0.6), EXIT, &grant(sent.challenge, 42)).unwrap();
    let event = initiator.poll_event();
    assert!(matches!(event, Some(InitiatorEvent::Established { rtt: None, .. })), "{event:?}");
}

//= docs/spec/start.md#answers
//= type=test
//# An initiator MUST answer a SessionEstablished that grants its request,
#[test]
fn a_grant_is_answered_with_a_keep_alive() {
    let (mut initiator, _, sent) = asking();
    initiator.handle_established(at(0.2), EXIT, &grant(sent.challenge, 42)).unwrap();
    let confirmation = keep_alive(Cbor::new(&42).unwrap());
    assert_eq!(initiator.poll_transmit(), Some((EXIT, confirmation)));
    assert_eq!(initiator.poll_transmit(), None);
}

//= docs/spec/start.md#requesting
//= type=test
//# until it is answered or given up.
#[test]
fn a_granted_request_is_no_longer_repeated() {
    let (mut initiator, _, sent) = asking();
    initiator.handle_established(at(0.2), EXIT, &grant(sent.challenge, 42)).unwrap();
    initiator.poll_transmit();
    assert!(sent_until(&mut initiator, 100.0).is_empty());
}

//= docs/spec/start.md#answers
//= type=test
//# and each repetition of it, with a KeepAlive for the session.
#[test]
fn a_repeated_grant_is_confirmed_again_without_another_event() {
    let (mut initiator, _, sent) = asking();
    initiator.handle_established(at(0.2), EXIT, &grant(sent.challenge, 42)).unwrap();
    initiator.poll_transmit();
    initiator.poll_event();
    initiator.handle_established(at(0.7), EXIT, &grant(sent.challenge, 42)).unwrap();
    assert_eq!(initiator.poll_transmit(), Some((EXIT, keep_alive(Cbor::new(&42).unwrap()))));
    assert_eq!(initiator.poll_event(), None);
    assert_eq!(initiator.stats().repeated_grants, 1);
}

//= docs/spec/start.md#answers
//= type=test
//# or a SessionEstablished with another session id, after its request was granted.
#[test]
fn a_second_grant_with_another_id_is_ignored() {
    let (mut initiator, _, sent) = asking();
    initiator.handle_established(at(0.2), EXIT, &grant(sent.challenge, 42)).unwrap();
    let result = initiator.handle_established(at(0.3), EXIT, &grant(sent.challenge, 43));
    assert_eq!(result, Err(Ignored::AnotherAnswer));
}

#[test]
fn granted_requests_are_forgotten_after_the_answer_memory() {
    let (mut initiator, _, sent) = asking();
    initiator.handle_established(at(1.0), EXIT, &grant(sent.challenge, 42)).unwrap();
    initiator.poll_transmit();
    initiator.handle_timeout(at(61.0));
    let result = initiator.handle_established(at(61.0), EXIT, &grant(sent.challenge, 42));
    assert_eq!(result, Err(Ignored::UnknownChallenge));
    assert_eq!(initiator.stats().remembered, 0);
}

#[test]
fn no_more_grants_are_remembered_than_configured() {
    let config = builder().max_remembered(3).build().unwrap();
    let mut initiator = Initiator::new(&config).unwrap();
    for id in 0..10 {
        initiator.connect(epoch(), EXIT, request()).unwrap();
        let sent = start_session_in(initiator.poll_transmit());
        initiator.handle_established(epoch(), EXIT, &grant(sent.challenge, id)).unwrap();
        assert!(initiator.poll_transmit().is_some(), "each is confirmed once");
    }
    assert_eq!(initiator.stats().remembered, 3);
}

#[test]
fn a_refusal_fails_the_request_with_its_reason() {
    let (mut initiator, request, sent) = asking();
    initiator.handle_error(EXIT, &refusal(sent.challenge)).unwrap();
    let error = RequestError::Refused(ErrorReason::BUSY);
    assert_eq!(initiator.poll_event(), Some(InitiatorEvent::Failed { request, peer: EXIT, error }));
    assert_eq!(initiator.poll_timeout(), None);
}

//= docs/spec/start.md#answers
//= type=test
//# An initiator MUST ignore a SessionError,
#[test]
fn a_refusal_after_the_grant_is_ignored() {
    let (mut initiator, _, sent) = asking();
    initiator.handle_established(at(0.2), EXIT, &grant(sent.challenge, 42)).unwrap();
    let result = initiator.handle_error(EXIT, &refusal(sent.challenge));
    assert_eq!(result, Err(Ignored::AnotherAnswer));
}

//= docs/spec/start.md#challenge
//= type=test
//# An initiator MUST ignore an answer whose challenge belongs to none of its requests.
#[test]
fn answers_to_unknown_challenges_are_ignored_and_counted() {
    let (mut initiator, _, sent) = asking();
    let unknown = Challenge(!sent.challenge.0);
    let results = [
        initiator.handle_established(epoch(), EXIT, &grant(unknown, 42)),
        initiator.handle_error(EXIT, &refusal(unknown)),
    ];
    assert_eq!(results, [Err(Ignored::UnknownChallenge); 2]);
    assert_eq!(initiator.stats().ignored, 2);
    assert_eq!(initiator.poll_event(), None);
}

//= docs/spec/start.md#challenge
//= type=test
//# An initiator MUST ignore an answer that does not come from the peer that it asked.
#[test]
fn answers_from_another_peer_are_ignored() {
    let (mut initiator, _, sent) = asking();
    let results = [
        initiator.handle_established(epoch(), STRANGER, &grant(sent.challenge, 42)),
        initiator.handle_error(STRANGER, &refusal(sent.challenge)),
    ];
    assert_eq!(results, [Err(Ignored::ForeignPeer); 2]);
    assert_eq!(initiator.stats().asking, 1);
}

#[test]
fn a_grant_after_the_timeout_is_ignored() {
    let (mut initiator, _, sent) = asking();
    initiator.handle_timeout(at(30.0));
    initiator.poll_event();
    let result = initiator.handle_established(at(30.1), EXIT, &grant(sent.challenge, 42));
    assert_eq!(result, Err(Ignored::UnknownChallenge));
    assert_eq!(initiator.poll_event(), None);
    assert_eq!(initiator.poll_transmit(), None);
}

#[test]
fn a_cancelled_request_sends_nothing_and_gets_no_event() {
    let mut initiator = initiator();
    let id = initiator.connect(epoch(), EXIT, request()).unwrap();
    assert!(initiator.cancel(id));
    assert_eq!(initiator.poll_transmit(), None);
    assert_eq!(initiator.poll_timeout(), None);
    assert_eq!(initiator.poll_event(), None);
}

#[test]
fn a_cancelled_session_is_not_confirmed_again() {
    let (mut initiator, id, sent) = asking();
    initiator.handle_established(at(0.2), EXIT, &grant(sent.challenge, 42)).unwrap();
    initiator.poll_transmit();
    assert!(initiator.cancel(id));
    let result = initiator.handle_established(at(0.3), EXIT, &grant(sent.challenge, 42));
    assert_eq!(result, Err(Ignored::UnknownChallenge));
    assert_eq!(initiator.poll_timeout(), None);
}

#[test]
fn cancelling_twice_is_harmless() {
    let (mut initiator, id, _) = asking();
    assert!(initiator.cancel(id));
    assert!(!initiator.cancel(id));
}

//= docs/spec/start.md#requesting
//= type=test
//# An initiator MUST bound how many of its requests wait for an answer.
#[test]
fn requests_beyond_the_bound_are_refused_to_the_caller() {
    let config = builder().max_requests(2).build().unwrap();
    let mut initiator = Initiator::new(&config).unwrap();
    let first = initiator.connect(epoch(), EXIT, request()).unwrap();
    initiator.connect(epoch(), EXIT, request()).unwrap();
    let result = initiator.connect(epoch(), EXIT, request());
    assert_eq!(result, Err(ConnectError::TooManyRequests { limit: 2 }));
    initiator.cancel(first);
    initiator.connect(epoch(), EXIT, request()).unwrap();
}

//= docs/spec/start.md#header
//= type=test
//# A sender MUST NOT send a Start message that is longer than the MTU `C`.
#[test]
fn a_request_must_fit_the_mtu() {
    // 4 bytes of header, 13 of fixed fields, and a target of 2 + 81 bytes make 100.
    let exact = Request { target: Cbor::new(&"x".repeat(81)).unwrap(), ..request() };
    let longer = Request { target: Cbor::new(&"x".repeat(82)).unwrap(), ..request() };
    let config = Config::builder(Dialect::Rfc0007, Mtu::new(100).unwrap()).build().unwrap();
    let mut initiator = Initiator::new(&config).unwrap();
    initiator.connect(epoch(), EXIT, exact).unwrap();
    let result = initiator.connect(epoch(), EXIT, longer);
    assert_eq!(result, Err(ConnectError::TooLong { length: 101, limit: 100 }));
}

//= docs/spec/start.md#answers
//= type=test
//# An initiator MUST ignore a SessionEstablished whose session id leaves no room for a KeepAlive
//# within the MTU `C`.
#[test]
fn a_session_id_that_leaves_no_room_for_a_keep_alive_is_ignored() {
    let (mut initiator, _, sent) = asking();
    let session_id = Cbor::new(&"x".repeat(990)).unwrap();
    let answer = SessionEstablished { challenge: sent.challenge, session_id };
    assert_eq!(initiator.handle_established(epoch(), EXIT, &answer), Err(Ignored::TooLong));
    assert_eq!(initiator.stats().asking, 1);
}

//= docs/spec/start.md#capabilities
//= type=test
//# In `hoprnet` an initiator MUST NOT request capabilities other than the lowest five bits.
#[test]
fn capabilities_that_deployed_peers_refuse_are_refused_to_the_caller() {
    let config = Config::builder(Dialect::Hoprnet, Mtu::new(1000).unwrap()).build().unwrap();
    let mut initiator = Initiator::new(&config).unwrap();
    let capabilities = Capabilities::RELIABLE | Capabilities::UNORDERED;
    let result = initiator.connect(epoch(), EXIT, Request { capabilities, ..request() });
    assert_eq!(result, Err(ConnectError::UnknownCapabilities(capabilities)));
}

//= docs/spec/start.md#cbor
//= type=test
//# An initiator MUST send a session id back in the very bytes that it came in.
#[test]
fn the_byte_string_ids_of_deployed_peers_are_carried_unchanged() {
    let (mut initiator, _, sent) = asking();
    let session_id = Cbor::from_bytes(b"\x4a0123456789".as_slice().into()).unwrap();
    let answer = SessionEstablished { challenge: sent.challenge, session_id: session_id.clone() };
    initiator.handle_established(epoch(), EXIT, &answer).unwrap();
    assert_eq!(initiator.poll_transmit(), Some((EXIT, keep_alive(session_id))));
}

#[test]
fn challenges_differ_from_request_to_request() {
    let mut initiator = initiator();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        initiator.connect(epoch(), EXIT, request()).unwrap();
        assert!(seen.insert(start_session_in(initiator.poll_transmit()).challenge));
    }
}

#[test]
fn debug_shows_no_challenge() {
    let (_, id, _) = asking();
    assert_eq!(format!("{id:?}"), "RequestId(0)");
}
