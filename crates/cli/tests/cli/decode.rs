//! `towline decode` against messages of a deployed implementation.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{run, text};

#[test]
fn lines_of_standard_input_are_decoded_and_errors_do_not_stop_it() {
    let input = b"01000007000000010000ab\n\nzz\n 0x01020004000000 01\n0102000400000001\n";
    let output = run(&["decode", "-"], input);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> = lines(&output.stdout);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["kind"], "segment");
    assert!(lines[1]["error"].is_string());
    assert!(lines[2]["error"].is_string());
    assert_eq!(lines[3]["frames"], serde_json::json!([1]));
}

#[test]
fn arguments_are_decoded_in_their_order() {
    let output = run(&["decode", "020200090000000000000001ff", "0102000400000001"], b"");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = lines(&output.stdout);
    assert_eq!(lines[0]["reason"], 255);
    assert_eq!(lines[1]["kind"], "acknowledgement");
}

#[test]
fn deployed_data_messages_are_explained_and_encoded_anew() {
    let Some(vectors) = vectors("hoprnet-data.jsonl") else { return };
    for (vector, line) in decoded(&vectors, &[]) {
        if is_rejected(&vector) {
            assert_eq!(line, serde_json::json!({ "error": "a frame of no segments" }));
            continue;
        }
        assert_eq!(line["wire"], vector["wire"], "{vector}");
        match vector["kind"].as_str() {
            Some("segment") => {
                assert_eq!(line["kind"], "segment");
                for (field, original) in [
                    ("frame_id", "frame_id"),
                    ("index", "seq_idx"),
                    ("count", "seq_len"),
                    ("terminating", "terminating"),
                    ("data", "data"),
                ] {
                    assert_eq!(line[field], vector[original], "{field} of {vector}");
                }
            }
            Some("request") => {
                assert_eq!(line["kind"], "request");
                let mut missing = vector["missing_segments"].clone();
                if vector["name"].as_str().is_some_and(|name| name.contains("silently cuts")) {
                    // The vector lists what was asked to be encoded: one entry too many.
                    missing.as_array_mut().expect("a list").pop();
                }
                assert_eq!(line["missing"], missing, "{vector}");
            }
            Some("ack") => {
                assert_eq!(line["kind"], "acknowledgement");
                assert_eq!(line["frames"], vector["frame_ids"], "{vector}");
            }
            kind => panic!("unheard-of kind {kind:?}"),
        }
    }
}

#[test]
fn the_mtu_of_a_vector_gives_the_same_bytes() {
    let Some(vectors) = vectors("hoprnet-data.jsonl") else { return };
    for mtu in [256, 466, 512, 1018, 1024, 1030, 1500] {
        let some: Vec<Value> =
            vectors.iter().filter(|v| v["mtu"] == mtu && !is_rejected(v)).cloned().collect();
        for (vector, line) in decoded(&some, &["--mtu", &mtu.to_string()]) {
            assert_eq!(line["wire"], vector["wire"], "{vector}");
        }
    }
}

#[test]
fn deployed_start_messages_are_explained_and_encoded_anew() {
    let Some(vectors) = vectors("hoprnet-start.jsonl") else { return };
    for (vector, line) in decoded(&vectors, &[]) {
        assert_eq!(line["wire"], vector["wire"], "{vector}");
        let kind = match vector["type"].as_str() {
            Some("StartSession") => "start-session",
            Some("SessionEstablished") => "session-established",
            Some("SessionError") => "session-error",
            Some("KeepAlive") => "keep-alive",
            other => panic!("unheard-of type {other:?}"),
        };
        assert_eq!(line["kind"], kind);
        let fields = &vector["fields"];
        for (field, value) in fields.as_object().expect("fields are an object") {
            match field.as_str() {
                "challenge" | "orig_challenge" => assert_eq!(&line["challenge"], value),
                "capabilities" | "flags" | "reason" => assert_eq!(&line[field], value),
                // The vectors write wide numbers as strings, however small.
                "additional_data" => assert_eq!(bare(&line[field]), bare(value), "{vector}"),
                "session_id" if fields.get("session_id_cbor").is_some() || is_hex(value) => {
                    assert_eq!(line[field], format!("h'{}'", bare(value)));
                }
                "session_id" => assert_eq!(bare(&line[field]), bare(value), "{vector}"),
                "target" if fields.get("target_cbor").is_none() => {
                    assert_eq!(line[field], value.to_string());
                }
                // Written out in the tests of the notation.
                "target" => assert!(line[field].as_str().is_some_and(|text| text.starts_with('{'))),
                "capabilities_bin" | "target_cbor" | "session_id_cbor" => {}
                other => panic!("unheard-of field {other}"),
            }
        }
    }
}

#[test]
fn tags_are_split_off() {
    let Some(vectors) = vectors("hoprnet-start.jsonl") else { return };
    let tagged: Vec<Value> = vectors
        .iter()
        .cloned()
        .map(|mut vector| {
            let wire = vector["wire"].as_str().expect("wire is text");
            vector["wire"] = format!("0000000000000001{wire}").into();
            vector
        })
        .collect();
    for (vector, line) in decoded(&tagged, &["--tagged"]) {
        assert_eq!(line["tag"], vector["tag"]);
        let wire = line["wire"].as_str().expect("wire is text");
        assert_eq!(format!("0000000000000001{wire}"), vector["wire"]);
    }
}

/// The lines that the program prints for the messages of these vectors, beside them.
fn decoded(vectors: &[Value], args: &[&str]) -> Vec<(Value, Value)> {
    assert!(!vectors.is_empty());
    let input: String = vectors
        .iter()
        .map(|vector| format!("{}\n", vector["wire"].as_str().expect("wire is text")))
        .collect();
    let args = [&["decode", "--dialect", "hoprnet"], args, &["-"]].concat();
    let output = run(&args, input.as_bytes());
    let rejected = vectors.iter().any(is_rejected);
    assert_eq!(output.status.code(), Some(i32::from(rejected)));
    let lines = lines(&output.stdout);
    assert_eq!(lines.len(), vectors.len());
    vectors.iter().cloned().zip(lines).collect()
}

fn lines(stdout: &[u8]) -> Vec<Value> {
    text(stdout).lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Messages that the deployed implementation refuses, and so do we.
fn is_rejected(vector: &Value) -> bool {
    vector["name"].as_str().is_some_and(|name| name.contains("reference rejects"))
}

/// A number or a text without quotes.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_hex(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 20 && hex::decode(text).is_ok())
}

/// The vectors of a file that lies beside the repository; none outside CI if it does not.
fn vectors(name: &str) -> Option<Vec<Value>> {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors").join(name);
    match fs::read_to_string(&path) {
        Ok(lines) => Some(
            lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect(),
        ),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {name} is not there ({error})");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}
