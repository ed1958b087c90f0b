//! Where challenges and session ids come from.

use std::fmt;

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

/// The seed of a machine's random numbers, for tests and simulations that must repeat themselves.
///
/// Whoever knows it can foresee every challenge and every session id (RFC-0007, 7.2), so `Debug` does
/// not print it, and two endpoints must not share one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// The operating system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// A cryptographically secure generator, as RFC-0007, 7.2 wants for challenges.
pub(crate) fn generator(seed: Option<Seed>, role: Role) -> Result<StdRng, NoRandomness> {
    //= docs/spec/start.md#challenge
    //# An initiator MUST take challenges from a cryptographically secure random number generator.
    let Some(Seed(seed)) = seed else {
        return StdRng::try_from_rng(&mut SysRng).map_err(|_| NoRandomness);
    };
    // A key per role. With one stream for both, a peer that sees our challenges as a responder would
    // read off them the session ids that we issue to others.
    //= docs/spec/start.md#session-id
    //# An endpoint that is initiator and responder MUST NOT draw challenges and session ids from
    //# one random stream.
    let mut keys = StdRng::from_seed(seed);
    let (initiator, responder) = (StdRng::from_rng(&mut keys), StdRng::from_rng(&mut keys));
    Ok(match role {
        Role::Initiator => initiator,
        Role::Responder => responder,
    })
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    fn first(seed: Option<Seed>, role: Role) -> u64 {
        generator(seed, role).unwrap().next_u64()
    }

    #[test]
    fn a_seed_repeats_itself() {
        let seed = Some(Seed([7; 32]));
        assert_eq!(first(seed, Role::Initiator), first(seed, Role::Initiator));
    }

    //= docs/spec/start.md#session-id
    //= type=test
    //# An endpoint that is initiator and responder MUST NOT draw challenges and session ids from
    //# one random stream.
    #[test]
    fn roles_do_not_share_a_stream() {
        let seed = Some(Seed([7; 32]));
        assert_ne!(first(seed, Role::Initiator), first(seed, Role::Responder));
    }

    //= docs/spec/start.md#challenge
    //= type=test
    //# An initiator MUST take challenges from a cryptographically secure random number generator.
    #[test]
    fn without_a_seed_no_two_generators_are_alike() {
        assert_ne!(first(None, Role::Initiator), first(None, Role::Initiator));
    }

    #[test]
    fn debug_keeps_the_seed_to_itself() {
        assert_eq!(format!("{:?}", Seed([7; 32])), "Seed(..)");
    }
}
