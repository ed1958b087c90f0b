//! What leaves through the transport, in one buffer: datagrams of all sessions, in runs as long as the
//! transport takes at once.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use towline_transport::{Address, DatagramSender, Transmit};

/// Bytes at the front of the buffer that have been sent, and are cut off when there are so many.
const MAX_SENT: usize = 1 << 16;

pub(super) struct Outbox<S: DatagramSender> {
    sender: S,
    /// The runs, one behind the other, after `sent` bytes that have left.
    buffer: Vec<u8>,
    sent: usize,
    /// The last one may grow; one before it is there only while the transport has no room.
    runs: VecDeque<Run<S::Address>>,
    blocked: bool,
}

#[derive(Clone, Copy)]
struct Run<A> {
    destination: A,
    segment_size: usize,
    len: usize,
}

impl<A: Address> Run<A> {
    fn datagrams(&self) -> usize {
        self.len.div_ceil(self.segment_size)
    }

    /// Whether datagrams of this size may follow. Only whole ones of one size do: what a network does to one,
    /// it does to all of them.
    fn takes(&self, destination: A, segment_size: usize) -> bool {
        (self.destination, self.segment_size) == (destination, segment_size)
            && self.len.is_multiple_of(segment_size)
    }
}

impl<S: DatagramSender> Outbox<S> {
    pub(super) fn new(sender: S) -> Self {
        Self { sender, buffer: Vec::new(), sent: 0, runs: VecDeque::new(), blocked: false }
    }

    /// Whether the transport has no room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(super) fn max_datagram_size(&self) -> usize {
        self.sender.max_datagram_size()
    }

    /// Datagrams of this size that fit into one run, beside those to the same destination that are there.
    pub(super) fn room(&self, destination: S::Address, datagram_size: usize) -> usize {
        let max = self.sender.max_batch(datagram_size);
        match self.runs.back() {
            Some(run) if run.takes(destination, datagram_size) => {
                max.saturating_sub(run.datagrams()).max(1)
            }
            _ => max,
        }
    }

    /// Sends the datagrams that `write` appends to the buffer, whose segment size it returns, or keeps them until
    /// the next [`flush`](Self::flush) for others to join them. Returns whether there were any. Call it only while
    /// nothing [is blocked](Self::is_blocked).
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        destination: S::Address,
        write: impl FnOnce(&mut Vec<u8>) -> Option<usize>,
    ) -> io::Result<bool> {
        let start = self.buffer.len();
        let Some(segment_size) = write(&mut self.buffer) else {
            self.buffer.truncate(start);
            return Ok(false);
        };
        let len = self.buffer.len() - start;
        match self.runs.back_mut() {
            Some(run)
                if run.takes(destination, segment_size) && len.is_multiple_of(segment_size) =>
            {
                run.len += len;
            }
            _ => self.runs.push_back(Run { destination, segment_size, len }),
        }
        let max = self.sender.max_batch(segment_size);
        let is_whole = self.runs.back().is_some_and(|run| run.datagrams() >= max);
        self.send_runs(cx, is_whole)?;
        Ok(true)
    }

    /// Tries to send everything that is there; returns whether any of it left.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        self.send_runs(cx, true)
    }

    /// Sends every run but the last, which may grow, and that one too if it `is_whole`.
    fn send_runs(&mut self, cx: &mut Context<'_>, is_whole: bool) -> io::Result<bool> {
        let mut any = false;
        self.blocked = false;
        while let Some(run) = self.runs.front().copied()
            && (self.runs.len() > 1 || is_whole)
        {
            let transmit = Transmit {
                destination: run.destination,
                contents: &self.buffer[self.sent..][..run.len],
                segment_size: Some(run.segment_size),
            };
            match self.sender.poll_send(cx, &transmit) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    self.blocked = true;
                    return Ok(any);
                }
            }
            any = true;
            self.sent += run.len;
            self.runs.pop_front();
        }
        if self.runs.is_empty() {
            self.buffer.clear();
            self.sent = 0;
        } else if self.sent >= MAX_SENT {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;

    use super::*;

    /// Takes runs of up to four datagrams while it has room for runs.
    #[derive(Default)]
    struct Wire {
        room: usize,
        runs: Vec<(char, Vec<u8>, usize)>,
    }

    impl DatagramSender for Wire {
        type Address = char;

        fn poll_send(
            &mut self,
            _: &mut Context<'_>,
            transmit: &Transmit<'_, char>,
        ) -> Poll<io::Result<()>> {
            if self.room == 0 {
                return Poll::Pending;
            }
            self.room -= 1;
            let segment_size = transmit.datagram_size();
            self.runs.push((transmit.destination, transmit.contents.to_vec(), segment_size));
            Poll::Ready(Ok(()))
        }

        fn max_datagram_size(&self) -> usize {
            100
        }

        fn max_batch(&self, _: usize) -> usize {
            4
        }
    }

    fn outbox(room: usize) -> Outbox<Wire> {
        Outbox::new(Wire { room, ..Wire::default() })
    }

    /// Sends `contents` as datagrams of `segment_size` bytes.
    fn send(outbox: &mut Outbox<Wire>, destination: char, contents: &str, segment_size: usize) {
        let waker = noop_waker();
        let any = outbox.send(&mut Context::from_waker(&waker), destination, |buffer| {
            buffer.extend_from_slice(contents.as_bytes());
            Some(segment_size)
        });
        assert!(any.unwrap());
    }

    fn flush(outbox: &mut Outbox<Wire>) -> bool {
        outbox.flush(&mut Context::from_waker(&noop_waker())).unwrap()
    }

    fn sent(outbox: &Outbox<Wire>) -> Vec<(char, &str, usize)> {
        let text = |contents| std::str::from_utf8(contents).unwrap();
        outbox.sender.runs.iter().map(|(to, contents, size)| (*to, text(contents), *size)).collect()
    }

    #[test]
    fn datagrams_of_one_size_to_one_destination_leave_together() {
        let mut outbox = outbox(9);
        send(&mut outbox, 'a', "11", 2);
        send(&mut outbox, 'a', "2233", 2);
        assert_eq!(outbox.room('a', 2), 1);
        assert_eq!(outbox.room('a', 3), 4);
        assert_eq!(outbox.room('b', 2), 4);
        assert_eq!(sent(&outbox), []);
        assert!(flush(&mut outbox));
        assert_eq!(sent(&outbox), [('a', "112233", 2)]);
        assert!(!flush(&mut outbox));
    }

    #[test]
    fn a_whole_run_leaves_at_once() {
        let mut outbox = outbox(9);
        send(&mut outbox, 'a', "112233", 2);
        send(&mut outbox, 'a', "44", 2);
        assert_eq!(sent(&outbox), [('a', "11223344", 2)]);
    }

    #[test]
    fn another_size_or_destination_begins_another_run() {
        let mut outbox = outbox(9);
        send(&mut outbox, 'a', "11", 2);
        send(&mut outbox, 'a', "222", 3);
        send(&mut outbox, 'b', "333", 3);
        send(&mut outbox, 'b', "4", 1);
        flush(&mut outbox);
        assert_eq!(
            sent(&outbox),
            [('a', "11", 2), ('a', "222", 3), ('b', "333", 3), ('b', "4", 1)]
        );
    }

    #[test]
    fn nothing_is_put_behind_a_datagram_that_is_shorter_than_its_run() {
        let mut outbox = outbox(9);
        send(&mut outbox, 'a', "112", 2);
        send(&mut outbox, 'a', "33", 2);
        send(&mut outbox, 'a', "445", 2);
        flush(&mut outbox);
        assert_eq!(sent(&outbox), [('a', "112", 2), ('a', "33", 2), ('a', "445", 2)]);
    }

    #[test]
    fn what_the_transport_has_no_room_for_is_sent_later_and_in_turn() {
        let mut outbox = outbox(0);
        send(&mut outbox, 'a', "11", 2);
        assert!(!outbox.is_blocked());
        send(&mut outbox, 'b', "22", 2);
        assert!(outbox.is_blocked());
        assert!(!flush(&mut outbox));
        assert!(outbox.is_blocked());

        outbox.sender.room = 1;
        assert!(flush(&mut outbox));
        assert!(outbox.is_blocked());
        outbox.sender.room = 2;
        assert!(flush(&mut outbox));
        assert!(!outbox.is_blocked());
        assert_eq!(sent(&outbox), [('a', "11", 2), ('b', "22", 2)]);
    }

    #[test]
    fn what_was_begun_and_not_finished_leaves_no_trace() {
        let mut outbox = outbox(9);
        send(&mut outbox, 'a', "11", 2);
        let waker = noop_waker();
        let any = outbox.send(&mut Context::from_waker(&waker), 'a', |buffer| {
            buffer.push(b'x');
            None
        });
        assert!(!any.unwrap());
        send(&mut outbox, 'a', "22", 2);
        flush(&mut outbox);
        assert_eq!(sent(&outbox), [('a', "1122", 2)]);
    }

    #[test]
    fn the_buffer_does_not_grow_with_what_has_left() {
        let mut outbox = outbox(usize::MAX);
        for run in 0..1000_u32 {
            // The destination changes each time, so that one run is always kept.
            send(&mut outbox, if run % 2 == 0 { 'a' } else { 'b' }, &"x".repeat(3 * 1000), 1000);
        }
        assert!(outbox.buffer.len() <= MAX_SENT + 2 * 3000, "{} bytes", outbox.buffer.len());
        flush(&mut outbox);
        assert_eq!(outbox.sender.runs.len(), 1000);
        assert!(outbox.buffer.is_empty());
    }
}
