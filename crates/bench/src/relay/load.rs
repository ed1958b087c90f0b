//! Pairs of a sender and a recipient.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::try_join_all;
use tokio::time::{sleep_until, timeout};
use towline_wire::relay::seed::{Ack, OutboundMessage, Payload};

use super::client::{Client, Person};
use crate::Failure;

/// So long after a message that has arrived, there is no hope for the others.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Load {
    pub(super) pairs: u32,
    /// Messages of a pair that are sent and not delivered.
    pub(super) window: u32,
    /// Messages per second of all pairs, evenly; if there is none, as many as there can be.
    pub(super) rate: Option<u32>,
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// From the moment a message is sent, or was to be sent, to its delivery, in milliseconds.
#[derive(Clone)]
pub(super) struct Times {
    /// Messages per second, delivered and acknowledged.
    pub(super) rate: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Load {
    pub(super) async fn run(&self, relay: SocketAddr) -> Result<Times, Failure> {
        let mut pairs = Vec::new();
        for _ in 0..self.pairs {
            let person = Person::random()?;
            let recipient = Client::log_in(relay, &person).await?;
            let (sender, _) = Client::connect(relay).await?;
            pairs.push(Pair { person, sender, recipient });
        }
        let begun = Instant::now();
        let pairs = pairs.into_iter().zip(0..).map(|(pair, index)| {
            // Not all at once.
            let offset = self.interval().unwrap_or_default() * index / self.pairs;
            pair.run(self, begun + offset, begun)
        });
        let times = try_join_all(pairs).await?;
        let elapsed = begun.elapsed().as_secs_f64();
        let mut times = times.concat();
        times.sort_unstable();
        let of = |share: f64| {
            let at = (times.len() as f64 * share) as usize;
            times[at.min(times.len() - 1)].as_secs_f64() * 1e3
        };
        Ok(Times { rate: times.len() as f64 / elapsed, p50: of(0.5), p99: of(0.99), max: of(1.0) })
    }

    /// Time from one message of a pair to its next.
    fn interval(&self) -> Option<Duration> {
        self.rate.map(|rate| Duration::from_secs(1) * self.pairs / rate)
    }
}

struct Pair {
    person: Person,
    sender: Client,
    recipient: Client,
}

impl Pair {
    /// Returns how long each message has taken.
    async fn run(
        mut self,
        load: &Load,
        mut next: Instant,
        begun: Instant,
    ) -> Result<Vec<Duration>, Failure> {
        let (end, interval) = (begun + load.time, load.interval());
        let mut times = Vec::new();
        let (mut sent, mut answered) = (0_u32, 0_u32);
        loop {
            let now = Instant::now();
            let is_open = now < end;
            let mut has_more = false;
            while is_open && sent - delivered(&times) < load.window {
                let due = match interval {
                    Some(_) if next > now => break,
                    Some(interval) => {
                        next += interval;
                        next - interval
                    }
                    None => Instant::now(),
                };
                let message = message(due - begun, load.bytes);
                let to = Some(self.person.address.clone());
                let outbound = OutboundMessage { to, unidentified_sender_message: message };
                sent += 1;
                self.sender.say(sent, Payload::OutboundMessage(outbound)).await?;
                has_more = true;
            }
            if has_more {
                self.sender.flush().await?;
            }
            if !is_open && delivered(&times) == sent && answered == sent {
                return Ok(times);
            }
            let step = async {
                tokio::select! {
                    heard = self.sender.hear() => match heard?.payload {
                        Some(Payload::Ack(Ack {})) => answered += 1,
                        other => return Err(format!("{other:?} to a sender").into()),
                    },
                    heard = self.recipient.hear() => {
                        let heard = heard?;
                        let Some(Payload::InboundMessage(mut message)) = heard.payload else {
                            return Err(format!("{heard:?} to a recipient").into());
                        };
                        times.push(begun.elapsed() - Duration::from_nanos(message.get_u64()));
                        self.recipient.say(heard.sequence, Payload::Ack(Ack {})).await?;
                        self.recipient.flush().await?;
                    },
                    () = sleep_until(next.into()), if is_open && interval.is_some() => {}
                }
                Ok::<(), Failure>(())
            };
            timeout(PATIENCE, step).await.map_err(|_| "nothing comes any more")??;
        }
    }
}

fn delivered(times: &[Duration]) -> u32 {
    u32::try_from(times.len()).unwrap_or(u32::MAX)
}

/// A message that says when it was sent.
fn message(at: Duration, len: usize) -> Bytes {
    let mut message = BytesMut::with_capacity(len);
    message.put_u64(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
    message.put_bytes(0xa5, len - 8);
    message.freeze()
}
