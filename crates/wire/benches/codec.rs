//! What one message costs, in a buffer that is used again and again and without copying what arrives.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group, criterion_main};
use towline_wire::data::{Codec, FrameId, Message, MissingSegments, RequestEntry, SegmentHeader};
use towline_wire::start::{
    self, Capabilities, Cbor, Challenge, ErrorReason, KeepAlive, KeepAliveFlags, SessionError,
    SessionEstablished, StartSession,
};
use towline_wire::{Dialect, EncodeError, Mtu};

const SEGMENT_DATA: usize = 1024;

fn codec(dialect: Dialect) -> Codec {
    Codec::new(dialect, Mtu::new(1500).expect("in range"))
}

fn frames(count: u32) -> impl Iterator<Item = FrameId> + Clone {
    (1..=count).filter_map(|id| FrameId::new(3 * id))
}

fn entries(count: u32) -> impl Iterator<Item = RequestEntry> + Clone {
    frames(count).map(|frame_id| RequestEntry { frame_id, missing: MissingSegments::ALL })
}

fn encoded(encode: impl Fn(&mut Vec<u8>) -> Result<(), EncodeError>) -> Bytes {
    let mut out = Vec::new();
    encode(&mut out).expect("fits");
    out.into()
}

/// Measures `encode` into a buffer that has seen it before.
fn encode(b: &mut Bencher<'_>, encode: impl Fn(&mut Vec<u8>) -> Result<(), EncodeError>) {
    let mut out = Vec::with_capacity(2048);
    b.iter(|| {
        out.clear();
        encode(black_box(&mut out)).expect("fits");
    });
}

/// Measures `decode` of a datagram that is the caller's own, as it is off the socket: neither its
/// making nor the dropping of the message counts.
fn decode<T>(b: &mut Bencher<'_>, datagram: &Bytes, decode: impl Fn(Bytes) -> T) {
    b.iter_batched(
        || datagram.clone(),
        |datagram| decode(black_box(datagram)),
        BatchSize::SmallInput,
    );
}

fn segment(c: &mut Criterion) {
    let data = [0xa5; SEGMENT_DATA];
    let header = SegmentHeader::new(FrameId::FIRST, 3, 8).expect("within the count");
    let mut group = c.benchmark_group("segment of 1 KiB");
    group.throughput(Throughput::Bytes(SEGMENT_DATA as u64));
    for dialect in Dialect::ALL {
        let codec = codec(dialect);
        let datagram = encoded(|out| codec.encode_segment(header, &data, out));
        group.bench_function(format!("encode/{dialect}"), |b| {
            encode(b, |out| codec.encode_segment(black_box(header), black_box(&data), out));
        });
        group.bench_function(format!("decode/{dialect}"), |b| {
            decode(b, &datagram, |datagram| codec.decode(datagram));
        });
        group.bench_function(format!("decode a sequence of one/{dialect}"), |b| {
            decode(b, &datagram, |datagram| {
                codec.messages(datagram).map(|mut messages| messages.next())
            });
        });
    }
    // What the two above cost without the codec.
    let mut out = Vec::with_capacity(2048);
    group.bench_function("copy", |b| {
        b.iter(|| {
            out.clear();
            black_box(&mut out).extend_from_slice(black_box(&data));
        });
    });
    group.bench_function("move", |b| decode(b, &Bytes::copy_from_slice(&data), |data| data));
    group.finish();
}

fn control(c: &mut Criterion) {
    for dialect in Dialect::ALL {
        let codec = codec(dialect);
        let mut group = c.benchmark_group("acknowledgement of 100 frames");
        group.throughput(Throughput::Elements(100));
        let datagram = encoded(|out| codec.encode_acknowledgement(frames(100), out));
        group.bench_function(format!("encode/{dialect}"), |b| {
            encode(b, |out| codec.encode_acknowledgement(black_box(frames(100)), out));
        });
        group.bench_function(format!("decode/{dialect}"), |b| {
            decode(b, &datagram, |datagram| codec.decode(datagram));
        });
        let Ok(Message::Acknowledgement(message)) = codec.decode(datagram) else { unreachable!() };
        group.bench_function(format!("read/{dialect}"), |b| {
            b.iter(|| black_box(&message).frames().map(FrameId::get).fold(0, u32::wrapping_add));
        });
        group.finish();

        let mut group = c.benchmark_group("request of 50 entries");
        group.throughput(Throughput::Elements(50));
        let datagram = encoded(|out| codec.encode_request(entries(50), out));
        group.bench_function(format!("encode/{dialect}"), |b| {
            encode(b, |out| codec.encode_request(black_box(entries(50)), out));
        });
        group.bench_function(format!("decode/{dialect}"), |b| {
            decode(b, &datagram, |datagram| codec.decode(datagram));
        });
        group.finish();
    }
}

fn handshake(c: &mut Criterion) {
    let challenge = Challenge(0x1234_5678_90ab_cdef);
    let target = Cbor::new("target.example.org:8080").expect("encodes");
    let session_id = Cbor::new(&0x0123_4567_89ab_cdef_u64).expect("encodes");
    let messages = [
        (
            "request",
            start::Message::StartSession(StartSession {
                challenge,
                capabilities: Capabilities::RELIABLE,
                additional_data: 0,
                target,
            }),
        ),
        (
            "established",
            start::Message::SessionEstablished(SessionEstablished {
                challenge,
                session_id: session_id.clone(),
            }),
        ),
        (
            "error",
            start::Message::SessionError(SessionError { challenge, reason: ErrorReason::BUSY }),
        ),
        (
            "keep-alive",
            start::Message::KeepAlive(KeepAlive {
                flags: KeepAliveFlags::NONE,
                additional_data: 0,
                session_id,
            }),
        ),
    ];
    for (name, message) in &messages {
        let mut group = c.benchmark_group(format!("session {name}"));
        for dialect in [Dialect::Rfc0007, Dialect::Hoprnet] {
            let datagram = encoded(|out| message.encode(dialect, out));
            group.bench_function(format!("encode/{dialect}"), |b| {
                encode(b, |out| black_box(message).encode(dialect, out));
            });
            group.bench_function(format!("decode/{dialect}"), |b| {
                decode(b, &datagram, |datagram| start::Message::decode(dialect, datagram));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, segment, control, handshake);
criterion_main!(benches);
