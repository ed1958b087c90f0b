use super::*;

#[test]
fn the_challenge_comes_first_and_then_the_configuration_where_there_is_one() {
    for dialect in DIALECTS {
        let (now, config) = (Instant::now(), config().build().unwrap().into());
        let connection = Connection::new(now, config, dialect, &Challenge::from(NONCE));
        let mut peer = Peer { dialect, connection, now };
        let mut expected =
            vec![Heard { sequence: 1, told: Told::Challenge(Bytes::copy_from_slice(&NONCE)) }];
        if dialect == Dialect::Deployed {
            expected.push(Heard { sequence: 2, told: Told::Configuration });
        }
        assert_eq!(peer.hear(), expected);
    }
}

#[test]
fn the_answer_to_a_login_comes_before_messages_and_before_prekeys_low() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut before = Peer::logged_in(dialect, config(), ALICE);
        before.ask(1, Ask::Register(b"signed", &[]));
        before.settle(&mut memory);
        memory.enqueue(&ALICE.address(dialect), "queued");

        let mut peer = Peer::anonymous(dialect);
        peer.ask(0, Ask::LogIn(ALICE));
        // Neither is even asked for until the client could hear the answer first.
        let operations = std::iter::from_fn(|| peer.connection.poll_operation());
        let operations: Vec<_> = operations
            .filter(|(_, it)| !matches!(it, Operation::AssignNumber(_) | Operation::Remaining(_)))
            .collect();
        assert!(operations.is_empty(), "{operations:?}");

        let mut peer = Peer::anonymous(dialect);
        peer.ask(0, Ask::LogIn(ALICE));
        let told = peer.settle(&mut memory).into_iter().map(|heard| heard.told);
        let told: Vec<_> = told.collect();
        let is_login = match dialect {
            Dialect::Deployed => matches!(&told[0], Told::Number(..)),
            Dialect::Seed => told[0] == Told::Ack,
        };
        assert!(is_login, "{told:?}");
        assert_eq!(told.len(), 3);
        assert!(told.contains(&Told::Message("queued".into())), "{told:?}");
        assert!(told.contains(&Told::PreKeysLow(20)), "{told:?}");
    }
}

#[test]
fn a_login_has_the_sequence_number_of_its_request_even_if_that_is_zero() {
    for dialect in DIALECTS {
        for sequence in [0, 77] {
            let mut peer = Peer::anonymous(dialect);
            peer.ask(sequence, Ask::LogIn(ALICE));
            assert_eq!(peer.settle(&mut Memory::default())[0].sequence, sequence);
            assert_eq!(peer.connection.address(), Some(&ALICE.address(dialect)));
        }
    }
}

#[test]
fn a_false_login_is_an_error_and_then_the_end() {
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        peer.ask(6, Ask::LogInFalsely(ALICE));
        // What comes after it is not looked at.
        peer.ask(7, Ask::Send(ALICE, b"sealed"));
        assert!(peer.connection.poll_operation().is_none());
        let transmits = peer.transmits();
        let [Transmit::Message(error), Transmit::Close(close)] = &transmits[..] else {
            panic!("{transmits:?}");
        };
        let expected = Heard { sequence: 6, told: Told::error("unauthorized") };
        assert_eq!(heard(dialect, error.clone()), expected);
        assert_eq!(close.code, 1008);
        assert!(peer.connection.is_over());
        assert_eq!(peer.connection.address(), None);
    }
}

#[test]
fn a_login_for_another_connection_is_refused() {
    for dialect in DIALECTS {
        let (now, config) = (Instant::now(), config().build().unwrap().into());
        let connection = Connection::new(now, config, dialect, &Challenge::from([5; 32]));
        let mut peer = Peer { dialect, connection, now };
        peer.hear();
        peer.ask(6, Ask::LogIn(ALICE));
        assert_eq!(peer.close().map(|close| close.code), Some(1008));
    }
}

#[test]
fn a_login_waits_for_what_was_asked_before_and_is_waited_for() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut peer = Peer::anonymous(dialect);
        peer.ask(1, Ask::Send(BOB, b"sealed"));
        peer.ask(2, Ask::LogIn(ALICE));
        peer.ask(3, Ask::Register(b"signed", &[]));
        peer.ask(4, Ask::Send(BOB, b"sealed"));
        let (id, send) = peer.operation();
        assert!(matches!(send, Operation::Enqueue { .. }), "{send:?}");
        peer.outcome(id, memory.run(send));
        let answers = peer.settle(&mut memory).into_iter().filter(|it| it.told.is_answer());
        let answers: Vec<_> = answers.collect();
        let sequences: Vec<_> = answers.iter().map(|heard| heard.sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4]);
        assert_eq!(answers[2].told, Told::Ack);
        assert!(matches!(&answers[3].told, Told::Error(name, _) if name.starts_with("attempted")));
    }
}

#[test]
fn a_login_that_fails_for_the_store_can_be_tried_again() {
    let mut memory = Memory::broken();
    let mut peer = Peer::anonymous(Dialect::Deployed);
    peer.ask(1, Ask::LogIn(ALICE));
    let told = peer.settle(&mut memory).remove(0).told;
    assert_eq!(told, Told::Error("unknown_error".into(), "the store has failed".into()));
    memory.is_broken = false;
    peer.ask(2, Ask::LogIn(ALICE));
    assert!(matches!(peer.settle(&mut memory)[0].told, Told::Number(..)));
}

#[test]
fn a_login_that_is_not_one_is_an_unknown_error() {
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        let login = Bytes::from_static(b"\xff");
        let response =
            towline_wire::relay::deployed::AuthResponse { login, signature: Bytes::new() };
        let mut frame = Vec::new();
        match dialect {
            Dialect::Deployed => {
                use towline_wire::relay::deployed::{Message, Payload};
                let payload = Some(Payload::AuthResponse(response));
                Message { sequence: 1, payload }.encode(&mut frame).unwrap();
            }
            Dialect::Seed => {
                use towline_wire::relay::seed::{Message, Payload};
                let payload = Some(Payload::AuthResponse(response));
                Message { sequence: 1, payload }.encode(&mut frame).unwrap();
            }
        }
        peer.feed(frame);
        let Some(Transmit::Message(error)) = peer.connection.poll_transmit() else { panic!() };
        assert!(
            matches!(heard(dialect, error).told, Told::Error(name, _) if name == "unknown_error")
        );
        assert_eq!(peer.close().map(|close| close.code), Some(1008));
    }
}
