//! A scripted session: what the case says in it, and what the subject has said so far.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::case::{Mode, Stop, failed};
use crate::script::{Channel, Peer};
use crate::wire::{Message, Segment, Wire};

/// One end of a session with the subject.
#[derive(Debug)]
pub struct Session<'a> {
    /// The address that it is spoken from.
    pub peer: &'a Peer<'a>,
    channel: Channel,
    id: Vec<u8>,
    mode: Mode,
    /// Whether whole frames are acknowledged as they come, as a good peer does. On by default.
    pub acknowledges: bool,
    next_frame: u32,
    /// What a good peer would have received by now, were all of it sent back.
    said: Vec<u8>,
    /// The segments that make that up.
    cut: BTreeMap<(u32, u8), Message>,
    /// Segments said of each frame, for what may be acknowledged.
    spoken: BTreeMap<u32, Spoken>,
    /// What the subject has said.
    pub heard: Heard,
}

#[derive(Debug, Default)]
struct Spoken {
    count: u8,
    segments: BTreeSet<u8>,
}

/// Everything that the subject has said in a session.
#[derive(Debug, Default)]
pub struct Heard {
    /// Each message, and when it came.
    pub log: Vec<(Instant, Message)>,
    /// The subject's frames, whole or not.
    pub frames: BTreeMap<u32, Frame>,
    /// Frames of ours that it has acknowledged, and how often.
    pub acknowledged: BTreeMap<u32, usize>,
}

/// A frame of the subject.
#[derive(Clone, Debug)]
pub struct Frame {
    /// How many segments it has.
    pub count: u8,
    /// Whether it ends the subject's direction.
    pub terminating: bool,
    /// Those that came, and how often.
    pub segments: BTreeMap<u8, (Vec<u8>, usize)>,
}

impl Frame {
    /// Whether all of it came.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.segments.len() == usize::from(self.count)
    }

    /// What came of it.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        self.segments.values().flat_map(|(data, _)| data.clone()).collect()
    }

    /// How often segments of it came, all together.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.segments.values().map(|&(_, times)| times).sum()
    }
}

/// A good peer that hears nothing for this long says again what is not acknowledged.
const REPETITION: Duration = Duration::from_millis(500);
/// Segments that a good peer says again at once: as many as the buffer of any socket holds.
const BURST: usize = 64;

impl<'a> Session<'a> {
    pub(crate) fn new(peer: &'a Peer<'a>, channel: Channel, id: Vec<u8>, mode: Mode) -> Self {
        Self {
            peer,
            channel,
            id,
            mode,
            acknowledges: mode == Mode::Reliable,
            next_frame: 1,
            said: Vec::new(),
            cut: BTreeMap::new(),
            spoken: BTreeMap::new(),
            heard: Heard::default(),
        }
    }

    /// The session's id, one CBOR item; empty without a handshake.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// The channel that its messages go over.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// What is spoken in it.
    #[must_use]
    pub fn wire(&self) -> &'a Wire {
        &self.peer.script.subject.wire
    }

    /// Shows life in the handshake's channel, if there was a handshake.
    ///
    /// # Errors
    /// As [`Peer::say`].
    pub fn keep_alive(&self) -> Result<(), Stop> {
        if self.id.is_empty() {
            return Ok(());
        }
        let session_id = self.id.clone();
        let message = Message::KeepAlive { flags: 0, additional_data: 0, session_id };
        self.peer.say(Channel::Start, &self.peer.encode(&message))
    }

    /// Sends bytes that need not be a message.
    ///
    /// # Errors
    /// As [`Peer::say`].
    pub fn say_bytes(&self, message: &[u8]) -> Result<(), Stop> {
        self.peer.say(self.channel, message)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// As [`Peer::say`].
    pub fn say(&mut self, message: &Message) -> Result<(), Stop> {
        self.say_as(&self.peer.encode(message), std::slice::from_ref(message))
    }

    /// Sends bytes that stand for these messages, however they are written.
    ///
    /// # Errors
    /// As [`Peer::say`].
    pub fn say_as(&mut self, bytes: &[u8], meaning: &[Message]) -> Result<(), Stop> {
        for message in meaning {
            if let Message::Segment(segment) = message {
                let spoken = self.spoken.entry(segment.frame).or_default();
                spoken.count = segment.count;
                spoken.segments.insert(segment.index);
            }
        }
        self.say_bytes(bytes)
    }

    /// Acknowledges frames, which ascend.
    ///
    /// # Errors
    /// As [`Peer::say`].
    pub fn acknowledge(&mut self, frames: &[u32]) -> Result<(), Stop> {
        self.say(&Message::Acknowledgement(frames.to_vec()))
    }

    /// Asks for segments of a frame again; bit N is segment N.
    ///
    /// # Errors
    /// As [`Peer::say`].
    pub fn request(&mut self, frame: u32, missing: u8) -> Result<(), Stop> {
        self.say(&Message::Request(vec![(frame, missing)]))
    }

    /// The segments that `data` makes as the next frame, cut in pieces of `size` bytes. Whoever takes them
    /// has them all sent sooner or later: their data is among what is expected back.
    pub fn cut(&mut self, data: &[u8], size: usize) -> Vec<Message> {
        self.said.extend_from_slice(data);
        let frame = self.next_frame;
        self.next_frame += 1;
        let messages = segments(frame, data, size);
        self.cut.extend((0..).map(|index| (frame, index)).zip(messages.iter().cloned()));
        messages
    }

    /// Sends `data` as the next frame, in as few segments as it takes.
    ///
    /// # Errors
    /// As [`Peer::say`].
    pub fn send(&mut self, data: &[u8]) -> Result<u32, Stop> {
        for segment in self.cut(data, self.wire().segment_data()) {
            self.say(&segment)?;
        }
        Ok(self.next_frame - 1)
    }

    /// Ends our direction with a terminating segment, and returns its frame.
    ///
    /// # Errors
    /// As [`Peer::say`].
    pub fn finish(&mut self) -> Result<u32, Stop> {
        let frame = self.next_frame;
        self.next_frame += 1;
        self.say(&terminating(frame))?;
        Ok(frame)
    }

    /// The frame that the next [`send`](Self::send) makes.
    #[must_use]
    pub fn next_frame(&self) -> u32 {
        self.next_frame
    }

    /// Takes the next message of the subject, and acknowledges a frame that it makes whole; `None` when
    /// there is none until `deadline`.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the message contradicts an earlier one, or what we have said.
    pub fn hear(&mut self, deadline: Instant) -> Result<Option<Message>, Stop> {
        let Some(message) = self.peer.hear(self.channel, deadline)? else { return Ok(None) };
        match &message {
            Message::Segment(segment) => {
                self.heard.take(segment)?;
                let whole = self.heard.frames.get(&segment.frame).is_some_and(Frame::is_whole);
                if self.acknowledges && whole {
                    self.acknowledge(&[segment.frame])?;
                }
            }
            Message::Acknowledgement(frames) => {
                for &frame in frames {
                    self.check_acknowledged(frame)?;
                    *self.heard.acknowledged.entry(frame).or_default() += 1;
                }
            }
            Message::Request(entries) => {
                for &(frame, _) in entries {
                    if frame >= self.next_frame {
                        return failed(format!("a request for frame {frame}, which is to come"));
                    }
                }
            }
            _ => {}
        }
        if self.mode == Mode::Unreliable && !matches!(message, Message::Segment(_)) {
            return failed(format!("in an unreliable session: {message}"));
        }
        self.heard.log.push((Instant::now(), message.clone()));
        Ok(Some(message))
    }

    /// Listens until `happened`, for no longer than the subject's patience.
    ///
    /// # Errors
    /// [`Stop::Failed`] when it does not happen.
    pub fn until(&mut self, what: &str, happened: impl Fn(&Heard) -> bool) -> Result<(), Stop> {
        self.until_within(self.peer.script.subject.times.patience, what, happened)
    }

    /// Listens until `happened`, for no longer than `patience`.
    ///
    /// # Errors
    /// [`Stop::Failed`] when it does not happen.
    pub fn until_within(
        &mut self,
        patience: Duration,
        what: &str,
        happened: impl Fn(&Heard) -> bool,
    ) -> Result<(), Stop> {
        let deadline = Instant::now() + patience;
        while !happened(&self.heard) {
            if self.hear(deadline)?.is_none() && !happened(&self.heard) {
                return failed(format!("{what}: not within {patience:?}"));
            }
        }
        Ok(())
    }

    /// Listens for this long, whatever comes.
    ///
    /// # Errors
    /// As [`hear`](Self::hear).
    pub fn listen(&mut self, time: Duration) -> Result<(), Stop> {
        let deadline = Instant::now() + time;
        while self.hear(deadline)?.is_some() {}
        Ok(())
    }

    /// Listens until everything that was said has come back, and nothing else. What was lost on the way to
    /// the subject, or was not sent yet, is sent again as a good peer does.
    ///
    /// # Errors
    /// [`Stop::Failed`] when something else comes, or not all.
    pub fn echoed(&mut self) -> Result<(), Stop> {
        self.echoed_within(self.peer.script.subject.times.patience)
    }

    /// The same where much may have been lost on its way back, which the subject repairs in its own time.
    ///
    /// # Errors
    /// As [`echoed`](Self::echoed).
    pub fn echoed_within(&mut self, patience: Duration) -> Result<(), Stop> {
        self.hear_echo(true, patience)
    }

    /// The same where saying anything again would help a subject that has not understood it.
    ///
    /// # Errors
    /// As [`echoed`](Self::echoed).
    pub fn echoed_unrepeated(&mut self) -> Result<(), Stop> {
        self.hear_echo(false, self.peer.script.subject.times.patience)
    }

    fn hear_echo(&mut self, repeats: bool, patience: Duration) -> Result<(), Stop> {
        let deadline = Instant::now() + patience;
        while self.heard.stream_len() < self.said.len() {
            match self.hear(deadline.min(Instant::now() + REPETITION))? {
                Some(Message::Request(entries)) if repeats => self.answer(&entries)?,
                Some(_) => {}
                None if Instant::now() >= deadline => break,
                None if repeats => self.repeat()?,
                None => {}
            }
        }
        let (said, stream) = (&self.said, self.heard.stream());
        let same = said.iter().zip(&stream).take_while(|(said, heard)| said == heard).count();
        if same < stream.len() {
            return failed(format!("byte {same} of what comes back is not what was said"));
        }
        if same < said.len() {
            return failed(format!("{same} of {} bytes come back within {patience:?}", said.len()));
        }
        Ok(())
    }

    /// Sends what a request names.
    fn answer(&self, entries: &[(u32, u8)]) -> Result<(), Stop> {
        for &(frame, missing) in entries {
            let named = self.cut.range((frame, 0)..(frame, 8));
            for (_, message) in named.filter(|((_, index), _)| missing & (1 << index) != 0) {
                self.say_bytes(&self.peer.encode(message))?;
            }
        }
        Ok(())
    }

    /// Sends frames that are not acknowledged, and asks for what is known to be missing.
    fn repeat(&self) -> Result<(), Stop> {
        if self.mode == Mode::Unreliable {
            return Ok(());
        }
        let acknowledged = &self.heard.acknowledged;
        let overdue = self.cut.iter().filter(|((id, _), _)| !acknowledged.contains_key(id));
        for (_, message) in overdue.take(BURST) {
            self.say_bytes(&self.peer.encode(message))?;
        }
        let missing = self.heard.missing();
        let most = self.wire().max_payload() / 5;
        for entries in missing.chunks(most).filter(|_| self.acknowledges) {
            self.say_bytes(&self.peer.encode(&Message::Request(entries.to_vec())))?;
        }
        Ok(())
    }

    /// Sends a frame and waits until everything that was said has come back. Whatever was sent before it
    /// has had its effect by then.
    ///
    /// # Errors
    /// [`Stop::Failed`] when it does not come back.
    pub fn echo(&mut self, data: &[u8]) -> Result<(), Stop> {
        self.send(data)?;
        self.echoed()
    }

    /// Ends both directions as well-behaved peers do.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the subject does not acknowledge our end, or does not come to its own.
    pub fn close(&mut self) -> Result<(), Stop> {
        let frame = self.finish()?;
        if self.mode == Mode::Reliable {
            self.until("our terminating frame is acknowledged", |heard| {
                heard.acknowledged.contains_key(&frame)
            })?;
        }
        self.until("the subject finishes, too", |heard| heard.end().is_some())
    }

    /// An acknowledgement is of a frame that was sent whole, or it is a lie.
    fn check_acknowledged(&self, frame: u32) -> Result<(), Stop> {
        let whole = |spoken: &Spoken| spoken.segments.len() >= usize::from(spoken.count);
        if self.spoken.get(&frame).is_some_and(whole) {
            return Ok(());
        }
        failed(format!("acknowledges frame {frame}, which was not sent whole"))
    }
}

impl Heard {
    /// The data of the whole frames from the first on, up to what is missing yet. An unreliable session's
    /// is the same as long as nothing was lost.
    #[must_use]
    pub fn stream(&self) -> Vec<u8> {
        self.in_turn().flat_map(Frame::data).collect()
    }

    /// Bytes of [`stream`](Self::stream).
    #[must_use]
    pub fn stream_len(&self) -> usize {
        self.in_turn().flat_map(|frame| frame.segments.values()).map(|(data, _)| data.len()).sum()
    }

    fn in_turn(&self) -> impl Iterator<Item = &Frame> {
        let numbered = self.frames.iter().zip(1..);
        numbered
            .take_while(|((id, frame), expected)| **id == *expected && frame.is_whole())
            .map(|((_, frame), _)| frame)
    }

    /// What a request can name of the frames that did not come whole, though later ones came.
    fn missing(&self) -> Vec<(u32, u8)> {
        let last = self.frames.last_key_value().map_or(0, |(&id, _)| id);
        let bits = |id: u32| match self.frames.get(&id) {
            None => 0xff,
            Some(frame) => {
                let lacks = |index: &u8| !frame.segments.contains_key(index);
                (0..frame.count.min(8)).filter(lacks).fold(0, |bits, index| bits | 1 << index)
            }
        };
        (1..=last).map(|id| (id, bits(id))).filter(|&(_, bits)| bits != 0).collect()
    }

    /// The frame that ends the subject's direction, if it came.
    #[must_use]
    pub fn end(&self) -> Option<u32> {
        self.frames.iter().find(|(_, frame)| frame.terminating).map(|(&id, _)| id)
    }

    /// The requests that came for a frame, in their order, with their times.
    pub fn requests(&self, wanted: u32) -> impl Iterator<Item = (Instant, u8)> + '_ {
        self.log.iter().flat_map(move |(at, message)| {
            let entries = match message {
                Message::Request(entries) => &entries[..],
                _ => &[],
            };
            entries.iter().filter(move |(frame, _)| *frame == wanted).map(|&(_, bits)| (*at, bits))
        })
    }

    fn take(&mut self, segment: &Segment) -> Result<(), Stop> {
        let &Segment { frame: id, index, count, terminating, ref data } = segment;
        let end = self.end();
        let frame = self.frames.entry(id).or_insert_with(|| Frame {
            count,
            terminating,
            segments: BTreeMap::new(),
        });
        if (frame.count, frame.terminating) != (count, terminating) {
            return failed(format!("segments of frame {id} disagree about it"));
        }
        // Another terminating frame is how a session that has gone wrong since is cut off.
        if !terminating && end.is_some_and(|end| id > end) {
            return failed(format!("frame {id} follows the terminating frame"));
        }
        let (first, times) = frame.segments.entry(index).or_insert_with(|| (data.clone(), 0));
        if first != data {
            return failed(format!("segment {index} of frame {id} is another when sent again"));
        }
        *times += 1;
        Ok(())
    }
}

/// A frame's segments, cut in pieces of `size` bytes.
#[must_use]
pub fn segments(frame: u32, data: &[u8], size: usize) -> Vec<Message> {
    let pieces: Vec<&[u8]> =
        if data.is_empty() { vec![&[]] } else { data.chunks(size.max(1)).collect() };
    let count = pieces.len() as u8;
    let segment = |(piece, index): (&[u8], u8)| {
        let data = piece.to_vec();
        Message::Segment(Segment { frame, index, count, terminating: false, data })
    };
    pieces.into_iter().zip(0..).map(segment).collect()
}

/// The segment that ends a direction.
#[must_use]
pub fn terminating(frame: u32) -> Message {
    let (index, count, data) = (0, 1, Vec::new());
    Message::Segment(Segment { frame, index, count, terminating: true, data })
}
