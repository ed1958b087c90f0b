//! That the vectors leave nothing out.

use std::mem::discriminant;

use towline_wire::data::Codec;
use towline_wire::{Dialect, Mtu};

use super::case::{Message, Section};
use super::generate;
use super::reason::Reason;

/// Copies of a datagram with one bit flipped, with one byte less or more anywhere, and cut short.
fn damaged(wire: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let positions = 0..wire.len();
    let flipped = positions.clone().flat_map(|at| (0..8).map(move |bit| (at, 1_u8 << bit))).map(
        |(at, bit)| {
            let mut damaged = wire.to_vec();
            damaged[at] ^= bit;
            damaged
        },
    );
    let without = positions.clone().map(|at| [&wire[..at], &wire[at + 1..]].concat());
    let with = positions
        .clone()
        .flat_map(|at| [0x00, 0x01, 0xff].map(|byte| [&wire[..at], &[byte], &wire[at..]].concat()));
    let cut = positions.map(|length| wire[..length].to_vec());
    flipped.chain(without).chain(with).chain(cut)
}

/// The reasons for which damaged vectors are refused, of which no vector is an example.
fn without_example<M: Message>(dialect: Dialect, section: &Section<M>) -> Vec<String> {
    let listed: Vec<_> =
        section.invalid.iter().map(|vector| discriminant(&vector.reason)).collect();
    let valid = section.valid.iter().map(|vector| (vector.mtu, &vector.wire));
    let invalid = section.invalid.iter().map(|vector| (vector.mtu, &vector.wire));
    let mut missing = Vec::new();
    for (mtu, wire) in valid.chain(invalid).filter(|(_, wire)| wire.len() <= 64) {
        let mtu = Mtu::new(mtu.unwrap_or(u16::MAX).into()).expect("vectors have MTUs in range");
        for datagram in damaged(wire) {
            let Err(error) = M::decode(Codec::new(dialect, mtu), &datagram) else { continue };
            let reason = Reason::of(error);
            if reason.is_none_or(|reason| !listed.contains(&discriminant(&reason))) {
                missing.push(format!("{dialect} {}: {error:?}", M::PROTOCOL));
            }
        }
    }
    missing.sort();
    missing.dedup();
    missing
}

#[test]
fn whatever_damage_is_refused_for_has_an_example_in_its_dialect_and_protocol() {
    let missing: Vec<_> = Dialect::ALL
        .map(|dialect| {
            let file = generate(dialect);
            [
                without_example(dialect, &file.data),
                without_example(dialect, &file.start),
                without_example(dialect, &file.tag),
            ]
        })
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    assert!(missing.is_empty(), "reasons without a vector:\n{}", missing.join("\n"));
}
