//! Two connections on one core: batches go from one to the other as segmentation offload would carry them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_data::{Config, Connection, Mode};
use towline_wire::{Dialect, Mtu};

/// Datagrams handed over at once.
const BATCH: usize = 64;
/// What a turn takes on the connections' clock.
const TURN: Duration = Duration::from_micros(10);

/// A sender, a receiver, and the memory between them.
pub(crate) struct Pipe {
    now: Instant,
    sender: Connection,
    receiver: Connection,
    frame: Bytes,
    buffers: Buffers,
}

/// Memory that is used again as soon as nobody holds it any more, as a transport does.
#[derive(Default)]
struct Buffers {
    lent: VecDeque<Bytes>,
}

impl Pipe {
    pub(crate) fn new(mode: Mode, mtu: usize) -> Self {
        let mtu = Mtu::new(mtu).expect("a valid MTU");
        let frame_size = (mtu.get() - 10) * 8;
        let config = Config::builder(Dialect::Rfc0007, mtu)
            .mode(mode)
            .frame_size(frame_size)
            .initial_rtt(Duration::from_micros(50))
            .build()
            .expect("valid settings");
        let config = Arc::new(config);
        #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
        let now = Instant::now();
        Self {
            now,
            sender: Connection::new(config.clone(), now),
            receiver: Connection::new(config, now),
            frame: vec![0xa5; frame_size].into(),
            buffers: Buffers::default(),
        }
    }

    /// Carries that many frames from one end to the other and returns the bytes that arrived.
    pub(crate) fn carry(&mut self, frames: usize) -> usize {
        let (mut queued, mut taken, mut bytes) = (0, 0, 0);
        while taken < frames {
            while queued < frames && self.sender.send_frame(self.now, self.frame.clone()).is_ok() {
                queued += 1;
            }
            exchange(&mut self.sender, &mut self.receiver, self.now, &mut self.buffers);
            while let Some(frame) = self.receiver.recv_frame() {
                taken += 1;
                bytes += frame.len();
            }
            self.now += TURN;
            self.receiver.handle_timeout(self.now);
            exchange(&mut self.receiver, &mut self.sender, self.now, &mut self.buffers);
            self.now += TURN;
            self.sender.handle_timeout(self.now);
        }
        bytes
    }
}

/// Hands over a batch.
fn exchange(from: &mut Connection, to: &mut Connection, now: Instant, buffers: &mut Buffers) {
    let mut buffer = buffers.take();
    if let Some(transmit) = from.poll_transmit(now, BATCH, &mut buffer) {
        let mut run = buffers.lend(buffer);
        while !run.is_empty() {
            let datagram = run.split_to(run.len().min(transmit.segment_size));
            to.handle_datagram(now, datagram).expect("a datagram of our own");
        }
    } else {
        buffers.lend(buffer);
    }
}

impl Buffers {
    fn take(&mut self) -> Vec<u8> {
        let free = self.lent.iter().rposition(Bytes::is_unique);
        let free = free.and_then(|at| self.lent.remove(at)).and_then(|run| run.try_into_mut().ok());
        free.map_or_else(
            || Vec::with_capacity(64 << 10),
            |mut run| {
                run.clear();
                run.into()
            },
        )
    }

    fn lend(&mut self, buffer: Vec<u8>) -> Bytes {
        let run = Bytes::from(buffer);
        self.lent.push_back(run.clone());
        run
    }
}
