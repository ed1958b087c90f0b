mod cluster;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::store::conformance::suite;

const PROGRAM: &str = "nats-server";

/// A NATS server of its own, on a directory of its own.
struct Server {
    child: Child,
    url: String,
    _directory: TempDir,
}

impl Server {
    /// `None` where there is no such program, unless it is demanded by `TOWLINE_REQUIRE_NATS`.
    #[allow(clippy::print_stderr, reason = "the test runner shows it")]
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = Command::new(PROGRAM)
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string()])
            .arg("--store_dir")
            .arg(directory.path())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var_os("TOWLINE_REQUIRE_NATS").is_none(), "{PROGRAM}: {error}");
                eprintln!("skipped: {PROGRAM}: {error}");
                return None;
            }
        };
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let is_ready = log.any(|line| line.unwrap().contains("Server is ready"));
        assert!(is_ready, "{PROGRAM} has ended");
        // It goes on to write, and must not be stopped by a full pipe.
        std::thread::spawn(move || log.for_each(drop));
        Some(Self { child, url: format!("nats://127.0.0.1:{port}"), _directory: directory })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new place, and how to open it.
fn place() -> Option<impl AsyncFn(Limits) -> Nats> {
    let server = Server::start()?;
    Some(async move |limits| {
        let config = Config::builder().limits(limits).build().unwrap();
        Nats::open(std::slice::from_ref(&server.url), &config).await.unwrap()
    })
}

suite!(place());

#[tokio::test]
async fn what_is_there_is_not_made_smaller() {
    let Some(server) = Server::start() else { return };
    let open = async |count| {
        let limits = Limits::builder().queue_count(count).build().unwrap();
        let config = Config::builder().limits(limits).build().unwrap();
        Nats::open(std::slice::from_ref(&server.url), &config).await
    };
    let to = Address::new(towline_wire::relay::UserId::new(&[7; 32]), 1);
    let store = open(3).await.unwrap();
    for _ in 0..3 {
        store.enqueue(&to, "kept".into(), Timestamp(1)).await.unwrap();
    }
    let refused = open(2).await.map(drop);
    assert!(matches!(refused, Err(OpenError::Lower { there: 3, wanted: 2, .. })), "{refused:?}");
    let queued = store.fetch(&to, Position::START, Page::default()).await.unwrap();
    assert_eq!(queued.len(), 3);
    // More there may be.
    let store = open(4).await.unwrap();
    store.enqueue(&to, "one more".into(), Timestamp(1)).await.unwrap();
    assert!(store.enqueue(&to, "too many".into(), Timestamp(1)).await.is_err());
}

#[tokio::test]
async fn a_message_that_somebody_else_has_acknowledged_is_no_failure() {
    let Some(open) = place() else { return };
    let (here, there) = (open(Limits::default()).await, open(Limits::default()).await);
    let to = Address::new(towline_wire::relay::UserId::new(&[7; 32]), 1);
    let first = here.enqueue(&to, "first".into(), Timestamp(1)).await.unwrap();
    let second = here.enqueue(&to, "second".into(), Timestamp(1)).await.unwrap();
    for store in [&here, &there] {
        store.queues.delete(first.0).await.unwrap();
        store.queues.delete(second.0).await.unwrap();
    }
}

#[tokio::test]
async fn relays_that_share_a_store_hear_of_each_others_messages() {
    let Some(open) = place() else { return };
    let (here, there) = (open(Limits::default()).await, open(Limits::default()).await);
    let to = Address::new(towline_wire::relay::UserId::new(&[7; 32]), 1);
    let mut news = there.subscribe(&to).await.unwrap();
    let position = here.enqueue(&to, "sealed".into(), Timestamp(5)).await.unwrap();
    let queued = Queued { position, since: Timestamp(5), message: "sealed".into() };
    assert_eq!(news.next().await, Some(crate::store::News::Pushed(queued.clone())));
    assert_eq!(there.fetch(&to, Position::START, Page::default()).await.unwrap(), [queued]);
    there.acknowledge(&to, position).await.unwrap();
    assert!(here.fetch(&to, Position::START, Page::default()).await.unwrap().is_empty());
}

#[test]
fn every_setting_is_checked() {
    let builder = Config::builder;
    assert!(builder().build().is_ok());
    assert_eq!(builder().prefix("a.b").build().unwrap_err(), ConfigError::Prefix("a.b".into()));
    assert!(builder().prefix("").build().is_err());
    assert!(builder().replicas(6).build().is_err());
    assert!(builder().timeout(Duration::ZERO).build().is_err());
}
