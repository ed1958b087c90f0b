//! The whole exchange, with the store that keeps it on a disk.

use bytes::Bytes;

use super::*;
use crate::store::sqlite::{self, Sqlite};
use crate::store::{Page, Position, Store, Timestamp};

/// Goes on until the client has heard all there is.
async fn settle(peer: &mut Peer, store: &Sqlite) -> Vec<Told> {
    let mut all = Vec::new();
    loop {
        all.extend(peer.hear().into_iter().map(|heard| heard.told));
        let Some((id, operation)) = peer.connection.poll_operation() else { break };
        peer.outcome(id, operation.run(store, Timestamp(0)).await);
    }
    while let Some(acknowledged) = peer.connection.poll_acknowledged() {
        for position in acknowledged.positions {
            store.acknowledge(&acknowledged.address, position).await.unwrap();
        }
    }
    all
}

#[tokio::test]
async fn a_stranger_sends_a_message_to_somebody_in_either_dialect() {
    for dialect in DIALECTS {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = sqlite::Config::builder().build().unwrap();
        let store = Sqlite::open(directory.path().join("relay.db"), &sqlite).unwrap();

        let mut recipient = Peer::anonymous(dialect);
        recipient.ask(0, Ask::LogIn(ALICE));
        let logged_in = settle(&mut recipient, &store).await;
        match dialect {
            Dialect::Deployed => {
                let [Told::Number(short, domain)] = &logged_in[..] else {
                    panic!("{logged_in:?}");
                };
                assert_eq!((short.len(), &domain[..]), (12, DOMAIN));
            }
            Dialect::Seed => assert_eq!(logged_in, [Told::Ack]),
        }

        let one_time = [Bytes::from("once"), Bytes::from("and again")];
        recipient.ask(1, Ask::Register(b"signed", &one_time));
        assert_eq!(settle(&mut recipient, &store).await, [Told::Ack]);

        let mut sender = Peer::anonymous(dialect);
        sender.ask(1, Ask::PreKeys(ALICE));
        let (signed, once) = (Bytes::from("signed"), Bytes::from("and again"));
        let prekeys = match dialect {
            Dialect::Deployed => Told::PreKeys(vec![(signed, once)]),
            Dialect::Seed => Told::PreKey(signed, once),
        };
        assert_eq!(settle(&mut sender, &store).await, [prekeys]);

        sender.ask(2, Ask::Send(ALICE, b"sealed"));
        assert_eq!(settle(&mut sender, &store).await, [Told::Ack]);

        recipient.connection.handle_news();
        let (id, operation) = recipient.operation();
        recipient.outcome(id, operation.run(&store, Timestamp(0)).await);
        let [inbound] = &recipient.hear()[..] else { panic!("one message") };
        assert_eq!(inbound.told, Told::Message("sealed".into()));
        recipient.ask(inbound.sequence, Ask::Acknowledge);
        assert!(settle(&mut recipient, &store).await.is_empty());
        let alice = ALICE.address(dialect);
        let queued = store.fetch(&alice, Position::START, Page::default()).await.unwrap();
        assert!(queued.is_empty());

        recipient.pass(Duration::from_secs(5 * 60));
        assert!(matches!(recipient.connection.poll_transmit(), Some(Transmit::Ping(_))));
        assert_eq!(settle(&mut recipient, &store).await, [Told::PreKeysLow(20)]);
    }
}

#[tokio::test]
async fn people_are_found_by_their_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = sqlite::Config::builder().build().unwrap();
    let store = Sqlite::open(directory.path().join("relay.db"), &sqlite).unwrap();
    let mut alice = Peer::anonymous(Dialect::Deployed);
    alice.ask(0, Ask::LogIn(ALICE));
    let number = settle(&mut alice, &store).await.remove(0);
    let Told::Number(short, _) = &number else { panic!("{number:?}") };

    let mut stranger = Peer::anonymous(Dialect::Deployed);
    stranger.ask(1, Ask::NumberByShort(short));
    stranger.ask(2, Ask::NumberOf(ALICE));
    stranger.ask(3, Ask::NumberByShort("no number"));
    stranger.ask(4, Ask::NumberOf(BOB));
    let expected = [
        number.clone(),
        number,
        Told::error("unnkown_short_number"),
        Told::error("unknown_identity"),
    ];
    assert_eq!(settle(&mut stranger, &store).await, expected);
}

#[tokio::test]
async fn what_the_store_refuses_is_an_error_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let limits = crate::store::Limits::builder().queue_count(1).prekeys(1).build().unwrap();
    let sqlite = sqlite::Config::builder().limits(limits).build().unwrap();
    let store = Sqlite::open(directory.path().join("relay.db"), &sqlite).unwrap();
    let unknown = |text: &str| Told::Error("unknown_error".into(), text.into());

    let mut bob = Peer::logged_in(Dialect::Seed, config(), BOB);
    bob.ask(1, Ask::Register(b"signed", &[Bytes::from("one"), Bytes::from("two")]));
    assert_eq!(settle(&mut bob, &store).await, [unknown("more than 1 one-time prekeys")]);

    let mut sender = Peer::anonymous(Dialect::Seed);
    sender.ask(1, Ask::Send(ALICE, b"first"));
    sender.ask(2, Ask::Send(ALICE, b"second"));
    assert_eq!(settle(&mut sender, &store).await, [Told::Ack, unknown("the queue is full")]);
}
