//! A relay on loopback between the suite and an honest endpoint, which mistreats what it carries.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use towline_conformance::subject::Framing;

use crate::mischief::{Letter, Mischief, Way};

/// Stands in front of an endpoint, and before it for every peer of the suite: the endpoint sees a peer at an
/// address of its own for each of them. It ends when this is dropped.
pub(crate) struct Relay(Arc<Inner>);

struct Inner {
    runtime: Handle,
    framing: Framing,
    /// Where the suite finds the subject.
    front: UdpSocket,
    /// Where the subject is; an initiator shows it with its first request.
    subject: OnceLock<SocketAddr>,
    /// Where the subject finds each peer of the suite.
    faces: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
    mischief: Mutex<Mischief>,
    delayed: UnboundedSender<(Instant, Letter)>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Relay {
    /// Stands in front of the endpoint at `subject`, or of the initiator that speaks up first.
    pub(crate) fn start(
        runtime: &Handle,
        framing: Framing,
        subject: Option<SocketAddr>,
        mischief: Mischief,
    ) -> io::Result<Self> {
        let _context = runtime.enter();
        let (delayed, to_be_delayed) = mpsc::unbounded_channel();
        let relay = Arc::new(Inner {
            runtime: runtime.clone(),
            framing,
            front: bind()?,
            subject: subject.map(OnceLock::from).unwrap_or_default(),
            faces: Mutex::default(),
            mischief: Mutex::new(mischief),
            delayed,
            tasks: Mutex::default(),
        });
        let listener = runtime.spawn(Arc::clone(&relay).listen_to_the_suite());
        let keeper = runtime.spawn(Arc::clone(&relay).keep_delayed(to_be_delayed));
        lock(&relay.tasks).extend([listener.abort_handle(), keeper.abort_handle()]);
        Ok(Self(relay))
    }

    /// Where the suite finds the subject.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.front.local_addr()
    }

    /// Tells where the subject finds peers of the suite.
    pub(crate) fn faces(
        &self,
    ) -> impl Fn(SocketAddr) -> io::Result<SocketAddr> + Send + Sync + use<> {
        let relay = Arc::downgrade(&self.0);
        move |peer| match relay.upgrade() {
            Some(relay) => relay.face(peer)?.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for task in lock(&self.0.tasks).drain(..) {
            task.abort();
        }
    }
}

impl Inner {
    async fn listen_to_the_suite(self: Arc<Self>) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.front.recv_from(&mut buffer).await {
                Ok((length, peer)) => self.carry(Way::ToSubject, peer, &buffer[..length]).await,
                Err(error) if is_unreachable(&error) => {}
                Err(_) => return,
            }
        }
    }

    async fn listen_to_the_subject(self: Arc<Self>, face: Arc<UdpSocket>, peer: SocketAddr) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match face.recv_from(&mut buffer).await {
                Ok((length, from)) => {
                    // This port may have been somebody else's, for whom something comes late.
                    if *self.subject.get_or_init(|| from) == from {
                        self.carry(Way::FromSubject, peer, &buffer[..length]).await;
                    }
                }
                Err(error) if is_unreachable(&error) => {}
                Err(_) => return,
            }
        }
    }

    /// Delivers late letters in the order of their times.
    async fn keep_delayed(self: Arc<Self>, mut incoming: UnboundedReceiver<(Instant, Letter)>) {
        let mut kept = BTreeMap::new();
        for number in 0_u64.. {
            let next = kept.first_key_value().map(|(&(due, _), _)| due);
            let until = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            match tokio::time::timeout_at(until, incoming.recv()).await {
                Ok(Some((due, letter))) => _ = kept.insert((due, number), letter),
                Ok(None) => return,
                Err(_) => {
                    if let Some((_, letter)) = kept.pop_first() {
                        self.deliver(&letter).await;
                    }
                }
            }
        }
    }

    async fn carry(self: &Arc<Self>, way: Way, peer: SocketAddr, datagram: &[u8]) {
        let letter = Letter::open(self.framing, way, peer, datagram);
        let letters = (*lock(&self.mischief))(letter);
        for letter in letters {
            if letter.after == Duration::ZERO {
                self.deliver(&letter).await;
            } else {
                // Nobody waits for it where the relay has come to its end.
                let _ = self.delayed.send((Instant::now() + letter.after, letter));
            }
        }
    }

    /// What cannot be delivered is lost, as any datagram may be.
    async fn deliver(self: &Arc<Self>, letter: &Letter) {
        let datagram = letter.seal();
        match letter.way {
            Way::FromSubject => {
                let _ = self.front.send_to(&datagram, letter.peer).await;
            }
            Way::ToSubject => {
                if let (Some(&subject), Ok(face)) = (self.subject.get(), self.face(letter.peer)) {
                    let _ = face.send_to(&datagram, subject).await;
                }
            }
        }
    }

    fn face(self: &Arc<Self>, peer: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let mut faces = lock(&self.faces);
        if let Some(face) = faces.get(&peer) {
            return Ok(Arc::clone(face));
        }
        let _context = self.runtime.enter();
        let face = Arc::new(bind()?);
        faces.insert(peer, Arc::clone(&face));
        let listener =
            self.runtime.spawn(Arc::clone(self).listen_to_the_subject(Arc::clone(&face), peer));
        lock(&self.tasks).push(listener.abort_handle());
        Ok(face)
    }
}

fn bind() -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Somebody whom an earlier datagram was for is gone.
fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

/// A fault that panicked has been reported; the others' relays go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
