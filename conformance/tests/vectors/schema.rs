//! As much of JSON Schema (2020-12) as the schema of the vectors uses.

use serde_json::{Map, Value};

/// A schema, which refers to its own definitions only.
pub(crate) struct Schema(Value);

impl Schema {
    pub(crate) fn new(schema: Value) -> Self {
        Self(schema)
    }

    /// Where an instance does not fit, and why.
    pub(crate) fn faults(&self, instance: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.apply(&self.0, instance, "", &mut faults);
        faults
    }

    fn apply(&self, schema: &Value, instance: &Value, place: &str, faults: &mut Vec<String>) {
        let schema = match schema {
            Value::Bool(true) => return,
            Value::Object(keywords) => keywords,
            // `false` and what is no schema at all.
            _ => return faults.push(format!("{place} is not allowed")),
        };
        for (keyword, argument) in schema {
            let fits = match keyword.as_str() {
                // Annotations, what `$ref` refers to, and the two that others look at.
                "$schema" | "title" | "description" | "$defs" | "prefixItems" | "properties" => {
                    true
                }
                "$ref" => {
                    let pointer = argument.as_str().and_then(|to| to.strip_prefix('#'));
                    let definition = pointer.and_then(|pointer| self.0.pointer(pointer));
                    let definition = definition.expect("references lead to definitions");
                    self.apply(definition, instance, place, faults);
                    true
                }
                "oneOf" => {
                    let fit = list(argument).iter().filter(|schema| {
                        let mut faults = Vec::new();
                        self.apply(schema, instance, place, &mut faults);
                        faults.is_empty()
                    });
                    fit.count() == 1
                }
                "type" => is_of(instance, argument),
                "const" => instance == argument,
                "enum" => list(argument).contains(instance),
                "minimum" => {
                    number(instance).is_none_or(|number| Some(number) >= self::number(argument))
                }
                "maximum" => {
                    number(instance).is_none_or(|number| Some(number) <= self::number(argument))
                }
                "pattern" => instance.as_str().is_none_or(|text| matches(text, argument)),
                "minItems" => instance.as_array().is_none_or(|items| items.len() >= size(argument)),
                "maxItems" => instance.as_array().is_none_or(|items| items.len() <= size(argument)),
                "minProperties" => {
                    instance.as_object().is_none_or(|members| members.len() >= size(argument))
                }
                "required" => instance.as_object().is_none_or(|members| {
                    list(argument)
                        .iter()
                        .all(|name| members.contains_key(name.as_str().expect("a name")))
                }),
                "items" | "additionalProperties" => true,
                other => panic!("the schema says {other}, which this test does not know"),
            };
            if !fits {
                faults.push(format!("{place}: {keyword} {argument}"));
            }
        }
        match instance {
            Value::Array(items) => self.apply_to_items(schema, items, place, faults),
            Value::Object(members) => self.apply_to_members(schema, members, place, faults),
            _ => {}
        }
    }

    fn apply_to_items(
        &self,
        schema: &Map<String, Value>,
        items: &[Value],
        place: &str,
        faults: &mut Vec<String>,
    ) {
        let first = schema.get("prefixItems").map_or(&[][..], list);
        for (at, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(at).or_else(|| schema.get("items")) {
                self.apply(schema, item, &format!("{place}/{at}"), faults);
            }
        }
    }

    fn apply_to_members(
        &self,
        schema: &Map<String, Value>,
        members: &Map<String, Value>,
        place: &str,
        faults: &mut Vec<String>,
    ) {
        for (name, member) in members {
            let known = schema.get("properties").and_then(|known| known.get(name));
            if let Some(schema) = known.or_else(|| schema.get("additionalProperties")) {
                self.apply(schema, member, &format!("{place}/{name}"), faults);
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("the keyword takes a list")
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("the keyword takes a size") as usize
}

fn number(value: &Value) -> Option<i128> {
    value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from))
}

fn is_of(instance: &Value, kind: &Value) -> bool {
    match kind.as_str() {
        Some("object") => instance.is_object(),
        Some("array") => instance.is_array(),
        Some("string") => instance.is_string(),
        Some("boolean") => instance.is_boolean(),
        Some("integer") => number(instance).is_some(),
        other => panic!("the schema says type {other:?}, which this test does not know"),
    }
}

/// Whether a text is of one of the patterns that the schema has.
fn matches(text: &str, pattern: &Value) -> bool {
    let hexadecimal =
        |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match pattern.as_str() {
        Some("^([0-9a-f]{2})*$") => text.len().is_multiple_of(2) && hexadecimal(text),
        Some("^0x[0-9a-f]{1,16}$") => text
            .strip_prefix("0x")
            .is_some_and(|digits| (1..=16).contains(&digits.len()) && hexadecimal(digits)),
        Some("^[0-9]{16,20}$") => {
            (16..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        }
        Some("^[a-z0-9]+([.-][a-z0-9]+)*$") => text.split(['.', '-']).all(|word| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        }),
        other => panic!("the schema says pattern {other:?}, which this test does not know"),
    }
}
