//! The terms of a session, and what its two ends may come to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use towline_data::{Config, ConfigBuilder, Connection, ConnectionError, Delivery, Mode, Timing};
use towline_wire::data::Codec;
use towline_wire::{Dialect, Mtu, Tag};

use crate::choice::Choose;
use crate::flow::Silences;
use crate::peer::{Peer, Role};
use crate::violation::Violation;

const S: fn(u64) -> Duration = Duration::from_secs;

/// Silence after which a peer of which nothing lacks but a last word may be taken to be gone.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// What both ends of a session agree on, and the timeouts that they share.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) dialect: Dialect,
    pub(crate) mtu: Mtu,
    pub(crate) reliable: bool,
    pub(crate) ordered: bool,
    pub(crate) frame_size: Option<usize>,
    pub(crate) idle_timeout: Duration,
    pub(crate) linger: Duration,
    /// How long a peer that shows life may take nothing, where that is limited.
    pub(crate) patience: Duration,
    pub(crate) progress_timeout: Option<Duration>,
    pub(crate) max_retransmissions: Option<u32>,
    pub(crate) close_on_peer_finish: Option<bool>,
    /// Bytes may change on the way, unnoticed.
    pub(crate) corrupting: bool,
}

/// A dialect and an MTU from the RFC's list of those to test with, or thereabouts (RFC-0007, 12.1).
pub(crate) fn some_codec(choices: &mut impl Choose) -> Codec {
    let dialect = choices.one_of(&Dialect::ALL);
    let mtu = choices.one_of(&[512, 64, 256, 1018, 1030, 1500, 9000]);
    Codec::new(dialect, Mtu::new(mtu).unwrap_or(Mtu::MIN))
}

impl Terms {
    /// Some terms; `corrupting` paths may stop a session for good, which only a timeout then ends.
    pub(crate) fn chosen(choices: &mut impl Choose, codec: Codec, corrupting: bool) -> Self {
        let longest = codec.max_frame_len();
        let reliable = choices.one_of(&[true, true, false]);
        let frame_size = choices.one_of(&[None, None, Some(longest), Some(longest.min(100))]);
        // What is past the eighth segment of a frame cannot be asked for: such frames take their time.
        let is_long = frame_size.is_some_and(|size| size > codec.max_segment_data() * 8);
        let patience = S(if reliable && is_long { 120 } else { 20 });
        Self {
            dialect: codec.dialect(),
            mtu: codec.mtu(),
            reliable,
            ordered: choices.one_of(&[true, true, false]),
            frame_size,
            idle_timeout: choices.one_of(&[S(180), S(20), S(60)]),
            linger: choices.one_of(&[S(10), S(10), S(30)]),
            patience,
            progress_timeout: Some(patience).filter(|_| corrupting || choices.chance(50)),
            max_retransmissions: choices.one_of(&[None, None, None, Some(20)]),
            close_on_peer_finish: choices.one_of(&[None, None, Some(true)]),
            corrupting,
        }
    }

    /// Whether an end may take the other's silence for a good end, as RFC-0007, 4.9 to the letter and
    /// deployed peers want it.
    fn is_literal(&self) -> bool {
        self.close_on_peer_finish == Some(true) || self.dialect == Dialect::Hoprnet
    }

    /// One end, with settings of its own.
    pub(crate) fn peer(
        &self,
        choices: &mut impl Choose,
        now: Instant,
        tag: Option<Tag>,
        tune: impl FnOnce(ConfigBuilder) -> ConfigBuilder,
    ) -> Peer {
        let codec = Codec::new(self.dialect, self.mtu);
        let least = 2 * codec.max_frame_len();
        let receive_buffer = choices.one_of(&[4 << 20, 300_000, 64_000]).max(least);
        let delivery = if self.ordered { Delivery::Ordered } else { Delivery::Unordered };
        let mut builder = Config::builder(self.dialect, self.mtu)
            .mode(if self.reliable { Mode::Reliable } else { Mode::Unreliable })
            .delivery(delivery)
            .timing(choices.one_of(&[Timing::Adaptive, Timing::Adaptive, Timing::Fixed]))
            .idle_timeout(self.idle_timeout)
            .linger(self.linger)
            .progress_timeout(self.progress_timeout)
            .max_retransmissions(self.max_retransmissions)
            .receive_buffer(receive_buffer);
        if let Some(bytes) = self.frame_size {
            builder = builder.frame_size(bytes);
        }
        if let Some(close) = self.close_on_peer_finish {
            builder = builder.close_on_peer_finish(close);
        }
        let config = tune(builder).build();
        let config = config.unwrap_or_else(|error| panic!("settings within their ranges: {error}"));
        let config = Arc::new(config);
        let connection = match tag {
            Some(tag) => Connection::tagged(config, tag, now),
            None => Connection::new(config, now),
        };
        let max_datagrams = choices.one_of(&[16, 1, 64]);
        let role = Role { tag, ordered: self.ordered, receive_buffer, max_datagrams };
        let mut peer = Peer::new(now, connection, &role);
        peer.corrupting = self.corrupting;
        peer
    }
}

/// What may explain that a session did not end well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excuses {
    /// Which of the applications have called `abort`.
    pub(crate) aborted: [bool; 2],
    /// Which of the ends were aborted from outside since their peer had gone, or seemed to.
    pub(crate) deserted: [bool; 2],
    /// When each end closed.
    pub(crate) closed_at: [Option<Instant>; 2],
    /// What each end had heard, or not, when it closed.
    pub(crate) silence: [Silences; 2],
    /// Full segments did not fit the path, or a reader paused, for as long as anybody cares to wait.
    pub(crate) stuck: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// Well on both sides, with everything delivered if that was agreed.
    Good,
    /// Everything was delivered both ways and one side knows it; the last acknowledgements to the other
    /// got lost until the one had gone. No protocol can exclude that (the two generals' problem).
    TwoGenerals,
    /// By an outage, a path that nothing fits, a limit that was configured, or corrupted data.
    Disturbed,
    /// By an abort.
    Aborted,
    /// Before it began: refused, or never answered or confirmed.
    NotOpened,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 5] =
        [Self::Good, Self::TwoGenerals, Self::Disturbed, Self::Aborted, Self::NotOpened];

    /// What reports call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::TwoGenerals => "two generals",
            Self::Disturbed => "disturbed",
            Self::Aborted => "aborted",
            Self::NotOpened => "not opened",
        }
    }
}

/// How one end of a session ended.
struct End {
    outcome: Outcome,
    /// Nothing but the other end's failure explains it.
    follows: bool,
}

impl Excuses {
    /// How a session ended of which both ends have closed.
    ///
    /// # Errors
    /// The rule that an end breaks which no excuse explains.
    pub(crate) fn judge(&self, terms: &Terms, peers: [&Peer; 2]) -> Result<Outcome, Violation> {
        let ends = [0, 1].map(|at| self.judge_end(terms, peers[at], peers[1 - at], at));
        match ends {
            [Ok(End { follows: true, .. }), Ok(End { follows: true, .. })] if !terms.corrupting => {
                Err(Violation::UnexplainedEnd(ConnectionError::PeerClosed))
            }
            [Ok(here), Ok(there)] => Ok(here.outcome.max(there.outcome)),
            // Where one end has an excuse of its own, the other is left with what follows from that.
            [Ok(end), Err(Violation::UnexplainedEnd(_))] if self.leads(&end, 0) => Ok(end.outcome),
            [Err(Violation::UnexplainedEnd(_)), Ok(end)] if self.leads(&end, 1) => Ok(end.outcome),
            [Err(violation), _] | [_, Err(violation)] => Err(violation),
        }
    }

    /// Whether the other end may follow from the one at `at`: it has an excuse of its own, and came first.
    fn leads(&self, end: &End, at: usize) -> bool {
        let is_first = self.closed_at[at] <= self.closed_at[1 - at];
        end.outcome > Outcome::TwoGenerals && !end.follows && is_first
    }

    fn judge_end(
        &self,
        terms: &Terms,
        here: &Peer,
        there: &Peer,
        at: usize,
    ) -> Result<End, Violation> {
        let Some(closed) = here.closed else {
            return Err(Violation::Leftover("a session without an end"));
        };
        let by_abort = self.aborted[0] || self.aborted[1];
        let disturbed = if by_abort { Outcome::Aborted } else { Outcome::Disturbed };
        let own = |outcome| Ok(End { outcome, follows: false });
        let is_complete =
            here.inbox.count == there.sent.len() && there.inbox.count == here.sent.len();
        match closed {
            None if !terms.reliable || is_complete => own(Outcome::Good),
            None => self.judge_good_end(terms, here, there, at),
            Some(error) if self.explains(terms, error, there, at) => own(disturbed),
            Some(_) if terms.reliable && is_complete && there.closed == Some(None) => {
                own(Outcome::TwoGenerals)
            }
            Some(error) if self.follows(error, there, at) => {
                Ok(End { outcome: disturbed, follows: true })
            }
            Some(_) if terms.corrupting => own(Outcome::Disturbed),
            Some(error) => Err(Violation::UnexplainedEnd(error)),
        }
    }

    /// A good end although something is missing on a side.
    fn judge_good_end(
        &self,
        terms: &Terms,
        here: &Peer,
        there: &Peer,
        at: usize,
    ) -> Result<End, Violation> {
        let got_all = here.inbox.count == there.sent.len();
        let failed = matches!(there.closed, Some(Some(_)));
        let end = |outcome, follows| Ok(End { outcome, follows });
        match () {
            // Whoever aborts may throw away what it had acknowledged.
            () if got_all && self.aborted[1 - at] => end(Outcome::Aborted, false),
            () if got_all && self.deserted[1 - at] => end(Outcome::Disturbed, true),
            () if terms.is_literal()
                && self.silence[at].heard.explains(terms.linger.min(LEAST_PATIENCE)) =>
            {
                end(Outcome::Disturbed, false)
            }
            // Deployed peers bear no hole in the ids, and cannot tell an abort from an end.
            () if terms.dialect == Dialect::Hoprnet && failed => end(Outcome::Disturbed, true),
            () if terms.corrupting => end(Outcome::Disturbed, false),
            () => Err(Violation::GoodEndTooSoon {
                delivered: if got_all { there.inbox.count } else { here.inbox.count },
                sent: if got_all { here.sent.len() } else { there.sent.len() },
            }),
        }
    }

    /// Whether an end with an error is what the other's leads to.
    fn follows(&self, error: ConnectionError, there: &Peer, at: usize) -> bool {
        let told = match error {
            ConnectionError::PeerClosed => true,
            ConnectionError::Aborted => self.deserted[at],
            _ => false,
        };
        told && matches!(there.closed, Some(Some(_)))
    }

    /// Whether an end with an error has an excuse of its own.
    fn explains(&self, terms: &Terms, error: ConnectionError, there: &Peer, at: usize) -> bool {
        let Silences { heard: silence, unheard } = self.silence[at];
        match error {
            // An unreliable end says goodbye and does not wait for an answer.
            ConnectionError::Aborted if self.deserted[at] => {
                let left = !terms.reliable && there.closed.is_some();
                left || silence.explains(Duration::ZERO)
            }
            ConnectionError::Aborted => self.aborted[at],
            ConnectionError::PeerClosed => silence.explains(terms.linger.min(terms.idle_timeout)),
            ConnectionError::TimedOut => silence.explains(terms.idle_timeout),
            // Nothing new may have been acknowledged before the silence began, either.
            ConnectionError::NoProgress => terms.progress_timeout.is_some_and(|limit| {
                self.stuck || silence.explains(limit / 2) || unheard.explains(limit / 4)
            }),
            ConnectionError::RetransmissionLimit => terms.max_retransmissions.is_some(),
            _ => false,
        }
    }
}
