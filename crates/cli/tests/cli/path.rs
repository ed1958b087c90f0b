//! A hop between two processes that loses some datagrams and remembers others.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Datagrams that are remembered, the first of them.
const SAMPLES: usize = 256;
/// Larger than any datagram of the tests.
const BUFFER: usize = 2048;

pub(crate) struct Path {
    /// Where the near end sends to.
    pub(crate) address: SocketAddr,
    samples: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Path {
    /// A path to `exit` for one near end, which loses this share of datagrams in either direction. Its
    /// threads end with the tests.
    pub(crate) fn start(exit: SocketAddr, loss: f64) -> Self {
        let (near, far) = (udp_socket(), udp_socket());
        far.connect(exit).expect("UDP always connects");
        let address = near.local_addr().expect("it is bound");
        let samples = Arc::new(Mutex::new(Vec::new()));
        let entry = Arc::new(Mutex::new(None));

        let clone = |socket: &UdpSocket| socket.try_clone().expect("a socket can be cloned");
        let (back_near, back_far) = (clone(&near), clone(&far));
        let (seen, back_entry) = (samples.clone(), entry.clone());
        thread::spawn(move || {
            let mut random = StdRng::seed_from_u64(1);
            let mut buffer = [0; BUFFER];
            while let Ok((length, from)) = near.recv_from(&mut buffer) {
                *lock(&entry) = Some(from);
                let datagram = &buffer[..length];
                let mut seen = lock(&seen);
                if seen.len() < SAMPLES {
                    seen.push(datagram.to_vec());
                }
                if !random.random_bool(loss) {
                    // Nobody may listen there any more.
                    let _ = far.send(datagram);
                }
            }
        });
        thread::spawn(move || {
            let mut random = StdRng::seed_from_u64(2);
            let mut buffer = [0; BUFFER];
            loop {
                // An error says that the exit is not there, which may change.
                let Ok(length) = back_far.recv(&mut buffer) else { continue };
                let entry = *lock(&back_entry);
                if let Some(entry) = entry.filter(|_| !random.random_bool(loss)) {
                    let _ = back_near.send_to(&buffer[..length], entry);
                }
            }
        });
        Self { address, samples }
    }

    /// What the near end sent, the first of it.
    pub(crate) fn samples(&self) -> Vec<Vec<u8>> {
        lock(&self.samples).clone()
    }
}

pub(crate) fn udp_socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("there is a free port")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
