//! Two connections joined in memory: what the data plane itself costs, without any input or output.

mod pipe;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use towline_data::Mode;

use self::pipe::Pipe;

/// Frames per iteration; each has eight segments.
const FRAMES: usize = 256;

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    for (name, mode) in [("reliable", Mode::Reliable), ("unreliable", Mode::Unreliable)] {
        let mut pipe = Pipe::new(mode, 1000);
        let bytes = pipe.carry(FRAMES);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(pipe.carry(FRAMES))));
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
