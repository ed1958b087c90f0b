//! Sets of a frame's segments: bit N is segment N.

/// The lowest `count` bits, at most 64: every segment of a frame that has so many.
pub(crate) fn lowest_bits(count: u8) -> u64 {
    if count == 0 { 0 } else { u64::MAX >> (64 - u32::from(count)) }
}
