use std::net::SocketAddr;
use std::path::Path;

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use towline_wire::relay::seed::{self, Message, Payload};

use super::*;
use crate::dialect::Dialect;
use crate::server::Server;
use crate::store::sqlite::{self, Sqlite};

const DIALECTS: [Dialect; 2] = [Dialect::Deployed, Dialect::Seed];

/// A relay that runs, and can be ended and started again.
struct Relay {
    address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Relay {
    async fn start(directory: &Path, address: SocketAddr) -> Self {
        let config = sqlite::Config::builder().build().unwrap();
        let store = Sqlite::open(directory.join("relay.db"), &config).unwrap();
        let server = Server::builder(store).bind(address).await.unwrap();
        let address = server.local_address();
        let (shutdown, asked) = oneshot::channel();
        let running = tokio::spawn(server.run(async { drop(asked.await) }));
        Self { address, shutdown, running }
    }

    async fn end(self) {
        self.shutdown.send(()).unwrap();
        self.running.await.unwrap();
    }
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn config(relay: SocketAddr, dialect: Dialect) -> ConfigBuilder {
    let path = match dialect {
        Dialect::Deployed => "/api",
        Dialect::Seed => "/v0/api",
    };
    let retry = Duration::from_millis(10);
    // As short as can be where nothing says that all has come.
    Config::builder(format!("ws://{relay}{path}"), dialect)
        .first_retry(retry)
        .last_retry(retry)
        .quiet(Duration::from_millis(50))
}

fn alice() -> Arc<Key> {
    Arc::new(Key::new(&[1; 32]))
}

fn address_of(key: &Key, dialect: Dialect) -> Address {
    match dialect {
        Dialect::Deployed => Address::new(key.identity(), 1),
        Dialect::Seed => Address::new(key.user_id(), 1),
    }
}

async fn next_message(inbox: &mut Inbox) -> Received {
    loop {
        match inbox.next().await.unwrap() {
            Event::Message(message) => return message,
            // Whenever the relay has looked.
            Event::PreKeysLow(_) | Event::LoggedIn(_) | Event::Disconnected(_) => {}
            other => panic!("{other:?} is no message"),
        }
    }
}

#[tokio::test]
async fn somebody_is_found_and_written_to() {
    for dialect in DIALECTS {
        let directory = tempfile::tempdir().unwrap();
        let relay = Relay::start(directory.path(), any_port()).await;
        let config = config(relay.address, dialect).build().unwrap();
        let address = address_of(&alice(), dialect);
        let (device, mut inbox) = OwnDevice::open(config.clone(), alice(), Device::from(1));
        let one_time = vec!["first".into(), "second".into()];
        let registration = Registration { id: 7, signed: "signed".into(), one_time };
        device.register(registration).await.unwrap();
        let Some(Event::LoggedIn(number)) = inbox.next().await else { panic!("not logged in") };
        assert_eq!(number.is_some(), dialect == Dialect::Deployed);

        let somebody = Anonymous::open(config);
        let keys = somebody.prekeys(&address.owner, &[]).await.unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].device, Device::from(1));
        assert_eq!(keys[0].signed, "signed");
        assert_eq!(keys[0].one_time.as_deref(), Some(&b"second"[..]));
        assert!(somebody.prekeys(&address.owner, &[Device::from(1)]).await.unwrap().is_empty());
        if let Some(number) = number {
            assert_eq!(somebody.number_by_short(&number.short).await.unwrap(), number);
            let found = somebody.number_of(&address.owner.identity().unwrap()).await.unwrap();
            assert_eq!(found, number);
        }

        for text in ["first", "second"] {
            somebody.send(&address, text.into()).await.unwrap();
            let message = next_message(&mut inbox).await;
            assert_eq!(message.payload(), text);
            message.acknowledge();
        }
        device.unregister().await.unwrap();
        let error = somebody.prekeys(&address.owner, &[]).await.unwrap_err();
        assert!(matches!(error, RequestError::Refused(_)), "{error}");
        relay.end().await;
    }
}

#[tokio::test]
async fn a_relay_that_comes_back_is_connected_to_again() {
    for dialect in DIALECTS {
        let directory = tempfile::tempdir().unwrap();
        let relay = Relay::start(directory.path(), any_port()).await;
        let address = relay.address;
        let config = config(address, dialect).build().unwrap();
        let to = address_of(&alice(), dialect);
        let somebody = Anonymous::open(config.clone());
        for text in ["first", "second", "third"] {
            somebody.send(&to, text.into()).await.unwrap();
        }
        let (_device, mut inbox) = OwnDevice::open(config, alice(), Device::from(1));
        next_message(&mut inbox).await.acknowledge();
        let second = next_message(&mut inbox).await;
        relay.end().await;

        let relay = Relay::start(directory.path(), address).await;
        // Safe, but on a connection that has ended.
        second.acknowledge();
        somebody.send(&to, "fourth".into()).await.unwrap();
        let mut last = Bytes::new();
        let mut comes_again = 0;
        while last != "fourth" {
            let message = next_message(&mut inbox).await;
            last = message.payload().clone();
            assert_ne!(last, "first");
            comes_again += u32::from(last == "third");
            message.acknowledge();
        }
        // It was delivered before, or was on its way, and nobody has acknowledged it.
        assert!(comes_again >= 1);
        relay.end().await;
    }
}

#[tokio::test]
async fn what_is_too_long_is_not_sent_and_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path(), any_port()).await;
    let somebody = Anonymous::open(config(relay.address, Dialect::Seed).build().unwrap());
    let to = address_of(&alice(), Dialect::Seed);
    let long = somebody.send(&to, vec![0; 32_768].into()).await;
    assert!(matches!(long, Err(RequestError::Unsayable(Unsayable::TooLong(_)))));
    let other = address_of(&alice(), Dialect::Deployed);
    let other = somebody.send(&other, "sealed".into()).await;
    assert!(matches!(other, Err(RequestError::Unsayable(Unsayable::NotInDialect))));
    somebody.send(&to, "sealed".into()).await.unwrap();
    relay.end().await;
}

/// A relay that says what it is told to say, in the seed's dialect.
struct Script(TcpListener);

/// One connection of it.
struct Line(WebSocketStream<TcpStream>);

impl Script {
    async fn new() -> Self {
        Self(TcpListener::bind(any_port()).await.unwrap())
    }

    fn config(&self) -> ConfigBuilder {
        config(self.0.local_addr().unwrap(), Dialect::Seed)
    }

    /// A client has connected, and has heard a challenge.
    async fn accept(&self) -> Line {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut line = Line(tokio_tungstenite::accept_async(stream).await.unwrap());
        let challenge = seed::AuthChallenge { nonce: vec![4; 32].into() };
        line.say(1, Payload::AuthChallenge(challenge)).await;
        line
    }

    /// A client has connected and logged in.
    async fn accept_login(&self) -> Line {
        let mut line = self.accept().await;
        let login = line.hear().await;
        assert!(matches!(login.payload, Some(Payload::AuthResponse(_))));
        line.say(login.sequence, Payload::Ack(seed::Ack {})).await;
        line
    }
}

impl Line {
    async fn say(&mut self, sequence: u32, payload: Payload) {
        let mut frame = Vec::new();
        Message { sequence, payload: Some(payload) }.encode(&mut frame).unwrap();
        self.0.send(Frame::binary(frame)).await.unwrap();
    }

    async fn hear(&mut self) -> Message {
        loop {
            match self.0.next().await.unwrap().unwrap() {
                Frame::Binary(frame) => return Message::decode(frame).unwrap(),
                Frame::Ping(_) => {}
                other => panic!("{other:?} is no message"),
            }
        }
    }

    async fn hear_acknowledgement(&mut self) -> u32 {
        let Message { sequence, payload } = self.hear().await;
        assert_eq!(payload, Some(Payload::Ack(seed::Ack {})));
        sequence
    }
}

#[tokio::test]
async fn what_was_acknowledged_and_comes_again_is_not_shown_again() {
    let script = Script::new().await;
    let config = script.config().build().unwrap();
    let (_device, mut inbox) = OwnDevice::open(config, alice(), Device::from(1));
    let mut line = script.accept_login().await;
    line.say(2, Payload::InboundMessage("first".into())).await;
    next_message(&mut inbox).await.acknowledge();
    assert_eq!(line.hear_acknowledgement().await, 2);
    // The relay dies before it has done anything about it.
    drop(line);

    let mut line = script.accept_login().await;
    line.say(2, Payload::InboundMessage("first".into())).await;
    assert_eq!(line.hear_acknowledgement().await, 2);
    line.say(3, Payload::InboundMessage("second".into())).await;
    assert_eq!(next_message(&mut inbox).await.payload(), "second");
}

#[tokio::test]
async fn what_comes_before_the_answer_to_the_login_is_taken() {
    let script = Script::new().await;
    let config = script.config().build().unwrap();
    let (_device, mut inbox) = OwnDevice::open(config, alice(), Device::from(1));
    let mut line = script.accept().await;
    let login = line.hear().await;
    line.say(2, Payload::InboundMessage("early".into())).await;
    line.say(3, Payload::PreKeysLow(seed::PreKeysLow { keys_requested: 9 })).await;
    line.say(login.sequence, Payload::Ack(seed::Ack {})).await;
    assert!(
        matches!(inbox.next().await, Some(Event::Message(early)) if early.payload() == "early")
    );
    assert!(matches!(inbox.next().await, Some(Event::PreKeysLow(9))));
    assert!(matches!(inbox.next().await, Some(Event::LoggedIn(None))));
}

#[tokio::test]
async fn who_is_not_let_in_is_told_and_does_not_try_again() {
    let script = Script::new().await;
    let config = script.config().build().unwrap();
    let (device, mut inbox) = OwnDevice::open(config, alice(), Device::from(1));
    let mut line = script.accept().await;
    let login = line.hear().await;
    let unauthorized = seed::Error { name: "unauthorized".into(), description: String::new() };
    line.say(login.sequence, Payload::Error(unauthorized)).await;
    let Some(Event::Refused(refused)) = inbox.next().await else { panic!("not refused") };
    assert_eq!(refused.known(), Some(ErrorName::Unauthorized));
    assert!(inbox.next().await.is_none());
    assert!(matches!(device.unregister().await, Err(RequestError::Ended)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_relay_is_given_up() {
    let script = Script::new().await;
    let somebody = Anonymous::open(script.config().build().unwrap());
    let to = address_of(&alice(), Dialect::Seed);
    let line = script.accept().await;
    let (sent, mut again) = tokio::join!(somebody.send(&to, "sealed".into()), script.accept());
    assert!(matches!(sent, Err(RequestError::TimedOut | RequestError::Lost)), "{sent:?}");
    drop(line);

    // The next request goes over the new connection.
    let (sent, ()) = tokio::join!(somebody.send(&to, "sealed".into()), async {
        let request = again.hear().await;
        again.say(request.sequence, Payload::Ack(seed::Ack {})).await;
    });
    sent.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_said_is_kept_open_with_a_message() {
    let script = Script::new().await;
    let _somebody = Anonymous::open(script.config().build().unwrap());
    let mut line = script.accept().await;
    for _ in 0..5 {
        assert_eq!(line.hear_acknowledgement().await, 0);
    }
}

#[tokio::test]
async fn a_client_that_is_dropped_closes_its_connection() {
    let script = Script::new().await;
    let somebody = Anonymous::open(script.config().build().unwrap());
    let mut line = script.accept().await;
    drop(somebody);
    assert!(matches!(line.0.next().await, Some(Ok(Frame::Close(_)))));

    let config = script.config().build().unwrap();
    let (_device, inbox) = OwnDevice::open(config, alice(), Device::from(1));
    let mut line = script.accept_login().await;
    drop(inbox);
    assert!(matches!(line.0.next().await, Some(Ok(Frame::Close(_)))));
}

#[tokio::test]
async fn what_is_acknowledged_leaves_before_the_end() {
    let script = Script::new().await;
    let config = script.config().build().unwrap();
    let (_device, mut inbox) = OwnDevice::open(config, alice(), Device::from(1));
    let mut line = script.accept_login().await;
    line.say(2, Payload::InboundMessage("last".into())).await;
    next_message(&mut inbox).await.acknowledge();
    inbox.close().await;
    assert_eq!(line.hear_acknowledgement().await, 2);
    assert!(matches!(line.0.next().await, Some(Ok(Frame::Close(_)))));
}
