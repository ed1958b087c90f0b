mod attachments;
mod federation;
mod http;
mod late;
mod limits;
mod sockets;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::*;
use crate::dialect::Dialect;
use crate::store::sqlite::{self, Sqlite};
use crate::test_client::{ALICE, Ask, BOB, Heard, Person, Told, encode, heard};

const DIALECTS: [Dialect; 2] = [Dialect::Deployed, Dialect::Seed];

/// A server that runs, on a port of its own.
struct Relay {
    address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    _directory: TempDir,
}

impl Relay {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with<S: Store>(
        configure: impl FnOnce(ServerBuilder<Sqlite>) -> ServerBuilder<S>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = sqlite::Config::builder().build().unwrap();
        let store = Sqlite::open(directory.path().join("relay.db"), &config).unwrap();
        let server = configure(Server::builder(store));
        let server = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = server.local_address();
        let (shutdown, asked) = oneshot::channel();
        let running = tokio::spawn(server.run(async { drop(asked.await) }));
        Self { address, shutdown: Some(shutdown), running, _directory: directory }
    }

    /// Asks it to end.
    fn shut_down(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    async fn stream(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect(&self, dialect: Dialect) -> Client {
        Client::new(self.stream().await, dialect).await.unwrap()
    }

    async fn log_in(&self, dialect: Dialect, person: Person) -> Client {
        let mut client = self.connect(dialect).await;
        client.log_in(person).await;
        client
    }

    /// All that it answers to a request that is written like that, until it closes the connection.
    async fn raw(&self, request: &str) -> String {
        let mut stream = self.stream().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The first line of the answer.
    async fn status(&self, request: &str) -> String {
        let mut stream = BufReader::new(self.stream().await);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line
    }

    async fn page(&self, path: &str) -> String {
        let host = "Host: relay.example\r\nConnection: close";
        self.raw(&format!("GET {path} HTTP/1.1\r\n{host}\r\n\r\n")).await
    }
}

/// A client of one connection.
struct Client<T = TcpStream> {
    dialect: Dialect,
    nonce: Bytes,
    socket: WebSocketStream<T>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    /// Connects, and hears what the relay says first.
    async fn new(stream: T, dialect: Dialect) -> Result<Self, tungstenite::Error> {
        let url = match dialect {
            Dialect::Deployed => "ws://relay.example/api",
            Dialect::Seed => "ws://relay.example/v0/api",
        };
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        let mut client = Self { dialect, nonce: Bytes::new(), socket };
        let Heard { sequence: 1, told: Told::Challenge(nonce) } = client.hear().await else {
            panic!("no challenge");
        };
        client.nonce = nonce;
        if dialect == Dialect::Deployed {
            assert_eq!(client.hear().await, Heard { sequence: 2, told: Told::Configuration });
        }
        Ok(client)
    }

    async fn log_in(&mut self, person: Person) {
        let nonce = self.nonce.clone();
        let told = self.ask(0, Ask::LogInTo(&nonce, person)).await.told;
        assert!(matches!(told, Told::Ack | Told::Number(..)), "{told:?}");
    }

    async fn say(&mut self, sequence: u32, ask: Ask<'_>) {
        let message = Message::Binary(encode(self.dialect, sequence, ask));
        self.socket.send(message).await.unwrap();
    }

    /// Says something, and hears the answer.
    async fn ask(&mut self, sequence: u32, ask: Ask<'_>) -> Heard {
        self.say(sequence, ask).await;
        let heard = self.hear().await;
        assert_eq!(heard.sequence, sequence);
        heard
    }

    async fn hear(&mut self) -> Heard {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Binary(frame) => match heard(self.dialect, frame) {
                    // Whenever the relay has looked.
                    Heard { told: Told::PreKeysLow(_), .. } => {}
                    heard => return heard,
                },
                Message::Ping(_) => {}
                other => panic!("{other:?} is no message"),
            }
        }
    }

    async fn hear_message(&mut self) -> (u32, Bytes) {
        match self.hear().await {
            Heard { sequence, told: Told::Message(message) } => (sequence, message),
            other => panic!("{other:?} is no message from somebody"),
        }
    }

    /// How the relay closes the connection, after which nothing comes.
    async fn hear_close(&mut self) -> (u16, String) {
        match self.socket.next().await.unwrap().unwrap() {
            Message::Close(Some(close)) => {
                assert!(self.socket.next().await.is_none());
                (close.code.into(), close.reason.to_string())
            }
            other => panic!("{other:?} is no close"),
        }
    }
}
