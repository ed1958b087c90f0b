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

#[cfg(feature = "relay")]
mod relay {
    use bytes::Bytes;
    use towline_wire::relay::number::{self, InvalidNumber};
    use towline_wire::relay::{
        BASE32, ErrorName, Identity, InvalidIdentity, UnknownErrorName, UserId, deployed,
    };

    /// Identities of deployed clients, in base32, and their numbers.
    const IDENTITIES: [(&str, &str); 3] = [
        (
            "rfu2495fqazzpq1e3xkj1skmr9785hwbxggpr17ut1htj4h9nhyy",
            "2277029271600308397119018701998194490680040839333862997699030902896411310611021743",
        ),
        (
            "2ef1hjxjgknbs42r3m7gzder6g54y5xpw14qfcu1kadjo5uxacwy",
            "4342820233990893499916176709100472778711303604221136641701787128349600913468018320",
        ),
        (
            "qtrf8jwmbsetq6uaqer1nspmmkew81m68o8grsz3rfnhndkq63ro",
            "3428248422436903297721822246743777369082729000180606699923898262147466901806301364",
        ),
    ];

    fn identity(base32: &str) -> Identity {
        base32.parse().expect("an identity")
    }

    #[test]
    fn identities_have_a_form_in_base32() {
        let key = "aa0b2e25e932841b6aa4cafa6b8d04f1b7a06deda4b4e2b2725606986e6fc328";
        let key = hex::decode(key).expect("test data is hex");
        let identity = Identity::try_from(&key[..]).expect("an identity");
        assert_eq!(identity.to_string(), IDENTITIES[1].0);
        assert_eq!(IDENTITIES[1].0.parse(), Ok(identity));
        assert_eq!(Bytes::from(identity), key);
    }

    #[test]
    fn bytes_that_are_no_identity_are_refused() {
        let wrong_length = |have| Err(InvalidIdentity::WrongLength { needed: 32, have });
        let lengths = [0, 31, 33].map(|len| Identity::try_from(&vec![1; len][..]));
        assert_eq!(lengths, [wrong_length(0), wrong_length(31), wrong_length(33)]);
    }

    #[test]
    fn an_identity_has_one_form() {
        let key = |lowest, middle, highest| {
            let mut key = [middle; 32];
            (key[0], key[31]) = (lowest, highest);
            Identity::try_from(key).is_ok()
        };
        let reduced = [key(0xec, 0xff, 0x7f), key(0xff, 0xfe, 0x7f), key(0, 0, 0)];
        // The prime itself, the largest of 255 bits, and the unused bit.
        let others = [key(0xed, 0xff, 0x7f), key(0xff, 0xff, 0x7f), key(0, 0, 0x80)];
        assert_eq!((reduced, others), ([true; 3], [false; 3]));
    }

    #[test]
    fn text_that_is_no_identity_is_refused() {
        let upper = IDENTITIES[0].0.to_uppercase();
        let refused = |text: &str| text.parse::<Identity>();
        assert_eq!(refused(&upper), Err(InvalidIdentity::NotBase32));
        assert_eq!(refused("yyy!"), Err(InvalidIdentity::NotBase32));
        assert_eq!(refused("yy"), Err(InvalidIdentity::WrongLength { needed: 32, have: 1 }));
    }

    #[test]
    fn bits_that_base32_has_too_many_are_zero() {
        // 52 characters are 260 bits, of which the last four stand for nothing.
        let text = IDENTITIES[0].0.replace("nhyy", "nhyb");
        assert_eq!(text.parse::<Identity>(), Err(InvalidIdentity::NotBase32));
    }

    #[test]
    fn any_bytes_have_a_form_in_base32() {
        let seed = "jkrbbfgym19yz79saxym4mfqxbhzxtndf9r98m76upcxkgyr83cs54x5asgry4x6czscwkakgw476q7mudzgsug1kqrd83t466n1w4e";
        let bytes = BASE32.decode(seed.as_bytes()).expect("base32");
        assert_eq!((bytes.len(), BASE32.encode(&bytes)), (64, seed.to_owned()));
    }

    #[test]
    fn a_users_id_says_its_type() {
        let user = UserId::new(&[7; 32]);
        assert_eq!(UserId::try_from(&user.as_bytes()[..]), Ok(user));
        assert_eq!((user.as_bytes()[0], user.key()), (5, &[7; 32]));
        assert_eq!(user.to_string().len(), 53);
    }

    #[test]
    fn bytes_that_are_no_user_are_refused() {
        let refused = [&[4; 33][..], &[5; 32]].map(UserId::try_from);
        let wrong_length = InvalidIdentity::WrongLength { needed: 33, have: 32 };
        assert_eq!(refused, [Err(InvalidIdentity::UnknownType(4)), Err(wrong_length)]);
    }

    #[test]
    fn numbers_are_those_of_deployed_clients() {
        let numbers = IDENTITIES.map(|(base32, _)| number::encode(&identity(base32)));
        assert_eq!(numbers, IDENTITIES.map(|(_, number)| number));
    }

    #[test]
    fn a_number_is_read_as_the_identity_that_it_is_made_from() {
        let read = IDENTITIES.map(|(_, number)| number::decode(number));
        assert_eq!(read, IDENTITIES.map(|(base32, _)| Ok(identity(base32))));
    }

    #[test]
    fn the_least_and_the_greatest_identity_have_numbers() {
        let mut greatest = [0xff; 32];
        (greatest[0], greatest[31]) = (0xec, 0x7f);
        let keys = [[0; 32], greatest, [0x7f; 32]];
        for key in keys.map(|key| Identity::try_from(key).expect("an identity")) {
            let number = number::encode(&key);
            assert_eq!((number.len(), number::decode(&number)), (number::LEN, Ok(key)));
        }
    }

    #[test]
    fn fives_change_nothing_about_a_number() {
        let (base32, number) = IDENTITIES[0];
        let (start, end) = number.split_at(20);
        let read = number::decode(&["5550187", start, "55", end, "5"].concat());
        assert_eq!(read, Ok(identity(base32)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let number = IDENTITIES[0].1;
        let longer = [number, "0"].concat();
        let too_large = ["2", &"9".repeat(81)].concat();
        // Without its head, 2^248: the lowest bits of the first byte are always clear.
        let unshifted =
            "2001708449268378230797034063666116289034471438217182938786829041743786888392384964";
        let texts = ["", "0", "2", &number[..81], &longer, &too_large, unshifted, "2x", "2\u{665}"];
        assert_eq!(texts.map(number::decode), [Err(InvalidNumber); 9]);
    }

    #[test]
    fn an_identity_may_be_called_by_one_of_several_numbers() {
        let (base32, plain) = IDENTITIES[0];
        let candidates: Vec<_> = number::candidates(&identity(base32)).collect();
        let parts = |at: usize| (&candidates[at].short[..], &candidates[at].number[..]);
        let (short, tail) = plain.split_at(12);
        assert_eq!(parts(0), (short, plain));
        assert_eq!(parts(2).0, ["55", short].concat());
        assert_eq!(parts(2).1, ["55", short, "55", tail].concat());
        assert_eq!(parts(69).0.len(), 81);
        assert_eq!((parts(70), candidates.len()), ((plain, plain), 71));
    }

    #[test]
    fn every_candidate_is_the_same_identity() {
        let identity = identity(IDENTITIES[0].0);
        let read = number::candidates(&identity).map(|it| number::decode(&it.number));
        assert!(read.into_iter().all(|read| read == Ok(identity)));
    }

    #[test]
    fn the_login_of_a_deployed_client_is_read() {
        let login = concat!(
            "0a340a20aa0b2e25e932841b6aa4cafa6b8d04f1b7a06deda4b4e2b2725606986e6fc3281210",
            "00112233445566778899aabbccddeeff1220000102030405060708090a0b0c0d0e0f10111213",
            "1415161718191a1b1c1d1e1f"
        );
        let wire = Bytes::from(hex::decode(login).expect("test data is hex"));
        let login = deployed::Login::decode(wire.clone()).expect("decodes");
        let address = login.address.clone().expect("an address");
        assert_eq!(Identity::try_from(&address.identity_key[..]), IDENTITIES[1].0.parse());
        assert_eq!((address.device_id.len(), login.nonce.len()), (16, 32));
        let mut again = Vec::new();
        login.encode(&mut again).expect("encodes");
        assert_eq!(again, wire);
    }

    #[test]
    fn names_of_errors_are_found_by_their_text() {
        let found = ErrorName::ALL.iter().map(|name| name.to_string().parse());
        assert!(found.eq(ErrorName::ALL.iter().map(|&name| Ok(name))));
    }

    #[test]
    fn an_unknown_short_number_is_misspelt() {
        let names = ["unnkown_short_number", "unknown_short_number"].map(str::parse::<ErrorName>);
        assert_eq!(names, [Ok(ErrorName::UnknownShortNumber), Err(UnknownErrorName)]);
    }

    #[test]
    fn an_error_has_its_name_and_no_description() {
        let error = deployed::Error::from(ErrorName::Unauthorized);
        assert_eq!((&error.name[..], &error.description[..]), ("unauthorized", ""));
    }
}
