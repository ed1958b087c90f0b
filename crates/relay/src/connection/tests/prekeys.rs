use super::*;
use crate::store::{Failure, PreKey};

fn one_time(count: usize) -> Vec<Bytes> {
    (0..count).map(|number| number.to_string().into()).collect()
}

/// What a device hears on a new connection after it has registered so many one-time prekeys.
fn heard_with(dialect: Dialect, count: Option<usize>) -> Vec<Told> {
    let mut memory = Memory::default();
    if let Some(count) = count {
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        peer.ask(1, Ask::Register(b"signed", &one_time(count)));
        while let Some((id, operation)) = peer.connection.poll_operation() {
            peer.outcome(id, memory.run(operation));
        }
    }
    let mut peer = Peer::logged_in(dialect, config(), ALICE);
    peer.settle(&mut memory).into_iter().map(|heard| heard.told).collect()
}

#[test]
fn a_device_with_few_prekeys_is_asked_for_twice_the_limit() {
    for dialect in DIALECTS {
        assert_eq!(heard_with(dialect, Some(9)), [Told::PreKeysLow(20)]);
        assert_eq!(heard_with(dialect, Some(10)), []);
    }
}

#[test]
fn a_device_that_is_not_registered_is_asked_for_nothing() {
    for dialect in DIALECTS {
        assert_eq!(heard_with(dialect, None), []);
    }
}

#[test]
fn prekeys_are_asked_for_at_every_interval_until_there_are_enough() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let config = config()
            .prekey_limit(3)
            .prekey_interval(Duration::from_secs(10))
            .ping_interval(Duration::from_secs(3600));
        let mut peer = Peer::logged_in(dialect, config, ALICE);
        peer.ask(1, Ask::Register(b"signed", &one_time(2)));
        peer.settle(&mut memory);
        for _ in 0..2 {
            peer.pass(Duration::from_millis(9_999));
            assert!(peer.settle(&mut memory).is_empty());
            assert_eq!(peer.connection.poll_timeout(), Some(peer.now + Duration::from_millis(1)));
            peer.pass(Duration::from_millis(1));
            let told = peer.settle(&mut memory).into_iter().map(|heard| heard.told);
            assert_eq!(told.collect::<Vec<_>>(), [Told::PreKeysLow(6)]);
        }
        peer.ask(2, Ask::Register(b"another", &one_time(3)));
        peer.settle(&mut memory);
        peer.pass(Duration::from_secs(10));
        assert!(peer.settle(&mut memory).is_empty());
    }
}

#[test]
fn a_check_that_fails_is_passed_over_until_the_next() {
    let mut peer = Peer::logged_in(Dialect::Seed, config(), ALICE);
    let operations: Vec<_> = std::iter::from_fn(|| peer.connection.poll_operation()).collect();
    let is_check = |it: &&(OperationId, Operation)| matches!(it.1, Operation::Remaining(_));
    let (check, _) = operations.iter().find(is_check).unwrap();
    peer.outcome(*check, Outcome::Failed(Failure::DiskFull));
    assert!(peer.connection.poll_operation().is_none());
    peer.pass(Duration::from_secs(300));
    let (_, check) = peer.operation();
    assert!(matches!(check, Operation::Remaining(_)), "{check:?}");
}

#[test]
fn prekeys_of_no_device_are_an_answer_too() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        peer.ask(1, Ask::Register(b"signed", &[]));
        peer.settle(&mut memory);
        let mut stranger = Peer::anonymous(dialect);
        stranger.ask(7, Ask::OtherPreKeys(ALICE));
        let told = match dialect {
            Dialect::Deployed => Told::PreKeys(Vec::new()),
            Dialect::Seed => Told::Ack,
        };
        assert_eq!(stranger.settle(&mut memory), [Heard { sequence: 7, told }]);
    }
}

/// A signed prekey and a one-time one, of so many bytes together. They are not of one length.
fn registered(dialect: Dialect, len: usize) -> (Memory, Vec<Told>) {
    let mut memory = Memory::default();
    let mut peer = Peer::logged_in(dialect, config(), ALICE);
    peer.settle(&mut memory);
    let (signed, one_time) = (vec![1; 20_000], vec![2; len - 20_000]);
    peer.ask(0, Ask::Register(&signed, &[Bytes::from("short"), one_time.into()]));
    let told = peer.settle(&mut memory).into_iter().map(|heard| heard.told);
    let told = told.collect();
    (memory, told)
}

#[test]
fn prekeys_are_registered_if_and_only_if_they_fit_in_an_answer() {
    for dialect in DIALECTS {
        let lens = 32_600..32_768;
        let fits = |len: &usize| registered(dialect, *len).1 == [Told::Ack];
        let most = lens.clone().take_while(fits).last().unwrap();
        assert!(lens.clone().contains(&(most + 1)));
        let refused = registered(dialect, most + 1).1;
        let text = "the prekeys do not fit in one message";
        assert_eq!(refused, [Told::Error("unknown_error".into(), text.into())]);

        // Whatever the sequence number is, the longest fit.
        let (mut memory, _) = registered(dialect, most);
        let mut stranger = Peer::anonymous(dialect);
        stranger.ask(u32::MAX, Ask::PreKeys(ALICE));
        let told = stranger.settle(&mut memory).remove(0).told;
        assert!(!matches!(told, Told::Error(..)), "{told:?}");
    }
}

#[test]
fn prekeys_of_several_devices_that_do_not_fit_together_are_an_error() {
    let mut stranger = Peer::anonymous(Dialect::Deployed);
    stranger.ask(3, Ask::PreKeys(ALICE));
    let (id, _) = stranger.operation();
    let key = |device: u32| PreKey {
        device: device.into(),
        registration_id: 0,
        signed: vec![0; 20_000].into(),
        one_time: None,
    };
    stranger.outcome(id, Outcome::PreKeys(Some(vec![key(1), key(2)])));
    let text = "the answer does not fit in one message";
    let told = Told::Error("unknown_error".into(), text.into());
    assert_eq!(stranger.hear(), [Heard { sequence: 3, told }]);
}
