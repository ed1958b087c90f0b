//! Session Data: segments, requests and acknowledgements.

use std::iter::{repeat_n, successors};

use bytes::Bytes;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use towline_wire::data::{
    Codec, FrameId, Message, MissingSegments, RequestEntry, SEGMENT_OVERHEAD, Segment,
    SegmentHeader,
};
use towline_wire::{DATA_VERSION, DecodeError, Dialect, EncodeError, Mtu};

use crate::random::{assert_none, config, damaged, dialects, noise, with_right_header};

const HEADER: usize = 4;
const MTUS: [usize; 7] = [16, 256, 466, 1018, 1500, 9000, 65535];

/// What a message is made from; requests and acknowledgements cannot be had without bytes.
#[derive(Clone, Debug)]
enum Parts {
    Segment(Segment),
    Request(Vec<RequestEntry>),
    Acknowledgement(Vec<FrameId>),
}

impl Parts {
    fn encode(&self, codec: Codec, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Segment(segment) => codec.encode_segment(segment.header, &segment.data, out),
            Self::Request(entries) => codec.encode_request(entries.iter().copied(), out),
            Self::Acknowledgement(frames) => {
                codec.encode_acknowledgement(frames.iter().copied(), out)
            }
        }
    }

    fn encoded(&self, codec: Codec) -> Bytes {
        let mut out = Vec::new();
        self.encode(codec, &mut out).expect("the parts fit the codec");
        out.into()
    }

    fn are_those_of(&self, message: &Message) -> bool {
        match (self, message) {
            (Self::Segment(segment), Message::Segment(found)) => segment == found,
            (Self::Request(entries), Message::Request(found)) => {
                found.entries().eq(entries.iter().copied())
            }
            (Self::Acknowledgement(frames), Message::Acknowledgement(found)) => {
                found.frames().eq(frames.iter().copied())
            }
            _ => false,
        }
    }
}

fn codec(dialect: Dialect, mtu: usize) -> Codec {
    Codec::new(dialect, Mtu::new(mtu).expect("in range"))
}

fn id(id: u32) -> FrameId {
    FrameId::new(id).expect("not zero")
}

fn entry(frame: u32, missing: u8) -> RequestEntry {
    RequestEntry { frame_id: id(frame), missing: MissingSegments::from_bits(missing) }
}

fn every_codec() -> impl Iterator<Item = Codec> {
    let dialects = Dialect::ALL.into_iter();
    dialects.flat_map(|dialect| MTUS.into_iter().map(move |mtu| codec(dialect, mtu)))
}

fn codecs() -> impl Strategy<Value = Codec> {
    (dialects(), select(&MTUS)).prop_map(|(dialect, mtu)| codec(dialect, mtu))
}

/// Up to `max` bytes, the ends of the range more often than chance has it.
fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    let length = prop_oneof![Just(0), Just(max), 0..=max.min(32), 0..=max];
    (length, any::<u8>()).prop_map(|(length, salt)| {
        (0..length).map(|index| (index as u8).wrapping_mul(167) ^ salt).collect()
    })
}

fn segments(codec: Codec) -> impl Strategy<Value = Parts> {
    let place = (1..=codec.dialect().max_segments()).prop_flat_map(|count| (0..count, Just(count)));
    let header = prop_oneof![
        4 => (1..=u32::MAX, place).prop_map(|(frame, (index, count))| {
            SegmentHeader::new(id(frame), index, count).expect("within the count")
        }),
        1 => (1..=u32::MAX).prop_map(|frame| SegmentHeader::terminating(id(frame))),
    ];
    (header, bytes(codec.max_segment_data()))
        .prop_map(|(header, data)| Parts::Segment(Segment { header, data }))
}

/// Up to `limit` ascending ids: some anywhere, or a run, which may fill the message.
fn frame_ids(limit: usize) -> impl Strategy<Value = Vec<FrameId>> {
    let scattered = btree_set(1..=u32::MAX, 0..=limit.min(40));
    let run = (1..=u32::MAX - limit as u32, prop_oneof![Just(limit), 0..=limit])
        .prop_map(|(first, length)| (first..first + length as u32).map(id).collect());
    prop_oneof![scattered.prop_map(|ids| ids.into_iter().map(id).collect()), run]
}

fn requests(codec: Codec) -> impl Strategy<Value = Parts> {
    (frame_ids(codec.max_request_entries()), any::<u8>()).prop_map(|(frames, salt)| {
        let missing = |frame: FrameId| (frame.get().wrapping_mul(0x9e37_79b1) >> 24) as u8 ^ salt;
        let entries = frames.into_iter().map(|frame| entry(frame.get(), missing(frame)));
        Parts::Request(entries.collect())
    })
}

fn acknowledgements(codec: Codec) -> impl Strategy<Value = Parts> {
    frame_ids(codec.max_acknowledged_frames()).prop_map(Parts::Acknowledgement)
}

fn parts(codec: Codec) -> impl Strategy<Value = Parts> {
    prop_oneof![segments(codec), requests(codec), acknowledgements(codec)]
}

/// A codec and something to encode with it.
fn with_codec<S: Strategy<Value = Parts>>(
    parts: impl Fn(Codec) -> S,
) -> impl Strategy<Value = (Codec, Parts)> {
    codecs().prop_flat_map(move |codec| (Just(codec), parts(codec)))
}

/// A few messages of every shape, for the tests that go through all of something.
fn samples(codec: Codec) -> Vec<Parts> {
    let data = |length: usize| Bytes::from(vec![0xa5; length]);
    let header = SegmentHeader::new(id(0x0102_0304), 3, 8).expect("within the count");
    let last = codec.dialect().max_segments() - 1;
    let full = SegmentHeader::new(FrameId::LAST, last, last + 1).expect("within the count");
    let ids = |count: usize| (1..=count as u32).map(|n| n * 3);
    vec![
        Parts::Segment(Segment { header, data: data(2) }),
        Parts::Segment(Segment { header: full, data: data(codec.max_segment_data()) }),
        Parts::Segment(Segment {
            header: SegmentHeader::terminating(FrameId::FIRST),
            data: data(0),
        }),
        Parts::Request(vec![entry(1, 0x01), entry(0x0203_0405, 0xf0)]),
        Parts::Request(ids(codec.max_request_entries()).map(|n| entry(n, n as u8)).collect()),
        Parts::Acknowledgement(vec![id(7), FrameId::LAST]),
        Parts::Acknowledgement(ids(codec.max_acknowledged_frames()).map(id).collect()),
    ]
}

/// The bytes of any segment that a peer may send, terminating ones with an index and data among them.
fn segment_bytes(codec: Codec) -> impl Strategy<Value = Bytes> {
    let (lowest, highest) = match codec.dialect() {
        Dialect::Hoprnet => (1, 63),
        _ => (0, 63),
    };
    let place = (lowest..=highest).prop_flat_map(move |bits: u8| (Just(bits), 0..=bits - lowest));
    let data = bytes(codec.max_segment_data());
    (1..=u32::MAX, place, any::<bool>(), data).prop_map(|(frame, (bits, index), last, data)| {
        let flags = bits | u8::from(last) << 7;
        let payload = [&frame.to_be_bytes()[..], &[index, flags], &data].concat();
        with_header(0, &payload)
    })
}

/// The bytes of a request or an acknowledgement with padding anywhere, and an incomplete entry of it at
/// the end.
fn padded_list_bytes() -> impl Strategy<Value = Bytes> {
    let ids = btree_set(1..=u32::MAX, 0..20);
    let padding = vec(0_usize..3, 20);
    (any::<bool>(), ids, padding, any::<u8>(), 0_usize..4).prop_map(
        |(request, ids, padding, bitmap, rest)| {
            let mut payload = Vec::new();
            let mut put = |id: u32| {
                payload.extend(id.to_be_bytes());
                payload.extend(request.then_some(bitmap));
            };
            for (id, padding) in ids.into_iter().zip(padding) {
                repeat_n(0, padding).for_each(&mut put);
                put(id);
            }
            payload.extend(repeat_n(0, rest));
            with_header(if request { 1 } else { 2 }, &payload)
        },
    )
}

fn with_header(kind: u8, payload: &[u8]) -> Bytes {
    let length = (payload.len() as u16).to_be_bytes();
    [&[DATA_VERSION, kind][..], &length, payload].concat().into()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn segments_decode_to_what_was_encoded((codec, parts) in with_codec(segments)) {
        let message = codec.decode(parts.encoded(codec)).expect("decodes");
        prop_assert!(parts.are_those_of(&message), "{message:?}");
    }

    //= docs/spec/data.md#padding
    //= type=test
    //# A receiver MUST accept an incomplete entry of zeros at the end of the payload.
    #[test]
    fn requests_decode_to_what_was_encoded((codec, parts) in with_codec(requests)) {
        let message = codec.decode(parts.encoded(codec)).expect("decodes");
        prop_assert!(parts.are_those_of(&message), "{message:?}");
    }

    #[test]
    fn acknowledgements_decode_to_what_was_encoded((codec, parts) in with_codec(acknowledgements)) {
        let message = codec.decode(parts.encoded(codec)).expect("decodes");
        prop_assert!(parts.are_those_of(&message), "{message:?}");
    }

    #[test]
    fn a_decoded_message_encodes_to_the_bytes_it_came_from((codec, parts) in with_codec(parts)) {
        let wire = parts.encoded(codec);
        let mut again = Vec::new();
        codec.encode(&codec.decode(wire.clone()).expect("decodes"), &mut again).expect("encodes");
        prop_assert_eq!(Bytes::from(again), wire);
    }

    //= docs/spec/data.md#length
    //= type=test
    //# A sender MUST NOT send a Data message that is longer than `C`,
    #[test]
    fn no_message_is_longer_than_the_codec_says((codec, parts) in with_codec(parts)) {
        let length = parts.encoded(codec).len();
        prop_assert!(length <= codec.max_message_len().min(codec.mtu().get()), "{length} bytes");
    }

    //= docs/spec/data.md#padding
    //= type=test
    //# In `hoprnet` a sender MUST pad requests and acknowledgements with zeros to a payload of `C -
    //# 4` bytes.
    #[test]
    fn deployed_peers_get_control_messages_of_exactly_the_mtu(
        (mtu, parts) in select(&MTUS).prop_flat_map(|mtu| {
            let codec = codec(Dialect::Hoprnet, mtu);
            (Just(mtu), prop_oneof![requests(codec), acknowledgements(codec)])
        }),
    ) {
        prop_assert_eq!(parts.encoded(codec(Dialect::Hoprnet, mtu)).len(), mtu);
    }

    #[test]
    fn any_segment_encodes_to_the_bytes_it_came_from(
        (codec, wire) in codecs().prop_flat_map(|codec| (Just(codec), segment_bytes(codec))),
    ) {
        let mut again = Vec::new();
        codec.encode(&codec.decode(wire.clone()).expect("decodes"), &mut again).expect("encodes");
        prop_assert_eq!(Bytes::from(again), wire);
    }

    #[test]
    fn a_padded_list_encodes_to_an_equal_message(
        dialect in dialects(),
        wire in padded_list_bytes(),
    ) {
        let codec = codec(dialect, 1018);
        let message = codec.decode(wire).expect("decodes");
        let mut again = Vec::new();
        codec.encode(&message, &mut again).expect("what decodes can be encoded");
        prop_assert_eq!(codec.decode(again.into()), Ok(message));
    }

    #[test]
    fn noise_that_decodes_encodes_to_an_equal_message(
        codec in codecs(),
        wire in with_right_header(DATA_VERSION, 3),
    ) {
        if let Ok(message) = codec.decode(wire) {
            let mut again = Vec::new();
            codec.encode(&message, &mut again).expect("what decodes can be encoded");
            prop_assert_eq!(codec.decode(again.into()), Ok(message));
        }
    }

    #[test]
    fn noise_never_panics(codec in codecs(), noise in noise(200)) {
        let noise = Bytes::from(noise);
        let _ = codec.decode(noise.clone());
        let _ = codec.messages(noise).map(Iterator::count);
    }

    #[test]
    fn noise_under_a_right_header_never_panics(
        codec in codecs(),
        messages in vec(with_right_header(DATA_VERSION, 4), 1..4),
    ) {
        let _ = codec.messages(messages.concat().into()).map(Iterator::count);
    }

    //= docs/spec/data.md#padding
    //= type=test
    //# A receiver MUST skip entries with frame id 0 wherever they stand.
    #[test]
    fn padding_anywhere_in_a_request_is_ignored(
        entries in btree_set(1..=u32::MAX, 1..20),
        at in any::<prop::sample::Index>(),
        bitmap in any::<u8>(),
        dialect in dialects(),
    ) {
        let entries: Vec<_> = entries.into_iter().map(|frame| entry(frame, frame as u8)).collect();
        let plain = wire_of_entries(dialect, &entries);
        let at = HEADER + at.index(entries.len() + 1) * 5;
        let padded = with_inserted(&plain, at, &[0, 0, 0, 0, bitmap]);
        let codec = codec(dialect, 1018);
        prop_assert_eq!(codec.decode(padded), codec.decode(plain));
    }

    #[test]
    fn padding_anywhere_in_an_acknowledgement_is_ignored(
        frames in btree_set(1..=u32::MAX, 1..20),
        at in any::<prop::sample::Index>(),
        dialect in dialects(),
    ) {
        let frames: Vec<_> = frames.into_iter().map(id).collect();
        let plain = Parts::Acknowledgement(frames.clone()).encoded(codec(Dialect::Rfc0007, 1018));
        let at = HEADER + at.index(frames.len() + 1) * 4;
        let padded = with_inserted(&plain, at, &[0; 4]);
        let codec = codec(dialect, 1018);
        prop_assert_eq!(codec.decode(padded), codec.decode(plain));
    }

    //= docs/spec/data.md#datagram
    //= type=test
    //# A receiver MUST accept a datagram of several complete Data messages, one behind the other.
    #[test]
    fn messages_in_one_datagram_come_out_in_order(
        (codec, all) in codecs().prop_flat_map(|codec| {
            (Just(codec), vec(parts(codec), 1..6))
        }),
    ) {
        let datagram: Bytes = all.iter().flat_map(|parts| parts.encoded(codec)).collect();
        let messages: Result<Vec<_>, _> = codec.messages(datagram).expect("complete").collect();
        let messages = messages.expect("each decodes");
        let same = all.iter().zip(&messages).all(|(parts, message)| parts.are_those_of(message));
        prop_assert!(same && all.len() == messages.len(), "{messages:?}");
    }

    //= docs/spec/data.md#datagram
    //= type=test
    //# A receiver MUST ignore a datagram that does not end with the end of a message.
    #[test]
    fn a_sequence_that_ends_amid_a_message_is_refused_whole(
        (codec, all) in (dialects(), select(&[16, 256][..])).prop_flat_map(|(dialect, mtu)| {
            let codec = codec(dialect, mtu);
            (Just(codec), vec(parts(codec), 1..4))
        }),
    ) {
        let mut datagram = Vec::new();
        let mut ends = vec![];
        for parts in &all {
            parts.encode(codec, &mut datagram).expect("fits");
            ends.push(datagram.len());
        }
        let datagram = Bytes::from(datagram);
        for cut in (0..datagram.len()).filter(|cut| !ends.contains(cut)) {
            prop_assert!(codec.messages(datagram.slice(..cut)).is_err(), "accepted {cut} bytes");
        }
    }
}

/// A request without padding, which only the RFC's dialects write, with the bitmaps of `dialect`.
fn wire_of_entries(dialect: Dialect, entries: &[RequestEntry]) -> Bytes {
    let turned = |entry: &RequestEntry| match dialect {
        Dialect::Hoprnet => RequestEntry {
            missing: MissingSegments::from_bits(entry.missing.bits().reverse_bits()),
            ..*entry
        },
        _ => *entry,
    };
    let entries = entries.iter().map(turned).collect();
    Parts::Request(entries).encoded(codec(Dialect::Rfc0007, 1018))
}

/// The message with `inserted` at `at` and the length field that this needs.
fn with_inserted(message: &[u8], at: usize, inserted: &[u8]) -> Bytes {
    with_header(message[1], &[&message[HEADER..at], inserted, &message[at..]].concat())
}

#[test]
fn every_truncation_is_refused() {
    let mut accepted = Vec::new();
    for codec in every_codec() {
        for wire in samples(codec).iter().map(|parts| parts.encoded(codec)) {
            let cuts = (0..wire.len()).filter(|&cut| codec.decode(wire.slice(..cut)).is_ok());
            accepted.extend(cuts.map(|cut| format!("{codec:?}: {cut} of {} bytes", wire.len())));
        }
    }
    assert_none(accepted);
}

#[test]
fn every_extension_by_a_byte_is_refused() {
    let mut accepted = Vec::new();
    for codec in every_codec() {
        for wire in samples(codec).iter().map(|parts| parts.encoded(codec)) {
            for byte in [0x00, 0x01, 0x02, 0x7f, 0x80, 0xff] {
                let longer = Bytes::from([&wire[..], &[byte]].concat());
                if codec.decode(longer.clone()).is_ok() || codec.messages(longer).is_ok() {
                    accepted.push(format!("{codec:?}: {} bytes and {byte:#04x}", wire.len()));
                }
            }
        }
    }
    assert_none(accepted);
}

#[test]
fn a_damaged_message_is_refused_or_still_one_that_could_be_sent() {
    let mut failures = Vec::new();
    for codec in every_codec() {
        for wire in samples(codec).iter().map(|parts| parts.encoded(codec)) {
            for (damage, damaged) in damaged(&wire) {
                let Ok(message) = codec.decode(damaged) else { continue };
                let mut again = Vec::new();
                let encoded = codec.encode(&message, &mut again);
                let decoded = encoded.map(|()| codec.decode(again.into()));
                if decoded != Ok(Ok(message)) {
                    failures.push(format!("{codec:?}: {damage}: {decoded:?}"));
                }
            }
        }
    }
    assert_none(failures);
}

#[test]
fn one_message_is_not_two() {
    let codec = codec(Dialect::Rfc0007, 256);
    let wire = Parts::Acknowledgement(vec![id(1)]).encoded(codec);
    let twice = [&wire[..], &wire[..]].concat();
    assert_eq!(codec.decode(twice.into()), Err(DecodeError::TrailingBytes(wire.len())));
}

//= docs/spec/data.md#datagram
//= type=test
//# A receiver MUST NOT ignore a message because another one in its datagram is malformed.
#[test]
fn a_message_that_does_not_decode_leaves_its_neighbours_alone() {
    let codec = codec(Dialect::Rfc0007, 256);
    let wire = Parts::Acknowledgement(vec![id(1)]).encoded(codec);
    let datagram = [&wire[..], &[DATA_VERSION, 9, 0, 0], &wire[..]].concat();
    let messages = codec.messages(datagram.into()).expect("complete messages");
    let decoded: Vec<_> = messages.map(|message| message.map(drop)).collect();
    assert_eq!(decoded, [Ok(()), Err(DecodeError::UnknownType(9)), Ok(())]);
}

#[test]
fn the_data_of_a_segment_is_not_copied() {
    let codec = codec(Dialect::Rfc0007, 256);
    let header = SegmentHeader::single(FrameId::FIRST);
    let data = Bytes::from_static(b"some data");
    let wire = Parts::Segment(Segment { header, data }).encoded(codec);
    let Ok(Message::Segment(segment)) = codec.decode(wire.clone()) else { panic!("a segment") };
    assert_eq!(segment.data.as_ptr(), wire[SEGMENT_OVERHEAD..].as_ptr());
}

//= docs/spec/data.md#header
//= type=test
//# A sender MUST write 0x01 as the version of a Data message and the number of payload bytes as its
//# length.
//= docs/spec/data.md#segment
//= type=test
//# A segment MUST hold the frame id in 4 bytes, the index in 1, the flags in 1, and the data, in
//# this order.
//= docs/spec/data.md#request
//= type=test
//# A request MUST hold at most `(C - 4) / 5` entries of a frame id in 4 bytes and a bitmap of
//# missing segments in 1,
//= docs/spec/data.md#acknowledgement
//= type=test
//# An acknowledgement MUST hold at most `(C - 4) / 4` frame ids in 4 bytes each,
#[test]
fn messages_are_laid_out_as_the_rfc_says() {
    let header = SegmentHeader::new(id(0x0102_0304), 3, 8).expect("within the count");
    let data = Bytes::from_static(b"data");
    let entries = vec![entry(1, 0x81), entry(0x0102_0304, 0x18)];
    let rows = [
        (Parts::Segment(Segment { header, data }), "0100000a", "01020304 03 07 64617461"),
        (Parts::Request(entries), "0101000a", "00000001 81 01020304 18"),
        (Parts::Acknowledgement(vec![id(1), id(0x0102_0304)]), "01020008", "00000001 01020304"),
    ];
    for (parts, header, payload) in rows {
        let wire = hex::encode(parts.encoded(codec(Dialect::Rfc0007, 256)));
        assert_eq!(wire, [header, payload].concat().replace(' ', ""));
    }
}

//= docs/spec/data.md#request
//= type=test
//# In `rfc0007` and `rfc0009` segment N MUST be the bit of value 2^N in the bitmap.
//= docs/spec/data.md#request
//= type=test
//# In `hoprnet` segment N MUST be the bit of value 2^(7 - N) in the bitmap.
#[test]
fn the_dialects_turn_the_bitmap_round() {
    let first_missing = Parts::Request(vec![entry(1, 0x01)]);
    let bitmaps = Dialect::ALL.map(|dialect| first_missing.encoded(codec(dialect, 256))[8]);
    assert_eq!(bitmaps, [0x01, 0x01, 0x80]);
}

//= docs/spec/data.md#segment
//= type=test
//# In `rfc0007` and `rfc0009` the low six bits of the flags MUST be the number of segments in the
//# frame minus one.
//= docs/spec/data.md#segment
//= type=test
//# In `hoprnet` the low six bits of the flags MUST be the number of segments in the frame.
//= docs/spec/data.md#terminating-segment
//= type=test
//# A terminating frame MUST be one segment with bit 7 of its flags set,
#[test]
fn the_dialects_count_segments_differently() {
    let headers = [
        SegmentHeader::single(FrameId::FIRST),
        SegmentHeader::new(FrameId::FIRST, 0, 2).expect("within the count"),
        SegmentHeader::terminating(FrameId::FIRST),
    ];
    let flags = Dialect::ALL.map(|dialect| {
        headers.map(|header| {
            Parts::Segment(Segment { header, data: Bytes::new() }).encoded(codec(dialect, 256))[9]
        })
    });
    assert_eq!(flags, [[0x00, 0x01, 0x80], [0x00, 0x01, 0x80], [0x01, 0x02, 0x81]]);
}

//= docs/spec/data.md#length
//= type=test
//# or in `rfc0007` one with a payload of more than 2047 bytes.
//= docs/spec/data.md#length
//= type=test
//# A receiver MUST accept a payload of up to `C - 4` bytes, in every dialect.
#[test]
fn a_long_payload_is_understood_but_not_sent_where_the_length_field_is_limited() {
    let mut datagram = Vec::new();
    let header = SegmentHeader::single(FrameId::FIRST);
    codec(Dialect::Rfc0009, 9000).encode_segment(header, &[1; 4000], &mut datagram).expect("fits");
    let limited = codec(Dialect::Rfc0007, 9000);
    let message = limited.decode(datagram.into()).expect("understood");
    let refusal = limited.encode(&message, &mut Vec::new());
    assert_eq!(refusal, Err(EncodeError::TooLong { length: 4006, limit: 2047 }));
}

#[test]
fn encoders_append_to_what_the_buffer_holds() {
    let mut failures = Vec::new();
    for codec in every_codec() {
        for parts in samples(codec) {
            let mut out = b"before".to_vec();
            parts.encode(codec, &mut out).expect("fits");
            if out != [&b"before"[..], &parts.encoded(codec)].concat() {
                failures.push(format!("{codec:?}: {parts:?}"));
            }
        }
    }
    assert_none(failures);
}

/// What every codec must refuse, each in the one way that is named with it.
fn unencodable(codec: Codec) -> Vec<(Parts, EncodeError)> {
    let limit = codec.max_message_len() - HEADER;
    let header = SegmentHeader::single(FrameId::FIRST);
    let too_long = Bytes::from(vec![0; codec.max_segment_data() + 1]);
    let entries = codec.max_request_entries();
    let frames = codec.max_acknowledged_frames();
    let ids = |count: usize| (1..=count as u32 + 1).map(id);
    let mut all = vec![
        (
            Parts::Segment(Segment { header, data: too_long }),
            EncodeError::TooLong { length: limit + 1, limit },
        ),
        (
            Parts::Request(ids(entries).map(|frame| entry(frame.get(), 1)).collect()),
            EncodeError::TooManyEntries { limit: entries },
        ),
        (
            Parts::Acknowledgement(ids(frames).collect()),
            EncodeError::TooManyEntries { limit: frames },
        ),
        (Parts::Request(vec![entry(2, 1), entry(1, 1)]), EncodeError::UnorderedEntries),
        (Parts::Request(vec![entry(2, 1), entry(2, 2)]), EncodeError::UnorderedEntries),
        (Parts::Acknowledgement(vec![id(2), id(1)]), EncodeError::UnorderedEntries),
        (Parts::Acknowledgement(vec![id(2), id(2)]), EncodeError::UnorderedEntries),
    ];
    let limit = codec.dialect().max_segments();
    if let Some(header) = SegmentHeader::new(FrameId::FIRST, 0, limit + 1) {
        let segment = Segment { header, data: Bytes::new() };
        let refusal = EncodeError::TooManySegments { count: limit + 1, limit };
        all.push((Parts::Segment(segment), refusal));
    }
    all
}

//= docs/spec/data.md#segmentation
//= type=test
//# or 63 in `hoprnet`.
//= docs/spec/data.md#request
//= type=test
//# in ascending order of the ids, each id once.
//= docs/spec/data.md#acknowledgement
//= type=test
//# in ascending order, each once.
#[test]
fn encoders_refuse_what_the_other_end_could_not_read() {
    let mut failures = Vec::new();
    for codec in every_codec() {
        for (parts, refusal) in unencodable(codec) {
            let encoded = parts.encode(codec, &mut Vec::new());
            if encoded != Err(refusal) {
                failures.push(format!("{codec:?}: {encoded:?} instead of {refusal:?}"));
            }
        }
    }
    assert_none(failures);
}

#[test]
fn encoders_leave_the_buffer_alone_when_they_refuse() {
    let mut failures = Vec::new();
    for codec in every_codec() {
        for (parts, refusal) in unencodable(codec) {
            let mut out = b"before".to_vec();
            let _ = parts.encode(codec, &mut out);
            if out != b"before" {
                failures.push(format!("{codec:?}: after {refusal:?} it has {} bytes", out.len()));
            }
        }
    }
    assert_none(failures);
}

#[test]
fn an_endless_list_is_refused_at_the_limit() {
    let codec = codec(Dialect::Hoprnet, 1018);
    let endless = successors(Some(FrameId::FIRST), |frame| frame.next());
    let refusal = codec.encode_acknowledgement(endless, &mut Vec::new());
    assert_eq!(refusal, Err(EncodeError::TooManyEntries { limit: 253 }));
}
