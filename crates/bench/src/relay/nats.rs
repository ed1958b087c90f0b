//! A NATS server as a child process.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Failure;

/// A server that ends with this.
pub(super) struct Nats {
    child: Child,
    url: String,
}

impl Nats {
    /// `None` where there is no `nats-server`.
    pub(super) fn start(directory: &Path) -> Result<Option<Self>, Failure> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let started = Command::new("nats-server")
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string()])
            .arg("--store_dir")
            .arg(directory)
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let log = child.stderr.take();
        let nats = Self { child, url: format!("nats://127.0.0.1:{port}") };
        let mut log = BufReader::new(log.ok_or("no standard error")?).lines();
        if !log.any(|line| line.is_ok_and(|line| line.contains("Server is ready"))) {
            return Err("nats-server has ended".into());
        }
        // A full pipe would stop it.
        std::thread::spawn(move || log.for_each(drop));
        Ok(Some(nats))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
