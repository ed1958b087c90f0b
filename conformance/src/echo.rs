//! What sessions lead to: a service that sends back what it gets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Starts an echo on a free loopback port, the same for TCP and UDP, on the current runtime.
///
/// # Errors
/// What the operating system says, if there is no such port.
pub async fn start() -> io::Result<SocketAddr> {
    let mut latest = io::Error::from(io::ErrorKind::AddrInUse);
    // The UDP port of the same number may be taken.
    for _ in 0..16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        match UdpSocket::bind(address).await {
            Ok(socket) => {
                tokio::spawn(serve_tcp(listener));
                tokio::spawn(serve_udp(socket));
                return Ok(address);
            }
            Err(error) => latest = error,
        }
    }
    Err(latest)
}

async fn serve_tcp(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            // A client that goes away early is no concern of an echo.
            let _ = send_back(stream).await;
        });
    }
}

async fn send_back(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

async fn serve_udp(socket: UdpSocket) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                // As with any datagram, it may be lost.
                let _ = socket.send_to(&buffer[..length], from).await;
            }
            // Some earlier answer was not wanted any more.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
