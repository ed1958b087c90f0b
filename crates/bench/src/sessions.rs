//! Sessions of this project, as an application uses them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use towline::{Endpoint, EndpointBuilder, Listener, Mtu, Session, SessionOptions, Target};
use towline_transport::udp::UdpConfig;

use crate::{Carried, DATAGRAM, Failure, both_ends, runtime};

/// After this long without a frame all have arrived that will.
const SILENCE: Duration = Duration::from_millis(500);

pub(crate) fn carry_reliably(bytes: u64) -> Result<Carried, Failure> {
    carry_between(endpoint, bytes)
}

pub(crate) fn carry_without_offload(bytes: u64) -> Result<Carried, Failure> {
    let without = || Ok(endpoint()?.udp(UdpConfig { offload: false, ..UdpConfig::default() }));
    carry_between(without, bytes)
}

fn carry_between(
    endpoint: fn() -> Result<EndpointBuilder, Failure>,
    bytes: u64,
) -> Result<Carried, Failure> {
    let began = Instant::now();
    with_session(
        endpoint,
        SessionOptions::reliable(),
        async move |mut session| {
            let mut arrived = 0;
            while let Some(frame) = session.recv_frame().await? {
                arrived += frame.remaining() as u64;
            }
            Ok(Carried { bytes: arrived, time: began.elapsed() })
        },
        async move |mut session| {
            send(&mut session, bytes).await?;
            session.finish().await?;
            Ok(())
        },
    )
}

pub(crate) fn carry_unreliably(bytes: u64) -> Result<Carried, Failure> {
    let began = Instant::now();
    with_session(
        endpoint,
        SessionOptions::unreliable(),
        async move |mut session| {
            let (mut arrived, mut last) = (0, began);
            loop {
                match tokio::time::timeout(SILENCE, session.recv_frame()).await {
                    Ok(Ok(Some(frame))) => arrived += frame.remaining() as u64,
                    Err(_) if arrived == 0 => continue,
                    _ => return Ok(Carried { bytes: arrived, time: last - began }),
                }
                last = Instant::now();
            }
        },
        async move |mut session| {
            send(&mut session, bytes).await?;
            session.finish().await?;
            Ok(())
        },
    )
}

pub(crate) fn ask(requests: u32) -> Result<Vec<Duration>, Failure> {
    let (answers, times) = mpsc::channel();
    with_session(
        endpoint,
        SessionOptions::reliable(),
        async move |mut session| {
            while let Some(frame) = session.recv_frame().await? {
                session.send_frame(frame.into_bytes()).await?;
            }
            session.finish().await?;
            Ok(())
        },
        async move |mut session| {
            let mut message = Bytes::from(vec![0xa5; 100]);
            let mut times = Vec::new();
            for _ in 0..requests {
                let asked = Instant::now();
                session.send_frame(message).await?;
                message = session.recv_frame().await?.ok_or("no answer")?.into_bytes();
                times.push(asked.elapsed());
            }
            session.finish().await?;
            answers.send(times)?;
            Ok(())
        },
    )?;
    Ok(times.recv()?)
}

async fn send(session: &mut Session, bytes: u64) -> Result<(), Failure> {
    let frame = Bytes::from(vec![0xa5; session.frame_size()]);
    let mut left = bytes;
    while left > 0 {
        let length = left.min(frame.len() as u64);
        session.send_frame(frame.slice(..length as usize)).await?;
        left -= length;
    }
    Ok(())
}

/// A session between two endpoints.
fn with_session<T: Send + 'static>(
    endpoint: fn() -> Result<EndpointBuilder, Failure>,
    options: SessionOptions,
    there: impl AsyncFnOnce(Session) -> Result<T, Failure> + Send + 'static,
    here: impl AsyncFnOnce(Session) -> Result<(), Failure>,
) -> Result<T, Failure> {
    between_endpoints(
        endpoint,
        async move |mut listener| {
            let incoming = listener.next_incoming().await.ok_or("nobody came")?;
            there(incoming.accept().await?).await
        },
        async move |entry, address| {
            let target = Target::tcp("bench.example", 7);
            here(entry.connect_with(address, &target, options).await?).await
        },
    )
}

/// Runs two endpoints, each in a thread of its own, until both have no session left.
pub(crate) fn between_endpoints<T: Send + 'static>(
    endpoint: fn() -> Result<EndpointBuilder, Failure>,
    there: impl AsyncFnOnce(Listener) -> Result<T, Failure> + Send + 'static,
    here: impl AsyncFnOnce(&Endpoint, SocketAddr) -> Result<(), Failure>,
) -> Result<T, Failure> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (tell, address) = mpsc::channel();
    both_ends(
        move || {
            runtime()?.block_on(async {
                let exit = endpoint()?.bind(any_port)?;
                let listener = exit.listen()?;
                tell.send(exit.local_address())?;
                let result = there(listener).await;
                exit.wait_idle().await;
                result
            })
        },
        move || {
            let address = address.recv()?;
            runtime()?.block_on(async {
                let entry = endpoint()?.bind(any_port)?;
                here(&entry, address).await?;
                entry.wait_idle().await;
                Ok(())
            })
        },
    )
}

/// Datagrams of [`DATAGRAM`] bytes, the tag among them.
pub(crate) fn endpoint() -> Result<EndpointBuilder, Failure> {
    Ok(Endpoint::builder().mtu(Mtu::new(DATAGRAM - 8)?))
}
