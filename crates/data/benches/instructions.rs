//! Instructions that the hot paths take, under callgrind: the same in every run of one build, so that what a change
//! adds to them can fail a check. The limits stand 5 % above what was counted last.
//!
//! Needs valgrind, and `gungraun-runner` in the version of `Cargo.lock`.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "what the macros make is public and spells out each path"
)]

mod pipe;

use std::hint::black_box;

use bytes::Bytes;
use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig};
use towline_data::Mode;
use towline_wire::data::{Codec, FrameId, SegmentHeader};
use towline_wire::{Dialect, Mtu};

use self::pipe::Pipe;

/// Frames that are carried; each has eight segments.
const FRAMES: usize = 256;

/// At most 5 % more instructions than this.
fn counted(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions / 20;
    let callgrind = Callgrind::default().hard_limits([(EventKind::Ir, limit)]).clone();
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

fn codec() -> Codec {
    Codec::new(Dialect::Rfc0007, Mtu::new(1500).expect("in range"))
}

fn header() -> SegmentHeader {
    SegmentHeader::new(FrameId::FIRST, 3, 8).expect("within the count")
}

fn segment() -> Bytes {
    let mut out = Vec::new();
    codec().encode_segment(header(), &[0xa5; 1024], &mut out).expect("fits");
    out.into()
}

/// A pipe that has run long enough for its memory to be there.
fn pipe(mode: Mode) -> Pipe {
    let mut pipe = Pipe::new(mode, 1000);
    pipe.carry(FRAMES);
    pipe
}

#[library_benchmark]
#[bench::of_1_kib(args = (codec(), Vec::with_capacity(2048)), config = counted(192))]
fn encode(codec: Codec, mut out: Vec<u8>) -> Vec<u8> {
    codec.encode_segment(header(), black_box(&[0xa5; 1024]), &mut out).expect("fits");
    out
}

#[library_benchmark]
#[bench::of_1_kib(args = (codec(), segment()), config = counted(128))]
fn decode(codec: Codec, datagram: Bytes) -> impl Sized {
    codec.decode(black_box(datagram))
}

#[library_benchmark]
#[bench::reliable(args = (pipe(Mode::Reliable)), config = counted(2_823_000))]
#[bench::unreliable(args = (pipe(Mode::Unreliable)), config = counted(2_357_000))]
fn carry(mut pipe: Pipe) -> Pipe {
    black_box(pipe.carry(FRAMES));
    pipe
}

library_benchmark_group!(name = segments, benchmarks = [encode, decode]);
library_benchmark_group!(name = engine, benchmarks = [carry]);
main!(library_benchmark_groups = [segments, engine]);
