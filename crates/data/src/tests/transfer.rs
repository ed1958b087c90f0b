//! Transfers over bad links.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use towline_netsim::{LinkConfig, Loss};
use towline_wire::{Dialect, Mtu};

use super::pair::Pair;
use crate::{Config, Mode};

fn payload(len: usize, salt: u32) -> Bytes {
    (0..len)
        .map(|i| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(salt).to_le_bytes()[3])
        .collect()
}

#[test]
fn speed_probe() {
    for loss in [0.0, 0.01, 0.03, 0.05, 0.10, 0.2] {
        for mtu in [1000] {
            let config = Arc::new(
                Config::builder(Dialect::Rfc0007, Mtu::new(mtu).unwrap()).build().unwrap(),
            );
            let link = LinkConfig::default()
                .with_delay(Duration::from_millis(20))
                .with_rate(12_500_000, 500_000)
                .with_loss(if loss > 0.0 { Loss::Random(loss) } else { Loss::None });
            let mut pair = Pair::new(&config, &link, 7);
            let size = config.frame_size();
            let total = 100_000_000;
            for i in 0..total / size {
                pair.a.outbox.push_back(payload(size, i as u32));
            }
            pair.a.finish = true;
            pair.b.finish = true;
            let wall = std::time::SystemTime::now();
            pair.run_until(Duration::from_secs(600), |pair| {
                pair.a.closed.is_some() && pair.b.closed.is_some()
            });
            let bytes: usize = pair.b.inbox.iter().map(|(_, f)| f.len()).sum();
            let s = pair.a.connection.stats();
            println!(
                "loss {loss}: {:.2} MB/s in {:?}, sent {} resent {} ({:.3} extra), timeouts {}, dup {}, wall {:?}, q {:?}",
                bytes as f64 / pair.elapsed().as_secs_f64() / 1e6,
                pair.elapsed(),
                s.segments_sent,
                s.segments_retransmitted,
                s.bytes_sent as f64 / bytes as f64,
                s.timeouts,
                pair.b.connection.stats().segments_duplicate,
                wall.elapsed(),
                pair.a_to_b.stats(),
            );
        }
    }
}
