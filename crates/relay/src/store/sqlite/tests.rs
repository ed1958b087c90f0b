use std::fs;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rusqlite::Connection;
use tempfile::TempDir;
use towline_wire::relay::{Identity, number};

use super::*;
use crate::store::conformance::suite;

/// A new place, and how to open it.
fn place() -> impl AsyncFn(Limits) -> Sqlite {
    let directory = tempfile::tempdir().unwrap();
    async move |limits| {
        let config = Config::builder().limits(limits).build().unwrap();
        Sqlite::open(path(&directory), &config).unwrap()
    }
}

suite!(Some(place()));

fn path(directory: &TempDir) -> PathBuf {
    directory.path().join("relay.db")
}

fn open(directory: &TempDir) -> Sqlite {
    Sqlite::open(path(directory), &Config::builder().build().unwrap()).unwrap()
}

fn identity() -> Identity {
    Identity::try_from([1; 32]).unwrap()
}

fn address() -> Address {
    Address::new(identity(), Device::from(1))
}

async fn send(store: &Sqlite, message: &'static str) -> Result<Position, EnqueueError> {
    store.enqueue(&address(), message.into(), Timestamp(1)).await
}

async fn count(store: &Sqlite) -> usize {
    let page = Page { count: 1000, bytes: 1 << 20 };
    store.fetch(&address(), Position::START, page).await.unwrap().len()
}

/// Something of everything.
async fn fill(store: &Sqlite) {
    let owner = identity().into();
    store.assign_number(&owner, number::candidates(&identity())).await.unwrap();
    let one_time = vec!["1".into(), "2".into()];
    let registration = Registration { id: 0, signed: "signed".into(), one_time };
    store.register(&address(), registration).await.unwrap();
    send(store, "first").await.unwrap();
    let second = send(store, "second").await.unwrap();
    send(store, "third").await.unwrap();
    store.acknowledge(&address(), second).await.unwrap();
}

#[test]
fn every_setting_is_checked() {
    for (field, builder) in [
        ("readers", Config::builder().readers(0)),
        ("max_batch", Config::builder().max_batch(65_537)),
    ] {
        assert_eq!(builder.build().map(|_| ()).map_err(|error| error.field), Err(field));
    }
}

#[test]
fn commits_go_through_a_log_that_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let connection = schema::open(&path(&directory)).unwrap();
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    assert_eq!(pragma("synchronous"), Ok(2), "FULL");
    let mode: String = connection.pragma_query_value(None, "journal_mode", |it| it.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    let connection = Connection::open(path(&directory)).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let before = fs::read(path(&directory)).unwrap();
    let refused = Sqlite::open(path(&directory), &Config::builder().build().unwrap());
    assert!(matches!(refused, Err(OpenError::Newer { found: 2, known: 1 })), "{refused:?}");
    assert_eq!(fs::read(path(&directory)).unwrap(), before);
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(path(&directory)).unwrap();
    connection.execute_batch("CREATE TABLE photos (id INTEGER)").unwrap();
    drop(connection);
    let before = fs::read(path(&directory)).unwrap();
    let refused = Sqlite::open(path(&directory), &Config::builder().build().unwrap());
    assert!(matches!(refused, Err(OpenError::Foreign)), "{refused:?}");
    assert_eq!(fs::read(path(&directory)).unwrap(), before);
}

#[test]
fn what_happens_often_searches_an_index() {
    let directory = tempfile::tempdir().unwrap();
    let connection = schema::open(&path(&directory)).unwrap();
    let plan = |query: &str| {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let none = vec![None::<i64>; statement.parameter_count()];
        let lines = statement.query_map(rusqlite::params_from_iter(none), |row| row.get(3));
        lines.unwrap().collect::<Result<Vec<String>, _>>().unwrap().join("; ")
    };
    let fetch = plan(read::FETCH);
    assert!(fetch.contains("messages_of_queue (queue=? AND rowid>?)"), "{fetch}");
    let taken = plan(batch::TAKEN);
    for plan in [fetch, taken, plan(batch::ACKNOWLEDGE), plan(batch::OLDEST), plan(batch::TAKE)] {
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP"), "{plan}");
    }
}

/// Lets a future go as far as it can without anybody's help.
fn start<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) {
    assert!(matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
}

/// Keeps the writing thread busy until the sender is used or dropped.
fn hold(
    store: &Sqlite,
) -> (std::sync::mpsc::Sender<()>, impl Future<Output = Result<(), Failure>>) {
    let (release, wait) = std::sync::mpsc::channel();
    let held = store.writer.call(move |_| {
        let _ = wait.recv();
        Ok(())
    });
    (release, held)
}

#[tokio::test]
async fn operations_that_wait_share_a_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let (release, held) = hold(&store);
    let mut held = pin!(held);
    start(held.as_mut());
    let mut sent: Vec<_> = (0..50).map(|_| Box::pin(send(&store, "a"))).collect();
    sent.iter_mut().for_each(|it| start(it.as_mut()));
    // The writer has begun a transaction with the first operation alone, or with some more.
    assert_eq!(count(&store).await, 0);
    release.send(()).unwrap();
    held.await.unwrap();
    for sent in sent {
        sent.await.unwrap();
    }
    assert_eq!(count(&store).await, 50);
}

#[tokio::test]
async fn an_operation_that_fails_undoes_its_transaction_and_all_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let (release, held) = hold(&store);
    let mut held = pin!(held);
    start(held.as_mut());
    // Wait until the thread has taken this one alone, so that the next ones share a transaction.
    while store.writer.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    let mut sent = pin!(send(&store, "a"));
    start(sent.as_mut());
    let mut failing = pin!(store.writer.call(|_| Err::<(), _>(rusqlite::Error::InvalidQuery)));
    start(failing.as_mut());
    let mut after = pin!(send(&store, "b"));
    start(after.as_mut());
    release.send(()).unwrap();
    held.await.unwrap();
    assert!(matches!(failing.await, Err(Failure::Backend(_))));
    for sent in [sent.await, after.await] {
        assert!(matches!(sent, Err(EnqueueError::Failure(Failure::Backend(_)))), "{sent:?}");
    }
    assert_eq!(count(&store).await, 0);
    send(&store, "c").await.unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_panic_is_told_to_all_who_wait_and_to_all_after_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    send(&store, "safe").await.unwrap();
    {
        let (release, held) = hold(&store);
        let mut held = pin!(held);
        start(held.as_mut());
        let mut panicking = pin!(
            store.writer.call(|_| -> rusqlite::Result<()> { panic!("meant to, for the test") })
        );
        start(panicking.as_mut());
        let mut sent = pin!(send(&store, "lost"));
        start(sent.as_mut());
        release.send(()).unwrap();
        assert!(matches!(panicking.await, Err(Failure::Closed)));
        for sent in [sent.await, send(&store, "late").await] {
            assert!(matches!(sent, Err(EnqueueError::Failure(Failure::Closed))), "{sent:?}");
        }
    }
    assert_eq!(count(&store).await, 1, "what is on the disk can be read");
    drop(store);
    assert_eq!(count(&open(&directory)).await, 1);
}

#[tokio::test]
async fn a_full_disk_is_told_and_got_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    send(&store, "safe").await.unwrap();
    let limit = async |pages: i64| {
        store.writer.call(move |batch| batch.limit_pages(pages)).await.unwrap();
    };
    limit(1).await;
    let refused = store.enqueue(&address(), vec![0; 30_000].into(), Timestamp(1)).await;
    let full = EnqueueError::Failure(Failure::DiskFull);
    assert_eq!(refused.unwrap_err().to_string(), full.to_string());
    limit(1 << 30).await;
    assert_eq!(count(&store).await, 1);
    store.enqueue(&address(), vec![0; 30_000].into(), Timestamp(1)).await.unwrap();
    drop(store);
    assert_eq!(check(path(&directory)).unwrap().faults, []);
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    {
        let (_release, held) = hold(&store);
        start(pin!(held));
        start(pin!(send(&store, "a")));
    }
    drop(store);
    assert_eq!(count(&open(&directory)).await, 1);
}

#[tokio::test]
async fn two_stores_on_one_file_do_not_give_a_position_twice() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (open(&directory), open(&directory));
    let mut last = Position::START;
    for store in [&one, &other, &one, &other] {
        let position = send(store, "a").await.unwrap();
        assert!(position > last);
        last = position;
    }
    assert_eq!(count(&one).await, 4);
}

#[tokio::test]
async fn a_copy_is_made_while_messages_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&directory));
    fill(&store).await;
    let sender = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for _ in 0..200 {
                send(&store, "more").await.unwrap();
            }
        }
    });
    let copy = directory.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    sender.await.unwrap();
    let report = check(&copy).unwrap();
    assert_eq!(report.faults, []);
    assert_eq!((report.devices, report.prekeys, report.numbers), (1, 2, 1));
    assert!(report.messages >= 2);

    // What was given since the copy was made is not given by it.
    let last = send(&store, "last").await.unwrap();
    let copied = Sqlite::open(&copy, &Config::builder().build().unwrap()).unwrap();
    assert!(send(&copied, "goes on").await.unwrap() > last);
}

#[tokio::test]
async fn a_queue_without_messages_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let position = send(&store, "once").await.unwrap();
    store.acknowledge(&address(), position).await.unwrap();
    send(&store, "old").await.unwrap();
    assert_eq!(store.expire(Timestamp(u64::MAX)).await.unwrap(), 1);
    let queues = "SELECT count(*) FROM queues";
    let connection = schema::open_to_read(&path(&directory)).unwrap();
    assert_eq!(connection.query_row(queues, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[tokio::test]
async fn a_copy_does_not_replace_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let copy = directory.path().join("copy.db");
    fs::write(&copy, "precious").unwrap();
    assert!(matches!(store.backup(&copy).await, Err(BackupError::File(_))));
    assert_eq!(fs::read(&copy).unwrap(), b"precious");
}

#[tokio::test]
async fn a_sound_file_has_no_faults() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(&directory)).await;
    let sound =
        Report { devices: 1, prekeys: 2, numbers: 1, messages: 2, bytes: 10, faults: Vec::new() };
    assert_eq!(check(path(&directory)).unwrap(), sound);
}

#[tokio::test]
async fn every_rule_finds_its_fault() {
    for (fault, harm) in [
        (Fault::QueueTotals, "UPDATE queues SET bytes = bytes + 1"),
        (Fault::QueueTotals, "DELETE FROM messages WHERE position = 1"),
        (Fault::LostMessage, "DELETE FROM queues"),
        (Fault::UsedPosition, "UPDATE next SET position = 3"),
        (Fault::NoNextPosition, "DELETE FROM next"),
        (Fault::LostPreKey, "DELETE FROM devices"),
        (Fault::ForeignShortNumber, "UPDATE numbers SET short = '1'"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fill(&open(&directory)).await;
        Connection::open(path(&directory)).unwrap().execute_batch(harm).unwrap();
        let faults = check(path(&directory)).unwrap().faults;
        assert!(faults.iter().any(|(found, _)| *found == fault), "{harm}: {faults:?}");
    }
}

#[tokio::test]
async fn damage_to_the_file_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    for _ in 0..50 {
        store.enqueue(&address(), vec![7; 2000].into(), Timestamp(1)).await.unwrap();
    }
    drop(store);
    let mut bytes = fs::read(path(&directory)).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 64].fill(0xff);
    fs::write(path(&directory), bytes).unwrap();
    let damaged = match check(path(&directory)) {
        Ok(report) => report.faults.iter().any(|(it, _)| matches!(it, Fault::Damaged(_))),
        Err(error) => matches!(error, OpenError::Sqlite(_)),
    };
    assert!(damaged);
}

#[test]
fn a_file_that_is_not_there_cannot_be_checked() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(check(path(&directory)), Err(OpenError::Sqlite(_))));
    assert!(!path(&directory).exists());
}

#[tokio::test]
async fn a_full_queue_refuses_by_bytes() {
    let limits = Limits::builder().queue_bytes(40_000).build().unwrap();
    let (store, to) = (place()(limits).await, address());
    let send = |to, length| store.enqueue(to, vec![0; length].into(), Timestamp(1));
    let first = send(&to, 30_000).await.unwrap();
    let refused = send(&to, 10_001).await;
    assert!(matches!(refused, Err(EnqueueError::TooMuch(40_000))), "{refused:?}");
    send(&to, 10_000).await.unwrap();
    store.acknowledge(&to, first).await.unwrap();
    send(&to, 30_000).await.unwrap();
    let other = Address::new(identity(), Device::from(2));
    let alone = send(&other, 40_001).await;
    assert!(matches!(alone, Err(EnqueueError::TooMuch(40_000))), "{alone:?}");
}
