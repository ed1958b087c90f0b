//! A client of the relay that does as little as possible: what it costs is measured with the rest.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use towline_relay::auth::Key;
use towline_wire::relay::seed::{Ack, Address, Login, Message, Payload};

use crate::Failure;

pub(super) struct Client(WebSocketStream<TcpStream>);

/// Somebody with one device.
pub(super) struct Person {
    key: Key,
    pub(super) address: Address,
}

impl Person {
    pub(super) fn random() -> Result<Self, Failure> {
        let key = Key::random()?;
        let address = Address { user_id: key.user_id().into(), device_id: 1 };
        Ok(Self { key, address })
    }
}

impl Client {
    /// One that does not say who it is.
    pub(super) async fn connect(relay: SocketAddr) -> Result<(Self, Bytes), Failure> {
        Self::open(relay, TcpStream::connect(relay).await?).await
    }

    async fn open(relay: SocketAddr, stream: TcpStream) -> Result<(Self, Bytes), Failure> {
        stream.set_nodelay(true)?;
        let url = format!("ws://{relay}/v0/api");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        let mut client = Self(socket);
        match client.hear().await?.payload {
            Some(Payload::AuthChallenge(challenge)) => Ok((client, challenge.nonce)),
            other => Err(format!("{other:?} is no challenge").into()),
        }
    }

    pub(super) async fn log_in(relay: SocketAddr, person: &Person) -> Result<Self, Failure> {
        Self::log_in_over(relay, TcpStream::connect(relay).await?, person).await
    }

    pub(super) async fn log_in_over(
        relay: SocketAddr,
        stream: TcpStream,
        person: &Person,
    ) -> Result<Self, Failure> {
        let (mut client, nonce) = Self::open(relay, stream).await?;
        let mut login = Vec::new();
        Login { address: Some(person.address.clone()), nonce }.encode(&mut login)?;
        let response = person.key.answer_seed(login.into());
        client.say(0, Payload::AuthResponse(response)).await?;
        client.flush().await?;
        match client.hear().await?.payload {
            Some(Payload::Ack(Ack {})) => Ok(client),
            other => Err(format!("{other:?} is no answer to a login").into()),
        }
    }

    /// Says something, which leaves with the next [flush](Self::flush) at the latest.
    pub(super) async fn say(&mut self, sequence: u32, payload: Payload) -> Result<(), Failure> {
        let mut frame = Vec::new();
        Message { sequence, payload: Some(payload) }.encode(&mut frame)?;
        Ok(self.0.feed(Frame::binary(frame)).await?)
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.0.flush().await?)
    }

    /// May be dropped and called again: nothing is lost.
    pub(super) async fn hear(&mut self) -> Result<Message, Failure> {
        loop {
            match self.0.next().await.ok_or("the relay has closed")?? {
                Frame::Binary(frame) => return Ok(Message::decode(frame)?),
                Frame::Ping(_) => {}
                other => return Err(format!("{other:?} is no message").into()),
            }
        }
    }
}
