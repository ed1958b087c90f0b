//! `towline demo`: the whole way in one process.

use crate::support::{json, run, text};

#[test]
fn a_download_through_a_bad_network_is_whole() {
    let args = ["demo", "--bytes", "1M", "--loss", "10", "--delay-ms", "5", "--json"];
    let output = run(&args, b"");
    let report = json(&output);
    assert_eq!(report["bytes"], 1 << 20);
    assert_eq!(report["verified"], true);
    assert!(report["packets_lost"].as_u64().is_some_and(|packets| packets > 0), "{report}");
    assert!(report["retransmitted_segments"].as_u64().is_some_and(|n| n > 0), "{report}");
    assert!(report["rtt_ms"].as_f64().is_some_and(|rtt| rtt >= 10.0), "{report}");
    assert!(text(&output.stderr).contains("seed 7"));
}

#[test]
fn nothing_can_be_downloaded_too() {
    let output = run(&["demo", "--bytes", "0", "--loss", "0", "--delay-ms", "0"], b"");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}
