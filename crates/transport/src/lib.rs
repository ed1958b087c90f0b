//! Datagram transports for sessions: traits, memory, UDP and an impaired wrapper.
//!
//! A transport carries datagrams: runs of bytes that arrive whole or not at all, in any order, perhaps twice. It knows
//! nothing of what they mean. It is used as two halves, a [`DatagramSender`] and a [`DatagramReceiver`], that one task
//! can own side by side. Both work on runs of datagrams rather than on single ones, because that is what segmentation
//! offload is made of: one [`Transmit`] is one system call, and so is what comes in as a few [`Received`].
//!
//! | adapter | feature | carries datagrams |
//! |---|---|---|
//! | [`memory`] | | between ports of one process; for tests and simulations |
//! | `udp` | `udp`, on by default | over UDP |
//! | `impaired` | `impaired` | over another transport, with loss, delay and more from `towline-netsim` |
//!
//! # Bringing a transport of one's own
//!
//! Implement the two halves and [`Transport`] to join them; what each method must and must not do is written there.
//! `examples/custom.rs` is a complete one over channels. In short:
//!
//! - Lose what cannot be carried. A datagram that is too large, or whose destination cannot be reached, is the
//!   network's business: drop it and say `Ok`. An error ends the transport, and every session on it.
//! - `Pending` means that the waker has been registered, and that nothing was taken.
//! - One slow peer must not hold up the others: drop its datagrams instead of waiting for it.
//! - Hold no more than a bounded amount of anything.
//!
//! ```
//! use std::io;
//! use std::task::{Context, Poll};
//! use towline_transport::{DatagramSender, Transmit};
//!
//! /// Loses everything, which a network may do.
//! struct Void;
//!
//! impl DatagramSender for Void {
//!     type Address = u64;
//!
//!     fn poll_send(&mut self, _: &mut Context<'_>, _: &Transmit<'_, u64>) -> Poll<io::Result<()>> {
//!         Poll::Ready(Ok(()))
//!     }
//!
//!     fn max_datagram_size(&self) -> usize {
//!         1200
//!     }
//!
//!     fn max_batch(&self, _datagram_size: usize) -> usize {
//!         1
//!     }
//! }
//! ```

mod datagrams;
#[cfg(feature = "impaired")]
pub mod impaired;
pub mod memory;
mod transport;
#[cfg(feature = "udp")]
pub mod udp;

pub use datagrams::{Received, Transmit};
pub use transport::{Address, DatagramReceiver, DatagramSender, Transport};
