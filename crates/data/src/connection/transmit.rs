//! Messages on their way into the driver's buffer.

use std::time::{Duration, Instant};

use towline_wire::Tag;
use towline_wire::data::{FrameId, MAX_REQUESTABLE_SEGMENTS, SegmentHeader};

use super::ending::FAREWELL_SPACING;
use super::{Connection, State};
use crate::event::Transmit;
use crate::timer::Timer;

/// No frame is worth sending faster than one in this time if the path is not known to carry more: sessions
/// by the thousand share a short path, and what each of them insists on adds up.
const LEAST_PERIOD: Duration = Duration::from_millis(20);

impl Connection {
    pub(super) fn transmit_acknowledgement(
        &mut self,
        now: Instant,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let max = self.config.codec.max_acknowledged_frames();
        let named = self.acks.next_message(max, &self.recv)?;
        if self.acks.is_empty() {
            self.timers.clear(Timer::Acknowledge);
        } else {
            self.timers.set(Timer::Acknowledge, now);
        }
        let frames = named.iter().filter_map(|&id| FrameId::new(u32::try_from(id).ok()?));
        let start = buf.len();
        buf.extend_from_slice(prefix(&self.prefix));
        let written = self.config.codec.encode_acknowledgement(frames, buf);
        debug_assert!(written.is_ok(), "sorted, without duplicates and within the limit");
        self.stats.acknowledgements_sent += 1;
        //= docs/spec/data.md#datagram
        //# A sender MUST put one Data message in a datagram.
        Some(Transmit { datagrams: 1, segment_size: buf.len() - start })
    }

    pub(super) fn transmit_request(&mut self, buf: &mut Vec<u8>) -> Option<Transmit> {
        if self.requests.is_empty() {
            return None;
        }
        let count = self.requests.len().min(self.config.codec.max_request_entries());
        let start = buf.len();
        buf.extend_from_slice(prefix(&self.prefix));
        let written = self.config.codec.encode_request(self.requests.drain(..count), buf);
        debug_assert!(written.is_ok(), "entries ascend and are within the limit");
        self.stats.requests_sent += 1;
        Some(Transmit { datagrams: 1, segment_size: buf.len() - start })
    }

    pub(super) fn transmit_farewell(
        &mut self,
        now: Instant,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let farewell = self.farewell.as_mut().filter(|farewell| farewell.due)?;
        farewell.due = false;
        farewell.left -= 1;
        let header = SegmentHeader::terminating(farewell.id);
        if farewell.left > 0 {
            self.timers.set(Timer::Probe, now + FAREWELL_SPACING);
        } else {
            self.farewell = None;
            self.events.drained |= matches!(self.state, State::Failed(_));
        }
        let start = buf.len();
        buf.extend_from_slice(prefix(&self.prefix));
        let written = self.config.codec.encode_segment(header, &[], buf);
        debug_assert!(written.is_ok(), "a terminating segment fits any MTU");
        self.stats.segments_sent += 1;
        Some(Transmit { datagrams: 1, segment_size: buf.len() - start })
    }

    /// Eight segments, the frame that can be requested whole, in a round trip, or in [`LEAST_PERIOD`] if that
    /// is longer; bytes per second.
    fn least_rate(&self) -> u64 {
        let frame = self.config.codec.max_message_len() * usize::from(MAX_REQUESTABLE_SEGMENTS);
        let period = self.rtt.smoothed().max(LEAST_PERIOD);
        (frame as f64 / period.as_secs_f64()) as u64
    }

    pub(super) fn transmit_segments(
        &mut self,
        now: Instant,
        max_datagrams: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if !self.send.has_pending() || self.state != State::Open {
            return None;
        }
        let reliable = self.config.is_reliable();
        let waited = self.send.awaits_acknowledgement();
        let rate = self.controller.pacing_rate().filter(|_| reliable);
        let mut max = max_datagrams;
        let mut budget = u64::MAX;
        if reliable {
            //= docs/spec/data.md#send-window
            //# In reliable mode a sender MUST limit the bytes that it has under way to what the
            //# path carries.
            budget = self.controller.window().saturating_sub(self.send.in_flight);
            if !waited {
                // A frame that is alone may be sent whole: only its acknowledgement opens the window.
                budget = budget.max(1);
            }
            if budget == 0 {
                if self.probe_credit == 0 {
                    return None;
                }
                max = max.min(self.probe_credit as usize);
                budget = u64::MAX;
            }
        }
        if let Some(rate) = rate {
            // However little was delivered of late, recovery goes on.
            let rate = rate.max(self.least_rate());
            let paced = self.pacer.budget(now, rate);
            if paced == 0 {
                self.timers.set_no_later(Timer::Pace, self.pacer.next(rate));
                return None;
            }
            budget = budget.min(paced);
        }
        let run = self.send.transmit(now, prefix(&self.prefix), max, budget, buf);
        if run.datagrams == 0 {
            return None;
        }
        self.probe_credit = self.probe_credit.saturating_sub(run.datagrams as u32);
        self.stats.segments_sent += run.datagrams as u64;
        self.stats.segments_retransmitted += run.resent;
        if reliable {
            self.pacer.spend(run.message_bytes);
            if !self.send.has_pending() && self.send.in_flight < self.controller.window() {
                self.send.rate.on_app_limited(self.send.in_flight);
            }
            if self.send.awaits_acknowledgement() {
                if !waited {
                    self.last_progress = now;
                }
                self.timers.set_no_later(Timer::Probe, now + self.probe_timeout(false));
            }
        }
        self.settle(now);
        Some(Transmit { datagrams: run.datagrams, segment_size: run.size })
    }
}

fn prefix(tag: &Option<[u8; Tag::LEN]>) -> &[u8] {
    tag.as_ref().map_or(&[], |tag| tag)
}
