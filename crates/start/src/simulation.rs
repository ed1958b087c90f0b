//! An initiator and a responder with a network between them that loses, duplicates, delays and so
//! reorders, over thousands of seeds.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use towline_wire::Tag;
use towline_wire::start::{Cbor, ErrorReason, Message};

use crate::deadlines::Deadlines;
use crate::testing::{DIALECT, builder, epoch, request, seeds};
use crate::{
    Config, Incoming, Initiator, InitiatorEvent, Liveness, LivenessAction, Request, RequestError,
    RequestId, Responder, ResponderEvent, Seed, keep_alive, session_id, session_tag,
};

const ENTRY: &str = "entry";
const EXIT: &str = "exit";

/// How bad the network is.
#[derive(Clone, Copy)]
struct Path {
    loss: f64,
    duplication: f64,
    max_delay: Duration,
}

/// What comes at some time.
enum Arrival {
    /// A datagram, for the initiator or the responder.
    Datagram {
        to: &'static str,
        bytes: Vec<u8>,
    },
    Connect,
    Decide(Incoming<&'static str>),
}

struct World {
    now: Instant,
    rng: StdRng,
    config: Config,
    path: Path,
    initiator: Initiator<&'static str>,
    responder: Responder<&'static str>,
    arrivals: Deadlines<Arrival>,
    /// The target of each request, which no other request has.
    asked: HashMap<RequestId, Cbor>,
    /// Targets of which the responder's application has heard.
    incoming: HashSet<Cbor>,
    established: HashMap<RequestId, Tag>,
    failed: HashMap<RequestId, RequestError>,
    /// The target of each session.
    accepted: HashMap<Tag, Cbor>,
    confirmed: HashSet<Tag>,
    unconfirmed: HashSet<Tag>,
    /// Of the entry's sessions.
    liveness: HashMap<Tag, Liveness>,
    heard: HashSet<Tag>,
}

impl World {
    fn new(seed: u64, path: impl FnOnce(&mut StdRng) -> Path) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = builder().seed(Seed(rng.random())).build().unwrap();
        Self {
            now: epoch(),
            path: path(&mut rng),
            initiator: Initiator::new(&config).unwrap(),
            responder: Responder::new(&config).unwrap(),
            rng,
            config,
            arrivals: Deadlines::new(),
            asked: HashMap::new(),
            incoming: HashSet::new(),
            established: HashMap::new(),
            failed: HashMap::new(),
            accepted: HashMap::new(),
            confirmed: HashSet::new(),
            unconfirmed: HashSet::new(),
            liveness: HashMap::new(),
            heard: HashSet::new(),
        }
    }

    /// Makes requests in the first seconds, then runs from deadline to deadline until nothing is left
    /// but the entry's keep-alives.
    fn run(&mut self, requests: usize) {
        for _ in 0..requests {
            let at = self.now + self.random_up_to(Duration::from_secs(5));
            self.arrivals.insert(at, Arrival::Connect);
        }
        while let Some(next) = self.next() {
            self.now = self.now.max(next);
            self.step();
            self.poll();
        }
    }

    fn next(&self) -> Option<Instant> {
        let machines =
            [self.arrivals.next(), self.initiator.poll_timeout(), self.responder.poll_timeout()];
        let machines = machines.into_iter().flatten().min()?;
        let keep_alives = self.liveness.values().map(Liveness::poll_timeout).min();
        Some(keep_alives.map_or(machines, |at| at.min(machines)))
    }

    fn step(&mut self) {
        match self.arrivals.pop_due(self.now) {
            Some(Arrival::Connect) => {
                let target = Cbor::new(&self.asked.len()).unwrap();
                let request = Request { target: target.clone(), ..request() };
                let id = self.initiator.connect(self.now, EXIT, request).unwrap();
                assert_eq!(self.asked.insert(id, target), None);
            }
            Some(Arrival::Decide(incoming)) => self.decide(incoming),
            Some(Arrival::Datagram { to, bytes }) => {
                let message = Message::decode(DIALECT, bytes.into()).unwrap();
                self.receive(to, message);
            }
            None => {
                self.initiator.handle_timeout(self.now);
                self.responder.handle_timeout(self.now);
                self.keep_alive();
            }
        }
    }

    fn decide(&mut self, Incoming { id, request, .. }: Incoming<&'static str>) {
        if self.rng.random_bool(0.2) {
            // Too late when the decision timeout has passed, and that is fine.
            let _ = self.responder.refuse(self.now, id, ErrorReason::UNKNOWN);
        } else if let Ok(tag) = self.responder.accept(self.now, id) {
            let other = self.accepted.insert(tag, request.target);
            assert_eq!(other, None, "session ids are unique");
        }
    }

    /// Whatever the machines ignore, the simulation ignores.
    fn receive(&mut self, to: &str, message: Message) {
        match message {
            Message::StartSession(message) => {
                let _ = self.responder.handle_start_session(self.now, ENTRY, message);
            }
            Message::SessionEstablished(message) => {
                let _ = self.initiator.handle_established(self.now, EXIT, &message);
            }
            Message::SessionError(message) => {
                let _ = self.initiator.handle_error(EXIT, &message);
            }
            Message::KeepAlive(message) if to == EXIT => {
                let _ = self.responder.handle_keep_alive(ENTRY, &message);
            }
            Message::KeepAlive(message) => {
                let tag = session_tag(&message.session_id).unwrap();
                if let Some(liveness) = self.liveness.get_mut(&tag) {
                    liveness.heard(self.now);
                    self.heard.insert(tag);
                }
            }
        }
    }

    fn keep_alive(&mut self) {
        let now = self.now;
        let mut due: Vec<_> = self
            .liveness
            .iter_mut()
            .filter_map(|(&tag, liveness)| liveness.handle_timeout(now).map(|action| (tag, action)))
            .collect();
        due.sort_unstable_by_key(|&(tag, _)| tag);
        for (tag, action) in due {
            match action {
                LivenessAction::SendKeepAlive => self.send(EXIT, &keep_alive(session_id(tag))),
                LivenessAction::Dead => drop(self.liveness.remove(&tag)),
            }
        }
    }

    fn poll(&mut self) {
        while let Some((to, message)) = self.initiator.poll_transmit() {
            self.send(to, &message);
        }
        while let Some((to, message)) = self.responder.poll_transmit() {
            self.send(to, &message);
        }
        while let Some(event) = self.initiator.poll_event() {
            match event {
                InitiatorEvent::Established { request, session_id, .. } => {
                    let tag = session_tag(&session_id).unwrap();
                    self.liveness.insert(tag, Liveness::entry(&self.config, self.now));
                    assert_eq!(self.established.insert(request, tag), None, "established twice");
                }
                InitiatorEvent::Failed { request, error, .. } => {
                    assert_eq!(self.failed.insert(request, error), None, "failed twice");
                }
            }
        }
        while let Some(event) = self.responder.poll_event() {
            match event {
                ResponderEvent::Incoming(incoming) => {
                    let first = self.incoming.insert(incoming.request.target.clone());
                    assert!(first, "one event per request");
                    // Some are decided at once, some late, some too late.
                    let after =
                        self.random_up_to(Duration::from_secs(11)).mul_f64(self.rng.random());
                    self.arrivals.insert(self.now + after, Arrival::Decide(incoming));
                }
                ResponderEvent::Undecided(_) => {}
                ResponderEvent::Confirmed { tag, .. } => {
                    assert!(self.confirmed.insert(tag), "confirmed twice");
                }
                ResponderEvent::Unconfirmed { tag, .. } => {
                    assert!(self.unconfirmed.insert(tag), "dropped twice");
                }
            }
        }
    }

    fn send(&mut self, to: &'static str, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(DIALECT, &mut bytes).unwrap();
        let copies = 1 + usize::from(self.rng.random_bool(self.path.duplication));
        for _ in 0..copies {
            if !self.rng.random_bool(self.path.loss) {
                let at = self.now + self.random_up_to(self.path.max_delay);
                self.arrivals.insert(at, Arrival::Datagram { to, bytes: bytes.clone() });
            }
        }
    }

    fn random_up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.random())
    }

    fn check(&mut self) {
        for (request, target) in &self.asked {
            let outcomes =
                [self.established.contains_key(request), self.failed.contains_key(request)];
            assert_ne!(outcomes[0], outcomes[1], "{request:?} ends in exactly one way");
            if let Some(tag) = self.established.get(request) {
                assert_eq!(self.accepted.get(tag), Some(target), "both sides agree on the id");
            }
        }
        let tags: HashSet<_> = self.established.values().copied().collect();
        assert_eq!(tags.len(), self.established.len(), "no two requests share a session");
        assert!(self.confirmed.is_subset(&tags), "only the entry's sessions are confirmed");
        assert!(self.confirmed.is_disjoint(&self.unconfirmed));
        assert_eq!(self.confirmed.len() + self.unconfirmed.len(), self.accepted.len());

        for tag in &self.confirmed {
            assert!(self.responder.release(*tag));
        }
        let stats = self.responder.stats();
        assert_eq!((stats.sessions, stats.waiting, stats.remembered, stats.peers), (0, 0, 0, 0));
        let stats = self.initiator.stats();
        assert_eq!((stats.asking, stats.remembered), (0, 0));
    }
}

#[test]
fn whatever_the_network_does_both_sides_agree_and_nothing_is_left() {
    for seed in seeds(3000) {
        let mut world = World::new(seed, |rng| Path {
            loss: rng.random_range(0.0..0.7),
            duplication: rng.random_range(0.0..0.5),
            max_delay: Duration::from_millis(rng.random_range(1..4000)),
        });
        let requests = world.rng.random_range(1..8);
        world.run(requests);
        world.check();
    }
}

#[test]
fn a_healthy_network_loses_no_session_and_repeats_nothing_needlessly() {
    for seed in seeds(200) {
        let mut world = World::new(seed, |_| Path {
            loss: 0.0,
            duplication: 0.0,
            max_delay: Duration::from_millis(100),
        });
        world.run(5);
        assert_eq!(world.confirmed.len(), world.established.len());
        assert_eq!(world.heard, world.confirmed);
        assert!(world.failed.values().all(|error| matches!(error, RequestError::Refused(_))));
        assert_eq!(world.responder.stats().ignored, 0);
        world.check();
    }
}

#[test]
fn at_thirty_percent_loss_almost_every_granted_session_is_confirmed() {
    let (mut granted, mut confirmed) = (0, 0);
    for seed in seeds(500) {
        let mut world = World::new(seed, |_| Path {
            loss: 0.3,
            duplication: 0.0,
            max_delay: Duration::from_millis(200),
        });
        world.run(5);
        granted += world.established.len();
        confirmed += world.confirmed.len();
    }
    assert!(confirmed * 1000 >= granted * 990, "{confirmed} of {granted}");
}
