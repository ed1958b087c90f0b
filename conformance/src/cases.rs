//! The questions, in the order of the specification.

mod data_receive;
mod data_send;
mod endings;
mod framing;
mod initiator;
mod life;
mod malformed;
mod requests;
mod start_malformed;
mod unreliable;

use crate::case::Case;

/// Every case there is. Their ids are unique.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        requests::CASES,
        start_malformed::CASES,
        life::CASES,
        framing::CASES,
        malformed::CASES,
        data_receive::CASES,
        data_send::CASES,
        endings::CASES,
        unreliable::CASES,
        initiator::CASES,
    ]
    .into_iter()
    .flatten()
}
