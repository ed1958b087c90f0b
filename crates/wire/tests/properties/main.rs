//! What holds of every message in every dialect, checked through the public API.
//!
//! Random tests print their seed when they fail; `PROPTEST_RNG_SEED` brings it back and
//! `PROPTEST_CASES` asks for more of them.

#[cfg(feature = "start")]
mod cbor;
#[cfg(feature = "data")]
mod data;
#[cfg(any(feature = "data", feature = "relay", feature = "start"))]
mod random;
#[cfg(any(feature = "data", feature = "start"))]
mod refusals;
#[cfg(feature = "relay")]
mod relay;
#[cfg(feature = "start")]
mod start;
mod values;
