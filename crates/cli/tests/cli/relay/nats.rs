//! A NATS server for relays that share a store.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A server of its own, on a directory of its own.
pub(super) struct Nats {
    child: Child,
    pub(super) url: String,
    _directory: TempDir,
}

impl Nats {
    /// `None` where there is no such program, unless it is demanded by `TOWLINE_REQUIRE_NATS`.
    pub(super) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a new directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let started = Command::new("nats-server")
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string()])
            .arg("--store_dir")
            .arg(directory.path())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var_os("TOWLINE_REQUIRE_NATS").is_none(), "nats-server: {error}");
                eprintln!("skipped: nats-server: {error}");
                return None;
            }
        };
        let mut log = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
        let is_ready = log.any(|line| line.is_ok_and(|line| line.contains("Server is ready")));
        assert!(is_ready, "nats-server has ended");
        // It goes on to write, and must not be stopped by a full pipe.
        std::thread::spawn(move || log.for_each(drop));
        Some(Self { child, url: format!("nats://127.0.0.1:{port}"), _directory: directory })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
