//! A seeded link emulator driven by virtual time.
//!
//! A [`Link`] carries packets in one direction and does to them what networks do: it loses, delays, reorders,
//! duplicates and corrupts them, and it queues them in front of a bottleneck. It is pure: packets and the time go in,
//! packets and the time of the next arrival come out. The same configuration, seed and inputs give the same outputs.
//!
//! Drive it like this: [`send`](Link::send) packets with the time, wait until [`poll_timeout`](Link::poll_timeout), and
//! take what has arrived with [`recv`](Link::recv) until that returns `None`.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use towline_netsim::{Link, LinkConfig};
//!
//! let config = LinkConfig::default()
//!     .with_delay(Duration::from_millis(20))
//!     .with_rate(1_000_000, 64 * 1024);
//! let mut link = Link::new(config, 7)?;
//!
//! let start = Instant::now();
//! link.send(start, vec![0; 1000]);
//!
//! // A millisecond on the line at 1 MB/s, then the way across.
//! let arrival = link.poll_timeout().expect("a packet is under way");
//! assert_eq!(arrival - start, Duration::from_millis(21));
//! assert!(link.recv(start).is_none());
//! assert_eq!(link.recv(arrival), Some(vec![0; 1000]));
//! # Ok::<(), towline_netsim::LinkConfigError>(())
//! ```
//!
//! # What a packet goes through
//!
//! 1. A packet larger than the `mtu` is dropped.
//! 2. A packet that does not fit the queue in front of the bottleneck is dropped.
//! 3. The rest is serialised at `rate`, one packet after the other.
//! 4. Behind the bottleneck it may be lost, so a lost packet has used the rate all the same.
//! 5. What is not lost may have a bit flipped, travels for `delay` and up to `jitter`, may be held back (`reorder`),
//!    and may arrive twice (`duplicate`).
//!
//! The random draws of a packet depend on the seed and on its position among the packets sent, on nothing else:
//! changing one impairment leaves the decisions of the others as they were.

mod bottleneck;
mod config;
mod dice;
mod in_flight;
mod link;
mod packet;
mod path;

#[cfg(test)]
mod tests;

pub use config::{GilbertElliott, LinkConfig, LinkConfigError, Loss, Reorder};
pub use link::{Link, LinkStats};
pub use packet::Packet;
pub use path::Path;
