//! How long messages take over a path that loses some, in virtual time: a table like that of `speed`, kept in
//! `delay.txt`; `SPEED_TABLE=write` writes it anew.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_netsim::{Link, LinkConfig, Loss};
use towline_wire::{Dialect, Mtu};

use crate::{Config, Connection, Delivery, Mode};

const SEEDS: [u64; 4] = [7, 8, 9, 10];
const MS: Duration = Duration::from_millis(1);
const RTT: Duration = Duration::from_millis(40);
/// A message is one segment.
const MESSAGE: usize = 1000;
const MTU: usize = 1200;
const TIME: Duration = Duration::from_secs(100);
/// Of the messages that arrive, so many are not later.
const PERCENT: [f64; 12] =
    [50.0, 80.0, 90.0, 95.0, 96.0, 97.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.99];

struct Stream {
    name: &'static str,
    mode: Mode,
    delivery: Delivery,
    loss: f64,
    interval: Duration,
    /// The most milliseconds for all but one of a hundred, and all but one of a thousand.
    p99: f64,
    p999: f64,
}

struct Delays {
    /// Milliseconds from the call that sent to the first in which it could be received, in ascending order.
    sorted: Vec<f64>,
    sent: usize,
}

impl Delays {
    fn percentile(&self, percent: f64) -> f64 {
        self.sorted[(self.sorted.len() as f64 * percent / 100.0) as usize]
    }
}

impl Stream {
    fn run(&self) -> Delays {
        let mut delays = Delays { sorted: Vec::new(), sent: 0 };
        for seed in SEEDS {
            self.run_once(seed, &mut delays);
        }
        delays.sorted.sort_by(f64::total_cmp);
        delays
    }

    fn run_once(&self, seed: u64, delays: &mut Delays) {
        let config = Config::builder(Dialect::Rfc0007, Mtu::new(MTU).unwrap())
            .mode(self.mode)
            .delivery(self.delivery)
            .build()
            .unwrap();
        let config = Arc::new(config);
        let loss = if self.loss > 0.0 { Loss::Random(self.loss) } else { Loss::None };
        let link = LinkConfig::default().with_delay(RTT / 2).with_loss(loss);
        let mut forward: Link<Bytes> = Link::new(link.clone(), seed).unwrap();
        let mut backward: Link<Bytes> = Link::new(link, seed ^ 0x5eed).unwrap();
        let began = super::epoch();
        let mut now = began;
        let mut sender = Connection::new(config.clone(), now);
        let mut receiver = Connection::new(config, now);
        let mut sent: Vec<Instant> = Vec::new();
        let message = Bytes::from(vec![7; MESSAGE]);
        let mut buf = Vec::new();
        while now < began + TIME {
            if now >= began + sent.len() as u32 * self.interval {
                sender.send_frame(now, message.clone()).unwrap();
                sent.push(now);
            }
            while let Some(frame) = receiver.recv_frame() {
                let at = sent[frame.id().get() as usize - 1];
                delays.sorted.push((now - at).as_secs_f64() * 1e3);
            }
            for (connection, link) in [(&mut sender, &mut forward), (&mut receiver, &mut backward)]
            {
                while let Some(transmit) = connection.poll_transmit(now, 16, &mut buf) {
                    let run = Bytes::from(std::mem::take(&mut buf));
                    for start in (0..run.len()).step_by(transmit.segment_size) {
                        let end = run.len().min(start + transmit.segment_size);
                        link.send(now, run.slice(start..end));
                    }
                }
                while connection.poll_event().is_some() {}
            }
            let next = began + sent.len() as u32 * self.interval;
            let timeouts = [
                sender.poll_timeout(),
                receiver.poll_timeout(),
                forward.poll_timeout(),
                backward.poll_timeout(),
            ];
            now = now.max(timeouts.into_iter().flatten().chain([next]).min().unwrap());
            while let Some(datagram) = forward.recv(now) {
                receiver.handle_datagram(now, datagram).unwrap();
            }
            while let Some(datagram) = backward.recv(now) {
                sender.handle_datagram(now, datagram).unwrap();
            }
            sender.handle_timeout(now);
            receiver.handle_timeout(now);
        }
        delays.sent += sent.len();
    }
}

fn streams() -> [Stream; 7] {
    let stream = |name, mode, delivery, loss, interval, p99, p999| Stream {
        name,
        mode,
        delivery,
        loss,
        interval,
        p99,
        p999,
    };
    let (reliable, unreliable) = (Mode::Reliable, Mode::Unreliable);
    let (ordered, unordered) = (Delivery::Ordered, Delivery::Unordered);
    [
        stream("reliable", reliable, ordered, 0.0, 10 * MS, 20.1, 20.1),
        stream("reliable, 1 %", reliable, ordered, 0.01, 10 * MS, 85.0, 125.0),
        stream("reliable, 5 %", reliable, ordered, 0.05, 10 * MS, 85.0, 125.0),
        stream("reliable unordered, 5 %", reliable, unordered, 0.05, 10 * MS, 85.0, 125.0),
        // What follows a lost frame waits for a quarter of the round trip, or until enough has overtaken it.
        stream("unreliable, 5 %", unreliable, ordered, 0.05, 10 * MS, 60.0, 60.0),
        stream("the same at 1000/s", unreliable, ordered, 0.05, MS, 60.0, 60.0),
        stream("unreliable unordered, 5 %", unreliable, unordered, 0.05, 10 * MS, 20.1, 20.1),
    ]
}

#[test]
fn messages_arrive_soon_although_some_are_lost() {
    let mut table = format!("milliseconds, seeds {SEEDS:?}\n{:26}", "");
    for percent in PERCENT {
        write!(table, " {:>6}", format!("p{percent}")).unwrap();
    }
    writeln!(table, " {:>6} {:>8}", "most", "arrived").unwrap();
    let mut failed = false;
    for stream in streams() {
        let delays = stream.run();
        let ok = delays.percentile(99.0) <= stream.p99 && delays.percentile(99.9) <= stream.p999;
        failed |= !ok;
        write!(table, "{:26}", stream.name).unwrap();
        for percent in PERCENT {
            write!(table, " {:6.1}", delays.percentile(percent)).unwrap();
        }
        let arrived = delays.sorted.len() as f64 / delays.sent as f64;
        let too_late =
            if ok { String::new() } else { format!("  over {} and {}", stream.p99, stream.p999) };
        writeln!(table, " {:6.1} {arrived:8.4}{too_late}", delays.sorted[delays.sorted.len() - 1])
            .unwrap();
    }
    assert!(!failed, "{table}");
    super::speed::compare_with_kept(&table, "delay.txt", include_str!("delay.txt"));
}
