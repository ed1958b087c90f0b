//! A frame as the application gets it.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use towline_wire::data::FrameId;

/// A received frame: its segments' data in order, still in the datagrams that brought them.
///
/// As a [`Buf`] it is read piece by piece, without joining the segments first.
#[derive(Clone, Debug)]
pub struct Frame {
    id: FrameId,
    len: usize,
    pieces: Pieces,
    /// The first piece that is not read yet.
    at: usize,
}

/// Most frames have one segment, and those need no list.
#[derive(Clone, Debug)]
pub(crate) enum Pieces {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Frame {
    pub(crate) fn new(id: FrameId, pieces: Pieces) -> Self {
        let len = pieces.as_slice().iter().map(Bytes::len).sum();
        Self { id, len, pieces, at: 0 }
    }

    /// The frame's id.
    #[must_use]
    pub fn id(&self) -> FrameId {
        self.id
    }

    /// Bytes of data that are not read yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no data is left to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The data in order, a slice a segment.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.as_slice().iter()
    }

    /// The data in one piece: copied if the frame had several segments, else as it came.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.pieces {
            Pieces::One(data) => data,
            Pieces::Many(pieces) => {
                let mut whole = BytesMut::with_capacity(self.len);
                for piece in &pieces {
                    whole.extend_from_slice(piece);
                }
                whole.freeze()
            }
        }
    }

    /// The data as the slices that it came in.
    pub fn into_chunks(self) -> impl Iterator<Item = Bytes> {
        let (one, many) = match self.pieces {
            Pieces::One(data) => (Some(data), Vec::new()),
            Pieces::Many(pieces) => (None, pieces),
        };
        one.into_iter().chain(many)
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.as_slice().get(self.at).map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let rest = self.pieces.as_slice().get(self.at..).unwrap_or(&[]);
        let filled = rest.len().min(slices.len());
        for (slice, piece) in slices.iter_mut().zip(rest) {
            *slice = IoSlice::new(piece);
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "cannot advance by {count} in {} bytes", self.len);
        let mut left = count;
        while let Some(piece) = self.pieces.as_mut_slice().get_mut(self.at) {
            let read = left.min(piece.len());
            piece.advance(read);
            left -= read;
            if !piece.is_empty() {
                break;
            }
            self.at += 1;
        }
        self.len -= count;
    }
}

impl Pieces {
    fn as_mut_slice(&mut self) -> &mut [Bytes] {
        match self {
            Self::One(data) => std::slice::from_mut(data),
            Self::Many(pieces) => pieces,
        }
    }

    fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(data) => std::slice::from_ref(data),
            Self::Many(pieces) => pieces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let pieces = ["abc", "", "de"].map(Bytes::from).to_vec();
        Frame::new(FrameId::FIRST, Pieces::Many(pieces))
    }

    #[test]
    fn reading_by_pieces_gives_what_joining_gives() {
        for step in 1..=5 {
            let (mut frame, mut read) = (frame(), Vec::new());
            while frame.has_remaining() {
                let length = frame.chunk().len().min(step);
                read.extend_from_slice(&frame.chunk()[..length]);
                frame.advance(length);
            }
            assert_eq!(read, b"abcde");
        }
    }

    #[test]
    fn slices_are_of_what_is_not_read_yet() {
        let mut frame = frame();
        frame.advance(2);
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = frame.chunks_vectored(&mut slices);
        let joined: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(joined, b"cde");
    }
}
