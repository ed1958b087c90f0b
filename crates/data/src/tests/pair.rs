//! Two ends of a session joined by emulated links.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_netsim::{Link, LinkConfig};

use crate::{Config, Connection, ConnectionError, Event, SendError};

/// A sending application, a receiving one, and the connection between them.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    /// Frames that the application has yet to send.
    pub(crate) outbox: std::collections::VecDeque<Bytes>,
    /// Finish when the outbox is empty.
    pub(crate) finish: bool,
    pub(crate) inbox: Vec<(u32, Bytes)>,
    /// Whether the application takes frames.
    pub(crate) reading: bool,
    pub(crate) peer_finished: bool,
    pub(crate) finished: bool,
    pub(crate) closed: Option<Option<ConnectionError>>,
    pub(crate) drained: bool,
    pub(crate) max_message: usize,
}

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) started: Instant,
    pub(crate) a: Peer,
    pub(crate) b: Peer,
    pub(crate) a_to_b: Link<Bytes>,
    pub(crate) b_to_a: Link<Bytes>,
    pub(crate) steps: u64,
}

impl Peer {
    fn new(config: Arc<Config>, now: Instant) -> Self {
        Self {
            connection: Connection::new(config, now),
            outbox: std::collections::VecDeque::new(),
            finish: false,
            inbox: Vec::new(),
            reading: true,
            peer_finished: false,
            finished: false,
            closed: None,
            drained: false,
            max_message: 0,
        }
    }

    /// The application's turn, then everything that the connection wants to send.
    fn drive(&mut self, now: Instant, link: &mut Link<Bytes>) {
        while let Some(frame) = self.outbox.pop_front() {
            match self.connection.send_frame(now, frame.clone()) {
                Ok(_) => {}
                Err(SendError::Blocked) => {
                    self.outbox.push_front(frame);
                    break;
                }
                Err(_) => self.outbox.clear(),
            }
        }
        if self.finish && self.outbox.is_empty() {
            self.connection.finish(now);
        }
        if self.reading {
            while let Some(frame) = self.connection.recv_frame() {
                self.inbox.push((frame.id().get(), frame.into_bytes()));
            }
        }
        let mut buf = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(now, 16, &mut buf) {
            let run = Bytes::from(std::mem::take(&mut buf));
            assert_eq!(run.len().div_ceil(transmit.segment_size), transmit.datagrams);
            for start in (0..run.len()).step_by(transmit.segment_size) {
                let datagram = run.slice(start..run.len().min(start + transmit.segment_size));
                self.max_message = self.max_message.max(datagram.len());
                link.send(now, datagram);
            }
        }
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::PeerFinished => self.peer_finished = true,
                Event::Finished => self.finished = true,
                Event::Closed { error } => self.closed = Some(error),
                Event::Drained => self.drained = true,
                Event::DialectMismatch { likely } => panic!("dialect mismatch: {likely}"),
                Event::Readable | Event::Writable => {}
            }
        }
    }
}

impl Pair {
    pub(crate) fn new(config: &Arc<Config>, link: &LinkConfig, seed: u64) -> Self {
        Self::of([config, config], [link, link], seed)
    }

    pub(crate) fn of(configs: [&Arc<Config>; 2], links: [&LinkConfig; 2], seed: u64) -> Self {
        let now = super::epoch();
        let [a, b] = configs;
        let [forward, backward] = links;
        Self {
            now,
            started: now,
            a: Peer::new(a.clone(), now),
            b: Peer::new(b.clone(), now),
            a_to_b: Link::new(forward.clone(), seed).unwrap(),
            b_to_a: Link::new(backward.clone(), seed ^ 0x5eed).unwrap(),
            steps: 0,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.started
    }

    /// Lets everything happen that is to happen now, then jumps to the next deadline. Returns whether
    /// there was one.
    pub(crate) fn step(&mut self) -> bool {
        self.steps += 1;
        self.a.drive(self.now, &mut self.a_to_b);
        self.b.drive(self.now, &mut self.b_to_a);
        let next = [
            self.a.connection.poll_timeout(),
            self.b.connection.poll_timeout(),
            self.a_to_b.poll_timeout(),
            self.b_to_a.poll_timeout(),
        ];
        let Some(next) = next.into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        while let Some(datagram) = self.a_to_b.recv(self.now) {
            let _ = self.b.connection.handle_datagram(self.now, datagram);
        }
        while let Some(datagram) = self.b_to_a.recv(self.now) {
            let _ = self.a.connection.handle_datagram(self.now, datagram);
        }
        self.a.connection.handle_timeout(self.now);
        self.b.connection.handle_timeout(self.now);
        true
    }

    /// Steps until `done`, at most for `limit` of virtual time.
    #[track_caller]
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.step(), "nothing left to happen:\n{self:#?}");
            assert!(self.now <= end, "not done after {limit:?}:\n{self:#?}");
            assert!(self.steps < 20_000_000, "busy loop:\n{self:#?}");
        }
    }

    pub(crate) fn run_to_quiet(&mut self, limit: Duration) {
        let end = self.now + limit;
        while self.now <= end && self.step() {}
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, peer) in [("a", &self.a), ("b", &self.b)] {
            writeln!(
                f,
                "{name}: at {:?}, inbox {}, outbox {}, peer finished {}, finished {}, closed {:?}\n{:#?}",
                self.elapsed(),
                peer.inbox.len(),
                peer.outbox.len(),
                peer.peer_finished,
                peer.finished,
                peer.closed,
                peer.connection.stats()
            )?;
        }
        Ok(())
    }
}
