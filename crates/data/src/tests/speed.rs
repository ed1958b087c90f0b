//! What the congestion control reaches on emulated paths, in virtual time: a table with floors, so that
//! an algorithm that is slower, greedier or less fair fails and shows by how much. The table is kept in
//! `speed.txt`, and the first round trips in `start.txt`, so that every change of them shows in review;
//! `SPEED_TABLE=write` writes them anew. `cargo xtask bench plots` draws what stands there.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_netsim::{Link, LinkConfig, Loss};
use towline_wire::{Dialect, Mtu};

use super::loss_based::LossBased;
use crate::{Config, Connection};

const MTU: usize = 1000;
/// What chance decides is the mean of these.
const SEEDS: [u64; 4] = [7, 8, 9, 10];
/// Round trips of a start that are kept.
const ROUND_TRIPS: usize = 30;
const MBIT: u64 = 1_000_000 / 8;
const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
enum Control {
    Default,
    Reno,
    Cubic,
}

impl Control {
    fn over(self, connection: Connection) -> Connection {
        match self {
            Self::Default => connection,
            Self::Reno => connection.controlled_by(LossBased::reno(MTU)),
            Self::Cubic => connection.controlled_by(LossBased::cubic(MTU)),
        }
    }
}

/// A path, the sessions on it, and what is the least that they have to reach.
struct Scenario {
    name: String,
    /// Of the bottleneck, bytes per second; `None` has no bottleneck.
    rate: Option<u64>,
    rtt: Duration,
    /// Of the forward direction, in bandwidth-delay products.
    queue: f64,
    loss: Loss,
    loss_share: f64,
    /// Of the datagrams, the share that is held back by a quarter of the round trip, both ways.
    reordered: f64,
    /// Who decides how much may leave, in the first session and in the others.
    control: [Control; 2],
    /// For how long there is only a small message every 100 ms, before it is bulk.
    chat: Duration,
    /// When each session starts.
    starts: Vec<Duration>,
    time: Duration,
    /// The time from which on shares are compared.
    settled: Duration,
    floors: Floors,
}

#[derive(Clone, Copy, Debug)]
struct Floors {
    /// Of what the path can carry, the share that arrives, once.
    goodput: f64,
    /// At most this is sent for a byte to arrive, over what loss makes necessary.
    offered: f64,
    /// Round trips until nine tenths of the rate are used.
    start: f64,
    /// Of the round trip, the 95th percentile of what the queue adds.
    queue: f64,
    /// Jain's index of the sessions' shares.
    fairness: f64,
    /// What the first session gets at most, in equal shares.
    share: f64,
    /// Bytes per second that arrive, once.
    rate: f64,
    /// At most this is sent back for a byte that arrives.
    back: f64,
    /// Of the segments that arrive, at most this share has arrived before.
    twice: f64,
}

/// No floor at all.
const ANY: Floors = Floors {
    goodput: 0.0,
    offered: f64::MAX,
    start: f64::INFINITY,
    queue: f64::MAX,
    fairness: 0.0,
    share: f64::MAX,
    rate: 0.0,
    back: f64::MAX,
    twice: f64::MAX,
};

struct Reached {
    goodput: f64,
    worst: f64,
    offered: f64,
    start: f64,
    queue: f64,
    fairness: f64,
    share: f64,
    /// Bytes per second that arrived, once.
    rate: f64,
    back: f64,
    twice: f64,
    dropped: u64,
    timeouts: u64,
    /// In each of the first round trips, the share of what the path can carry that arrives.
    round_trips: Vec<f64>,
}

impl Reached {
    fn meets(&self, floors: &Floors) -> bool {
        self.goodput >= floors.goodput
            && self.offered <= floors.offered
            && self.start <= floors.start
            && self.queue <= floors.queue
            && self.fairness >= floors.fairness
            && self.share <= floors.share
            && self.back <= floors.back
            && self.twice <= floors.twice
            && self.rate >= floors.rate
    }
}

struct Flow {
    start: Instant,
    sender: Connection,
    receiver: Connection,
    received: u64,
    received_settled: u64,
}

type Datagram = (usize, Bytes);

impl Scenario {
    /// 100 Mbit/s, 40 ms, a queue of one bandwidth-delay product, one session for eight seconds.
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            rate: Some(100 * MBIT),
            rtt: 40 * MS,
            queue: 1.0,
            loss: Loss::None,
            loss_share: 0.0,
            reordered: 0.0,
            control: [Control::Default; 2],
            chat: Duration::ZERO,
            starts: vec![Duration::ZERO],
            time: Duration::from_secs(8),
            settled: Duration::ZERO,
            floors: ANY,
        }
    }

    fn random_loss(share: f64) -> Self {
        Self::new(&format!("{} % loss", share * 100.0)).losing(share)
    }

    fn losing(self, share: f64) -> Self {
        let loss = if share > 0.0 { Loss::Random(share) } else { Loss::None };
        Self { loss, loss_share: share, ..self }
    }

    /// Another rate in Mbit/s, and another round trip in milliseconds.
    fn path(rate: u64, rtt: u32) -> Self {
        let name = if rate < 1000 {
            format!("{rate} Mbit/s, {rtt} ms")
        } else {
            format!("{} Gbit/s, {rtt} ms", rate / 1000)
        };
        Self { rate: Some(rate * MBIT), rtt: rtt * MS, ..Self::new(&name) }
    }

    /// What is reached on the mean, and the least goodput of all.
    fn run(&self) -> Reached {
        let seeds = if self.loss_share > 0.0 { &SEEDS[..] } else { &SEEDS[..1] };
        let all: Vec<Reached> = seeds.iter().map(|&seed| self.run_once(seed)).collect();
        let mean = |of: fn(&Reached) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        Reached {
            goodput: mean(|one| one.goodput),
            worst: all.iter().map(|one| one.goodput).fold(f64::MAX, f64::min),
            offered: mean(|one| one.offered),
            start: mean(|one| one.start),
            queue: mean(|one| one.queue),
            fairness: mean(|one| one.fairness),
            share: mean(|one| one.share),
            rate: mean(|one| one.rate),
            back: mean(|one| one.back),
            twice: mean(|one| one.twice),
            dropped: all.iter().map(|one| one.dropped).sum(),
            timeouts: all.iter().map(|one| one.timeouts).sum(),
            round_trips: (0..all[0].round_trips.len())
                .map(|at| all.iter().map(|one| one.round_trips[at]).sum::<f64>() / all.len() as f64)
                .collect(),
        }
    }

    fn run_once(&self, seed: u64) -> Reached {
        let config = Config::builder(Dialect::Rfc0007, Mtu::new(MTU).unwrap()).build().unwrap();
        let config = Arc::new(config);
        let mut link = LinkConfig::default()
            .with_delay(self.rtt / 2)
            .with_loss(self.loss)
            .with_reorder(self.reordered, self.rtt / 4);
        if let Some(rate) = self.rate {
            let product = rate as f64 * self.rtt.as_secs_f64();
            link = link.with_rate(rate, ((product * self.queue) as usize).max(16 * MTU));
        }
        let mut forward: Link<Datagram> = Link::new(link.clone(), seed).unwrap();
        let mut backward: Link<Datagram> = Link::new(link, seed ^ 0x5eed).unwrap();

        let began = super::epoch();
        let mut now = began;
        let mut flows: Vec<Flow> = self
            .starts
            .iter()
            .enumerate()
            .map(|(index, &start)| Flow {
                start: began + start,
                sender: self.control[index.min(1)]
                    .over(Connection::new(config.clone(), began + start)),
                receiver: Connection::new(config.clone(), began + start),
                received: 0,
                received_settled: 0,
            })
            .collect();
        let frame = Bytes::from(vec![7; config.frame_size()]);
        let sample_time = (self.rtt / 20).max(MS / 10);
        let mut sample_at = began;
        let mut queues = Vec::new();
        let mut slot = (began + self.chat + self.rtt, 0);
        let mut chat_at = began;
        let full = self.rate.unwrap_or(0) as f64 * self.rtt.as_secs_f64() * (1.0 - self.loss_share);
        let mut round_trips = Vec::new();
        let mut filled = None;
        let mut buf = Vec::new();
        let end = began + self.chat + self.time;
        while now < end {
            for (index, flow) in flows.iter_mut().enumerate() {
                if now < flow.start {
                    continue;
                }
                if now < began + self.chat {
                    if now >= chat_at {
                        flow.sender.send_frame(now, frame.slice(..100)).unwrap();
                        chat_at = now + 100 * MS;
                    }
                } else {
                    while flow.sender.send_frame(now, frame.clone()).is_ok() {}
                }
                while let Some(frame) = flow.receiver.recv_frame() {
                    flow.received += frame.len() as u64;
                    if now >= began + self.settled {
                        flow.received_settled += frame.len() as u64;
                    }
                }
                for (connection, link) in
                    [(&mut flow.sender, &mut forward), (&mut flow.receiver, &mut backward)]
                {
                    while let Some(transmit) = connection.poll_transmit(now, 16, &mut buf) {
                        let run = Bytes::from(std::mem::take(&mut buf));
                        for start in (0..run.len()).step_by(transmit.segment_size) {
                            let end = run.len().min(start + transmit.segment_size);
                            link.send(now, (index, run.slice(start..end)));
                        }
                    }
                    while connection.poll_event().is_some() {}
                }
            }
            let timeouts = flows.iter().flat_map(|flow| {
                let waits = (now < flow.start).then_some(flow.start);
                [waits, flow.sender.poll_timeout(), flow.receiver.poll_timeout()]
            });
            let next = timeouts
                .chain([
                    forward.poll_timeout(),
                    backward.poll_timeout(),
                    Some(sample_at),
                    Some(slot.0),
                ])
                .flatten()
                .min();
            now = now.max(next.unwrap());
            while let Some((index, datagram)) = forward.recv(now) {
                flows[index].receiver.handle_datagram(now, datagram).unwrap();
            }
            while let Some((index, datagram)) = backward.recv(now) {
                flows[index].sender.handle_datagram(now, datagram).unwrap();
            }
            for flow in &mut flows {
                flow.sender.handle_timeout(now);
                flow.receiver.handle_timeout(now);
            }
            if now >= sample_at {
                sample_at += sample_time;
                queues.push(forward.stats().queue_bytes);
            }
            if now >= slot.0 {
                let arrived = forward.stats().delivered_bytes;
                let share = (arrived - slot.1) as f64 / full;
                if filled.is_none() && share >= 0.9 {
                    filled = Some(now - began - self.chat);
                }
                if round_trips.len() < ROUND_TRIPS {
                    round_trips.push(share);
                }
                slot = (slot.0 + self.rtt, arrived);
            }
        }

        queues.sort_unstable();
        let received: u64 = flows.iter().map(|flow| flow.received).sum();
        let rate = received as f64 / self.time.as_secs_f64();
        let codec = config.codec();
        let payload = codec.max_segment_data() as f64 / codec.max_message_len() as f64;
        let possible = self.rate.map_or(f64::MAX, |rate| rate as f64) * payload;
        let sent: u64 = flows.iter().map(|flow| flow.sender.stats().bytes_sent).sum();
        let shares = flows.iter().map(|flow| flow.received_settled as f64);
        let back: u64 = flows.iter().map(|flow| flow.receiver.stats().bytes_sent).sum();
        let arrived = flows.iter().map(|flow| flow.receiver.stats());
        let (once, again) = arrived.fold((0, 0), |(once, again), stats| {
            (once + stats.segments_received, again + stats.segments_duplicate)
        });
        let first = shares.clone().next().unwrap();
        let squares: f64 = shares.clone().map(|share| share * share).sum();
        let queue = queues[queues.len() * 95 / 100] as f64
            / self.rate.map_or(f64::MAX, |rate| rate as f64 * self.rtt.as_secs_f64());
        Reached {
            goodput: rate / possible / (1.0 - self.loss_share),
            worst: rate / possible / (1.0 - self.loss_share),
            offered: sent as f64 * payload * (1.0 - self.loss_share) / received as f64,
            start: filled.map_or(f64::INFINITY, |time| time.as_secs_f64() / self.rtt.as_secs_f64()),
            queue,
            fairness: shares.clone().sum::<f64>().powi(2) / squares / flows.len() as f64,
            share: first * flows.len() as f64 / shares.sum::<f64>(),
            rate,
            back: back as f64 / received as f64,
            twice: again as f64 / (once + again) as f64,
            dropped: forward.stats().queue_dropped,
            timeouts: flows.iter().map(|flow| flow.sender.stats().timeouts).sum(),
            round_trips,
        }
    }
}

fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (share, goodput, start) in [
        (0.0, 0.96, 9.0),
        (0.001, 0.96, 9.0),
        (0.01, 0.95, 9.0),
        (0.03, 0.95, 11.0),
        (0.05, 0.93, 11.0),
        (0.1, 0.9, 12.0),
        (0.2, 0.79, 16.0),
    ] {
        let floors =
            Floors { goodput, offered: 1.1, start, queue: 0.35, fairness: 0.99, back: 0.01, ..ANY };
        all.push(Scenario { floors, ..Scenario::random_loss(share) });
    }
    let bulk =
        Floors { goodput: 0.94, offered: 1.05, start: 12.0, queue: 0.27, fairness: 0.99, ..ANY };
    all.push(Scenario {
        loss: Loss::bursts(0.03, 8.0).unwrap(),
        loss_share: 0.03,
        floors: Floors { goodput: 0.9, ..bulk },
        ..Scenario::new("3 % in bursts")
    });
    for (share, goodput, twice) in [(0.01, 0.94, 0.01), (0.1, 0.9, 0.01)] {
        all.push(Scenario {
            reordered: share,
            floors: Floors { goodput, twice, ..ANY },
            ..Scenario::new(&format!("{} % reordered", share * 100.0))
        });
    }
    all.push(Scenario { queue: 5.0, floors: bulk, ..Scenario::new("deep queue") });
    all.push(Scenario { queue: 0.25, floors: bulk, ..Scenario::new("short queue") });
    let shortest = Floors { goodput: 0.9, ..bulk };
    all.push(Scenario { queue: 0.1, floors: shortest, ..Scenario::new("shortest queue") });
    all.push(Scenario {
        name: "short queue, 5 %".into(),
        queue: 0.25,
        floors: Floors { goodput: 0.8, start: 24.0, ..bulk },
        ..Scenario::random_loss(0.05)
    });
    all.push(Scenario { chat: 2000 * MS, floors: bulk, ..Scenario::new("bulk after chat") });
    for (name, flows, stagger, fairness) in [
        ("2 sessions", 2, 0, 0.97),
        ("2 sessions, 1 s apart", 2, 1000, 0.95),
        ("10 sessions", 10, 0, 0.95),
        ("10, 0.1 s apart", 10, 100, 0.9),
    ] {
        all.push(Scenario {
            starts: (0..flows).map(|n| n * stagger * MS).collect(),
            time: Duration::from_secs(10),
            settled: Duration::from_secs(5),
            floors: Floors { goodput: 0.95, queue: 0.9, fairness, ..bulk },
            ..Scenario::new(name)
        });
    }
    for queue in [1.0, 5.0] {
        all.push(Scenario {
            queue,
            control: [Control::Default, Control::Reno],
            starts: vec![Duration::ZERO; 2],
            time: Duration::from_secs(20),
            settled: Duration::from_secs(5),
            floors: Floors { share: 4.0 / 3.0, ..ANY },
            ..Scenario::new(&format!("beside Reno, queue of {queue}"))
        });
    }
    for (name, control) in [("Reno", Control::Reno), ("CUBIC", Control::Cubic)] {
        for share in [0.0, 0.001, 0.01, 0.03] {
            let path = Scenario::random_loss(share);
            let name = format!("{name}, {}", path.name);
            all.push(Scenario { name, control: [control; 2], floors: ANY, ..path });
        }
    }
    for (mbit, rtt, goodput, offered) in [
        (1, 1, 0.93, 1.5),
        (1, 5, 0.9, 1.5),
        (1, 20, 0.9, 1.5),
        (1, 40, 0.9, 1.35),
        (1, 100, 0.85, 1.6),
        (1, 300, 0.75, 1.3),
        (10, 5, 0.9, 1.15),
        (10, 20, 0.9, 1.15),
        (10, 40, 0.95, 1.15),
        (10, 100, 0.9, 1.15),
        (10, 300, 0.75, 1.15),
        (30, 300, 0.6, 1.05),
        (100, 1, 0.88, 1.2),
        (100, 5, 0.9, 1.1),
        (100, 20, 0.93, 1.05),
        (100, 100, 0.85, 1.05),
        // From here on it is what 255 frames of eight segments allow, less the time it takes to get there.
        (100, 300, 0.3, 1.05),
        (1000, 1, 0.92, 1.15),
        (1000, 5, 0.9, 1.1),
        (1000, 10, 0.9, 1.05),
        (1000, 20, 0.6, 1.05),
        (1000, 40, 0.3, 1.05),
        (1000, 100, 0.1, 1.05),
        (1000, 300, 0.03, 1.05),
    ] {
        let floors = Floors { goodput, offered, ..ANY };
        // The fastest paths need no eight seconds to settle.
        let time = if mbit == 1000 && rtt < 100 { 1500 * MS } else { 8000 * MS };
        let path = Scenario::path(mbit, rtt);
        all.push(Scenario { time, floors, ..path });
    }
    for rtt in [5, 20, 100, 300] {
        let path = Scenario::path(100, rtt);
        let name = format!("{}, 1 %", path.name);
        all.push(Scenario { name, floors: ANY, ..path.losing(0.01) });
    }
    all.push(Scenario {
        rate: None,
        rtt: Duration::from_micros(50),
        // The rate doubles every two milliseconds, up to the window over the round trip: 40 GB/s.
        time: 40 * MS,
        floors: Floors { rate: 5e9, ..ANY },
        ..Scenario::new("memory")
    });
    all
}

//= docs/spec/data.md#send-window
//= type=test
//# In reliable mode a sender MUST limit the bytes that it has under way to what the path carries.
#[test]
fn sessions_are_fast_and_fair_and_leave_queues_short() {
    let mut table = format!(
        "seeds {SEEDS:?}\n{:24} {:>9} {:>8} {:>6} {:>8} {:>7} {:>8} {:>6} {:>6} {:>6} {:>6} {:>7} {:>8}\n",
        "",
        "MB/s",
        "goodput",
        "worst",
        "offered",
        "start",
        "queue",
        "fair",
        "share",
        "back",
        "twice",
        "dropped",
        "timeouts",
    );
    let mut starts = format!(
        "share of what the path can carry that arrives in each round trip, seeds {SEEDS:?}\n{:24}",
        ""
    );
    for round_trip in 1..=ROUND_TRIPS {
        write!(starts, " {round_trip:>4}").unwrap();
    }
    starts.push('\n');
    let mut failed = false;
    for scenario in scenarios() {
        let reached = scenario.run();
        if scenario.name.ends_with("% loss") {
            write!(starts, "{:24}", scenario.name).unwrap();
            for share in &reached.round_trips {
                write!(starts, " {share:4.2}").unwrap();
            }
            starts.push('\n');
        }
        let ok = reached.meets(&scenario.floors);
        failed |= !ok;
        let Reached { goodput, worst, offered, start, queue, fairness, share, back, twice, .. } =
            reached;
        writeln!(
            table,
            "{:24} {:9.2} {goodput:8.3} {worst:6.3} {offered:8.3} {start:7.1} {queue:8.3} \
             {fairness:6.3} {share:6.3} {back:6.4} {twice:6.4} {:7} {:8}{}",
            scenario.name,
            reached.rate / 1e6,
            reached.dropped,
            reached.timeouts,
            if ok { String::new() } else { format!("  below {:?}", scenario.floors) },
        )
        .unwrap();
    }
    assert!(!failed, "{table}");
    compare_with_kept(&table, "speed.txt", include_str!("speed.txt"));
    compare_with_kept(&starts, "start.txt", include_str!("start.txt"));
}

/// Fails unless `table` is the one that is `kept` in `file`, or is to be kept from now on.
pub(super) fn compare_with_kept(table: &str, file: &str, kept: &str) {
    if std::env::var_os("SPEED_TABLE").is_some_and(|what| what == "write") {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/");
        std::fs::write(format!("{folder}{file}"), table).unwrap();
    } else {
        assert!(table == kept, "run with SPEED_TABLE=write if that is meant:\n{kept}\n{table}");
    }
}
