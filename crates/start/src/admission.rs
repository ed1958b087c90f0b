//! How many requests are looked at, per peer and in total.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use crate::Config;
use crate::deadlines::{Deadline, Deadlines};
use crate::rate::{Bucket, Rate};
use crate::turned_away::TurnedAway;

/// One bucket for everyone, one for each peer that asked lately, and one for peers that come back.
///
/// A peer is only entered in the table with a token of a common bucket, so a flood from invented
/// addresses fills it no faster than those buckets do. When it is full, the peer whose bucket is nearest
/// to full makes room: its entry says the least.
///
/// Such a flood also empties the bucket for everyone, as soon as there is a token in it. But invented
/// addresses ask once and initiators ask again: who was turned away lately draws on a bucket of its own.
pub(crate) struct Admission<P> {
    common: Bucket,
    returning: Bucket,
    turned_away: TurnedAway<P>,
    peer_rate: Rate,
    max_peers: usize,
    /// When each peer's bucket is full again; a peer that is not in here has a full one. The standard
    /// hasher is keyed, because peers choose their addresses.
    peers: HashMap<P, Deadline>,
    full: Deadlines<P>,
}

impl<P: Copy + Eq + Hash> Admission<P> {
    /// `key` is random and secret.
    pub(crate) fn new(config: &Config, key: u128) -> Self {
        Self {
            common: Bucket::full(config.request_rate),
            returning: Bucket::full(config.returning_request_rate),
            turned_away: TurnedAway::new(key),
            peer_rate: config.peer_request_rate,
            max_peers: config.max_peers,
            peers: HashMap::new(),
            full: Deadlines::new(),
        }
    }

    /// Whether a request from this peer may be looked at; takes the tokens for it if so.
    pub(crate) fn admit(&mut self, now: Instant, peer: P) -> bool {
        let deadline = self.peers.get(&peer).copied();
        let own = Bucket { rate: self.peer_rate, full_at: deadline.map(Deadline::at) };
        //= docs/spec/start.md#admission
        //# A responder MUST bound the rate at which it considers new requests, from each peer, and
        //# from all peers together.
        // The peer's own bucket first: what it sends beyond its rate takes nothing from the others.
        if !own.has_token(now) {
            return false;
        }
        let comes_back = self.turned_away.knows(peer);
        //= docs/spec/start.md#admission
        //# A responder MUST bound the rate at which it considers new requests, from each peer, and
        //# from all peers together.
        let admitted = self.common.take(now) || comes_back && self.returning.take(now);
        if !admitted {
            self.turned_away.remember(peer);
            return false;
        }
        self.turned_away.forget(peer);
        //= docs/spec/start.md#admission
        //# A responder MUST bound what it remembers of requests and answers.
        if let Some(deadline) = deadline {
            self.full.remove(deadline);
        } else if self.peers.len() >= self.max_peers
            && let Some(fullest) = self.full.pop_first()
        {
            self.peers.remove(&fullest);
        }
        let deadline = self.full.insert(own.filled_after_taking(now), peer);
        self.peers.insert(peer, deadline);
        true
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(peer) = self.full.pop_due(now) {
            self.peers.remove(&peer);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.full.next()
    }

    /// Peers in the table.
    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{builder, epoch};

    const SECOND: Duration = Duration::from_secs(1);

    fn admission(common: u32, own: u32, max_peers: usize) -> Admission<u32> {
        let rate = |burst| Rate { burst, refill: SECOND };
        let config = builder()
            .request_rate(rate(common))
            .returning_request_rate(rate(2))
            .peer_request_rate(rate(own))
            .max_peers(max_peers)
            .build()
            .unwrap();
        Admission::new(&config, 7)
    }

    fn admitted(admission: &mut Admission<u32>, now: Instant, peer: u32, tries: u32) -> usize {
        (0..tries).filter(|_| admission.admit(now, peer)).count()
    }

    //= docs/spec/start.md#admission
    //= type=test
    //# A responder MUST bound the rate at which it considers new requests, from each peer,
    #[test]
    fn a_peer_beyond_its_rate_leaves_the_others_alone() {
        let mut admission = admission(4, 2, 10);
        assert_eq!(admitted(&mut admission, epoch(), 1, 100), 2);
        assert_eq!(admitted(&mut admission, epoch(), 2, 100), 2);
    }

    #[test]
    fn peers_that_ask_once_keep_the_common_rate() {
        let mut admission = admission(5, 2, 1000);
        assert_eq!((0..100).filter(|&peer| admission.admit(epoch(), peer)).count(), 5);
    }

    #[test]
    fn peers_that_were_turned_away_have_a_rate_of_their_own() {
        let mut admission = admission(5, 2, 1000);
        for peer in 0..100 {
            admission.admit(epoch(), peer);
        }
        assert_eq!((50..100).filter(|&peer| admission.admit(epoch(), peer)).count(), 2);
        assert!(!admission.admit(epoch(), 200), "and nobody else has it");
    }

    //= docs/spec/start.md#admission
    //= type=test
    //# and from all peers together.
    #[test]
    fn all_peers_together_keep_both_rates() {
        let mut admission = admission(5, 2, 1000);
        let all: usize = (0..100).map(|peer| admitted(&mut admission, epoch(), peer, 10)).sum();
        assert_eq!(all, 5 + 2);
    }

    #[test]
    fn peers_that_are_turned_away_are_not_entered() {
        let mut admission = admission(5, 2, 1000);
        for peer in 0..100 {
            admission.admit(epoch(), peer);
        }
        assert_eq!(admission.peers(), 5);
    }

    #[test]
    fn a_full_table_forgets_the_peer_nearest_to_a_full_bucket() {
        let mut admission = admission(1000, 2, 2);
        admitted(&mut admission, epoch(), 1, 2);
        admitted(&mut admission, epoch(), 2, 1);
        admitted(&mut admission, epoch(), 3, 1);
        assert_eq!(admission.peers(), 2);
        assert_eq!(admitted(&mut admission, epoch(), 1, 1), 0, "the busiest is still known");
    }

    #[test]
    fn peers_are_forgotten_once_their_bucket_is_full() {
        let mut admission = admission(1000, 2, 10);
        admitted(&mut admission, epoch(), 1, 2);
        assert_eq!(admission.poll_timeout(), Some(epoch() + SECOND * 2));
        admission.handle_timeout(epoch() + SECOND * 2);
        assert_eq!(admission.peers(), 0);
        assert_eq!(admission.poll_timeout(), None);
    }
}
