//! Vectors of the data protocol.

use towline_wire::Dialect;

use super::{List as AnyList, message_of, with_length};
use crate::vectors::case::Section;
use crate::vectors::data::DataMessage as Message;
use crate::vectors::reason::{Reason, Refusal};

type List = AnyList<Message>;

const VERSION: u8 = 1;
const SEGMENT: u8 = 0;
const REQUEST: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;

const TERMINATING: u8 = 0x80;
const RESERVED: u8 = 0x40;

pub(super) fn section(dialect: Dialect) -> Section<Message> {
    let mut list = List::new(dialect);
    segments(&mut list);
    requests(&mut list);
    acknowledgements(&mut list);
    sequences(&mut list);
    headers(&mut list);
    refused_segments(&mut list);
    refused_lists(&mut list);
    unsent(&mut list);
    list.section
}

fn segment(frame_id: u32, index: u8, count: u8, data: &[u8]) -> Message {
    Message::Segment { frame_id, index, count, terminating: false, data: data.to_vec() }
}

fn terminating(frame_id: u32, index: u8, count: u8, data: &[u8]) -> Message {
    Message::Segment { frame_id, index, count, terminating: true, data: data.to_vec() }
}

fn request(missing: &[(u32, u8)]) -> Message {
    Message::Request { missing: missing.to_vec() }
}

fn acknowledgement(frames: &[u32]) -> Message {
    Message::Acknowledgement { frames: frames.to_vec() }
}

/// Data in which no two places within reach of an error look alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// The low six bits of the sequence flags.
fn count_bits(list: &List, count: u8) -> u8 {
    if list.is_hoprnet() { count } else { count - 1 }
}

/// The segments with these indices as a bitmap of the wire.
fn bitmap(list: &List, indices: &[u8]) -> u8 {
    let bit = |&index: &u8| if list.is_hoprnet() { 0x80 >> index } else { 1 << index };
    indices.iter().map(bit).fold(0, |all, bit| all | bit)
}

fn max_count(list: &List) -> u8 {
    if list.is_hoprnet() { 63 } else { 64 }
}

/// The longest payload that is sent.
fn max_payload(list: &List, mtu: u16) -> usize {
    let whole = usize::from(mtu) - 4;
    if list.dialect == Dialect::Rfc0007 { whole.min(2047) } else { whole }
}

fn segment_wire(frame_id: u32, index: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let payload = [&frame_id.to_be_bytes()[..], &[index, flags], data].concat();
    message_of(VERSION, SEGMENT, &payload)
}

/// The MTU that a payload fills, so that its length is right in every dialect.
fn filled_by(payload: &[u8]) -> Option<u16> {
    Some(u16::try_from(payload.len() + 4).expect("vectors are short"))
}

fn segments(list: &mut List) {
    let mtu = Some(256);
    list.sent("segment.only", mtu, segment(1, 0, 1, b"towline"));
    list.sent("segment.empty", mtu, segment(2, 0, 1, &[]));
    list.sent("segment.every-byte", Some(266), segment(3, 0, 1, &(0..=255).collect::<Vec<_>>()));
    list.sent("segment.frame-byte-order", mtu, segment(0x0102_0304, 0, 1, b"x"));
    list.sent("segment.frame-last", mtu, segment(u32::MAX, 0, 1, b"x"));
    for count in [2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 62, 63, 64] {
        if count <= max_count(list) {
            list.sent(&format!("segment.count-{count}.first"), mtu, segment(7, 0, count, b"first"));
            list.sent(
                &format!("segment.count-{count}.last"),
                mtu,
                segment(7, count - 1, count, b"last"),
            );
        }
    }
    list.sent("segment.amid", mtu, segment(7, 30, 61, b"amid"));
    list.sent("segment.terminating", mtu, terminating(5, 0, 1, &[]));
    list.sent("segment.terminating-frame-last", mtu, terminating(u32::MAX, 0, 1, &[]));
    list.sent("segment.one-below-full", Some(16), segment(1, 0, 1, &pattern(5)));
    for mtu in [16, 17, 256, 512, 1018, 1024, 1030, 1500, 9000] {
        let data = pattern(max_payload(list, mtu) - 6);
        list.sent(&format!("segment.full.mtu-{mtu}"), Some(mtu), segment(1, 0, 2, &data));
    }
    list.sent("segment.payload-2047", Some(2051), segment(1, 0, 1, &pattern(2041)));
    let above = segment(1, 0, 1, &pattern(2042));
    if list.dialect == Dialect::Rfc0007 {
        let wire = segment_wire(1, 0, count_bits(list, 1), &pattern(2042));
        let note = "a payload over 2047 bytes is tolerated where C has room for it, and never sent";
        list.understood("segment.payload-2048", Some(2052), note, wire, vec![above]);
    } else {
        list.sent("segment.payload-2048", Some(2052), above);
    }
    list.understood(
        "segment.terminating-with-data",
        mtu,
        "a terminating segment is sent empty; the data of this one means nothing",
        segment_wire(5, 0, TERMINATING | count_bits(list, 1), b"late"),
        vec![terminating(5, 0, 1, b"late")],
    );
}

fn requests(list: &mut List) {
    for bit in 0..8 {
        list.sent(&format!("request.bit-{bit}"), Some(16), request(&[(1, bit)]));
    }
    let every_bit = |frame| (0..8).map(move |bit| (frame, bit));
    list.sent("request.all-bits", Some(16), request(&every_bit(7).collect::<Vec<_>>()));
    list.sent("request.some-bits", Some(16), request(&[(7, 0), (7, 1), (7, 4)]));
    list.sent("request.frame-byte-order", Some(16), request(&[(0x0102_0304, 2)]));
    list.sent("request.frame-last", Some(16), request(&[(u32::MAX - 1, 7), (u32::MAX, 0)]));
    list.sent(
        "request.several",
        Some(64),
        request(&[(1, 0), (2, 1), (2, 3), (255, 7), (256, 0), (65_536, 5), (16_777_216, 6)]),
    );
    for mtu in [17, 18, 19, 20] {
        list.sent(&format!("request.mtu-{mtu}"), Some(mtu), request(&[(9, 1), (9, 2)]));
    }
    for &mtu in most_mtus(list) {
        let most = frames_of(max_payload(list, mtu) / 5);
        let missing: Vec<_> = most.map(|frame| (frame, (frame % 8) as u8)).collect();
        list.sent(&format!("request.most.mtu-{mtu}"), Some(mtu), request(&missing));
    }
    let entry = |frame: u32, bits| [&frame.to_be_bytes()[..], &[bits]].concat();
    let first = bitmap(list, &[1, 2]);
    let second = bitmap(list, &[0]);
    let padding = [0; 5];
    let both = [(3, 1), (3, 2), (4, 0)];
    let mut understood = |id: &str, note, payload: &[u8], missing: &[(u32, u8)]| {
        let wire = message_of(VERSION, REQUEST, payload);
        list.understood(id, filled_by(payload), note, wire, vec![request(missing)]);
    };
    let skipped = "padding is sent after the entries, and skipped wherever it stands";
    understood(
        "request.padding-first",
        skipped,
        &[&padding[..], &entry(3, first), &entry(4, second)].concat(),
        &both,
    );
    understood(
        "request.padding-between",
        skipped,
        &[&entry(3, first)[..], &padding, &entry(4, second)].concat(),
        &both,
    );
    understood(
        "request.padding-with-bits",
        "padding is sent as zeros; frame id 0 makes an entry padding whatever its bitmap",
        &[&entry(3, first)[..], &entry(4, second), &entry(0, 0xff)].concat(),
        &both,
    );
    understood(
        "request.empty-bitmap",
        "a request names segments; an entry without any asks for nothing",
        &[&entry(3, 0)[..], &entry(4, second), &[0; 2]].concat(),
        &[(4, 0)],
    );
    understood(
        "request.no-entry",
        "a request has an entry; one that is all padding asks for nothing",
        &[0; 12],
        &[],
    );
    if !list.is_hoprnet() {
        padded(list, "request", REQUEST, &entry(3, first), &request(&[(3, 1), (3, 2)]));
    }
}

fn acknowledgements(list: &mut List) {
    list.sent("acknowledgement.one", Some(16), acknowledgement(&[1]));
    list.sent("acknowledgement.two", Some(16), acknowledgement(&[1, 2]));
    list.sent("acknowledgement.frame-byte-order", Some(16), acknowledgement(&[0x0102_0304]));
    list.sent("acknowledgement.frame-last", Some(16), acknowledgement(&[u32::MAX - 1, u32::MAX]));
    list.sent(
        "acknowledgement.several",
        Some(64),
        acknowledgement(&[1, 3, 255, 256, 65_535, 65_536, 16_777_216, 4_278_190_080]),
    );
    for mtu in [17, 18, 19, 20] {
        list.sent(&format!("acknowledgement.mtu-{mtu}"), Some(mtu), acknowledgement(&[9]));
    }
    for &mtu in most_mtus(list) {
        let most: Vec<_> = frames_of(max_payload(list, mtu) / 4).collect();
        list.sent(&format!("acknowledgement.most.mtu-{mtu}"), Some(mtu), acknowledgement(&most));
    }
    let [padding, first, second] = [0, 3, 4].map(u32::to_be_bytes);
    let mut understood = |id: &str, note, payload: &[u8], frames: &[u32]| {
        let wire = message_of(VERSION, ACKNOWLEDGEMENT, payload);
        list.understood(id, filled_by(payload), note, wire, vec![acknowledgement(frames)]);
    };
    let skipped = "padding is sent after the frame ids, and skipped wherever it stands";
    understood(
        "acknowledgement.padding-first",
        skipped,
        &[padding, first, second].concat(),
        &[3, 4],
    );
    understood(
        "acknowledgement.padding-between",
        skipped,
        &[first, padding, second].concat(),
        &[3, 4],
    );
    understood(
        "acknowledgement.no-frame",
        "an acknowledgement names a frame; one that is all padding says nothing",
        &[padding, padding, padding].concat(),
        &[],
    );
    if !list.is_hoprnet() {
        padded(list, "acknowledgement", ACKNOWLEDGEMENT, &first, &acknowledgement(&[3]));
    }
}

/// The padding that the RFC allows and its dialects do not send: any number of zeros.
fn padded(list: &mut List, name: &str, kind: u8, entry: &[u8], message: &Message) {
    for zeros in 1..=7 {
        let payload = [entry, &[0; 7][..zeros]].concat();
        list.understood(
            &format!("{name}.padding-{zeros}"),
            Some(16),
            "this dialect accepts padding and sends none",
            message_of(VERSION, kind, &payload),
            vec![message.clone()],
        );
    }
}

/// MTUs of lists with as many entries as fit: those of 9000 are capped where the length is.
fn most_mtus(list: &List) -> &'static [u16] {
    if list.dialect == Dialect::Rfc0007 {
        &[16, 256, 1018, 1030, 2051, 9000]
    } else {
        &[16, 256, 1018, 1030, 2051]
    }
}

fn frames_of(count: usize) -> impl Iterator<Item = u32> {
    (1..).step_by(3).take(count)
}

fn sequences(list: &mut List) {
    let mtu = Some(64);
    let one = count_bits(list, 1);
    let first = segment_wire(1, 0, one, b"first");
    let second = segment_wire(2, 0, one, b"second");
    let note =
        "messages are sent in datagrams of their own; a sequence of whole ones is understood";
    list.understood(
        "sequence.two-segments",
        mtu,
        note,
        [&first[..], &second].concat(),
        vec![segment(1, 0, 1, b"first"), segment(2, 0, 1, b"second")],
    );
    list.understood(
        "sequence.three-segments",
        mtu,
        note,
        [&first[..], &second, &segment_wire(3, 0, one, &[])].concat(),
        vec![segment(1, 0, 1, b"first"), segment(2, 0, 1, b"second"), segment(3, 0, 1, &[])],
    );
    if !list.is_hoprnet() {
        let acknowledgement_wire = message_of(VERSION, ACKNOWLEDGEMENT, &[0, 0, 0, 9]);
        let request_wire = message_of(VERSION, REQUEST, &[0, 0, 0, 3, 0b100]);
        list.understood(
            "sequence.of-every-kind",
            mtu,
            note,
            [&request_wire[..], &first, &acknowledgement_wire].concat(),
            vec![request(&[(3, 2)]), segment(1, 0, 1, b"first"), acknowledgement(&[9])],
        );
    }
    let note =
        "malformed messages are not sent; others in their datagram are understood all the same";
    let malformed = segment_wire(0, 0, one, b"ab");
    list.understood(
        "sequence.first-malformed",
        mtu,
        note,
        [&malformed[..], &second].concat(),
        vec![segment(2, 0, 1, b"second")],
    );
    list.understood(
        "sequence.second-of-unknown-type",
        mtu,
        note,
        [&first[..], &message_of(VERSION, 3, b"ab"), &second].concat(),
        vec![segment(1, 0, 1, b"first"), segment(2, 0, 1, b"second")],
    );
    let truncated = |have| Reason::Truncated { needed: 4, have };
    for have in 1..4 {
        let wire = [&first[..], &second[..have]].concat();
        list.refused(&format!("sequence.second-cut-at-{have}"), mtu, wire, truncated(have));
    }
    for have in [4, 9, 15] {
        let wire = [&first[..], &second[..have]].concat();
        let reason = Reason::LengthBeyondEnd { length: 12, have: have - 4 };
        list.refused(&format!("sequence.second-cut-at-{have}"), mtu, wire, reason);
    }
    let mut other = second;
    other[0] = 2;
    let wire = [first, other].concat();
    let reason = Reason::UnknownVersion { version: 2 };
    list.refused("sequence.second-of-start-version", mtu, wire, reason);
}

fn headers(list: &mut List) {
    let mtu = Some(16);
    let one = count_bits(list, 1);
    let whole = segment_wire(1, 0, one, b"ab");
    list.refused("empty-datagram", mtu, Vec::new(), Reason::Truncated { needed: 4, have: 0 });
    for version in [0, 2, 3, 0x81, 255] {
        let wire = [&[version], &whole[1..]].concat();
        list.refused(&format!("version-{version}"), mtu, wire, Reason::UnknownVersion { version });
    }
    for kind in [3, 4, 0x80, 255] {
        let wire = [&[VERSION, kind], &whole[2..]].concat();
        list.refused(&format!("type-{kind}"), mtu, wire, Reason::UnknownType { r#type: kind });
    }
    let entries = [0, 0, 0, 1, bitmap(list, &[0]), 0, 0, 0, 2, bitmap(list, &[0]), 0, 0];
    for (name, wire) in [
        ("segment", whole),
        ("request", message_of(VERSION, REQUEST, &entries)),
        (
            "acknowledgement",
            message_of(VERSION, ACKNOWLEDGEMENT, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]),
        ),
    ] {
        for have in 1..wire.len() {
            let reason = match have.checked_sub(4) {
                None => Reason::Truncated { needed: 4, have },
                Some(payload) => Reason::LengthBeyondEnd { length: wire.len() - 4, have: payload },
            };
            list.refused(&format!("{name}.cut-at-{have}"), mtu, wire[..have].to_vec(), reason);
        }
    }
    let payload = [&[0, 0, 0, 1, 0, one][..], b"ab"].concat();
    list.refused(
        "segment.length-one-more",
        mtu,
        with_length(VERSION, SEGMENT, payload.len() + 1, &payload),
        Reason::LengthBeyondEnd { length: 9, have: 8 },
    );
    // What the length leaves over begins another message, and is too short for one.
    let payload = [&payload[..], &[VERSION]].concat();
    list.refused(
        "segment.length-one-less",
        mtu,
        with_length(VERSION, SEGMENT, payload.len() - 1, &payload),
        Reason::Truncated { needed: 4, have: 1 },
    );
    for mtu in [16, 256, 2051] {
        let limit = usize::from(mtu) - 4;
        let wire = segment_wire(1, 0, one, &pattern(limit + 1 - 6));
        let reason = Reason::TooLong { length: limit + 1, limit };
        list.refused(&format!("segment.beyond-mtu-{mtu}"), Some(mtu), wire, reason);
    }
    for (name, kind) in [("request", REQUEST), ("acknowledgement", ACKNOWLEDGEMENT)] {
        let wire = message_of(VERSION, kind, &[0; 13]);
        let reason = Reason::TooLong { length: 13, limit: 12 };
        list.refused(&format!("{name}.beyond-mtu-16"), mtu, wire, reason);
    }
}

fn refused_segments(list: &mut List) {
    let mtu = Some(256);
    let one = count_bits(list, 1);
    for have in 0..6 {
        let wire = message_of(VERSION, SEGMENT, &[0, 0, 0, 1, 0, one][..have]);
        let reason = Reason::Truncated { needed: 6, have };
        list.refused(&format!("segment.payload-{have}"), mtu, wire, reason);
    }
    list.refused("segment.frame-0", mtu, segment_wire(0, 0, one, b"ab"), Reason::ZeroFrameId);
    let wire = segment_wire(0, 0, TERMINATING | one, &[]);
    list.refused("segment.terminating-frame-0", mtu, wire, Reason::ZeroFrameId);
    for (id, flags) in [
        ("segment.reserved-bit", RESERVED | one),
        ("segment.reserved-bit-of-two", RESERVED | count_bits(list, 2)),
        ("segment.reserved-bit-terminating", RESERVED | TERMINATING | one),
    ] {
        let wire = segment_wire(1, 0, flags, &[]);
        list.refused(id, mtu, wire, Reason::ReservedBits { flags });
    }
    for (index, count) in [(1, 1), (2, 2), (3, 2), (63, 62), (63, 63), (64, 64), (128, 1), (255, 2)]
    {
        if count <= max_count(list) {
            list.refused(
                &format!("segment.index-{index}-of-{count}"),
                mtu,
                segment_wire(1, index, count_bits(list, count), b"ab"),
                Reason::IndexBeyondCount { index, count },
            );
        }
    }
    if list.is_hoprnet() {
        for (id, flags) in [("segment.count-0", 0), ("segment.count-0-terminating", TERMINATING)] {
            list.refused(id, mtu, segment_wire(1, 0, flags, &[]), Reason::ZeroSegmentCount);
        }
    }
}

fn refused_lists(list: &mut List) {
    let bits = bitmap(list, &[0]);
    let mut refused = |name: &str, kind, payload: &[u8], reason| {
        list.refused(name, filled_by(payload), message_of(VERSION, kind, payload), reason);
    };
    for (name, frames) in [
        ("twice", [1, 1, 2]),
        ("descending", [2, 1, 3]),
        ("descending-last", [1, 3, 2]),
        ("descending-over-padding", [2, 0, 1]),
        ("twice-over-padding", [2, 0, 2]),
        // They would ascend as little-endian numbers, and as signed ones.
        ("descending-by-high-byte", [1, 0x0000_0100, 0x0000_00ff]),
        ("descending-by-top-bit", [1, 0x8000_0000, 0x7fff_ffff]),
    ] {
        let entry = |frame: u32| match frame {
            0 => [0; 5],
            frame => [&frame.to_be_bytes()[..], &[bits]].concat().try_into().expect("five bytes"),
        };
        let payload = frames.map(entry).concat();
        refused(&format!("request.{name}"), REQUEST, &payload, Reason::UnorderedEntries);
        let payload = frames.map(u32::to_be_bytes).concat();
        refused(
            &format!("acknowledgement.{name}"),
            ACKNOWLEDGEMENT,
            &payload,
            Reason::UnorderedEntries,
        );
    }
    let entries = [0, 0, 0, 1, bits, 0, 0, 0, 2, bits, 0, 0, 0, 3, bits];
    for bytes in 1..5 {
        // An incomplete entry of zeros is padding; the last byte makes it something else.
        let mut payload = [&entries[..], &[0; 4][..bytes]].concat();
        payload[14 + bytes] = 1;
        refused(
            &format!("request.partial-{bytes}"),
            REQUEST,
            &payload,
            Reason::PartialEntry { bytes },
        );
    }
    for bytes in 1..4 {
        let mut payload = [&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..], &[0; 3][..bytes]].concat();
        payload[11 + bytes] = 1;
        refused(
            &format!("acknowledgement.partial-{bytes}"),
            ACKNOWLEDGEMENT,
            &payload,
            Reason::PartialEntry { bytes },
        );
    }
    let payload = [&entries[..10], &[1, 0]].concat();
    refused("request.partial-leading-byte", REQUEST, &payload, Reason::PartialEntry { bytes: 2 });
}

fn unsent(list: &mut List) {
    let mtu = Some(16);
    let too_long = Refusal::TooLong { length: 13, limit: 12 };
    list.unsent("segment.beyond-full", mtu, segment(1, 0, 1, &pattern(7)), too_long);
    if list.dialect == Dialect::Rfc0007 {
        let refusal = Refusal::TooLong { length: 2048, limit: 2047 };
        list.unsent(
            "segment.payload-2048-sent",
            Some(9000),
            segment(1, 0, 1, &pattern(2042)),
            refusal,
        );
        let frames: Vec<_> = frames_of(512).collect();
        let refusal = Refusal::TooManyEntries { limit: 511 };
        list.unsent("acknowledgement.beyond-2047", Some(9000), acknowledgement(&frames), refusal);
        let missing: Vec<_> = frames_of(410).map(|frame| (frame, 0)).collect();
        let refusal = Refusal::TooManyEntries { limit: 409 };
        list.unsent("request.beyond-2047", Some(9000), request(&missing), refusal);
    }
    if list.is_hoprnet() {
        let refusal = Refusal::TooManySegments { count: 64, limit: 63 };
        list.unsent("segment.count-64", Some(256), segment(1, 0, 64, b"ab"), refusal);
    }
    let many = Refusal::TooManyEntries { limit: 2 };
    list.unsent("request.one-too-many", mtu, request(&[(1, 0), (2, 0), (3, 0)]), many);
    let many = Refusal::TooManyEntries { limit: 3 };
    list.unsent("acknowledgement.one-too-many", mtu, acknowledgement(&[1, 2, 3, 4]), many);
    let unordered = Refusal::UnorderedEntries;
    list.unsent("request.descending-sent", mtu, request(&[(2, 0), (1, 0)]), unordered);
    list.unsent("acknowledgement.descending-sent", mtu, acknowledgement(&[2, 1]), unordered);
    list.unsent("acknowledgement.twice-sent", mtu, acknowledgement(&[2, 2]), unordered);
}
