//! Lines on standard error about what peers do, so few that nobody can fill a log with them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that may come at once.
const BURST: u32 = 20;
/// Time after which one more may come.
const REFILL: Duration = Duration::from_secs(1);

/// Says things, and how many it left out.
pub(crate) struct Notices(Mutex<Bucket>);

struct Bucket {
    room: u32,
    filled: Instant,
    left_out: u64,
}

impl Notices {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Bucket::new(Instant::now())))
    }

    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match bucket.take(Instant::now()) {
            Some(0) => eprintln!("towline: {}", line()),
            Some(left_out) => eprintln!("towline: {} ({left_out} lines left out before)", line()),
            None => {}
        }
    }
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { room: BURST, filled: now, left_out: 0 }
    }

    /// Whether there is room for a line, and then how many had none before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        while self.room < BURST && now.saturating_duration_since(self.filled) >= REFILL {
            self.filled += REFILL;
            self.room += 1;
        }
        if self.room == BURST {
            self.filled = now;
        }
        let Some(room) = self.room.checked_sub(1) else {
            self.left_out += 1;
            return None;
        };
        self.room = room;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_told_later() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        for _ in 0..BURST {
            assert_eq!(bucket.take(start), Some(0));
        }
        assert_eq!(bucket.take(start), None);
        assert_eq!(bucket.take(start), None);
        assert_eq!(bucket.take(start + REFILL), Some(2));
        assert_eq!(bucket.take(start + REFILL), None);
    }

    #[test]
    fn room_does_not_grow_past_a_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let later = start + REFILL * 1000;
        for _ in 0..BURST {
            assert_eq!(bucket.take(later), Some(0));
        }
        assert_eq!(bucket.take(later), None);
    }
}
