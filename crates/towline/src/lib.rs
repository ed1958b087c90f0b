//! Sessions over any packet transport.
