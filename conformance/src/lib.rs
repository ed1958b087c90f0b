//! Conformance of session protocol implementations, this project's and others'.
//!
//! A [`case::Case`] is a question to a [`subject::Subject`]: a scripted peer says what it has to say over UDP, and
//! listens for what must and what must not come of it. [`suite`] puts the cases to a subject and to this project's
//! own endpoints, [`report`] says what came of them, and [`vectors`] holds bytes and their meaning.
//!
//! The program `towline-conformance`, which `cargo xtask conformance` runs, is the way to use it;
//! `docs/conformance.md` shows how.

pub mod case;
pub mod cases;
pub mod echo;
pub mod own;
pub mod report;
pub mod run;
pub mod script;
pub mod session;
pub mod subject;
pub mod suite;
pub mod trace;
pub mod vectors;
pub mod wire;
