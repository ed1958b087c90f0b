//! The fuzz harnesses on stable: on random bytes, and on the inputs that are kept for the fuzzers.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Runs a harness on each of the inputs in `fuzz/corpus`.
fn replay(target: &str, harness: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&corpus).expect("the corpus is part of the repository") {
        let path = entry.expect("a directory that can be read").path();
        // The last one printed is the one that failed.
        eprintln!("{}", path.display());
        harness(&fs::read(path).expect("a file that can be read"));
        count += 1;
    }
    assert!(count >= 10, "{count} inputs in {}", corpus.display());
}

#[test]
fn the_inputs_kept_for_decode_start_pass() {
    replay("decode_start", towline_simulate::decode_start);
}

#[test]
fn the_inputs_kept_for_decode_data_pass() {
    replay("decode_data", towline_simulate::decode_data);
}

#[test]
fn the_inputs_kept_for_decode_relay_pass() {
    replay("decode_relay", towline_simulate::decode_relay);
}

#[test]
fn the_inputs_kept_for_connection_ops_pass() {
    replay("connection_ops", towline_simulate::connection_ops);
}

#[test]
fn the_inputs_kept_for_relay_connection_pass() {
    replay("relay_connection", towline_simulate::relay_connection);
}

#[test]
fn the_inputs_kept_for_two_peers_pass() {
    replay("two_peers", towline_simulate::two_peers);
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// The same inputs in every run, unless `PROPTEST_RNG_SEED` says otherwise: to search is the fuzzers' part.
fn config() -> ProptestConfig {
    // A failure prints its input; the corpus is the memory of failures.
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match config.rng_seed {
        RngSeed::Random => ProptestConfig { rng_seed: RngSeed::Fixed(1), ..config },
        RngSeed::Fixed(_) => config,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_decodes_encodes_to_the_same_in_the_handshake(input in bytes(200)) {
        towline_simulate::decode_start(&input);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_in_the_data_plane(input in bytes(200)) {
        towline_simulate::decode_data(&input);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_in_the_relay(input in bytes(200)) {
        towline_simulate::decode_relay(&input);
    }

    #[test]
    fn a_connection_agrees_with_its_model(input in bytes(2000)) {
        towline_simulate::connection_ops(&input);
    }

    #[test]
    fn the_relay_tells_people_apart(input in bytes(2000)) {
        towline_simulate::relay_connection(&input);
    }

    #[test]
    fn two_peers_keep_the_rules_to_their_end(input in bytes(400)) {
        towline_simulate::two_peers(&input);
    }
}
