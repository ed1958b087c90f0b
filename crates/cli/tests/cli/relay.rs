//! The relay, and clients that speak the wire's own words.

mod by_hand;
mod client;
mod crash;
mod flow;
mod nats;
mod store;

use tempfile::TempDir;

use crate::support::Running;

/// All come from one address, and do in seconds what takes others a day.
const UNLIMITED: [&str; 8] = [
    "--connection-rate",
    "none",
    "--message-rate",
    "none",
    "--recipient-rate",
    "none",
    "--registration-rate",
    "none",
];

/// A relay that runs, on a directory of its own.
struct Relay {
    running: Running,
    address: String,
    directory: TempDir,
}

impl Relay {
    fn new() -> Self {
        Self::at(tempfile::tempdir().expect("a new directory"))
    }

    fn at(directory: TempDir) -> Self {
        Self::with(directory, &[])
    }

    fn with(directory: TempDir, more: &[&str]) -> Self {
        let data = directory.path().to_str().expect("a path in UTF-8");
        let serve = ["relay", "serve", "--listen", "127.0.0.1:0", "--data", data];
        let mut running = Running::serve(&[&serve[..], &UNLIMITED, more].concat());
        let address = running.address();
        Self { running, address, directory }
    }

    fn data(&self) -> &str {
        self.directory.path().to_str().expect("a path in UTF-8")
    }

    /// Ends it, and keeps what it has stored.
    fn end(self) -> TempDir {
        let Self { running, directory, .. } = self;
        running.terminate();
        assert!(running.output().status.success());
        directory
    }
}
