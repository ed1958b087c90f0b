//! What the peer's segments make of the receiving direction.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use towline_data::Frame;
use towline_wire::data::{RequestEntry, Segment};

use super::settings::Settings;

/// Frames beyond the last one in turn that a reliable receiver keeps.
const WINDOW: u64 = 255;

/// All that was fed, and, where nothing but the segments decides, which frames they make.
///
/// The latter is foretold exactly in reliable mode with a buffer that never fills. In unreliable mode time
/// decides as well, with a small buffer memory does: there, what comes out must be something that was fed.
pub(super) struct ReceiverModel {
    exact: bool,
    ordered: bool,
    /// Every segment ever fed, by frame id.
    fed: HashMap<u32, Vec<Segment>>,
    /// The first frame that is not in turn yet, and the highest heard of.
    base: u64,
    seen: u64,
    frames: BTreeMap<u64, Incomplete>,
    ready: VecDeque<(u32, Vec<Bytes>)>,
    /// The terminating frame's id, when known.
    end: Option<u64>,
    finished: bool,
    aborted: bool,
    closed: bool,
    taken: HashSet<u32>,
    last_taken: u32,
    /// How often all that was to be sent had been sent; and for each segment that was accepted, how often
    /// it had been before.
    dry: u64,
    arrived: HashMap<(u32, u8), u64>,
}

#[derive(Default)]
struct Incomplete {
    count: u8,
    terminating: bool,
    pieces: BTreeMap<u8, Bytes>,
    /// Handed over before its turn.
    early: bool,
}

impl Incomplete {
    fn is_whole(&self) -> bool {
        self.count > 0 && self.pieces.len() == usize::from(self.count)
    }
}

impl ReceiverModel {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            exact: settings.reliable && settings.roomy,
            ordered: settings.ordered,
            fed: HashMap::new(),
            base: 1,
            seen: 0,
            frames: BTreeMap::new(),
            ready: VecDeque::new(),
            end: None,
            finished: false,
            aborted: false,
            closed: false,
            taken: HashSet::new(),
            last_taken: 0,
            dry: 1,
            arrived: HashMap::new(),
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// How many segments the frame has, if any of it was fed.
    pub(super) fn count(&self, id: u32) -> Option<u8> {
        self.fed.get(&id)?.first().map(|segment| segment.header.count())
    }

    pub(super) fn is_exact(&self) -> bool {
        self.exact
    }

    pub(super) fn be_vague(&mut self) {
        self.exact = false;
    }

    /// Whether the peer's direction is over and everything was taken.
    pub(super) fn is_finished(&self) -> bool {
        self.finished && self.ready.is_empty()
    }

    pub(super) fn may_be_finished(&self) -> bool {
        self.finished || !self.exact
    }

    /// Whether the peer ended its direction twice, which says that it has given up.
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted && self.exact
    }

    pub(super) fn heard_an_end(&self) -> bool {
        self.fed.values().flatten().any(|segment| segment.header.is_terminating())
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.len() as u64
    }

    /// The session is over: what is ready stays, nothing more becomes so.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn note_dry(&mut self) {
        self.dry += 1;
    }

    pub(super) fn feed(&mut self, segment: &Segment) {
        let header = segment.header;
        self.fed.entry(header.frame_id().get()).or_default().push(segment.clone());
        if self.closed || self.aborted {
            return;
        }
        let id = u64::from(header.frame_id().get());
        let terminating = header.is_terminating();
        if id < self.base {
            return;
        }
        if self.end.is_some_and(|end| id > end) {
            self.aborted |= terminating;
            return;
        }
        if terminating && id < self.seen {
            return;
        }
        if id >= self.base + WINDOW {
            if terminating {
                self.end = Some(id);
            }
            return;
        }
        self.seen = self.seen.max(id);
        let frame = self.frames.entry(id).or_default();
        if frame.early || frame.is_whole() {
            return;
        }
        if frame.count == 0 {
            (frame.count, frame.terminating) = (header.count(), terminating);
        } else if (frame.count, frame.terminating) != (header.count(), terminating) {
            return;
        }
        self.arrived.entry((header.frame_id().get(), header.index())).or_insert(self.dry);
        frame.pieces.entry(header.index()).or_insert_with(|| segment.data.clone());
        if frame.is_whole() {
            if terminating {
                self.end = Some(id);
            }
            self.deliver(id);
        }
    }

    /// The frame became whole: what of it and of those behind it becomes ready.
    fn deliver(&mut self, id: u64) {
        if !self.ordered
            && let Some(frame) = self.frames.get_mut(&id)
            && !frame.terminating
        {
            frame.early = true;
            let pieces = std::mem::take(&mut frame.pieces).into_values().collect();
            self.ready.push_back((id as u32, pieces));
        }
        while let Some(frame) = self.frames.get(&self.base) {
            if !frame.early && !frame.is_whole() {
                break;
            }
            let Some(frame) = self.frames.remove(&self.base) else { break };
            if frame.terminating {
                self.finished = true;
            } else if !frame.early {
                self.ready.push_back((self.base as u32, frame.pieces.into_values().collect()));
            }
            self.base += 1;
        }
    }

    /// Checks what the application was given.
    pub(super) fn check_taken(&mut self, frame: Option<Frame>) {
        let Some(frame) = frame else {
            assert!(!self.exact || self.ready.is_empty(), "a frame that is complete is held back");
            return;
        };
        let id = frame.id().get();
        let pieces: Vec<Bytes> = frame.chunks().cloned().collect();
        assert_eq!(frame.len(), pieces.iter().map(Bytes::len).sum::<usize>());
        assert!(self.taken.insert(id), "frame {id} came twice");
        assert!(!self.ordered || id > self.last_taken, "{id} after {}", self.last_taken);
        self.last_taken = id;
        if self.exact {
            assert_eq!(self.ready.pop_front(), Some((id, pieces)));
            return;
        }
        let fed = self.fed.get(&id).map_or(&[][..], Vec::as_slice);
        for (index, piece) in pieces.iter().enumerate() {
            let is_it = |segment: &Segment| {
                let header = segment.header;
                usize::from(header.index()) == index
                    && usize::from(header.count()) == pieces.len()
                    && !header.is_terminating()
                    && segment.data == *piece
            };
            assert!(fed.iter().any(is_it), "piece {index} of frame {id} was never received");
        }
    }

    /// Checks a frame that is acknowledged.
    pub(super) fn check_acknowledged(&self, id: u32) {
        let at = u64::from(id);
        let whole = if self.exact && !self.closed {
            at < self.base
                || self.frames.get(&at).is_some_and(|frame| frame.early || frame.is_whole())
        } else {
            let fed = self.fed.get(&id).map_or(&[][..], Vec::as_slice);
            fed.iter().any(|first| {
                let like = |index| {
                    fed.iter().any(|segment| {
                        segment.header.index() == index
                            && segment.header.count() == first.header.count()
                            && segment.header.is_terminating() == first.header.is_terminating()
                    })
                };
                (0..first.header.count()).all(like)
            })
        };
        assert!(whole, "frame {id} is acknowledged and did not arrive");
    }

    /// Checks what is asked for of a frame.
    pub(super) fn check_requested(&self, entry: RequestEntry) {
        let id = entry.frame_id.get();
        assert!(!entry.missing.is_empty(), "frame {id} is requested without a segment");
        if !self.exact {
            return;
        }
        assert!(u64::from(id) <= self.seen, "frame {id} is requested, which nobody sent");
        let mut segments = entry.missing.iter();
        // Requests are drawn up when their time comes and sent when polled: what came in between is named.
        let there = |index| self.arrived.get(&(id, index)).is_some_and(|dry| *dry < self.dry);
        assert!(!segments.any(there), "what frame {id} has is requested");
    }
}
