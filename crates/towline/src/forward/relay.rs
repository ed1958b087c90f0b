//! Copying between a session and a socket.

use std::io;
use std::pin::pin;

use bytes::{Buf, Bytes, BytesMut};
use futures::future::{Either, select, try_join};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use towline_transport::Address;

use super::Traffic;
use crate::error::SessionError;
use crate::{RecvHalf, SendHalf, Session};

/// Bytes read at a time: several frames, so that a wake-up is worth its cost.
const CHUNK: usize = 64 * 1024;

/// The largest payload of a UDP datagram, in bytes.
const MAX_DATAGRAM: usize = 65_507;

/// Copies both ways until both directions are over. What breaks on one side breaks on the other.
///
/// Nothing is held while nothing flows: sessions that strangers open, and then leave half-open, cost no
/// buffers.
pub(super) async fn tcp<A: Address>(
    session: Session<A>,
    mut stream: TcpStream,
) -> io::Result<Traffic> {
    let (mut recv, mut send) = session.into_split();
    let result = {
        let (reader, writer) = stream.split();
        let there = pin!(stream_to_session(reader, &mut send));
        let back = pin!(session_to_stream(&mut recv, writer));
        try_join(there, back).await
    };
    match result {
        Ok((sent, received)) => Ok(Traffic { sent, received, stats: send.stats().await.ok() }),
        Err(error) => {
            send.abort();
            reset(stream);
            Err(error)
        }
    }
}

async fn stream_to_session<A: Address>(
    reader: ReadHalf<'_>,
    send: &mut SendHalf<A>,
) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        reader.readable().await?;
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match reader.try_read_buf(&mut chunk) {
            Ok(0) => {
                send.finish().await?;
                return Ok(bytes);
            }
            Ok(length) => {
                bytes += length as u64;
                send.send_stream(exact(chunk)).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn session_to_stream<A: Address>(
    recv: &mut RecvHalf<A>,
    mut writer: WriteHalf<'_>,
) -> io::Result<u64> {
    let mut bytes = 0;
    while let Some(mut frame) = recv.recv_frame().await? {
        bytes += frame.remaining() as u64;
        writer.write_all_buf(&mut frame).await?;
    }
    writer.shutdown().await?;
    Ok(bytes)
}

/// What was read, without room for much that was not.
fn exact(chunk: BytesMut) -> Bytes {
    if chunk.len() < CHUNK / 4 { Bytes::copy_from_slice(&chunk) } else { chunk.freeze() }
}

/// Closes a connection such that its peer cannot take this for a good end.
pub(super) fn reset(stream: TcpStream) {
    // Without the reset the connection still closes; that is all that can be done.
    let _ = stream.set_zero_linger();
    drop(stream);
}

/// Copies frames to datagrams and back until the peer has finished.
pub(super) async fn udp<A: Address>(session: Session<A>, socket: UdpSocket) -> io::Result<Traffic> {
    let (recv, send) = session.into_split();
    let mut traffic = Traffic::default();
    let mut sent = 0;
    let mut send = send;
    let result = {
        let out = pin!(frames_to_datagrams(recv, &socket, &mut traffic.received));
        let back = pin!(datagrams_to_frames(&mut send, &socket, &mut sent));
        match select(out, back).await {
            Either::Left((result, _)) => result,
            Either::Right((Err(error), _)) => Err(error),
        }
    };
    traffic.sent = sent;
    traffic.stats = send.stats().await.ok();
    let result = match result {
        Ok(()) => send.finish().await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        send.abort();
        return Err(error.into());
    }
    Ok(traffic)
}

async fn frames_to_datagrams<A: Address>(
    mut recv: RecvHalf<A>,
    socket: &UdpSocket,
    bytes: &mut u64,
) -> Result<(), SessionError> {
    while let Some(frame) = recv.recv_frame().await? {
        let datagram = frame.into_bytes();
        *bytes += datagram.len() as u64;
        // A service that is not there now may be there later: UDP makes no difference.
        let _ = socket.send(&datagram).await;
    }
    Ok(())
}

async fn datagrams_to_frames<A: Address>(
    send: &mut SendHalf<A>,
    socket: &UdpSocket,
    bytes: &mut u64,
) -> Result<std::convert::Infallible, SessionError> {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        // Errors are what the network says of datagrams sent earlier, one each.
        let Ok(length) = socket.recv(&mut buffer).await else { continue };
        match send.send_frame(Bytes::copy_from_slice(&buffer[..length])).await {
            Ok(()) => *bytes += length as u64,
            Err(error @ SessionError::TooLong { .. }) => {
                tracing::debug!(%error, "datagram dropped");
            }
            Err(error) => return Err(error),
        }
    }
}
