//! QUIC by quinn, with its smallest datagrams: of 1200 bytes, and encrypted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig};
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::PrivatePkcs8KeyDer;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig};

use crate::{Carried, Failure, both_ends, runtime};

/// Bytes in a call.
const CALL: usize = 128 << 10;
/// Bytes that may be under way, so that this is not what limits the rate.
const WINDOW: u32 = 16 << 20;
const NAME: &str = "bench.example";

pub(crate) fn carry_with_cubic(bytes: u64) -> Result<Carried, Failure> {
    carry(Arc::new(CubicConfig::default()), bytes)
}

pub(crate) fn carry_with_bbr(bytes: u64) -> Result<Carried, Failure> {
    carry(Arc::new(BbrConfig::default()), bytes)
}

fn carry(
    control: Arc<dyn ControllerFactory + Send + Sync>,
    bytes: u64,
) -> Result<Carried, Failure> {
    let began = Instant::now();
    with_connection(
        control,
        async move |connection| {
            let mut stream = connection.accept_uni().await?;
            let mut arrived = 0;
            while let Some(chunk) = stream.read_chunk(CALL, true).await? {
                arrived += chunk.bytes.len() as u64;
            }
            Ok(Carried { bytes: arrived, time: began.elapsed() })
        },
        async move |connection| {
            let mut stream = connection.open_uni().await?;
            let buffer = vec![0xa5; CALL];
            let mut left = bytes;
            while left > 0 {
                let length = left.min(CALL as u64);
                stream.write_all(&buffer[..length as usize]).await?;
                left -= length;
            }
            stream.finish()?;
            stream.stopped().await?;
            Ok(())
        },
    )
}

pub(crate) fn ask(requests: u32) -> Result<Vec<Duration>, Failure> {
    let (answers, times) = mpsc::channel();
    with_connection(
        Arc::new(CubicConfig::default()),
        async move |connection| {
            let (mut send, mut receive) = connection.accept_bi().await?;
            let mut message = [0; 100];
            for _ in 0..requests {
                receive.read_exact(&mut message).await?;
                send.write_all(&message).await?;
            }
            // The answer to the last one is not cut off.
            send.finish()?;
            send.stopped().await?;
            Ok(())
        },
        async move |connection| {
            let (mut send, mut receive) = connection.open_bi().await?;
            let mut message = [0xa5; 100];
            let mut times = Vec::new();
            for _ in 0..requests {
                let asked = Instant::now();
                send.write_all(&message).await?;
                receive.read_exact(&mut message).await?;
                times.push(asked.elapsed());
            }
            receive.read_to_end(0).await?;
            answers.send(times)?;
            Ok(())
        },
    )?;
    Ok(times.recv()?)
}

/// A connection between two endpoints, each in a thread of its own.
fn with_connection<T: Send + 'static>(
    control: Arc<dyn ControllerFactory + Send + Sync>,
    there: impl AsyncFnOnce(Connection) -> Result<T, Failure> + Send + 'static,
    here: impl AsyncFnOnce(Connection) -> Result<(), Failure>,
) -> Result<T, Failure> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let identity = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = identity.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;

    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(1200)
        .mtu_discovery_config(None)
        .stream_receive_window(WINDOW.into())
        .send_window(WINDOW.into())
        .congestion_controller_factory(control);
    let transport = Arc::new(transport);
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let mut server = ServerConfig::with_single_cert(vec![certificate], key.into())?;
    server.transport_config(transport.clone());
    let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
    client.transport_config(transport);

    let (tell, address) = mpsc::channel();
    both_ends(
        move || {
            runtime()?.block_on(async {
                let endpoint = Endpoint::server(server, any_port)?;
                tell.send(endpoint.local_addr()?)?;
                let incoming = endpoint.accept().await.ok_or("nobody came")?;
                let result = there(incoming.await?).await;
                endpoint.wait_idle().await;
                result
            })
        },
        move || {
            let address = address.recv()?;
            runtime()?.block_on(async {
                let endpoint = Endpoint::client(any_port)?;
                let connection = endpoint.connect_with(client, address, NAME)?.await?;
                let result = here(connection.clone()).await;
                connection.close(0u32.into(), b"");
                endpoint.wait_idle().await;
                result
            })
        },
    )
}
