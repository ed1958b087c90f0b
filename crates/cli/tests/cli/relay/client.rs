//! A client that can say and hear anything.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use towline_wire::relay::{DecodeError, Excess, deployed, seed};

/// A message of a dialect.
pub(super) trait Message: Sized {
    const PATH: &'static str;
    fn write(&self, frame: &mut Vec<u8>) -> Result<(), Excess>;
    fn read(frame: Bytes) -> Result<Self, DecodeError>;
}

impl Message for deployed::Message {
    const PATH: &'static str = "/api";

    fn write(&self, frame: &mut Vec<u8>) -> Result<(), Excess> {
        self.encode(frame)
    }

    fn read(frame: Bytes) -> Result<Self, DecodeError> {
        Self::decode(frame)
    }
}

impl Message for seed::Message {
    const PATH: &'static str = "/v0/api";

    fn write(&self, frame: &mut Vec<u8>) -> Result<(), Excess> {
        self.encode(frame)
    }

    fn read(frame: Bytes) -> Result<Self, DecodeError> {
        Self::decode(frame)
    }
}

pub(super) struct Client<M> {
    socket: WebSocketStream<TcpStream>,
    dialect: std::marker::PhantomData<M>,
}

impl<M: Message> Client<M> {
    pub(super) async fn connect(address: &str) -> Self {
        Self::try_connect(address).await.expect("the relay takes a WebSocket")
    }

    /// Fails once the relay is gone.
    pub(super) async fn try_connect(address: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        let url = format!("ws://{address}{}", M::PATH);
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        Ok(Self { socket, dialect: std::marker::PhantomData })
    }

    pub(super) async fn say(&mut self, message: M) {
        self.try_say(message).await.expect("the relay reads");
    }

    pub(super) async fn hear(&mut self) -> M {
        self.try_hear().await.expect("the relay is there")
    }

    /// Fails once the relay is gone.
    pub(super) async fn try_say(&mut self, message: M) -> Result<(), Error> {
        let mut frame = Vec::new();
        message.write(&mut frame).expect("a message of a good size");
        self.socket.send(Frame::binary(frame)).await
    }

    /// Fails once the relay is gone. May be dropped and called again.
    pub(super) async fn try_hear(&mut self) -> Result<M, Error> {
        loop {
            match self.socket.next().await.unwrap_or(Err(Error::ConnectionClosed))? {
                Frame::Binary(frame) => {
                    return Ok(M::read(frame).expect("a message of the dialect"));
                }
                Frame::Ping(_) => {}
                other => panic!("{other:?} is no message"),
            }
        }
    }
}
