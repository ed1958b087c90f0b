//! Faults, and the cases that have to find them.

mod endings;
mod framing;
mod handshake;
mod initiator;
mod malformed;
mod receive;
mod send;
mod unreliable;

use towline_conformance::case::Mode;
use towline_conformance::subject::Framing;
use towline_conformance::wire::Wire;
use towline_wire::Dialect;

use crate::mischief::Mischief;

/// One thing that a peer does wrong.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What the relay makes a faulty peer of.
    pub(crate) of: Honest,
    /// Cases that fail because of it, and words of why: to fail for another reason is not to find it.
    pub(crate) found_by: &'static [(&'static str, &'static str)],
    /// A case that has nothing to do with it.
    pub(crate) spares: &'static str,
    pub(crate) plant: fn(Wire) -> Mischief,
}

/// An endpoint of this project.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Honest {
    Exit(Framing, Dialect),
    DataPlane(Mode, Dialect),
    Initiator(Dialect),
}

const EXIT: Honest = Honest::Exit(Framing::Tagged, Dialect::Rfc0007);
const BARE_EXIT: Honest = Honest::Exit(Framing::Bare, Dialect::Rfc0007);
const HOPRNET_EXIT: Honest = Honest::Exit(Framing::Tagged, Dialect::Hoprnet);
const DATA_PLANE: Honest = Honest::DataPlane(Mode::Reliable, Dialect::Rfc0007);
const UNRELIABLE: Honest = Honest::DataPlane(Mode::Unreliable, Dialect::Rfc0007);
const INITIATOR: Honest = Honest::Initiator(Dialect::Rfc0007);

/// Every fault. Their names are unique.
pub(crate) fn all() -> impl Iterator<Item = &'static Fault> {
    // What takes longest comes first, so that it does not come last.
    [
        initiator::FAULTS,
        endings::FAULTS,
        send::FAULTS,
        handshake::FAULTS,
        receive::FAULTS,
        unreliable::FAULTS,
        malformed::FAULTS,
        framing::FAULTS,
    ]
    .into_iter()
    .flatten()
}
