//! Copying between a session and a socket.

use std::io;
use std::pin::pin;

use bytes::Bytes;
use futures::future::{Either, select};
use tokio::io::copy_bidirectional_with_sizes;
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
pub(super) async fn tcp<A: Address>(
    mut session: Session<A>,
    mut stream: TcpStream,
) -> io::Result<Traffic> {
    match copy_bidirectional_with_sizes(&mut stream, &mut session, CHUNK, CHUNK).await {
        Ok((sent, received)) => Ok(Traffic { sent, received, stats: session.stats().await.ok() }),
        Err(error) => {
            session.abort();
            reset(stream);
            Err(error)
        }
    }
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
