//! What the network did to a session's datagrams: the only excuse for silence.

use std::time::{Duration, Instant};

/// Datagrams lost since the last one that arrived, below which silence is not the network's fault.
const EXCUSE: u64 = 3;

/// What passed between the ends of a session, as an observer sees it who knows which datagrams are lost.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// By the end that hears.
    ends: [Hearing; 2],
}

#[derive(Clone, Copy, Debug)]
struct Hearing {
    heard_at: Instant,
    /// Datagrams sent to this end since then.
    missed: u64,
    /// Datagrams sent by it since then, and those of them that arrived.
    said: u64,
    understood: u64,
}

impl Hearing {
    fn new(now: Instant) -> Self {
        Self { heard_at: now, missed: 0, said: 0, understood: 0 }
    }
}

/// For how long nothing had arrived, and how much was lost in that time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silence {
    lasted: Duration,
    lost: u64,
}

/// What an end had not heard, and what of it had not been heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silences {
    /// Since the end last heard anything: what was lost in either direction.
    pub(crate) heard: Silence,
    /// Since the other end last did: what was lost on the way there.
    pub(crate) unheard: Silence,
}

impl Silence {
    /// Whether a timeout is explained: it is over, and the network has swallowed what should have kept it
    /// from being so.
    pub(crate) fn explains(&self, timeout: Duration) -> bool {
        self.lasted >= timeout && self.lost >= EXCUSE
    }
}

impl Flow {
    pub(crate) fn new(now: Instant) -> Self {
        Self { ends: [Hearing::new(now); 2] }
    }

    /// The end `at` sent a datagram.
    pub(crate) fn sent(&mut self, at: usize) {
        self.ends[at].said += 1;
        self.ends[1 - at].missed += 1;
    }

    /// A datagram that was sent at `sent_at` arrived at the end `at`, not counting copies.
    pub(crate) fn arrived(&mut self, now: Instant, at: usize, sent_at: Instant) {
        self.ends[at] = Hearing::new(now);
        let other = &mut self.ends[1 - at];
        other.understood += u64::from(sent_at >= other.heard_at);
    }

    pub(crate) fn silence(&self, now: Instant, at: usize) -> Silences {
        let lasted = |end: &Hearing| now.saturating_duration_since(end.heard_at);
        let (here, there) = (&self.ends[at], &self.ends[1 - at]);
        let lost = here.missed + here.said.saturating_sub(here.understood);
        Silences {
            heard: Silence { lasted: lasted(here), lost },
            unheard: Silence { lasted: lasted(there), lost: there.missed },
        }
    }
}
