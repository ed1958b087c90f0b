//! The message relay: who logs in, and what is kept for whom.
//!
//! | module | job |
//! |---|---|
//! | [`auth`] | the login: a challenge, the client's answer to it, and the relay's verdict; no I/O |
//! | [`dialect`] | frames to and from what clients ask and are told, the same in both dialects; no I/O |
//! | [`connection`] | what one client may do, is told and gets delivered, as a state machine; no I/O |
//! | [`store`] | what a relay must not forget: queues, prekeys and chat numbers |
//! | [`client`] | who connects to a relay: sends anonymously, or logs in and receives; feature `client` |
//! | [`server`] | all of it behind WebSockets, with limits and metrics; feature `server` |
//!
//! Both dialects of [`towline_wire::relay`] share one store. An [`Address`] is a key of bytes that
//! no module looks into, and those of the two dialects cannot be the same.

mod address;

pub mod auth;
#[cfg(feature = "client")]
pub mod client;
pub mod connection;
pub mod dialect;
#[cfg(feature = "server")]
pub mod server;
pub mod store;

#[cfg(test)]
mod test_client;

pub use address::{Address, Device, DeviceTooLong, InvalidAddress, Owner};
