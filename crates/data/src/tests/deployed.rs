//! Sessions with simulated peers of the deployed implementation, which behave as the reference on the
//! `hoprnet` dialect describes and take offence at whatever theirs would not bear.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_netsim::{Link, LinkConfig, Loss};
use towline_wire::data::{Codec, FrameId, Message, MissingSegments, RequestEntry, SegmentHeader};
use towline_wire::{Dialect, Mtu};

use super::random::{for_each_seed, frames};
use crate::{Config, Connection, Event, Mode};

const MS: fn(u64) -> Duration = Duration::from_millis;
const MTU: usize = 1030;
/// One way.
const DELAY: Duration = Duration::from_millis(20);
/// When a deployed peer asks for what lacks of a frame, after its last segment.
const REQUESTS: [u64; 3] = [20, 55, 97];
const ACK_BATCH: Duration = Duration::from_millis(50);
const RESEND: Duration = Duration::from_millis(200);

/// A frame on its way to the peer.
#[derive(Default)]
struct Incoming {
    count: u8,
    segments: BTreeMap<u8, Bytes>,
    last_at: Option<Instant>,
    requests: usize,
    terminating: bool,
}

/// A frame on its way from the peer.
struct Outgoing {
    data: Bytes,
    sent_at: Instant,
    copies: u32,
    requested: bool,
}

struct Deployed {
    codec: Codec,
    reliable: bool,
    incoming: BTreeMap<u32, Incoming>,
    next: u32,
    inbox: Vec<Bytes>,
    acks: BTreeSet<u32>,
    acks_at: Option<Instant>,
    outbox: Vec<Bytes>,
    outgoing: BTreeMap<u32, Outgoing>,
    sent: u32,
    /// It has said goodbye: what it receives is delivered and no longer acknowledged.
    closed: bool,
    peer_closed: bool,
    out: Vec<Vec<u8>>,
}

impl Deployed {
    fn new(codec: Codec, reliable: bool) -> Self {
        Self {
            codec,
            reliable,
            incoming: BTreeMap::new(),
            next: 1,
            inbox: Vec::new(),
            acks: BTreeSet::new(),
            acks_at: None,
            outbox: Vec::new(),
            outgoing: BTreeMap::new(),
            sent: 0,
            closed: false,
            peer_closed: false,
            out: Vec::new(),
        }
    }

    fn receive(&mut self, now: Instant, message: Message) {
        match message {
            Message::Segment(segment) => {
                let (header, id) = (segment.header, segment.header.frame_id().get());
                if id < self.next {
                    return self.acknowledge(now, id);
                }
                let frame = self.incoming.entry(id).or_default();
                frame.count = header.count();
                frame.terminating = header.is_terminating();
                frame.segments.insert(header.index(), segment.data);
                frame.last_at = Some(now);
                if frame.segments.len() == usize::from(frame.count) {
                    self.acknowledge(now, id);
                }
                self.deliver();
            }
            Message::Acknowledgement(ack) => {
                for id in ack.frames() {
                    self.outgoing.remove(&id.get());
                }
            }
            Message::Request(request) => {
                for entry in request.entries() {
                    if let Some(frame) = self.outgoing.get_mut(&entry.frame_id.get()) {
                        frame.requested = true;
                        let data = frame.data.clone();
                        self.write(entry.frame_id, &data, |at| entry.missing.bits() & 1 << at != 0);
                    }
                }
            }
        }
    }

    fn acknowledge(&mut self, now: Instant, id: u32) {
        if self.reliable && !self.closed {
            self.acks.insert(id);
            self.acks_at.get_or_insert(now + ACK_BATCH);
        }
    }

    /// In strict order; an unreliable one has given up by the time that [`Self::turn`] says so.
    fn deliver(&mut self) {
        while let Some(frame) = self.incoming.get(&self.next) {
            if frame.segments.len() < usize::from(frame.count) {
                return;
            }
            if frame.terminating {
                self.peer_closed = true;
            } else {
                self.inbox.push(frame.segments.values().flat_map(|data| data.to_vec()).collect());
            }
            self.incoming.remove(&self.next);
            self.next += 1;
        }
    }

    fn turn(&mut self, now: Instant) {
        if self.acks_at.is_some_and(|at| at <= now) {
            self.acks_at = None;
            let ids: Vec<FrameId> = self.acks.iter().filter_map(|id| FrameId::new(*id)).collect();
            self.acks.clear();
            for ids in ids.chunks(self.codec.max_acknowledged_frames()) {
                let mut message = Vec::new();
                self.codec.encode_acknowledgement(ids.iter().copied(), &mut message).unwrap();
                self.out.push(message);
            }
        }
        let mut entries = Vec::new();
        for (id, frame) in &mut self.incoming {
            let missing = (0..8.min(frame.count)).filter(|at| !frame.segments.contains_key(at));
            let missing = missing.fold(0, |bits, at| bits | 1 << at);
            let due = REQUESTS.get(frame.requests).map(|ms| frame.last_at.unwrap() + MS(*ms));
            if self.reliable && missing != 0 && due.is_some_and(|at| at <= now) {
                frame.requests += 1;
                let missing = MissingSegments::from_bits(missing);
                entries.push(RequestEntry { frame_id: FrameId::new(*id).unwrap(), missing });
            }
        }
        // Up to 800 ms for each gap.
        while !self.reliable
            && let Some((&id, frame)) = self.incoming.first_key_value()
            && frame.last_at.is_some_and(|at| at + MS(800) <= now)
        {
            let whole = frame.segments.len() == usize::from(frame.count);
            self.next = id + u32::from(!whole);
            if !whole {
                self.incoming.remove(&id);
            }
            self.deliver();
        }
        for entries in entries.chunks(self.codec.max_request_entries()) {
            let mut message = Vec::new();
            self.codec.encode_request(entries.iter().copied(), &mut message).unwrap();
            self.out.push(message);
        }
        let again: Vec<u32> = self
            .outgoing
            .iter()
            .filter_map(|(id, frame)| {
                let due = !frame.requested && frame.copies < 4 && frame.sent_at + RESEND <= now;
                due.then_some(*id)
            })
            .collect();
        for id in again {
            let frame = self.outgoing.get_mut(&id).unwrap();
            (frame.sent_at, frame.copies) = (now, frame.copies + 1);
            let data = frame.data.clone();
            self.write(FrameId::new(id).unwrap(), &data, |_| true);
        }
        while self.outgoing.len() < 10 && !self.outbox.is_empty() {
            let data = self.outbox.remove(0);
            self.sent += 1;
            self.write(FrameId::new(self.sent).unwrap(), &data, |_| true);
            if self.reliable {
                let frame = Outgoing { data, sent_at: now, copies: 1, requested: false };
                self.outgoing.insert(self.sent, frame);
            }
        }
    }

    fn write(&mut self, id: FrameId, data: &[u8], which: impl Fn(u8) -> bool) {
        let size = self.codec.max_segment_data();
        let count = data.len().div_ceil(size) as u8;
        for (index, data) in (0..).zip(data.chunks(size)).filter(|(index, _)| which(*index)) {
            let header = SegmentHeader::new(id, index, count).unwrap();
            let mut message = Vec::new();
            self.codec.encode_segment(header, data, &mut message).unwrap();
            self.out.push(message);
        }
    }

    /// Says goodbye, once.
    fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            let mut message = Vec::new();
            let header = SegmentHeader::terminating(FrameId::new(self.sent + 1).unwrap());
            self.codec.encode_segment(header, &[], &mut message).unwrap();
            self.out.push(message);
        }
    }
}

/// What upsets a deployed peer, seen where our messages leave.
#[derive(Default)]
struct Watch {
    newest: u32,
    /// When each segment was last sent, and each frame whole for the first time.
    segments: HashMap<(u32, u8), Instant>,
    frames: HashMap<u32, Instant>,
    requested: HashMap<(u32, u8), Instant>,
    acknowledged: BTreeSet<u32>,
}

impl Watch {
    fn received(&mut self, now: Instant, message: &Message) {
        match message {
            Message::Acknowledgement(ack) => {
                self.acknowledged.extend(ack.frames().map(FrameId::get));
            }
            Message::Request(request) => {
                for entry in request.entries() {
                    let segments = entry.missing.iter().map(|at| (entry.frame_id.get(), at));
                    self.requested.extend(segments.map(|segment| (segment, now)));
                }
            }
            Message::Segment(_) => {}
        }
    }

    fn sent(&mut self, now: Instant, reliable: bool, codec: Codec, datagram: &Bytes) -> Message {
        assert!(datagram.len() <= MTU);
        let message = codec.decode(datagram.clone()).expect("one message of the dialect");
        match &message {
            Message::Segment(segment) => self.sent_segment(now, reliable, segment.header),
            Message::Request(request) => {
                assert!(reliable && datagram.len() == MTU, "padding");
                assert!(request.entries().count() > 0, "an empty request");
                assert!(
                    request.entries().all(|entry| !entry.missing.is_empty()),
                    "an empty bitmap"
                );
            }
            Message::Acknowledgement(ack) => {
                assert!(reliable && datagram.len() == MTU, "padding");
                assert!(ack.frames().count() > 0, "an empty acknowledgement");
            }
        }
        message
    }

    fn sent_segment(&mut self, now: Instant, reliable: bool, header: SegmentHeader) {
        let (id, index) = (header.frame_id().get(), header.index());
        assert!(header.count() <= if reliable { 8 } else { 63 });
        assert!(id <= self.newest + 1, "a hole before frame {id}");
        self.newest = self.newest.max(id);
        assert!(!self.acknowledged.contains(&id), "frame {id} was acknowledged");
        if header.is_terminating() {
            return;
        }
        let before = self.segments.insert((id, index), now);
        if index + 1 == header.count() {
            self.frames.entry(id).or_insert(now);
        }
        if let Some(before) = before {
            let apart = now - before;
            assert!(apart >= 2 * DELAY * 7 / 8, "segment {id}.{index} again after {apart:?}");
            if !self.requested.contains_key(&(id, index)) {
                let age = now - self.frames[&id];
                assert!(age >= MS(150), "frame {id} unasked after {age:?}");
            }
        }
    }
}

struct Session {
    now: Instant,
    ours: Connection,
    theirs: Deployed,
    watch: Watch,
    to_them: Link<Bytes>,
    to_us: Link<Bytes>,
    outbox: Vec<Bytes>,
    inbox: Vec<Bytes>,
    closed: Option<Option<crate::ConnectionError>>,
}

impl Session {
    fn new(mode: Mode, loss: f64, seed: u64) -> Self {
        let now = super::epoch();
        let config = Config::builder(Dialect::Hoprnet, Mtu::new(MTU).unwrap()).mode(mode);
        let config = Arc::new(config.build().unwrap());
        let link = LinkConfig::default().with_delay(DELAY).with_loss(Loss::Random(loss));
        Self {
            now,
            theirs: Deployed::new(config.codec(), mode == Mode::Reliable),
            ours: Connection::new(config, now),
            watch: Watch::default(),
            to_them: Link::new(link.clone(), seed).unwrap(),
            to_us: Link::new(link, seed + 1).unwrap(),
            outbox: Vec::new(),
            inbox: Vec::new(),
            closed: None,
        }
    }

    /// One millisecond.
    fn step(&mut self) {
        let (now, codec) = (self.now, self.theirs.codec);
        while let Some(frame) = self.outbox.first() {
            if self.ours.send_frame(now, frame.clone()).is_err() {
                break;
            }
            self.outbox.remove(0);
        }
        self.ours.handle_timeout(now);
        self.inbox
            .extend(std::iter::from_fn(|| self.ours.recv_frame()).map(crate::Frame::into_bytes));
        let mut buf = Vec::new();
        while self.ours.poll_transmit(now, 1, &mut buf).is_some() {
            let datagram = Bytes::from(std::mem::take(&mut buf));
            self.watch.sent(now, self.theirs.reliable, codec, &datagram);
            self.to_them.send(now, datagram);
        }
        while let Some(event) = self.ours.poll_event() {
            if let Event::Closed { error } = event {
                self.closed = Some(error);
            }
        }
        while let Some(datagram) = self.to_them.recv(now) {
            self.theirs.receive(now, codec.decode(datagram).unwrap());
        }
        self.theirs.turn(now);
        for message in self.theirs.out.drain(..) {
            self.to_us.send(now, message.into());
        }
        while let Some(datagram) = self.to_us.recv(now) {
            self.watch.received(now, &codec.decode(datagram.clone()).unwrap());
            let _ = self.ours.handle_datagram(now, datagram);
        }
        self.now += MS(1);
    }

    #[track_caller]
    fn run_until(&mut self, what: &str, limit: u64, done: impl Fn(&Self) -> bool) {
        for _ in 0..limit {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!(
            "{what}: we got {}, they got {}, we are {:?}\n{:#?}",
            self.inbox.len(),
            self.theirs.inbox.len(),
            self.closed,
            self.ours.stats()
        );
    }
}

const LOSSES: [f64; 4] = [0.0, 0.01, 0.05, 0.1];

//= docs/spec/data.md#requesting
//= type=test
//# nor send an entry without any bit set.
//= docs/spec/data.md#hoprnet-peers
//= type=test
//# In `hoprnet` a sender MUST wait at least 150 milliseconds before it sends a frame again without
//# being asked.
//= docs/spec/data.md#hoprnet-peers
//= type=test
//# In `hoprnet` an end that has finished, lacks no frame and waits for no acknowledgement of data
//# MUST close without an error when its peer stays silent.
#[test]
fn reliable_sessions_complete_both_ways_and_end_from_our_side() {
    for_each_seed(1200, |seed, _| {
        let mut session = Session::new(Mode::Reliable, LOSSES[seed as usize % 4], seed);
        let sent = frames(60, 7 * 1020 - 100);
        session.outbox = sent.clone();
        session.theirs.outbox = sent.clone();
        session.run_until("data", 60_000, |session| {
            session.inbox.len() == 60 && session.theirs.inbox.len() == 60
        });
        assert!(session.inbox == sent && session.theirs.inbox == sent);
        let now = session.now;
        session.ours.finish(now);
        session.run_until("our end", 30_000, |session| session.theirs.peer_closed);
        // Our end may be repeated in vain: it acknowledges and says goodbye once, and both may be lost.
        session.theirs.close();
        session.run_until("their end", 60_000, |session| session.closed.is_some());
        assert_eq!(session.closed, Some(None));
    });
}

#[test]
fn reliable_sessions_end_well_from_their_side() {
    for_each_seed(1200, |seed, _| {
        let mut session = Session::new(Mode::Reliable, LOSSES[seed as usize % 4], seed);
        let sent = frames(30, 3000);
        session.outbox = sent.clone();
        session.theirs.outbox = sent.clone();
        session.run_until("data", 60_000, |session| {
            session.inbox.len() == 30 && session.watch.acknowledged.len() == 30
        });
        session.theirs.close();
        session.run_until("their end", 3000, |session| {
            session.ours.is_end_of_stream() || session.theirs.out.is_empty()
        });
        // It is said once; when that was lost, our application closes in its own time.
        for _ in 0..500 {
            session.step();
        }
        let now = session.now;
        session.ours.finish(now);
        session.run_until("the end", 60_000, |session| session.closed.is_some());
        assert_eq!(session.closed, Some(None));
        assert!(session.inbox == sent && session.theirs.inbox == sent);
    });
}

//= docs/spec/data.md#hoprnet-peers
//= type=test
//# In `hoprnet` an end MUST end the session with an error when its peer has finished and stays
//# silent before it acknowledged all frames with data.
#[test]
fn a_peer_that_closes_before_it_acknowledged_everything_is_an_error() {
    let mut session = Session::new(Mode::Reliable, 0.0, 1);
    session.outbox = frames(200, 7000);
    for _ in 0..100 {
        session.step();
    }
    session.theirs.close();
    session.run_until("the end", 60_000, |session| session.closed.is_some());
    assert_eq!(session.closed, Some(Some(crate::ConnectionError::PeerClosed)));
}

#[test]
fn unreliable_sessions_carry_what_is_not_lost_and_end() {
    for_each_seed(24, |seed, _| {
        let mut session = Session::new(Mode::Unreliable, LOSSES[seed as usize % 4], seed);
        let sent = frames(40, 1500);
        session.outbox = sent.clone();
        session.theirs.outbox = sent.clone();
        for _ in 0..2000 {
            session.step();
        }
        let least = if seed % 4 == 0 { 40 } else { 20 };
        assert!(session.inbox.len() >= least, "{}", session.inbox.len());
        assert!(session.theirs.inbox.len() >= least, "{}", session.theirs.inbox.len());
        let now = session.now;
        if seed % 2 == 0 {
            session.ours.finish(now);
        } else {
            session.theirs.close();
        }
        for _ in 0..1000 {
            session.step();
        }
        let now = session.now;
        session.ours.finish(now);
        session.run_until("the end", 60_000, |session| session.closed.is_some());
        assert_eq!(session.closed, Some(None));
    });
}
