//! How often a transfer that runs asks the allocator for memory.

#[path = "../benches/pipe/mod.rs"]
mod pipe;

use pipe::Pipe;
use towline_data::Mode;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const FRAMES: usize = 2_000;
const SEGMENTS: usize = 8 * FRAMES;

/// A list of pieces for each frame of eight segments, and what batches and acknowledgements need. An
/// allocation for each segment, at either end, would be four times as many.
#[test]
fn a_transfer_allocates_for_frames_and_not_for_segments() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for mode in [Mode::Reliable, Mode::Unreliable] {
        let mut pipe = Pipe::new(mode, 1000);
        pipe.carry(FRAMES);
        let before = dhat::HeapStats::get();
        pipe.carry(FRAMES);
        let after = dhat::HeapStats::get();
        let blocks = after.total_blocks - before.total_blocks;
        let per_segment = blocks as f64 / SEGMENTS as f64;
        dhat::assert!(per_segment < 0.25, "{per_segment} in {mode:?} mode");
        dhat::assert!(after.curr_bytes <= before.curr_bytes + (1 << 20));
    }
}
