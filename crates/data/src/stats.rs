//! What a connection has counted.

use std::time::Duration;

/// Counters since the connection began, and gauges as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams handed to [`poll_transmit`](crate::Connection::poll_transmit)'s buffer.
    pub datagrams_sent: u64,
    /// Bytes of them, tags included.
    pub bytes_sent: u64,
    /// Datagrams given to [`handle_datagram`](crate::Connection::handle_datagram).
    pub datagrams_received: u64,
    /// Bytes of them.
    pub bytes_received: u64,
    /// Segments sent, retransmissions included.
    pub segments_sent: u64,
    /// Segments sent again.
    pub segments_retransmitted: u64,
    /// Segments received and of use.
    pub segments_received: u64,
    /// Segments received that were there already.
    pub segments_duplicate: u64,
    /// Segments received and dropped: outside the window, over the buffer, or at odds with their frame.
    pub segments_dropped: u64,
    /// Frames queued for sending.
    pub frames_sent: u64,
    /// Frames acknowledged by the peer.
    pub frames_acknowledged: u64,
    /// Frames handed to the application.
    pub frames_received: u64,
    /// Frames that an unreliable reader gave up.
    pub frames_skipped: u64,
    /// Retransmission requests sent.
    pub requests_sent: u64,
    /// Retransmission requests received.
    pub requests_received: u64,
    /// Acknowledgement messages sent.
    pub acknowledgements_sent: u64,
    /// Acknowledgement messages received.
    pub acknowledgements_received: u64,
    /// Datagrams or messages that did not decode.
    pub malformed: u64,
    /// Messages that make no sense here: acknowledgements of what was never sent, requests for it, and
    /// either of them in unreliable mode.
    pub unexpected: u64,
    /// Times our own retransmission timer found something overdue.
    pub timeouts: u64,
    /// Smoothed round-trip time, once measured.
    pub rtt: Option<Duration>,
    /// Bytes under way.
    pub bytes_in_flight: u64,
    /// Bytes that may be under way.
    pub congestion_window: u64,
    /// Bytes per second that may leave, if limited.
    pub pacing_rate: Option<u64>,
    /// Bytes charged for received data that waits for completion or for the application.
    pub receive_buffered: usize,
}
