//! Two connections, the links between them and their applications, to the end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_netsim::LinkConfig;

use crate::choice::{Choices, Choose};
use crate::flow::Flow;
use crate::link::{some_link, with_some_rate};
use crate::payload::payload;
use crate::peer::Peer;
use crate::session::{Excuses, Terms, some_codec};
use crate::violation::Violation;
use crate::wire::{Losses, Wire};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Bytes that each application sends at most, so that every input ends soon.
const MAX_BYTES: usize = 256 << 10;

/// Things that happen at most before the session is left to come to its end.
const MAX_ACTIONS: usize = 200;

/// Steps that may follow each other while the clock stands.
const MAX_STANDING: u32 = 200;

/// A session on a path that works is over within this time beyond its timeouts.
const GENEROUS: Duration = Duration::from_secs(900);

/// Lets the bytes of `input` choose a session's terms, its path, and what its applications do.
///
/// # Panics
/// When the session breaks a rule.
pub fn two_peers(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut pair = Pair::new(&mut choices);
    if let Err(violation) = pair.play(&mut choices).and_then(|()| pair.check()) {
        panic!("{violation}\n{pair:#?}");
    }
}

#[derive(Debug)]
struct Pair {
    terms: Terms,
    peers: [Peer; 2],
    wires: [Wire; 2],
    flow: Flow,
    /// What each end had acknowledged when that last grew, and the losses of both wires until then.
    progress: [(u64, [Losses; 2]); 2],
    excuses: Excuses,
    now: Instant,
    standing: u32,
    salt: u32,
}

impl Pair {
    fn new(choices: &mut Choices<'_>) -> Self {
        let now = crate::epoch();
        let corrupt = choices.chance(10);
        let checksums = corrupt && choices.flag();
        let codec = some_codec(choices);
        let mtu = codec.mtu();
        let terms = Terms::chosen(choices, codec, corrupt && !checksums);
        let peers = [(); 2].map(|()| terms.peer(choices, now, None, |builder| builder));
        let corrupt = if corrupt { 0.02 } else { 0.0 };
        // Each draws from a stream of its own.
        let wires = [0, 1]
            .map(|at| Wire::new(some_link(choices, mtu).with_corrupt(corrupt), checksums, at));
        Self {
            wires,
            flow: Flow::new(now),
            progress: Default::default(),
            terms,
            peers,
            excuses: Excuses::default(),
            now,
            standing: 0,
            salt: 0,
        }
    }

    /// Lets happen what the input wants.
    fn play(&mut self, choices: &mut Choices<'_>) -> Result<(), Violation> {
        for _ in 0..MAX_ACTIONS {
            if choices.is_empty() {
                break;
            }
            self.act(choices)?;
        }
        Ok(())
    }

    fn act(&mut self, choices: &mut Choices<'_>) -> Result<(), Violation> {
        let what = choices.byte();
        let at = usize::from(what >> 7);
        match what & 0x0f {
            0..5 => self.queue(choices, at),
            5 => self.peers[at].finish = true,
            6 => self.peers[at].reading = !self.peers[at].reading,
            7 => {
                let link = with_some_rate(choices, self.terms.mtu, self.wires[at].config().clone());
                self.wires[at].set(link);
            }
            8 => {
                let corrupt = self.wires[at].config().corrupt;
                let mtu = self.terms.mtu;
                self.wires[at].set(some_link(choices, mtu).with_corrupt(corrupt));
            }
            9 => self.fit(choices, at),
            10 if choices.byte() == 0xab => {
                self.excuses.aborted[at] |= !self.peers[at].connection.is_closed();
                self.peers[at].connection.abort(self.now);
            }
            10 => self.extra_calls(),
            11 => {
                let dark = !self.wires[at].is_dark();
                self.wires.iter_mut().for_each(|wire| wire.darken(dark));
            }
            12 => {
                let datagram = Bytes::from_static(b"\x01\x03\x00\x02no message");
                let _ = self.peers[at].connection.handle_datagram(self.now, datagram);
            }
            _ => {}
        }
        let unit = choices.one_of(&[MS(1), MS(0), MS(20), MS(1000)]);
        let time = unit * u32::from(choices.byte() % 64);
        self.pass(time)
    }

    fn queue(&mut self, choices: &mut Choices<'_>, at: usize) {
        let count = choices.one_of(&[1, 3, 20, 100]);
        let peer = &mut self.peers[at];
        let longest = peer.frame_size();
        let len = match choices.byte() % 4 {
            0 => longest,
            1 => choices.number(0, longest),
            2 => choices.number(0, 40).min(longest),
            _ => (longest / 3 + 1).min(longest),
        };
        for _ in 0..count {
            let queued: usize = peer.sent.iter().chain(&peer.outbox).map(Bytes::len).sum();
            if queued + len <= MAX_BYTES && !peer.finish {
                self.salt += 1;
                peer.outbox.push_back(payload(len, self.salt));
            }
        }
    }

    /// Extra polls and early timeouts are harmless.
    fn extra_calls(&mut self) {
        for peer in &mut self.peers {
            peer.connection.handle_timeout(self.now);
            let nothing = peer.connection.poll_transmit(self.now, 0, &mut Vec::new());
            assert_eq!(nothing, None);
        }
    }

    /// Lets the path pass less than a full message, or all again.
    fn fit(&mut self, choices: &mut Choices<'_>, at: usize) {
        let mtu = choices.one_of(&[None, Some(self.terms.mtu.get() / 2)]);
        self.excuses.stuck |= mtu.is_some();
        let link = LinkConfig { mtu, ..self.wires[at].config().clone() };
        self.wires[at].set(link);
    }

    /// Lets the path work again and the session come to its end, and checks that.
    fn check(&mut self) -> Result<(), Violation> {
        for wire in &mut self.wires {
            let link = LinkConfig { mtu: None, ..wire.config().clone() };
            wire.set(link);
            wire.darken(false);
        }
        for peer in &mut self.peers {
            (peer.reading, peer.finish) = (true, true);
        }
        let limit = GENEROUS + 3 * self.terms.idle_timeout;
        let end = self.now + limit;
        while self.step(end)? {}
        if self.abandon_orphan() {
            while self.step(end)? {}
        }
        if self.terms.corrupting {
            self.abandon_waiting();
            let end = self.now + limit;
            while self.step(end)? {}
        }
        if !self.peers.iter().all(|peer| peer.drained) {
            return Err(Violation::Stalled(limit));
        }
        self.peers.iter().try_for_each(Peer::check_drained)?;
        self.excuses.judge(&self.terms, self.peers.each_ref()).map(drop)
    }

    /// Aborts an end that waits for one that has gone and owes it nothing: that is how data connections
    /// wait, and what the handshake's keep-alives are for. Returns whether there was one.
    fn abandon_orphan(&mut self) -> bool {
        for at in [0, 1] {
            let [here, there] = [&self.peers[at], &self.peers[1 - at]];
            let waits = here.closed.is_none() && here.connection.poll_timeout().is_none();
            if waits && there.drained {
                self.excuses.deserted[at] = true;
                self.peers[at].connection.abort(self.now);
                return true;
            }
        }
        false
    }

    /// Aborts what has not ended where bits changed on the way and nothing noticed: an end may wait for a
    /// frame whose id was never sent.
    fn abandon_waiting(&mut self) {
        for (peer, aborted) in self.peers.iter_mut().zip(&mut self.excuses.aborted) {
            if !peer.connection.is_closed() {
                *aborted = true;
                peer.connection.abort(self.now);
            }
        }
    }

    fn pass(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.now + time;
        while self.step(end)? {}
        if self.peers.iter().any(|peer| !peer.reading) {
            self.excuses.stuck = true;
        }
        self.now = end;
        Ok(())
    }

    /// Lets everything happen that is to happen now, then jumps to the next deadline unless that is after
    /// `end`. Returns whether it was not.
    fn step(&mut self, end: Instant) -> Result<bool, Violation> {
        let [a, b] = &mut self.peers;
        let now = self.now;
        let ([forward, backward], flow) = (&mut self.wires, &mut self.flow);
        a.drive(now, &b.sent, &mut |datagram| {
            flow.sent(0);
            forward.send(now, datagram);
        })?;
        b.drive(now, &a.sent, &mut |datagram| {
            flow.sent(1);
            backward.send(now, datagram);
        })?;
        let losses = [forward.losses(), backward.losses()];
        for (at, peer) in [&mut *a, &mut *b].into_iter().enumerate() {
            let (acknowledged, before) = &mut self.progress[at];
            if peer.connection.stats().frames_acknowledged > *acknowledged {
                *acknowledged = peer.connection.stats().frames_acknowledged;
                *before = losses;
            }
            if peer.take_closed() {
                // Whoever looks for it finds a path that loses what matters and nothing else.
                self.excuses.stuck |= (0..2).any(|wire| losses[wire].are_many_since(&before[wire]));
                self.excuses.silence[at] = flow.silence(now, at);
                self.excuses.closed_at[at] = Some(now);
            }
        }

        let peers = [a.connection.poll_timeout(), b.connection.poll_timeout()];
        let wires = [forward.poll_timeout(), backward.poll_timeout()];
        let Some(next) = peers.into_iter().chain(wires).flatten().min() else { return Ok(false) };
        if next > end {
            return Ok(false);
        }
        self.standing = if next > now { 0 } else { self.standing + 1 };
        if self.standing > MAX_STANDING {
            return Err(Violation::BusyLoop("a deadline that never passes"));
        }
        self.now = now.max(next);
        for from in [0, 1] {
            let to = 1 - from;
            while let Some(arrival) = self.wires[from].recv(self.now) {
                if !arrival.is_copy {
                    self.flow.arrived(self.now, to, arrival.sent_at);
                }
                let peer = &mut self.peers[to];
                let _ = peer.connection.handle_datagram(self.now, arrival.datagram);
            }
        }
        for peer in &mut self.peers {
            peer.connection.handle_timeout(self.now);
        }
        Ok(true)
    }
}
