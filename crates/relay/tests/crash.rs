//! A process that dies at any moment has lost nothing that it has answered for.
//!
//! The parent starts this program again as a child, which works on a store and prints each answer. Then it
//! kills the child, opens the store and compares. It shows that no answer comes before its transaction is
//! committed; that a commit outlives the machine's power is SQLite's and the disk's promise, not tested
//! here.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{env, thread};

use bytes::Bytes;
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng, TryRng};
use tokio::task::JoinSet;
use towline_relay::store::sqlite::{Config, Sqlite, check};
use towline_relay::store::{Limits, Page, Position, Queued, Store, Timestamp};
use towline_relay::{Address, Device};
use towline_wire::relay::UserId;

const ROUNDS: u64 = 10;
const SENDERS: u8 = 16;
/// A child that has answered nothing after this long never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the child's store is, and which round it is.
const CHILD: &str = "TOWLINE_CRASH_CHILD";
const ROUND: &str = "TOWLINE_CRASH_ROUND";

fn address() -> Address {
    Address::new(UserId::new(&[7; 32]), Device::from(1))
}

fn open(path: &Path) -> Sqlite {
    let limits = Limits::builder().queue_count(1_000_000).queue_bytes(1 << 40).build().unwrap();
    Sqlite::open(path, &Config::builder().limits(limits).build().unwrap()).unwrap()
}

/// A message: the round, the sender, and the sender's count.
type Label = (u64, u8, u64);

fn message((round, sender, number): Label) -> Bytes {
    let mut message = format!("{round} {sender} {number}").into_bytes();
    message.resize(512, b' ');
    message.into()
}

fn label(message: &[u8]) -> Label {
    let text = str::from_utf8(message).unwrap();
    let mut words = text.split_whitespace();
    let mut word = || words.next().unwrap().parse().unwrap();
    (word(), word() as u8, word())
}

/// Every third message is acknowledged as soon as it is sent.
fn goes((_, _, number): Label) -> bool {
    number % 3 == 0
}

/// Prints a line per answer: `kept` and `gone` with round, sender, number and position.
fn say(what: &str, (round, sender, number): Label, Position(position): Position) {
    let line = format!("{what} {round} {sender} {number} {position}\n");
    // One write per line, whole or not at all.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(path) = env::var(CHILD) else { return };
    let round = env::var(ROUND).unwrap().parse().unwrap();
    let store = Arc::new(open(Path::new(&path)));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let store = Arc::clone(&store);
        senders.spawn(async move {
            for number in 0.. {
                let label = (round, sender, number);
                let now = Timestamp::now();
                let position = store.enqueue(&address(), message(label), now).await.unwrap();
                say("kept", label, position);
                if goes(label) {
                    store.acknowledge(&address(), position).await.unwrap();
                    say("gone", label, position);
                }
            }
        });
    }
    senders.join_all().await;
}

/// What a child has answered for before it was killed.
#[derive(Default)]
struct Answers {
    kept: HashMap<Label, Position>,
    gone: HashMap<Label, Position>,
}

/// Lets a child work on the store for a while after its first answer, and kills it.
fn round(path: &Path, round: u64, life: Duration, answers: &mut Answers) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        stderr.lines().map(Result::unwrap).try_for_each(|line| sender.send(line))
    });
    let first = lines.recv_timeout(PATIENCE);
    thread::sleep(life);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    for line in [first.unwrap()].into_iter().chain(lines) {
        let (what, rest) = line.split_once(' ').unwrap();
        let (label_text, position) = rest.rsplit_once(' ').unwrap();
        let (label, position) = (label(label_text.as_bytes()), Position(position.parse().unwrap()));
        let of = match what {
            "kept" => &mut answers.kept,
            "gone" => &mut answers.gone,
            other => panic!("{other}"),
        };
        assert_eq!(of.insert(label, position), None, "{label:?} twice");
    }
}

async fn queue(path: &Path) -> Vec<Queued> {
    let everything = Page { count: usize::MAX, bytes: usize::MAX };
    open(path).fetch(&address(), Position::START, everything).await.unwrap()
}

fn assert_nothing_is_missing(queue: &[Queued], answers: &Answers) {
    let found: HashMap<_, _> = queue.iter().map(|it| (label(&it.message), it.position)).collect();
    assert_eq!(found.len(), queue.len(), "a message is there twice");
    for (label, position) in &answers.kept {
        if !goes(*label) {
            assert_eq!(found.get(label), Some(position), "{label:?} is missing or elsewhere");
        }
    }
    for label in answers.gone.keys() {
        assert_eq!(found.get(label), None, "{label:?} has come back");
    }
}

fn assert_in_order(queue: &[Queued]) {
    assert!(queue.is_sorted_by(|a, b| a.position < b.position));
    for sender in 0..SENDERS {
        let labels = queue.iter().map(|it| label(&it.message)).filter(|it| it.1 == sender);
        assert!(labels.is_sorted_by(|a, b| a < b), "sender {sender} is out of order");
    }
}

#[tokio::test]
async fn what_was_answered_before_a_kill_is_there_afterwards() {
    let seed = env::var("TOWLINE_SEED")
        .map_or_else(|_| SysRng.try_next_u64().unwrap(), |it| it.parse().unwrap());
    eprintln!("TOWLINE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("relay.db");
    let mut answers = Answers::default();
    for number in 0..ROUNDS {
        let life = Duration::from_micros(random.random_range(0..300_000));
        let before = answers.kept.len();
        round(&path, number, life, &mut answers);
        let queue = queue(&path).await;
        let added = answers.kept.len() - before;
        eprintln!("round {number}: {added} answered within {life:?}, {} queued", queue.len());
        assert_nothing_is_missing(&queue, &answers);
        assert_in_order(&queue);
        assert_eq!(check(&path).unwrap().faults, []);
    }
}
