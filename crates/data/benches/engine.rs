//! Two connections joined in memory: what the data plane itself costs, without any input or output.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use towline_data::{Config, Connection, Mode};
use towline_wire::{Dialect, Mtu};

/// Frames per iteration; each has eight segments.
const FRAMES: usize = 256;

struct Pipe {
    now: Instant,
    sender: Connection,
    receiver: Connection,
    frame: Bytes,
    buffer: Vec<u8>,
}

impl Pipe {
    fn new(mode: Mode, mtu: usize) -> Self {
        let mtu = Mtu::new(mtu).expect("a valid MTU");
        let codec_frame = (mtu.get() - 10) * 8;
        let config = Config::builder(Dialect::Rfc0007, mtu)
            .mode(mode)
            .frame_size(codec_frame)
            .initial_rtt(Duration::from_micros(50))
            .build()
            .expect("valid settings");
        let config = Arc::new(config);
        #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
        let now = Instant::now();
        Self {
            now,
            sender: Connection::new(config.clone(), now),
            receiver: Connection::new(config, now),
            frame: vec![0xa5; codec_frame].into(),
            buffer: Vec::new(),
        }
    }

    /// Carries [`FRAMES`] frames from one end to the other and returns the bytes that arrived.
    fn carry(&mut self) -> usize {
        let mut queued = 0;
        let mut taken = 0;
        let mut bytes = 0;
        while taken < FRAMES {
            while queued < FRAMES && self.sender.send_frame(self.now, self.frame.clone()).is_ok() {
                queued += 1;
            }
            self.now += Duration::from_micros(10);
            exchange(&mut self.sender, &mut self.receiver, self.now, &mut self.buffer);
            while let Some(frame) = self.receiver.recv_frame() {
                taken += 1;
                bytes += frame.len();
            }
            self.now += Duration::from_micros(10);
            exchange(&mut self.receiver, &mut self.sender, self.now, &mut self.buffer);
            self.sender.handle_timeout(self.now);
            self.receiver.handle_timeout(self.now);
        }
        bytes
    }
}

/// Hands over everything that `from` has to send, in batches as segmentation offload takes them.
fn exchange(from: &mut Connection, to: &mut Connection, now: Instant, buffer: &mut Vec<u8>) {
    while let Some(transmit) = from.poll_transmit(now, 64, buffer) {
        let mut run = Bytes::from(std::mem::replace(buffer, Vec::with_capacity(64 << 10)));
        while !run.is_empty() {
            let datagram = run.split_to(run.len().min(transmit.segment_size));
            to.handle_datagram(now, datagram).expect("a datagram of our own");
        }
    }
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    for (name, mode) in [("reliable", Mode::Reliable), ("unreliable", Mode::Unreliable)] {
        let mut pipe = Pipe::new(mode, 1000);
        let bytes = pipe.carry();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(pipe.carry())));
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
