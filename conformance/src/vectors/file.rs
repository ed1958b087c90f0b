//! A file of vectors.

use std::fmt::Write;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use towline_wire::Dialect;

use super::case::{Message, Section, json};
use super::data::DataMessage;
use super::start::StartMessage;
use super::tag::TagMessage;

/// The version of the format, which rises when readers have to change.
pub(super) const FORMAT: u32 = 1;

/// The vectors of one dialect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(rename = "$schema")]
    pub(super) schema: String,
    #[serde(deserialize_with = "known_format")]
    pub(super) format: u32,
    #[serde(deserialize_with = "by_name")]
    pub(super) dialect: Dialect,
    pub(super) data: Section<DataMessage>,
    pub(super) start: Section<StartMessage>,
    pub(super) tag: Section<TagMessage>,
}

impl File {
    /// The file as it is committed: one vector per line, so that a change shows as the lines that it is.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { schema, format, dialect, data, start, tag } = self;
        let sections = [lines(data), lines(start), lines(tag)].join(",\n");
        format!(
            "{{\n  \"$schema\": {},\n  \"format\": {format},\n  \"dialect\": {},\n{sections}\n}}\n",
            json(schema),
            json(dialect.name()),
        )
    }

    pub(super) fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

fn lines<M: Message>(section: &Section<M>) -> String {
    let Section { valid, invalid, unsendable } = section;
    let lists = [
        list("valid", valid.iter().map(json)),
        list("invalid", invalid.iter().map(json)),
        list("unsendable", unsendable.iter().map(json)),
    ];
    format!("  \"{}\": {{\n{}\n  }}", M::PROTOCOL, lists.join(",\n"))
}

fn list(name: &str, vectors: impl Iterator<Item = String>) -> String {
    let mut text = format!("    \"{name}\": [");
    for (at, vector) in vectors.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(text, "{comma}\n      {vector}").expect("a String takes all text");
    }
    if !text.ends_with('[') {
        text.push_str("\n    ");
    }
    text.push(']');
    text
}

fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORMAT => Ok(FORMAT),
        other => Err(D::Error::custom(format_args!("format {other} is not understood"))),
    }
}

fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Dialect, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}
