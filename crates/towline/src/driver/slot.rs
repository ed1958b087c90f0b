//! One session in the task's table.

use std::io;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::channel::mpsc as frame_queue;
use towline_data::{Connection, Event, Frame, SendError};
use towline_start::{Liveness, RequestId};
use towline_transport::{Address, DatagramSender};
use towline_wire::Tag;
use towline_wire::start::Cbor;

use super::outbox::Outbox;
use crate::error::SessionError;
use crate::session::{Outgoing, Shared};

/// Frames that may wait in each direction between the application and the task.
pub(super) const QUEUED_FRAMES: usize = 32;

/// Batches that one session sends before the others get their turn.
const BATCHES: usize = 4;

/// How long a peer may go on sending after we finished and when nobody reads any more.
const UNREAD_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Slot<A: Address> {
    /// Tells it from others that have had its place; see [`SessionKey`](super::SessionKey).
    pub(super) number: u64,
    pub(super) peer: A,
    /// The tag on its datagrams, none in bare framing.
    pub(super) tag: Option<Tag>,
    /// We are the exit, and this is the session in our responder.
    pub(super) granted: Option<Tag>,
    /// We are the entry, and this is the request in our initiator.
    pub(super) requested: Option<RequestId>,
    /// For keep-alives; none for sessions without a handshake.
    pub(super) session_id: Option<Cbor>,
    pub(super) liveness: Option<Liveness>,
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    /// From the application; none once our direction is finished.
    outgoing: Option<frame_queue::Receiver<Outgoing>>,
    /// What was taken from the queue and does not fit the window yet.
    waiting: Option<Outgoing>,
    /// To the application; none once the peer's direction is over or nobody reads it.
    frames: Option<frame_queue::Sender<Frame>>,
    /// The frame that the application's queue had no room for.
    held: Option<Frame>,
    /// The application let go of the receiving direction.
    unread: bool,
    /// The peer has everything that we sent.
    finished: bool,
    /// When a peer that goes on sending what nobody reads is cut off.
    cut_off_at: Option<Instant>,
    pub(super) armed: Option<Instant>,
    /// It stands in the task's list of this name.
    pub(super) ready: bool,
    /// It stands in the task's queue of this name.
    pub(super) stalled: bool,
}

/// What a session's turn led to.
pub(super) struct Served {
    pub(super) progress: bool,
    /// Whether it has more to do at once, if there is room for what it sends.
    pub(super) more: bool,
}

impl<A: Address> Slot<A> {
    pub(super) fn new(
        number: u64,
        peer: A,
        tag: Option<Tag>,
        connection: Connection,
        shared: Arc<Shared>,
        outgoing: frame_queue::Receiver<Outgoing>,
        frames: frame_queue::Sender<Frame>,
    ) -> Self {
        Self {
            number,
            peer,
            tag,
            granted: None,
            requested: None,
            session_id: None,
            liveness: None,
            connection,
            shared,
            outgoing: Some(outgoing),
            waiting: None,
            frames: Some(frames),
            held: None,
            unread: false,
            finished: false,
            cut_off_at: None,
            armed: None,
            ready: false,
            stalled: false,
        }
    }

    /// Moves what can be moved: application to connection, connection to network and to application.
    pub(super) fn serve<S: DatagramSender<Address = A>>(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        outbox: &mut Outbox<S>,
    ) -> io::Result<Served> {
        if self.cut_off_at.is_some_and(|at| at <= now) {
            self.cut_off_at = None;
            self.end(now, SessionError::Aborted);
        }
        let crowded = self.take_outgoing(now);
        self.deliver();
        let sent = self.transmit(now, cx, outbox)?;
        // Making room can end a wait for what does not come: there may be frames again.
        let delivered = self.deliver();
        self.handle_events();
        self.check_end(now);
        // Sending alone may have made the room that was lacking, in unreliable mode.
        let crowded = crowded && self.has_room();
        let more = sent == BATCHES || crowded || delivered;
        Ok(Served { progress: sent > 0, more })
    }

    /// Ends the session, whether or not the application takes what has arrived.
    pub(super) fn close(&mut self, now: Instant) {
        self.end(now, SessionError::EndpointClosed);
        self.outgoing = None;
        self.waiting = None;
        self.frames = None;
        self.held = None;
    }

    /// Ends the session from outside its connection.
    pub(super) fn end(&mut self, now: Instant, error: SessionError) {
        self.shared.set_error(error);
        self.connection.abort(now);
    }

    /// Whether the slot can go.
    pub(super) fn is_over(&self) -> bool {
        self.connection.is_drained() && self.frames.is_none()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let liveness = self.liveness.as_ref().filter(|_| !self.connection.is_closed());
        self.connection
            .poll_timeout()
            .into_iter()
            .chain(liveness.map(Liveness::poll_timeout))
            .chain(self.cut_off_at)
            .min()
    }

    /// Whether anything may be left, for want of room.
    fn take_outgoing(&mut self, now: Instant) -> bool {
        let frame_size = self.connection.config().frame_size();
        while self.has_room() {
            match self.next_outgoing() {
                Next::Item(item) => {
                    let frame = match item {
                        Outgoing::Frame(frame) => frame,
                        Outgoing::Stream(data) => self.fill_frame(data, frame_size),
                    };
                    match self.connection.send_frame(now, frame) {
                        Ok(_) => {}
                        Err(SendError::Finished) => self.fail_outgoing(SessionError::Finished),
                        Err(error) => tracing::debug!(%error, "frame not taken"),
                    }
                }
                Next::Nothing => return false,
                Next::End => {
                    self.outgoing = None;
                    self.connection.finish(now);
                    return false;
                }
            }
        }
        self.outgoing.is_some()
    }

    fn has_room(&self) -> bool {
        self.connection.can_send(self.connection.config().frame_size())
    }

    fn fail_outgoing(&mut self, error: SessionError) {
        self.shared.set_error(error);
        self.outgoing = None;
        self.waiting = None;
    }

    fn next_outgoing(&mut self) -> Next {
        if let Some(item) = self.waiting.take() {
            return Next::Item(item);
        }
        match self.outgoing.as_mut().map(frame_queue::Receiver::try_recv) {
            Some(Ok(item)) => Next::Item(item),
            Some(Err(frame_queue::TryRecvError::Empty)) | None => Next::Nothing,
            Some(Err(frame_queue::TryRecvError::Closed)) => Next::End,
        }
    }

    /// Joins small writes that wait one behind the other; a large one goes as it is, without a copy.
    fn fill_frame(&mut self, first: Bytes, frame_size: usize) -> Bytes {
        if first.len() > frame_size / 2 {
            return first;
        }
        let mut joined: Option<BytesMut> = None;
        loop {
            let length = joined.as_ref().map_or(first.len(), BytesMut::len);
            match self.next_outgoing() {
                Next::Item(Outgoing::Stream(data)) if length + data.len() <= frame_size => {
                    let joined = joined.get_or_insert_with(|| {
                        // It grows as needed: what it could hold stays until it is acknowledged.
                        let mut joined = BytesMut::with_capacity(length + data.len());
                        joined.extend_from_slice(&first);
                        joined
                    });
                    joined.extend_from_slice(&data);
                }
                Next::Item(other) => {
                    self.waiting = Some(other);
                    break;
                }
                // An end is found again by whoever looks next.
                Next::Nothing | Next::End => break,
            }
        }
        joined.map_or(first, BytesMut::freeze)
    }

    /// Hands received frames to the application, as far as it has room. Returns whether any were taken from
    /// the connection.
    fn deliver(&mut self) -> bool {
        let mut taken = false;
        loop {
            let Some(frames) = &mut self.frames else {
                while self.connection.recv_frame().is_some() {
                    taken = true;
                }
                return taken;
            };
            if frames.is_closed() {
                self.frames = None;
                self.held = None;
                self.unread = true;
                continue;
            }
            let frame = match self.held.take() {
                Some(frame) => frame,
                None => {
                    let Some(frame) = self.connection.recv_frame() else { return taken };
                    taken = true;
                    frame
                }
            };
            let Err(error) = frames.try_send(frame) else { continue };
            self.shared.hold_frames();
            // The application may have made room just before it could see that it is waited for.
            if let Err(error) = frames.try_send(error.into_inner()) {
                self.held = Some(error.into_inner());
                if !frames.is_closed() {
                    return taken;
                }
            }
        }
    }

    fn transmit<S: DatagramSender<Address = A>>(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        outbox: &mut Outbox<S>,
    ) -> io::Result<usize> {
        let prefix = if self.tag.is_some() { Tag::LEN } else { 0 };
        let size = self.connection.config().codec().max_message_len() + prefix;
        for sent in 0..BATCHES {
            if outbox.is_blocked() {
                return Ok(sent);
            }
            let max = outbox.room(self.peer, size);
            let connection = &mut self.connection;
            let any = outbox.send(cx, self.peer, |buffer| {
                connection.poll_transmit(now, max, buffer).map(|transmit| transmit.segment_size)
            })?;
            if !any {
                return Ok(sent);
            }
            if let Some(liveness) = &mut self.liveness {
                liveness.sent(now);
            }
        }
        Ok(BATCHES)
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Finished => self.note_finished(),
                Event::Closed { error: Some(error) } => self.shared.set_error(error.into()),
                // A peer that has finished and gone need not have said that it knows of our end.
                Event::Closed { error: None } if !self.finished => self.note_finished(),
                Event::DialectMismatch { likely } => {
                    tracing::warn!(peer = %self.peer, %likely, "the peer seems to speak another dialect");
                }
                // What these call for is done on every turn.
                _ => {}
            }
        }
    }

    /// The peer has everything that the connection took. That need not be all: where our direction ends
    /// with the peer's, the application may have written more in the meantime.
    fn note_finished(&mut self) {
        self.finished = true;
        let mut unsent = self.waiting.take().is_some();
        if let Some(mut outgoing) = self.outgoing.take() {
            outgoing.close();
            unsent |= outgoing.try_recv().is_ok();
        }
        if unsent {
            self.shared.set_error(SessionError::PeerClosed);
        } else {
            self.shared.set_finished();
        }
    }

    /// Lets go of the application's queues when nothing more will come.
    fn check_end(&mut self, now: Instant) {
        let ended = self.connection.is_end_of_stream();
        if (ended || self.connection.is_closed()) && self.held.is_none() {
            if ended && self.frames.is_some() {
                self.shared.set_ended();
            }
            self.frames = None;
        }
        if self.connection.is_closed() {
            // The application's next write fails.
            self.outgoing = None;
            self.waiting = None;
            self.cut_off_at = None;
        } else if self.unread && self.finished {
            self.cut_off_at.get_or_insert(now + UNREAD_PATIENCE);
        }
    }
}

impl<A: Address> Drop for Slot<A> {
    /// However the task ends, the application's end does not wait in vain, nor takes it for a good end.
    fn drop(&mut self) {
        self.shared.set_last_stats(self.connection.stats());
        if !self.finished {
            self.shared.set_error(SessionError::EndpointClosed);
        }
    }
}

enum Next {
    Item(Outgoing),
    Nothing,
    End,
}
