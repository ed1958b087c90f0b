//! What a failed request is called on the wire.

use core::fmt;
use core::str::FromStr;

macro_rules! error_names {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The machine-readable name of a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorName {
            $($(#[$doc])* $name,)*
        }

        impl ErrorName {
            /// All of them, of both dialects.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

error_names! {
    /// None of the others fits; the description says more.
    UnknownError = "unknown_error",
    /// `deployed`: nobody has registered under this identity.
    UnknownIdentity = "unknown_identity",
    /// `seed`: nobody has registered as this user.
    UnknownUser = "unknown_user",
    /// The identity has no such device.
    UnknownDevice = "unknown_device",
    /// `deployed`: nobody has this short number. Misspelt on the wire since the first day.
    UnknownShortNumber = "unnkown_short_number",
    /// `deployed`: no chat number is left for the identity.
    NumberTaken = "number_taken",
    /// A wrong nonce or signature, or a request that needs a login.
    Unauthorized = "unauthorized",
    /// A request that would give away who asks, on an authenticated connection.
    NotAnonymous = "attempted_anonymous_op_on_authenticated_connection",
    /// Logged in, but the queue of the device cannot be read.
    UnableToOpenSubscriber = "unable_to_open_subscriber",
    /// `deployed`: these bytes are no identity.
    InvalidIdentityKey = "invalid_identity_key",
    /// `seed`: these bytes are no user.
    InvalidUserId = "invalid_user_id",
    /// `deployed`: the message cannot be taken off its queue.
    UnableToAck = "unable_to_ack",
}

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Neither dialect has an error of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown name of an error")]
pub struct UnknownErrorName;

impl FromStr for ErrorName {
    type Err = UnknownErrorName;

    fn from_str(text: &str) -> Result<Self, UnknownErrorName> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text).ok_or(UnknownErrorName)
    }
}
