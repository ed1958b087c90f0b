//! One end of a session with its application, held to the rules.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use towline_data::{Connection, ConnectionError, Event, Mode, SendError};
use towline_wire::data::{Codec, Message};
use towline_wire::{Tag, split_tag};

use crate::fault::Fault;
use crate::violation::Violation;

/// What a segment is charged beside its data, and how many a frame has at most.
const SEGMENT_CHARGE: usize = 64;
const MAX_SEGMENTS: usize = 64;

/// The most that received data may be charged, in bytes: what the buffer holds, and what becomes complete
/// while it is full. The frame that all others wait for is let in whatever the buffer holds, and moves on to
/// the reader, whom the next one follows, until he has half of the buffer to take.
pub(crate) fn memory_bound(codec: &Codec, receive_buffer: usize) -> usize {
    let frame = MAX_SEGMENTS * (codec.mtu().get() + SEGMENT_CHARGE);
    receive_buffer + receive_buffer / 2 + 2 * frame
}

/// Datagrams after which an end with that fault sends no more.
const SILENT_AFTER: u64 = 3;

/// Frames that may be unacknowledged (RFC-0007, 4.8.2), and the terminating one.
const WINDOW: u64 = 256;

/// Bytes of frames that may wait to be sent; without rate control they leave at once.
const SEND_BUFFER: usize = 4 << 20;

/// A connection, what its application sends, and what it has received.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    opened_at: Instant,
    tag: Option<Tag>,
    codec: Codec,
    reliable: bool,
    ordered: bool,
    /// The most bytes that received data may be charged.
    memory: usize,
    /// Datagrams that one poll may write.
    pub(crate) max_datagrams: usize,
    /// Frames that the application has yet to send.
    pub(crate) outbox: VecDeque<Bytes>,
    /// The application finishes when its outbox is empty.
    pub(crate) finish: bool,
    /// Whether the application takes frames.
    pub(crate) reading: bool,
    /// Whether bytes may change on the way, which nothing in the protocol detects.
    pub(crate) corrupting: bool,
    /// Frames that the connection took.
    pub(crate) sent: Vec<Bytes>,
    pub(crate) inbox: Inbox,
    pub(crate) closed: Option<Option<ConnectionError>>,
    pub(crate) drained: bool,
    just_closed: bool,
    pub(crate) fault: Option<Fault>,
    /// The fault has done what it does once.
    struck: bool,
    /// Datagrams sent.
    datagrams: u64,
}

/// What a peer is made with beside its connection.
pub(crate) struct Role {
    pub(crate) tag: Option<Tag>,
    pub(crate) ordered: bool,
    /// The configured bound on received data, in bytes.
    pub(crate) receive_buffer: usize,
    pub(crate) max_datagrams: usize,
}

/// The frames that arrived, without their data.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    arrived: HashSet<u32>,
    last: u32,
    pub(crate) count: usize,
}

impl Inbox {
    /// Notes a frame, if it may be delivered now.
    fn note(&mut self, id: u32, ordered: bool, reliable: bool) -> Result<(), Violation> {
        let after = self.last;
        if !self.arrived.insert(id) {
            return Err(Violation::Duplicate(id));
        }
        if ordered && id < after {
            return Err(Violation::Reordered { id, after });
        }
        if ordered && reliable && id > after + 1 {
            return Err(Violation::Hole { id, after });
        }
        self.last = id;
        self.count += 1;
        Ok(())
    }
}

impl Peer {
    pub(crate) fn new(now: Instant, connection: Connection, role: &Role) -> Self {
        let config = connection.config();
        let codec = config.codec();
        Self {
            opened_at: now,
            tag: role.tag,
            codec,
            reliable: config.mode() == Mode::Reliable,
            ordered: role.ordered,
            memory: memory_bound(&codec, role.receive_buffer),
            max_datagrams: role.max_datagrams,
            outbox: VecDeque::new(),
            finish: false,
            reading: true,
            corrupting: false,
            sent: Vec::new(),
            inbox: Inbox::default(),
            closed: None,
            drained: false,
            just_closed: false,
            fault: None,
            struck: false,
            datagrams: 0,
            connection,
        }
    }

    /// When to call the connection's `handle_timeout`.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.fault {
            Some(Fault::StuckDeadline) if !self.drained => Some(self.opened_at),
            _ => self.connection.poll_timeout(),
        }
    }

    pub(crate) fn frame_size(&self) -> usize {
        self.connection.config().frame_size()
    }

    /// The application's turn, then all that the connection wants to send and to tell. `sent` is what the
    /// other end has sent.
    pub(crate) fn drive(
        &mut self,
        now: Instant,
        sent: &[Bytes],
        transmit: &mut dyn FnMut(Bytes),
    ) -> Result<(), Violation> {
        loop {
            self.write(now);
            let read = self.read(sent)?;
            self.transmit(now, transmit)?;
            self.take_events()?;
            self.check_gauges()?;
            // Taking frames is an input like any other.
            if !read {
                return Ok(());
            }
        }
    }

    fn write(&mut self, now: Instant) {
        while let Some(frame) = self.outbox.front() {
            match self.connection.send_frame(now, frame.clone()) {
                Ok(_) => self.sent.extend(self.outbox.pop_front()),
                Err(SendError::Blocked) => break,
                Err(_) => self.outbox.clear(),
            }
        }
        if self.finish && self.outbox.is_empty() {
            match self.fault {
                Some(Fault::NeverFinish) => {}
                Some(Fault::FalseEnd) => self.connection.abort(now),
                _ => self.connection.finish(now),
            }
        }
    }

    fn read(&mut self, sent: &[Bytes]) -> Result<bool, Violation> {
        if !self.reading {
            return Ok(false);
        }
        let ready = std::iter::from_fn(|| self.connection.recv_frame());
        let mut frames: Vec<_> =
            ready.map(|frame| (frame.id().get(), frame.into_bytes())).collect();
        let any = !frames.is_empty();
        if let Some(fault) = self.fault.filter(|_| !self.struck) {
            self.struck = fault.strike(&mut frames);
        }
        for (id, data) in frames {
            self.inbox.note(id, self.ordered, self.reliable)?;
            match sent.get(id as usize - 1) {
                _ if self.corrupting => {}
                None => return Err(Violation::NeverSent(id)),
                Some(original) if *original != data => return Err(Violation::Damaged(id)),
                Some(_) => {}
            }
        }
        Ok(any)
    }

    fn transmit(&mut self, now: Instant, transmit: &mut dyn FnMut(Bytes)) -> Result<(), Violation> {
        let mut buf = Vec::new();
        for _ in 0..self.most_runs() {
            let Some(run) = self.connection.poll_transmit(now, self.max_datagrams, &mut buf) else {
                return Ok(());
            };
            let mut datagrams = Bytes::from(std::mem::take(&mut buf));
            while !datagrams.is_empty() {
                let mut datagram = datagrams.split_to(run.segment_size.min(datagrams.len()));
                self.datagrams += 1;
                match self.fault {
                    Some(Fault::FallSilent) if self.datagrams > SILENT_AFTER => continue,
                    Some(Fault::LongDatagrams) => {
                        datagram = [&datagram[..], &[0]].concat().into();
                    }
                    _ => {}
                }
                self.check_datagram(datagram.clone())?;
                transmit(datagram);
            }
        }
        Err(Violation::BusyLoop("a connection that never runs dry"))
    }

    /// How many runs may leave while the clock stands: a segment each, of all that may be queued.
    fn most_runs(&self) -> usize {
        256 * MAX_SEGMENTS + SEND_BUFFER / self.codec.max_segment_data()
    }

    fn check_datagram(&self, datagram: Bytes) -> Result<(), Violation> {
        let message = match self.tag {
            None => datagram,
            Some(_) => split_tag(datagram).map_err(Violation::Malformed)?.1,
        };
        let (len, limit) = (message.len(), self.codec.max_message_len());
        if len > limit {
            return Err(Violation::TooLong { len, limit });
        }
        match self.codec.decode(message) {
            Ok(Message::Segment(_)) => Ok(()),
            Ok(_) if self.reliable => Ok(()),
            Ok(_) => Err(Violation::Control),
            Err(error) => Err(Violation::Malformed(error)),
        }
    }

    fn take_events(&mut self) -> Result<(), Violation> {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Closed { error } => {
                    let error = error.filter(|_| self.fault != Some(Fault::FalseEnd));
                    if self.closed.replace(error).is_some() {
                        return Err(Violation::BusyLoop("a session that closes twice"));
                    }
                    self.just_closed = true;
                }
                Event::Drained => self.drained = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_gauges(&self) -> Result<(), Violation> {
        let stats = self.connection.stats();
        let bound = self.memory;
        let hoard = if self.fault == Some(Fault::Hoard) { bound } else { 0 };
        let charged = stats.receive_buffered + hoard;
        if charged > bound {
            return Err(Violation::Memory { charged, bound });
        }
        let unacknowledged = stats.frames_sent.saturating_sub(stats.frames_acknowledged);
        if self.reliable && unacknowledged > WINDOW {
            return Err(Violation::Window(unacknowledged));
        }
        Ok(())
    }

    /// Whether it closed since this was last asked.
    pub(crate) fn take_closed(&mut self) -> bool {
        std::mem::take(&mut self.just_closed)
    }

    /// Checks that nothing is left of a session that has ended.
    pub(crate) fn check_drained(&self) -> Result<(), Violation> {
        if !self.connection.is_drained() {
            return Err(Violation::Leftover("a connection that says it is drained and is not"));
        }
        if self.connection.poll_timeout().is_some() {
            return Err(Violation::Leftover("a deadline"));
        }
        if self.reading && self.connection.stats().receive_buffered > 0 {
            return Err(Violation::Leftover("received data"));
        }
        Ok(())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("sent", &self.sent.len())
            .field("unsent", &self.outbox.len())
            .field("received", &self.inbox.count)
            .field("reading", &self.reading)
            .field("finish", &self.finish)
            .field("closed", &self.closed)
            .field("drained", &self.drained)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
