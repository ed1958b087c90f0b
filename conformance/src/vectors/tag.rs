//! Tagged datagrams as the files write them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use towline_wire::data::Codec;
use towline_wire::{DecodeError, Tag, split_tag};

use super::case::{Message, NoBytes};
use super::number::Number;

/// A tag and the message behind it, which is any bytes here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum TagMessage {
    Tagged {
        tag: Number,
        #[serde(with = "hex::serde")]
        message: Vec<u8>,
    },
}

impl Message for TagMessage {
    const PROTOCOL: &str = "tag";

    fn decode(_: Codec, datagram: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let (tag, message) = split_tag(Bytes::copy_from_slice(datagram))?;
        Ok(vec![Self::Tagged { tag: Number(tag.get()), message: message.to_vec() }])
    }

    fn encode(&self, _: Codec) -> Result<Vec<u8>, NoBytes> {
        let Self::Tagged { tag, message } = self;
        let tag = Tag::new(tag.0).ok_or(NoBytes::Inexpressible)?;
        Ok([&tag.to_bytes()[..], message].concat())
    }
}
