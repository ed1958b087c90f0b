use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use towline_wire::start::{Capabilities, Cbor, KeepAliveFlags};

use super::*;
use crate::testing::{at, builder, epoch, request};
use crate::{ConfigBuilder, Rate};

const ENTRY: u32 = 1;
const STRANGER: u32 = 2;

fn responder() -> Responder<u32> {
    with(builder())
}

fn with(builder: ConfigBuilder) -> Responder<u32> {
    Responder::new(&builder.build().unwrap()).unwrap()
}

fn start(challenge: u64) -> StartSession {
    let Request { capabilities, additional_data, target } = request();
    StartSession { challenge: Challenge(challenge), capabilities, additional_data, target }
}

fn granted(challenge: u64, tag: Tag) -> Message {
    let session_id = session_id(tag);
    Message::SessionEstablished(SessionEstablished { challenge: Challenge(challenge), session_id })
}

fn refused(challenge: u64, reason: ErrorReason) -> Message {
    Message::SessionError(SessionError { challenge: Challenge(challenge), reason })
}

fn incoming(responder: &mut Responder<u32>) -> IncomingId {
    match responder.poll_event() {
        Some(ResponderEvent::Incoming(incoming)) => incoming.id,
        other => panic!("no request but {other:?}"),
    }
}

fn ask(responder: &mut Responder<u32>, now: Instant, peer: u32, challenge: u64) -> IncomingId {
    responder.handle_start_session(now, peer, start(challenge)).unwrap();
    incoming(responder)
}

/// A half-open session of `ENTRY`, its answer sent.
fn half_open(responder: &mut Responder<u32>, now: Instant, challenge: u64) -> Tag {
    let id = ask(responder, now, ENTRY, challenge);
    let tag = responder.accept(now, id).unwrap();
    assert_eq!(responder.poll_transmit(), Some((ENTRY, granted(challenge, tag))));
    tag
}

/// A confirmed session of `ENTRY`, all polled.
fn confirmed(responder: &mut Responder<u32>, now: Instant, challenge: u64) -> Tag {
    let tag = half_open(responder, now, challenge);
    responder.confirm(ENTRY, tag).unwrap();
    while responder.poll_event().is_some() || responder.poll_transmit().is_some() {}
    tag
}

/// What a request gets for an answer.
fn answer_to(responder: &mut Responder<u32>, now: Instant, challenge: u64) -> Option<Message> {
    let _ = responder.handle_start_session(now, ENTRY, start(challenge));
    responder.poll_transmit().map(|(_, message)| message)
}

#[test]
fn a_request_reaches_the_application() {
    let mut responder = responder();
    responder.handle_start_session(epoch(), ENTRY, start(7)).unwrap();
    let Some(ResponderEvent::Incoming(incoming)) = responder.poll_event() else { panic!() };
    assert_eq!((incoming.peer, incoming.request), (ENTRY, request()));
    assert_eq!(responder.poll_transmit(), None);
}

//= docs/spec/start.md#capabilities
//= type=test
//# A responder MUST NOT refuse a request because of capability bits that it does not know.
#[test]
fn capabilities_that_nobody_knows_reach_the_application() {
    let mut responder = responder();
    let capabilities = Capabilities::from_bits(0xff);
    let message = StartSession { capabilities, ..start(7) };
    responder.handle_start_session(epoch(), ENTRY, message).unwrap();
    let Some(ResponderEvent::Incoming(incoming)) = responder.poll_event() else { panic!() };
    assert_eq!(incoming.request.capabilities, capabilities);
}

#[test]
fn accepting_answers_with_a_session_id() {
    let mut responder = responder();
    let id = ask(&mut responder, epoch(), ENTRY, 7);
    let tag = responder.accept(epoch(), id).unwrap();
    assert!(tag.is_session());
    assert_eq!(responder.poll_transmit(), Some((ENTRY, granted(7, tag))));
}

#[test]
fn refusing_answers_with_the_reason() {
    let mut responder = responder();
    let id = ask(&mut responder, epoch(), ENTRY, 7);
    responder.refuse(epoch(), id, ErrorReason::from_code(9)).unwrap();
    let answer = refused(7, ErrorReason::from_code(9));
    assert_eq!(responder.poll_transmit(), Some((ENTRY, answer)));
    assert_eq!(responder.stats().sessions, 0);
}

#[test]
fn a_decision_is_made_once() {
    let mut responder = responder();
    let id = ask(&mut responder, epoch(), ENTRY, 7);
    responder.accept(epoch(), id).unwrap();
    assert_eq!(responder.accept(epoch(), id), Err(AlreadyDecided));
    assert_eq!(responder.refuse(epoch(), id, ErrorReason::BUSY), Err(AlreadyDecided));
    assert!(responder.decide(epoch(), id).is_none());
}

//= docs/spec/start.md#decision
//= type=test
//# A responder MUST refuse a request that its application drops, with the reason "unknown error".
#[test]
fn a_dropped_decision_refuses() {
    let mut responder = responder();
    let id = ask(&mut responder, epoch(), ENTRY, 7);
    drop(responder.decide(epoch(), id).unwrap());
    assert_eq!(responder.poll_transmit(), Some((ENTRY, refused(7, ErrorReason::UNKNOWN))));
}

#[test]
fn a_decision_accepts() {
    let mut responder = responder();
    let id = ask(&mut responder, epoch(), ENTRY, 7);
    let tag = responder.decide(epoch(), id).unwrap().accept();
    assert_eq!(responder.poll_transmit(), Some((ENTRY, granted(7, tag))));
    assert_eq!(responder.poll_transmit(), None);
}

#[test]
fn a_decision_refuses() {
    let mut responder = responder();
    let id = ask(&mut responder, epoch(), ENTRY, 7);
    responder.decide(epoch(), id).unwrap().refuse(ErrorReason::BUSY);
    assert_eq!(responder.poll_transmit(), Some((ENTRY, refused(7, ErrorReason::BUSY))));
    assert_eq!(responder.stats().refused, 1);
}

//= docs/spec/start.md#decision
//= type=test
//# A responder MUST refuse a request that its application does not decide about in time, with the
//# reason "busy".
#[test]
fn a_request_that_is_dropped_undecided_is_refused_when_its_time_is_over() {
    let mut responder = responder();
    let id = ask(&mut responder, epoch(), ENTRY, 7);
    responder.handle_timeout(at(9.999));
    assert_eq!(responder.poll_transmit(), None);
    responder.handle_timeout(at(10.0));
    assert_eq!(responder.poll_transmit(), Some((ENTRY, refused(7, ErrorReason::BUSY))));
    assert_eq!(responder.poll_event(), Some(ResponderEvent::Undecided(id)));
    assert_eq!(responder.accept(at(10.0), id), Err(AlreadyDecided));
}

//= docs/spec/start.md#repeated-request
//= type=test
//# A responder MUST take requests with the same challenge from the same peer for one request,
//= docs/spec/start.md#repeated-request
//= type=test
//# A responder MUST NOT answer a repeated request while the first one is undecided.
#[test]
fn a_repeated_request_is_no_second_event_while_undecided() {
    let mut responder = responder();
    ask(&mut responder, epoch(), ENTRY, 7);
    assert_eq!(answer_to(&mut responder, at(0.5), 7), None);
    assert_eq!(responder.poll_event(), None);
    assert_eq!(responder.stats().sessions, 1);
}

//= docs/spec/start.md#repeated-request
//= type=test
//# A responder MUST give a repeated request the answer that it gave before, with the same session
//# id,
#[test]
fn a_repeated_request_gets_the_same_grant() {
    let mut responder = responder();
    let tag = half_open(&mut responder, epoch(), 7);
    assert_eq!(answer_to(&mut responder, at(0.5), 7), Some(granted(7, tag)));
    responder.confirm(ENTRY, tag).unwrap();
    while responder.poll_transmit().is_some() {}
    assert_eq!(answer_to(&mut responder, at(0.6), 7), Some(granted(7, tag)));
    assert_eq!(responder.stats().sessions, 1);
}

//= docs/spec/start.md#repeated-request
//= type=test
//# or the same reason.
#[test]
fn a_repeated_request_gets_the_same_refusal() {
    let mut responder = responder();
    let id = ask(&mut responder, epoch(), ENTRY, 7);
    responder.refuse(epoch(), id, ErrorReason::NO_SLOTS_AVAILABLE).unwrap();
    let refusal = responder.poll_transmit().map(|(_, message)| message);
    assert_eq!(answer_to(&mut responder, at(0.5), 7), refusal);
    assert_eq!(responder.poll_event(), None);
}

//= docs/spec/start.md#repeated-request
//= type=test
//# A responder SHOULD remember its answers for 60 seconds.
#[test]
fn answers_are_forgotten_after_the_answer_memory() {
    let mut responder = responder();
    let tag = confirmed(&mut responder, epoch(), 7);
    responder.handle_timeout(at(59.9));
    assert_eq!(answer_to(&mut responder, at(59.9), 7), Some(granted(7, tag)));
    responder.handle_timeout(at(60.0));
    assert_eq!(responder.stats().remembered, 0);
    assert_eq!(responder.stats().sessions, 1);
}

#[test]
fn no_more_answers_are_remembered_than_configured() {
    let mut responder = with(builder().max_remembered(3));
    for challenge in 0..10 {
        let id = ask(&mut responder, epoch(), ENTRY, challenge);
        responder.refuse(epoch(), id, ErrorReason::UNKNOWN).unwrap();
    }
    assert_eq!(responder.stats().remembered, 3);
}

//= docs/spec/start.md#repeated-request
//= type=test
//# and those from different peers for different ones.
#[test]
fn the_same_challenge_from_two_peers_is_two_requests() {
    let mut responder = responder();
    let first = ask(&mut responder, epoch(), ENTRY, 7);
    let second = ask(&mut responder, epoch(), STRANGER, 7);
    assert_ne!(responder.accept(epoch(), first), responder.accept(epoch(), second));
}

//= docs/spec/start.md#half-open
//= type=test
//# A responder MUST answer the first life in a session with a KeepAlive.
#[test]
fn a_keep_alive_confirms_and_is_answered() {
    let mut responder = responder();
    let tag = half_open(&mut responder, epoch(), 7);
    let Message::KeepAlive(life) = keep_alive(session_id(tag)) else { unreachable!() };
    assert_eq!(responder.handle_keep_alive(ENTRY, &life), Ok(tag));
    assert_eq!(responder.poll_event(), Some(ResponderEvent::Confirmed { peer: ENTRY, tag }));
    assert_eq!(responder.poll_transmit(), Some((ENTRY, Message::KeepAlive(life))));
}

//= docs/spec/start.md#keep-alive
//= type=test
//# A receiver MUST take a KeepAlive for a sign of life whatever its flags are.
#[test]
fn a_keep_alive_confirms_whatever_its_flags_are() {
    let mut responder = responder();
    let tag = half_open(&mut responder, epoch(), 7);
    let Message::KeepAlive(life) = keep_alive(session_id(tag)) else { unreachable!() };
    let life = KeepAlive { flags: KeepAliveFlags::from_bits(0x83), additional_data: 7, ..life };
    assert_eq!(responder.handle_keep_alive(ENTRY, &life), Ok(tag));
}

#[test]
fn any_life_confirms() {
    let mut responder = responder();
    let tag = half_open(&mut responder, epoch(), 7);
    responder.confirm(ENTRY, tag).unwrap();
    assert_eq!(responder.poll_event(), Some(ResponderEvent::Confirmed { peer: ENTRY, tag }));
}

#[test]
fn further_life_changes_nothing() {
    let mut responder = responder();
    let tag = confirmed(&mut responder, epoch(), 7);
    assert_eq!(responder.confirm(ENTRY, tag), Ok(()));
    assert_eq!(responder.poll_event(), None);
    assert_eq!(responder.poll_transmit(), None);
}

#[test]
fn a_confirmed_session_outlives_the_half_open_timeout() {
    let mut responder = responder();
    confirmed(&mut responder, epoch(), 7);
    responder.handle_timeout(at(1000.0));
    assert_eq!(responder.stats().sessions, 1);
}

//= docs/spec/start.md#half-open
//= type=test
//# A responder MUST drop a session in which its peer shows no life in time,
#[test]
fn an_unconfirmed_session_is_dropped_with_an_event() {
    let mut responder = responder();
    let tag = half_open(&mut responder, epoch(), 7);
    responder.handle_timeout(at(9.999));
    assert_eq!(responder.poll_event(), None);
    responder.handle_timeout(at(10.0));
    assert_eq!(responder.poll_event(), Some(ResponderEvent::Unconfirmed { peer: ENTRY, tag }));
    assert_eq!(responder.stats().sessions, 0);
    assert_eq!(responder.confirm(ENTRY, tag), Err(Ignored::UnknownSession));
}

//= docs/spec/start.md#half-open
//= type=test
//# which is 10 seconds from the latest answer by default.
#[test]
fn a_repeated_request_gives_the_entry_time_to_confirm() {
    let mut responder = responder();
    let tag = half_open(&mut responder, epoch(), 7);
    answer_to(&mut responder, at(9.0), 7);
    responder.handle_timeout(at(18.9));
    responder.confirm(ENTRY, tag).unwrap();
}

#[test]
fn repeating_a_request_cannot_hold_a_session_half_open_for_ever() {
    let mut responder = responder();
    half_open(&mut responder, epoch(), 7);
    let mut seconds = 0.0;
    while responder.stats().unconfirmed == 0 {
        seconds += 1.0;
        responder.handle_timeout(at(seconds));
        let _ = responder.handle_start_session(at(seconds), ENTRY, start(7));
    }
    assert!(seconds <= 70.0, "held for {seconds} s");
}

#[test]
fn a_request_whose_session_was_dropped_does_not_open_another() {
    let mut responder = responder();
    half_open(&mut responder, epoch(), 7);
    responder.handle_timeout(at(10.0));
    responder.poll_event();
    let answer = answer_to(&mut responder, at(15.5), 7);
    assert_eq!(answer, Some(refused(7, ErrorReason::UNKNOWN)));
    assert_eq!(responder.poll_event(), None);
}

//= docs/spec/start.md#repeated-request
//= type=test
//# A responder MUST refuse a repeated request whose session is over.
#[test]
fn a_request_whose_session_has_ended_does_not_open_another() {
    let mut responder = responder();
    let tag = confirmed(&mut responder, epoch(), 7);
    assert!(responder.release(tag));
    let answer = answer_to(&mut responder, at(1.0), 7);
    assert_eq!(answer, Some(refused(7, ErrorReason::UNKNOWN)));
}

//= docs/spec/start.md#half-open
//= type=test
//# or that is another peer's.
#[test]
fn strangers_cannot_confirm() {
    let mut responder = responder();
    let tag = half_open(&mut responder, epoch(), 7);
    assert_eq!(responder.confirm(STRANGER, tag), Err(Ignored::ForeignPeer));
    assert_eq!(responder.stats().waiting, 1);
}

//= docs/spec/start.md#half-open
//= type=test
//# A responder MUST ignore life in a session that it does not know,
#[test]
fn life_in_an_unknown_session_is_ignored_and_counted() {
    let mut responder = responder();
    let unknown = [
        session_id(Tag::FIRST_SESSION),
        Cbor::new("no tag").unwrap(),
        Cbor::from_bytes(Bytes::from_static(b"\x4a0123456789")).unwrap(),
    ];
    for id in unknown {
        let Message::KeepAlive(life) = keep_alive(id) else { unreachable!() };
        assert_eq!(responder.handle_keep_alive(ENTRY, &life), Err(Ignored::UnknownSession));
    }
    assert_eq!(responder.stats().ignored, 3);
}

#[test]
fn an_undecided_request_is_no_session_yet() {
    let mut responder = responder();
    let IncomingId(tag) = ask(&mut responder, epoch(), ENTRY, 7);
    assert_eq!(responder.confirm(ENTRY, tag), Err(Ignored::UnknownSession));
    assert!(!responder.release(tag));
    assert_eq!(responder.stats().waiting, 1);
}

//= docs/spec/start.md#admission
//= type=test
//# A responder MUST refuse a new request with the reason "no slots available" while all its session
//# slots are taken.
#[test]
fn releasing_frees_the_slot_once() {
    let mut responder = with(builder().max_sessions(1));
    let tag = confirmed(&mut responder, epoch(), 1);
    let full = refused(2, ErrorReason::NO_SLOTS_AVAILABLE);
    assert_eq!(answer_to(&mut responder, epoch(), 2), Some(full));
    assert!(responder.release(tag));
    assert!(!responder.release(tag));
    half_open(&mut responder, epoch(), 3);
}

#[test]
fn releasing_a_half_open_session_leaves_no_timer() {
    let mut responder = responder();
    let tag = half_open(&mut responder, epoch(), 7);
    assert!(responder.release(tag));
    responder.handle_timeout(at(10.0));
    assert_eq!(responder.poll_event(), None);
}

/// A peer may use a challenge again once its answer is forgotten.
#[test]
fn releasing_a_session_leaves_a_later_request_of_the_same_challenge_alone() {
    let mut responder = responder();
    let old = confirmed(&mut responder, epoch(), 7);
    responder.handle_timeout(at(60.0));
    let id = ask(&mut responder, at(60.0), ENTRY, 7);
    assert!(responder.release(old));
    assert_eq!(answer_to(&mut responder, at(60.5), 7), None, "it is still undecided");
    let new = responder.accept(at(61.0), id).unwrap();
    assert_eq!(responder.poll_transmit(), Some((ENTRY, granted(7, new))));
}

//= docs/spec/start.md#admission
//= type=test
//# A responder MUST refuse a new request with the reason "busy" while as many sessions as it allows
//# are undecided or half-open.
#[test]
fn half_open_and_undecided_sessions_are_bounded() {
    let mut responder = with(builder().max_half_open(2));
    half_open(&mut responder, epoch(), 1);
    ask(&mut responder, epoch(), ENTRY, 2);
    assert_eq!(answer_to(&mut responder, epoch(), 3), Some(refused(3, ErrorReason::BUSY)));
    assert_eq!(responder.stats().waiting, 2);
    assert_eq!(responder.stats().busy, 1);
}

#[test]
fn confirmed_sessions_do_not_count_as_half_open() {
    let mut responder = with(builder().max_half_open(1));
    for challenge in 0..10 {
        confirmed(&mut responder, epoch(), challenge);
    }
    assert_eq!(responder.stats().sessions, 10);
}

//= docs/spec/start.md#admission
//= type=test
//# A responder MUST NOT remember a request that it did not admit.
#[test]
fn a_request_turned_away_for_want_of_room_may_come_again() {
    let mut responder = with(builder().max_half_open(1));
    let tag = half_open(&mut responder, epoch(), 1);
    assert_eq!(answer_to(&mut responder, epoch(), 2), Some(refused(2, ErrorReason::BUSY)));
    responder.confirm(ENTRY, tag).unwrap();
    while responder.poll_event().is_some() || responder.poll_transmit().is_some() {}
    half_open(&mut responder, at(1.0), 2);
}

fn slow(burst: u32) -> Rate {
    Rate { burst, refill: Duration::from_secs(10) }
}

//= docs/spec/start.md#admission
//= type=test
//# A responder MUST answer a new request beyond these rates with the reason "busy",
#[test]
fn requests_beyond_a_peers_rate_are_answered_as_busy() {
    let mut responder = with(builder().peer_request_rate(slow(1)));
    ask(&mut responder, epoch(), ENTRY, 1);
    assert_eq!(answer_to(&mut responder, epoch(), 2), Some(refused(2, ErrorReason::BUSY)));
    assert_eq!(responder.stats().over_rate, 1);
    ask(&mut responder, epoch(), STRANGER, 3);
}

#[test]
fn requests_beyond_the_common_rate_are_answered_as_busy() {
    let mut responder = with(builder().request_rate(slow(1)));
    ask(&mut responder, epoch(), STRANGER, 1);
    assert_eq!(answer_to(&mut responder, epoch(), 2), Some(refused(2, ErrorReason::BUSY)));
}

//= docs/spec/start.md#admission
//= type=test
//# or not at all.
#[test]
fn only_so_many_requests_beyond_a_rate_are_answered() {
    let mut responder = with(builder().request_rate(slow(1)).refusal_rate(slow(3)));
    ask(&mut responder, epoch(), ENTRY, 0);
    for peer in 100..200 {
        let _ = responder.handle_start_session(epoch(), peer, start(1));
    }
    assert_eq!(std::iter::from_fn(|| responder.poll_transmit()).count(), 3);
    let result = responder.handle_start_session(epoch(), 200, start(1));
    assert_eq!(result, Err(Ignored::OverRate));
}

#[test]
fn repeated_requests_cost_nothing_of_the_rate() {
    let mut responder = with(builder().request_rate(slow(1)).peer_request_rate(slow(1)));
    let tag = half_open(&mut responder, epoch(), 1);
    for _ in 0..10 {
        assert_eq!(answer_to(&mut responder, epoch(), 1), Some(granted(1, tag)));
    }
}

#[test]
fn a_target_longer_than_a_message_is_ignored() {
    let mut responder = responder();
    let target = Cbor::new(&"x".repeat(1000)).unwrap();
    let message = StartSession { target, ..start(7) };
    let result = responder.handle_start_session(epoch(), ENTRY, message);
    assert_eq!(result, Err(Ignored::TooLong));
    assert_eq!(responder.stats().sessions, 0);
}

#[test]
fn a_kept_target_does_not_keep_its_datagram_alive() {
    let mut responder = responder();
    let datagram = Bytes::from(vec![0; 60_000]);
    let message =
        StartSession { target: Cbor::from_bytes(datagram.slice(..1)).unwrap(), ..start(7) };
    responder.handle_start_session(epoch(), ENTRY, message).unwrap();
    assert!(datagram.is_unique());
}

#[test]
fn refusals_are_shorter_than_any_request_and_grants_hardly_longer() {
    let shortest = StartSession { target: Cbor::new(&0).unwrap(), ..start(7) };
    let length = |message: &Message| crate::message::encoded_len(message, crate::testing::DIALECT);
    let request = length(&Message::StartSession(shortest));
    assert!(length(&refused(7, ErrorReason::BUSY)) < request);
    assert!(length(&granted(7, Tag::MAX)) <= request + 3);
}

//= docs/spec/start.md#session-id
//= type=test
//# drawn at random from the whole range.
#[test]
fn session_ids_are_unique_and_spread_over_the_whole_range() {
    let plenty = Rate { burst: 100_000, refill: Duration::from_micros(1) };
    let mut responder = with(
        builder()
            .max_sessions(20_000)
            .max_half_open(20_000)
            .request_rate(plenty)
            .peer_request_rate(plenty),
    );
    let tags: HashSet<_> =
        (0..20_000).map(|challenge| half_open(&mut responder, epoch(), challenge)).collect();
    assert_eq!(tags.len(), 20_000);
    let upper_half = tags.iter().filter(|tag| tag.get() > Tag::MAX.get() / 2).count();
    assert!((9_000..11_000).contains(&upper_half), "{upper_half} of 20 000");
}

//= docs/spec/start.md#session-id
//= type=test
//# A responder MUST NOT issue a session id that another of its sessions has.
#[test]
fn a_used_session_id_is_not_given_again() {
    let config = builder().build().unwrap();
    let mut first = Responder::<u32>::new(&config).unwrap();
    let mut second = Responder::<u32>::new(&config).unwrap();
    // The second would draw what the first draws, but it is taken.
    let drawn = half_open(&mut first, epoch(), 1);
    let exchange = Exchange { peer: STRANGER, challenge: Challenge(0) };
    second.sessions.insert(drawn, Session { exchange, phase: Phase::Confirmed });
    assert_ne!(half_open(&mut second, epoch(), 1), drawn);
}

#[test]
fn when_all_has_ended_nothing_is_left() {
    let mut responder = responder();
    let tag = confirmed(&mut responder, epoch(), 1);
    half_open(&mut responder, epoch(), 2);
    ask(&mut responder, epoch(), ENTRY, 3);
    responder.release(tag);
    while let Some(now) = responder.poll_timeout() {
        responder.handle_timeout(now);
    }
    let stats = responder.stats();
    assert_eq!((stats.sessions, stats.waiting, stats.remembered, stats.peers), (0, 0, 0, 0));
    assert!(responder.answers.is_empty());
}
