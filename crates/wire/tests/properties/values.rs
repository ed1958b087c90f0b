//! The values that messages are made of.

use bytes::Bytes;
use towline_wire::{Dialect, Mtu, MtuError, Tag, UnknownDialect, split_tag, version};

#[test]
fn dialects_are_found_by_their_names() {
    let found = Dialect::ALL.map(|dialect| dialect.to_string().parse());
    assert_eq!(found, Dialect::ALL.map(Ok));
}

#[test]
fn a_name_of_no_dialect_is_refused() {
    assert_eq!("RFC0007".parse::<Dialect>(), Err(UnknownDialect));
}

#[test]
fn the_seed_is_the_default_dialect() {
    assert_eq!(Dialect::default(), Dialect::Rfc0007);
}

#[test]
fn an_mtu_is_within_its_range() {
    let sizes = [0, 15, 16, 65535, 65536, usize::MAX];
    let accepted = sizes.map(|bytes| Mtu::new(bytes).map(Mtu::get));
    let refused = |bytes| Err(MtuError { bytes });
    let expected =
        [refused(0), refused(15), Ok(16), Ok(65535), refused(65536), refused(usize::MAX)];
    assert_eq!(accepted, expected);
}

#[test]
fn a_tag_leaves_its_top_three_bits_clear() {
    let bits = (0..64).map(|bit| Tag::new(1 << bit).is_some());
    assert!(bits.eq((0..64).map(|bit| bit < 61)));
}

#[test]
fn session_tags_begin_at_fifteen() {
    let tags = [0, 1, 14, 15, Tag::MAX.get()].map(|tag| Tag::new(tag).map(Tag::is_session));
    assert_eq!(tags, [Some(false), Some(false), Some(false), Some(true), Some(true)]);
}

#[test]
fn a_tag_is_split_from_its_message() {
    let tag = Tag::new(0x0123_4567_89ab_cdef).expect("in range");
    let datagram = [&tag.to_bytes()[..], b"message"].concat();
    assert_eq!(split_tag(datagram.into()), Ok((tag, Bytes::from_static(b"message"))));
}

#[test]
fn a_tag_may_stand_alone() {
    let split = split_tag(Bytes::copy_from_slice(&Tag::START.to_bytes()));
    assert_eq!(split, Ok((Tag::START, Bytes::new())));
}

#[test]
fn the_version_is_the_first_byte() {
    assert_eq!([version(&[]), version(&[7]), version(&[2, 9])], [None, Some(7), Some(2)]);
}

#[cfg(feature = "data")]
mod data {
    use towline_wire::data::{Codec, FrameId, MissingSegments, SegmentHeader};

    use super::*;

    /// Message, segment data, request entries and acknowledged frames that fit.
    fn limits(dialect: Dialect, mtu: usize) -> [usize; 4] {
        let codec = Codec::new(dialect, Mtu::new(mtu).expect("in range"));
        [
            codec.max_message_len(),
            codec.max_segment_data(),
            codec.max_request_entries(),
            codec.max_acknowledged_frames(),
        ]
    }

    #[test]
    fn an_mtu_within_the_limit_of_the_length_field_is_used_whole_by_every_dialect() {
        let limits = Dialect::ALL.map(|dialect| limits(dialect, 1018));
        assert_eq!(limits, [[1018, 1008, 202, 253]; 3]);
    }

    #[test]
    fn the_seed_caps_messages_at_2047_bytes_of_payload() {
        assert_eq!(limits(Dialect::Rfc0007, 9000), [2051, 2041, 409, 511]);
    }

    #[test]
    fn the_other_dialects_use_all_of_a_large_mtu() {
        let limits = [Dialect::Rfc0009, Dialect::Hoprnet].map(|dialect| limits(dialect, 9000));
        assert_eq!(limits, [[9000, 8990, 1799, 2249]; 2]);
    }

    #[test]
    fn the_longest_frame_fills_every_segment() {
        let longest = Dialect::ALL
            .map(|dialect| Codec::new(dialect, Mtu::new(1018).expect("in range")).max_frame_len());
        assert_eq!(longest, [64 * 1008, 64 * 1008, 63 * 1008]);
    }

    #[test]
    fn frame_ids_end_at_the_last() {
        assert_eq!(FrameId::LAST.next(), None);
    }

    #[test]
    fn frame_ids_rise_by_one() {
        assert_eq!(FrameId::FIRST.next(), FrameId::new(2));
    }

    #[test]
    fn no_frame_has_the_id_zero() {
        assert_eq!(FrameId::new(0), None);
    }

    #[test]
    fn a_segment_lies_within_its_frame() {
        let cases = [(0, 0), (0, 1), (1, 1), (63, 64), (64, 64), (0, 65), (255, 255)];
        let accepted =
            cases.map(|(index, count)| SegmentHeader::new(FrameId::FIRST, index, count).is_some());
        assert_eq!(accepted, [false, true, false, true, false, false, false]);
    }

    #[test]
    fn the_lowest_bit_is_the_first_segment() {
        let missing: Vec<_> = MissingSegments::from_bits(0b1000_0101).iter().collect();
        assert_eq!(missing, [0, 2, 7]);
    }
}

#[cfg(feature = "start")]
mod start {
    use towline_wire::start::{Capabilities, Challenge, ErrorReason};

    #[test]
    fn a_challenge_does_not_print_its_value() {
        assert_eq!(format!("{:?}", Challenge(0x1234)), "Challenge(..)");
    }

    //= docs/spec/start.md#unknown-reasons
    //= type=test
    //# A receiver MUST take a reason that is not in the table for an unknown error, and keep its
    //# code.
    #[test]
    fn reasons_without_a_name_are_unknown_and_keep_their_code() {
        let reasons = (0..=u8::MAX).map(ErrorReason::from_code);
        let reasons = reasons.map(|reason| (reason.code(), reason.is_unknown()));
        assert!(reasons.eq((0..=u8::MAX).map(|code| (code, !matches!(code, 1 | 2)))));
    }

    //= docs/spec/start.md#capabilities
    //= type=test
    //# Both ends MUST run a session in reliable mode if 0x02 or 0x04 is among its capabilities, and
    //# in unreliable mode otherwise.
    #[test]
    fn either_kind_of_retransmission_makes_a_session_reliable() {
        let capabilities = [0x08, 0x0a, 0x0c, 0x0e, 0xf9].map(Capabilities::from_bits);
        assert_eq!(capabilities.map(Capabilities::is_reliable), [false, true, true, true, false]);
    }
}
