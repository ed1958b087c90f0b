//! The bottleneck: a rate, and a drop-tail queue in front of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Knows when the packets that it has taken have left; the packets themselves are held by the link.
#[derive(Debug, Default)]
pub(crate) struct Bottleneck {
    /// When the packet that was taken last is on the line whole.
    busy_until: Option<Instant>,
    /// What the division by the rate left over, in nanoseconds times the rate. Without it, small packets on a fast line
    /// would add up to a rate that is off by a percent.
    remainder: u128,
    /// Departure and size of every packet not yet on the line whole, in order of departure.
    waiting: VecDeque<(Instant, usize)>,
    waiting_bytes: usize,
    max_waiting_bytes: usize,
}

impl Bottleneck {
    /// Takes a packet of `len` bytes and returns when it leaves, or `None` if the queue has no room for it.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        len: usize,
        rate: Option<u64>,
        queue: usize,
    ) -> Option<Instant> {
        self.drain(now);
        let Some(rate) = rate else { return Some(now) };
        if !self.waiting.is_empty() && self.waiting_bytes.saturating_add(len) > queue {
            return None;
        }

        let start = match self.busy_until {
            Some(busy_until) if busy_until > now => busy_until,
            _ => {
                self.remainder = 0;
                now
            }
        };
        let work = len as u128 * NANOS_PER_SECOND + self.remainder;
        self.remainder = work % u128::from(rate);
        let nanos = u64::try_from(work / u128::from(rate)).unwrap_or(u64::MAX);
        let departure = start + Duration::from_nanos(nanos);

        self.busy_until = Some(departure);
        self.waiting.push_back((departure, len));
        self.waiting_bytes += len;
        self.max_waiting_bytes = self.max_waiting_bytes.max(self.waiting_bytes);
        Some(departure)
    }

    /// Forgets the packets that have left.
    pub(crate) fn drain(&mut self, now: Instant) {
        while let Some(&(departure, len)) = self.waiting.front()
            && departure <= now
        {
            self.waiting.pop_front();
            self.waiting_bytes -= len;
        }
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn max_waiting_bytes(&self) -> usize {
        self.max_waiting_bytes
    }
}
