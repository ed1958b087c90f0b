//! The scenario under way: both machines on every node, and the network between them.

mod handshake;
mod meeting;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_netsim::LinkConfig;
use towline_start::{IncomingId, Initiator, LivenessAction, RequestId, Responder};
use towline_wire::data::Codec;
use towline_wire::start::Challenge;
use towline_wire::{Tag, split_tag};

use self::meeting::{ENTRY, EXIT, End, Meeting};
use super::plan::{Act, Change, Corruption, Decision, PathPlan, Plan};
use super::trace::Trace;
use super::{Failure, Report};
use crate::fault::Fault;
use crate::session::Outcome;
use crate::violation::Violation;
use crate::wire::{Arrival, Wire};

/// Steps that may follow each other while the clock stands: with no delay on the path, whole exchanges do.
const MAX_STANDING: u32 = 20_000;

/// A scenario is over within this time after the last thing that was planned.
const GENEROUS: Duration = Duration::from_secs(3600);

/// And a session on a path that is left alone, whose applications do not pause, within this.
const BUSY: Duration = Duration::from_secs(1200);

/// Frames and bytes that fit any unreliable reader's window and buffer at once.
const FITTING_FRAMES: usize = 100;
const FITTING_BYTES: usize = 16_000;

/// The exit, as entries see it; entries are seen as the number of their path.
const THE_EXIT: usize = usize::MAX;

pub(super) struct World<'a> {
    seed: u64,
    fault: Option<Fault>,
    trace: Trace<'a>,
    started: Instant,
    now: Instant,
    standing: u32,
    codec: Codec,
    corruption: Corruption,
    start: towline_start::Config,
    max_sessions: usize,
    paths: Vec<Path>,
    initiators: Vec<Initiator<usize>>,
    responder: Responder<usize>,
    meetings: Vec<Meeting>,
    /// Which session's a datagram is, by path and tag, once the exit has granted it.
    by_tag: HashMap<(usize, Tag), usize>,
    by_request: HashMap<(usize, RequestId), usize>,
    by_challenge: HashMap<(usize, Challenge), usize>,
    schedule: BTreeMap<(Instant, u64), Action>,
    scheduled: u64,
    /// When the last thing that was planned happens.
    planned_until: Instant,
    /// When a session was last over.
    over_at: Instant,
}

struct Path {
    /// To the exit, and back.
    wires: [Wire; 2],
    plan: PathPlan,
}

enum Action {
    Connect(usize),
    Decide { meeting: usize, id: IncomingId, accept: bool },
    Act { meeting: usize, at: usize, act: Act },
    Change { path: usize, change: Change },
}

impl<'a> World<'a> {
    pub(super) fn new(seed: u64, plan: Plan, fault: Option<Fault>, trace: Trace<'a>) -> Self {
        let now = crate::epoch();
        let start = handshake::config(seed, &plan, None);
        let checksums = plan.corruption == Corruption::Detected;
        let mut world = Self {
            seed,
            fault,
            trace,
            started: now,
            now,
            standing: 0,
            codec: plan.codec,
            corruption: plan.corruption,
            initiators: (0..plan.paths.len())
                .map(|at| handshake::initiator(&handshake::config(seed, &plan, Some(at))))
                .collect(),
            responder: handshake::responder(&start),
            start,
            max_sessions: plan.max_sessions,
            paths: Vec::new(),
            meetings: Vec::new(),
            by_tag: HashMap::new(),
            by_request: HashMap::new(),
            by_challenge: HashMap::new(),
            schedule: BTreeMap::new(),
            scheduled: 0,
            planned_until: now,
            over_at: now,
        };
        for (at, path) in plan.paths.into_iter().enumerate() {
            for (time, change) in path.changes.clone() {
                world.schedule(now + time, Action::Change { path: at, change });
            }
            let stream = seed ^ (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let wires = [0, 1].map(|way: usize| {
                Wire::new(path.links[way].clone(), checksums, stream.rotate_left(way as u32))
            });
            world.paths.push(Path { wires, plan: path });
        }
        for (at, session) in plan.sessions.into_iter().enumerate() {
            world.schedule(now + session.connect_at, Action::Connect(at));
            let path = &world.paths[session.path].plan;
            let stuck = path.narrow || path.dark || session.paused;
            world.meetings.push(Meeting::new(now, session, stuck));
        }
        world
    }

    /// Runs until nothing is left to happen, and checks what is left then.
    pub(super) fn run(mut self) -> Result<Report, Failure> {
        let result = self.run_dry();
        result.and_then(|()| self.verdict()).map_err(|(session, violation)| Failure {
            seed: self.seed,
            at: self.now - self.started,
            session,
            violation,
        })
    }

    fn run_dry(&mut self) -> Result<(), Broken> {
        self.drive()?;
        while let Some(next) = self.next_deadline() {
            self.standing = if next > self.now { 0 } else { self.standing + 1 };
            self.now = self.now.max(next);
            if self.standing > MAX_STANDING {
                return Err((None, Violation::BusyLoop("a deadline that never passes")));
            }
            if self.now > self.planned_until + GENEROUS {
                let open = self.meetings.iter().position(|meeting| !meeting.is_over());
                return Err((open, Violation::Stalled(self.now - self.planned_until)));
            }
            self.step()?;
            self.drive()?;
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let wires = self.paths.iter().flat_map(|path| &path.wires).filter_map(Wire::poll_timeout);
        let initiators = self.initiators.iter().filter_map(Initiator::poll_timeout);
        let ends = self.meetings.iter().flat_map(Meeting::open_ends).filter_map(End::poll_timeout);
        wires
            .chain(initiators)
            .chain(ends)
            .chain(self.responder.poll_timeout())
            .chain(self.schedule.keys().next().map(|(at, _)| *at))
            .min()
    }

    /// Everything that is due.
    fn step(&mut self) -> Result<(), Broken> {
        let now = self.now;
        while let Some(due) = self.schedule.first_entry().filter(|due| due.key().0 <= now) {
            let action = due.remove();
            self.perform(action)?;
        }
        for path in 0..self.paths.len() {
            for way in [0, 1] {
                while let Some(arrival) = self.paths[path].wires[way].recv(now) {
                    self.arrive(path, way, &arrival)?;
                }
            }
        }
        for initiator in &mut self.initiators {
            initiator.handle_timeout(now);
        }
        self.responder.handle_timeout(now);
        for at in 0..self.meetings.len() {
            for side in [ENTRY, EXIT] {
                self.run_timers(at, side);
            }
        }
        Ok(())
    }

    fn perform(&mut self, action: Action) -> Result<(), Broken> {
        match action {
            Action::Connect(meeting) => self.connect(meeting),
            Action::Decide { meeting, id, accept } => self.decide(meeting, id, accept)?,
            Action::Act { meeting, at, act } => self.act(meeting, at, act),
            Action::Change { path, change } => self.change(path, change),
        }
        Ok(())
    }

    fn change(&mut self, path: usize, change: Change) {
        self.note(format_args!("path {path}: {change:?}"));
        let wires = &mut self.paths[path].wires;
        match change {
            Change::Link(way, link) => {
                let mtu = wires[way].config().mtu;
                wires[way].set(LinkConfig { mtu, ..link });
            }
            Change::Mtu(mtu) => {
                for wire in wires {
                    // A tag stands before each message.
                    let mtu = mtu.map(|mtu| mtu + Tag::LEN);
                    wire.set(LinkConfig { mtu, ..wire.config().clone() });
                }
            }
            Change::Dark(dark) => wires.iter_mut().for_each(|wire| wire.darken(dark)),
        }
    }

    fn act(&mut self, at: usize, side: usize, act: Act) {
        let (now, meeting) = (self.now, &mut self.meetings[at]);
        let Some(end) = &mut meeting.ends[side] else { return };
        end.dirty = true;
        let name = ["entry", "exit"][side];
        let note = match &act {
            Act::Write(frames) => format!("writes {} frames", frames.len()),
            other => format!("{other:?}"),
        };
        self.trace.line(now - self.started, format_args!("session {at}, {name}: {note}"));
        match act {
            Act::Write(frames) => end.peer.outbox.extend(frames),
            Act::Finish => end.peer.finish = true,
            Act::Read(reading) => end.peer.reading = reading,
            Act::Abort => {
                meeting.excuses.aborted[side] |= !end.peer.connection.is_closed();
                end.peer.connection.abort(now);
            }
        }
    }

    fn arrive(&mut self, path: usize, way: usize, arrival: &Arrival) -> Result<(), Broken> {
        // What goes to the exit is heard by it.
        let side = 1 - way;
        self.trace.datagram(
            self.now - self.started,
            format_args!("path {path} {} arrives:", [">", "<"][way]),
            &self.codec,
            &arrival.datagram,
        );
        let Ok((tag, message)) = split_tag(arrival.datagram.clone()) else {
            return self.corrupted();
        };
        if tag == Tag::START {
            return self.arrive_start(path, side, arrival, message);
        }
        let Some(&at) = self.by_tag.get(&(path, tag)) else { return self.corrupted() };
        let (now, meeting) = (self.now, &mut self.meetings[at]);
        // What comes before the end has opened is lost on it.
        if !arrival.is_copy && meeting.ends[side].is_some() {
            meeting.data.arrived(now, side, arrival.sent_at);
            meeting.life.arrived(now, side, arrival.sent_at);
        }
        let Some(end) = meeting.ends[side].as_mut().filter(|end| !end.over) else { return Ok(()) };
        end.dirty = true;
        if end.peer.connection.handle_datagram(now, message).is_ok() {
            self.show_life(path, at, side, tag);
        }
        Ok(())
    }

    /// Bytes arrived that nobody sent.
    fn corrupted(&self) -> Result<(), Broken> {
        if self.corruption == Corruption::Unnoticed {
            return Ok(());
        }
        Err((None, Violation::Handshake("a datagram of nobody's session arrived")))
    }

    fn run_timers(&mut self, at: usize, side: usize) {
        let now = self.now;
        let meeting = &mut self.meetings[at];
        let Some(end) = meeting.ends[side].as_mut().filter(|end| !end.over) else { return };
        if end.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        end.dirty = true;
        end.peer.connection.handle_timeout(now);
        let liveness = end.liveness.as_mut().filter(|_| !end.peer.connection.is_closed());
        match liveness.and_then(|liveness| liveness.handle_timeout(now)) {
            Some(LivenessAction::SendKeepAlive) => self.send_keep_alive(at, side),
            Some(LivenessAction::Dead) => self.desert(at, side),
            None => {}
        }
    }

    /// Ends a session whose peer is dead, as far as anybody can tell.
    fn desert(&mut self, at: usize, side: usize) {
        let (now, meeting) = (self.now, &mut self.meetings[at]);
        self.trace.line(now - self.started, format_args!("session {at}: a peer is given up"));
        if let Some(end) = &mut meeting.ends[side] {
            meeting.excuses.deserted[side] |= !end.peer.connection.is_closed();
            end.peer.connection.abort(now);
            end.dirty = true;
        }
    }

    /// All that the machines have to say, until nobody has anything.
    fn drive(&mut self) -> Result<(), Broken> {
        self.serve_handshake()?;
        for at in 0..self.meetings.len() {
            for side in [ENTRY, EXIT] {
                self.drive_end(at, side).map_err(|violation| (Some(at), violation))?;
            }
        }
        Ok(())
    }

    fn drive_end(&mut self, at: usize, side: usize) -> Result<(), Violation> {
        let now = self.now;
        let Meeting { ends, plan, data, life, excuses, .. } = &mut self.meetings[at];
        let [entry, exit] = ends;
        let (here, there) = if side == ENTRY { (entry, exit) } else { (exit, entry) };
        let Some(end) = here.as_mut().filter(|end| end.dirty) else { return Ok(()) };
        end.dirty = false;
        let sent: &[Bytes] = there.as_ref().map_or(&[], |there| &there.peer.sent);
        let (wire, trace) = (&mut self.paths[plan.path].wires[side], &mut self.trace);
        let (elapsed, codec) = (now - self.started, self.codec);
        let mut any = false;
        end.peer.drive(now, sent, &mut |datagram| {
            any = true;
            data.sent(side);
            life.sent(side);
            let way = [">", "<"][side];
            trace.datagram(elapsed, format_args!("path {} {way}", plan.path), &codec, &datagram);
            wire.send(now, datagram);
        })?;
        if let Some(liveness) = end.liveness.as_mut().filter(|_| any) {
            liveness.sent(now);
        }
        if end.peer.take_closed() {
            let flow = if excuses.deserted[side] { &life } else { &data };
            excuses.silence[side] = flow.silence(now, side);
            excuses.closed_at[side] = Some(now);
            let closed = end.peer.closed;
            trace.line(
                elapsed,
                format_args!("session {at}, {}: {closed:?}", ["entry", "exit"][side]),
            );
        }
        if end.peer.drained && end.peer.reading && !end.over {
            end.over = true;
            end.peer.check_drained()?;
            trace.line(elapsed, format_args!("session {at}, {}: over", ["entry", "exit"][side]));
            self.over_at = now;
            self.let_go(at, side);
        }
        Ok(())
    }

    /// What is to be true when nothing is left to happen.
    fn verdict(&self) -> Result<Report, Broken> {
        let mut report = Report { time: self.over_at - self.started, ..Report::default() };
        for (at, meeting) in self.meetings.iter().enumerate() {
            let outcome = self.judge(meeting).map_err(|violation| (Some(at), violation))?;
            report.sessions += 1;
            report.outcomes[outcome as usize] += 1;
            let ends = meeting.ends.iter().flatten();
            report.frames += ends.map(|end| end.peer.inbox.count as u64).sum::<u64>();
        }
        let stats = self.responder.stats();
        if (stats.sessions, stats.waiting, stats.remembered, stats.peers) != (0, 0, 0, 0) {
            return Err((None, Violation::Leftover("something in the responder")));
        }
        let busy = |initiator: &Initiator<_>| {
            let stats = initiator.stats();
            (stats.asking, stats.remembered) != (0, 0)
        };
        if self.initiators.iter().any(busy) {
            return Err((None, Violation::Leftover("something in an initiator")));
        }
        report.datagrams = self.paths.iter().flat_map(|path| &path.wires).map(Wire::sent).sum();
        Ok(report)
    }

    fn judge(&self, meeting: &Meeting) -> Result<Outcome, Violation> {
        let terms = &meeting.plan.terms;
        if !meeting.is_over() {
            return Err(Violation::Leftover("a session without an end"));
        }
        let [Some(entry), Some(exit)] = &meeting.ends else {
            // The exit may have granted what the entry then never heard of.
            let refused = meeting.failed || self.corruption == Corruption::Unnoticed;
            return if refused {
                Ok(Outcome::NotOpened)
            } else {
                Err(Violation::Handshake("half a session"))
            };
        };
        let outcome = meeting.excuses.judge(terms, [&entry.peer, &exit.peer])?;
        let path = &self.paths[meeting.plan.path].plan;
        let is_calm = path.changes.is_empty() && !meeting.plan.paused;
        let planned = meeting.planned_until.max(meeting.opened_at);
        if is_calm && meeting.over_at > planned + BUSY && outcome == Outcome::Good {
            return Err(Violation::Stalled(meeting.over_at - planned));
        }
        if outcome == Outcome::Good && path.is_perfect() {
            for (here, there) in [(&entry.peer, &exit.peer), (&exit.peer, &entry.peer)] {
                let (delivered, sent) = (here.inbox.count, there.sent.len());
                let bytes: usize = there.sent.iter().map(Bytes::len).sum();
                let fits = sent <= FITTING_FRAMES && bytes <= FITTING_BYTES;
                if fits && !meeting.plan.paused && delivered < sent {
                    return Err(Violation::Lost { delivered, sent });
                }
            }
        }
        Ok(outcome)
    }

    fn schedule(&mut self, at: Instant, action: Action) {
        self.schedule.insert((at, self.scheduled), action);
        self.scheduled += 1;
        self.planned_until = self.planned_until.max(at);
    }

    fn note(&mut self, line: std::fmt::Arguments<'_>) {
        self.trace.line(self.now - self.started, line);
    }
}

/// A rule that was broken, and by which session, if by one.
type Broken = (Option<usize>, Violation);
