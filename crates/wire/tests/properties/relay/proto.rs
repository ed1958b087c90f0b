//! The types and `docs/proto` are the same protocol.
//!
//! A message of a `.proto` file, read by reflection, and the type of its name are two readers of the same
//! bytes. Whatever fields they are given, both refuse them, or both see the same: names, values and order, and
//! the same bytes when they write it again. A field that is missing, renumbered, renamed or of another type on
//! either side makes a difference, and the last test here plants such faults to see it.

use std::error::Error;
use std::fmt::Debug;

use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, encode_key, encode_varint, skip_field};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, FileDescriptor, Kind, MapKey,
    MessageDescriptor, ReflectMessage, Value,
};
use towline_wire::relay::{ErrorName, deployed, seed};

use crate::random::{assert_none, config};

/// What a reader made of bytes: how it shows it, and how it would write it.
type Reading = Option<(String, Vec<u8>)>;

/// One of our types, by the name of the message that it should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    name: &'static str,
    read: fn(&[u8]) -> Reading,
}

macro_rules! types {
    ($dialect:ident: $($name:ident)*) => {
        &[$(Type { name: stringify!($name), read: read::<$dialect::$name> }),*]
    };
}

const DEPLOYED: &[Type] = types! {
    deployed: Ack Address AuthChallenge AuthResponse ChatNumber Configuration Error
        FindChatNumberByIdentityKey FindChatNumberByShortNumber ForwardedMessage InboundMessage Login Message
        OutboundMessage PreKey PreKeys PreKeysLow Register RequestPreKeys RequestUploadAuthorizations
        Unregister UploadAuthorization UploadAuthorizations
};

const SEED: &[Type] = types! {
    seed: Ack Address AuthChallenge AuthResponse Error Login Message OutboundMessage PreKey PreKeysLow Register
        RequestPreKeys Unregister
};

pub(super) const DIALECTS: [(&str, &[Type]); 2] = [
    (include_str!("../../../../../docs/proto/deployed.proto"), DEPLOYED),
    (include_str!("../../../../../docs/proto/seed.proto"), SEED),
];

/// Fields that are tried in every message: all that are in use, and some beyond.
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=24;

fn read<M: Message + Default + Debug>(bytes: &[u8]) -> Reading {
    let message = M::decode(bytes).ok()?;
    Some((format!("{message:?}"), sorted(&message.encode_to_vec())))
}

fn reflect(descriptor: &MessageDescriptor, bytes: &[u8]) -> Reading {
    if has_strange_map(descriptor, bytes) {
        return None;
    }
    let mut message = DynamicMessage::decode(descriptor.clone(), bytes).ok()?;
    forget_unknown_fields(&mut message);
    Some((shown(&message), sorted(&message.encode_to_vec())))
}

/// Whether a map comes as anything but entries with a length, which the reflection overlooks.
fn has_strange_map(descriptor: &MessageDescriptor, bytes: &[u8]) -> bool {
    let is_map = |number| descriptor.get_field(number).is_some_and(|field| field.is_map());
    let mut fields = fields(bytes).into_iter();
    fields.any(|(number, kind, _)| kind != WireType::LengthDelimited && is_map(number))
}

/// The fields of a message, to the first that is none.
fn fields(mut bytes: &[u8]) -> Vec<(u32, WireType, &[u8])> {
    let mut fields = Vec::new();
    while let Ok((number, kind)) = decode_key(&mut bytes) {
        let value = bytes;
        if skip_field(kind, number, &mut bytes, DecodeContext::default()).is_err() {
            break;
        }
        fields.push((number, kind, &value[..value.len() - bytes.len()]));
    }
    fields
}

/// An encoded message with its fields in one order; the entries of a map may come in any.
fn sorted(bytes: &[u8]) -> Vec<u8> {
    let fields = fields(bytes).into_iter();
    let mut fields: Vec<_> =
        fields.map(|(number, kind, value)| field(number, kind, value)).collect();
    fields.sort_unstable();
    fields.concat()
}

fn forget_unknown_fields(message: &mut DynamicMessage) {
    message.take_unknown_fields().for_each(drop);
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(message) => forget_unknown_fields(message),
            Value::List(list) => {
                list.iter_mut().filter_map(Value::as_message_mut).for_each(forget_unknown_fields);
            }
            _ => {}
        }
    }
}

/// A message as a derived type of its shape would show it.
fn shown(message: &DynamicMessage) -> String {
    let descriptor = message.descriptor();
    let mut members = Vec::new();
    for field in descriptor.fields() {
        match field.containing_oneof() {
            None => members.push(format!("{}: {}", snake(field.name()), member(message, &field))),
            // In the place of its first.
            Some(oneof) if oneof.fields().next().as_ref() == Some(&field) => {
                let set = oneof.fields().find(|field| message.has_field(field));
                let variant = set.map(|field| {
                    format!("{}({})", upper(field.name()), value(&message.get_field(&field)))
                });
                members.push(format!("{}: {}", oneof.name(), optional(variant)));
            }
            Some(_) => {}
        }
    }
    let name = descriptor.name();
    if members.is_empty() {
        name.to_owned()
    } else {
        format!("{name} {{ {} }}", members.join(", "))
    }
}

fn member(message: &DynamicMessage, field: &FieldDescriptor) -> String {
    let singular = !field.is_list() && !field.is_map();
    match field.kind() {
        Kind::Message(_) if singular => {
            optional(message.has_field(field).then(|| value(&message.get_field(field))))
        }
        _ => value(&message.get_field(field)),
    }
}

fn optional(value: Option<String>) -> String {
    value.map_or("None".to_owned(), |value| format!("Some({value})"))
}

fn value(value: &Value) -> String {
    match value {
        Value::I32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("{bytes:?}"),
        Value::Message(message) => shown(message),
        Value::List(list) => {
            format!("[{}]", list.iter().map(self::value).collect::<Vec<_>>().join(", "))
        }
        Value::Map(map) => {
            let entry = |(key, value): (&MapKey, &Value)| match key {
                MapKey::String(key) => format!("{key:?}: {}", self::value(value)),
                other => format!("{other:?}: {}", self::value(value)),
            };
            let mut entries: Vec<_> = map.iter().map(entry).collect();
            entries.sort_unstable();
            format!("{{{}}}", entries.join(", "))
        }
        other => format!("{other:?}"),
    }
}

/// `knownDeviceIDs` as `known_device_ids`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    let mut after_lower = false;
    for letter in name.chars() {
        if after_lower && letter.is_uppercase() {
            snake.push('_');
        }
        after_lower = letter.is_lowercase();
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// `preKeys` as `PreKeys`.
fn upper(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}

pub(super) fn parse(source: &str) -> Result<FileDescriptor, Box<dyn Error>> {
    const NAME: &str = "dialect.proto";
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_proto(protox_parse::parse(NAME, source)?)?;
    Ok(pool.get_file_by_name(NAME).expect("it was just added"))
}

/// One of each shape that a field can have on the wire, with contents that types differ about.
fn field_values() -> Vec<(WireType, Vec<u8>)> {
    let varints = [0, 1, 150, u64::from(u32::MAX), 1 << 40, u64::MAX].map(|number| {
        let mut varint = Vec::new();
        encode_varint(number, &mut varint);
        (WireType::Varint, varint)
    });
    let fixed = [(WireType::ThirtyTwoBit, vec![7; 4]), (WireType::SixtyFourBit, vec![7; 8])];
    let delimited = [
        &b""[..],
        b"ab",
        // No text, and an unfinished number.
        b"\xff\xff",
        // Messages and entries of maps.
        b"\x0a\x00",
        b"\x0a\x01k",
        b"\x0a\x01k\x12\x01v",
        b"\x08\x07\x1a\x01x",
        // Packed numbers.
        b"\x01\x96\x01",
    ];
    let delimited = delimited
        .map(|content| (WireType::LengthDelimited, [&[content.len() as u8], content].concat()));
    varints.into_iter().chain(fixed).chain(delimited).collect()
}

pub(super) fn field(number: u32, kind: WireType, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(number, kind, &mut field);
    field.extend_from_slice(value);
    field
}

/// Up to so many fields, of any number and with any content.
pub(super) fn any_fields(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let any_field = (NUMBERS, select(field_values()));
    let any_field = any_field.prop_map(|(number, (kind, value))| field(number, kind, &value));
    prop::collection::vec(any_field, 0..=most).prop_map(|fields| fields.concat())
}

/// Messages that tell apart what can be told apart: every field by itself, twice, and after another one.
fn probes() -> Vec<Vec<u8>> {
    let values = field_values();
    let mut probes = vec![Vec::new()];
    for number in NUMBERS {
        let once = values.iter().map(|(kind, value)| field(number, *kind, value));
        let once: Vec<_> = once.collect();
        probes.extend(once.iter().flat_map(|a| once.iter().map(move |b| [&a[..], b].concat())));
        probes.extend(once);
        let empty = |number| field(number, WireType::LengthDelimited, &[0]);
        probes.extend(NUMBERS.map(|other| [empty(other), empty(number)].concat()));
    }
    probes
}

/// The first bytes that two readers do not see the same in.
fn difference(ours: Type, theirs: &MessageDescriptor, probes: &[Vec<u8>]) -> Option<String> {
    probes.iter().find_map(|probe| {
        let (ours, theirs) = ((ours.read)(probe), reflect(theirs, probe));
        let name = || format!("{}: {ours:?} is {theirs:?} in the file", hex::encode(probe));
        (ours != theirs).then(name)
    })
}

#[test]
fn every_message_has_a_type_of_its_name() {
    let names = DIALECTS.map(|(source, types)| {
        let file = parse(source).expect("the file makes sense");
        let mut names: Vec<_> = file.messages().map(|message| message.name().to_owned()).collect();
        names.sort_unstable();
        (names, types.iter().map(|it| it.name.to_owned()).collect::<Vec<_>>())
    });
    for (theirs, ours) in names {
        assert_eq!(theirs, ours);
    }
}

#[test]
fn messages_and_types_read_the_same() {
    let probes = probes();
    for (source, types) in DIALECTS {
        let file = parse(source).expect("the file makes sense");
        assert_none(file.messages().filter_map(|message| {
            let ours = types.iter().find(|it| it.name == message.name())?;
            difference(*ours, &message, &probes)
        }));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_and_types_read_any_fields_the_same(
        dialect in select(&DIALECTS),
        message in any::<prop::sample::Index>(),
        bytes in any_fields(12),
    ) {
        let (source, types) = dialect;
        let ours = types[message.index(types.len())];
        let file = parse(source).expect("the file makes sense");
        let theirs = file.messages().find(|message| message.name() == ours.name);
        prop_assert_eq!(difference(ours, &theirs.expect("it has a type"), &[bytes]), None);
    }
}

#[test]
fn every_name_of_an_error_is_explained() {
    let explained = |name: &&ErrorName| {
        DIALECTS.iter().any(|(source, _)| source.contains(&format!("// - `{name}`: ")))
    };
    assert_none(ErrorName::ALL.iter().filter(|name| !explained(name)));
}

/// Copies of a line with a field, each with one thing about the field changed.
fn faults(line: &str) -> Vec<String> {
    let indent = line.len() - line.trim_start().len();
    let (declaration, number) = line.trim().split_once(" = ").expect("a field has a number");
    let number: u32 = number.trim_end_matches(';').parse().expect("the number is decimal");
    let (kind, name) = declaration.rsplit_once(' ').expect("a field has a type");
    let other_kind = match kind.trim_start_matches("repeated ") {
        "bytes" => "string",
        "string" => "bytes",
        "uint32" => "int32",
        "int32" => "sint32",
        "int64" => "uint64",
        "Ack" => "Unregister",
        _ => "Ack",
    };
    let repeated = match kind.strip_prefix("repeated ") {
        Some(kind) => kind.to_owned(),
        None => format!("repeated {kind}"),
    };
    let space = " ".repeat(indent);
    vec![
        String::new(),
        format!("{space}{kind} {name} = {};", number + 20),
        format!("{space}{kind} {name}X = {number};"),
        format!("{space}{other_kind} {name} = {number};"),
        format!("{space}{repeated} {name} = {number};"),
        format!("{line}\n{space}{kind} another = 23;"),
    ]
}

#[test]
fn a_difference_in_any_field_is_noticed() {
    let probes = probes();
    let (mut planted, mut missed) = (0, Vec::new());
    for (source, types) in DIALECTS {
        let mut message = "";
        for (at, line) in source.lines().enumerate() {
            if let Some(name) = line.strip_prefix("message ") {
                message = name.split(' ').next().unwrap_or_default();
            }
            if line.trim_start().starts_with("//")
                || !line.contains(" = ")
                || !line.starts_with(' ')
            {
                continue;
            }
            let ours = types.iter().find(|it| it.name == message).expect("it has a type");
            for fault in faults(line) {
                let lines = source.lines().enumerate();
                let faulty: Vec<_> =
                    lines.map(|(it, line)| if it == at { &fault[..] } else { line }).collect();
                // Not every fault leaves a file: a oneof holds no lists.
                let Ok(file) = parse(&faulty.join("\n")) else { continue };
                let theirs = file.messages().find(|it| it.name() == message);
                planted += 1;
                if difference(*ours, &theirs.expect("it is still there"), &probes).is_none() {
                    missed.push(format!("{message}: {line} became {fault}"));
                }
            }
        }
    }
    assert_none(missed);
    assert!(planted > 300, "{planted} faults");
}
