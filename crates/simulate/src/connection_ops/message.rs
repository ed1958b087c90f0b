//! Well-formed messages that may lie, with ids near those that matter.

use std::ops::RangeInclusive;

use bytes::Bytes;
use towline_wire::data::{
    Codec, FrameId, Message, MissingSegments, RequestEntry, Segment, SegmentHeader,
};

use super::Subject;
use crate::choice::{Choices, Choose};
use crate::payload::payload;

/// A datagram of anybody's making, with a header that is right or not.
pub(super) fn raw(choices: &mut Choices<'_>) -> Bytes {
    let body = choices.bytes(80);
    if choices.flag() {
        return body;
    }
    let kind = choices.byte() % 4;
    [&[1, kind, 0, body.len() as u8], &body[..]].concat().into()
}

/// An id near the edges of either direction's window, or far from all.
fn id(choices: &mut Choices<'_>, subject: &Subject) -> FrameId {
    let near = u64::from(choices.byte() % 8);
    let (sender, receiver) = (&subject.sender, &subject.receiver);
    let id = match choices.byte() % 8 {
        0 | 1 => receiver.base() + near,
        2 => receiver.seen() + 1 + near,
        3 => receiver.base() + 251 + near,
        4 => (u64::from(sender.last()) + near).saturating_sub(3),
        5 => u64::from(sender.next_unacknowledged()) + near,
        6 => 1 + near,
        _ => u64::from(u32::MAX) - near * near * near * 7_000_000,
    };
    let id = u32::try_from(id.max(1)).unwrap_or(u32::MAX);
    FrameId::new(id).unwrap_or(FrameId::FIRST)
}

/// The header of a segment: its frame's first, unless it is a terminating one.
pub(super) fn header(choices: &mut Choices<'_>, subject: &Subject) -> SegmentHeader {
    let id = id(choices, subject);
    let most = subject.codec.dialect().max_segments();
    let count = match choices.byte() % 16 {
        0 => return SegmentHeader::terminating(id),
        1..8 => subject.receiver.count(id.get()).unwrap_or(1),
        8 => most,
        9 => 9,
        10 => 8,
        at => at - 9,
    };
    let count = count.min(most);
    let index = match choices.byte() {
        byte @ 0..64 => byte % count,
        _ => 0,
    };
    SegmentHeader::new(id, index, count).unwrap_or(SegmentHeader::single(id))
}

pub(super) fn segment(choices: &mut Choices<'_>, header: SegmentHeader, codec: &Codec) -> Message {
    let full = codec.max_segment_data();
    let len = match choices.byte() % 8 {
        0..3 => full,
        3 => 0,
        4 => full.min(255),
        5 => full.min(256),
        _ => full.min(7),
    };
    let len = if header.is_terminating() { 0 } else { len };
    let data = payload(len, header.frame_id().get() ^ u32::from(choices.byte() % 4));
    Message::Segment(Segment { header, data })
}

/// The segments of a frame in some order, perhaps without one.
pub(super) fn whole_frame(
    choices: &mut Choices<'_>,
    first: SegmentHeader,
    codec: &Codec,
) -> Vec<Message> {
    if first.is_terminating() {
        return vec![segment(choices, first, codec)];
    }
    let count = first.count();
    let order = choices.byte();
    let without = (order & 0x80 != 0).then_some(order % count);
    let (start, step) = (choices.byte(), choices.one_of(&[1, 5, 7]));
    (0..u32::from(count))
        .map(|at| ((u32::from(start) + at * step) % u32::from(count)) as u8)
        .filter(|index| Some(*index) != without)
        .filter_map(|index| SegmentHeader::new(first.frame_id(), index, count))
        .map(|header| segment(choices, header, codec))
        .collect()
}

pub(super) fn acknowledgement(choices: &mut Choices<'_>, subject: &Subject) -> Message {
    let ids = ids(choices, subject);
    let most = subject.codec.max_acknowledged_frames();
    encoded(&subject.codec, |codec, out| {
        let _ = codec.encode_acknowledgement(ids.iter().copied().take(most), out);
    })
}

pub(super) fn acknowledgement_of(codec: &Codec, ids: RangeInclusive<u32>) -> Message {
    let most = codec.max_acknowledged_frames();
    encoded(codec, |codec, out| {
        let _ = codec.encode_acknowledgement(ids.filter_map(FrameId::new).take(most), out);
    })
}

pub(super) fn request(choices: &mut Choices<'_>, subject: &Subject) -> Message {
    let entries: Vec<_> = ids(choices, subject)
        .into_iter()
        .take(subject.codec.max_request_entries())
        .map(|frame_id| {
            let missing = MissingSegments::from_bits(choices.one_of(&[0xff, 1, 0, 2, 0x81]));
            RequestEntry { frame_id, missing }
        })
        .collect();
    encoded(&subject.codec, |codec, out| {
        let _ = codec.encode_request(entries, out);
    })
}

fn ids(choices: &mut Choices<'_>, subject: &Subject) -> Vec<FrameId> {
    let mut ids: Vec<_> = (0..choices.number(1, 6)).map(|_| id(choices, subject)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// A message that only the codec can make: written, then read.
fn encoded(codec: &Codec, write: impl FnOnce(&Codec, &mut Vec<u8>)) -> Message {
    let mut out = Vec::new();
    write(codec, &mut out);
    codec.decode(out.into()).unwrap_or_else(|error| panic!("what was encoded decodes: {error}"))
}
