//! `towline relay client`: a relay tried by hand.

mod key;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use rand::TryRng;
use rand::rngs::SysRng;
use serde::Serialize;
use towline_relay::client::{Anonymous, Config, Event, Inbox, OwnDevice, RequestError};
use towline_relay::dialect::Dialect;
use towline_relay::store::Registration;
use towline_relay::{Address, Device, Owner};

use crate::failure::Failure;
use crate::json;
use crate::shutdown::Shutdown;

/// Bytes of a prekey that is registered: as random as a real one, and good for nothing.
const PREKEY_LEN: usize = 33;

/// Try a relay by hand: what is sent is not sealed, and the prekeys are random bytes
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Keygen(Keygen),
    Register(Register),
    Receive(Receive),
    Prekeys(Prekeys),
    Send(Send),
    Find(Find),
}

/// Make a key, and say what addresses it has
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay client keygen --key alice.key")]
pub(crate) struct Keygen {
    /// The file to write, which must not be there yet
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Number of the device
    #[arg(long, value_name = "N", default_value = "1")]
    device: u32,
    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
}

/// Which relay.
#[derive(clap::Args)]
struct RelayArgs {
    /// The relay: ws://HOST:PORT/PATH, or wss:
    #[arg(long, value_name = "URL")]
    relay: String,
    /// What is spoken there [default: deployed if the path is /api, otherwise seed]
    #[arg(long, value_name = "DIALECT", value_parser = dialects())]
    dialect: Option<Dialect>,
}

/// Which device.
#[derive(clap::Args)]
struct OwnArgs {
    #[command(flatten)]
    relay: RelayArgs,
    /// The key's file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Number of the device
    #[arg(long, value_name = "N", default_value = "1")]
    device: u32,
}

/// Log in and deposit prekeys
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay client register --relay ws://127.0.0.1:8080/api --key alice.key")]
pub(crate) struct Register {
    #[command(flatten)]
    own: OwnArgs,
    /// One-time prekeys
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(..=500))]
    prekeys: u32,
}

/// Log in and print what comes, one message a line
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay client receive --relay ws://127.0.0.1:8080/api --key alice.key --count 1")]
pub(crate) struct Receive {
    #[command(flatten)]
    own: OwnArgs,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print one JSON object a message: {\"message\"} in hex
    #[arg(long)]
    json: bool,
}

/// Ask for somebody's prekeys; a one-time prekey of each device is used up
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay client prekeys --relay ws://127.0.0.1:8080/api OWNER --json")]
pub(crate) struct Prekeys {
    #[command(flatten)]
    relay: RelayArgs,
    /// Whose: an address without its device
    owner: Owner,
    /// Print one JSON object a device to standard output
    #[arg(long)]
    json: bool,
}

/// Send a message, without saying who one is
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay client send --relay ws://127.0.0.1:8080/api --to OWNER:DEVICE 'good morning'")]
pub(crate) struct Send {
    #[command(flatten)]
    relay: RelayArgs,
    /// To which device
    #[arg(long, value_name = "OWNER:DEVICE")]
    to: Address,
    /// The message [default: standard input]
    message: Option<String>,
}

/// Find somebody's chat number by the beginning of it
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay client find --relay ws://127.0.0.1:8080/api 434282023399")]
pub(crate) struct Find {
    #[command(flatten)]
    relay: RelayArgs,
    /// The short number
    short: String,
    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    // An interrupt ends what waits for the relay; what comes is not lost then.
    let mut shutdown = Shutdown::listen();
    match command {
        Command::Keygen(args) => args.run(),
        Command::Register(args) => shutdown.guard(args.run()).await,
        Command::Receive(args) => args.run(shutdown).await,
        Command::Prekeys(args) => shutdown.guard(args.run()).await,
        Command::Send(args) => shutdown.guard(args.run()).await,
        Command::Find(args) => shutdown.guard(args.run()).await,
    }
}

impl Keygen {
    fn run(self) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Made {
            deployed: String,
            seed: String,
        }
        let key = key::create(&self.key)?;
        let device = || Device::from(self.device);
        let made = Made {
            deployed: Address::new(key.identity(), device()).to_string(),
            seed: Address::new(key.user_id(), device()).to_string(),
        };
        if self.json {
            return json::print(&made);
        }
        say(&format!("deployed {}\nseed     {}", made.deployed, made.seed))
    }
}

impl Register {
    async fn run(self) -> Result<(), Failure> {
        let (device, mut inbox) = self.own.open()?;
        let one_time =
            (0..self.prekeys).map(|_| random().map(Into::into)).collect::<Result<_, _>>()?;
        let registration = Registration { id: 1, signed: random()?.into(), one_time };
        let registered = device.register(registration);
        tokio::pin!(registered);
        loop {
            tokio::select! {
                done = &mut registered => return done.map_err(unanswered),
                event = inbox.next() => if let Some(Event::Refused(refused)) = event {
                    return Err(failed(refused));
                },
            }
        }
    }
}

impl Receive {
    async fn run(self, mut shutdown: Shutdown) -> Result<(), Failure> {
        let (_device, mut inbox) = self.own.open()?;
        let mut left = self.count;
        while left != Some(0) {
            let event = tokio::select! {
                event = inbox.next() => event,
                () = shutdown.asked() => return Ok(()),
            };
            match event {
                Some(Event::Message(message)) => {
                    self.print(message.payload())?;
                    message.acknowledge();
                    left = left.map(|left| left - 1);
                }
                Some(Event::LoggedIn(Some(number))) => {
                    eprintln!("logged in, found by {}", number.short);
                }
                Some(Event::LoggedIn(None)) => eprintln!("logged in"),
                Some(Event::PreKeysLow(wanted)) => {
                    eprintln!("the relay would like {wanted} one-time prekeys: register them");
                }
                Some(Event::Disconnected(why)) => eprintln!("towline: {why}; trying again"),
                Some(Event::Refused(refused)) => return Err(failed(refused)),
                Some(_) => {}
                None => return Err(Failure::Failed("the client has ended".into())),
            }
        }
        // Its acknowledgements leave before it closes.
        inbox.close().await;
        Ok(())
    }

    fn print(&self, message: &[u8]) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Line {
            message: String,
        }
        if self.json {
            return json::print(&Line { message: hex::encode(message) });
        }
        say(&String::from_utf8_lossy(message))
    }
}

impl Prekeys {
    async fn run(self) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Line {
            device: String,
            registration_id: u32,
            signed: String,
            one_time: Option<String>,
        }
        let keys = self.relay.anonymous()?.prekeys(&self.owner, &[]).await.map_err(unanswered)?;
        for key in keys {
            let line = Line {
                device: key.device.to_string(),
                registration_id: key.registration_id,
                signed: hex::encode(&key.signed),
                one_time: key.one_time.map(hex::encode),
            };
            if self.json {
                json::print(&line)?;
            } else {
                let one_time = line.one_time.as_deref().unwrap_or("none left");
                say(&format!("{}: signed {}, one-time {one_time}", line.device, line.signed))?;
            }
        }
        Ok(())
    }
}

impl Send {
    async fn run(self) -> Result<(), Failure> {
        let message = match self.message {
            Some(message) => message.into_bytes(),
            None => {
                let mut message = Vec::new();
                std::io::stdin().read_to_end(&mut message).map_err(Failure::Stdin)?;
                message
            }
        };
        self.relay.anonymous()?.send(&self.to, message.into()).await.map_err(unanswered)
    }
}

impl Find {
    async fn run(self) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Found {
            number: String,
            domain: String,
        }
        let found =
            self.relay.anonymous()?.number_by_short(&self.short).await.map_err(unanswered)?;
        if self.json {
            return json::print(&Found { number: found.number, domain: found.domain });
        }
        say(&found.number)
    }
}

impl RelayArgs {
    fn config(&self) -> Result<Config, Failure> {
        // After scheme and host, as in `wss://relay.example/api`.
        let is_deployed = self.relay.splitn(4, '/').nth(3) == Some("api");
        let by_path = if is_deployed { Dialect::Deployed } else { Dialect::Seed };
        let config = Config::builder(&self.relay, self.dialect.unwrap_or(by_path));
        config.build().map_err(|error| Failure::Usage(error.to_string()))
    }

    fn anonymous(&self) -> Result<Anonymous, Failure> {
        self.config().map(Anonymous::open)
    }
}

impl OwnArgs {
    fn open(&self) -> Result<(OwnDevice, Inbox), Failure> {
        let key = Arc::new(key::read(&self.key)?);
        Ok(OwnDevice::open(self.relay.config()?, key, Device::from(self.device)))
    }
}

fn dialects() -> impl TypedValueParser<Value = Dialect> {
    PossibleValuesParser::new([Dialect::Deployed.name(), Dialect::Seed.name()])
        .map(|name| if name == Dialect::Seed.name() { Dialect::Seed } else { Dialect::Deployed })
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// What became of a request, with what a person can do about it.
fn unanswered(error: RequestError) -> Failure {
    match error {
        RequestError::TimedOut | RequestError::Lost => Failure::Failed(format!(
            "{error}: is there a relay at this URL, and is its path the dialect's? TOWLINE_LOG=debug tells more"
        )),
        error => failed(error),
    }
}

fn random() -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; PREKEY_LEN];
    SysRng.try_fill_bytes(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(Failure::Stdout)
}
