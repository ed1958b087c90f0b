//! The session data plane as a pure state machine.
