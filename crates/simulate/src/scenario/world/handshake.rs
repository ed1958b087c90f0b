//! How sessions of a scenario begin, as an endpoint's task does it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_start::{
    Config, IncomingId, Initiator, InitiatorEvent, Liveness, Request, RequestError, Responder,
    ResponderEvent, Seed, keep_alive, session_id, session_tag,
};
use towline_wire::Tag;
use towline_wire::start::{Capabilities, Cbor, ErrorReason, Message};

use super::{Action, Broken, Corruption, Decision, ENTRY, EXIT, End, Plan, THE_EXIT, World};
use crate::choice::Seeded;
use crate::violation::Violation;
use crate::wire::Arrival;

/// Bounds of what a handshake's round trip says about the data plane's.
const MIN_INITIAL_RTT: Duration = Duration::from_millis(1);
const MAX_INITIAL_RTT: Duration = Duration::from_secs(10);

/// An entry that opens so long after the exit counts as one that does not read.
const LATE: Duration = Duration::from_secs(5);

const SEEDED: &str = "a config with a seed needs no other randomness";

/// The settings of the exit or of the entry of a path.
pub(super) fn config(seed: u64, plan: &Plan, path: Option<usize>) -> Config {
    let stream = path.map_or(0, |path| path as u64 + 1);
    let mut words = Seeded::new(seed.wrapping_add(stream.wrapping_mul(0x5851_f42d_4c95_7f2d)));
    let key = [(); 4].map(|()| words.word().to_le_bytes()).concat();
    let config = Config::builder(plan.codec.dialect(), plan.codec.mtu())
        .seed(Seed(key.try_into().expect("four words are 32 bytes")))
        .max_sessions(plan.max_sessions)
        .idle_timeout(plan.idle_timeout)
        .keep_alive_interval(plan.idle_timeout / 12)
        .build();
    config.unwrap_or_else(|error| panic!("settings within their ranges: {error}"))
}

pub(super) fn initiator(config: &Config) -> Initiator<usize> {
    Initiator::new(config).expect(SEEDED)
}

pub(super) fn responder(config: &Config) -> Responder<usize> {
    Responder::new(config).expect(SEEDED)
}

impl World<'_> {
    pub(super) fn connect(&mut self, at: usize) {
        let now = self.now;
        let meeting = &mut self.meetings[at];
        let path = meeting.plan.path;
        let target = Cbor::new(&(at as u64)).expect("a number has a CBOR form");
        let capabilities = capabilities(meeting.plan.terms.reliable);
        let request = Request { capabilities, additional_data: 0, target };
        let request = self.initiators[path].connect(now, THE_EXIT, request);
        let request = request.unwrap_or_else(|error| panic!("a request that fits: {error}"));
        meeting.request = Some(request);
        meeting.asking = crate::flow::Flow::new(now);
        self.by_request.insert((path, request), at);
        self.note(format_args!("session {at}: asked for on path {path}"));
    }

    pub(super) fn decide(&mut self, at: usize, id: IncomingId, accept: bool) -> Result<(), Broken> {
        let now = self.now;
        // With corrupted requests, there may be two that ask for the same.
        if !accept || self.meetings[at].tag.is_some() {
            // Too late when the decision timeout has passed, and that is fine; so below.
            let _ = self.responder.refuse(now, id, ErrorReason::UNKNOWN);
            return Ok(());
        }
        let Ok(tag) = self.responder.accept(now, id) else { return Ok(()) };
        self.note(format_args!("session {at}: granted as {tag}"));
        let meeting = &mut self.meetings[at];
        if self.by_tag.insert((meeting.plan.path, tag), at).is_some() {
            return Err((Some(at), Violation::Handshake("two sessions have one id")));
        }
        meeting.tag = Some(tag);
        (meeting.data, meeting.life) = (crate::flow::Flow::new(now), crate::flow::Flow::new(now));
        self.open(at, EXIT, tag, None);
        Ok(())
    }

    pub(super) fn arrive_start(
        &mut self,
        path: usize,
        side: usize,
        arrival: &Arrival,
        message: Bytes,
    ) -> Result<(), Broken> {
        let now = self.now;
        let Ok(message) = Message::decode(self.codec.dialect(), message) else {
            return self.corrupted();
        };
        if let Some(at) = self.asked(path, &message)
            && !arrival.is_copy
        {
            self.meetings[at].asking.arrived(now, side, arrival.sent_at);
        }
        // What the machines ignore came late or twice.
        match message {
            Message::StartSession(message) if side == EXIT => {
                let _ = self.responder.handle_start_session(now, path, message);
            }
            Message::SessionEstablished(message) if side == ENTRY => {
                let _ = self.initiators[path].handle_established(now, THE_EXIT, &message);
            }
            Message::SessionError(message) if side == ENTRY => {
                let _ = self.initiators[path].handle_error(THE_EXIT, &message);
            }
            Message::KeepAlive(message) => {
                let tag = session_tag(&message.session_id);
                let known = tag.and_then(|tag| Some((tag, *self.by_tag.get(&(path, tag))?)));
                let Some((tag, at)) = known else { return self.corrupted() };
                if !arrival.is_copy && self.meetings[at].ends[side].is_some() {
                    self.meetings[at].life.arrived(now, side, arrival.sent_at);
                }
                self.show_life(path, at, side, tag);
            }
            _ => return self.corrupted(),
        }
        // Data may follow at once.
        self.take_handshake_events()
    }

    /// A message of the session arrived: a keep-alive or data.
    pub(super) fn show_life(&mut self, path: usize, at: usize, side: usize, tag: Tag) {
        let end = self.meetings[at].ends[side].as_mut();
        let Some(end) = end.filter(|end| !end.over) else { return };
        if let Some(liveness) = &mut end.liveness {
            liveness.heard(self.now);
        } else if side == EXIT {
            let _ = self.responder.confirm(path, tag);
        }
    }

    pub(super) fn send_keep_alive(&mut self, at: usize, side: usize) {
        let meeting = &self.meetings[at];
        if let Some(tag) = meeting.tag {
            self.send_start(meeting.plan.path, side, &keep_alive(session_id(tag)));
        }
    }

    /// Frees what a session that is over holds at one side.
    pub(super) fn let_go(&mut self, at: usize, side: usize) {
        let meeting = &mut self.meetings[at];
        meeting.over_at = self.now;
        if side == ENTRY {
            if let Some(request) = meeting.request {
                self.initiators[meeting.plan.path].cancel(request);
            }
        } else if let Some(tag) = meeting.tag
            && self.fault != Some(crate::fault::Fault::KeepSlot)
        {
            self.responder.release(tag);
        }
    }

    /// Events and messages of the handshake's machines.
    pub(super) fn serve_handshake(&mut self) -> Result<(), Broken> {
        self.take_handshake_events()?;
        while let Some((path, message)) = self.responder.poll_transmit() {
            self.send_start(path, EXIT, &message);
        }
        for path in 0..self.initiators.len() {
            while let Some((_, message)) = self.initiators[path].poll_transmit() {
                self.send_start(path, ENTRY, &message);
            }
        }
        Ok(())
    }

    fn take_handshake_events(&mut self) -> Result<(), Broken> {
        while let Some(event) = self.responder.poll_event() {
            match event {
                ResponderEvent::Incoming(incoming) => {
                    let at =
                        incoming.request.target.to::<u64>().map_or(usize::MAX, |at| at as usize);
                    self.offer(at, incoming.peer, incoming.id, incoming.request.capabilities)?;
                }
                ResponderEvent::Confirmed { peer, tag } => {
                    if let Some(&at) = self.by_tag.get(&(peer, tag))
                        && let Some(end) = &mut self.meetings[at].ends[EXIT]
                    {
                        end.liveness = Some(Liveness::exit(&self.start, self.now));
                    }
                }
                ResponderEvent::Unconfirmed { peer, tag } => {
                    if let Some(&at) = self.by_tag.get(&(peer, tag)) {
                        self.desert(at, EXIT);
                    }
                }
                _ => {}
            }
        }
        for path in 0..self.initiators.len() {
            while let Some(event) = self.initiators[path].poll_event() {
                self.answered(path, event)?;
            }
        }
        Ok(())
    }

    /// Has the exit's application decide about a request.
    fn offer(
        &mut self,
        at: usize,
        path: usize,
        id: IncomingId,
        asked: Capabilities,
    ) -> Result<(), Broken> {
        let now = self.now;
        let as_planned = self.meetings.get(at).filter(|meeting| {
            let wanted = capabilities(meeting.plan.terms.reliable);
            let is_first = meeting.ends[EXIT].is_none() && meeting.tag.is_none();
            meeting.plan.path == path && asked == wanted && is_first
        });
        let Some(meeting) = as_planned else {
            let _ = self.responder.refuse(now, id, ErrorReason::UNKNOWN);
            return self.corrupted();
        };
        let (after, accept) = match meeting.plan.decision {
            Decision::Accept { after } => (after, true),
            Decision::Refuse { after } => (after, false),
            Decision::Never => return Ok(()),
        };
        self.schedule(now + after, Action::Decide { meeting: at, id, accept });
        Ok(())
    }

    fn answered(&mut self, path: usize, event: InitiatorEvent<usize>) -> Result<(), Broken> {
        match event {
            InitiatorEvent::Established { request, session_id, rtt, .. } => {
                let Some(&at) = self.by_request.get(&(path, request)) else { return Ok(()) };
                let tag = session_tag(&session_id);
                if tag.is_none() || tag != self.meetings[at].tag {
                    self.initiators[path].cancel(request);
                    self.meetings[at].failed = true;
                    return self.corrupted();
                }
                if let Some(tag) = tag {
                    self.open(at, ENTRY, tag, rtt);
                }
                Ok(())
            }
            InitiatorEvent::Failed { request, error, .. } => {
                let Some(&at) = self.by_request.get(&(path, request)) else { return Ok(()) };
                self.note(format_args!("session {at}: {error}"));
                self.meetings[at].failed = true;
                if self.explains(at, error) {
                    return Ok(());
                }
                Err((Some(at), Violation::UnexplainedRefusal(error)))
            }
            _ => Ok(()),
        }
    }

    /// Whether something in the scenario explains that a request failed.
    fn explains(&self, at: usize, error: RequestError) -> bool {
        let meeting = &self.meetings[at];
        let lossy = meeting.asking.silence(self.now, ENTRY).heard.explains(Duration::ZERO);
        let planned = !matches!(meeting.plan.decision, Decision::Accept { .. });
        let exit = meeting.ends[EXIT].as_ref();
        let exit_has_ended = exit.is_some_and(|end| end.peer.connection.is_closed());
        let full = RequestError::Refused(ErrorReason::NO_SLOTS_AVAILABLE);
        match error {
            _ if self.corruption == Corruption::Unnoticed => true,
            RequestError::TimedOut => lossy,
            error if error == full => self.meetings.len() > self.max_sessions,
            // The exit's end may be over before the entry hears that there is one.
            RequestError::Refused(_) => planned || exit_has_ended,
            _ => false,
        }
    }

    /// Which session's request a message is, or its answer.
    fn asked(&self, path: usize, message: &Message) -> Option<usize> {
        let challenge = match message {
            Message::StartSession(message) => message.challenge,
            Message::SessionEstablished(message) => message.challenge,
            Message::SessionError(message) => message.challenge,
            Message::KeepAlive(_) => return None,
        };
        self.by_challenge.get(&(path, challenge)).copied()
    }

    /// Opens one end of a session.
    fn open(&mut self, at: usize, side: usize, tag: Tag, rtt: Option<Duration>) {
        let now = self.now;
        let stream = (at as u64) << 1 | side as u64;
        let mut choices = Seeded::new(self.seed.rotate_left(32) ^ stream);
        let meeting = &mut self.meetings[at];
        let mut peer = meeting.plan.terms.peer(&mut choices, now, Some(tag), |builder| match rtt {
            Some(rtt) => builder.initial_rtt(rtt.clamp(MIN_INITIAL_RTT, MAX_INITIAL_RTT)),
            None => builder,
        });
        peer.fault = self.fault.filter(|_| side == EXIT);
        let liveness = (side == ENTRY).then(|| Liveness::entry(&self.start, now));
        // The exit has waited for the entry in vain, and may be about to say so.
        meeting.excuses.stuck |= side == ENTRY && now - meeting.opened_at >= LATE;
        meeting.ends[side] = Some(End { peer, liveness, dirty: true, over: false });
        meeting.opened_at = now;
        let acts = std::mem::take(&mut meeting.plan.acts[side]);
        let last = acts.iter().map(|(time, _)| now + *time).max();
        meeting.planned_until = meeting.planned_until.max(last.unwrap_or(now));
        for (time, act) in acts {
            self.schedule(now + time, Action::Act { meeting: at, at: side, act });
        }
        self.note(format_args!("session {at}: {} opens", ["the entry", "the exit"][side]));
    }

    fn send_start(&mut self, path: usize, side: usize, message: &Message) {
        let mut datagram = Tag::START.to_bytes().to_vec();
        let written = message.encode(self.codec.dialect(), &mut datagram);
        assert!(written.is_ok(), "{message:?} does not encode: {written:?}");
        let now: Instant = self.now;
        if let Message::StartSession(request) = message
            && let Ok(at) = request.target.to::<u64>()
        {
            self.by_challenge.insert((path, request.challenge), at as usize);
        }
        if let Some(at) = self.asked(path, message) {
            self.meetings[at].asking.sent(side);
        }
        if let Message::KeepAlive(message) = message
            && let Some(tag) = session_tag(&message.session_id)
            && let Some(&at) = self.by_tag.get(&(path, tag))
        {
            self.meetings[at].life.sent(side);
        }
        let datagram = Bytes::from(datagram);
        let way = format_args!("path {path} {}", [">", "<"][side]);
        self.trace.datagram(now - self.started, way, &self.codec, &datagram);
        self.paths[path].wires[side].send(now, datagram);
    }
}

fn capabilities(reliable: bool) -> Capabilities {
    if reliable { Capabilities::RELIABLE } else { Capabilities::UNRELIABLE }
}
