//! Vectors of the tag before each message.

use towline_wire::Dialect;

use super::List;
use crate::vectors::case::Section;
use crate::vectors::number::Number;
use crate::vectors::reason::Reason;
use crate::vectors::tag::TagMessage;

pub(super) fn section(dialect: Dialect) -> Section<TagMessage> {
    let mut list = List::new(dialect);
    let message = [0x01, 0x02, 0x00, 0x04, 0x00, 0x00, 0x00, 0x01];
    let tagged =
        |tag, message: &[u8]| TagMessage::Tagged { tag: Number(tag), message: message.to_vec() };
    for (id, tag) in [
        ("start", 1),
        ("first-session", 15),
        ("byte-order", 0x0102_0304_0506_0708),
        ("exact-in-53-bits", 1 << 53),
        ("beyond-53-bits", (1 << 53) + 1),
        ("last", (1 << 61) - 1),
    ] {
        list.sent(id, None, tagged(tag, &message));
    }
    list.sent("no-message", None, tagged(1, &[]));
    for (id, tag, note) in [
        ("probe", 0, "0 is reserved for probing the path"),
        ("unassigned-2", 2, "2 to 14 belong to nobody"),
        ("unassigned-14", 14, "2 to 14 belong to nobody"),
    ] {
        list.understood(id, None, note, bytes_of(tag, &message), vec![tagged(tag, &message)]);
    }
    for bit in 61..64 {
        let wire = bytes_of(15 | 1 << bit, &message);
        list.refused(&format!("reserved-bit-{bit}"), None, wire, Reason::ReservedTag);
    }
    list.refused("all-bits", None, bytes_of(u64::MAX, &message), Reason::ReservedTag);
    for have in 0..8 {
        let cut = bytes_of(15, &[])[..have].to_vec();
        list.refused(&format!("cut-at-{have}"), None, cut, Reason::Truncated { needed: 8, have });
    }
    list.section
}

fn bytes_of(tag: u64, message: &[u8]) -> Vec<u8> {
    [&tag.to_be_bytes()[..], message].concat()
}
