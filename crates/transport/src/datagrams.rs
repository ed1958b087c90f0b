//! Runs of datagrams, as they are sent and as they are received.

use bytes::Bytes;

/// A run of datagrams to one destination.
///
/// `contents` is cut in pieces of `segment_size` bytes, each of which is a datagram; the last may be shorter. Without a
/// segment size, or with one of zero, it is a single datagram. Empty contents are one empty datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'a, A> {
    /// Where the datagrams go.
    pub destination: A,
    /// The datagrams, one behind the other.
    pub contents: &'a [u8],
    /// Size of every datagram but the last, in bytes; `None` is a single datagram.
    pub segment_size: Option<usize>,
}

/// A run of datagrams from one source, cut like a [`Transmit`].
///
/// The contents, and every slice of them, keep the whole receive buffer alive. What is stored for long while most of
/// the buffer is not, should be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<A> {
    /// Where the datagrams come from.
    pub source: A,
    /// The datagrams, one behind the other.
    pub contents: Bytes,
    /// Size of every datagram but the last, in bytes; zero is a single datagram.
    pub segment_size: usize,
}

impl<'a, A> Transmit<'a, A> {
    /// Makes a run of one datagram.
    pub fn datagram(destination: A, contents: &'a [u8]) -> Self {
        Self { destination, contents, segment_size: None }
    }

    /// Returns the size of the largest datagram, in bytes.
    pub fn datagram_size(&self) -> usize {
        datagram_size(self.contents.len(), self.segment_size.unwrap_or(0))
    }

    /// Returns the number of datagrams, at least 1.
    pub fn count(&self) -> usize {
        count(self.contents.len(), self.datagram_size())
    }

    /// Returns the datagrams in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a, A> {
        let empty = self.contents.is_empty().then_some(self.contents);
        empty.into_iter().chain(self.contents.chunks(self.datagram_size().max(1)))
    }
}

impl<A> Received<A> {
    /// Makes a run of one datagram.
    pub fn datagram(source: A, contents: Bytes) -> Self {
        Self { source, segment_size: contents.len(), contents }
    }

    /// Returns the size of the largest datagram, in bytes.
    pub fn datagram_size(&self) -> usize {
        datagram_size(self.contents.len(), self.segment_size)
    }

    /// Returns the number of datagrams, at least 1.
    pub fn count(&self) -> usize {
        count(self.contents.len(), self.datagram_size())
    }

    /// Returns the datagrams in order, as slices of the contents.
    pub fn datagrams(self) -> impl Iterator<Item = Bytes> {
        let datagram_size = self.datagram_size();
        let mut rest = Some(self.contents);
        std::iter::from_fn(move || {
            let contents = rest.as_mut()?;
            if contents.len() > datagram_size {
                Some(contents.split_to(datagram_size))
            } else {
                rest.take()
            }
        })
    }
}

/// The size of the first datagram of a run, which no other exceeds; zero if and only if the run is one empty datagram.
fn datagram_size(len: usize, segment_size: usize) -> usize {
    if segment_size == 0 { len } else { len.min(segment_size) }
}

fn count(len: usize, datagram_size: usize) -> usize {
    if datagram_size == 0 { 1 } else { len.div_ceil(datagram_size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(contents: &[u8], segment_size: Option<usize>) -> Vec<&[u8]> {
        let transmit = Transmit { destination: 0, contents, segment_size };
        let datagrams: Vec<_> = transmit.datagrams().collect();
        assert_eq!(datagrams.len(), transmit.count());
        datagrams
    }

    fn received(contents: &'static [u8], segment_size: usize) -> Vec<Bytes> {
        let run = Received { source: 0, contents: Bytes::from_static(contents), segment_size };
        let count = run.count();
        let datagrams: Vec<_> = run.datagrams().collect();
        assert_eq!(datagrams.len(), count);
        datagrams
    }

    #[test]
    fn runs_are_cut_at_the_segment_size() {
        assert_eq!(sent(b"aabbc", Some(2)), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(sent(b"aabb", Some(2)), [&b"aa"[..], b"bb"]);
        assert_eq!(received(b"aabbc", 2), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(received(b"aabb", 2), [&b"aa"[..], b"bb"]);
    }

    #[test]
    fn runs_without_segments_are_one_datagram() {
        for segment_size in [None, Some(0), Some(3), Some(4)] {
            assert_eq!(sent(b"abc", segment_size), [b"abc"]);
        }
        for segment_size in [0, 3, 4] {
            assert_eq!(received(b"abc", segment_size), [&b"abc"[..]]);
        }
    }

    #[test]
    fn empty_contents_are_one_empty_datagram() {
        assert_eq!(sent(b"", None), [b""]);
        assert_eq!(sent(b"", Some(7)), [b""]);
        assert_eq!(received(b"", 0), [&b""[..]]);
        assert_eq!(received(b"", 7), [&b""[..]]);
    }
}
