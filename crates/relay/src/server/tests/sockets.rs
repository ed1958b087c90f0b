use super::*;

#[tokio::test]
async fn a_message_is_delivered_to_who_is_there() {
    for dialect in DIALECTS {
        let relay = Relay::new().await;
        let mut alice = relay.log_in(dialect, ALICE).await;
        let mut bob = relay.connect(dialect).await;
        for text in ["first", "second"] {
            assert_eq!(bob.ask(7, Ask::Send(ALICE, text.as_bytes())).await.told, Told::Ack);
            let (sequence, message) = alice.hear_message().await;
            assert_eq!(message, text);
            alice.say(sequence, Ask::Acknowledge).await;
        }
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_order() {
    for dialect in DIALECTS {
        let relay = Relay::new().await;
        let mut bob = relay.connect(dialect).await;
        for text in ["first", "second", "third"] {
            bob.ask(7, Ask::Send(ALICE, text.as_bytes())).await;
        }
        let mut alice = relay.log_in(dialect, ALICE).await;
        alice.hear_message().await;
        let (sequence, message) = alice.hear_message().await;
        assert_eq!(message, "second");
        alice.hear_message().await;
        alice.say(sequence, Ask::Acknowledge).await;
        // Its answer says that the acknowledgement is there.
        assert_eq!(alice.ask(8, Ask::Unregister).await.told, Told::Ack);
        drop(alice);

        // An acknowledgement is taken before the connection is over, and the queue is read later.
        let mut again = relay.log_in(dialect, ALICE).await;
        assert_eq!(again.hear_message().await.1, "first");
        assert_eq!(again.hear_message().await.1, "third");
    }
}

#[tokio::test]
async fn every_connection_of_a_device_gets_every_message() {
    for dialect in DIALECTS {
        let relay = Relay::new().await;
        let mut here = relay.log_in(dialect, ALICE).await;
        let mut there = relay.log_in(dialect, ALICE).await;
        relay.connect(dialect).await.ask(7, Ask::Send(ALICE, b"sealed")).await;
        assert_eq!(here.hear_message().await.1, "sealed");
        assert_eq!(there.hear_message().await.1, "sealed");
    }
}

#[tokio::test]
async fn requests_need_not_wait_for_answers() {
    for dialect in DIALECTS {
        let relay = Relay::new().await;
        let mut bob = relay.connect(dialect).await;
        for sequence in 0..100 {
            bob.say(sequence, Ask::Send(ALICE, &sequence.to_be_bytes())).await;
        }
        for sequence in 0..100 {
            assert_eq!(bob.hear().await, Heard { sequence, told: Told::Ack });
        }
        let mut alice = relay.log_in(dialect, ALICE).await;
        for sequence in 0_u32..100 {
            assert_eq!(alice.hear_message().await.1, sequence.to_be_bytes()[..]);
        }
    }
}

#[tokio::test]
async fn text_is_taken_for_a_message() {
    let relay = Relay::new().await;
    let mut client = relay.connect(Dialect::Deployed).await;
    // Sequence 5, and an empty field 8: to unregister.
    let request = Message::text("\u{8}\u{5}\u{42}\u{0}");
    client.socket.send(request).await.unwrap();
    assert_eq!(client.hear().await, Heard { sequence: 5, told: Told::error("unauthorized") });
}

#[tokio::test]
async fn a_message_that_is_too_long_is_told() {
    for (dialect, len) in [(Dialect::Deployed, 32_769), (Dialect::Seed, 100_000)] {
        let relay = Relay::new().await;
        let mut client = relay.connect(dialect).await;
        client.socket.send(Message::binary(vec![0; len])).await.unwrap();
        let close = (1009, "read limited at 32769 bytes".to_owned());
        assert_eq!(client.hear_close().await, close);
    }
}

#[tokio::test]
async fn a_message_that_is_far_too_long_ends_the_connection_and_no_other() {
    let relay = Relay::new().await;
    let mut other = relay.connect(Dialect::Deployed).await;
    let mut client = relay.connect(Dialect::Deployed).await;
    // It may be cut off while it sends.
    let _ = client.socket.send(Message::binary(vec![0; 4 << 20])).await;
    while let Some(Ok(_)) = client.socket.next().await {}
    assert_eq!(other.ask(1, Ask::Send(ALICE, b"sealed")).await.told, Told::Ack);
}

#[tokio::test]
async fn who_is_not_who_it_says_is_told_and_cut_off() {
    for dialect in DIALECTS {
        let relay = Relay::new().await;
        let mut client = relay.connect(dialect).await;
        // To another challenge.
        let heard = client.ask(0, Ask::LogIn(ALICE)).await;
        assert_eq!(heard.told, Told::error("unauthorized"));
        assert_eq!(client.hear_close().await.0, 1008);
    }
}

#[tokio::test]
async fn a_client_may_close() {
    for dialect in DIALECTS {
        let relay = Relay::new().await;
        let mut client = relay.connect(dialect).await;
        client.socket.close(None).await.unwrap();
        assert!(matches!(client.socket.next().await, Some(Ok(Message::Close(None)))));
        assert!(client.socket.next().await.is_none());

        let mut client = relay.connect(dialect).await;
        client.socket.send(Message::binary("forceclose")).await.unwrap();
        assert_eq!(client.hear_close().await, (1000, "forced closure".to_owned()));
    }
}

#[tokio::test]
async fn a_ping_is_answered() {
    let relay = Relay::new().await;
    let mut client = relay.connect(Dialect::Deployed).await;
    client.socket.send(Message::Ping("are you there".into())).await.unwrap();
    let pong = client.socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_pings_is_cut_off() {
    let relay = Relay::new().await;
    let client = relay.connect(Dialect::Deployed).await;
    let mut stream = client.socket.into_inner();
    // Two bytes of head, and the count as its payload: then nothing, not even a close frame.
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"\x89\x011");
}

#[tokio::test]
async fn a_shutdown_is_told_and_waits_for_answers() {
    for dialect in DIALECTS {
        let mut relay = Relay::new().await;
        let mut idle = relay.log_in(dialect, ALICE).await;
        let mut bob = relay.connect(dialect).await;
        bob.ask(7, Ask::Send(ALICE, b"sealed")).await;
        assert_eq!(idle.hear_message().await.1, "sealed");
        relay.shut_down();
        let close = (1001, "the relay shuts down".to_owned());
        assert_eq!(idle.hear_close().await, close);
        assert_eq!(bob.hear_close().await, close);
        relay.running.await.unwrap();
        assert!(TcpStream::connect(relay.address).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_ever() {
    let mut relay = Relay::new().await;
    let client = relay.connect(Dialect::Deployed).await;
    relay.shut_down();
    // The client never closes its side, nor reads.
    relay.running.await.unwrap();
    drop(client);
}

#[tokio::test]
async fn one_store_serves_both_dialects_and_nobody_gets_what_is_not_his() {
    let relay = Relay::new().await;
    let mut seed = relay.log_in(Dialect::Seed, ALICE).await;
    let mut deployed = relay.log_in(Dialect::Deployed, ALICE).await;
    relay.connect(Dialect::Seed).await.ask(1, Ask::Send(ALICE, b"seed")).await;
    relay.connect(Dialect::Deployed).await.ask(1, Ask::Send(ALICE, b"deployed")).await;
    assert_eq!(seed.hear_message().await.1, "seed");
    assert_eq!(deployed.hear_message().await.1, "deployed");
    relay.connect(Dialect::Seed).await.ask(1, Ask::Send(BOB, b"bob's")).await;
    relay.connect(Dialect::Seed).await.ask(1, Ask::Send(ALICE, b"next")).await;
    assert_eq!(seed.hear_message().await.1, "next");
}
