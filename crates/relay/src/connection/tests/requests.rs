use std::slice::from_ref;

use towline_wire::relay::deployed::UploadAuthorization;

use super::super::MAX_UPLOADS;
use super::*;
use crate::store::{Failure, RegisterError};

/// Every request that both dialects have, and that is not a login.
const OWN: [Ask<'static>; 2] = [Ask::Register(b"signed", &[]), Ask::Unregister];
const ANONYMOUS: [Ask<'static>; 2] = [Ask::PreKeys(BOB), Ask::Send(BOB, b"sealed")];
const DEPLOYED: [Ask<'static>; 3] = [Ask::Uploads(1), Ask::NumberByShort("23"), Ask::NumberOf(BOB)];

fn told(peer: &mut Peer, memory: &mut Memory) -> Vec<Told> {
    peer.settle(memory).into_iter().map(|heard| heard.told).collect()
}

#[test]
fn an_anonymous_client_may_not_register() {
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        for ask in OWN {
            peer.ask(8, ask);
            assert!(peer.connection.poll_operation().is_none());
            let refused = Heard { sequence: 8, told: Told::error("unauthorized") };
            assert_eq!(peer.hear(), [refused], "{ask:?}");
        }
        peer.ask(9, Ask::Send(BOB, b"sealed"));
        assert_eq!(told(&mut peer, &mut Memory::default()), [Told::Ack]);
    }
}

#[test]
fn an_authenticated_client_may_not_do_what_gives_it_away() {
    const NAME: &str = "attempted_anonymous_op_on_authenticated_connection";
    for dialect in DIALECTS {
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        peer.settle(&mut Memory::default());
        let mut asks = [&ANONYMOUS[..], &[Ask::LogIn(ALICE), Ask::SendToNobody]].concat();
        if dialect == Dialect::Deployed {
            asks.extend(DEPLOYED);
        }
        for ask in asks {
            peer.ask(8, ask);
            assert!(peer.connection.poll_operation().is_none(), "{ask:?}");
            assert_eq!(peer.hear(), [Heard { sequence: 8, told: Told::error(NAME) }], "{ask:?}");
        }
        peer.ask(9, Ask::Unregister);
        assert_eq!(told(&mut peer, &mut Memory::default()), [Told::Ack]);
    }
}

#[test]
fn who_asks_too_often_is_told_so_and_may_ask_again() {
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        for ask in ANONYMOUS {
            peer.ask(8, ask);
            let (id, _) = peer.operation();
            peer.outcome(id, Outcome::Limited);
            let text = "too many requests: try again later";
            let refused = Told::Error("unknown_error".into(), text.into());
            assert_eq!(peer.hear(), [Heard { sequence: 8, told: refused }], "{ask:?}");
            assert!(peer.connection.wants_messages());
        }
    }
}

#[test]
fn an_anonymous_client_may_ask_and_send() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut peer = Peer::anonymous(dialect);
        peer.ask(1, Ask::Send(BOB, b"sealed"));
        assert_eq!(peer.settle(&mut memory), [Heard { sequence: 1, told: Told::Ack }]);
        assert_eq!(memory.queued(&BOB.address(dialect)), ["sealed"]);
        peer.ask(2, Ask::PreKeys(BOB));
        let name = match dialect {
            Dialect::Deployed => "unknown_identity",
            Dialect::Seed => "unknown_user",
        };
        assert_eq!(peer.settle(&mut memory), [Heard { sequence: 2, told: Told::error(name) }]);
    }
}

#[test]
fn an_authenticated_client_may_register_and_unregister() {
    for dialect in DIALECTS {
        let mut memory = Memory::default();
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        peer.settle(&mut memory);
        let mut stranger = Peer::anonymous(dialect);
        peer.ask(3, Ask::Register(b"signed", &[]));
        assert_eq!(peer.settle(&mut memory), [Heard { sequence: 3, told: Told::Ack }]);
        stranger.ask(1, Ask::PreKeys(ALICE));
        assert!(!matches!(told(&mut stranger, &mut memory)[0], Told::Error(..)));
        peer.ask(4, Ask::Unregister);
        assert_eq!(peer.settle(&mut memory), [Heard { sequence: 4, told: Told::Ack }]);
        stranger.ask(2, Ask::PreKeys(ALICE));
        assert!(matches!(told(&mut stranger, &mut memory)[0], Told::Error(..)));
    }
}

#[test]
fn what_is_no_request_is_passed_over_in_either_state() {
    for dialect in DIALECTS {
        for mut peer in [Peer::anonymous(dialect), Peer::logged_in(dialect, config(), ALICE)] {
            peer.settle(&mut Memory::default());
            peer.feed(Bytes::new());
            peer.feed("\u{1}");
            peer.ask(1234, Ask::Acknowledge);
            // An error, which only a relay says: field 3 in both dialects.
            peer.feed(&b"\x08\x01\x1a\x00"[..]);
            assert!(peer.settle(&mut Memory::default()).is_empty());
            let stats = peer.connection.stats();
            let counted = (stats.ignored, stats.undecodable, stats.unknown_acknowledgements);
            assert_eq!(counted, (2, 1, 1));
            assert!(peer.connection.wants_messages());
        }
    }
}

#[test]
fn a_recipient_that_cannot_be_is_refused_by_name() {
    for (dialect, name) in
        [(Dialect::Deployed, "invalid_identity_key"), (Dialect::Seed, "invalid_user_id")]
    {
        let mut peer = Peer::anonymous(dialect);
        peer.ask(1, Ask::SendToNobody);
        assert_eq!(peer.hear(), [Heard { sequence: 1, told: Told::error(name) }]);
    }
}

#[test]
fn a_request_for_uploads_is_answered_whatever_number_it_names() {
    let without = || Peer::anonymous(Dialect::Deployed);
    let with = || Peer::new(Dialect::Deployed, config().max_attachment(100));
    let refused = |text: &str| Told::Error("unknown_error".into(), text.into());
    let of = |count| Told::Uploads(vec![UploadAuthorization::default(); count]);
    let cases = [
        (without(), 1, refused("there are no attachments")),
        (without(), 0, refused("there are no attachments")),
        (with(), i32::MIN, refused("no upload is asked for")),
        (with(), 0, refused("no upload is asked for")),
        (with(), 1, of(1)),
        (with(), i32::MAX, of(MAX_UPLOADS)),
    ];
    for (mut peer, count, told) in cases {
        peer.ask(5, Ask::Uploads(count));
        let answer = peer.settle(&mut Memory::default()).pop();
        assert_eq!(answer, Some(Heard { sequence: 5, told }), "{count}");
    }
}

#[test]
fn as_many_uploads_as_there_can_be_fit_in_an_answer() {
    let mut peer = Peer::new(Dialect::Deployed, config().max_attachment(u64::MAX));
    peer.ask(5, Ask::Uploads(MAX_UPLOADS as i32));
    let (id, _) = peer.operation();
    let url = || "u".repeat(512);
    let field = || "f".repeat(64);
    let upload = UploadAuthorization {
        upload_url: url(),
        upload_form_data: (0..4).map(|it| (format!("{it}{}", field()), field())).collect(),
        authorization_expires_at: i64::MAX,
        max_upload_size: i64::MAX,
        download_url: url(),
    };
    let uploads = vec![upload; MAX_UPLOADS];
    peer.outcome(id, Outcome::Uploads(uploads.clone()));
    assert_eq!(peer.hear().pop().map(|heard| heard.told), Some(Told::Uploads(uploads)));
}

#[test]
fn where_no_more_attachments_are_taken_a_client_is_told_so() {
    let mut peer = Peer::new(Dialect::Deployed, config().max_attachment(100));
    peer.ask(5, Ask::Uploads(2));
    let (id, operation) = peer.operation();
    assert_eq!(operation, Operation::AuthorizeUploads { count: 2 });
    peer.outcome(id, Outcome::Uploads(Vec::new()));
    let refused = Told::Error("unknown_error".into(), "no more attachments are taken".into());
    assert_eq!(peer.hear().pop().map(|heard| heard.told), Some(refused));
}

#[test]
fn a_failure_of_the_store_is_an_error_that_says_nothing_of_it() {
    for dialect in DIALECTS {
        let mut memory = Memory::broken();
        let failed = Told::Error("unknown_error".into(), "the store has failed".into());
        let mut stranger = Peer::anonymous(dialect);
        let mut asks = ANONYMOUS.to_vec();
        if dialect == Dialect::Deployed {
            asks.extend(&DEPLOYED[1..]);
        }
        for ask in asks {
            stranger.ask(1, ask);
            assert_eq!(told(&mut stranger, &mut memory), from_ref(&failed), "{ask:?}");
        }
        let mut peer = Peer::logged_in(dialect, config(), ALICE);
        peer.settle(&mut memory);
        for ask in OWN {
            peer.ask(1, ask);
            assert_eq!(told(&mut peer, &mut memory), from_ref(&failed), "{ask:?}");
        }
        peer.ask(2, Ask::Register(b"signed", &[]));
        let (id, _) = peer.operation();
        let error: Box<dyn std::error::Error + Send + Sync> = "secret path".into();
        let failure = Failure::Backend(error.into());
        peer.outcome(id, Outcome::NotRegistered(RegisterError::Failure(failure)));
        assert_eq!(peer.hear()[0].told, failed);
    }
}

#[test]
fn answers_leave_in_the_order_of_their_requests() {
    for dialect in DIALECTS {
        let mut peer = Peer::anonymous(dialect);
        for sequence in 1..=3 {
            peer.ask(sequence, Ask::Send(BOB, b"sealed"));
        }
        let ids: Vec<_> =
            std::iter::from_fn(|| peer.connection.poll_operation()).map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 3);
        peer.outcome(ids[2], Outcome::Done);
        peer.outcome(ids[1], Outcome::Done);
        assert!(peer.hear().is_empty());
        peer.outcome(ids[0], Outcome::Done);
        let sequences: Vec<_> = peer.hear().into_iter().map(|heard| heard.sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
        // Said once more, an outcome belongs to nobody.
        peer.outcome(ids[0], Outcome::Done);
        assert!(peer.hear().is_empty());
    }
}

#[test]
fn an_authenticated_client_has_one_request_at_the_store() {
    let mut peer = Peer::logged_in(Dialect::Seed, config(), ALICE);
    peer.settle(&mut Memory::default());
    peer.ask(1, Ask::Register(b"signed", &[]));
    peer.ask(2, Ask::Unregister);
    let (id, register) = peer.operation();
    assert!(matches!(register, Operation::Register(..)), "{register:?}");
    peer.outcome(id, Outcome::Done);
    let (_, unregister) = peer.operation();
    assert!(matches!(unregister, Operation::Unregister(_)), "{unregister:?}");
}

#[test]
fn no_more_is_read_while_enough_requests_wait() {
    for dialect in DIALECTS {
        let mut peer = Peer::new(dialect, config().max_requests(2));
        peer.ask(1, Ask::Send(BOB, b"sealed"));
        assert!(peer.connection.wants_messages());
        peer.ask(2, Ask::Send(BOB, b"sealed"));
        assert!(!peer.connection.wants_messages());
        // A driver that reads on has the rest refused.
        peer.ask(3, Ask::Send(BOB, b"sealed"));
        let mut memory = Memory::default();
        let heard = peer.settle(&mut memory);
        assert_eq!(heard[..2], [1, 2].map(|sequence| Heard { sequence, told: Told::Ack }));
        assert!(matches!(&heard[2].told, Told::Error(name, _) if name == "unknown_error"));
        assert_eq!(heard[2].sequence, 3);
        assert_eq!(memory.queued(&BOB.address(dialect)).len(), 2);
        assert!(peer.connection.wants_messages());
    }
}

#[test]
fn no_more_is_read_while_the_client_does_not_listen() {
    let mut peer = Peer::anonymous(Dialect::Seed);
    let mut count = 0;
    while peer.connection.wants_messages() {
        peer.ask(1, Ask::Unregister);
        count += 1;
        assert!(count < 1000, "the outbox grows");
    }
    assert_eq!(peer.hear().len(), count);
    assert!(peer.connection.wants_messages());
}

#[test]
fn a_request_with_too_many_fields_is_refused_and_not_passed_over() {
    for dialect in DIALECTS {
        for sequence in [0, 5, 300, u32::MAX] {
            let mut peer = Peer::logged_in(dialect, config(), ALICE);
            peer.settle(&mut Memory::default());
            let mut message = encode(dialect, sequence, Ask::Unregister).to_vec();
            // A field that no dialect knows, again and again.
            message.extend([0xf8, 0x01, 0x00].repeat(1025));
            peer.feed(message);
            let text = "the message has too many fields";
            let told = Told::Error("unknown_error".into(), text.into());
            assert_eq!(peer.hear(), [Heard { sequence, told }]);
        }
    }
}
