//! The program as its users run it: real processes, on loopback.

mod decode;
mod demo;
mod flood;
mod lossy;
mod path;
mod perf;
mod pipe;
mod relay;
mod support;
mod tunnel;
mod usage;
