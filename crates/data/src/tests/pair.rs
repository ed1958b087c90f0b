//! Two ends of a session joined by emulated links.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_netsim::{Link, LinkConfig};
use towline_wire::Dialect;
use towline_wire::data::Message;

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
    pub(crate) mismatch: Option<Dialect>,
    pub(crate) max_message: usize,
    /// Datagrams that one poll may write.
    pub(crate) max_datagrams: usize,
    /// Decides which of the messages that this end sends are lost, given the time since the start.
    pub(crate) lose: Option<Lose>,
    /// What this end has sent, if it is to be kept.
    pub(crate) log: Option<Vec<(Duration, Message)>>,
    started: Instant,
}

pub(crate) type Lose = Box<dyn FnMut(Duration, &Message) -> bool>;

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) started: Instant,
    pub(crate) a: Peer,
    pub(crate) b: Peer,
    pub(crate) a_to_b: Link<Bytes>,
    pub(crate) b_to_a: Link<Bytes>,
    pub(crate) steps: u64,
    /// Steps since the clock last moved.
    standing: u32,
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
            mismatch: None,
            max_message: 0,
            max_datagrams: 16,
            lose: None,
            log: None,
            started: now,
        }
    }

    /// Queues frames for sending.
    pub(crate) fn queue(&mut self, frames: impl IntoIterator<Item = Bytes>) {
        self.outbox.extend(frames);
    }

    /// The frames that arrived, without their ids.
    pub(crate) fn received(&self) -> Vec<Bytes> {
        self.inbox.iter().map(|(_, frame)| frame.clone()).collect()
    }

    /// The messages of a kind in the log, with their times.
    pub(crate) fn sent<'a, T: 'a>(
        &'a self,
        pick: impl Fn(&'a Message) -> Option<T> + 'a,
    ) -> impl Iterator<Item = (Duration, T)> + 'a {
        let log = self.log.as_ref().expect("the log is kept");
        log.iter().filter_map(move |(at, message)| Some((*at, pick(message)?)))
    }

    fn read(&mut self) {
        if self.reading {
            while let Some(frame) = self.connection.recv_frame() {
                self.inbox.push((frame.id().get(), frame.into_bytes()));
            }
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
        self.read();
        let mut buf = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(now, self.max_datagrams, &mut buf)
        {
            let run = Bytes::from(std::mem::take(&mut buf));
            assert!((1..=self.max_datagrams).contains(&transmit.datagrams));
            assert_eq!(run.len().div_ceil(transmit.segment_size), transmit.datagrams);
            for start in (0..run.len()).step_by(transmit.segment_size) {
                let datagram = run.slice(start..run.len().min(start + transmit.segment_size));
                self.max_message = self.max_message.max(datagram.len());
                if !self.is_lost(now, &datagram) {
                    link.send(now, datagram);
                }
            }
        }
        let mut readable = false;
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::PeerFinished => self.peer_finished = true,
                Event::Finished => self.finished = true,
                Event::Closed { error } => self.closed = Some(error),
                Event::Drained => self.drained = true,
                Event::DialectMismatch { likely } => self.mismatch = Some(likely),
                Event::Readable => readable = true,
                Event::Writable => {}
            }
        }
        if readable && self.reading {
            // Taking frames is an input like any other.
            self.drive(now, link);
        }
    }
}

impl Peer {
    /// Notes what is sent and asks whether it is to be lost.
    fn is_lost(&mut self, now: Instant, datagram: &Bytes) -> bool {
        if self.lose.is_none() && self.log.is_none() {
            return false;
        }
        let message = self.connection.config().codec().decode(datagram.clone()).unwrap();
        let at = now - self.started;
        let lost = self.lose.as_mut().is_some_and(|lose| lose(at, &message));
        if let Some(log) = &mut self.log {
            log.push((at, message));
        }
        lost
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
            standing: 0,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.started
    }

    /// Lets everything happen that is to happen now, then jumps to the next deadline. Returns whether
    /// there was one.
    pub(crate) fn step(&mut self) -> bool {
        self.steps += 1;
        let Some(next) = self.next_deadline() else { return false };
        self.standing = if next > self.now { 0 } else { self.standing + 1 };
        assert!(self.standing < 100, "a deadline that never passes:\n{self:#?}");
        self.now = self.now.max(next);
        while let Some(datagram) = self.a_to_b.recv(self.now) {
            let _ = self.b.connection.handle_datagram(self.now, datagram);
            self.b.read();
        }
        while let Some(datagram) = self.b_to_a.recv(self.now) {
            let _ = self.a.connection.handle_datagram(self.now, datagram);
            self.a.read();
        }
        self.a.connection.handle_timeout(self.now);
        self.b.connection.handle_timeout(self.now);
        true
    }

    /// Runs until both ends have nothing left to do, and checks that nothing was left behind.
    #[track_caller]
    pub(crate) fn run_to_end(&mut self, limit: Duration) {
        self.run_until(limit, |pair| [&pair.a, &pair.b].iter().all(|peer| peer.drained));
        for peer in [&self.a, &self.b] {
            assert!(peer.connection.is_drained(), "{self:#?}");
            assert_eq!(peer.connection.poll_timeout(), None, "{self:#?}");
            assert_eq!(peer.connection.stats().receive_buffered, 0, "{self:#?}");
        }
    }

    /// Runs to the end, which has to be a good one on both sides.
    #[track_caller]
    pub(crate) fn run_to_good_end(&mut self, limit: Duration) {
        self.run_to_end(limit);
        assert_eq!((self.a.closed, self.b.closed), (Some(None), Some(None)), "{self:#?}");
        assert_eq!((self.a.mismatch, self.b.mismatch), (None, None));
        assert!(self.a.peer_finished && self.b.peer_finished, "{self:#?}");
    }

    /// Lets `time` pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next_deadline().is_some_and(|next| next <= end) && self.step() {}
        self.now = end;
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        self.a.drive(self.now, &mut self.a_to_b);
        self.b.drive(self.now, &mut self.b_to_a);
        [
            self.a.connection.poll_timeout(),
            self.b.connection.poll_timeout(),
            self.a_to_b.poll_timeout(),
            self.b_to_a.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Steps until `done`, at most for `limit` of virtual time.
    #[track_caller]
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            let more = self.step();
            assert!(more || done(self), "nothing left to happen:\n{self:#?}");
            assert!(self.now <= end, "not done after {limit:?}:\n{self:#?}");
            assert!(self.steps < 20_000_000, "busy loop:\n{self:#?}");
        }
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for link in [&self.a_to_b, &self.b_to_a] {
            writeln!(f, "{:?} {:?}", link.config(), link.stats())?;
        }
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
            for (at, message) in peer.log.iter().flatten().rev().take(12) {
                match message {
                    Message::Segment(segment) => writeln!(f, "{at:?} {:?}", segment.header)?,
                    other => writeln!(f, "{at:?} {other:?}")?,
                }
            }
        }
        Ok(())
    }
}
