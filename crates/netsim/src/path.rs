//! Two links, one in each direction.

use std::time::Instant;

use crate::config::{LinkConfig, LinkConfigError};
use crate::link::Link;
use crate::packet::Packet;

/// Both directions of a path, with independent randomness from one seed.
#[derive(Debug)]
pub struct Path<P> {
    /// From here to there.
    pub forward: Link<P>,
    /// From there to here.
    pub backward: Link<P>,
}

/// Any constant will do: it only has to differ from zero, so that the directions do not lose the same packets.
const BACKWARD: u64 = 0x6261_636b_7761_7264;

impl<P: Packet> Path<P> {
    /// Creates a path from the configuration of each direction.
    ///
    /// # Errors
    ///
    /// Fails if one of the configurations is not valid.
    pub fn new(
        forward: LinkConfig,
        backward: LinkConfig,
        seed: u64,
    ) -> Result<Self, LinkConfigError> {
        Ok(Self {
            forward: Link::new(forward, seed)?,
            backward: Link::new(backward, seed ^ BACKWARD)?,
        })
    }

    /// Creates a path with the same configuration in both directions.
    ///
    /// # Errors
    ///
    /// Fails if the configuration is not valid.
    pub fn symmetric(config: LinkConfig, seed: u64) -> Result<Self, LinkConfigError> {
        Self::new(config.clone(), config, seed)
    }

    /// Returns when the next packet arrives at either end; `None` if none is on the way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.forward.poll_timeout(), self.backward.poll_timeout()) {
            (Some(forward), Some(backward)) => Some(forward.min(backward)),
            (one, other) => one.or(other),
        }
    }
}
