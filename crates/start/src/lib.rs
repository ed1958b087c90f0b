//! The session-start handshake as a pure state machine.
