//! A case under way: the subject, the suite's addresses, and what went over the wire.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::{Mode, Stop, failed, skipped};
use crate::session::Session;
use crate::subject::{Framing, Role, Subject};
use crate::trace::Trace;
use crate::wire::{Message, StartSession};

/// What a case plays with.
#[derive(Debug)]
pub struct Script<'a> {
    /// Who is tested.
    pub subject: &'a Subject,
    started: Instant,
    trace: RefCell<Trace>,
    peers: Cell<u16>,
}

impl<'a> Script<'a> {
    /// A script that begins now.
    #[must_use]
    pub fn new(subject: &'a Subject) -> Self {
        Self {
            subject,
            started: Instant::now(),
            trace: RefCell::new(Trace::new(subject.wire, subject.framing)),
            peers: Cell::new(0),
        }
    }

    /// A peer of the subject, at an address of its own.
    ///
    /// # Errors
    /// [`Stop::Failed`] when there is no socket to be had.
    pub fn peer(&self) -> Result<Peer<'_>, Stop> {
        let any: SocketAddr = match self.subject.address {
            SocketAddr::V4(address) if address.ip().is_loopback() => {
                (Ipv4Addr::LOCALHOST, 0).into()
            }
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(address) if address.ip().is_loopback() => {
                (Ipv6Addr::LOCALHOST, 0).into()
            }
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let mut socket = UdpSocket::bind(any).map_err(own_fault)?;
        // In bare framing the address is all that names a session, and earlier ones may live on.
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        while !taken.insert(socket.local_addr().map_err(own_fault)?) {
            socket = UdpSocket::bind(any).map_err(own_fault)?;
        }
        Ok(self.peer_over(socket, self.subject.address))
    }

    /// Waits for an initiator to ask for a session that no case has met, and returns the peer that speaks to
    /// it, and what it asks for.
    ///
    /// # Errors
    /// [`Stop::Failed`] when none comes, or when what comes is malformed.
    pub fn arrival(&self) -> Result<(Peer<'_>, StartSession), Stop> {
        self.arrival_after(None)
    }

    /// The same after a session that `peer` has given up: until it asks for another, nothing that it says may
    /// be malformed.
    ///
    /// # Errors
    /// As [`arrival`](Self::arrival).
    pub fn next_arrival(&self, peer: &Peer<'_>) -> Result<(Peer<'_>, StartSession), Stop> {
        self.arrival_after(Some(peer.remote))
    }

    fn arrival_after(&self, known: Option<SocketAddr>) -> Result<(Peer<'_>, StartSession), Stop> {
        let Some(reception) = &self.subject.reception else {
            return failed("there is no socket for an initiator to come to");
        };
        // It may still wait for what a case before did not answer.
        let patience = self.subject.times.patience * 4;
        let deadline = Instant::now() + patience;
        let mut malformed = None;
        while let Some((datagram, from)) = receive(&reception.socket, deadline)? {
            self.note(0, false, &datagram);
            match self.read(&datagram) {
                Ok((Channel::Start, Message::StartSession(request)))
                    if reception.is_new(request.challenge) =>
                {
                    let socket = reception.socket.try_clone().map_err(own_fault)?;
                    return Ok((self.peer_over(socket, from), request));
                }
                // An earlier case's session goes on.
                Ok(_) => {}
                Err(why) if known == Some(from) => return Err(why),
                // Perhaps it was meant for whoever had the port before.
                Err(why) => malformed = Some(why),
            }
        }
        match malformed {
            Some(why) => Err(why),
            None => failed(format!("no initiator asks for a session within {patience:?}")),
        }
    }

    /// Somebody else who speaks to the initiator that `peer` speaks to.
    ///
    /// # Errors
    /// [`Stop::Failed`] when there is no socket to be had.
    pub fn stranger_to(&self, peer: &Peer<'_>) -> Result<Peer<'_>, Stop> {
        let Peer { socket, remote, .. } = self.peer()?;
        debug_assert_ne!(remote, peer.remote, "an initiator does not sit where it finds the suite");
        Ok(self.peer_over(socket, peer.remote))
    }

    fn peer_over(&self, socket: UdpSocket, remote: SocketAddr) -> Peer<'_> {
        let number = self.peers.get() + 1;
        self.peers.set(number);
        Peer { script: self, number, socket, remote, heard: RefCell::new(VecDeque::new()) }
    }

    /// Lets `time` pass, or skips the case when that is longer than cases may take.
    ///
    /// # Errors
    /// [`Stop::Skipped`].
    pub fn affords(&self, time: Duration) -> Result<(), Stop> {
        let longest = self.subject.times.longest;
        if time > longest {
            return skipped(format!("takes {time:?}, and cases may take {longest:?}"));
        }
        Ok(())
    }

    /// What went over the wire.
    #[must_use]
    pub fn into_trace(self) -> Trace {
        self.trace.into_inner()
    }
}

/// Addresses that cases have spoken from.
static TAKEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());

/// Which of the conversations at one address a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The handshake.
    Start,
    /// The session with this tag; 0 in bare framing.
    Session(u64),
}

/// One address that the suite speaks from.
#[derive(Debug)]
pub struct Peer<'a> {
    /// The case.
    pub script: &'a Script<'a>,
    number: u16,
    socket: UdpSocket,
    remote: SocketAddr,
    heard: RefCell<VecDeque<(Channel, Message)>>,
}

impl<'a> Peer<'a> {
    /// Where the subject's answers go.
    ///
    /// # Errors
    /// [`Stop::Failed`].
    pub fn address(&self) -> Result<SocketAddr, Stop> {
        self.socket.local_addr().map_err(own_fault)
    }

    /// Sends a message, well-formed or not.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the operating system does not take it.
    pub fn say(&self, channel: Channel, message: &[u8]) -> Result<(), Stop> {
        let tag = match channel {
            Channel::Start => 1_u64,
            Channel::Session(tag) => tag,
        };
        match self.script.subject.framing {
            Framing::Tagged => self.send(&[&tag.to_be_bytes(), message].concat()),
            Framing::Bare => self.send(message),
        }
    }

    /// Sends a datagram as it is.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the operating system does not take it.
    pub fn send(&self, datagram: &[u8]) -> Result<(), Stop> {
        self.script.note(self.number, true, datagram);
        match self.socket.send_to(datagram, self.remote) {
            // A subject that is gone is noticed where its answer is missed.
            Ok(_) => Ok(()),
            Err(error) if is_unreachable(&error) => Ok(()),
            Err(error) => Err(own_fault(error)),
        }
    }

    /// The next message on a channel; `None` when there is none until `deadline`.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the subject sends what no conforming sender would.
    pub fn hear(&self, channel: Channel, deadline: Instant) -> Result<Option<Message>, Stop> {
        loop {
            let at = self.heard.borrow().iter().position(|(heard, _)| *heard == channel);
            if let Some(at) = at {
                return Ok(self.heard.borrow_mut().remove(at).map(|(_, message)| message));
            }
            let Some((datagram, from)) = receive(&self.socket, deadline)? else { return Ok(None) };
            if from != self.remote {
                continue;
            }
            self.script.note(self.number, false, &datagram);
            let read = self.script.read(&datagram)?;
            self.heard.borrow_mut().push_back(read);
        }
    }

    /// The first message on a channel from which `pick` makes something, others being passed over.
    ///
    /// # Errors
    /// [`Stop::Failed`] when none comes within the subject's patience.
    pub fn expect<T>(
        &self,
        channel: Channel,
        what: &str,
        mut pick: impl FnMut(Message) -> Option<T>,
    ) -> Result<T, Stop> {
        let patience = self.script.subject.times.patience;
        let deadline = Instant::now() + patience;
        while let Some(message) = self.hear(channel, deadline)? {
            if let Some(found) = pick(message) {
                return Ok(found);
            }
        }
        failed(format!("no {what} within {patience:?}"))
    }

    /// Asks for a session, and returns the answer: a session id, or the reason for there being none. Each second
    /// without an answer the request is repeated, as initiators do.
    ///
    /// # Errors
    /// [`Stop::Failed`] when there is no answer.
    pub fn ask(&self, request: &StartSession) -> Result<Result<Vec<u8>, u8>, Stop> {
        let patience = self.script.subject.times.patience;
        let deadline = Instant::now() + patience;
        let message = self.encode(&Message::StartSession(request.clone()));
        while Instant::now() < deadline {
            self.say(Channel::Start, &message)?;
            let repetition = deadline.min(Instant::now() + Duration::from_secs(1));
            while let Some(message) = self.hear(Channel::Start, repetition)? {
                if let Some(answer) = answer_to(request.challenge, message) {
                    return Ok(answer);
                }
            }
        }
        failed(format!("no answer to the request within {patience:?}"))
    }

    /// The answer to the request with this challenge.
    ///
    /// # Errors
    /// [`Stop::Failed`] when there is none.
    pub fn answer(&self, wanted: u64) -> Result<Result<Vec<u8>, u8>, Stop> {
        self.expect(Channel::Start, "answer to the request", |message| answer_to(wanted, message))
    }

    /// A request for a session to the echo, with a challenge that no case has used.
    #[must_use]
    pub fn request(&self, mode: Mode) -> StartSession {
        let subject = self.script.subject;
        let (capabilities, target) = match mode {
            Mode::Reliable => (0x0e, &subject.reliable_target),
            Mode::Unreliable => (0x08, &subject.unreliable_target),
        };
        StartSession {
            challenge: challenge(),
            capabilities,
            additional_data: 0,
            target: target.clone(),
        }
    }

    /// A session with the subject: by a handshake with an exit, at once with a data-plane endpoint.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the subject does not grant it.
    pub fn open(&'a self, mode: Mode) -> Result<Session<'a>, Stop> {
        let subject = self.script.subject;
        if subject.role != Role::Exit {
            if let Some(attach) = &subject.attach {
                attach(self.address()?, mode);
            }
            return Ok(Session::new(self, Channel::Session(0), Vec::new(), mode));
        }
        let id = self.granted(&self.request(mode))?;
        self.enter(id, mode)
    }

    /// Asks for a session until it is granted: other cases may keep the subject busy for a while.
    ///
    /// # Errors
    /// [`Stop::Failed`] when it is not.
    pub fn granted(&self, request: &StartSession) -> Result<Vec<u8>, Stop> {
        match self.ask_patiently(request, |reason| matches!(reason, BUSY | NO_SLOTS))? {
            Ok(id) => Ok(id),
            Err(reason) => failed(format!("refused for the reason {reason}")),
        }
    }

    /// Asks for a session, and again when it is refused for a reason that is `worth_waiting`: what a
    /// responder does not admit it does not remember.
    ///
    /// # Errors
    /// [`Stop::Failed`] when there is no answer.
    pub fn ask_patiently(
        &self,
        request: &StartSession,
        worth_waiting: impl Fn(u8) -> bool,
    ) -> Result<Result<Vec<u8>, u8>, Stop> {
        let times = self.script.subject.times;
        // Half-open sessions of a flood are gone by then.
        let deadline = Instant::now() + times.patience + times.half_open * 3 / 2;
        loop {
            match self.ask(request)? {
                Err(reason) if worth_waiting(reason) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(100));
                }
                answer => return Ok(answer),
            }
        }
    }

    /// The session that an answer granted, confirmed by a keep-alive.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the session id is no tag in tagged framing.
    pub fn enter(&'a self, id: Vec<u8>, mode: Mode) -> Result<Session<'a>, Stop> {
        let session = Session::new(self, self.script.channel_of(&id)?, id, mode);
        session.keep_alive()?;
        Ok(session)
    }

    pub(crate) fn encode(&self, message: &Message) -> Vec<u8> {
        self.script.subject.wire.encode(message)
    }
}

/// What a message says to the request with this challenge, if it is the answer.
fn answer_to(wanted: u64, message: Message) -> Option<Result<Vec<u8>, u8>> {
    match message {
        Message::SessionEstablished { challenge, session_id } if challenge == wanted => {
            Some(Ok(session_id))
        }
        Message::SessionError { challenge, reason } if challenge == wanted => Some(Err(reason)),
        _ => None,
    }
}

/// The reason of a responder that has too much to do (`start#session-error`).
pub const BUSY: u8 = 2;
/// The reason of a responder all of whose slots are taken.
pub const NO_SLOTS: u8 = 1;

impl Script<'_> {
    /// The channel of the session with this id.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the session id is no tag in tagged framing.
    pub fn channel_of(&self, id: &[u8]) -> Result<Channel, Stop> {
        if self.subject.framing == Framing::Bare {
            return Ok(Channel::Session(0));
        }
        match crate::wire::as_number(id) {
            Some(tag @ 15..=0x1fff_ffff_ffff_ffff) => Ok(Channel::Session(tag)),
            _ => failed(format!("the session id {} is no tag of a session", hex::encode(id))),
        }
    }

    fn note(&self, peer: u16, sent: bool, datagram: &[u8]) {
        self.trace.borrow_mut().push(self.started.elapsed(), peer, sent, datagram);
    }

    /// The message in a datagram that the subject sent.
    fn read(&self, datagram: &[u8]) -> Result<(Channel, Message), Stop> {
        let wire = &self.subject.wire;
        let malformed = |why: String| {
            let bytes = hex::encode(&datagram[..datagram.len().min(64)]);
            Stop::Failed(format!("the subject sent a malformed datagram: {why}: {bytes}"))
        };
        let (channel, message) = match self.subject.framing {
            Framing::Tagged => {
                let (tag, message) = datagram
                    .split_first_chunk::<8>()
                    .ok_or_else(|| malformed("no tag".to_owned()))?;
                match u64::from_be_bytes(*tag) {
                    1 => (Channel::Start, message),
                    tag @ 15..=0x1fff_ffff_ffff_ffff => (Channel::Session(tag), message),
                    tag => return Err(malformed(format!("no tag to send with: {tag:#x}"))),
                }
            }
            Framing::Bare if datagram.first() == Some(&2) => (Channel::Start, datagram),
            Framing::Bare => (Channel::Session(0), datagram),
        };
        let message = wire.decode(message).map_err(malformed)?;
        let is_start = !matches!(
            message,
            Message::Segment(_) | Message::Request(_) | Message::Acknowledgement(_)
        );
        if is_start != (channel == Channel::Start) {
            return Err(malformed("a message of the other protocol".to_owned()));
        }
        Ok((channel, message))
    }
}

/// A number that no other case has taken for a challenge. Whether it can be guessed matters to none.
pub(crate) fn challenge() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// The next datagram and who sent it; `None` when there is none until `deadline`.
pub(crate) fn receive(
    socket: &UdpSocket,
    deadline: Instant,
) -> Result<Option<(Vec<u8>, SocketAddr)>, Stop> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of zero would mean none.
        let left = left.max(Duration::from_micros(1));
        socket.set_read_timeout(Some(left)).map_err(own_fault)?;
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                buffer.truncate(length);
                return Ok(Some((buffer, from)));
            }
            Err(error) if is_unreachable(&error) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => {}
                _ => return Err(own_fault(error)),
            },
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
    }
}

/// Nobody listens there, says the operating system of some earlier datagram.
fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it so")]
fn own_fault(error: io::Error) -> Stop {
    Stop::Failed(format!("the suite's socket failed: {error}"))
}
