//! Who is let in, and how often somebody may do something.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, RateLimiter};
use tokio::time::{Duration, Instant};

use super::limits::{Limits, Rate};
use super::tally::Tally;
use crate::connection::Operation;
use crate::store::OneTime;
use crate::{Address, Owner};

/// Connections of a source beyond its limit that are still told so.
const CROWD: usize = 8;

/// How long a client may take from the start for its requests and their answers altogether, if it does not open a
/// WebSocket, nor transfer an attachment.
const EXCHANGE: Duration = Duration::from_secs(30);

/// Where a client comes from: who has one address of a /64 network has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        })
    }
}

/// What all connections of a relay share.
pub(super) struct Gate {
    limits: Limits,
    inside: Mutex<Tally<Source>>,
    connecting: Keyed<Source>,
    logins: Keyed<Source>,
    messages_per_recipient: Keyed<Address>,
    lookups: Keyed<Source>,
    one_time_prekeys: Keyed<Owner>,
    registrations: Keyed<Address>,
    uploads: Keyed<Source>,
}

/// A connection that is let in, until it is dropped.
pub(super) struct Pass {
    gate: Arc<Gate>,
    source: Source,
    /// The source has more than it may: it is to be told so, and nothing else.
    is_crowded: bool,
    /// When the connection is over, if it is no WebSocket.
    ends: Mutex<Instant>,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            inside: Mutex::default(),
            connecting: Keyed::new(limits.connecting),
            logins: Keyed::new(limits.logins),
            messages_per_recipient: Keyed::new(limits.messages_per_recipient),
            lookups: Keyed::new(limits.lookups),
            one_time_prekeys: Keyed::new(limits.one_time_prekeys),
            registrations: Keyed::new(limits.registrations),
            uploads: Keyed::new(limits.uploads),
            limits,
        }
    }

    /// Lets a connection in, if there is room.
    pub(super) fn enter(self: &Arc<Self>, source: Source) -> Option<Pass> {
        let mut inside = self.lock();
        if inside.all() >= self.limits.connections {
            return None;
        }
        let of_source = inside.of(&source);
        let limit = self.limits.connections_per_source;
        if of_source >= limit + CROWD {
            return None;
        }
        inside.add(source);
        let ends = Mutex::new(Instant::now() + EXCHANGE);
        Some(Pass { gate: Arc::clone(self), source, is_crowded: of_source >= limit, ends })
    }

    /// How much one connection may send.
    pub(super) fn messages(&self) -> Option<DefaultDirectRateLimiter> {
        self.limits.messages.map(|rate| RateLimiter::direct(rate.quota()))
    }

    /// Whether a client may have an operation done, which may be changed for that.
    pub(super) fn allows(
        &self,
        operation: &mut Operation,
        source: Source,
        messages: Option<&DefaultDirectRateLimiter>,
    ) -> bool {
        match operation {
            Operation::Enqueue { to, .. } => {
                messages.is_none_or(|messages| messages.check().is_ok())
                    && self.messages_per_recipient.check(to)
            }
            Operation::PreKeys { owner, one_time, .. } => {
                if !self.lookups.check(&source) {
                    return false;
                }
                if !self.one_time_prekeys.check(owner) {
                    *one_time = OneTime::Leave;
                }
                true
            }
            Operation::NumberOf(_) | Operation::NumberByShort(_) => self.lookups.check(&source),
            Operation::AssignNumber(_) => self.logins.check(&source),
            Operation::Register(address, _) | Operation::Unregister(address) => {
                self.registrations.check(address)
            }
            Operation::AuthorizeUploads { .. } => self.uploads.check(&source),
            // What the relay itself wants to know.
            Operation::Remaining(_) | Operation::Fetch { .. } => true,
        }
    }

    /// Forgets those who have done nothing for long enough.
    pub(super) fn sweep(&self) {
        self.connecting.sweep();
        self.logins.sweep();
        self.messages_per_recipient.sweep();
        self.lookups.sweep();
        self.one_time_prekeys.sweep();
        self.registrations.sweep();
        self.uploads.sweep();
    }

    fn lock(&self) -> MutexGuard<'_, Tally<Source>> {
        // Nothing under the lock leaves it half done.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Whether the client may open a WebSocket.
    pub(super) fn allows_socket(&self) -> bool {
        !self.is_crowded && self.gate.connecting.check(&self.source)
    }

    /// Whether the source has more connections than it may.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// When the connection is over.
    pub(super) fn ends(&self) -> Instant {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request may take so long from now on.
    pub(super) fn lasts(&self, time: Duration) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends = (*ends).max(Instant::now() + time);
    }

    pub(super) fn source(&self) -> Source {
        self.source
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.lock().take(self.source);
    }
}

/// A rate for each of many, or none for anybody.
struct Keyed<K: Clone + Hash + Eq>(Option<RateLimiter<K, HashMapStateStore<K>, DefaultClock>>);

impl<K: Clone + Hash + Eq> Keyed<K> {
    fn new(rate: Option<Rate>) -> Self {
        Self(rate.map(|rate| RateLimiter::hashmap(rate.quota())))
    }

    fn check(&self, key: &K) -> bool {
        self.0.as_ref().is_none_or(|limiter| limiter.check_key(key).is_ok())
    }

    fn sweep(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;
    use towline_wire::relay::Identity;

    use super::*;

    fn source(last: u8) -> Source {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn gate(limits: super::super::limits::LimitsBuilder) -> Arc<Gate> {
        Arc::new(Gate::new(limits.build().unwrap()))
    }

    fn owner(byte: u8) -> Owner {
        Identity::try_from(&[byte; 32][..]).unwrap().into()
    }

    #[test]
    fn a_network_of_addresses_is_one_source() {
        let of = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn there_is_room_for_so_many_and_again_when_one_leaves() {
        let gate = gate(Limits::builder().connections(2).connections_per_source(2));
        let first = gate.enter(source(1)).unwrap();
        let _second = gate.enter(source(2)).unwrap();
        assert!(gate.enter(source(3)).is_none());
        drop(first);
        assert!(gate.enter(source(3)).unwrap().allows_socket());
        assert_eq!(gate.lock().kinds(), 1);
    }

    #[test]
    fn a_source_that_has_too_many_is_told_so_and_then_closed_out() {
        let gate = gate(Limits::builder().connections_per_source(1));
        let _first = gate.enter(source(1)).unwrap();
        let crowd: Vec<_> = (0..CROWD).map(|_| gate.enter(source(1)).unwrap()).collect();
        assert!(crowd.iter().all(|pass| !pass.allows_socket()));
        assert!(gate.enter(source(1)).is_none());
        assert!(gate.enter(source(2)).unwrap().allows_socket());
    }

    #[test]
    fn who_asks_for_too_many_prekeys_gets_no_one_time_ones() {
        let gate = gate(Limits::builder().one_time_prekeys("1/h".parse().ok()));
        let ask = |source, owner| {
            let (known, one_time) = (Vec::new(), OneTime::Take);
            let mut operation = Operation::PreKeys { owner, known, one_time };
            assert!(gate.allows(&mut operation, source, None));
            let Operation::PreKeys { one_time, .. } = operation else { unreachable!() };
            one_time
        };
        assert_eq!(ask(source(1), owner(1)), OneTime::Take);
        assert_eq!(ask(source(2), owner(1)), OneTime::Leave);
        assert_eq!(ask(source(2), owner(2)), OneTime::Take);
    }

    #[test]
    fn each_rate_stops_what_it_is_for() {
        let rate = || "1/h".parse().ok();
        let number = || Operation::AssignNumber(Identity::try_from(&[1; 32][..]).unwrap());
        let enqueue =
            |to: u8| Operation::Enqueue { to: Address::new(owner(to), 1), message: Bytes::new() };
        let lookup = || Operation::NumberByShort("2".into());
        let uploads = || Operation::AuthorizeUploads { count: 1 };
        let unregister = |device: u32| Operation::Unregister(Address::new(owner(1), device));

        let all = Limits::builder()
            .logins(rate())
            .messages(rate())
            .messages_per_recipient(rate())
            .lookups(rate())
            .registrations(rate())
            .uploads(rate());
        let gate = gate(all);
        let here = source(1);
        let allows = |mut operation, source| {
            // As if each came on a connection of its own.
            gate.allows(&mut operation, source, gate.messages().as_ref())
        };
        assert!(allows(number(), here) && !allows(number(), here) && allows(number(), source(2)));
        assert!(allows(lookup(), here) && !allows(lookup(), here) && allows(lookup(), source(2)));
        assert!(allows(enqueue(1), here) && !allows(enqueue(1), source(2)));
        assert!(allows(unregister(1), here) && !allows(unregister(1), here));
        assert!(allows(unregister(2), here));
        assert!(allows(uploads(), here) && !allows(uploads(), here));
        assert!(allows(uploads(), source(2)));

        let messages = gate.messages();
        let send = |to| gate.allows(&mut enqueue(to), here, messages.as_ref());
        assert!(send(2) && !send(3));
    }

    #[test]
    fn without_rates_nothing_is_stopped() {
        let none = Limits::builder().messages(None).messages_per_recipient(None).connecting(None);
        let gate = gate(none);
        let pass = gate.enter(IpAddr::from(Ipv4Addr::LOCALHOST).into()).unwrap();
        assert!(gate.messages().is_none());
        for _ in 0..10_000 {
            let to = Address::new(owner(1), 1);
            let mut operation = Operation::Enqueue { to, message: Bytes::new() };
            assert!(gate.allows(&mut operation, pass.source(), None) && pass.allows_socket());
        }
    }
}
