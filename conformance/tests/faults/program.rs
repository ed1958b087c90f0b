//! The program that `cargo xtask conformance` runs, with `--target`.

use std::net::SocketAddr;
use std::process::{Command, Output};

use serde_json::Value;
use tokio::runtime::Runtime;
use towline_conformance::subject::Framing;
use towline_wire::Dialect;

use crate::mischief::none;
use crate::planted::{self, Honest};
use crate::{Relayed, relays};

const EXIT: Honest = Honest::Exit(Framing::Tagged, Dialect::Rfc0007);
/// Fails `start.keep-alive.answered`.
const FAULT: &str = "names another session in its keep-alives";

fn faulty_exit(relays: &Runtime) -> Relayed {
    let fault = planted::all().find(|fault| fault.name == FAULT).expect("it is planted");
    Relayed::new(relays, EXIT, fault.plant).expect("there are sockets")
}

fn program(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_towline-conformance"));
    program.args(arguments).output().expect("the program starts")
}

fn put_to(target: SocketAddr, arguments: &[&str]) -> Output {
    let target = target.to_string();
    let given = ["--target", &target, "--dialect", "rfc0007", "--mtu", "1018"];
    program(&[&given, arguments].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it writes UTF-8")
}

#[test]
fn a_failed_case_is_in_the_table_with_its_trace() {
    let relays = relays();
    let exit = faulty_exit(&relays);
    let only = ["--only", "start.keep-alive.answered", "--only", "start.request.repeated"];
    let output = put_to(exit.subject.address, &only);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    let line = |word: &str, id: &str| {
        table.lines().any(|line| line.trim_start().starts_with(word) && line.contains(id))
    };
    assert!(line("failed", "start.keep-alive.answered"), "{table}");
    assert!(line("passed", "start.request.repeated"), "{table}");
    let (_, details) = table.split_once("start.keep-alive.answered failed").unwrap();
    let said = ["-> 0x1 start session", "<- 0x1 session established", "-> 0x1 keep-alive"];
    for datagram in said {
        assert!(details.contains(datagram), "no {datagram} in {details}");
    }
    assert!(details.contains("found:    instead of a keep-alive: keep-alive"), "{details}");
    assert!(table.ends_with("1 passed, 1 failed, 0 skipped\n"), "{table}");
    assert!(text(&output.stderr).contains("start.keep-alive.answered: failed"));
}

#[test]
fn json_and_junit_say_the_same_as_the_table() {
    let relays = relays();
    let exit = faulty_exit(&relays);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.xml");
    let junit = ["--json", "--junit", file.to_str().unwrap()];
    let only = ["--only", "start.keep-alive.answered", "--only", "framing", "--only", "start.type"];
    let output = put_to(exit.subject.address, &[&junit[..], &only].concat());
    assert_eq!(output.status.code(), Some(1));

    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cases = json["subjects"][0]["cases"].as_array().unwrap();
    for verdict in ["passed", "failed", "skipped"] {
        let cases = cases.iter().filter(|case| case["verdict"] == verdict).count();
        assert_eq!(json[verdict], cases, "{json:#}");
    }
    let failed: Vec<&Value> = cases.iter().filter(|case| case["verdict"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{json:#}");
    assert_eq!(failed[0]["id"], "start.keep-alive.answered");
    let trace = failed[0]["trace"].as_array().unwrap();
    assert!(trace.len() >= 4, "{json:#}");

    let xml = std::fs::read_to_string(file).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    assert_eq!((report.tests, report.failures), (cases.len(), 1), "{xml}");
    let in_xml = &report.test_suites[0].test_cases;
    for (case, in_xml) in cases.iter().zip(in_xml) {
        assert_eq!(case["id"], in_xml.name.as_str());
        let is_failure = matches!(in_xml.status, quick_junit::TestCaseStatus::NonSuccess { .. });
        assert_eq!(case["verdict"] == "failed", is_failure, "{xml}");
    }
    assert!(xml.contains("instead of a keep-alive: keep-alive"), "{xml}");
}

#[test]
fn an_honest_exit_gives_success() {
    let relays = relays();
    let exit = Relayed::new(&relays, EXIT, none).unwrap();
    let output = put_to(exit.subject.address, &["--only", "start.request"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("0 failed"));
}

#[test]
fn wrong_usage_is_told_from_a_failed_case() {
    let wrong: [&[&str]; 6] = [
        &["--target", "127.0.0.1:9", "--listen", "127.0.0.1:9"],
        &["--target", "nowhere"],
        &["--target", "127.0.0.1:9", "--mtu", "3"],
        &["--target", "127.0.0.1:9", "--role", "data-plane"],
        &["--target", "127.0.0.1:9", "--only", "start.no-such-case"],
        &["--role", "exit"],
    ];
    for arguments in wrong {
        let output = program(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
