//! What happens in a scenario, all of it decided by the seed before it begins.

use std::time::Duration;

use bytes::Bytes;
use towline_netsim::LinkConfig;
use towline_wire::data::Codec;

use crate::choice::{Choose, Seeded};
use crate::link::{some_link, with_some_rate};
use crate::payload::payload;
use crate::session::{Terms, some_codec};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

/// A disturbance from which on a path counts as one that nothing fits, or a reader as one that does not
/// read, in front of the shortest progress timeout there is.
const STUCK: Duration = Duration::from_secs(5);

/// Bytes that an application sends, mostly and at most.
const USUAL_BYTES: usize = 100_000;
const MAX_BYTES: usize = 2_000_000;

/// One exit, entries with a path to it each, and their sessions.
pub(super) struct Plan {
    pub(super) codec: Codec,
    /// Slots that the exit has.
    pub(super) max_sessions: usize,
    /// Silence after which keep-alives give a session up.
    pub(super) idle_timeout: Duration,
    pub(super) corruption: Corruption,
    pub(super) paths: Vec<PathPlan>,
    pub(super) sessions: Vec<SessionPlan>,
}

/// What becomes of datagrams with flipped bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Corruption {
    /// There are none.
    None,
    /// A checksum shows them, and they are dropped.
    Detected,
    /// They are delivered as they are.
    Unnoticed,
}

pub(super) struct PathPlan {
    /// To the exit and back.
    pub(super) links: [LinkConfig; 2],
    pub(super) changes: Vec<(Duration, Change)>,
    /// Full messages do not fit for a time that is long enough to stop a session.
    pub(super) narrow: bool,
    /// Nothing passes for as long.
    pub(super) dark: bool,
}

impl PathPlan {
    /// Whether nothing is ever lost, late or out of order.
    pub(super) fn is_perfect(&self) -> bool {
        let is_perfect = |link: &LinkConfig| *link == LinkConfig::default().with_delay(link.delay);
        self.changes.is_empty() && self.links.iter().all(is_perfect)
    }
}

/// Something that happens to a path.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// One direction is another link from now on.
    Link(usize, LinkConfig),
    /// Both directions pass messages of this size at most.
    Mtu(Option<usize>),
    /// Nothing passes, or all again.
    Dark(bool),
}

pub(super) struct SessionPlan {
    pub(super) path: usize,
    pub(super) terms: Terms,
    pub(super) connect_at: Duration,
    pub(super) decision: Decision,
    /// What the applications do, counted from when their end opens: the entry's and the exit's.
    pub(super) acts: [Vec<(Duration, Act)>; 2],
    /// A reader pauses for long.
    pub(super) paused: bool,
}

/// What the exit's application thinks of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    Accept { after: Duration },
    Refuse { after: Duration },
    Never,
}

/// Something that an application does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Write(Vec<Bytes>),
    Finish,
    Abort,
    Read(bool),
}

impl Plan {
    pub(super) fn new(choices: &mut Seeded) -> Self {
        let codec = some_codec(choices);
        let corruption = match choices.number(0, 99) {
            0..84 => Corruption::None,
            84..95 => Corruption::Detected,
            _ => Corruption::Unnoticed,
        };
        let paths: Vec<_> =
            (0..choices.number(1, 3)).map(|_| some_path(choices, codec, corruption)).collect();
        let mut sessions = Vec::new();
        for (at, path) in paths.iter().enumerate() {
            for _ in 0..choices.one_of(&[1, 1, 2, 3]) {
                sessions.push(some_session(choices, codec, corruption, at, path));
            }
        }
        Self {
            codec,
            max_sessions: if choices.chance(10) { 2 } else { 1000 },
            idle_timeout: choices.one_of(&[S(60), S(180)]),
            corruption,
            paths,
            sessions,
        }
    }
}

fn some_path(choices: &mut Seeded, codec: Codec, corruption: Corruption) -> PathPlan {
    let corrupt = match corruption {
        Corruption::None => 0.0,
        _ => choices.one_of(&[0.001, 0.01, 0.1]),
    };
    let links = [(); 2].map(|()| some_link(choices, codec.mtu()).with_corrupt(corrupt));
    let mut path = PathPlan { links, changes: Vec::new(), narrow: false, dark: false };
    if choices.chance(50) {
        let mut at = Duration::ZERO;
        for _ in 0..choices.number(1, 3) {
            at += some_time(choices);
            at = path.disturb(choices, codec, at);
        }
        if choices.chance(5) {
            path.changes.push((at + some_time(choices), Change::Dark(true)));
        }
    }
    path
}

impl PathPlan {
    /// Adds a disturbance that begins at a time; returns when it is over.
    fn disturb(&mut self, choices: &mut Seeded, codec: Codec, at: Duration) -> Duration {
        let direction = choices.number(0, 1);
        let corrupt = self.links[direction].corrupt;
        match choices.number(0, 3) {
            0 => {
                let link = with_some_rate(choices, codec.mtu(), self.links[direction].clone());
                self.changes.push((at, Change::Link(direction, link)));
                at
            }
            1 => {
                let link = some_link(choices, codec.mtu()).with_corrupt(corrupt);
                self.changes.push((at, Change::Link(direction, link)));
                at
            }
            2 => {
                let mtu = codec.max_message_len() * 3 / 4;
                let time = MS(choices.one_of(&[300, 2000, 10_000]));
                self.changes.push((at, Change::Mtu(Some(mtu))));
                let forever = choices.chance(5);
                if !forever {
                    self.changes.push((at + time, Change::Mtu(None)));
                }
                self.narrow |= forever || time >= STUCK;
                at + time
            }
            _ => {
                let time = MS(choices.one_of(&[300, 2000, 5000, 15_000, 40_000, 250_000]));
                self.changes.push((at, Change::Dark(true)));
                self.changes.push((at + time, Change::Dark(false)));
                self.dark |= time >= STUCK;
                at + time
            }
        }
    }
}

fn some_session(
    choices: &mut Seeded,
    codec: Codec,
    corruption: Corruption,
    at: usize,
    path: &PathPlan,
) -> SessionPlan {
    let mut terms = Terms::chosen(choices, codec, corruption == Corruption::Unnoticed);
    if path.narrow {
        // A peer that shows life and takes nothing keeps a session for ever, unless told otherwise.
        terms.progress_timeout = Some(terms.patience);
    }
    let after = choices.one_of(&[MS(0), MS(0), MS(50), S(3)]);
    let decision = match choices.number(0, 99) {
        0..96 => Decision::Accept { after },
        96..98 => Decision::Refuse { after },
        _ => Decision::Never,
    };
    let acts = [(); 2].map(|()| some_acts(choices, &terms));
    let paused = acts.iter().any(|acts| has_long_pause(acts));
    let connect_at = if choices.chance(70) { Duration::ZERO } else { some_time(choices) };
    SessionPlan { path: at, terms, connect_at, decision, acts, paused }
}

/// Mostly soon, sometimes later.
fn some_time(choices: &mut Seeded) -> Duration {
    let most = choices.one_of(&[100, 1000, 1000, 5000, 20_000]);
    MS(choices.number(0, most) as u64)
}

/// What an application does, in the order of time; it finishes or aborts in the end.
fn some_acts(choices: &mut Seeded, terms: &Terms) -> Vec<(Duration, Act)> {
    let codec = Codec::new(terms.dialect, terms.mtu);
    let requestable = codec.max_segment_data() * 8;
    let longest = terms.frame_size.unwrap_or(if terms.reliable {
        requestable
    } else {
        codec.max_frame_len()
    });
    // Segments past the eighth of a frame cannot be asked for, so long frames take long where much is lost.
    let most = if terms.reliable && longest > requestable { USUAL_BYTES } else { MAX_BYTES };
    let mut budget = if choices.chance(8) { most } else { USUAL_BYTES };
    let mut at = Duration::ZERO;
    let mut acts = Vec::new();
    for _ in 0..choices.number(0, 3) {
        if choices.chance(15) {
            let time = MS(choices.one_of(&[200, 2000, 10_000, 30_000]));
            acts.push((at, Act::Read(false)));
            acts.push((at + time, Act::Read(true)));
        }
        acts.push((at, Act::Write(some_frames(choices, longest, &mut budget))));
        at += some_time(choices);
        if choices.chance(3) {
            at += S(100);
        }
    }
    let end = if choices.chance(4) { Act::Abort } else { Act::Finish };
    acts.push((at, end));
    acts
}

fn some_frames(choices: &mut Seeded, longest: usize, budget: &mut usize) -> Vec<Bytes> {
    let kind = choices.number(0, 3);
    let mut frames = Vec::new();
    for _ in 0..choices.one_of(&[1, 2, 10, 40, 300]) {
        let len = match kind {
            0 => longest,
            1 => choices.number(0, longest),
            _ => choices.number(0, longest.min(700)),
        };
        let Some(left) = budget.checked_sub(len) else { break };
        *budget = left;
        frames.push(payload(len, choices.word() as u32));
    }
    frames
}

fn has_long_pause(acts: &[(Duration, Act)]) -> bool {
    let mut pauses = acts.windows(2).filter_map(|pair| match pair {
        [(from, Act::Read(false)), (to, Act::Read(true))] => Some(*to - *from),
        _ => None,
    });
    pauses.any(|time| time >= STUCK)
}
