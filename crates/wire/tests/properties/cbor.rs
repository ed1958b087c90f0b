//! The scanner of CBOR items, against ciborium and against hostile input.

use std::iter::repeat_n;

use bytes::Bytes;
use ciborium::Value;
use proptest::collection::vec;
use proptest::prelude::*;
use towline_wire::DecodeError;
use towline_wire::start::{Cbor, CborError};

use crate::random::{assert_none, config, noise};

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect())
}

fn leaves() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-30_i64..30).prop_map(Value::from),
        any::<f64>().prop_map(Value::Float),
        any::<f32>().prop_map(|float| Value::Float(float.into())),
        Just(Value::Float(f64::NAN)),
        vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        text().prop_map(Value::Text),
    ]
}

/// Values that nest at most 15 deep.
fn values() -> impl Strategy<Value = Value> {
    leaves().prop_recursive(15, 64, 4, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec(pair, 0..4).prop_map(Value::Map),
            // 2 and 3 are big numbers, which ciborium reads as such.
            (4..=u64::MAX, inner).prop_map(|(tag, value)| Value::Tag(tag, Box::new(value))),
        ]
    })
}

/// Items as their bytes, for what carries them.
pub(crate) fn items() -> impl Strategy<Value = Cbor> {
    values().prop_map(|value| Cbor::new(&value).expect("nests less than the limit"))
}

fn serialized(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("values have a CBOR form");
    bytes
}

/// As `serialized`, with a break instead of a length wherever CBOR has that form.
fn serialized_with_breaks(value: &Value, out: &mut Vec<u8>) {
    const BREAK: u8 = 0xff;
    match value {
        Value::Array(items) => {
            out.push(0x9f);
            items.iter().for_each(|item| serialized_with_breaks(item, out));
            out.push(BREAK);
        }
        Value::Map(pairs) => {
            out.push(0xbf);
            for (key, value) in pairs {
                serialized_with_breaks(key, out);
                serialized_with_breaks(value, out);
            }
            out.push(BREAK);
        }
        Value::Bytes(bytes) => {
            out.push(0x5f);
            for chunk in bytes.chunks(7) {
                out.extend(serialized(&Value::Bytes(chunk.to_vec())));
            }
            out.push(BREAK);
        }
        Value::Text(text) => {
            out.push(0x7f);
            for char in text.chars() {
                out.extend(serialized(&Value::Text(char.to_string())));
            }
            out.push(BREAK);
        }
        Value::Tag(tag, value) => {
            let whole = serialized(&Value::Tag(*tag, Box::new(Value::Null)));
            out.extend(&whole[..whole.len() - 1]);
            serialized_with_breaks(value, out);
        }
        other => out.extend(serialized(other)),
    }
}

/// The length of the item at the start of `bytes`, however much follows.
fn item_len(bytes: &[u8]) -> Result<usize, DecodeError> {
    match Cbor::from_bytes(Bytes::copy_from_slice(bytes)) {
        Ok(_) => Ok(bytes.len()),
        Err(DecodeError::TrailingBytes(trailing)) => Ok(bytes.len() - trailing),
        Err(error) => Err(error),
    }
}

fn scan(hex: &str) -> Result<usize, DecodeError> {
    item_len(&hex::decode(hex).expect("test data is hex"))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_ciborium_writes_is_one_item(value in values()) {
        let bytes = serialized(&value);
        prop_assert_eq!(item_len(&bytes), Ok(bytes.len()));
    }

    #[test]
    fn an_item_ends_where_the_next_begins(value in values(), rest in vec(any::<u8>(), 1..20)) {
        let item = serialized(&value);
        let bytes = [&item[..], &rest].concat();
        prop_assert_eq!(item_len(&bytes), Ok(item.len()));
    }

    #[test]
    fn every_prefix_of_an_item_is_incomplete(value in values()) {
        let bytes = serialized(&value);
        for end in 0..bytes.len() {
            prop_assert_eq!(item_len(&bytes[..end]), Err(DecodeError::TruncatedCbor), "at {}", end);
        }
    }

    //= docs/spec/start.md#cbor
    //= type=test
    //# A receiver MUST accept well-formed items of indefinite length,
    #[test]
    fn items_of_indefinite_length_are_measured(value in values()) {
        let mut bytes = Vec::new();
        serialized_with_breaks(&value, &mut bytes);
        prop_assert_eq!(item_len(&bytes), Ok(bytes.len()));
    }

    #[test]
    fn every_prefix_of_an_item_of_indefinite_length_is_incomplete(value in values()) {
        let mut bytes = Vec::new();
        serialized_with_breaks(&value, &mut bytes);
        for end in 0..bytes.len() {
            prop_assert_eq!(item_len(&bytes[..end]), Err(DecodeError::TruncatedCbor), "at {}", end);
        }
    }

    #[test]
    fn a_value_survives_its_encoding(value in values()) {
        let read: Value = Cbor::new(&value).expect("encodes").to().expect("decodes");
        // As bytes, since not every float equals itself.
        prop_assert_eq!(serialized(&read), serialized(&value));
    }

    #[test]
    fn a_value_of_indefinite_length_reads_as_the_same_value(value in values()) {
        let mut bytes = Vec::new();
        serialized_with_breaks(&value, &mut bytes);
        let read: Value = Cbor::from_bytes(bytes.into()).expect("an item").to().expect("decodes");
        prop_assert_eq!(serialized(&read), serialized(&value));
    }

    #[test]
    fn noise_that_ciborium_reads_is_measured_as_ciborium_does(
        // Ciborium reads simple values below 32 in two bytes, too, which RFC 8949 (3.3) forbids.
        noise in noise(40).prop_filter("forbidden form", |noise| {
            !noise.windows(2).any(|pair| pair[0] == 0xf8 && pair[1] < 32)
        }),
    ) {
        let mut rest = &noise[..];
        let read: Result<Value, _> =
            ciborium::de::from_reader_with_recursion_limit(&mut rest, Cbor::MAX_NESTING);
        if read.is_ok() {
            prop_assert_eq!(item_len(&noise), Ok(noise.len() - rest.len()));
        }
    }

    #[test]
    fn noise_never_panics(noise in noise(200)) {
        let _ = Cbor::from_bytes(noise.into()).map(|item| item.to::<Value>());
    }
}

#[test]
fn indefinite_lengths_end_where_a_break_may_stand() {
    use DecodeError::InvalidCbor;
    let cases = [
        ("9fff", Ok(2)),
        ("bfff", Ok(2)),
        ("5fff", Ok(2)),
        ("7fff", Ok(2)),
        ("9f9fffbfffff", Ok(6)),
        ("9f5f41014102ff00ff", Ok(9)),
        ("7f61616162ff", Ok(6)),
        ("bf0001ff", Ok(4)),
        ("bf00ff", Err(InvalidCbor)),
        ("bf0001029fffff", Ok(7)),
        ("ff", Err(InvalidCbor)),
        ("81ff", Err(InvalidCbor)),
        ("a1ff", Err(InvalidCbor)),
        ("a100ff", Err(InvalidCbor)),
        ("c1ff", Err(InvalidCbor)),
        ("9f81ffff", Err(InvalidCbor)),
    ];
    assert_none(mismatches(&cases));
}

#[test]
fn chunks_are_definite_strings_of_one_kind() {
    let cases =
        ["5f6161ff", "7f4161ff", "5f00ff", "5f5f4101ffff", "7f7f6161ffff", "5f80ff", "7ff6ff"];
    let cases = cases.map(|case| (case, Err(DecodeError::InvalidCbor)));
    assert_none(mismatches(&cases));
}

#[test]
fn text_is_utf8_in_every_chunk() {
    use DecodeError::InvalidCbor;
    // The two bytes of U+00FC together, apart, and alone.
    let cases = [("62c3bc", Ok(3)), ("7f61c361bcff", Err(InvalidCbor)), ("61c3", Err(InvalidCbor))];
    assert_none(mismatches(&cases));
}

#[test]
fn heads_that_mean_nothing_are_refused() {
    let reserved = (0..8).flat_map(|major: u8| (28..31).map(move |info| major << 5 | info));
    let endless = [0x1f, 0x3f, 0xdf];
    let accepted = reserved.chain(endless).filter(|&head| {
        let bytes = [&[head][..], &[0; 16]].concat();
        item_len(&bytes) != Err(DecodeError::InvalidCbor)
    });
    assert_none(accepted.map(|head| format!("{head:#04x}")));
}

#[test]
fn simple_values_have_one_form_each() {
    let refused =
        (0..=u8::MAX).filter(|&value| item_len(&[0xf8, value]) == Err(DecodeError::InvalidCbor));
    assert!(refused.eq(0..32));
}

fn mismatches(cases: &[(&str, Result<usize, DecodeError>)]) -> Vec<String> {
    let found = cases.iter().map(|&(hex, expected)| (hex, expected, scan(hex)));
    let wrong = found.filter(|(_, expected, found)| expected != found);
    wrong.map(|(hex, expected, found)| format!("{hex}: {found:?}, not {expected:?}")).collect()
}

/// One level of nesting: what opens it and what closes it.
const LEVELS: [(&str, &[u8], &[u8]); 6] = [
    ("array", &[0x81], &[]),
    ("endless array", &[0x9f], &[0xff]),
    ("map by value", &[0xa1, 0x00], &[]),
    ("endless map by value", &[0xbf, 0x00], &[0xff]),
    ("map by key", &[0xa1], &[0x00]),
    ("tag", &[0xc4], &[]),
];

fn nested(open: &[u8], depth: usize, inner: &[u8], close: &[u8]) -> Vec<u8> {
    let opens = repeat_n(open, depth);
    opens.chain([inner]).chain(repeat_n(close, depth)).flatten().copied().collect()
}

//= docs/spec/start.md#cbor
//= type=test
//# and those of up to 16 levels.
#[test]
fn items_may_nest_to_the_limit() {
    let refused = LEVELS.into_iter().filter_map(|(name, open, close)| {
        let bytes = nested(open, Cbor::MAX_NESTING, &[0x00], close);
        item_len(&bytes).err().map(|error| format!("{name}: {error:?}"))
    });
    assert_none(refused);
}

#[test]
fn items_at_the_limit_of_nesting_can_be_read() {
    let unread = LEVELS.into_iter().filter_map(|(name, open, close)| {
        let bytes = nested(open, Cbor::MAX_NESTING, &[0x00], close);
        let read = Cbor::from_bytes(bytes.into()).expect("within the limit").to::<Value>();
        read.err().map(|error| format!("{name}: {error:?}"))
    });
    assert_none(unread);
}

#[test]
fn items_that_nest_deeper_are_refused() {
    let accepted = LEVELS.into_iter().filter_map(|(name, open, close)| {
        let bytes = nested(open, Cbor::MAX_NESTING + 1, &[0x00], close);
        let found = item_len(&bytes);
        (found != Err(DecodeError::NestingTooDeep)).then(|| format!("{name}: {found:?}"))
    });
    assert_none(accepted);
}

#[test]
fn an_empty_array_or_map_is_a_level_of_its_own() {
    let inner: [&[u8]; 4] = [&[0x80], &[0x9f, 0xff], &[0xa0], &[0xbf, 0xff]];
    let found = inner.map(|inner| item_len(&nested(&[0x81], Cbor::MAX_NESTING, inner, &[])));
    assert_eq!(found, [Err(DecodeError::NestingTooDeep); 4]);
}

#[test]
fn a_string_in_chunks_is_no_level() {
    let inner = [0x5f, 0x41, 0x00, 0xff];
    let bytes = nested(&[0x81], Cbor::MAX_NESTING, &inner, &[]);
    assert_eq!(item_len(&bytes), Ok(bytes.len()));
}

#[test]
fn a_datagram_full_of_open_arrays_is_refused() {
    let found = [0x81, 0x9f, 0xa1, 0xbf, 0xc4].map(|open| item_len(&[open; 65_535]));
    assert_eq!(found, [Err(DecodeError::NestingTooDeep); 5]);
}

#[test]
fn a_value_that_nests_too_deep_is_not_encoded() {
    let value = (0..=Cbor::MAX_NESTING).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    assert_eq!(Cbor::new(&value), Err(CborError::Unrepresentable));
}

// Whatever allocated for these lengths would abort, and whatever counted to them would not return.
#[test]
fn huge_lengths_cost_nothing() {
    let heads = ["5b", "7b", "9b", "bb", "5f5b", "7f7b", "9f9b", "c49b"];
    let lengths = ["ffffffffffffffff", "8000000000000000", "7fffffffffffffff", "0000010000000000"];
    let cases =
        heads.into_iter().flat_map(|head| lengths.map(|length| format!("{head}{length}00")));
    let wrong = cases.filter(|case| scan(case) != Err(DecodeError::TruncatedCbor));
    assert_none(wrong);
}

#[test]
fn an_item_of_another_type_is_a_mismatch() {
    let item = Cbor::new("text").expect("encodes");
    assert_eq!(item.to::<u64>(), Err(CborError::Mismatch));
}

#[test]
fn an_item_prints_as_hex() {
    let item = Cbor::new(&(1, "a")).expect("encodes");
    assert_eq!(format!("{item:?}"), "Cbor(82016161)");
}
