//! What a durable queue costs, beside an fsync of the same directory.
//!
//! `fsync` appends a message to a file and syncs it: no store can answer a lone caller sooner. All figures
//! are per message. The directory is the build's; `TOWLINE_BENCH_DIR` names another.

use std::env;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use towline_relay::store::sqlite::{Config, Sqlite};
use towline_relay::store::{Limits, Page, Position, Store, Timestamp};
use towline_relay::{Address, Device};
use towline_wire::relay::UserId;

const MESSAGE: Bytes = Bytes::from_static(&[7; 512]);
/// Devices that are written to, a share of the callers each.
const DEVICES: u64 = 8;

fn directory() -> TempDir {
    let parent = env::var_os("TOWLINE_BENCH_DIR");
    let parent = parent.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    tempfile::tempdir_in(parent).expect("the directory can be written")
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).build().expect("threads can be started")
}

fn open(directory: &TempDir) -> Arc<Sqlite> {
    let limits = Limits::builder().queue_count(1_000_000_000).queue_bytes(1 << 40);
    let limits = limits.build().expect("in range");
    let config = Config::builder().limits(limits).build().expect("in range");
    Arc::new(Sqlite::open(directory.path().join("relay.db"), &config).expect("a new file"))
}

fn address(number: u64) -> Address {
    Address::new(UserId::new(&[7; 32]), Device::from((number % DEVICES) as u32))
}

/// The time that callers take who work concurrently, each on its share of the messages.
async fn time<F: Future<Output = ()> + Send + 'static>(
    callers: u64,
    messages: u64,
    work: impl Fn(Address, u64) -> F,
) -> Duration {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let share = messages / callers + u64::from(caller < messages % callers);
        tasks.spawn(work(address(caller), share));
    }
    tasks.join_all().await;
    begin.elapsed()
}

async fn enqueue(store: Arc<Sqlite>, to: Address, count: u64) {
    for _ in 0..count {
        store.enqueue(&to, MESSAGE, Timestamp::now()).await.expect("there is room");
    }
}

/// Reads a device's queue page by page, and acknowledges all of a page concurrently.
async fn drain(store: Arc<Sqlite>, address: Address, count: u64) {
    let mut left = count as usize;
    while left > 0 {
        let page = Page { count: left.min(64), bytes: usize::MAX };
        let queued = store.fetch(&address, Position::START, page).await.expect("the store works");
        left -= queued.len();
        let mut acknowledgements = JoinSet::new();
        for queued in queued {
            let (store, address) = (Arc::clone(&store), address.clone());
            acknowledgements.spawn(async move {
                store.acknowledge(&address, queued.position).await.expect("the store works");
            });
        }
        acknowledgements.join_all().await;
    }
}

fn store(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("store");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));

    group.bench_function("fsync", |b| {
        let directory = directory();
        let mut file = File::create(directory.path().join("file")).expect("a new file");
        b.iter(|| {
            file.write_all(&MESSAGE).expect("there is room");
            file.sync_data().expect("the disk works");
        });
    });

    for callers in [1, 64, 512] {
        group.bench_function(format!("enqueue/{callers}"), |b| {
            let directory = directory();
            let store = open(&directory);
            b.iter_custom(|messages| {
                let work = |to, count| enqueue(Arc::clone(&store), to, count);
                runtime.block_on(time(callers, messages, work))
            });
        });
    }

    group.bench_function("fetch+acknowledge/8x64", |b| {
        let directory = directory();
        let store = open(&directory);
        b.iter_custom(|messages| {
            runtime.block_on(async {
                // Each queue gets as much as its reader will take.
                for device in 0..DEVICES {
                    let share = messages / DEVICES + u64::from(device < messages % DEVICES);
                    let senders = 64.min(share).max(1);
                    let mut tasks = JoinSet::new();
                    for sender in 0..senders {
                        let count = share / senders + u64::from(sender < share % senders);
                        tasks.spawn(enqueue(Arc::clone(&store), address(device), count));
                    }
                    tasks.join_all().await;
                }
                time(DEVICES, messages, |of, count| drain(Arc::clone(&store), of, count)).await
            })
        });
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
