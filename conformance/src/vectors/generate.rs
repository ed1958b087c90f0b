//! The vectors, listed.
//!
//! What a sender makes of fields comes from the codec. What is only understood, and what is refused, is
//! written down byte by byte together with the outcome: the codec has no say in it.

mod cbor;
mod data;
mod start;
mod tag;

use towline_wire::data::Codec;
use towline_wire::{Dialect, Mtu};

use super::case::{Invalid, Message, Section, Unsendable, Valid};
use super::file::{FORMAT, File};
use super::reason::{Reason, Refusal};

pub(super) fn file(dialect: Dialect) -> File {
    File {
        schema: "schema.json".to_owned(),
        format: FORMAT,
        dialect,
        data: data::section(dialect),
        start: start::section(dialect),
        tag: tag::section(dialect),
    }
}

/// The vectors of one protocol, as they come.
struct List<M> {
    dialect: Dialect,
    section: Section<M>,
}

impl<M: Message> List<M> {
    fn new(dialect: Dialect) -> Self {
        let section = Section { valid: Vec::new(), invalid: Vec::new(), unsendable: Vec::new() };
        Self { dialect, section }
    }

    fn is_hoprnet(&self) -> bool {
        self.dialect == Dialect::Hoprnet
    }

    /// A message that is sent and understood.
    fn sent(&mut self, id: &str, mtu: Option<u16>, message: M) {
        let codec = Codec::new(
            self.dialect,
            Mtu::new(mtu.unwrap_or(u16::MAX).into()).expect("vectors have MTUs in range"),
        );
        let wire = message.encode(codec).expect("what is listed as sent can be sent");
        self.section.valid.push(Valid {
            id: id_of::<M>(id),
            mtu,
            canonical: true,
            note: None,
            messages: vec![message],
            wire,
        });
    }

    /// A datagram that is understood, though no sender makes it: `note` says why none does.
    fn understood(
        &mut self,
        id: &str,
        mtu: Option<u16>,
        note: &str,
        wire: Vec<u8>,
        messages: Vec<M>,
    ) {
        self.section.valid.push(Valid {
            id: id_of::<M>(id),
            mtu,
            canonical: false,
            note: Some(note.to_owned()),
            messages,
            wire,
        });
    }

    /// A datagram that is refused.
    fn refused(&mut self, id: &str, mtu: Option<u16>, wire: Vec<u8>, reason: Reason) {
        self.section.invalid.push(Invalid { id: id_of::<M>(id), mtu, reason, wire });
    }

    /// A message that no sender may send.
    fn unsent(&mut self, id: &str, mtu: Option<u16>, message: M, reason: Refusal) {
        self.section.unsendable.push(Unsendable { id: id_of::<M>(id), mtu, reason, message });
    }
}

fn id_of<M: Message>(id: &str) -> String {
    format!("{}.{id}", M::PROTOCOL)
}

/// A whole message with the length that belongs to its payload.
fn message_of(version: u8, kind: u8, payload: &[u8]) -> Vec<u8> {
    with_length(version, kind, payload.len(), payload)
}

/// A whole message whose length field says `length`.
fn with_length(version: u8, kind: u8, length: usize, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).expect("vectors are short");
    [&[version, kind][..], &length.to_be_bytes(), payload].concat()
}
