//! What the application's frames and the peer's acknowledgements make of the sending direction.

use bytes::Bytes;
use towline_wire::Dialect;
use towline_wire::data::{Codec, FrameId, Segment};

use super::receiver::ReceiverModel;
use super::settings::Settings;

/// Frames that may be unacknowledged (RFC-0007, 4.8.2).
const WINDOW: usize = 255;
/// How often a terminating segment goes out that nobody acknowledges.
const FAREWELLS: u32 = 3;

/// Every frame that was queued, and how far it has come.
pub(super) struct SenderModel {
    codec: Codec,
    reliable: bool,
    closes_on_peer_finish: bool,
    buffer: usize,
    frames: Vec<Queued>,
    /// Frames at the front that are acknowledged, or sent in unreliable mode.
    done: usize,
    /// Frames of which anything was sent.
    begun: usize,
    finishing: bool,
    /// The regular terminating frame was sent.
    terminated: bool,
    ended: Option<Ended>,
    /// Terminating segments that nobody is to acknowledge.
    farewells: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Well,
    Failed,
}

struct Queued {
    data: Bytes,
    count: u8,
    /// Segments that were sent, a bit each.
    sent: u64,
    acknowledged: bool,
}

impl Queued {
    fn is_sent(&self) -> bool {
        self.sent.count_ones() == u32::from(self.count)
    }
}

impl SenderModel {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            codec: settings.config.codec(),
            reliable: settings.reliable,
            closes_on_peer_finish: settings.closes_on_peer_finish,
            buffer: settings.send_buffer,
            frames: Vec::new(),
            done: 0,
            begun: 0,
            finishing: false,
            terminated: false,
            ended: None,
            farewells: 0,
        }
    }

    /// The id of the last frame that was queued, 0 before the first.
    pub(super) fn last(&self) -> u32 {
        self.frames.len() as u32
    }

    pub(super) fn next_unacknowledged(&self) -> u32 {
        self.done as u32 + 1
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.finishing
    }

    pub(super) fn has_room(&self, len: usize) -> bool {
        let waiting = &self.frames[self.done..];
        let waiting_len: usize =
            waiting.iter().filter(|frame| !frame.acknowledged).map(|frame| frame.data.len()).sum();
        let fits = waiting_len == 0 || waiting_len + len <= self.buffer;
        fits && (!self.reliable || waiting.len() < WINDOW)
    }

    pub(super) fn queue(&mut self, data: Bytes) {
        let count = data.len().div_ceil(self.codec.max_segment_data()).max(1) as u8;
        self.frames.push(Queued { data, count, sent: 0, acknowledged: false });
    }

    pub(super) fn finish(&mut self) {
        self.finishing = true;
    }

    /// The session is over, well or not.
    pub(super) fn close(&mut self, failed: bool) {
        self.ended = Some(if failed { Ended::Failed } else { Ended::Well });
        if failed {
            self.farewells = 0;
        }
    }

    /// Whether all data arrived and the end was announced.
    pub(super) fn is_complete(&self) -> bool {
        let arrived = |frame: &Queued| {
            if self.reliable { frame.acknowledged } else { frame.is_sent() }
        };
        self.terminated && self.frames.iter().all(arrived)
    }

    pub(super) fn may_be_finished(&self) -> bool {
        self.finishing && self.is_complete()
    }

    pub(super) fn acknowledge(&mut self, ids: impl Iterator<Item = FrameId>) {
        if !self.reliable {
            return;
        }
        for id in ids {
            if let Some(frame) = self.frames.get_mut(id.get() as usize - 1) {
                frame.acknowledged |= frame.is_sent();
            }
        }
        while self.frames.get(self.done).is_some_and(|frame| frame.acknowledged) {
            self.done += 1;
        }
    }

    /// Checks a segment that goes out.
    pub(super) fn check_segment(&mut self, segment: &Segment, receiver: &ReceiverModel) {
        if segment.header.is_terminating() {
            assert!(segment.data.is_empty() && segment.header.count() == 1);
            self.check_terminating(segment.header.frame_id().get(), receiver);
        } else {
            self.check_data(segment);
        }
    }

    fn check_data(&mut self, segment: &Segment) {
        let header = segment.header;
        let (id, index) = (header.frame_id().get(), header.index());
        assert!(self.ended.is_none(), "data after the end");
        let at = id as usize - 1;
        let capacity = self.codec.max_segment_data();
        let frame = self.frames.get_mut(at);
        let frame = frame.unwrap_or_else(|| panic!("frame {id} is sent and was never queued"));
        assert_eq!(header.count(), frame.count);
        let start = usize::from(index) * capacity;
        let end = frame.data.len().min(start + capacity);
        assert!(segment.data == frame.data[start..end], "segment {index} of frame {id} is damaged");
        assert!(!frame.acknowledged, "frame {id} is sent and was acknowledged");

        let again = frame.sent & 1 << index != 0;
        assert!(self.reliable || !again, "an unreliable end sent segment {index} of {id} again");
        if !again {
            assert_eq!(frame.sent.trailing_ones(), u32::from(index), "segments go out in order");
            assert!(!self.terminated, "new data after the terminating frame");
        }
        frame.sent |= 1 << index;
        if at >= self.begun {
            assert_eq!(at, self.begun, "frames go out in order");
            self.begun += 1;
            let under_way = self.begun - self.done;
            assert!(!self.reliable || under_way <= WINDOW, "{under_way} frames are under way");
        }
        while !self.reliable && self.frames.get(self.done).is_some_and(Queued::is_sent) {
            self.done += 1;
        }
    }

    fn check_terminating(&mut self, id: u32, receiver: &ReceiverModel) {
        let regular = self.last() + 1;
        let deployed = self.codec.dialect() == Dialect::Hoprnet;
        match self.ended {
            Some(Ended::Failed) => {
                // The last word leaves an id out, so that nobody takes it for a good end.
                let next = if self.terminated { regular } else { self.begun as u32 + 1 };
                assert_eq!(id, next + u32::from(!deployed), "the last word of a failed session");
                self.farewells += 1;
            }
            Some(Ended::Well) => {
                assert!(!self.reliable, "a terminating segment after a good end");
                assert_eq!(id, regular);
                self.farewells += 1;
            }
            None => {
                assert_eq!(id, regular, "the terminating frame follows the last");
                let follows = self.closes_on_peer_finish && receiver.may_be_finished();
                assert!(self.finishing || follows, "nobody finished");
                assert!(self.begun == self.frames.len(), "the end before the last data");
                if self.reliable && deployed && !self.terminated {
                    assert_eq!(
                        self.done,
                        self.frames.len(),
                        "deployed peers close when they see it"
                    );
                }
                self.terminated = true;
                self.farewells += u32::from(!self.reliable);
            }
        }
        assert!(self.farewells <= FAREWELLS, "the last word came too often");
    }
}
