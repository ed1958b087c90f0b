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
    name: String,
    url: String,
    port: u16,
    route: String,
    directory: TempDir,
    child: Option<Child>,
}

impl Node {
    fn start(&mut self, routes: &str) {
        let child = Command::new(PROGRAM)
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--name", &self.name, "--cluster_name", "cluster", "--cluster", &self.route])
            .args(["--routes", routes])
            .arg("--store_dir")
            .arg(self.directory.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Cluster {
    nodes: Vec<Node>,
    routes: String,
}

impl Cluster {
    fn start() -> Self {
        let nodes: Vec<_> = (0..NODES)
            .map(|index| {
                let (name, port) = (format!("node-{index}"), free_port());
                let url = format!("nats://127.0.0.1:{port}");
                let route = format!("nats://127.0.0.1:{}", free_port());
                let directory = tempfile::tempdir().unwrap();
                Node { name, url, port, route, directory, child: None }
            })
            .collect();
        let routes: Vec<_> = nodes.iter().map(|node| node.route.clone()).collect();
        let mut cluster = Self { nodes, routes: routes.join(",") };
        for node in &mut cluster.nodes {
            node.start(&cluster.routes);
        }
        cluster
    }

    fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url.clone()).collect()
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap()
    }

    fn revive(&mut self, name: &str) {
        let routes = self.routes.clone();
        self.node(name).start(&routes);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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

/// The node through which all messages go, once every node has everything.
async fn leader(store: &Nats) -> String {
    let settled = async {
        loop {
            let info = store.queues.stream().get_info().await;
            if let Some(cluster) = info.ok().and_then(|info| info.cluster)
                && let Some(leader) = cluster.leader
                && cluster.replicas.len() == NODES - 1
                && cluster.replicas.iter().all(|it| it.current && !it.offline)
            {
                return leader;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("the nodes find together")
}

/// What was answered for, by sender.
type Numbers = BTreeMap<u64, Vec<u64>>;

/// Messages of all senders, from these numbers on, and a node that dies in between.
async fn send_while(store: &Arc<Nats>, next: u64, die: impl FnOnce()) -> Numbers {
    let answered: Arc<Mutex<Numbers>> = Arc::default();
    let count = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (store, answered, count) = (store.clone(), answered.clone(), count.clone());
        senders.spawn(async move {
            for number in next.. {
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
    die();
    timeout(PATIENCE, senders.join_all()).await.expect("the others go on");
    std::mem::take(&mut answered.lock().unwrap())
}

/// Has something done that fails for as long as the nodes have not found together.
async fn persist<T>(what: impl AsyncFn() -> Result<T, Failure>) -> T {
    let begun = Instant::now();
    loop {
        match what().await {
            Ok(done) => return done,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Takes all messages out of the queues, and says which there were.
async fn receive(store: &Nats) -> Numbers {
    let mut found = Numbers::new();
    for device in 0..2 {
        let to = address(device);
        let page = Page { count: usize::MAX, bytes: usize::MAX };
        for queued in persist(async || store.fetch(&to, Position::START, page).await).await {
            let (sender, number) = queued.message.split_at(8);
            let number = u64::from_be_bytes(number.try_into().unwrap());
            found.entry(u64::from_be_bytes(sender.try_into().unwrap())).or_default().push(number);
            persist(async || store.acknowledge(&to, queued.position).await).await;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_takes_nothing_with_it() {
    // As in the other tests, which say whether there is such a program.
    if Server::start().is_none() {
        return;
    }
    let rounds = std::env::var("TOWLINE_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    let mut cluster = Cluster::start();
    let store = Arc::new(open(&cluster.urls()).await);
    let mut next = 0;
    for round in 0..rounds {
        let victim = leader(&store).await;
        let answered = send_while(&store, next, || cluster.node(&victim).kill()).await;
        let found = receive(&store).await;
        for (sender, numbers) in &answered {
            let found = &found[sender];
            assert!(found.is_sorted(), "round {round}: out of order");
            // What was acknowledged does not come again.
            assert!(found[0] >= next, "round {round}: {} again", found[0]);
            for number in numbers {
                assert!(found.contains(number), "round {round}: {number} of {sender} is lost");
            }
        }
        let last = found.values().flatten().max();
        next = last.map_or(next, |last| last + 1000);
        cluster.revive(&victim);
    }
}
