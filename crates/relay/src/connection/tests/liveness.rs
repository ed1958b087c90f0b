use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn pings_count_and_a_client_that_answers_them_stays() {
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        for count in 1..=20 {
            let next = peer.connection.poll_timeout().unwrap();
            assert_eq!(next - peer.now, 15 * SECOND - u32::from(count > 1) * SECOND);
            peer.now = next;
            peer.pass(Duration::ZERO);
            let payload = count.to_string();
            assert_eq!(peer.transmits(), [Transmit::Ping(payload.clone().into())]);
            peer.now += SECOND;
            peer.connection.handle_pong(payload.as_bytes());
        }
        assert!(peer.connection.wants_messages());
    }
}

#[test]
fn a_client_that_does_not_answer_a_ping_is_gone() {
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        peer.pass(15 * SECOND);
        assert_eq!(peer.transmits(), [Transmit::Ping("1".into())]);
        // Whatever else it says is no pong, and neither are pongs that nobody has asked for.
        peer.connection.handle_pong(b"");
        peer.connection.handle_pong(b"2");
        peer.ask(1, Ask::Unregister);
        peer.pass(15 * SECOND - Duration::from_millis(1));
        assert_eq!(peer.hear().len(), 1);
        assert_eq!(peer.connection.poll_timeout(), Some(peer.now + Duration::from_millis(1)));
        peer.ask(2, Ask::Unregister);
        peer.pass(Duration::from_millis(1));
        // There is nobody to whom the answer could go.
        assert_eq!(peer.transmits(), [Transmit::Abort]);
        assert!(peer.connection.is_over());
        assert_eq!(peer.connection.poll_timeout(), None);
    }
}

#[test]
fn nothing_is_sent_any_more_to_a_client_that_is_gone() {
    let mut peer = Peer::anonymous(Dialect::Seed);
    peer.ask(1, Ask::Unregister);
    peer.pass(15 * SECOND);
    // Neither the answer nor the ping could be sent.
    peer.pass(15 * SECOND);
    assert_eq!(peer.transmits(), [Transmit::Abort]);
}

#[test]
fn a_timeout_that_comes_early_does_nothing() {
    let mut peer = Peer::anonymous(Dialect::Seed);
    peer.pass(15 * SECOND - Duration::from_nanos(1));
    assert!(peer.transmits().is_empty());
}

#[test]
fn a_client_can_have_its_connection_closed() {
    for dialect in DIALECTS {
        for mut peer in [Peer::anonymous(dialect), Peer::logged_in(dialect, config(), ALICE)] {
            peer.ask(1, Ask::SendToNobody);
            peer.feed("forceclose");
            let transmits = peer.transmits();
            let close = Transmit::Close(Close { code: 1000, reason: "forced closure" });
            // The answer that was there before it still leaves.
            assert_eq!(transmits.len(), 2);
            assert_eq!(transmits[1], close);
        }
    }
}

#[test]
fn a_message_of_the_longest_kind_passes_and_a_longer_one_ends_the_connection() {
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        peer.feed(vec![0xff; 32_768]);
        assert_eq!(peer.connection.stats().undecodable, 1);
        assert!(peer.connection.wants_messages());
        peer.feed(vec![0xff; 32_769]);
        assert!(!peer.connection.wants_messages());
        let close = Close { code: 1009, reason: "read limited at 32769 bytes" };
        assert_eq!(peer.close(), Some(close));
    }
}

#[test]
fn a_relay_that_shuts_down_answers_what_waits_and_closes() {
    let close = Close { code: 1001, reason: "the relay shuts down" };
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        peer.connection.handle_shutdown();
        assert_eq!(peer.close(), Some(close));

        let mut memory = Memory::default();
        let mut peer = Peer::anonymous(dialect);
        peer.ask(1, Ask::Send(BOB, b"sealed"));
        let (id, operation) = peer.operation();
        peer.connection.handle_shutdown();
        assert!(!peer.connection.wants_messages());
        assert!(peer.transmits().is_empty());
        peer.outcome(id, memory.run(operation));
        let transmits = peer.transmits();
        assert!(matches!(transmits[0], Transmit::Message(_)));
        assert_eq!(transmits[1..], [Transmit::Close(close)]);
    }
}

#[test]
fn nothing_happens_after_the_end() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        peer.ask(1, Ask::Register(b"signed", &[]));
        let (id, operation) = peer.connection.poll_operation().unwrap();
        peer.feed("forceclose");
        peer.transmits();
        peer.outcome(id, memory.run(operation));
        peer.ask(2, Ask::Unregister);
        peer.connection.handle_pong(b"1");
        let pushed = memory.enqueue(&ALICE.address(dialect), "pushed");
        peer.connection.handle_pushed(pushed);
        peer.connection.handle_news();
        peer.pass(3600 * SECOND);
        assert!(peer.settle(&mut memory).is_empty());
        assert!(!peer.connection.wants_messages());
        assert_eq!(peer.connection.poll_timeout(), None);
    }
}
