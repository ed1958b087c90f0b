//! What both ends of a session agree on, and what each decides for itself.

use std::ops::RangeInclusive;
use std::time::Duration;

use towline_wire::data::{Codec, MAX_REQUESTABLE_SEGMENTS};
use towline_wire::{Dialect, Mtu};

use crate::recv::SEGMENT_CHARGE;

/// Whether lost segments are recovered (RFC-0007, 4.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Acknowledgements, requests and retransmissions, until everything arrived.
    #[default]
    Reliable,
    /// Segments only: what is lost stays lost.
    Unreliable,
}

/// In which order frames reach the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// As they were sent. An unreliable reader skips what does not come.
    #[default]
    Ordered,
    /// As they become complete.
    Unordered,
}

/// Whether timers follow the measured path or the letter of RFC-0007, 4.8.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// Acknowledgements and requests as early as the path makes sensible; the configured times are
    /// upper bounds.
    #[default]
    Adaptive,
    /// The configured times, exactly.
    Fixed,
}

/// A connection's settings, valid as built.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) codec: Codec,
    pub(crate) mode: Mode,
    pub(crate) delivery: Delivery,
    pub(crate) timing: Timing,
    pub(crate) frame_size: usize,
    pub(crate) frame_timeout: Duration,
    pub(crate) ack_delay: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) progress_timeout: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) initial_rtt: Duration,
    pub(crate) max_retransmissions: Option<u32>,
    pub(crate) send_buffer: usize,
    pub(crate) receive_buffer: usize,
    pub(crate) receive_window: usize,
    pub(crate) reorder_depth: usize,
    pub(crate) close_on_peer_finish: bool,
}

impl Config {
    /// Settings for sessions of this dialect and MTU, everything else at its default.
    pub fn builder(dialect: Dialect, mtu: Mtu) -> ConfigBuilder {
        ConfigBuilder {
            codec: Codec::new(dialect, mtu),
            mode: Mode::default(),
            delivery: Delivery::default(),
            timing: Timing::default(),
            frame_size: None,
            //= docs/spec/data.md#requesting
            //# In reliable mode a receiver MUST request a frame that is known to be incomplete
            //# within the frame timeout, which is 800 milliseconds by default.
            frame_timeout: Duration::from_millis(800),
            //= docs/spec/data.md#acknowledging
            //# In reliable mode a receiver SHOULD acknowledge a frame within 100 milliseconds of
            //# its completion, or 40 in `hoprnet`.
            ack_delay: Duration::from_millis(if dialect == Dialect::Hoprnet { 40 } else { 100 }),
            idle_timeout: Duration::from_secs(180),
            progress_timeout: None,
            linger: Duration::from_secs(10),
            initial_rtt: Duration::from_millis(100),
            max_retransmissions: None,
            send_buffer: None,
            receive_buffer: None,
            receive_window: RELIABLE_WINDOW,
            reorder_depth: 16,
            close_on_peer_finish: None,
        }
    }

    /// The codec for the session's dialect and MTU.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether lost segments are recovered.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The longest frame that is sent, in bytes.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        self.frame_size
    }

    pub(crate) fn is_reliable(&self) -> bool {
        self.mode == Mode::Reliable
    }
}

/// At most this many frames are unacknowledged (RFC-0007, 4.8.2).
pub(crate) const RELIABLE_WINDOW: usize = 255;

/// Bytes that each direction may buffer at least unless configured otherwise.
const DEFAULT_BUFFER: usize = 4 << 20;

/// Settings under construction; [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder {
    codec: Codec,
    mode: Mode,
    delivery: Delivery,
    timing: Timing,
    frame_size: Option<usize>,
    frame_timeout: Duration,
    ack_delay: Duration,
    idle_timeout: Duration,
    progress_timeout: Option<Duration>,
    linger: Duration,
    initial_rtt: Duration,
    max_retransmissions: Option<u32>,
    send_buffer: Option<usize>,
    receive_buffer: Option<usize>,
    receive_window: usize,
    reorder_depth: usize,
    close_on_peer_finish: Option<bool>,
}

impl ConfigBuilder {
    /// Another MTU than the builder was made for.
    pub fn mtu(mut self, mtu: Mtu) -> Self {
        self.codec = Codec::new(self.codec.dialect(), mtu);
        self
    }

    /// Whether lost segments are recovered. Reliable by default.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// In which order frames are delivered. Ordered by default.
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Whether timers adapt. Adaptive by default.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// The longest frame that is sent, in bytes; at most what the dialect's segment count holds.
    ///
    /// By default eight segments in reliable mode, so that every segment can be requested again, and
    /// the dialect's most in unreliable mode.
    pub fn frame_size(mut self, bytes: usize) -> Self {
        self.frame_size = Some(bytes);
        self
    }

    /// How long a frame may stay incomplete before it is requested (reliable) or skipped (unreliable,
    /// ordered), at most. 10 ms to 60 s; 800 ms by default (RFC-0007, 4.8.2).
    pub fn frame_timeout(mut self, timeout: Duration) -> Self {
        self.frame_timeout = timeout;
        self
    }

    /// How long an acknowledgement waits for others, at most. 0 to 1 s; 100 ms by default (RFC-0007,
    /// 4.8.2), 40 ms in `hoprnet`.
    pub fn ack_delay(mut self, delay: Duration) -> Self {
        self.ack_delay = delay;
        self
    }

    /// How long the peer may be silent while it owes acknowledgements or missing segments. 1 s to one
    /// day; 180 s by default.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How long nothing new may be acknowledged while something is due, though the peer shows life. 1
    /// s to one day, or `None`, the default: a reader may be slow for as long as it likes.
    pub fn progress_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.progress_timeout = timeout;
        self
    }

    /// How long to wait for a peer that said it was finished and owes something yet. 0 to 600 s; 10 s
    /// by default.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// The round-trip time to assume before it is measured. 1 µs to 10 s; 100 ms by default.
    pub fn initial_rtt(mut self, rtt: Duration) -> Self {
        self.initial_rtt = rtt;
        self
    }

    /// How often a frame is retransmitted before the session ends with
    /// [`ConnectionError::RetransmissionLimit`](crate::ConnectionError::RetransmissionLimit).
    ///
    /// `None`, the default, goes on while the peer shows life.
    pub fn max_retransmissions(mut self, limit: Option<u32>) -> Self {
        self.max_retransmissions = limit;
        self
    }

    /// Bytes of frames that may wait for transmission or acknowledgement. From one frame to 1 GiB; by
    /// default 4 MiB, or a window of frames if that is more.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Bytes of received data that may wait for completion or for the application. From two of the
    /// dialect's longest frames to 1 GiB; by default 4 MiB, or twice a window of
    /// frames of eight segments if that is more, so that a reader can stop its peer without losing anything.
    ///
    /// The frame that all others wait for is taken although the buffer is full: a peer that sets out to do
    /// so can make an end keep half as much again and two longest frames. Up to 256 KiB of it may each hold
    /// on to more memory, where the transport receives many datagrams into one buffer.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Frames beyond the last delivered one that are kept. 255 in reliable mode; 1 to 65535 in
    /// unreliable mode, 255 by default.
    pub fn receive_window(mut self, frames: usize) -> Self {
        self.receive_window = frames;
        self
    }

    /// Complete frames that may wait behind a gap before an unreliable, ordered reader skips it. 1 to
    /// 65535; 16 by default.
    pub fn reorder_depth(mut self, frames: usize) -> Self {
        self.reorder_depth = frames;
        self
    }

    /// Whether we finish as soon as the peer has finished (RFC-0007, 4.9, to the letter), or keep our
    /// direction open as TCP does. By default to the letter in unreliable mode and in `hoprnet`.
    pub fn close_on_peer_finish(mut self, close: bool) -> Self {
        self.close_on_peer_finish = Some(close);
        self
    }

    /// The settings, if they are valid.
    ///
    /// # Errors
    /// The first setting that is out of range, with its range.
    pub fn build(self) -> Result<Config, ConfigError> {
        const MS: fn(u64) -> Duration = Duration::from_millis;
        let codec = self.codec;
        let reliable = self.mode == Mode::Reliable;
        let longest_frame = codec.max_frame_len();
        let requestable = codec.max_segment_data() * usize::from(MAX_REQUESTABLE_SEGMENTS);
        //= docs/spec/data.md#segmentation
        //# In reliable mode a sender SHOULD NOT send frames of more than 8 segments.
        let default_frame = if reliable { requestable } else { longest_frame };
        let frame_size = self.frame_size.unwrap_or(default_frame);
        let window =
            if reliable { RELIABLE_WINDOW..=RELIABLE_WINDOW } else { 1..=usize::from(u16::MAX) };

        //= docs/spec/data.md#segmentation
        //# A sender MUST NOT send frames of more than 64 segments, or 63 in `hoprnet`.
        number("frame_size", frame_size, 1..=longest_frame)?;
        let frames = if reliable { RELIABLE_WINDOW } else { 1 };
        let send_buffer = self.send_buffer.unwrap_or(DEFAULT_BUFFER.max(frames * frame_size));
        number("send_buffer", send_buffer, frame_size..=1 << 30)?;
        // A window of frames may be under way when the reader, with half of the buffer full, stops them.
        let frame_charge = requestable + usize::from(MAX_REQUESTABLE_SEGMENTS) * SEGMENT_CHARGE;
        let window_charge = (RELIABLE_WINDOW + 1) * frame_charge;
        let least = DEFAULT_BUFFER.max(2 * longest_frame);
        let receive_buffer = self.receive_buffer.unwrap_or(least.max(2 * window_charge));
        number("receive_buffer", receive_buffer, 2 * longest_frame..=1 << 30)?;
        number("receive_window", self.receive_window, window)?;
        number("reorder_depth", self.reorder_depth, 1..=usize::from(u16::MAX))?;
        time("frame_timeout", self.frame_timeout, MS(10)..=MS(60_000))?;
        time("ack_delay", self.ack_delay, MS(0)..=MS(1000))?;
        time("idle_timeout", self.idle_timeout, MS(1000)..=MS(86_400_000))?;
        if let Some(timeout) = self.progress_timeout {
            time("progress_timeout", timeout, MS(1000)..=MS(86_400_000))?;
        }
        time("linger", self.linger, MS(0)..=MS(600_000))?;
        time("initial_rtt", self.initial_rtt, Duration::from_micros(1)..=MS(10_000))?;

        Ok(Config {
            codec,
            mode: self.mode,
            delivery: self.delivery,
            timing: self.timing,
            frame_size,
            frame_timeout: self.frame_timeout,
            ack_delay: self.ack_delay,
            idle_timeout: self.idle_timeout,
            progress_timeout: self.progress_timeout,
            linger: self.linger,
            initial_rtt: self.initial_rtt,
            max_retransmissions: self.max_retransmissions,
            send_buffer,
            receive_buffer,
            receive_window: self.receive_window,
            reorder_depth: self.reorder_depth,
            //= docs/spec/data.md#half-close
            //# In reliable mode, in `rfc0007` and `rfc0009`, an end whose peer has finished MUST
            //# keep its own direction open by default.
            close_on_peer_finish: self
                .close_on_peer_finish
                .unwrap_or(!reliable || codec.dialect() == Dialect::Hoprnet),
        })
    }
}

/// A setting that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A count or a size.
    #[error("{field} is {value}, which is not in {range:?}")]
    Number {
        /// The setting.
        field: &'static str,
        /// What it was set to.
        value: usize,
        /// What is allowed.
        range: RangeInclusive<usize>,
    },
    /// A time.
    #[error("{field} is {value:?}, which is not in {range:?}")]
    Time {
        /// The setting.
        field: &'static str,
        /// What it was set to.
        value: Duration,
        /// What is allowed.
        range: RangeInclusive<Duration>,
    },
}

fn number(
    field: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    if range.contains(&value) { Ok(()) } else { Err(ConfigError::Number { field, value, range }) }
}

fn time(
    field: &'static str,
    value: Duration,
    range: RangeInclusive<Duration>,
) -> Result<(), ConfigError> {
    if range.contains(&value) { Ok(()) } else { Err(ConfigError::Time { field, value, range }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= docs/spec/data.md#segmentation
    //= type=test
    //# A sender MUST NOT send frames of more than 64 segments,
    #[test]
    fn a_setting_out_of_range_is_named_with_its_range() {
        let mtu = Mtu::new(256).unwrap();
        let error = Config::builder(Dialect::Rfc0007, mtu).frame_size(0).build().unwrap_err();
        assert_eq!(error.to_string(), "frame_size is 0, which is not in 1..=15744");
    }

    #[test]
    fn a_reliable_window_is_the_rfcs() {
        let builder = Config::builder(Dialect::Rfc0007, Mtu::new(256).unwrap()).receive_window(512);
        assert!(builder.clone().build().is_err());
        assert!(builder.mode(Mode::Unreliable).build().is_ok());
    }

    //= docs/spec/data.md#acknowledging
    //= type=test
    //# or 40 in `hoprnet`.
    //= docs/spec/data.md#silence
    //= type=test
    //# which is 180 seconds by default.
    //= docs/spec/data.md#unreliable
    //= type=test
    //# by default.
    #[test]
    fn the_defaults_are_those_of_the_specification() {
        for dialect in Dialect::ALL {
            let config = Config::builder(dialect, Mtu::new(256).unwrap()).build().unwrap();
            let times = [config.frame_timeout, config.ack_delay, config.idle_timeout];
            let ack_delay = if dialect == Dialect::Hoprnet { 40 } else { 100 };
            assert_eq!(times, [800, ack_delay, 180_000].map(Duration::from_millis));
            assert_eq!((config.progress_timeout, config.max_retransmissions), (None, None));
            assert_eq!(config.reorder_depth, 16);
        }
    }

    //= docs/spec/data.md#segmentation
    //= type=test
    //# In reliable mode a sender SHOULD NOT send frames of more than 8 segments.
    #[test]
    fn reliable_frames_have_eight_segments_at_most_unless_told_otherwise() {
        let config = Config::builder(Dialect::Rfc0007, Mtu::new(256).unwrap()).build().unwrap();
        assert_eq!(config.frame_size, 8 * 246);
    }

    #[test]
    fn defaults_are_valid_for_every_dialect_mode_and_mtu() {
        for dialect in Dialect::ALL {
            for mode in [Mode::Reliable, Mode::Unreliable] {
                for mtu in [16, 256, 1500, 9000, 32_767] {
                    let mtu = Mtu::new(mtu).unwrap();
                    Config::builder(dialect, mtu).mode(mode).build().unwrap();
                }
            }
        }
    }
}
