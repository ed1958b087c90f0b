//! A log of everything that happens.

use std::fmt::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use towline_wire::data::{Codec, Message};
use towline_wire::{Tag, split_tag, start};

/// Where lines go, if anywhere.
pub(super) struct Trace<'a> {
    log: Option<Log<'a>>,
}

type Log<'a> = Box<dyn FnMut(Duration, &str) + 'a>;

impl<'a> Trace<'a> {
    pub(super) fn none() -> Self {
        Self { log: None }
    }

    pub(super) fn to(log: impl FnMut(Duration, &str) + 'a) -> Self {
        Self { log: Some(Box::new(log)) }
    }

    pub(super) fn line(&mut self, at: Duration, line: fmt::Arguments<'_>) {
        if let Some(log) = &mut self.log {
            log(at, &line.to_string());
        }
    }

    /// A datagram and where it goes.
    pub(super) fn datagram(
        &mut self,
        at: Duration,
        way: fmt::Arguments<'_>,
        codec: &Codec,
        datagram: &Bytes,
    ) {
        if let Some(log) = &mut self.log {
            let mut line = way.to_string();
            // Writing to a string cannot fail.
            let _ = describe(&mut line, codec, datagram);
            log(at, &line);
        }
    }
}

fn describe(line: &mut String, codec: &Codec, datagram: &Bytes) -> fmt::Result {
    let message = match split_tag(datagram.clone()) {
        Ok((Tag::START, message)) => {
            return match start::Message::decode(codec.dialect(), message) {
                Ok(message) => write!(line, " {message:?}"),
                Err(error) => write!(line, " start, {error}"),
            };
        }
        Ok((tag, message)) => {
            write!(line, " [{tag}]")?;
            message
        }
        Err(error) => return write!(line, " {error}"),
    };
    match codec.decode(message) {
        Ok(Message::Segment(segment)) => {
            let header = segment.header;
            let kind = if header.is_terminating() { "end" } else { "segment" };
            let (id, index, count) = (header.frame_id(), header.index(), header.count());
            write!(line, " {kind} {id} {}/{count}, {} bytes", index + 1, segment.data.len())
        }
        Ok(Message::Acknowledgement(message)) => write!(line, " acknowledges {message:?}"),
        Ok(Message::Request(message)) => {
            line.push_str(" requests");
            for entry in message.entries() {
                write!(line, " {}:{:#010b}", entry.frame_id, entry.missing.bits())?;
            }
            Ok(())
        }
        Err(error) => write!(line, " {error}"),
    }
}
