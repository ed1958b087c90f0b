//! Datagrams on their way, with what the observer notes on each.

use std::time::Instant;

use bytes::Bytes;
use towline_netsim::{Link, LinkConfig};

/// Datagrams of which no share says anything.
const FEW: u64 = 20;

/// Datagrams that were sent, and those of them that got lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    sent: u64,
    lost: u64,
}

impl Losses {
    /// Whether more than a quarter got lost of what was sent since `before`, and that was not little.
    pub(crate) fn are_many_since(&self, before: &Self) -> bool {
        let sent = self.sent - before.sent;
        sent >= FEW && self.lost - before.lost > sent / 4
    }
}

/// What travels along with a datagram, unharmed and without size.
#[derive(Clone, Copy, Debug)]
struct Envelope {
    number: u64,
    sent_at: Instant,
    /// A checksum, where the transport has one.
    sum: Option<u64>,
}

/// One direction of a path that knows its losses.
#[derive(Debug)]
pub(crate) struct Wire {
    link: Link<(Envelope, Bytes)>,
    /// The link while it is not dark.
    config: LinkConfig,
    dark: bool,
    /// Datagrams with flipped bits are dropped on arrival, as UDP drops them.
    checksums: bool,
    /// The last one that arrived: its copy follows at once.
    latest: Option<u64>,
}

/// A datagram that arrived.
pub(crate) struct Arrival {
    pub(crate) datagram: Bytes,
    pub(crate) sent_at: Instant,
    /// It has arrived before.
    pub(crate) is_copy: bool,
}

impl Wire {
    /// # Panics
    /// When the configuration is not valid.
    pub(crate) fn new(config: LinkConfig, checksums: bool, seed: u64) -> Self {
        let link = Link::new(config.clone(), seed);
        let link = link.unwrap_or_else(|error| panic!("a link within its ranges: {error}"));
        Self { link, config, dark: false, checksums, latest: None }
    }

    pub(crate) fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Changes the link for what is sent from now on.
    ///
    /// # Panics
    /// When the configuration is not valid.
    pub(crate) fn set(&mut self, config: LinkConfig) {
        self.config = config;
        self.relink();
    }

    /// Lets nothing pass, or all that the link does.
    pub(crate) fn darken(&mut self, dark: bool) {
        self.dark = dark;
        self.relink();
    }

    pub(crate) fn is_dark(&self) -> bool {
        self.dark
    }

    fn relink(&mut self) {
        let config = self.config.clone();
        let config = if self.dark { crate::link::dark(config) } else { config };
        if let Err(error) = self.link.set_config(config) {
            panic!("a link within its ranges: {error}");
        }
    }

    pub(crate) fn send(&mut self, now: Instant, datagram: Bytes) {
        let sum = self.checksums.then(|| checksum(&datagram));
        let envelope = Envelope { number: self.link.stats().sent, sent_at: now, sum };
        self.link.send(now, (envelope, datagram));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.link.poll_timeout()
    }

    /// Takes the next datagram that has arrived by `now` whole.
    pub(crate) fn recv(&mut self, now: Instant) -> Option<Arrival> {
        loop {
            let (Envelope { number, sent_at, sum }, datagram) = self.link.recv(now)?;
            if sum.is_none_or(|sum| sum == checksum(&datagram)) {
                let is_copy = self.latest.replace(number) == Some(number);
                return Some(Arrival { datagram, sent_at, is_copy });
            }
        }
    }

    /// What was sent so far, and what of it was lost.
    pub(crate) fn losses(&self) -> Losses {
        let stats = self.link.stats();
        Losses { sent: stats.sent, lost: stats.lost + stats.queue_dropped + stats.too_large }
    }

    /// Datagrams that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.link.stats().sent
    }
}

/// Differs for any two datagrams that differ in a bit (FNV-1a).
fn checksum(datagram: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    datagram.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
