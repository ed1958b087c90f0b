//! Messages of the data protocol as the files write them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use towline_wire::DecodeError;
use towline_wire::data::{
    Codec, FrameId, MAX_REQUESTABLE_SEGMENTS, Message as WireMessage, MissingSegments,
    RequestEntry, SegmentHeader,
};

use super::case::{Message, NoBytes};

/// The fields that `towline decode` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum DataMessage {
    Segment {
        frame_id: u32,
        index: u8,
        count: u8,
        terminating: bool,
        #[serde(with = "hex::serde")]
        data: Vec<u8>,
    },
    Request {
        /// Pairs of frame id and segment index, in the order of the wire.
        missing: Vec<(u32, u8)>,
    },
    Acknowledgement {
        frames: Vec<u32>,
    },
}

impl Message for DataMessage {
    const PROTOCOL: &str = "data";

    fn decode(codec: Codec, datagram: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let messages: Vec<_> = codec.messages(Bytes::copy_from_slice(datagram))?.collect();
        // Malformed messages leave the others in their datagram alone.
        let understood: Vec<_> = messages.iter().flatten().map(Self::of).collect();
        match messages.into_iter().find_map(Result::err) {
            Some(error) if understood.is_empty() => Err(error),
            _ => Ok(understood),
        }
    }

    fn encode(&self, codec: Codec) -> Result<Vec<u8>, NoBytes> {
        let mut wire = Vec::new();
        match self {
            Self::Segment { frame_id, index, count, terminating, data } => {
                let header = header(*frame_id, *index, *count, *terminating)?;
                codec.encode_segment(header, data, &mut wire)?;
            }
            Self::Request { missing } => {
                codec.encode_request(entries(missing)?, &mut wire)?;
            }
            Self::Acknowledgement { frames } => {
                let frames: Result<Vec<_>, _> = frames.iter().copied().map(frame).collect();
                codec.encode_acknowledgement(frames?, &mut wire)?;
            }
        }
        Ok(wire)
    }
}

impl DataMessage {
    fn of(message: &WireMessage) -> Self {
        match message {
            WireMessage::Segment(segment) => Self::Segment {
                frame_id: segment.header.frame_id().get(),
                index: segment.header.index(),
                count: segment.header.count(),
                terminating: segment.header.is_terminating(),
                data: segment.data.to_vec(),
            },
            WireMessage::Request(request) => {
                let pairs = |entry: RequestEntry| {
                    entry.missing.iter().map(move |index| (entry.frame_id.get(), index))
                };
                Self::Request { missing: request.entries().flat_map(pairs).collect() }
            }
            WireMessage::Acknowledgement(acknowledgement) => Self::Acknowledgement {
                frames: acknowledgement.frames().map(FrameId::get).collect(),
            },
        }
    }
}

fn frame(id: u32) -> Result<FrameId, NoBytes> {
    FrameId::new(id).ok_or(NoBytes::Inexpressible)
}

fn header(id: u32, index: u8, count: u8, terminating: bool) -> Result<SegmentHeader, NoBytes> {
    let id = frame(id)?;
    match (terminating, index, count) {
        (true, 0, 1) => Ok(SegmentHeader::terminating(id)),
        (true, ..) => Err(NoBytes::Inexpressible),
        (false, ..) => SegmentHeader::new(id, index, count).ok_or(NoBytes::Inexpressible),
    }
}

/// One entry for each run of pairs of the same frame.
fn entries(missing: &[(u32, u8)]) -> Result<Vec<RequestEntry>, NoBytes> {
    missing.chunk_by(|(frame, _), (next, _)| frame == next).map(entry).collect()
}

fn entry(run: &[(u32, u8)]) -> Result<RequestEntry, NoBytes> {
    let mut bits = 0;
    for &(_, index) in run {
        if index >= MAX_REQUESTABLE_SEGMENTS {
            return Err(NoBytes::Inexpressible);
        }
        bits |= 1 << index;
    }
    Ok(RequestEntry { frame_id: frame(run[0].0)?, missing: MissingSegments::from_bits(bits) })
}
