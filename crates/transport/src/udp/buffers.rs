//! The memory that datagrams are received into.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use quinn_udp::BATCH_SIZE;

/// Slots for the kernel to fill, and what becomes of them when they are full.
///
/// A long run is handed out where it lies, and its slot replaced by one that was handed out before and that nobody
/// holds any more. A short run is copied behind the one before: that costs less than the system call by far, and
/// stored runs share memory instead of keeping a slot alive each.
pub(super) struct Buffers {
    slots: Box<[BytesMut; BATCH_SIZE]>,
    /// Slots that were handed out, the latest last.
    lent: VecDeque<Bytes>,
    /// Room for the copies of short runs.
    copies: BytesMut,
}

/// Holds the longest datagram and the longest run that the kernel makes of several, so that nothing is ever truncated.
const SLOT_SIZE: usize = 64 * 1024;

/// The longest run that is copied. A quarter of a slot bounds what a stored run keeps alive to four times its size.
const MAX_COPY: usize = SLOT_SIZE / 4;

/// Lent slots that are remembered; beyond that, their holders free them.
const MAX_LENT: usize = 2 * BATCH_SIZE;

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            slots: Box::new(std::array::from_fn(|_| new_slot())),
            lent: VecDeque::with_capacity(MAX_LENT),
            copies: BytesMut::new(),
        }
    }

    /// Returns the slots to be filled.
    pub(super) fn slots(&mut self) -> [&mut BytesMut; BATCH_SIZE] {
        self.slots.each_mut()
    }

    /// Takes the first `len` bytes out of a slot, which can be filled again afterwards.
    pub(super) fn take(&mut self, slot: usize, len: usize) -> Bytes {
        if len <= MAX_COPY {
            if self.copies.capacity() < len {
                self.copies = BytesMut::with_capacity(SLOT_SIZE);
            }
            self.copies.extend_from_slice(&self.slots[slot][..len]);
            return self.copies.split().freeze();
        }

        let next = self.reclaim().unwrap_or_else(new_slot);
        let full = std::mem::replace(&mut self.slots[slot], next).freeze();
        let contents = full.slice(..len);
        if self.lent.len() == MAX_LENT {
            self.lent.pop_front();
        }
        self.lent.push_back(full);
        contents
    }

    /// Takes back a slot that nobody holds any more.
    fn reclaim(&mut self) -> Option<BytesMut> {
        // The latest is the likeliest to be in the processor's cache.
        let free = self.lent.iter().rposition(Bytes::is_unique)?;
        self.lent.remove(free)?.try_into_mut().ok()
    }
}

fn new_slot() -> BytesMut {
    let mut slot = BytesMut::zeroed(SLOT_SIZE);
    // Splitting moves the reference count to the heap once and for all. It would else be allocated anew whenever the
    // slot is lent.
    drop(slot.split_off(SLOT_SIZE));
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffers: &mut Buffers, byte: u8) {
        buffers.slots()[0].fill(byte);
    }

    #[test]
    fn long_runs_are_handed_out_in_place() {
        let mut buffers = Buffers::new();
        fill(&mut buffers, 1);
        let filled = buffers.slots()[0].as_ptr();
        let run = buffers.take(0, MAX_COPY + 1);
        assert_eq!(run.as_ptr(), filled);
        assert_eq!(run.len(), MAX_COPY + 1);
    }

    #[test]
    fn slot_in_use_is_not_filled_again() {
        let mut buffers = Buffers::new();
        let mut held = Vec::new();
        for byte in 0..3 * MAX_LENT {
            fill(&mut buffers, byte as u8);
            held.push(buffers.take(0, SLOT_SIZE));
        }
        for (byte, run) in held.iter().enumerate() {
            assert!(run.iter().all(|&found| found == byte as u8));
        }
        assert_eq!(buffers.lent.len(), MAX_LENT);
    }

    #[test]
    fn slot_is_reused_whole_when_nobody_holds_it() {
        let mut buffers = Buffers::new();
        let first = buffers.take(0, SLOT_SIZE - 1);
        let place = first.as_ptr();
        drop(buffers.take(0, SLOT_SIZE));
        drop(first);
        for _ in 0..10 {
            drop(buffers.take(0, SLOT_SIZE));
        }
        let reused = (0..10).any(|_| buffers.take(0, SLOT_SIZE).as_ptr() == place);
        assert!(reused || buffers.lent.iter().any(|slot| slot.as_ptr() == place));
        assert!(buffers.lent.len() <= 2);
        assert_eq!(buffers.slots()[0].len(), SLOT_SIZE);
    }

    #[test]
    fn short_runs_lie_side_by_side_and_leave_the_slot_in_place() {
        let mut buffers = Buffers::new();
        let slot = buffers.slots()[0].as_ptr();
        fill(&mut buffers, 1);
        let first = buffers.take(0, 100);
        fill(&mut buffers, 2);
        let second = buffers.take(0, 100);
        assert_eq!(first, [1; 100][..]);
        assert_eq!(second, [2; 100][..]);
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 100);
        assert_eq!(buffers.slots()[0].as_ptr(), slot);
        assert!(buffers.take(0, 0).is_empty());
    }
}
