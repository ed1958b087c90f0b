//! Sessions over networks that lose, reorder and delay packets.
//!
//! An [`Endpoint`] sits on a datagram transport, asks others for sessions and grants theirs. A
//! [`Session`] is a reliable byte stream ([`AsyncRead`] and [`AsyncWrite`]), or carries messages, reliably
//! or not. Many sessions share one socket, one task serves them all.
//!
//! ```
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use towline::{Endpoint, Target};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let exit = Endpoint::bind("127.0.0.1:0".parse()?)?;
//! let address = exit.local_address();
//! let mut listener = exit.listen()?;
//! tokio::spawn(async move {
//!     let mut session = listener.next_incoming().await?.accept().await.ok()?;
//!     session.write_all(b"ahoy").await.ok()?;
//!     session.shutdown().await.ok()
//! });
//!
//! let entry = Endpoint::bind("127.0.0.1:0".parse()?)?;
//! let mut session = entry.connect(address, &Target::tcp("greeter.example", 7)).await?;
//! let mut greeting = String::new();
//! session.read_to_string(&mut greeting).await?;
//! assert_eq!(greeting, "ahoy");
//! # Ok(())
//! # }
//! ```
//!
//! The protocol neither encrypts nor authenticates (RFC-0007, 7.1): that is the transport's job, and plain
//! UDP does not do it.
//!
//! [`AsyncRead`]: tokio::io::AsyncRead
//! [`AsyncWrite`]: tokio::io::AsyncWrite

mod builder;
mod driver;
mod endpoint;
mod error;
pub mod forward;
mod session;
mod target;

pub use builder::{BindError, EndpointBuilder, Framing};
pub use endpoint::{Endpoint, EndpointStats, Incoming, Listener, SessionOptions};
pub use error::{AcceptError, AlreadyListening, ConnectError, EndpointClosed, SessionError};
pub use session::{Frames, RecvHalf, SendHalf, Session};
pub use target::{Protocol, Target, TargetError};

pub use towline_data::{self as data, Delivery, Mode, Stats};
pub use towline_start as start;
pub use towline_transport as transport;
pub use towline_wire::start::ErrorReason;
pub use towline_wire::{Dialect, Mtu, Tag};

/// The examples of the README and of the integrator's guide, compiled and run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/guide-integrator.md")]
    mod guide {}
}
