//! A hundred thousand requests from invented addresses.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use towline_wire::Tag;
use towline_wire::start::{Cbor, Challenge, Message, StartSession};

use crate::testing::{builder, epoch, request, seeds};
use crate::{
    Config, Initiator, InitiatorEvent, Responder, ResponderEvent, ResponderStats, Seed, session_tag,
};

const REQUESTS: u32 = 100_000;
const HONEST: u128 = 1;
const EXIT: u128 = 2;

/// A responder that accepts everything, and a minute of flood.
struct Flood {
    now: Instant,
    rng: StdRng,
    responder: Responder<u128>,
    answers: u64,
    requests: u64,
}

impl Flood {
    fn new(config: &Config, seed: u64) -> Self {
        Self {
            now: epoch(),
            rng: StdRng::seed_from_u64(seed),
            responder: Responder::new(config).unwrap(),
            answers: 0,
            requests: 0,
        }
    }

    /// One request from an address that was never seen before.
    fn request(&mut self) {
        self.now += Duration::from_secs(60) / REQUESTS;
        self.responder.handle_timeout(self.now);
        let message = StartSession {
            challenge: Challenge(self.rng.random()),
            capabilities: request().capabilities,
            additional_data: self.rng.random(),
            target: Cbor::new(&self.rng.random::<u64>()).unwrap(),
        };
        let peer = self.rng.random_range(1000..=u128::MAX);
        let _ = self.responder.handle_start_session(self.now, peer, message);
        self.requests += 1;
        self.poll(|_| {});
    }

    fn poll(&mut self, mut to_honest: impl FnMut(Message)) {
        while let Some(event) = self.responder.poll_event() {
            if let ResponderEvent::Incoming(incoming) = event {
                self.responder.accept(self.now, incoming.id).unwrap();
            }
        }
        while let Some((peer, message)) = self.responder.poll_transmit() {
            match peer {
                HONEST => to_honest(message),
                _ => self.answers += 1,
            }
        }
    }

    /// One established session, before the flood.
    fn honest_session(&mut self) -> Tag {
        let Request { challenge, message } = Request::new(77);
        self.responder.handle_start_session(self.now, HONEST, message).unwrap();
        let mut tag = None;
        self.poll(|answer| {
            let Message::SessionEstablished(answer) = answer else { panic!("{answer:?}") };
            assert_eq!(answer.challenge, challenge);
            tag = session_tag(&answer.session_id);
        });
        self.responder.confirm(HONEST, tag.unwrap()).unwrap();
        self.poll(|_| {});
        tag.unwrap()
    }
}

struct Request {
    challenge: Challenge,
    message: StartSession,
}

impl Request {
    fn new(challenge: u64) -> Self {
        let challenge = Challenge(challenge);
        let crate::Request { capabilities, additional_data, target } = request();
        let message = StartSession { challenge, capabilities, additional_data, target };
        Self { challenge, message }
    }
}

fn within_bounds(stats: &ResponderStats) -> bool {
    stats.waiting <= 300 && stats.sessions <= 400 && stats.remembered <= 500 && stats.peers <= 200
}

//= docs/spec/start.md#admission
//= type=test
//# A responder MUST bound what it remembers of requests and answers.
#[test]
fn a_flood_stays_within_the_bounds() {
    let config = builder()
        .max_half_open(300)
        .max_sessions(400)
        .max_remembered(500)
        .max_peers(200)
        .build()
        .unwrap();
    let mut flood = Flood::new(&config, 1);
    for _ in 0..REQUESTS {
        flood.request();
        let stats = flood.responder.stats();
        assert!(within_bounds(&stats), "{stats:?}");
    }
    let stats = flood.responder.stats();
    assert!(stats.over_rate > 80_000 && stats.busy > 1000, "{stats:?}");
}

//= docs/spec/start.md#admission
//= type=test
//# A responder MUST NOT send more than one message in answer to one request.
#[test]
fn a_flood_gets_no_more_than_one_answer_per_request() {
    let config = builder().build().unwrap();
    let mut flood = Flood::new(&config, 1);
    for _ in 0..REQUESTS {
        flood.request();
        assert!(flood.answers <= flood.requests);
    }
    // 200/s are granted and 100/s refused, plus both bursts.
    assert!(flood.answers <= 60 * 300 + 256 + 64 + 2, "{} answers", flood.answers);
}

#[test]
fn a_flood_leaves_established_sessions_alone() {
    let config = builder().build().unwrap();
    let mut flood = Flood::new(&config, 1);
    let tag = flood.honest_session();
    for _ in 0..REQUESTS {
        flood.request();
    }
    assert_eq!(flood.responder.confirm(HONEST, tag), Ok(()));
}

#[test]
fn after_a_flood_only_the_honest_session_is_left() {
    let config = builder().build().unwrap();
    let mut flood = Flood::new(&config, 1);
    flood.honest_session();
    for _ in 0..REQUESTS {
        flood.request();
    }
    while let Some(next) = flood.responder.poll_timeout() {
        flood.responder.handle_timeout(next);
    }
    let stats = flood.responder.stats();
    assert_eq!((stats.sessions, stats.waiting, stats.remembered, stats.peers), (1, 0, 0, 0));
}

/// The flood is eight times the rate and takes every token before the initiator can, but the initiator
/// asks again, whether it hears nothing or that the responder is busy.
#[test]
fn an_honest_initiator_that_keeps_asking_gets_in() {
    for seed in seeds(20) {
        let config = builder().seed(Seed([seed as u8; 32])).build().unwrap();
        let mut flood = Flood::new(&config, seed);
        let mut initiator = Initiator::new(&config).unwrap();
        let mut ask_at = Some(flood.now + Duration::from_secs(3));
        let mut established = false;
        for _ in 0..REQUESTS / 4 {
            flood.request();
            let now = flood.now;
            if ask_at.is_some_and(|at| now >= at) {
                initiator.connect(now, EXIT, request()).unwrap();
                ask_at = None;
            }
            initiator.handle_timeout(now);
            while let Some((_, message)) = initiator.poll_transmit() {
                match message {
                    Message::StartSession(message) => {
                        let _ = flood.responder.handle_start_session(now, HONEST, message);
                    }
                    Message::KeepAlive(message) => {
                        flood.responder.handle_keep_alive(HONEST, &message).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
            flood.poll(|answer| match answer {
                Message::SessionEstablished(answer) => {
                    initiator.handle_established(now, EXIT, &answer).unwrap();
                }
                Message::SessionError(answer) => initiator.handle_error(EXIT, &answer).unwrap(),
                _ => {}
            });
            match initiator.poll_event() {
                Some(InitiatorEvent::Established { .. }) => established = true,
                Some(InitiatorEvent::Failed { .. }) => {
                    ask_at = Some(now + Duration::from_millis(500));
                }
                None => {}
            }
        }
        assert!(established, "{:?}", initiator.stats());
    }
}
