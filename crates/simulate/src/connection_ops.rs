//! One connection under any operations, against a model of both its directions.
//!
//! The models are written without a thought for memory or speed: [`receiver`] keeps every segment that was
//! ever fed and says which frames must come out, [`sender`] keeps every frame that was ever queued and says
//! which segments may go out.

mod message;
mod receiver;
mod sender;
mod settings;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_data::{Connection, ConnectionError, Event, SendError};
use towline_wire::data::{Codec, Message};
use towline_wire::{Tag, split_tag};

use self::receiver::ReceiverModel;
use self::sender::SenderModel;
use self::settings::Settings;
use crate::choice::{Choices, Choose};
use crate::payload::payload;
use crate::peer::memory_bound;

/// Operations of one input.
const MAX_OPERATIONS: usize = 1000;

/// Messages that may leave without time passing: a window of the longest frames, and what goes with it.
const MAX_STANDING: usize = 256 * 64 + 1000;

/// Timeouts until no deadline is due: one may set another that is due at once, such as no time to linger.
const STANDING_TIMEOUTS: usize = 3;

/// Own messages that may come back as a peer's.
const ECHOES: usize = 32;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Lets the bytes of `input` choose the settings of a connection and what happens to it.
///
/// # Panics
/// When the connection breaks a rule.
pub fn connection_ops(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut subject = Subject::new(Settings::chosen(&mut choices));
    for _ in 0..MAX_OPERATIONS {
        if choices.is_empty() {
            break;
        }
        subject.operate(&mut choices);
    }
    subject.poll(16);
    subject.take_all();
}

/// The connection, and all that is known about it from outside.
struct Subject {
    settings: Settings,
    codec: Codec,
    connection: Connection,
    now: Instant,
    sender: SenderModel,
    receiver: ReceiverModel,
    /// Messages that go out in one datagram with the next.
    glued: Vec<u8>,
    echoes: VecDeque<Bytes>,
    /// When a datagram that decodes last came in, or the application or its silence last did anything.
    heard_at: Instant,
    blocked: bool,
    aborted: bool,
    closed: Option<Option<ConnectionError>>,
    drained: bool,
    datagrams: u64,
    bytes: u64,
}

impl Subject {
    fn new(settings: Settings) -> Self {
        let now = crate::epoch();
        let config = Arc::new(settings.config.clone());
        let codec = config.codec();
        let connection = match settings.tag {
            Some(tag) => Connection::tagged(config, tag, now),
            None => Connection::new(config, now),
        };
        Self {
            codec,
            connection,
            now,
            sender: SenderModel::new(&settings),
            receiver: ReceiverModel::new(&settings),
            settings,
            glued: Vec::new(),
            echoes: VecDeque::new(),
            heard_at: now,
            blocked: false,
            aborted: false,
            closed: None,
            drained: false,
            datagrams: 0,
            bytes: 0,
        }
    }

    /// One operation, and what the law wants after it, unless the input forgoes that.
    fn operate(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        match what & 0x0f {
            0 | 1 => self.send_frame(choices),
            2 => drop(self.take_one()),
            3 => self.take_all(),
            4 => self.pass_time(choices),
            5 => self.reach_deadline(),
            6 => self.connection.handle_timeout(self.now),
            7 if choices.byte() == 0x7f => {
                self.aborted |= !self.connection.is_closed();
                self.connection.abort(self.now);
            }
            7 if choices.flag() => self.finish(),
            7 => {
                let datagram = message::raw(choices);
                self.feed(datagram);
            }
            8 | 9 => {
                let header = message::header(choices, self);
                let message = message::segment(choices, header, &self.codec);
                self.give(choices, &message);
            }
            10 | 11 => {
                let header = message::header(choices, self);
                for segment in message::whole_frame(choices, header, &self.codec) {
                    self.give(choices, &segment);
                }
            }
            12 => {
                let message = message::acknowledgement(choices, self);
                self.give(choices, &message);
            }
            13 => {
                let message = message::request(choices, self);
                self.give(choices, &message);
            }
            14 => self.echo(choices),
            _ => {
                let id = self.sender.next_unacknowledged();
                let message = message::acknowledgement_of(&self.codec, id..=self.sender.last());
                self.give(choices, &message);
            }
        }
        self.take_events();
        if what & 0x80 == 0 {
            self.poll(choices.one_of(&[16, 64, 1, 2]));
            self.check_timers();
        }
        self.check_gauges();
    }

    fn send_frame(&mut self, choices: &mut Choices<'_>) {
        let limit = self.settings.config.frame_size();
        let full = self.codec.max_segment_data();
        let len = match choices.byte() % 8 {
            0 => choices.number(0, 32),
            1 => limit,
            2 => limit + 1,
            3 => full.min(limit),
            4 => (full * choices.number(1, 9)).min(limit),
            5 => choices.number(0, limit),
            _ => choices.number(1, full.min(limit)),
        };
        let frame = payload(len, self.sender.last());
        let can_send = self.connection.can_send(len);
        let result = self.connection.send_frame(self.now, frame.clone());
        if let Some(Some(error)) = self.closed {
            assert_eq!(result, Err(SendError::Closed(error)));
        } else if self.sender.is_finishing() {
            assert_eq!(result, Err(SendError::Finished));
        } else if len > limit {
            assert_eq!(result, Err(SendError::TooLong { len, limit }));
        } else if self.sender.has_room(len) {
            let id =
                result.unwrap_or_else(|error| panic!("a frame that fits was not taken: {error}"));
            assert_eq!(id.get(), self.sender.last() + 1, "frame ids rise by one");
            assert!(can_send);
            self.sender.queue(frame);
        } else {
            assert_eq!((result, can_send), (Err(SendError::Blocked), false));
            self.blocked = true;
        }
    }

    fn finish(&mut self) {
        self.connection.finish(self.now);
        if self.closed.is_none() {
            self.sender.finish();
        }
    }

    fn take_one(&mut self) -> bool {
        let frame = self.connection.recv_frame();
        let taken = frame.is_some();
        self.receiver.check_taken(frame);
        taken
    }

    fn take_all(&mut self) {
        while self.take_one() {}
        let finished = self.receiver.is_finished();
        if self.closed.is_none() && self.receiver.is_exact() {
            assert_eq!(self.connection.is_end_of_stream(), finished);
        }
    }

    fn pass_time(&mut self, choices: &mut Choices<'_>) {
        let unit = choices.one_of(&[MS(1), Duration::from_micros(10), MS(20), MS(500), MS(60_000)]);
        self.now += unit * u32::from(choices.byte());
        if choices.flag() {
            self.connection.handle_timeout(self.now);
        }
    }

    fn reach_deadline(&mut self) {
        if let Some(at) = self.connection.poll_timeout() {
            self.now = self.now.max(at);
        }
        self.connection.handle_timeout(self.now);
    }

    fn echo(&mut self, choices: &mut Choices<'_>) {
        let at = usize::from(choices.byte());
        if let Some(datagram) = self.echoes.get(at % self.echoes.len().max(1)) {
            self.feed(datagram.clone());
        }
    }

    /// Sends the message to the connection, or keeps it for the datagram of the next one.
    fn give(&mut self, choices: &mut Choices<'_>, message: &Message) {
        let written = self.codec.encode(message, &mut self.glued);
        assert!(written.is_ok(), "{message:?} does not encode: {written:?}");
        if choices.byte() < 0xf0 {
            let datagram = Bytes::from(std::mem::take(&mut self.glued));
            self.feed(datagram);
        }
    }

    fn feed(&mut self, datagram: Bytes) {
        let messages = self.codec.messages(datagram.clone());
        let malformed = self.connection.stats().malformed;
        let result = self.connection.handle_datagram(self.now, datagram);
        if matches!(self.closed, Some(Some(_))) || self.drained {
            assert!(result.is_err(), "a session that is over took a datagram");
            return;
        }
        let Ok(messages) = messages else {
            assert_eq!(self.connection.stats().malformed, malformed + 1);
            return;
        };
        let mut count = 0;
        for message in messages.flatten() {
            self.heard_at = self.now;
            count += 1;
            match message {
                Message::Segment(segment) => self.receiver.feed(&segment),
                Message::Acknowledgement(message) => self.sender.acknowledge(message.frames()),
                Message::Request(_) => {}
            }
        }
        self.take_events();
        let limit = Some(Some(ConnectionError::RetransmissionLimit));
        if self.closed == limit && count > 1 {
            // Which of the messages ended the session is not known from outside.
            self.receiver.be_vague();
        }
        if self.receiver.is_aborted() {
            assert!(self.closed.is_some(), "a second end of the peer's direction went unnoticed");
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Readable => {}
                Event::Writable => {
                    assert!(std::mem::take(&mut self.blocked), "writable, but never blocked");
                }
                Event::PeerFinished => {
                    assert!(self.receiver.may_be_finished() || self.settings.literal);
                    if self.settings.closes_on_peer_finish && self.closed.is_none() {
                        self.sender.finish();
                    }
                }
                Event::Finished => assert!(self.sender.may_be_finished()),
                Event::Closed { error } => self.check_end(error),
                Event::Drained => {
                    assert!(!self.drained, "drained twice");
                    self.drained = true;
                    assert!(self.connection.is_drained());
                }
                Event::DialectMismatch { likely } => {
                    assert_ne!(likely, self.codec.dialect());
                }
                _ => {}
            }
        }
        assert_eq!(self.closed.is_some(), self.connection.is_closed());
    }

    fn check_end(&mut self, error: Option<ConnectionError>) {
        assert_eq!(self.closed, None, "closed twice");
        self.closed = Some(error);
        self.sender.close(error.is_some());
        self.receiver.close();
        let settings = &self.settings;
        let silence = self.now.saturating_duration_since(self.heard_at);
        match error {
            None if settings.literal => {}
            None => assert!(
                self.receiver.may_be_finished() && self.sender.is_complete(),
                "a good end before everything arrived"
            ),
            Some(ConnectionError::TimedOut) => assert!(silence >= settings.idle_timeout),
            Some(ConnectionError::NoProgress) => assert!(settings.progress_timeout.is_some()),
            Some(ConnectionError::RetransmissionLimit) => {
                assert!(settings.max_retransmissions.is_some());
            }
            Some(ConnectionError::Aborted) => assert!(self.aborted),
            Some(ConnectionError::PeerClosed) => {
                assert!(settings.reliable && self.receiver.heard_an_end());
            }
            Some(_) => {}
        }
    }

    /// Polls until dry and checks everything that comes out.
    fn poll(&mut self, max_datagrams: usize) {
        assert_eq!(self.connection.poll_transmit(self.now, 0, &mut Vec::new()), None);
        let mut left = MAX_STANDING;
        let mut buf = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(self.now, max_datagrams, &mut buf)
        {
            let run = Bytes::from(std::mem::take(&mut buf));
            assert!((1..=max_datagrams).contains(&transmit.datagrams));
            assert_eq!(run.len().div_ceil(transmit.segment_size), transmit.datagrams);
            left =
                left.checked_sub(transmit.datagrams).expect("it runs dry while the clock stands");
            for start in (0..run.len()).step_by(transmit.segment_size) {
                let end = run.len().min(start + transmit.segment_size);
                self.check_datagram(run.slice(start..end));
            }
        }
        self.receiver.note_dry();
        self.take_events();
        if self.drained {
            assert_eq!(self.connection.poll_timeout(), None, "a deadline after the end");
        }
    }

    fn check_datagram(&mut self, datagram: Bytes) {
        self.datagrams += 1;
        self.bytes += datagram.len() as u64;
        let message = match self.settings.tag {
            None => datagram,
            Some(tag) => match split_tag(datagram) {
                Ok((found, message)) if found == tag => message,
                other => panic!("not this session's tag: {other:?}"),
            },
        };
        assert!(message.len() <= self.codec.max_message_len(), "{} bytes", message.len());
        match self.codec.decode(message.clone()) {
            Ok(Message::Segment(segment)) => self.sender.check_segment(&segment, &self.receiver),
            Ok(_) if !self.settings.reliable => panic!("an unreliable end sends segments only"),
            Ok(Message::Acknowledgement(message)) => {
                assert!(message.frames().next().is_some(), "an acknowledgement of nothing");
                message.frames().for_each(|id| self.receiver.check_acknowledged(id.get()));
            }
            Ok(Message::Request(message)) => {
                assert!(message.entries().next().is_some(), "a request for nothing");
                message.entries().for_each(|entry| self.receiver.check_requested(entry));
            }
            Err(error) => panic!("what it sends does not decode: {error}"),
        }
        self.echoes.push_front(message);
        self.echoes.truncate(ECHOES);
    }

    /// After an input and polls until dry, no deadline that has passed is left for long.
    fn check_timers(&mut self) {
        for _ in 0..STANDING_TIMEOUTS {
            self.connection.handle_timeout(self.now);
            self.take_events();
            self.poll(16);
            if self.connection.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("a deadline that has passed is left: {:?}", self.connection);
    }

    fn check_gauges(&self) {
        let stats = self.connection.stats();
        let bound = memory_bound(&self.codec, self.settings.receive_buffer);
        assert!(stats.receive_buffered <= bound, "{} of {bound}", stats.receive_buffered);
        assert_eq!((stats.datagrams_sent, stats.bytes_sent), (self.datagrams, self.bytes));
        assert_eq!(stats.frames_sent, u64::from(self.sender.last()));
        assert_eq!(stats.frames_received, self.receiver.taken());
    }
}

/// The connection's tag, for one in four.
fn some_tag(choices: &mut Choices<'_>) -> Option<Tag> {
    choices.one_of(&[None, None, None, Some(Tag::FIRST_SESSION)])
}
