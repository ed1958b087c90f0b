//! What a UDP socket has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads the counters of a UDP socket; clones read the same ones.
#[derive(Clone, Debug, Default)]
pub struct UdpMonitor {
    counters: Arc<Counters>,
}

/// What a UDP socket has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpStats {
    /// Datagrams that the kernel has taken.
    pub sent: u64,
    /// Datagrams that the kernel has refused: too large, no route, not permitted.
    pub send_dropped: u64,
    /// Datagrams received.
    pub received: u64,
    /// Errors of single peers that the kernel reported instead of a datagram, and that were passed over.
    pub recv_errors: u64,
    /// Runs that the kernel refused to segment; they were sent datagram by datagram instead.
    pub offload_refused: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    send_dropped: AtomicU64,
    received: AtomicU64,
    recv_errors: AtomicU64,
    offload_refused: AtomicU64,
}

impl UdpMonitor {
    /// Returns the counters as they are now.
    pub fn stats(&self) -> UdpStats {
        let counters = &*self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UdpStats {
            sent: read(&counters.sent),
            send_dropped: read(&counters.send_dropped),
            received: read(&counters.received),
            recv_errors: read(&counters.recv_errors),
            offload_refused: read(&counters.offload_refused),
        }
    }

    pub(super) fn sent(&self, datagrams: usize) {
        self.counters.sent.fetch_add(datagrams as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, datagrams: usize) {
        self.counters.received.fetch_add(datagrams as u64, Ordering::Relaxed);
    }

    pub(super) fn offload_refused(&self) {
        self.counters.offload_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether the error should be logged: the more there were, the fewer are.
    pub(super) fn send_dropped(&self, datagrams: usize) -> bool {
        let before = self.counters.send_dropped.fetch_add(datagrams as u64, Ordering::Relaxed);
        is_worth_logging(before, datagrams as u64)
    }

    /// Returns whether the error should be logged.
    pub(super) fn recv_error(&self) -> bool {
        is_worth_logging(self.counters.recv_errors.fetch_add(1, Ordering::Relaxed), 1)
    }
}

/// Whether the count has reached another power of two. A peer that causes errors at will gets 64 lines at most.
fn is_worth_logging(before: u64, more: u64) -> bool {
    (before + more).checked_ilog2() != before.checked_ilog2()
}
