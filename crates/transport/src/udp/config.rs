//! The settings of a UDP socket.

use std::io;

use thiserror::Error;

/// The largest payload that the length field of an IPv4 packet leaves room for, in bytes.
pub(super) const MAX_PAYLOAD: usize = 65_507;

/// The settings of a UDP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// Size asked for the send buffer of the socket, in bytes; the kernel may grant less.
    pub send_buffer: usize,
    /// Size asked for the receive buffer of the socket, in bytes; the kernel may grant less.
    pub recv_buffer: usize,
    /// Whether runs are sent with segmentation offload if the kernel has it.
    ///
    /// Receiving has no such setting: if the kernel coalesces what comes in, that shows in nothing but longer runs.
    pub offload: bool,
    /// What the sender says is the largest datagram that gets through, in bytes, from 1 to 65,507.
    pub max_datagram_size: usize,
}

/// A setting of a UDP socket is out of its range.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpConfigError {
    /// No such datagrams exist.
    #[error("max_datagram_size is {0}, must be from 1 to {MAX_PAYLOAD}")]
    MaxDatagramSize(usize),
    /// A socket cannot do without a buffer, and the kernel counts its size in 31 bits.
    #[error("{field} is {value}, must be from 1 to {max}", max = i32::MAX)]
    Buffer {
        /// Name of the field.
        field: &'static str,
        /// What it was set to.
        value: usize,
    },
}

/// Several milliseconds at 10 Gbit/s. Where the kernel's limit is lower (`net.core.rmem_max`), it grants that.
const DEFAULT_BUFFER: usize = 4 * 1024 * 1024;

/// An Ethernet frame of 1500 bytes less the headers of IPv6 and UDP.
const DEFAULT_MAX_DATAGRAM_SIZE: usize = 1452;

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            send_buffer: DEFAULT_BUFFER,
            recv_buffer: DEFAULT_BUFFER,
            offload: true,
            max_datagram_size: DEFAULT_MAX_DATAGRAM_SIZE,
        }
    }
}

impl UdpConfig {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    ///
    /// Names the first setting that is not, with its value and its range.
    pub fn validate(&self) -> Result<(), UdpConfigError> {
        for (field, value) in [("send_buffer", self.send_buffer), ("recv_buffer", self.recv_buffer)]
        {
            if value == 0 || i32::try_from(value).is_err() {
                return Err(UdpConfigError::Buffer { field, value });
            }
        }
        if !(1..=MAX_PAYLOAD).contains(&self.max_datagram_size) {
            return Err(UdpConfigError::MaxDatagramSize(self.max_datagram_size));
        }
        Ok(())
    }
}

impl From<UdpConfigError> for io::Error {
    fn from(error: UdpConfigError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_valid() {
        assert_eq!(UdpConfig::default().validate(), Ok(()));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let default = UdpConfig::default();
        for config in [
            UdpConfig { send_buffer: 0, ..default.clone() },
            UdpConfig { recv_buffer: usize::MAX, ..default.clone() },
            UdpConfig { max_datagram_size: 0, ..default.clone() },
            UdpConfig { max_datagram_size: 65_508, ..default },
        ] {
            assert!(config.validate().is_err(), "{config:?}");
        }
    }

    #[test]
    fn error_names_field_value_and_range() {
        let error = UdpConfigError::MaxDatagramSize(70_000);
        assert_eq!(error.to_string(), "max_datagram_size is 70000, must be from 1 to 65507");
    }
}
