//! The receive window against a simple model of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use towline_wire::data::{FrameId, Segment, SegmentHeader};
use towline_wire::{Dialect, Mtu};

use crate::recv::{Insert, RecvWindow};
use crate::{Config, Delivery};

/// The frames of a session, each cut in so many segments; the data says which it is.
fn segment(frame: u32, index: u8, count: u8) -> Segment {
    let header = SegmentHeader::new(FrameId::new(frame).unwrap(), index, count).unwrap();
    Segment { header, data: Bytes::from(vec![frame as u8, index]) }
}

/// Reassembly as one would write it without a thought for time or memory.
#[derive(Default)]
struct Model {
    frames: BTreeMap<u32, HashMap<u8, Bytes>>,
    ready: Vec<u32>,
    next: u32,
}

impl Model {
    fn insert(&mut self, counts: &[u8], frame: u32, index: u8, ordered: bool) -> bool {
        let segments = self.frames.entry(frame).or_default();
        if segments.insert(index, Bytes::new()).is_some() {
            return false;
        }
        let is_whole = |frames: &BTreeMap<u32, HashMap<u8, Bytes>>, frame: u32| {
            let count =
                counts.get(frame as usize - 1).map_or(usize::MAX, |count| usize::from(*count));
            frames.get(&frame).is_some_and(|segments| segments.len() == count)
        };
        if !ordered && is_whole(&self.frames, frame) {
            self.ready.push(frame);
        }
        while ordered && is_whole(&self.frames, self.next + 1) {
            self.next += 1;
            self.ready.push(self.next);
        }
        true
    }
}

proptest! {
    //= docs/spec/data.md#reassembly
    //= type=test
    //# A receiver MUST accept the segments of a frame in any order, and join them in the order of
    //# their indices.
    //= docs/spec/data.md#reassembly
    //= type=test
    //# A receiver MUST NOT deliver a frame before it has all its segments, nor twice.
    #[test]
    fn any_order_of_segments_is_put_together_as_the_model_does(
        counts in prop::collection::vec(1_u8..=64, 1..20),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..600),
        ordered in any::<bool>(),
    ) {
        let delivery = if ordered { Delivery::Ordered } else { Delivery::Unordered };
        let config = Config::builder(Dialect::Rfc0007, Mtu::new(64).unwrap()).delivery(delivery);
        let mut window = RecvWindow::new(&config.build().unwrap());
        let mut model = Model::default();
        let mut now = crate::tests::epoch();
        let mut delivered = Vec::new();
        // At random first, then what was left out.
        let all = (1..).zip(&counts).flat_map(|(frame, count)| (0..*count).map(move |i| (frame, i)));
        let random = picks.iter().map(|(frame, index)| {
            let frame = frame.index(counts.len());
            (frame as u32 + 1, index.index(usize::from(counts[frame])) as u8)
        });
        for (frame, index) in random.chain(all) {
            now += Duration::from_millis(1);
            let fresh = model.insert(&counts, frame, index, ordered);
            let insert = window.insert(now, segment(frame, index, counts[frame as usize - 1]));
            prop_assert_eq!(matches!(insert, Insert::Stored { .. }), fresh, "{:?}", insert);
            window.advance(|_| {});
            while let Some(received) = window.pop_ready() {
                let id = received.id().get();
                let want: Vec<u8> = (0..counts[id as usize - 1]).flat_map(|i| [id as u8, i]).collect();
                prop_assert_eq!(received.into_bytes(), want);
                delivered.push(id);
            }
            prop_assert_eq!(&delivered, &model.ready);
        }
        prop_assert_eq!(delivered.len(), counts.len());
        prop_assert_eq!(window.charge(), 0);
    }
}
