//! What every store must do, whatever is below it.
//!
//! A case takes a function that opens a store with some limits. Called again after the store is dropped, it
//! opens the same one; for each case there is a new place. [`suite`] makes a test of every case.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;
use towline_wire::relay::{Identity, UserId, number};

use super::*;

/// Makes tests of all the cases, of a function that makes a new place and returns how to open it; or `None` where there
/// can be no place, and then it says why. A list in braces makes tests of other cases.
macro_rules! suite {
    ($place:expr) => {
        suite!($place, {
            queues_are_read_in_order_from_any_position,
            pages_end_at_a_count_or_at_bytes,
            acknowledgements_are_individual_and_may_be_repeated,
            nobody_acknowledges_for_another_device,
            positions_are_not_given_again_after_everything_is_acknowledged,
            everything_is_there_after_it_is_opened_again,
            concurrent_senders_keep_their_order,
            a_reader_that_follows_misses_nothing,
            all_subscribers_hear_of_messages_in_order,
            a_slow_subscriber_misses_nothing,
            subscribers_hear_nothing_of_other_queues,
            who_fetches_and_follows_the_news_misses_nothing,
            subscriptions_end_with_the_store,
            a_full_queue_refuses_by_count,
            a_full_queue_leaves_others_alone,
            what_is_too_old_goes_and_the_rest_stays,
            what_has_expired_makes_room,
            expiry_goes_on_until_nothing_is_left,
            prekeys_are_given_out_once_and_the_newest_first,
            a_new_signed_prekey_replaces_everything,
            the_same_signed_prekey_adds,
            prekeys_come_of_all_devices_but_the_known,
            prekeys_can_be_left_where_they_are,
            only_registered_devices_have_prekeys,
            an_unregistered_device_keeps_its_queue,
            concurrent_takers_get_distinct_prekeys,
            prekeys_and_devices_are_limited,
            a_number_stays_with_its_owner,
            a_short_number_that_is_taken_gets_fives,
            a_number_that_is_taken_is_passed_over,
            no_number_is_an_answer_too,
            concurrent_owners_get_distinct_short_numbers,
            dialects_do_not_meet,
        });
    };
    ($place:expr, { $($case:ident,)* }) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(place) = $place {
                $crate::store::conformance::$case(place).await;
            }
        }
    )* };
}

pub(super) use suite;

fn identity(first: u8, last: u8) -> Identity {
    let mut key = [7; 32];
    (key[0], key[31]) = (first, last);
    Identity::try_from(key).unwrap()
}

fn address(number: u8) -> Address {
    Address::new(identity(number, 1), Device::from(1))
}

/// The same owner's device with another number.
fn sibling(address: &Address, device: u32) -> Address {
    Address::new(address.owner.clone(), device)
}

const NOW: Timestamp = Timestamp(1_000_000);

async fn send(store: &impl Store, to: &Address, message: impl Into<Bytes>) -> Position {
    store.enqueue(to, message.into(), NOW).await.unwrap()
}

const EVERYTHING: Page = Page { count: 1_000_000, bytes: usize::MAX };

async fn all(store: &impl Store, address: &Address) -> Vec<Queued> {
    store.fetch(address, Position::START, EVERYTHING).await.unwrap()
}

fn messages(queued: &[Queued]) -> Vec<&[u8]> {
    queued.iter().map(|it| &it.message[..]).collect()
}

fn registration(signed: &'static str, one_time: &[&'static str]) -> Registration {
    let one_time = one_time.iter().map(|&key| key.into()).collect();
    Registration { id: 9, signed: signed.into(), one_time }
}

async fn take(store: &impl Store, owner: &Owner) -> Vec<PreKey> {
    store.prekeys(owner, &[], OneTime::Take).await.unwrap().unwrap()
}

/// The one-time prekey of an owner with one device.
async fn take_one(store: &impl Store, owner: &Owner) -> Option<Bytes> {
    take(store, owner).await.remove(0).one_time
}

pub(super) async fn queues_are_read_in_order_from_any_position<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let (to, other) = (address(1), address(2));
    let first = send(&store, &to, "a").await;
    send(&store, &other, "x").await;
    let second = send(&store, &to, "b").await;
    let third = send(&store, &to, "").await;
    assert!(Position::START < first && first < second && second < third);
    assert_eq!(messages(&all(&store, &to).await), [&b"a"[..], b"b", b""]);
    let rest = store.fetch(&to, first, EVERYTHING).await.unwrap();
    assert_eq!(rest[0], Queued { position: second, since: NOW, message: "b".into() });
    assert_eq!(rest[1].position, third);
    for nothing in [third, Position(u64::MAX)] {
        assert_eq!(store.fetch(&to, nothing, EVERYTHING).await.unwrap(), []);
    }
    assert_eq!(all(&store, &sibling(&to, 2)).await, []);
}

pub(super) async fn pages_end_at_a_count_or_at_bytes<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::default()).await;
    let to = address(1);
    for length in [10, 10, 30, 10] {
        send(&store, &to, vec![0; length]).await;
    }
    let lengths = async |count, bytes| {
        let page = store.fetch(&to, Position::START, Page { count, bytes }).await.unwrap();
        page.iter().map(|it| it.message.len()).collect::<Vec<_>>()
    };
    assert_eq!(lengths(2, 1000).await, [10, 10]);
    assert_eq!(lengths(9, 50).await, [10, 10, 30]);
    assert_eq!(lengths(9, 49).await, [10, 10]);
    assert_eq!(lengths(9, 1).await, [10], "one that is longer comes alone");
    assert!(lengths(0, 1000).await.is_empty());
}

pub(super) async fn acknowledgements_are_individual_and_may_be_repeated<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let to = address(1);
    send(&store, &to, "a").await;
    let second = send(&store, &to, "b").await;
    send(&store, &to, "c").await;
    for _ in 0..2 {
        store.acknowledge(&to, second).await.unwrap();
        assert_eq!(messages(&all(&store, &to).await), [b"a", b"c"]);
    }
    for never in [Position::START, Position(u64::MAX)] {
        store.acknowledge(&to, never).await.unwrap();
    }
    store.acknowledge(&address(9), second).await.unwrap();
    assert_eq!(messages(&all(&store, &to).await), [b"a", b"c"]);
}

pub(super) async fn nobody_acknowledges_for_another_device<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let to = address(1);
    let position = send(&store, &to, "a").await;
    for other in [address(2), sibling(&to, 2)] {
        send(&store, &other, "x").await;
        store.acknowledge(&other, position).await.unwrap();
    }
    assert_eq!(messages(&all(&store, &to).await), [b"a"]);
}

pub(super) async fn positions_are_not_given_again_after_everything_is_acknowledged<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let to = address(1);
    let mut last = Position::START;
    for _ in 0..3 {
        let store = open(Limits::default()).await;
        for _ in 0..2 {
            let position = send(&store, &to, "a").await;
            assert!(position > last);
            last = position;
            store.acknowledge(&to, position).await.unwrap();
            while store.expire(Timestamp(u64::MAX)).await.unwrap() > 0 {}
        }
    }
}

pub(super) async fn everything_is_there_after_it_is_opened_again<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let (to, owner) = (address(1), address(1).owner);
    let store = open(Limits::default()).await;
    let first = send(&store, &to, "a").await;
    send(&store, &to, "b").await;
    store.acknowledge(&to, first).await.unwrap();
    let queued = all(&store, &to).await;
    store.register(&to, registration("signed", &["1", "2"])).await.unwrap();
    take(&store, &owner).await;
    let number = store.assign_number(&owner, number::candidates(&identity(1, 1))).await.unwrap();
    drop(store);

    let store = open(Limits::default()).await;
    assert_eq!(all(&store, &to).await, queued);
    assert_eq!(store.remaining(&to).await.unwrap(), Some(1));
    assert_eq!(store.number(&owner).await.unwrap(), Some(number));
}

/// Eight senders of `count` messages each to one device, concurrently. A message is the sender and its
/// count.
fn senders<S: Store>(store: &Arc<S>, to: &Address, count: u8) -> JoinSet<Vec<Position>> {
    let mut senders = JoinSet::new();
    for sender in 0..8 {
        let (store, to) = (Arc::clone(store), to.clone());
        senders.spawn(async move {
            let mut positions = Vec::new();
            for number in 0..count {
                positions.push(send(&*store, &to, vec![sender, number]).await);
            }
            positions
        });
    }
    senders
}

/// Each sender's messages are all there, in order.
fn assert_ordered(queued: &[Queued], count: u8) {
    assert!(queued.is_sorted_by(|a, b| a.position < b.position));
    for sender in 0..8 {
        let numbers = queued.iter().filter(|it| it.message[0] == sender).map(|it| it.message[1]);
        assert!(numbers.eq(0..count));
    }
}

pub(super) async fn concurrent_senders_keep_their_order<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = Arc::new(open(Limits::default()).await);
    let to = address(1);
    let positions = senders(&store, &to, 50).join_all().await.concat();
    let queued = all(&*store, &to).await;
    assert_ordered(&queued, 50);
    let distinct: HashSet<_> = positions.into_iter().collect();
    assert_eq!(distinct, queued.iter().map(|it| it.position).collect());
}

pub(super) async fn a_reader_that_follows_misses_nothing<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = Arc::new(open(Limits::default()).await);
    let to = address(1);
    let senders = senders(&store, &to, 50);
    let (mut seen, mut after) = (Vec::new(), Position::START);
    while seen.len() < 8 * 50 {
        let page = store.fetch(&to, after, Page { count: 7, bytes: 1000 }).await.unwrap();
        after = page.last().map_or(after, |it| it.position);
        seen.extend(page);
        tokio::task::yield_now().await;
    }
    senders.join_all().await;
    assert_ordered(&seen, 50);
}

/// The news of a subscriber until there is a message with these bytes.
async fn news_until(subscription: &mut Subscription, last: &[u8]) -> Vec<News> {
    let mut all = Vec::new();
    loop {
        let news = subscription.next().await.unwrap();
        let is_last = matches!(&news, News::Pushed(queued) if queued.message == last);
        all.push(news);
        if is_last {
            return all;
        }
    }
}

pub(super) async fn all_subscribers_hear_of_messages_in_order<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let to = address(1);
    send(&store, &to, "before").await;
    let mut subscriptions =
        [store.subscribe(&to).await.unwrap(), store.subscribe(&to).await.unwrap()];
    let mut sent = Vec::new();
    for message in ["a", "b", "c"] {
        let position = send(&store, &to, message).await;
        let message = message.into();
        sent.push(News::Pushed(Queued { position, since: NOW, message }));
    }
    for subscription in &mut subscriptions {
        assert_eq!(news_until(subscription, b"c").await, sent);
    }
    let [_, mut other] = subscriptions;
    let position = send(&store, &to, "d").await;
    let message = Bytes::from("d");
    let pushed = News::Pushed(Queued { position, since: NOW, message });
    assert_eq!(other.next().await, Some(pushed));
}

pub(super) async fn a_slow_subscriber_misses_nothing<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::default()).await;
    for (count, len) in [(200, 10), (10, 30_000)] {
        let to = address(count);
        let mut subscription = store.subscribe(&to).await.unwrap();
        for number in 0..count {
            send(&store, &to, vec![number; len]).await;
        }
        // Either everything is pushed, or it is told to fetch.
        let (mut pushed, mut behind) = (Vec::new(), false);
        while !behind && pushed.len() < usize::from(count) {
            match subscription.next().await.unwrap() {
                News::Pushed(queued) => pushed.push(queued),
                News::Behind => behind = true,
            }
        }
        let all = all(&store, &to).await;
        assert_eq!(all.len(), usize::from(count));
        assert_eq!(pushed, all[..pushed.len()]);
        let position = send(&store, &to, "next").await;
        let message = Bytes::from("next");
        let next = News::Pushed(Queued { position, since: NOW, message });
        assert_eq!(news_until(&mut subscription, b"next").await.last(), Some(&next));
    }
}

pub(super) async fn subscribers_hear_nothing_of_other_queues<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let to = address(1);
    let mut subscription = store.subscribe(&to).await.unwrap();
    send(&store, &address(2), "another's").await;
    send(&store, &sibling(&to, 2), "the same owner's").await;
    send(&store, &to, "mine").await;
    assert_eq!(news_until(&mut subscription, b"mine").await.len(), 1);
}

pub(super) async fn who_fetches_and_follows_the_news_misses_nothing<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    const MESSAGES: u32 = 500;
    let store = Arc::new(open(Limits::default()).await);
    let to = address(1);
    let sender = {
        let (store, to) = (Arc::clone(&store), to.clone());
        tokio::spawn(async move {
            for number in 0..MESSAGES {
                send(&*store, &to, number.to_be_bytes().to_vec()).await;
            }
        })
    };
    while all(&*store, &to).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let mut subscription = store.subscribe(&to).await.unwrap();
    let mut seen = all(&*store, &to).await;
    while seen.len() < MESSAGES as usize {
        let last = seen.last().map_or(Position::START, |queued| queued.position);
        match subscription.next().await.unwrap() {
            News::Pushed(queued) => seen.extend((queued.position > last).then_some(queued)),
            News::Behind => seen.extend(store.fetch(&to, last, EVERYTHING).await.unwrap()),
        }
    }
    sender.await.unwrap();
    assert_eq!(seen, all(&*store, &to).await);
}

pub(super) async fn subscriptions_end_with_the_store<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::default()).await;
    let mut subscription = store.subscribe(&address(1)).await.unwrap();
    send(&store, &address(1), "last").await;
    assert!(matches!(subscription.next().await, Some(News::Pushed(_))));
    drop(store);
    assert_eq!(subscription.next().await, None);
}

pub(super) async fn a_full_queue_refuses_by_count<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::builder().queue_count(2).build().unwrap()).await;
    let to = address(1);
    let first = send(&store, &to, "a").await;
    send(&store, &to, "b").await;
    for _ in 0..2 {
        let refused = store.enqueue(&to, "c".into(), NOW).await;
        assert!(matches!(refused, Err(EnqueueError::TooMany(2))), "{refused:?}");
    }
    store.acknowledge(&to, first).await.unwrap();
    send(&store, &to, "d").await;
    assert_eq!(messages(&all(&store, &to).await), [b"b", b"d"]);
}

pub(super) async fn a_full_queue_leaves_others_alone<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::builder().queue_count(1).build().unwrap()).await;
    let to = address(1);
    for to in [to.clone(), sibling(&to, 2), address(2)] {
        send(&store, &to, "a").await;
    }
    assert!(store.enqueue(&to, "b".into(), NOW).await.is_err());
}

pub(super) async fn what_is_too_old_goes_and_the_rest_stays<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let (to, other) = (address(1), address(2));
    // A clock that was set back does not keep anything for longer.
    for (to, since) in [(&to, 5), (&other, 3), (&to, 9), (&to, 4), (&other, 6)] {
        store.enqueue(to, vec![since as u8].into(), Timestamp(since)).await.unwrap();
    }
    assert_eq!(store.expire(Timestamp(3)).await.unwrap(), 0);
    assert_eq!(store.expire(Timestamp(6)).await.unwrap(), 3);
    assert_eq!(messages(&all(&store, &to).await), [[9]]);
    assert_eq!(messages(&all(&store, &other).await), [[6]]);
}

pub(super) async fn what_has_expired_makes_room<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::builder().queue_count(1).build().unwrap()).await;
    let to = address(1);
    let expired = send(&store, &to, "a").await;
    assert_eq!(store.expire(Timestamp(NOW.0 + 1)).await.unwrap(), 1);
    assert!(send(&store, &to, "b").await > expired);
    store.acknowledge(&to, expired).await.unwrap();
    assert!(store.enqueue(&to, "c".into(), NOW).await.is_err(), "counted once");
}

pub(super) async fn expiry_goes_on_until_nothing_is_left<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = Arc::new(open(Limits::default()).await);
    let to = address(1);
    senders(&store, &to, 200).join_all().await;
    let mut expired = 0;
    loop {
        match store.expire(Timestamp(u64::MAX)).await.unwrap() {
            0 => break,
            more => expired += more,
        }
    }
    assert_eq!(expired, 8 * 200);
    assert_eq!(all(&*store, &to).await, []);
}

pub(super) async fn prekeys_are_given_out_once_and_the_newest_first<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let to = address(1);
    store.register(&to, registration("signed", &["1", "2", "3"])).await.unwrap();
    for (key, left) in [(Some("3"), 2), (Some("2"), 1), (Some("1"), 0), (None, 0)] {
        let device = to.device.clone();
        let (signed, one_time) = ("signed".into(), key.map(Bytes::from));
        let expected = PreKey { device, registration_id: 9, signed, one_time };
        assert_eq!(take(&store, &to.owner).await, [expected]);
        assert_eq!(store.remaining(&to).await.unwrap(), Some(left));
    }
}

pub(super) async fn a_new_signed_prekey_replaces_everything<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let to = address(1);
    store.register(&to, registration("old", &["1", "2"])).await.unwrap();
    store.register(&to, Registration { id: 10, ..registration("new", &["3"]) }).await.unwrap();
    let prekey = take(&store, &to.owner).await.remove(0);
    assert_eq!((prekey.registration_id, &prekey.signed[..]), (10, &b"new"[..]));
    assert_eq!(prekey.one_time.unwrap(), "3");
    assert_eq!(take_one(&store, &to.owner).await, None);
}

pub(super) async fn the_same_signed_prekey_adds<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::default()).await;
    let to = address(1);
    store.register(&to, registration("signed", &["1"])).await.unwrap();
    store.register(&to, registration("signed", &[])).await.unwrap();
    store.register(&to, registration("signed", &["2", "1"])).await.unwrap();
    for key in ["1", "2", "1"] {
        assert_eq!(take_one(&store, &to.owner).await.unwrap(), key);
    }
}

pub(super) async fn prekeys_come_of_all_devices_but_the_known<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let (first, second) = (address(1), sibling(&address(1), 2));
    store.register(&first, registration("a", &["a1"])).await.unwrap();
    store.register(&second, registration("b", &["b1"])).await.unwrap();
    store.register(&address(2), registration("c", &["c1"])).await.unwrap();
    let ask = async |known: &[Device]| {
        let known = store.prekeys(&first.owner, known, OneTime::Take).await.unwrap();
        known.unwrap().into_iter().map(|it| it.one_time).collect::<Vec<_>>()
    };
    let known = [first.device.clone(), second.device.clone(), Device::from(3)];
    assert_eq!(ask(&known).await, []);
    assert_eq!(ask(&known[..1]).await, [Some("b1".into())]);
    let mut both = ask(&[]).await;
    both.sort();
    assert_eq!(both, [None, Some("a1".into())]);
}

pub(super) async fn prekeys_can_be_left_where_they_are<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::default()).await;
    let to = address(1);
    assert_eq!(store.prekeys(&to.owner, &[], OneTime::Leave).await.unwrap(), None);
    store.register(&to, registration("signed", &["1"])).await.unwrap();
    let left = store.prekeys(&to.owner, &[], OneTime::Leave).await.unwrap().unwrap();
    assert_eq!((&left[0].signed[..], &left[0].one_time), (&b"signed"[..], &None));
    let known = [to.device.clone()];
    assert_eq!(store.prekeys(&to.owner, &known, OneTime::Leave).await.unwrap(), Some(vec![]));
    assert_eq!(take_one(&store, &to.owner).await.unwrap(), "1");
}

pub(super) async fn only_registered_devices_have_prekeys<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let to = address(1);
    send(&store, &to, "a").await;
    let nobody = async || {
        assert_eq!(store.prekeys(&to.owner, &[], OneTime::Take).await.unwrap(), None);
        assert_eq!(store.remaining(&to).await.unwrap(), None);
    };
    nobody().await;
    store.register(&to, registration("signed", &["1"])).await.unwrap();
    assert_eq!(store.remaining(&sibling(&to, 2)).await.unwrap(), None);
    for _ in 0..2 {
        store.unregister(&to).await.unwrap();
        nobody().await;
    }
    store.register(&to, registration("signed", &[])).await.unwrap();
    assert_eq!(take_one(&store, &to.owner).await, None, "nothing of it is left");
}

pub(super) async fn an_unregistered_device_keeps_its_queue<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let to = address(1);
    store.register(&to, registration("signed", &[])).await.unwrap();
    store.assign_number(&to.owner, number::candidates(&identity(1, 1))).await.unwrap();
    send(&store, &to, "a").await;
    store.unregister(&to).await.unwrap();
    assert_eq!(messages(&all(&store, &to).await), [b"a"]);
    assert!(store.number(&to.owner).await.unwrap().is_some());
}

pub(super) async fn concurrent_takers_get_distinct_prekeys<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = Arc::new(open(Limits::default()).await);
    let to = address(1);
    let keys: Vec<_> = (0..60_u8).map(|key| Bytes::from(vec![key])).collect();
    let registration = Registration { id: 0, signed: "signed".into(), one_time: keys.clone() };
    store.register(&to, registration).await.unwrap();
    let mut takers = JoinSet::new();
    for _ in 0..20 {
        let (store, owner) = (Arc::clone(&store), to.owner.clone());
        takers.spawn(async move {
            let mut taken = Vec::new();
            for _ in 0..3 {
                taken.push(take_one(&*store, &owner).await.unwrap());
            }
            taken
        });
    }
    let mut taken = takers.join_all().await.concat();
    taken.sort();
    assert_eq!(taken, keys);
    assert_eq!(take_one(&*store, &to.owner).await, None);
}

pub(super) async fn prekeys_and_devices_are_limited<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::builder().prekeys(2).devices(2).build().unwrap()).await;
    let to = address(1);
    let refused = store.register(&to, registration("a", &["1", "2", "3"])).await;
    assert!(matches!(refused, Err(RegisterError::TooManyPreKeys(2))), "{refused:?}");
    assert_eq!(store.remaining(&to).await.unwrap(), None);

    store.register(&to, registration("a", &["1"])).await.unwrap();
    let refused = store.register(&to, registration("a", &["2", "3"])).await;
    assert!(matches!(refused, Err(RegisterError::TooManyPreKeys(2))), "{refused:?}");
    store.register(&to, registration("b", &["2", "3"])).await.unwrap();
    assert_eq!(store.remaining(&to).await.unwrap(), Some(2));

    store.register(&sibling(&to, 2), registration("a", &[])).await.unwrap();
    let third = sibling(&to, 3);
    let refused = store.register(&third, registration("a", &[])).await;
    assert!(matches!(refused, Err(RegisterError::TooManyDevices(2))), "{refused:?}");
    store.register(&address(2), registration("a", &[])).await.unwrap();
    store.unregister(&to).await.unwrap();
    store.register(&third, registration("a", &[])).await.unwrap();
}

pub(super) async fn a_number_stays_with_its_owner<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::default()).await;
    let owner = address(1).owner;
    assert_eq!(store.number(&owner).await.unwrap(), None);
    let candidates = || number::candidates(&identity(1, 1));
    let number = store.assign_number(&owner, candidates()).await.unwrap();
    assert_eq!(Some(&number), candidates().next().as_ref());
    let again = store.assign_number(&owner, candidates().skip(1)).await.unwrap();
    assert_eq!(again, number);
    assert_eq!(store.number(&owner).await.unwrap().as_ref(), Some(&number));
    assert_eq!(store.number_by_short(&number.short).await.unwrap().as_ref(), Some(&number));
    for nobody in [&number.number, "", "5"] {
        assert_eq!(store.number_by_short(nobody).await.unwrap(), None);
    }
}

/// Identities whose numbers begin with the same digits: they differ in the last byte.
fn alike() -> impl Iterator<Item = Identity> {
    (1..).map(|last| identity(1, last))
}

pub(super) async fn a_short_number_that_is_taken_gets_fives<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    for (taken, identity) in alike().enumerate().take(4) {
        let owner = identity.into();
        let number = store.assign_number(&owner, number::candidates(&identity)).await.unwrap();
        assert_eq!(Some(&number), number::candidates(&identity).nth(taken).as_ref());
        assert_eq!(number.short.len(), number::SHORT_LEN + taken);
    }
    for (taken, identity) in alike().enumerate().take(4) {
        let number = number::candidates(&identity).nth(taken).unwrap();
        let found = store.number_by_short(&number.short).await.unwrap();
        assert_eq!(found, Some(number), "nobody has taken it over");
    }
}

pub(super) async fn a_number_that_is_taken_is_passed_over<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = open(Limits::default()).await;
    let candidate = |number: &str, short: &str| Candidate {
        number: number.to_owned(),
        short: short.to_owned(),
    };
    let first = [candidate("12", "1")];
    store.assign_number(&address(1).owner, first.into_iter()).await.unwrap();
    let second = [candidate("12", "12"), candidate("13", "1"), candidate("14", "14")];
    let number = store.assign_number(&address(2).owner, second.into_iter()).await.unwrap();
    assert_eq!(number, candidate("14", "14"));
}

pub(super) async fn no_number_is_an_answer_too<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::default()).await;
    let candidates = || number::candidates(&identity(1, 1)).take(2);
    for owner in [1, 2] {
        store.assign_number(&address(owner).owner, candidates()).await.unwrap();
    }
    let owner = address(3).owner;
    let refused = store.assign_number(&owner, candidates()).await;
    assert!(matches!(refused, Err(NumberError::Taken)), "{refused:?}");
    assert_eq!(store.number(&owner).await.unwrap(), None);
}

pub(super) async fn concurrent_owners_get_distinct_short_numbers<S: Store>(
    open: impl AsyncFn(Limits) -> S,
) {
    let store = Arc::new(open(Limits::default()).await);
    let mut logins = JoinSet::new();
    // Each logs in twice at the same time.
    for identity in alike().take(16).chain(alike().take(16)) {
        let store = Arc::clone(&store);
        logins.spawn(async move {
            let owner = identity.into();
            let number = store.assign_number(&owner, number::candidates(&identity)).await;
            (owner, number.unwrap().short)
        });
    }
    let numbers: HashSet<_> = logins.join_all().await.into_iter().collect();
    assert_eq!(numbers.len(), 16, "one for each owner");
    let distinct: HashSet<_> = numbers.iter().map(|(_, short)| short).collect();
    assert_eq!(distinct.len(), 16);
}

pub(super) async fn dialects_do_not_meet<S: Store>(open: impl AsyncFn(Limits) -> S) {
    let store = open(Limits::default()).await;
    let key = [5; 32];
    let deployed = Address::new(Identity::try_from(key).unwrap(), Device::from(1));
    let seed = Address::new(UserId::new(&key), Device::from(1));
    store.register(&deployed, registration("signed", &["1"])).await.unwrap();
    send(&store, &deployed, "a").await;
    assert_eq!(store.prekeys(&seed.owner, &[], OneTime::Take).await.unwrap(), None);
    assert_eq!(all(&store, &seed).await, []);
}
