//! KCP by `tokio_kcp`, as fast as it can be set.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_kcp::{KcpConfig, KcpListener, KcpNoDelayConfig, KcpStream};

use crate::{Carried, DATAGRAM, Failure, both_ends, runtime};

/// Bytes in a call, of which it takes no more than 127 datagrams at once.
const CALL: usize = 64 << 10;
/// Datagrams that may be under way.
const WINDOW: u16 = 1024;

pub(crate) fn carry(bytes: u64) -> Result<Carried, Failure> {
    let began = Instant::now();
    with_stream(
        async move |mut stream| {
            let mut buffer = vec![0; CALL];
            let mut arrived = 0;
            // There is no end of a stream in KCP.
            while arrived < bytes {
                arrived += stream.read(&mut buffer).await? as u64;
            }
            let carried = Carried { bytes: arrived, time: began.elapsed() };
            stream.write_all(&[1]).await?;
            stream.flush().await?;
            Ok((carried, stream))
        },
        async move |mut stream| {
            let buffer = vec![0xa5; CALL];
            let mut left = bytes;
            while left > 0 {
                let length = left.min(CALL as u64);
                stream.write_all(&buffer[..length as usize]).await?;
                left -= length;
            }
            stream.flush().await?;
            stream.read_u8().await?;
            Ok(())
        },
    )
}

pub(crate) fn ask(requests: u32) -> Result<Vec<Duration>, Failure> {
    let (answers, times) = mpsc::channel();
    with_stream(
        async move |mut stream| {
            let mut message = [0; 100];
            for _ in 0..requests {
                stream.read_exact(&mut message).await?;
                stream.write_all(&message).await?;
                stream.flush().await?;
            }
            Ok(((), stream))
        },
        async move |mut stream| {
            let mut message = [0xa5; 100];
            let mut times = Vec::new();
            for _ in 0..requests {
                let asked = Instant::now();
                stream.write_all(&message).await?;
                stream.flush().await?;
                stream.read_exact(&mut message).await?;
                times.push(asked.elapsed());
            }
            answers.send(times)?;
            Ok(())
        },
    )?;
    Ok(times.recv()?)
}

/// A stream between two sockets, each in a thread of its own. The far end is kept until the near one is done:
/// what it sent last may have to be sent again.
fn with_stream<T: Send + 'static>(
    there: impl AsyncFnOnce(KcpStream) -> Result<(T, KcpStream), Failure> + Send + 'static,
    here: impl AsyncFnOnce(KcpStream) -> Result<(), Failure>,
) -> Result<T, Failure> {
    let config = KcpConfig {
        mtu: DATAGRAM,
        nodelay: KcpNoDelayConfig::fastest(),
        wnd_size: (WINDOW, WINDOW),
        flush_write: true,
        flush_acks_input: true,
        stream: true,
        ..KcpConfig::default()
    };
    let (tell, address) = mpsc::channel();
    let (finish, finished) = tokio::sync::oneshot::channel();
    both_ends(
        move || {
            runtime()?.block_on(async {
                let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let mut listener = KcpListener::bind(config, any_port).await?;
                tell.send(listener.local_addr()?)?;
                let (stream, _) = listener.accept().await?;
                let (result, _stream) = there(stream).await?;
                let _ = finished.await;
                Ok(result)
            })
        },
        move || {
            let address = address.recv()?;
            runtime()?.block_on(async {
                let result = here(KcpStream::connect(&config, address).await?).await;
                let _ = finish.send(());
                result
            })
        },
    )
}
