//! Acknowledgements on their way.

use crate::recv::RecvWindow;

/// Frames named before that a message names again. At a tenth lost, an acknowledgement is lost four times in
/// a row once in ten thousand times, and each such frame holds up a window of 255 for two round trips.
const REPEAT: usize = 16;

/// Frames to acknowledge, gathered until a message is due.
///
/// An acknowledgement may be lost, and nothing acknowledges it: each message names the latest few frames
/// again, and a frame that the peer repeats is named again, together with those after it.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// In the order in which they became complete.
    pending: Vec<u64>,
    /// Bytes received since the last message.
    bytes: usize,
    /// The latest frames named, oldest first, at most [`REPEAT`] beyond the previous message's.
    repeat: Vec<u64>,
    /// The first of the frames that the peer repeated.
    again: Option<u64>,
    /// The newest frame ever named.
    last: Option<u64>,
    /// Send without waiting for more.
    now: bool,
}

impl Acks {
    pub(crate) fn received(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(crate) fn push(&mut self, id: u64) {
        self.pending.push(id);
    }

    /// Names a frame again, and those after it.
    pub(crate) fn repeat_from(&mut self, id: u64) {
        self.again = Some(self.again.map_or(id, |again| again.min(id)));
    }

    /// Names the newest frame again: it tells the peer nothing but that we live.
    pub(crate) fn show_life(&mut self) {
        if self.is_empty() {
            self.again = self.last;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.again.is_none()
    }

    pub(crate) fn send_now(&mut self) {
        self.now = true;
    }

    /// New frames to name.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Bytes received since the last message.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frames of the message that is due, ascending, at most `max`.
    pub(crate) fn next_message(&mut self, max: usize, recv: &RecvWindow) -> Option<Vec<u64>> {
        if !std::mem::take(&mut self.now) || self.is_empty() {
            return None;
        }
        let fresh = self.pending.len().min(max);
        let mut named: Vec<u64> = self.pending.drain(..fresh).collect();
        let before = self.repeat.clone();
        self.repeat.extend_from_slice(&named);
        let keep = REPEAT.max(fresh);
        self.repeat.drain(..self.repeat.len().saturating_sub(keep));
        if named.len() < max
            && let Some(again) = self.again.take()
        {
            named.extend(recv.acknowledged_from(again).take(max - fresh));
        }
        named.extend(before.into_iter().rev().take(max - named.len()));
        named.sort_unstable();
        named.dedup();
        self.last = self.last.max(named.last().copied());
        self.bytes = 0;
        self.now = !self.is_empty();
        Some(named).filter(|named| !named.is_empty())
    }
}
