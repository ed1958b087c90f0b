//! Sessions that begin: what the handshake's machines say, and the sessions that come of it.

use std::io;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::mpsc as frame_queue;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use towline_data::{ConfigBuilder, Connection};
use towline_start::{
    IncomingId, InitiatorEvent, Liveness, LivenessAction, Request, RequestId, ResponderEvent,
    keep_alive, session_id, session_tag,
};
use towline_transport::{DatagramReceiver, DatagramSender};
use towline_wire::start::{Cbor, ErrorReason, KeepAlive, Message};
use towline_wire::{Mtu, Tag};

use super::slot::{QUEUED_FRAMES, Slot};
use super::{BARE, ConnectReply, Driver, Place, SessionKey};
use crate::builder::Framing;
use crate::endpoint::Incoming;
use crate::error::{AcceptError, ConnectError, EndpointClosed, SessionError};
use crate::session::{Handle, Shared};
use crate::{Session, SessionOptions};

impl<S, R> Driver<S, R>
where
    S: DatagramSender,
    R: DatagramReceiver<Address = S::Address>,
{
    pub(super) fn connect(
        &mut self,
        now: Instant,
        peer: S::Address,
        request: Request,
        reply: ConnectReply<S::Address>,
    ) {
        let options = SessionOptions::requested(&request);
        let result = match self.free_address(peer) {
            Ok(()) => self.initiator.connect(now, peer, request).map_err(ConnectError::from),
            Err(error) => Err(error),
        };
        match result {
            Ok(request) => {
                self.connecting.insert(request, (options, reply));
            }
            Err(error) => {
                // The caller may have given up meanwhile; so below.
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Cancels the requests whose callers no longer wait.
    pub(super) fn cancel_unwanted(&mut self) {
        let Self { connecting, initiator, .. } = self;
        connecting.retain(|&request, (_, reply)| {
            let wanted = !reply.is_closed();
            if !wanted {
                initiator.cancel(request);
            }
            wanted
        });
    }

    pub(super) fn attach(
        &mut self,
        now: Instant,
        peer: S::Address,
        options: SessionOptions,
    ) -> Result<Session<S::Address>, ConnectError> {
        if self.settings.framing != Framing::Bare {
            return Err(ConnectError::NotBare);
        }
        self.free_address(peer)?;
        let config = self.settings.data.clone();
        let (_, session) = self.open(now, peer, BARE, options, config)?;
        Ok(session)
    }

    pub(super) fn accept(
        &mut self,
        now: Instant,
        id: IncomingId,
        peer: S::Address,
        options: SessionOptions,
        mtu: Option<Mtu>,
    ) -> Result<Session<S::Address>, AcceptError> {
        //= docs/spec/framing.md#bare
        //# In bare framing a responder MUST refuse a request from a peer that it has a session
        //# with, with the reason "no slots available".
        if self.free_address(peer).is_err() {
            let _ = self.responder.refuse(now, id, ErrorReason::NO_SLOTS_AVAILABLE);
            return Err(AcceptError::TooLate);
        }
        let mut config = self.settings.data.clone();
        if let Some(mtu) = mtu {
            config = config.mtu(mtu);
            let prefix = if self.settings.framing == Framing::Tagged { Tag::LEN } else { 0 };
            let fits = mtu.get() + prefix <= self.outbox.max_datagram_size();
            if !fits || config.clone().mode(options.mode).build().is_err() {
                let _ = self.responder.refuse(now, id, ErrorReason::UNKNOWN);
                return Err(AcceptError::Mtu(mtu));
            }
        }
        let granted = self.responder.accept(now, id).map_err(|_| AcceptError::TooLate)?;
        let tag = match self.settings.framing {
            //= docs/spec/framing.md#session-tags
            //# A sender MUST put every message of the Data protocol under the tag whose number is
            //# the id of its session.
            Framing::Tagged => Some(granted),
            Framing::Bare => BARE,
        };
        let opened = self.open(now, peer, tag, options, config);
        let (place, session) = match opened {
            Ok(opened) => opened,
            Err(EndpointClosed) => {
                self.responder.release(granted);
                return Err(EndpointClosed.into());
            }
        };
        let slot = &mut self.sessions[place];
        slot.granted = Some(granted);
        slot.session_id = Some(session_id(granted));
        Ok(session)
    }

    pub(super) fn handle_start(&mut self, now: Instant, peer: S::Address, message: Bytes) {
        let message = match Message::decode(self.settings.dialect, message) {
            Ok(message) => message,
            Err(error) => {
                self.ignore(peer, &error);
                return;
            }
        };
        let result = match message {
            Message::StartSession(message) => {
                self.responder.handle_start_session(now, peer, message)
            }
            Message::SessionEstablished(answer) => {
                self.initiator.handle_established(now, peer, &answer)
            }
            Message::SessionError(answer) => self.initiator.handle_error(peer, &answer),
            Message::KeepAlive(message) => {
                self.handle_keep_alive(now, peer, &message);
                Ok(())
            }
        };
        if let Err(ignored) = result {
            self.ignore(peer, &ignored);
        }
        // The session's first data may be right behind, in the same batch.
        self.take_answers(now);
    }

    fn handle_keep_alive(&mut self, now: Instant, peer: S::Address, message: &KeepAlive) {
        let tag = match self.settings.framing {
            Framing::Tagged => session_tag(&message.session_id),
            Framing::Bare => BARE,
        };
        //= docs/spec/framing.md#demultiplexing
        //# A message from one peer MUST NOT change a session with another.
        let Some(&place) = self.by_address.get(&(peer, tag)) else {
            self.ignore(peer, &"no session's keep-alive");
            return;
        };
        let slot = &mut self.sessions[place];
        if slot.session_id.as_ref() != Some(&message.session_id) {
            self.ignore(peer, &"another session's keep-alive");
        } else if let Some(liveness) = &mut slot.liveness {
            liveness.heard(now);
        } else if let Some(tag) = slot.granted {
            // The session is ours, as was just looked up.
            let _ = self.responder.confirm(peer, tag);
        }
    }

    /// Events and messages of the handshake's machines.
    pub(super) fn serve_handshake(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> io::Result<bool> {
        let mut progress = self.take_answers(now);
        while let Some(event) = self.responder.poll_event() {
            progress = true;
            match event {
                ResponderEvent::Incoming(incoming) => self.offer(now, incoming),
                ResponderEvent::Confirmed { peer, tag } => {
                    if let Some(place) = self.granted_session(peer, tag) {
                        let liveness = Liveness::exit(&self.settings.start, now);
                        self.sessions[place].liveness = Some(liveness);
                        self.mark_ready(place);
                    }
                }
                ResponderEvent::Unconfirmed { peer, tag } => {
                    if let Some(place) = self.granted_session(peer, tag) {
                        self.sessions[place].end(now, SessionError::TimedOut);
                        self.mark_ready(place);
                    }
                }
                _ => {}
            }
        }
        loop {
            if self.outbox.is_blocked() {
                return Ok(progress);
            }
            let next = self
                .initiator
                .poll_transmit()
                .or_else(|| self.responder.poll_transmit())
                .or_else(|| self.keep_alives.pop());
            let Some((peer, message)) = next else { return Ok(progress) };
            self.send_start(cx, peer, &message)?;
            progress = true;
        }
    }

    /// What became of our own requests.
    fn take_answers(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(event) = self.initiator.poll_event() {
            progress = true;
            match event {
                InitiatorEvent::Established { request, peer, session_id, rtt } => {
                    self.established(now, request, peer, session_id, rtt);
                }
                InitiatorEvent::Failed { request, error, .. } => {
                    if let Some((_, reply)) = self.connecting.remove(&request) {
                        let _ = reply.send(Err(error.into()));
                    }
                }
                _ => {}
            }
        }
        progress
    }

    /// Sends what keeps a quiet session alive, and ends one whose peer is dead.
    pub(super) fn check_liveness(&mut self, now: Instant, place: Place) {
        let slot = &mut self.sessions[place];
        if slot.connection.is_closed() {
            return;
        }
        match slot.liveness.as_mut().and_then(|liveness| liveness.handle_timeout(now)) {
            Some(LivenessAction::SendKeepAlive) => {
                if let Some(session_id) = &slot.session_id {
                    self.keep_alives.push((slot.peer, keep_alive(session_id.clone())));
                }
            }
            Some(LivenessAction::Dead) => slot.end(now, SessionError::TimedOut),
            None => {}
        }
    }

    fn send_start(
        &mut self,
        cx: &mut Context<'_>,
        peer: S::Address,
        message: &Message,
    ) -> io::Result<()> {
        let Self { outbox, settings, .. } = self;
        outbox.send(cx, peer, |buffer| {
            let start = buffer.len();
            //= docs/spec/framing.md#tag-ranges
            //# A sender MUST put every message of the Start protocol under tag 1.
            if settings.framing == Framing::Tagged {
                //= docs/spec/framing.md#tagged
                //# A sender MUST write an 8-byte big-endian tag before the message in each
                //# datagram.
                buffer.extend_from_slice(&Tag::START.to_bytes());
            }
            message.encode(settings.dialect, buffer).ok()?;
            Some(buffer.len() - start)
        })?;
        Ok(())
    }

    fn established(
        &mut self,
        now: Instant,
        request: RequestId,
        peer: S::Address,
        id: Cbor,
        rtt: Option<Duration>,
    ) {
        let Some((options, reply)) = self.connecting.remove(&request) else {
            self.initiator.cancel(request);
            return;
        };
        let tag = match self.settings.framing {
            //= docs/spec/framing.md#session-tags
            //# A sender MUST put every message of the Data protocol under the tag whose number is
            //# the id of its session.
            //= docs/spec/framing.md#session-tags
            //# An initiator MUST give up a granted session whose id another of its sessions with
            //# the same peer has.
            Framing::Tagged => session_tag(&id).filter(|&tag| self.is_free(peer, Some(tag))),
            Framing::Bare => BARE,
        };
        //= docs/spec/framing.md#bare
        //# In bare framing an initiator MUST accept a session id that is any CBOR item.
        let usable = match self.settings.framing {
            Framing::Tagged => tag.is_some(),
            Framing::Bare => self.is_free(peer, BARE),
        };
        if !usable {
            self.initiator.cancel(request);
            let _ = reply.send(Err(ConnectError::UnusableSessionId(id)));
            return;
        }
        let mut config = self.settings.data.clone();
        if let Some(rtt) = rtt {
            config = config.initial_rtt(rtt.clamp(MIN_INITIAL_RTT, MAX_INITIAL_RTT));
        }
        let result = self.open(now, peer, tag, options, config).map(|(place, session)| {
            let slot = &mut self.sessions[place];
            slot.requested = Some(request);
            slot.session_id = Some(id);
            slot.liveness = Some(Liveness::entry(&self.settings.start, now));
            session
        });
        // A caller that gave up drops the session, which ends it.
        let _ = reply.send(result.map_err(ConnectError::from));
    }

    /// Offers an incoming session to the application.
    fn offer(&mut self, now: Instant, incoming: towline_start::Incoming<S::Address>) {
        let id = incoming.id;
        let refused = match (&self.listener, self.handle.upgrade()) {
            (Some(listener), Some(commands)) => match listener.try_reserve() {
                Ok(permit) => {
                    permit.send(Incoming::new(incoming, commands));
                    None
                }
                Err(TrySendError::Full(())) => Some(ErrorReason::BUSY),
                Err(TrySendError::Closed(())) => Some(ErrorReason::UNKNOWN),
            },
            //= docs/spec/start.md#decision
            //# A responder MUST refuse every request while no application listens.
            _ => Some(ErrorReason::UNKNOWN),
        };
        if let Some(reason) = refused {
            let _ = self.responder.refuse(now, id, reason);
        }
        // A listener may have been dropped just before it got this one. What then stays in the queue holds
        // a handle, which would keep this task alive.
        if self.listener.as_ref().is_some_and(Sender::is_closed) {
            self.listener = None;
        }
    }

    /// Opens a session's data plane and makes the application's end of it.
    fn open(
        &mut self,
        now: Instant,
        peer: S::Address,
        tag: Option<Tag>,
        options: SessionOptions,
        config: ConfigBuilder,
    ) -> Result<(Place, Session<S::Address>), EndpointClosed> {
        let commands = self.handle.upgrade().ok_or(EndpointClosed)?;
        let config = config.mode(options.mode).delivery(options.delivery);
        let config = Arc::new(config.build().expect("both modes were built when the endpoint was"));
        let frame_size = config.frame_size();
        let connection = match tag {
            Some(tag) => Connection::tagged(config, tag, now),
            None => Connection::new(config, now),
        };
        let shared = Arc::new(Shared::default());
        let (outgoing, from_application) = frame_queue::channel(QUEUED_FRAMES);
        let (to_application, frames) = frame_queue::channel(QUEUED_FRAMES);
        let number = self.next_number;
        self.next_number += 1;
        let slot = Slot::new(
            number,
            peer,
            tag,
            connection,
            shared.clone(),
            from_application,
            to_application,
        );
        let place = self.sessions.insert(slot);
        self.by_address.insert((peer, tag), place);
        // For its first deadline.
        self.mark_ready(place);
        let key = SessionKey { place, number };
        let handle = Handle { key, peer, options, frame_size, shared, commands };
        Ok((place, handle.session(frames, outgoing)))
    }

    fn granted_session(&self, peer: S::Address, tag: Tag) -> Option<Place> {
        let address = match self.settings.framing {
            Framing::Tagged => (peer, Some(tag)),
            Framing::Bare => (peer, BARE),
        };
        let place = *self.by_address.get(&address)?;
        (self.sessions[place].granted == Some(tag)).then_some(place)
    }

    fn is_free(&self, peer: S::Address, tag: Option<Tag>) -> bool {
        !self.by_address.contains_key(&(peer, tag))
    }

    /// In bare framing a peer's address is all that names its session.
    fn free_address(&self, peer: S::Address) -> Result<(), ConnectError> {
        match self.settings.framing {
            //= docs/spec/framing.md#bare
            //# In bare framing an endpoint MUST NOT have two sessions with the same peer address at
            //# a time.
            Framing::Bare if !self.is_free(peer, BARE) => Err(ConnectError::AddressInUse),
            _ => Ok(()),
        }
    }
}

/// Bounds of what a handshake's round trip says about the data plane's.
const MIN_INITIAL_RTT: Duration = Duration::from_millis(1);
const MAX_INITIAL_RTT: Duration = Duration::from_secs(10);
