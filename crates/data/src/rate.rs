//! How fast the network delivers: samples of the delivery rate, taken as frames are acknowledged.

use std::time::{Duration, Instant};

/// The state of delivery when a frame was sent; what was delivered since, and in which time, is the
/// sample that its acknowledgement yields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
}

/// What one acknowledgement message says about the rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateSample {
    /// Bytes per second.
    pub(crate) rate: u64,
    /// Delivered bytes when the sample's frame was sent: tells round trips apart.
    pub(crate) prior_delivered: u64,
    pub(crate) app_limited: bool,
}

#[derive(Debug)]
pub(crate) struct RateSampler {
    pub(crate) delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    /// Samples of frames sent before this much was delivered say what the application offered, not
    /// what the network can do.
    app_limited_until: u64,
}

impl RateSampler {
    pub(crate) fn new(now: Instant) -> Self {
        Self { delivered: 0, delivered_at: now, first_sent_at: now, app_limited_until: 0 }
    }

    /// A frame's first segment goes out.
    pub(crate) fn on_sent(&mut self, now: Instant, in_flight: u64) -> Snapshot {
        if in_flight == 0 {
            // An idle time is nobody's delivery time.
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Snapshot {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
        }
    }

    /// The application has nothing to send though the window would let it.
    pub(crate) fn on_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = self.delivered + in_flight.max(1);
    }

    pub(crate) fn on_delivered(&mut self, now: Instant, bytes: u64) {
        self.delivered += bytes;
        self.delivered_at = now;
    }

    /// The sample of a frame, sent whole at `sent_at`, after all that one message acknowledged was
    /// counted as delivered.
    pub(crate) fn sample(
        &mut self,
        now: Instant,
        snapshot: Snapshot,
        sent_at: Instant,
    ) -> Option<RateSample> {
        self.first_sent_at = self.first_sent_at.max(sent_at);
        let send_time = sent_at.saturating_duration_since(snapshot.first_sent_at);
        let delivery_time = now.saturating_duration_since(snapshot.delivered_at);
        let interval = send_time.max(delivery_time);
        if interval < Duration::from_micros(1) {
            return None;
        }
        let bytes = self.delivered - snapshot.delivered;
        Some(RateSample {
            rate: (bytes as f64 / interval.as_secs_f64()) as u64,
            prior_delivered: snapshot.delivered,
            // Also if it came to that only after the frame was sent, within the time measured.
            app_limited: self.app_limited_until > snapshot.delivered,
        })
    }
}
