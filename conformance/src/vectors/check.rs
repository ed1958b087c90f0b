//! The codec against vectors, in both directions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use towline_wire::data::Codec;
use towline_wire::{Dialect, Mtu};

use super::case::{Invalid, Message, NoBytes, Section, Unsendable, Valid, json};
use super::file::File;
use super::reason::{Reason, Refusal};

/// How the codec did on one vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Dialect and name of the vector, such as `vector.hoprnet.data.request.bit-7`.
    pub id: String,
    /// Nothing, or what the codec made of the vector instead.
    pub outcome: Result<(), String>,
}

pub(super) fn file(file: &File) -> Vec<Check> {
    let File { dialect, data, start, tag, .. } = file;
    [section(*dialect, data), section(*dialect, start), section(*dialect, tag)].concat()
}

fn section<M: Message>(dialect: Dialect, section: &Section<M>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |id: &str, mtu, run: &dyn Fn(Codec) -> Result<(), String>| {
        // A codec that panics on one vector still has to answer for the others.
        let run = AssertUnwindSafe(|| codec(dialect, mtu).and_then(run));
        let outcome = catch_unwind(run).unwrap_or_else(|_| Err("panics".to_owned()));
        checks.push(Check { id: format!("vector.{dialect}.{id}"), outcome });
    };
    for vector in &section.valid {
        check(&vector.id, vector.mtu, &|codec| meant(codec, vector));
    }
    for vector in &section.invalid {
        check(&vector.id, vector.mtu, &|codec| refused::<M>(codec, vector));
    }
    for vector in &section.unsendable {
        check(&vector.id, vector.mtu, &|codec| unsent(codec, vector));
    }
    checks
}

/// The codec of a vector. What is no data message has no MTU, and any will do.
fn codec(dialect: Dialect, mtu: Option<u16>) -> Result<Codec, String> {
    let mtu = mtu.map_or(Ok(Mtu::MAX), |mtu| Mtu::new(mtu.into()));
    mtu.map(|mtu| Codec::new(dialect, mtu)).map_err(|error| error.to_string())
}

fn meant<M: Message>(codec: Codec, vector: &Valid<M>) -> Result<(), String> {
    match M::decode(codec, &vector.wire) {
        Ok(found) if found == vector.messages => {}
        Ok(found) => return Err(format!("decodes to {}", json(&found))),
        Err(error) => return Err(format!("does not decode: {error}")),
    }
    if !vector.canonical {
        return Ok(());
    }
    match vector.messages.iter().map(|message| message.encode(codec)).collect() {
        Ok::<Vec<_>, _>(wire) if wire.concat() == vector.wire => Ok(()),
        Ok(wire) => Err(format!("encodes to {}", hex::encode(wire.concat()))),
        Err(why) => Err(format!("does not encode: {why:?}")),
    }
}

fn refused<M: Message>(codec: Codec, vector: &Invalid) -> Result<(), String> {
    match M::decode(codec, &vector.wire) {
        Err(error) if Reason::of(error) == Some(vector.reason) => Ok(()),
        Err(error) => Err(format!("is refused for another reason: {error}")),
        Ok(found) => Err(format!("decodes to {}", json(&found))),
    }
}

fn unsent<M: Message>(codec: Codec, vector: &Unsendable<M>) -> Result<(), String> {
    match vector.message.encode(codec) {
        Err(NoBytes::Refused(error)) if Refusal::of(error) == Some(vector.reason) => Ok(()),
        Err(why) => Err(format!("is refused for another reason: {why:?}")),
        Ok(wire) => Err(format!("encodes to {}", hex::encode(wire))),
    }
}
