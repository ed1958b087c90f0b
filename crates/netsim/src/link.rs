//! One direction of a path.

use std::time::Instant;

use crate::bottleneck::Bottleneck;
use crate::config::{LinkConfig, LinkConfigError};
use crate::dice::{Dice, Draws, LossState};
use crate::in_flight::InFlight;
use crate::packet::Packet;

/// One direction of a path: packets and the time in, packets and the time out.
///
/// Times are expected not to go backwards; a link given an earlier time than before does not panic, it sees packets as
/// not yet arrived.
#[derive(Debug)]
pub struct Link<P> {
    config: LinkConfig,
    dice: Dice,
    loss: LossState,
    bottleneck: Bottleneck,
    in_flight: InFlight<P>,
    /// Arrival of the latest packet that was not held back: what in-order packets may not arrive before.
    last_arrival: Option<Instant>,
    /// The highest number among the packets that have been delivered.
    newest_delivered: u64,
    stats: LinkStats,
}

/// What became of the packets that a link was given.
///
/// Every packet sent, and every duplicate, ends up in exactly one of `delivered`, `lost`, `queue_dropped` and
/// `too_large`, or is still [in flight](Self::in_flight).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Packets given to the link.
    pub sent: u64,
    /// Packets taken out of the link, duplicates included.
    pub delivered: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Packets for which the queue had no room.
    pub queue_dropped: u64,
    /// Packets above the `mtu`.
    pub too_large: u64,
    /// Copies that the link made.
    pub duplicated: u64,
    /// Packets delivered after a packet that was sent later.
    pub reordered: u64,
    /// Packets with a flipped bit.
    pub corrupted: u64,
    /// Bytes given to the link.
    pub sent_bytes: u64,
    /// Bytes taken out of the link, duplicates included.
    pub delivered_bytes: u64,
    /// Bytes in front of the bottleneck when the link was last used.
    pub queue_bytes: usize,
    /// The most bytes that were ever in front of the bottleneck.
    pub max_queue_bytes: usize,
}

impl<P: Packet> Link<P> {
    /// Creates a link.
    ///
    /// # Errors
    ///
    /// Fails if the configuration is not valid.
    pub fn new(config: LinkConfig, seed: u64) -> Result<Self, LinkConfigError> {
        config.validate()?;
        Ok(Self {
            config,
            dice: Dice::new(seed),
            loss: LossState::default(),
            bottleneck: Bottleneck::default(),
            in_flight: InFlight::new(),
            last_arrival: None,
            newest_delivered: 0,
            stats: LinkStats::default(),
        })
    }

    /// Returns the configuration in force.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Changes the configuration for the packets sent from now on; those on the way or queued keep their arrival.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if the configuration is not valid.
    pub fn set_config(&mut self, config: LinkConfig) -> Result<(), LinkConfigError> {
        config.validate()?;
        self.config = config;
        Ok(())
    }

    /// Gives the link a packet.
    pub fn send(&mut self, now: Instant, mut packet: P) {
        let config = &self.config;
        let len = packet.len();
        let sequence = self.stats.sent;
        self.stats.sent += 1;
        self.stats.sent_bytes += len as u64;

        // Drawn before anything can drop the packet: which packets of a sequence are lost on the way must not depend on
        // which of them the queue has dropped.
        let draws = if config.is_random() { self.dice.roll() } else { Draws::UNUSED };
        let lost = self.loss.decide(config.loss, &draws);

        if config.mtu.is_some_and(|mtu| len > mtu) {
            self.stats.too_large += 1;
            return;
        }
        let Some(departure) = self.bottleneck.admit(now, len, config.rate, config.queue) else {
            self.stats.queue_dropped += 1;
            return;
        };
        if lost {
            self.stats.lost += 1;
            return;
        }

        if draws.corrupt.happens(config.corrupt) && len > 0 {
            packet.corrupt(draws.corrupt_bit.below(8 * len));
            self.stats.corrupted += 1;
        }
        let mut arrival = departure + config.delay + config.jitter.mul_f64(draws.jitter.unit());
        if !config.jitter_reorders
            && let Some(last) = self.last_arrival
        {
            arrival = arrival.max(last);
        }
        let held_back = draws.reorder.happens(config.reorder.probability);
        if held_back {
            arrival += config.reorder.delay;
        } else {
            self.last_arrival = Some(arrival);
        }
        if draws.duplicate.happens(config.duplicate) {
            self.in_flight.push(arrival, sequence, packet.clone(), held_back);
            self.stats.duplicated += 1;
        }
        self.in_flight.push(arrival, sequence, packet, held_back);
    }

    /// Returns when the next packet arrives; `None` if none is on the way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.in_flight.next_arrival()
    }

    /// Takes the next packet that has arrived by `now`, in order of arrival.
    pub fn recv(&mut self, now: Instant) -> Option<P> {
        self.bottleneck.drain(now);
        let (sequence, packet) = self.in_flight.pop(now)?;
        self.stats.delivered += 1;
        self.stats.delivered_bytes += packet.len() as u64;
        if sequence < self.newest_delivered {
            self.stats.reordered += 1;
        } else {
            self.newest_delivered = sequence;
        }
        Some(packet)
    }

    /// Returns what became of the packets so far.
    pub fn stats(&self) -> LinkStats {
        LinkStats {
            queue_bytes: self.bottleneck.waiting_bytes(),
            max_queue_bytes: self.bottleneck.max_waiting_bytes(),
            ..self.stats
        }
    }
}

impl LinkStats {
    /// Returns how many packets are on the way, in the queue or waiting to be taken out.
    pub fn in_flight(&self) -> u64 {
        self.sent + self.duplicated
            - (self.delivered + self.lost + self.queue_dropped + self.too_large)
    }
}
