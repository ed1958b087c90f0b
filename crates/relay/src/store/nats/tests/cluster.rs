//! Three nodes, of which one dies.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use towline_wire::relay::UserId;

use super::*;

const NODES: usize = 3;
const SENDERS: u64 = 4;
/// Messages that are answered for before the node dies, and after.
const MESSAGES: u64 = 200;
/// How long the cluster may take to find a leader; it takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    child: Child,
    name: String,
    url: String,
    _directory: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start_nodes() -> Vec<Node> {
    let routes: Vec<_> = (0..NODES).map(|_| format!("nats://127.0.0.1:{}", free_port())).collect();
    let nodes = routes.iter().enumerate().map(|(index, route)| {
        let directory = tempfile::tempdir().unwrap();
        let (name, port) = (format!("node-{index}"), free_port());
        let child = Command::new(PROGRAM)
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string()])
            .args(["--name", &name, "--cluster_name", "cluster", "--cluster", route])
            .args(["--routes", &routes.join(",")])
            .arg("--store_dir")
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("nats://127.0.0.1:{port}");
        Node { child, name, url, _directory: directory }
    });
    nodes.collect()
}

async fn open(urls: &[String]) -> Nats {
    let config = Config::builder().replicas(NODES).timeout(Duration::from_secs(2)).build().unwrap();
    // Until the nodes have found each other there are no streams.
    let begun = Instant::now();
    loop {
        match Nats::open(urls, &config).await {
            Ok(store) => return store,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn address(device: u64) -> Address {
    Address::new(UserId::new(&[7; 32]), device as u32)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_takes_nothing_with_it() {
    // As in the other tests, which say whether there is such a program.
    if Server::start().is_none() {
        return;
    }
    let mut nodes = start_nodes();
    let urls: Vec<_> = nodes.iter().map(|node| node.url.clone()).collect();
    let store = Arc::new(open(&urls).await);
    let answered: Arc<Mutex<BTreeMap<u64, Vec<u64>>>> = Arc::default();
    let count = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (store, answered, count) = (store.clone(), answered.clone(), count.clone());
        senders.spawn(async move {
            for number in 0_u64.. {
                let mut message = sender.to_be_bytes().to_vec();
                message.extend(number.to_be_bytes());
                // What fails may have happened or not, and is not tried again.
                if store.enqueue(&address(sender % 2), message.into(), Timestamp(1)).await.is_ok() {
                    answered.lock().unwrap().entry(sender).or_default().push(number);
                    if count.fetch_add(1, Ordering::Relaxed) >= 2 * MESSAGES {
                        return;
                    }
                }
            }
        });
    }

    let dies = async {
        while count.load(Ordering::Relaxed) < MESSAGES {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, dies).await.expect("messages are answered for");
    // The one through which all of them go.
    let info = store.queues.stream().get_info().await.unwrap();
    let leader = info.cluster.and_then(|cluster| cluster.leader).unwrap();
    nodes.retain(|node| node.name != leader);
    assert_eq!(nodes.len(), NODES - 1);
    timeout(PATIENCE, senders.join_all()).await.expect("the others go on");

    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for device in 0..2 {
        let page = Page { count: usize::MAX, bytes: usize::MAX };
        for queued in store.fetch(&address(device), Position::START, page).await.unwrap() {
            let (sender, number) = queued.message.split_at(8);
            let number = u64::from_be_bytes(number.try_into().unwrap());
            found.entry(u64::from_be_bytes(sender.try_into().unwrap())).or_default().push(number);
        }
    }
    for (sender, numbers) in &*answered.lock().unwrap() {
        let found = &found[sender];
        assert!(found.is_sorted(), "out of order");
        for number in numbers {
            assert!(found.contains(number), "{number} of sender {sender} is lost");
        }
    }
}
