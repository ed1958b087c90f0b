//! The settings of the connection, chosen by the input.

use std::time::Duration;

use towline_data::{Config, Delivery, Mode, Timing};
use towline_wire::data::Codec;
use towline_wire::{Dialect, Mtu, Tag};

use super::MS;
use crate::choice::{Choices, Choose};

pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) tag: Option<Tag>,
    pub(super) reliable: bool,
    pub(super) ordered: bool,
    /// The receive buffer is so large that no input fills it.
    pub(super) roomy: bool,
    pub(super) receive_buffer: usize,
    pub(super) send_buffer: usize,
    pub(super) idle_timeout: Duration,
    pub(super) progress_timeout: Option<Duration>,
    pub(super) max_retransmissions: Option<u32>,
    /// It finishes when its peer does.
    pub(super) closes_on_peer_finish: bool,
    /// It takes the silence of a peer for its end, as deployed peers and those that follow the letter of
    /// RFC-0007, 4.9 want it, or needs no end at all, as unreliable ones do.
    pub(super) literal: bool,
}

impl Settings {
    pub(super) fn chosen(choices: &mut Choices<'_>) -> Self {
        let dialect = choices.one_of(&Dialect::ALL);
        let mtu = Mtu::new(choices.one_of(&[64, 16, 256, 1018, 2100])).unwrap_or(Mtu::MIN);
        let mode = choices.one_of(&[Mode::Reliable, Mode::Reliable, Mode::Unreliable]);
        let delivery = choices.one_of(&[Delivery::Ordered, Delivery::Unordered]);
        let reliable = mode == Mode::Reliable;
        let idle_timeout = choices.one_of(&[MS(180_000), MS(1000), MS(30_000)]);
        let progress_timeout = choices.one_of(&[None, None, Some(MS(1000)), Some(MS(20_000))]);
        let max_retransmissions = choices.one_of(&[None, None, Some(0), Some(3)]);
        let closes = choices.one_of(&[None, None, Some(true), Some(false)]);
        let mut builder = Config::builder(dialect, mtu)
            .mode(mode)
            .delivery(delivery)
            .timing(choices.one_of(&[Timing::Adaptive, Timing::Fixed]))
            .idle_timeout(idle_timeout)
            .progress_timeout(progress_timeout)
            .max_retransmissions(max_retransmissions)
            .linger(choices.one_of(&[MS(10_000), MS(0), MS(300)]))
            .initial_rtt(choices.one_of(&[MS(100), Duration::from_micros(1), MS(10_000)]))
            .frame_timeout(choices.one_of(&[MS(800), MS(10), MS(60_000)]));
        if let Some(close) = closes {
            builder = builder.close_on_peer_finish(close);
        }
        if !reliable {
            builder = builder
                .receive_window(choices.one_of(&[255, 1, 8, 65_535]))
                .reorder_depth(choices.one_of(&[16, 1, 255]));
        }
        let codec = Codec::new(dialect, mtu);
        let (segment, longest) = (codec.max_segment_data(), codec.max_frame_len());
        let frame_size = choices.one_of(&[segment * 8, segment * 8, longest, 1]);
        let roomy = choices.one_of(&[true, true, false]);
        let receive_buffer = if roomy { 64 << 20 } else { 2 * longest };
        let send_buffer = choices.one_of(&[1 << 20, 1 << 20, frame_size]);
        let builder =
            builder.frame_size(frame_size).receive_buffer(receive_buffer).send_buffer(send_buffer);
        let tag = super::some_tag(choices);
        let closes_on_peer_finish = closes.unwrap_or(!reliable || dialect == Dialect::Hoprnet);
        let config = builder.build();
        let config = config.unwrap_or_else(|error| panic!("settings within their ranges: {error}"));
        Self {
            config,
            tag,
            reliable,
            ordered: delivery == Delivery::Ordered,
            roomy,
            receive_buffer,
            send_buffer,
            idle_timeout,
            progress_timeout,
            max_retransmissions,
            closes_on_peer_finish,
            literal: closes_on_peer_finish || dialect == Dialect::Hoprnet || !reliable,
        }
    }
}
