//! Every way in which bytes are no message, and that each is told from the others.

use std::fmt::Debug;

use bytes::Bytes;
use towline_wire::{DecodeError, Dialect};

use crate::random::assert_none;

/// Fails with every row whose bytes are not refused as it says.
fn assert_refused<T: Debug>(
    decode: impl Fn(Dialect, Bytes) -> Result<T, DecodeError>,
    rows: &[(&[Dialect], &str, DecodeError)],
) {
    let mut failures = Vec::new();
    for &(dialects, hex, expected) in rows {
        for &dialect in dialects {
            let found = decode(dialect, hex::decode(hex).expect("test data is hex").into());
            if found.as_ref().err() != Some(&expected) {
                failures.push(format!("{dialect}: {hex}: {found:?} instead of {expected:?}"));
            }
        }
    }
    assert_none(failures);
}

const ALL: &[Dialect] = &Dialect::ALL;
const RFC: &[Dialect] = &[Dialect::Rfc0007, Dialect::Rfc0009];
const HOPRNET: &[Dialect] = &[Dialect::Hoprnet];

mod tag {
    use towline_wire::split_tag;

    use super::*;

    //= docs/spec/framing.md#tag-ranges
    //= type=test
    //# A receiver MUST ignore a datagram in whose tag one of the top three bits is set.
    #[test]
    fn a_reserved_tag() {
        let tags = ["2000000000000000", "4000000000000001", "8000000000000000", "ffffffffffffffff"];
        let rows = tags.map(|tag| (HOPRNET, tag, DecodeError::ReservedTag));
        assert_refused(|_, datagram| split_tag(datagram), &rows);
    }

    //= docs/spec/framing.md#tag-ranges
    //= type=test
    //# A receiver MUST ignore a datagram that is shorter than a tag.
    #[test]
    fn a_truncated_tag() {
        let truncated = |have| DecodeError::Truncated { needed: 8, have };
        let rows = [(HOPRNET, "", truncated(0)), (HOPRNET, "20000000000000", truncated(7))];
        assert_refused(|_, datagram| split_tag(datagram), &rows);
    }
}

#[cfg(feature = "data")]
mod data {
    use towline_wire::Mtu;
    use towline_wire::data::{Codec, Message};

    use super::*;

    fn codec(dialect: Dialect) -> Codec {
        Codec::new(dialect, Mtu::MIN)
    }

    fn decode(dialect: Dialect, datagram: Bytes) -> Result<Message, DecodeError> {
        codec(dialect).decode(datagram)
    }

    #[test]
    fn a_truncated_message() {
        let truncated = |needed, have| DecodeError::Truncated { needed, have };
        let rows = [
            (ALL, "", truncated(4, 0)),
            (ALL, "01", truncated(4, 1)),
            (ALL, "010000", truncated(4, 3)),
            (ALL, "01000000", truncated(6, 0)),
            (ALL, "010000050000000100", truncated(6, 5)),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/data.md#header
    //= type=test
    //# A receiver MUST ignore a datagram with a Data message of any other version.
    #[test]
    fn an_unknown_version() {
        let unknown = DecodeError::UnknownVersion;
        let rows = [
            (ALL, "00", unknown(0)),
            (ALL, "02", unknown(2)),
            (ALL, "020000000000", unknown(2)),
            (ALL, "ff0000060000000100ff", unknown(255)),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/data.md#header
    //= type=test
    //# A receiver MUST ignore a Data message of a type that is not in the table.
    #[test]
    fn an_unknown_type() {
        let rows = [
            (ALL, "01030000", DecodeError::UnknownType(3)),
            (ALL, "01ff000100", DecodeError::UnknownType(255)),
        ];
        assert_refused(decode, &rows);
    }

    #[test]
    fn a_length_beyond_the_end() {
        let beyond = |length, have| DecodeError::LengthBeyondEnd { length, have };
        let rows = [
            (ALL, "01000006", beyond(6, 0)),
            (ALL, "010000070000000100", beyond(7, 5)),
            (ALL, "01020001", beyond(1, 0)),
        ];
        assert_refused(decode, &rows);
    }

    #[test]
    fn a_length_beyond_the_end_of_a_later_message() {
        let row = (ALL, "0102000001020001", DecodeError::LengthBeyondEnd { length: 1, have: 0 });
        assert_refused(|dialect, datagram| codec(dialect).messages(datagram), &[row]);
    }

    #[test]
    fn bytes_after_the_message() {
        let rows = [
            (ALL, "0102000000", DecodeError::TrailingBytes(1)),
            (ALL, "0102000001020000", DecodeError::TrailingBytes(4)),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/data.md#length
    //= type=test
    //# A receiver MUST ignore a datagram with a Data message whose length is more than `C - 4`.
    #[test]
    fn a_message_over_the_mtu() {
        let too_long = |length| DecodeError::TooLong { length, limit: 12 };
        let rows = [
            (ALL, "0102000d00000000000000000000000000", too_long(13)),
            // Whether the bytes are there or not.
            (ALL, "0102ffff", too_long(65_535)),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/data.md#segment
    //= type=test
    //# A receiver MUST ignore a segment of frame 0.
    #[test]
    fn a_segment_of_frame_zero() {
        let rows = [
            (RFC, "01000006000000000000", DecodeError::ZeroFrameId),
            (HOPRNET, "01000006000000000001", DecodeError::ZeroFrameId),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/data.md#segment
    //= type=test
    //# A receiver MUST ignore a segment whose index is not below its count.
    #[test]
    fn an_index_beyond_the_count() {
        let beyond = |index, count| DecodeError::IndexBeyondCount { index, count };
        let rows = [
            (RFC, "01000006000000010100", beyond(1, 1)),
            (RFC, "0100000600000001403f", beyond(64, 64)),
            (HOPRNET, "01000006000000010101", beyond(1, 1)),
            (HOPRNET, "01000006000000013f3f", beyond(63, 63)),
            (RFC, "0100000600000001ff02", beyond(255, 3)),
            (HOPRNET, "0100000600000001ff02", beyond(255, 2)),
        ];
        assert_refused(decode, &rows);
    }

    #[test]
    fn a_frame_of_no_segments() {
        let rows = [
            (HOPRNET, "01000006000000010000", DecodeError::ZeroSegmentCount),
            (HOPRNET, "01000006000000010080", DecodeError::ZeroSegmentCount),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/data.md#segment
    //= type=test
    //# A receiver MUST ignore a segment with bit 6 of its flags set.
    #[test]
    fn a_reserved_bit() {
        let rows = [
            (ALL, "01000006000000010041", DecodeError::ReservedBits(0x41)),
            (ALL, "010000060000000100c1", DecodeError::ReservedBits(0xc1)),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/data.md#request
    //= type=test
    //# A receiver MUST ignore a request whose frame ids do not ascend.
    //= docs/spec/data.md#acknowledgement
    //= type=test
    //# A receiver MUST ignore an acknowledgement whose frame ids do not ascend.
    #[test]
    fn entries_that_do_not_ascend() {
        let unordered = DecodeError::UnorderedEntries;
        let rows = [
            (ALL, "0101000a00000002010000000101", unordered),
            (ALL, "0101000a00000001010000000102", unordered),
            (ALL, "010200080000000200000001", unordered),
            (ALL, "010200080000000100000001", unordered),
            (ALL, "0102000c000000020000000000000001", unordered),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/data.md#padding
    //= type=test
    //# A receiver MUST ignore a request or an acknowledgement that ends in an incomplete entry of
    //# anything else.
    #[test]
    fn an_incomplete_entry() {
        let partial = DecodeError::PartialEntry;
        let rows = [
            (ALL, "0101000400000001", partial(4)),
            (ALL, "01010006000000010101", partial(1)),
            (ALL, "01020003000001", partial(3)),
            (ALL, "01020006000000010001", partial(2)),
        ];
        assert_refused(decode, &rows);
    }

    #[test]
    fn the_deployed_peer_hears_of_the_rfc_where_its_count_is_one_too_low() {
        let count = |index, count| DecodeError::IndexBeyondCount { index, count };
        let errors =
            [DecodeError::ZeroSegmentCount, count(2, 2), count(3, 2), DecodeError::ZeroFrameId];
        let likely = errors.map(|error| error.likely_dialect(Dialect::Hoprnet));
        assert_eq!(likely, [Some(Dialect::Rfc0007), Some(Dialect::Rfc0007), None, None]);
    }

    #[test]
    fn the_rfc_cannot_tell_who_else_would_send_this() {
        let error = DecodeError::IndexBeyondCount { index: 2, count: 2 };
        let likely = RFC.iter().map(|&dialect| error.likely_dialect(dialect));
        assert!(likely.eq([None, None]));
    }
}

#[cfg(feature = "start")]
mod start {
    use towline_wire::start::Message;

    use super::*;

    fn decode(dialect: Dialect, datagram: Bytes) -> Result<Message, DecodeError> {
        Message::decode(dialect, datagram)
    }

    //= docs/spec/start.md#header
    //= type=test
    //# A receiver MUST ignore a Start message whose payload ends within its fixed fields.
    #[test]
    fn a_truncated_message() {
        let truncated = |needed, have| DecodeError::Truncated { needed, have };
        let rows = [
            (ALL, "", truncated(4, 0)),
            (ALL, "020300", truncated(4, 3)),
            (ALL, "0200000c000000000000000000000000", truncated(13, 12)),
            (ALL, "0201000700000000000000", truncated(8, 7)),
            (ALL, "020200080000000000000000", truncated(9, 8)),
            (&[Dialect::Rfc0007], "0203000400000000", truncated(5, 4)),
            (&[Dialect::Rfc0009, Dialect::Hoprnet], "0203000400000000", truncated(9, 4)),
            (&[Dialect::Rfc0009], "02030007000000000701f6", truncated(9, 7)),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/start.md#header
    //= type=test
    //# A receiver MUST ignore a Start message of any other version.
    #[test]
    fn an_unknown_version() {
        let unknown = DecodeError::UnknownVersion;
        let rows = [(ALL, "01", unknown(1)), (ALL, "03020009000000000000000000", unknown(3))];
        assert_refused(decode, &rows);
    }

    //= docs/spec/start.md#header
    //= type=test
    //# A receiver MUST ignore a Start message of a type that is not in the table.
    #[test]
    fn an_unknown_type() {
        let rows = [
            (ALL, "02040000", DecodeError::UnknownType(4)),
            (ALL, "02ff000100", DecodeError::UnknownType(255)),
        ];
        assert_refused(decode, &rows);
    }

    #[test]
    fn a_length_beyond_the_end() {
        let beyond = DecodeError::LengthBeyondEnd { length: 10, have: 9 };
        assert_refused(decode, &[(RFC, "0202000a000000000000000000", beyond)]);
    }

    //= docs/spec/start.md#header
    //= type=test
    //# In `rfc0007` and `rfc0009` a receiver MUST ignore a Start message with bytes behind its last
    //# field.
    #[test]
    fn bytes_after_the_message() {
        let rows = [
            // After the payload, and within it after the last field.
            (RFC, "02020009000000000000000000ff", DecodeError::TrailingBytes(1)),
            (RFC, "0202000a000000000000000000ff", DecodeError::TrailingBytes(1)),
            (RFC, "0201000b000000000000000000aabb", DecodeError::TrailingBytes(2)),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/start.md#cbor
    //= type=test
    //# A receiver MUST ignore a Start message whose item is not well-formed CBOR or holds text that
    //# is not UTF-8.
    #[test]
    fn an_invalid_item() {
        let rows = [
            (ALL, "0201000900000000000000001c", DecodeError::InvalidCbor),
            (ALL, "020100090000000000000000ff", DecodeError::InvalidCbor),
            (ALL, "0201000a000000000000000061ff", DecodeError::InvalidCbor),
        ];
        assert_refused(decode, &rows);
    }

    #[test]
    fn an_incomplete_item() {
        let rows = [
            (ALL, "020100080000000000000000", DecodeError::TruncatedCbor),
            (ALL, "0201000a00000000000000008201", DecodeError::TruncatedCbor),
            (ALL, "0201001100000000000000009bffffffffffffffff", DecodeError::TruncatedCbor),
        ];
        assert_refused(decode, &rows);
    }

    //= docs/spec/start.md#cbor
    //= type=test
    //# A receiver MUST ignore a Start message whose item nests more than 16 levels deep.
    #[test]
    fn an_item_nested_too_deep() {
        let deep = format!("0201001a0000000000000000{}00", "81".repeat(17));
        assert_refused(decode, &[(ALL, &deep, DecodeError::NestingTooDeep)]);
    }
}
