//! `towline perf`: measurements.

use serde_json::Value;

use crate::support::{Running, finish, json, run, text};

const SEND_FIELDS: [&str; 10] = [
    "bytes",
    "cpu_sys",
    "cpu_user",
    "max_rss",
    "megabytes_per_second",
    "mtu",
    "retransmitted_segments",
    "rtt_ms",
    "seconds",
    "sessions",
];

fn server(more: &[&str]) -> (Running, String) {
    let mut server =
        Running::serve(&[&["perf", "serve", "--listen", "127.0.0.1:0"], more].concat());
    let address = server.address();
    (server, address)
}

fn send(address: &str, more: &[&str]) -> Value {
    json(&run(&[&["perf", "send", "--to", address, "--json"], more].concat(), b""))
}

fn fields(report: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> =
        report.as_object().expect("an object").keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

#[test]
fn bytes_are_confirmed_and_reported() {
    let (_server, address) = server(&[]);
    let report = send(&address, &["--bytes", "3M"]);
    assert_eq!(fields(&report), SEND_FIELDS);
    assert_eq!(report["bytes"], 3 << 20);
    assert_eq!(report["mtu"], 1400);
    assert_eq!(report["sessions"], 1);
    for field in ["seconds", "megabytes_per_second", "rtt_ms"] {
        assert!(report[field].as_f64().is_some_and(|value| value > 0.0), "{report}");
    }
    #[cfg(unix)]
    assert!(report["max_rss"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{report}");
}

#[test]
fn the_server_takes_on_any_mtu_and_number_of_sessions() {
    for dialect in ["rfc0007", "hoprnet"] {
        let (_server, address) = server(&["--dialect", dialect]);
        for (mtu, sessions) in [("256", "1"), ("1018", "5"), ("8900", "2")] {
            let more = ["--bytes", "1000001", "--mtu", mtu, "--sessions", sessions];
            let report = send(&address, &[&more[..], &["--dialect", dialect]].concat());
            assert_eq!(report["bytes"], 1_000_001, "{dialect}, {mtu}");
            assert_eq!(report["mtu"].to_string(), mtu);
            assert_eq!(report["sessions"].to_string(), sessions);
        }
    }
}

#[test]
fn a_duration_ends_a_measurement() {
    let (_server, address) = server(&[]);
    let report = send(&address, &["--duration", "0.5"]);
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.5), "{report}");
    assert!(report["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{report}");
}

#[test]
fn an_unreliable_measurement_counts_what_arrives() {
    let (_server, address) = server(&[]);
    let report = send(&address, &["--mode", "unreliable", "--bytes", "100K"]);
    assert_eq!(fields(&report), SEND_FIELDS);
    assert!(report["bytes"].as_u64().is_some_and(|bytes| bytes <= 100 << 10), "{report}");
    assert_eq!(report["retransmitted_segments"], 0);
}

#[test]
fn answers_are_timed() {
    let (_server, address) = server(&[]);
    let ping = ["perf", "ping", "--to", &address, "--count", "50", "--size", "100", "--json"];
    for more in [&[][..], &["--rate", "200"], &["--mode", "unreliable"]] {
        let report = json(&run(&[&ping[..], more].concat(), b""));
        assert_eq!(fields(&report), ["lost", "max_us", "p50_us", "p90_us", "p999_us", "p99_us"]);
        assert_eq!(report["lost"], 0, "{report}");
        assert!(report["p50_us"].as_f64() <= report["max_us"].as_f64(), "{report}");
    }
}

#[test]
fn one_measurement_is_enough_for_a_server_that_says_so() {
    let (server, address) = server(&["--once"]);
    send(&address, &["--bytes", "1000", "--sessions", "3"]);
    let output = finish(server);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn other_sessions_are_refused() {
    let (mut server, address) = server(&[]);
    let output = run(&["pipe", "--connect", &address, "--target", "tcp://h:1"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("refused"), "{}", text(&output.stderr));
    server.expect("something else than a measurement");
}
