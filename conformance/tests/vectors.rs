//! The committed vectors: what they are made of, and that the codec agrees with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use towline_conformance::vectors;
use towline_wire::Dialect;

#[path = "vectors/schema.rs"]
mod schema;

use schema::Schema;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn text(file: &str) -> String {
    fs::read_to_string(folder().join(file)).expect("the file is committed")
}

fn json(file: &str) -> Value {
    serde_json::from_str(&text(file)).expect("committed files are JSON")
}

fn committed(dialect: Dialect) -> Value {
    json(&format!("{dialect}.json"))
}

/// The vectors of one list, such as `valid`, from every protocol of a dialect.
fn listed(dialect: Dialect, list: &str) -> Vec<Value> {
    let file = committed(dialect);
    let lists = ["data", "start", "tag"].map(|protocol| file[protocol][list].clone());
    lists.iter().flat_map(|list| list.as_array().expect("a list").clone()).collect()
}

fn field(vector: &Value, name: &str) -> String {
    vector[name].as_str().expect("a text").to_owned()
}

#[test]
fn the_committed_files_are_the_generated_ones() {
    for dialect in Dialect::ALL {
        let (committed, generated) =
            (text(&format!("{dialect}.json")), vectors::generate(dialect).to_json());
        let differs = |(committed, generated): &(&str, &str)| committed != generated;
        if let Some((committed, generated)) = committed.lines().zip(generated.lines()).find(differs)
        {
            panic!(
                "{dialect}.json is not what the codec makes; if that is a change of the protocol, run \
                 `cargo xtask vectors`\ncommitted: {committed}\ngenerated: {generated}"
            );
        }
        assert_eq!(committed.len(), generated.len(), "{dialect}.json: run `cargo xtask vectors`");
    }
}

#[test]
fn the_codec_agrees_with_every_committed_vector() {
    let report = vectors::check(&folder()).expect("readable");
    let failures: Vec<_> = report.failures().map(|check| format!("{check:?}")).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_committed_vector_is_checked_once() {
    let checked = vectors::check(&folder()).expect("readable").checks;
    let checked: Vec<_> = checked.into_iter().map(|check| check.id).collect();
    let listed: Vec<_> = Dialect::ALL
        .into_iter()
        .flat_map(|dialect| {
            ["valid", "invalid", "unsendable"].into_iter().flat_map(move |list| {
                let vectors = listed(dialect, list).into_iter();
                vectors.map(move |vector| format!("vector.{dialect}.{}", field(&vector, "id")))
            })
        })
        .collect();
    let unique: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "ids occur twice");
    assert_eq!(unique, checked.iter().cloned().collect());
    assert_eq!(unique.len(), checked.len());
}

#[test]
fn the_program_carries_the_committed_vectors() {
    let carried: Vec<_> = Dialect::ALL.into_iter().flat_map(vectors::checks).collect();
    assert_eq!(carried, vectors::check(&folder()).expect("readable").checks);
}

#[test]
fn writing_makes_the_committed_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let written = vectors::write(folder.path()).expect("writable");
    let same = written.iter().map(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a file name");
        (name.to_owned(), fs::read_to_string(path).expect("written") == text(name))
    });
    let expected = Dialect::ALL.map(|dialect| (format!("{dialect}.json"), true));
    assert!(same.eq(expected));
}

/// A copy of the vectors in which one text is another one, and what a check of it says.
fn failures_with(dialect: Dialect, from: &str, to: &str) -> Vec<String> {
    let copy = tempfile::tempdir().expect("a temporary folder");
    vectors::write(copy.path()).expect("writable");
    let path = copy.path().join(format!("{dialect}.json"));
    let changed = text(&format!("{dialect}.json")).replacen(from, to, 1);
    fs::write(path, changed).expect("writable");
    let report = vectors::check(copy.path()).expect("readable");
    report.failures().map(|check| check.id.clone()).collect()
}

#[test]
fn a_codec_that_disagrees_is_found_by_the_vector() {
    let [bit_0, bit_7] = ["01010005000000010", "01010005000000018"];
    let swapped = failures_with(
        Dialect::Rfc0007,
        &format!(r#""wire":"{bit_0}1""#),
        &format!(r#""wire":"{bit_7}0""#),
    );
    assert_eq!(swapped, ["vector.rfc0007.data.request.bit-0"]);
    let accepted = failures_with(Dialect::Hoprnet, r#""version":3}"#, r#""version":4}"#);
    assert_eq!(accepted, ["vector.hoprnet.data.version-3"]);
    let refusal = r#""reason":"too-many-segments""#;
    let values = r#""values":{"count":64,"limit":63}"#;
    let sent = failures_with(
        Dialect::Hoprnet,
        &format!("{refusal},{values}"),
        r#""reason":"unordered-entries""#,
    );
    assert_eq!(sent, ["vector.hoprnet.data.segment.count-64"]);
}

#[test]
fn files_of_another_format_are_not_read() {
    let copy = tempfile::tempdir().expect("a temporary folder");
    vectors::write(copy.path()).expect("writable");
    let path = copy.path().join("rfc0009.json");
    let newer = text("rfc0009.json").replacen(r#""format": 1"#, r#""format": 2"#, 1);
    fs::write(&path, newer).expect("writable");
    let error = vectors::check(copy.path()).expect_err("a format from the future");
    assert!(matches!(error, vectors::ReadError::Malformed { path: of, .. } if of == path));
}

#[test]
fn what_only_receivers_do_has_a_note() {
    for vector in Dialect::ALL.into_iter().flat_map(|dialect| listed(dialect, "valid")) {
        assert_eq!(vector["canonical"] == false, vector["note"].is_string(), "{}", vector["id"]);
    }
}

#[test]
fn the_files_fit_the_schema() {
    let schema = Schema::new(json("schema.json"));
    for dialect in Dialect::ALL {
        assert_eq!(schema.faults(&committed(dialect)), [""; 0], "{dialect}.json");
    }
}

#[test]
fn the_schema_refuses_what_is_no_file_of_vectors() {
    let schema = Schema::new(json("schema.json"));
    for (from, to) in [
        (r#""format": 1"#, r#""format": 2"#),
        (r#""reason":"zero-frame-id""#, r#""reason":"frame-id-zero""#),
        (r#""mtu":16,"#, ""),
        (r#""mtu":16,"#, r#""mtu":15,"#),
        (r#""wire":"0100"#, r#""wire":"010"#),
        (r#""wire":"0100000d"#, r#""wire":"0100000D"#),
        (r#""frame_id":1"#, r#""frame_id":0"#),
        (r#""missing":[[1,0]]"#, r#""missing":[[1,8]]"#),
        (r#""missing":[[1,0]]"#, r#""missing":[[1]]"#),
        (r#""kind":"segment""#, r#""kind":"fragment""#),
        (r#""canonical":true"#, r#""canonical":1"#),
        (r#""challenge":"0x0""#, r#""challenge":"0""#),
        (r#""diagnostic":"42""#, r#""notation":"42""#),
    ] {
        let text = text("rfc0007.json");
        assert!(text.contains(from), "{from} is in the file");
        let changed = serde_json::from_str(&text.replacen(from, to, 1)).expect("still JSON");
        assert!(!schema.faults(&changed).is_empty(), "{to} was accepted");
    }
}

#[test]
fn every_reason_of_the_schema_has_a_vector() {
    for (definition, list) in [("reason", "invalid"), ("refusal", "unsendable")] {
        let defined = json("schema.json")["$defs"][definition]["enum"].clone();
        let defined: BTreeSet<_> = defined
            .as_array()
            .expect("a list")
            .iter()
            .map(|reason| reason.as_str().expect("a name").to_owned())
            .collect();
        let vectors = Dialect::ALL.into_iter().flat_map(|dialect| listed(dialect, list));
        let used: BTreeSet<_> = vectors.map(|vector| field(&vector, "reason")).collect();
        assert_eq!(used, defined);
    }
}
