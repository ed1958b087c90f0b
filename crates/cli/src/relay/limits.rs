//! What clients of a relay may do, as arguments.

use std::time::Duration;

use towline_relay::connection;
use towline_relay::server::{AttachmentConfig, AttachmentConfigBuilder, InvalidRate, Limits, Rate};
use towline_relay::store;

use crate::failure::Failure;
use crate::size;

/// A rate, or none.
#[derive(Clone, Copy, Debug)]
struct MaxRate(Option<Rate>);

impl std::str::FromStr for MaxRate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|rate| Self(Some(rate))) }
    }
}

/// Limits. A RATE is 20/s, 600/m or 1000/h: so many at once, and room for more comes back evenly; or none. A source is
/// an IPv4 address or the /64 network of an IPv6 address
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits (a RATE is 20/s, 600/m, 1000/h or none)")]
pub(crate) struct LimitArgs {
    /// Connections at a time
    #[arg(long, value_name = "N", default_value = "50000")]
    max_connections: usize,
    /// Connections of one source at a time: an IPv4 address, or the /64 network of an IPv6 address
    #[arg(long, value_name = "N", default_value = "200")]
    max_connections_per_source: usize,
    /// New connections of one source
    #[arg(long, value_name = "RATE", default_value = "600/m")]
    connection_rate: MaxRate,
    /// Logins of one source in the deployed dialect
    #[arg(long, value_name = "RATE", default_value = "300/m")]
    login_rate: MaxRate,
    /// Messages that one connection sends
    #[arg(long, value_name = "RATE", default_value = "1200/m")]
    message_rate: MaxRate,
    /// Messages that are sent to one device
    #[arg(long, value_name = "RATE", default_value = "6000/m")]
    recipient_rate: MaxRate,
    /// Prekeys and chat numbers that one source asks for
    #[arg(long, value_name = "RATE", default_value = "600/m")]
    lookup_rate: MaxRate,
    /// Requests for one person's prekeys that get one-time ones; the others get signed ones alone
    #[arg(long, value_name = "RATE", default_value = "120/h")]
    prekey_rate: MaxRate,
    /// Registrations of one device
    #[arg(long, value_name = "RATE", default_value = "120/h")]
    registration_rate: MaxRate,
    /// Requests of one source for permissions to upload attachments, of which each gets up to 16
    #[arg(long, value_name = "RATE", default_value = "120/h")]
    upload_rate: MaxRate,
    /// Bytes of the longest attachment; K, M and G are powers of 1024, and with 0 there are no attachments
    #[arg(long, value_name = "BYTES", default_value = "100M", value_parser = size::parse)]
    max_attachment_bytes: u64,
    /// Bytes of all attachments together
    #[arg(long, value_name = "BYTES", default_value = "10G", value_parser = size::parse)]
    max_attachment_space: u64,
    /// Days that an attachment is kept
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3650))]
    max_attachment_age: u64,
    /// Messages in the queue of one device
    #[arg(long, value_name = "N", default_value = "10000")]
    max_queue_messages: u64,
    /// Bytes in the queue of one device; K, M and G are powers of 1024
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = size::parse)]
    max_queue_bytes: u64,
    /// Days that a message stays in its queue
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3650))]
    max_message_age: u64,
    /// One-time prekeys of one device
    #[arg(long, value_name = "N", default_value = "1000")]
    max_prekeys: u64,
    /// Registered devices of one person
    #[arg(long, value_name = "N", default_value = "32")]
    max_devices: u64,
    /// Messages that a connection is sent before it has to acknowledge some
    #[arg(long, value_name = "N", default_value = "256")]
    window: usize,
}

impl LimitArgs {
    pub(crate) fn server(&self) -> Result<Limits, Failure> {
        Limits::builder()
            .connections(self.max_connections)
            .connections_per_source(self.max_connections_per_source)
            .connecting(self.connection_rate.0)
            .logins(self.login_rate.0)
            .messages(self.message_rate.0)
            .messages_per_recipient(self.recipient_rate.0)
            .lookups(self.lookup_rate.0)
            .one_time_prekeys(self.prekey_rate.0)
            .registrations(self.registration_rate.0)
            .uploads(self.upload_rate.0)
            .build()
            .map_err(|error| Failure::Usage(error.to_string()))
    }

    pub(crate) fn store(&self) -> Result<store::Limits, Failure> {
        store::Limits::builder()
            .queue_count(self.max_queue_messages)
            .queue_bytes(self.max_queue_bytes)
            .prekeys(self.max_prekeys)
            .devices(self.max_devices)
            .build()
            .map_err(|error| Failure::Usage(error.to_string()))
    }

    pub(crate) fn connection(
        &self,
        builder: connection::ConfigBuilder,
    ) -> connection::ConfigBuilder {
        builder.window(self.window)
    }

    /// `None` if there are to be none.
    pub(crate) fn attachments(&self) -> Option<AttachmentConfigBuilder> {
        let builder = AttachmentConfig::builder()
            .max_bytes(self.max_attachment_bytes)
            .max_space(self.max_attachment_space)
            .max_age(days(self.max_attachment_age));
        (self.max_attachment_bytes > 0).then_some(builder)
    }

    pub(crate) fn max_age(&self) -> Duration {
        days(self.max_message_age)
    }
}

pub(super) fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}
