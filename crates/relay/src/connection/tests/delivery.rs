use super::*;
use crate::store::{Failure, Position};

/// Messages among what was heard, with their sequence numbers.
fn messages(heard: Vec<Heard>) -> Vec<(u32, Bytes)> {
    let messages = heard.into_iter().map(|heard| match heard.told {
        Told::Message(message) => (heard.sequence, message),
        other => panic!("{other:?} is no message"),
    });
    messages.collect()
}

fn numbered(range: std::ops::Range<u32>) -> Vec<Bytes> {
    range.map(|number| number.to_string().into()).collect()
}

fn bodies(messages: &[(u32, Bytes)]) -> Vec<Bytes> {
    messages.iter().map(|(_, message)| message.clone()).collect()
}

/// A queue of numbered messages.
fn filled(dialect: Dialect, count: u32) -> Memory {
    let mut memory = Memory::default();
    for message in numbered(0..count) {
        memory.enqueue(&ALICE.address(dialect), message);
    }
    memory
}

/// A client that has been delivered all there is.
fn caught_up(dialect: Dialect, memory: &mut Memory) -> Peer {
    let mut peer = Peer::logged_in(dialect, config(), ALICE);
    peer.settle(memory);
    peer
}

#[test]
fn a_queue_of_many_pages_is_delivered_in_order_up_to_the_window() {
    for dialect in DIALECTS {
        let mut memory = filled(dialect, 100);
        let mut peer = Peer::logged_in(dialect, config().window(70), ALICE);
        let delivered = messages(peer.settle(&mut memory));
        assert_eq!(bodies(&delivered), numbered(0..70));
        for (sequence, _) in &delivered[..10] {
            peer.ask(*sequence, Ask::Acknowledge);
        }
        assert_eq!(bodies(&messages(peer.settle(&mut memory))), numbered(70..80));
        assert_eq!(memory.queued(&ALICE.address(dialect)).len(), 90);
    }
}

#[test]
fn a_page_waits_until_the_client_has_taken_the_one_before() {
    let mut memory = filled(Dialect::Seed, 100);
    let mut peer = Peer::logged_in(Dialect::Seed, config(), ALICE);
    while let Some((id, operation)) = peer.connection.poll_operation() {
        peer.outcome(id, memory.run(operation));
    }
    assert_eq!(peer.hear().len(), 32);
}

#[test]
fn acknowledgements_are_individual_and_come_in_batches() {
    for dialect in DIALECTS {
        let mut memory = filled(dialect, 4);
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        let delivered = messages(peer.settle(&mut memory));
        peer.ask(delivered[2].0, Ask::Acknowledge);
        peer.ask(delivered[0].0, Ask::Acknowledge);
        // Again, and one that was never delivered.
        peer.ask(delivered[0].0, Ask::Acknowledge);
        peer.ask(u32::MAX, Ask::Acknowledge);
        let acknowledged = peer.connection.poll_acknowledged().unwrap();
        assert_eq!(acknowledged.address, ALICE.address(dialect));
        assert_eq!(acknowledged.positions, [Position(3), Position(1)]);
        assert_eq!(peer.connection.poll_acknowledged(), None);
        assert!(peer.hear().is_empty());
        memory.acknowledge(&acknowledged);
        assert_eq!(memory.queued(&ALICE.address(dialect)), ["1", "3"]);
    }
}

#[test]
fn what_is_not_acknowledged_comes_again_in_order_on_the_next_connection() {
    for dialect in DIALECTS {
        let mut memory = filled(dialect, 5);
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        let delivered = messages(peer.settle(&mut memory));
        peer.ask(delivered[1].0, Ask::Acknowledge);
        peer.ask(delivered[3].0, Ask::Acknowledge);
        peer.feed("forceclose");
        // The end does not lose what was acknowledged before.
        memory.acknowledge(&peer.connection.poll_acknowledged().unwrap());
        let again = messages(caught_up_anew(dialect, &mut memory));
        assert_eq!(bodies(&again), ["0", "2", "4"]);
    }
}

fn caught_up_anew(dialect: Dialect, memory: &mut Memory) -> Vec<Heard> {
    Peer::logged_in(dialect, config(), ALICE).settle(memory)
}

#[test]
fn an_acknowledgement_counts_on_the_connection_that_delivered() {
    let mut memory = filled(Dialect::Seed, 1);
    let mut first = Peer::logged_in(Dialect::Seed, config(), ALICE);
    let mut second = Peer::logged_in(Dialect::Seed, config(), ALICE);
    let delivered = messages(first.settle(&mut memory));
    second.ask(delivered[0].0, Ask::Acknowledge);
    assert_eq!(second.connection.poll_acknowledged(), None);
    assert_eq!(second.connection.stats().unknown_acknowledgements, 1);
}

#[test]
fn pushed_messages_are_delivered_without_a_fetch_once_all_is_caught_up() {
    for dialect in DIALECTS {
        let mut memory = filled(dialect, 2);
        let mut peer = caught_up(dialect, &mut memory);
        let pushed = memory.enqueue(&ALICE.address(dialect), "pushed");
        peer.connection.handle_pushed(pushed.clone());
        assert_eq!(bodies(&messages(peer.hear())), ["pushed"]);
        assert!(peer.connection.poll_operation().is_none());
        // The same once more is old.
        peer.connection.handle_pushed(pushed);
        assert!(peer.settle(&mut memory).is_empty());
    }
}

#[test]
fn a_message_that_is_pushed_before_older_ones_are_fetched_keeps_its_place() {
    for dialect in DIALECTS {
        let mut memory = filled(dialect, 2);
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        let pushed = memory.enqueue(&ALICE.address(dialect), "2");
        peer.connection.handle_pushed(pushed.clone());
        assert!(peer.hear().is_empty());
        assert_eq!(bodies(&messages(peer.settle(&mut memory))), numbered(0..3));
        peer.connection.handle_pushed(pushed);
        assert!(peer.settle(&mut memory).is_empty());
    }
}

#[test]
fn a_message_that_is_pushed_while_the_last_page_is_fetched_is_not_lost() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        let (id, fetch) = peer.connection.poll_operation().unwrap();
        assert!(matches!(fetch, Operation::Fetch { .. }), "{fetch:?}");
        let empty = memory.run(fetch);
        let pushed = memory.enqueue(&ALICE.address(dialect), "pushed");
        peer.connection.handle_pushed(pushed);
        peer.outcome(id, empty);
        assert_eq!(bodies(&messages(peer.settle(&mut memory))), ["pushed"]);
    }
}

#[test]
fn pushed_messages_beyond_the_window_are_fetched_when_there_is_room() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut peer = Peer::logged_in(dialect, config().window(2), ALICE);
        peer.settle(&mut memory);
        for message in numbered(0..4) {
            let pushed = memory.enqueue(&ALICE.address(dialect), message);
            peer.connection.handle_pushed(pushed);
        }
        let delivered = messages(peer.settle(&mut memory));
        assert_eq!(bodies(&delivered), numbered(0..2));
        for (sequence, _) in delivered {
            peer.ask(sequence, Ask::Acknowledge);
        }
        assert_eq!(bodies(&messages(peer.settle(&mut memory))), numbered(2..4));
    }
}

#[test]
fn pushed_messages_do_not_pile_up_before_a_client_that_does_not_listen() {
    let mut memory = Memory::default();
    let mut peer = caught_up(Dialect::Seed, &mut memory);
    for message in numbered(0..100) {
        let pushed = memory.enqueue(&ALICE.address(Dialect::Seed), message);
        peer.connection.handle_pushed(pushed);
    }
    let first = messages(peer.hear());
    assert_eq!(first.len(), 8);
    let rest = messages(peer.settle(&mut memory));
    assert_eq!([bodies(&first), bodies(&rest)].concat(), numbered(0..100));
}

#[test]
fn a_pushed_message_that_waits_until_it_is_wanted_needs_no_fetch() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut peer = Peer::logged_in(dialect, config().window(1), ALICE);
        // Nothing is lost with what is not wanted by then: a page is on its way.
        assert!(peer.connection.wants_news());
        peer.settle(&mut memory);
        let [first, second] = ["first", "second"].map(|message| {
            assert!(peer.connection.wants_news());
            memory.enqueue(&ALICE.address(dialect), message)
        });
        peer.connection.handle_pushed(first);
        assert!(!peer.connection.wants_news());
        let delivered = messages(peer.hear());
        assert!(!peer.connection.wants_news());
        peer.ask(delivered[0].0, Ask::Acknowledge);
        assert!(peer.connection.wants_news());
        peer.connection.handle_pushed(second);
        assert_eq!(bodies(&messages(peer.hear())), ["second"]);
        assert!(peer.connection.poll_operation().is_none());
    }
}

#[test]
fn news_have_the_queue_fetched() {
    let mut memory = Memory::default();
    let mut peer = caught_up(Dialect::Deployed, &mut memory);
    memory.enqueue(&ALICE.address(Dialect::Deployed), "new");
    assert!(peer.settle(&mut memory).is_empty());
    peer.connection.handle_news();
    assert_eq!(bodies(&messages(peer.settle(&mut memory))), ["new"]);
}

#[test]
fn a_queue_that_cannot_be_read_is_tried_again_after_a_while() {
    let mut memory = filled(Dialect::Seed, 1);
    let mut peer = Peer::logged_in(Dialect::Seed, config(), ALICE);
    let (id, _) = peer.connection.poll_operation().unwrap();
    peer.outcome(id, Outcome::Failed(Failure::DiskFull));
    assert!(peer.settle(&mut memory).is_empty());
    let retry_at = peer.connection.poll_timeout().unwrap();
    assert_eq!(retry_at - peer.now, Duration::from_secs(5));
    peer.pass(Duration::from_secs(5));
    assert_eq!(bodies(&messages(peer.settle(&mut memory))), ["0"]);
}

#[test]
fn a_message_that_fits_in_no_frame_is_left_and_passed_over() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        memory.enqueue(&ALICE.address(dialect), vec![0; 32_768]);
        memory.enqueue(&ALICE.address(dialect), "short");
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        assert_eq!(bodies(&messages(peer.settle(&mut memory))), ["short"]);
        assert_eq!(peer.connection.stats().undeliverable, 1);
        assert_eq!(memory.queued(&ALICE.address(dialect)).len(), 2);
    }
}

#[test]
fn the_longest_message_that_can_be_sent_can_be_delivered() {
    for dialect in DIALECTS {
        let longest = |len: usize| encode(dialect, 0, Ask::Send(ALICE, &vec![1; len]));
        let len = 32_768 - (longest(30_000).len() - 30_000);
        let mut memory = Memory::default();
        let mut sender = Peer::anonymous(dialect);
        let message = longest(len);
        assert_eq!(message.len(), 32_768);
        sender.feed(message);
        assert_eq!(sender.settle(&mut memory)[0].told, Told::Ack);
        let delivered = messages(caught_up_anew(dialect, &mut memory));
        assert_eq!(delivered[0].1.len(), len);
    }
}

#[test]
fn an_anonymous_client_gets_no_messages() {
    let mut memory = filled(Dialect::Seed, 1);
    let mut peer = Peer::anonymous(Dialect::Seed);
    let pushed = memory.enqueue(&ALICE.address(Dialect::Seed), "pushed");
    peer.connection.handle_pushed(pushed);
    peer.connection.handle_news();
    assert!(peer.settle(&mut memory).is_empty());
}
