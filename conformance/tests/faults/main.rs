//! The suite against peers that do one thing wrong: an honest endpoint behind a relay that mistreats what it
//! carries.
//!
//! As the suite itself does, this waits in real time.

mod mischief;
mod planted;
mod program;
mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use towline_conformance::case::{Case, Mode, Stop, Verdict};
use towline_conformance::cases;
use towline_conformance::own::{Error, Own};
use towline_conformance::run::run;
use towline_conformance::subject::{Framing, Subject};
use towline_conformance::suite::ask;
use towline_conformance::wire::Wire;
use towline_wire::{Dialect, Mtu};

use mischief::Mischief;
use planted::{Fault, Honest};
use relay::Relay;

const MTU: usize = 1018;
/// What a faulty peer never does is waited for no longer than this.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Faults that are looked for at a time. Most of it is waiting.
const THREADS: usize = 8;

/// An endpoint of ours, and the relay that the suite takes for it.
pub(crate) struct Relayed {
    pub(crate) subject: Subject,
    _relay: Relay,
    _own: Own,
}

impl Relayed {
    pub(crate) fn new(
        relays: &Runtime,
        honest: Honest,
        plant: fn(Wire) -> Mischief,
    ) -> Result<Self, Error> {
        let (Honest::Exit(_, dialect) | Honest::DataPlane(_, dialect) | Honest::Initiator(dialect)) =
            honest;
        let own = Own::new(dialect, Mtu::new(MTU)?)?;
        let mischief = plant(Wire { dialect, mtu: MTU });
        let runtime = relays.handle();
        if matches!(honest, Honest::Initiator(_)) {
            let framing = Framing::Tagged;
            let suite = UdpSocket::bind("127.0.0.1:0")?;
            let relay = Relay::start(runtime, framing, None, mischief)?;
            let door = relay.faces()(suite.local_addr()?)?;
            let subject = own.initiator_by_way_of(door, suite, framing)?;
            return Ok(Self { subject, _relay: relay, _own: own });
        }
        let mut subject = match honest {
            Honest::DataPlane(mode, _) => own.data_plane(mode)?,
            Honest::Exit(framing, _) => own.exit(framing)?,
            Honest::Initiator(_) => unreachable!("it was dealt with above"),
        };
        let relay = Relay::start(runtime, subject.framing, Some(subject.address), mischief)?;
        subject.address = relay.address()?;
        if let Some(attach) = subject.attach.take() {
            let face = relay.faces();
            subject.attach = Some(Box::new(move |peer, mode: Mode| {
                attach(face(peer).expect("there is a socket for each peer"), mode);
            }));
        }
        Ok(Self { subject, _relay: relay, _own: own })
    }
}

pub(crate) fn relays() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("there are threads for the relays")
}

fn case(id: &str) -> &'static Case {
    cases::all().find(|case| case.id == id).unwrap_or_else(|| panic!("there is no case {id}"))
}

fn verdict(subject: &Subject, id: &str) -> Verdict {
    run(subject, &[case(id)], 1, |_| {}).remove(0).verdict
}

/// What was expected of the suite and did not happen, one line each.
fn misses(relays: &Runtime, fault: &Fault) -> Vec<String> {
    let Fault { name, of, found_by, spares, plant } = fault;
    let mut relayed = match Relayed::new(relays, *of, *plant) {
        Ok(relayed) => relayed,
        Err(error) => return vec![format!("{name}: there is no such peer: {error}")],
    };
    let mut misses = Vec::new();
    if let Err(stop) = verdict(&relayed.subject, spares) {
        misses.push(format!("{name}: {spares} has nothing to do with it, and {stop}"));
    }
    relayed.subject.times.patience = PATIENCE;
    for (id, why) in *found_by {
        match verdict(&relayed.subject, id) {
            Err(Stop::Failed(found)) if found.contains(why) => {}
            Err(stop) => misses.push(format!("{name}: {id} {stop}, and not because: {why}")),
            Ok(()) => misses.push(format!("{name}: {id} passed")),
        }
    }
    misses
}

#[test]
fn honest_peers_behind_the_relay_pass_every_case() {
    let relays = relays();
    let honest = [
        Honest::Exit(Framing::Tagged, Dialect::Rfc0007),
        Honest::Exit(Framing::Bare, Dialect::Rfc0007),
        Honest::DataPlane(Mode::Reliable, Dialect::Rfc0007),
        Honest::DataPlane(Mode::Unreliable, Dialect::Rfc0007),
        Honest::Initiator(Dialect::Rfc0007),
        Honest::Exit(Framing::Tagged, Dialect::Hoprnet),
    ];
    let failures = Mutex::new(Vec::new());
    let passed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for honest in honest {
            let (relays, failures, passed) = (&relays, &failures, &passed);
            scope.spawn(move || {
                let relayed = Relayed::new(relays, honest, mischief::none).unwrap();
                for outcome in ask(&relayed.subject, &[], 4, |_| {}).outcomes {
                    match outcome.verdict {
                        Ok(()) => _ = passed.fetch_add(1, Ordering::Relaxed),
                        Err(Stop::Skipped(_)) => {}
                        Err(stop) => {
                            failures
                                .lock()
                                .unwrap()
                                .push(format!("{honest:?}: {} {stop}", outcome.id));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(passed.into_inner() > cases::all().count(), "most cases were not played");
}

#[test]
fn every_planted_fault_is_found() {
    let relays = relays();
    let faults: Vec<&Fault> = planted::all().collect();
    let next = AtomicUsize::new(0);
    let misses_of_all = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let misses = misses(&relays, fault);
                    misses_of_all.lock().unwrap().extend(misses);
                }
            });
        }
    });
    let misses = misses_of_all.into_inner().unwrap();
    assert!(misses.is_empty(), "of {} faults:\n{}", faults.len(), misses.join("\n"));
}

/// A case that nothing fails may as well not be there.
#[test]
fn every_case_finds_a_fault() {
    let found: BTreeSet<&str> =
        planted::all().flat_map(|fault| fault.found_by).map(|&(id, _)| id).collect();
    let useless: Vec<&str> =
        cases::all().map(|case| case.id).filter(|id| !found.contains(id)).collect();
    assert!(useless.is_empty(), "no fault is planted for {useless:#?}");
}

#[test]
fn faults_are_told_apart_by_their_names() {
    let mut names = BTreeMap::new();
    for fault in planted::all() {
        *names.entry(fault.name).or_insert(0) += 1;
    }
    names.retain(|_, &mut times| times > 1);
    assert!(names.is_empty(), "{names:?}");
}
