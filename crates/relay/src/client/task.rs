//! The task of a client, which owns its connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use towline_wire::relay::{ErrorName, MAX_MESSAGE_LEN};

use super::conversation::{Conversation, Settled, read};
use super::inbound::{Delivered, Inbound, Receipt};
use super::words::{self, Answer, Heard, Request};
use super::{Config, Disconnect, Event, MAX_WAITING, Received, Refused, RequestError};
use crate::Device;
use crate::auth::Key;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Reply = oneshot::Sender<Result<Answer, RequestError>>;

/// Events that wait for a slow reader, beyond which nothing more is read from the relay: more than the window of a
/// relay should be.
const MAX_EVENTS: usize = 1024;

/// A message that means nothing: the relay begins to count at 1.
const NOTHING: u32 = 0;

/// What a handle asks of the task.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) reply: Reply,
}

/// Who a client is.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) key: Arc<Key>,
    pub(super) device: Device,
}

#[derive(Debug)]
pub(super) struct Task {
    config: Config,
    login: Option<Login>,
    asked: mpsc::Receiver<Asked>,
    /// Asked while there was no connection.
    backlog: VecDeque<Asked>,
    outlet: Option<Outlet>,
    inbound: Inbound,
    settle: mpsc::UnboundedSender<Delivered>,
    settled: mpsc::UnboundedReceiver<Delivered>,
}

/// What waits for the reader of the inbox.
#[derive(Debug)]
struct Outlet {
    events: VecDeque<Event>,
    tell: mpsc::Sender<Event>,
}

/// Why a connection is over, and with it the client if it is no [`Disconnect`].
enum End {
    Disconnect(Disconnect),
    /// Nobody is interested any more.
    Over,
    Refused(Refused),
}

impl<E: Into<Disconnect>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Disconnect(error.into())
    }
}

impl From<tungstenite::Error> for Disconnect {
    fn from(error: tungstenite::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Task {
    pub(super) fn new(
        config: Config,
        login: Option<Login>,
        tell: Option<mpsc::Sender<Event>>,
        asked: mpsc::Receiver<Asked>,
    ) -> Self {
        let (settle, settled) = mpsc::unbounded_channel();
        let outlet = tell.map(|tell| Outlet { events: VecDeque::new(), tell });
        let (backlog, inbound) = (VecDeque::new(), Inbound::default());
        Self { config, login, asked, backlog, outlet, inbound, settle, settled }
    }

    /// Connects again and again, until nobody is interested any more.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let end = self.connect_and_serve(&mut failures).await;
            match end {
                End::Over => return,
                End::Refused(refused) => return self.tell_last(Event::Refused(refused)).await,
                End::Disconnect(disconnect) => {
                    tracing::debug!(%disconnect, url = self.config.url, "no connection");
                    self.say(Event::Disconnected(disconnect));
                }
            }
            let retry = self.retry_time(failures);
            failures += 1;
            // Who waits for an answer meanwhile waits as long as it wants.
            tokio::select! {
                () = sleep(retry) => {}
                () = self.abandoned() => return,
            }
        }
    }

    async fn connect_and_serve(&mut self, failures: &mut u32) -> End {
        let connecting = timeout(self.config.request_timeout, connect(&self.config)).await;
        let socket = match connecting {
            Ok(Ok(socket)) => socket,
            Ok(Err(disconnect)) => return End::Disconnect(disconnect),
            Err(_) => return End::Disconnect(Disconnect::Silent),
        };
        self.inbound.begin();
        let mut link = Link::new(socket, &self.config);
        let served = self.serve(&mut link, failures).await;
        for reply in link.conversation.into_waiters().flatten() {
            let _ = reply.send(Err(RequestError::Lost));
        }
        match served {
            Ok(()) => End::Over,
            Err(end) => end,
        }
    }

    /// Serves one connection; `Ok` once nobody is interested any more.
    async fn serve(&mut self, link: &mut Link, failures: &mut u32) -> Result<(), End> {
        loop {
            link.send_due(&mut self.inbound).await?;
            let deadline = link.next_deadline();
            let may_read = self.outlet.as_ref().is_none_or(|it| it.events.len() < MAX_EVENTS);
            let may_ask = link.is_ready && link.conversation.len() < MAX_WAITING;
            if may_ask && let Some(Asked { request, reply }) = self.backlog.pop_front() {
                link.ask(request, Some(reply)).await?;
                continue;
            }
            let (asked, settled) = (&mut self.asked, &mut self.settled);
            let outlet = &mut self.outlet;
            tokio::select! {
                heard = link.socket.next(), if may_read => {
                    let heard = heard.ok_or_else(|| Disconnect::Broken("closed".into()))?;
                    self.hear(heard.map_err(Disconnect::from)?, link, failures).await?;
                }
                asked = asked.recv(), if may_ask => match asked {
                    Some(Asked { request, reply }) => {
                        link.ask(request, Some(reply)).await?;
                    }
                    None => return self.part(link).await,
                },
                Some(delivered) = settled.recv() => self.inbound.settle(delivered),
                told = tell_next(outlet) => if !told { return self.part(link).await },
                () = sleep_until(deadline.into()) => link.handle_timeout().await?,
            }
        }
    }

    /// Nobody is interested any more: what can still be acknowledged is.
    async fn part(&mut self, link: &mut Link) -> Result<(), End> {
        while let Ok(delivered) = self.settled.try_recv() {
            self.inbound.settle(delivered);
        }
        link.send_due(&mut self.inbound).await?;
        link.within(async |socket| socket.close(None).await).await?;
        Ok(())
    }

    async fn hear(
        &mut self,
        message: Message,
        link: &mut Link,
        failures: &mut u32,
    ) -> Result<(), End> {
        link.heard_at = now();
        let frame = match message {
            Message::Binary(frame) => frame,
            Message::Close(Some(close)) => {
                return Err(Disconnect::Closed(close.code.into(), close.reason.to_string()).into());
            }
            Message::Close(None) => return Err(Disconnect::Closed(1005, String::new()).into()),
            _ => return Ok(()),
        };
        let (sequence, heard) = read(self.config.dialect, frame)?;
        match heard {
            Heard::Challenge(nonce) => match &self.login {
                None => {
                    link.is_ready = true;
                    *failures = 0;
                }
                Some(Login { key, device }) => {
                    let request = words::log_in(self.config.dialect, key, device, nonce);
                    // A device that the dialect has no word for never gets in.
                    let request = request.map_err(|error| {
                        End::Refused(Refused { name: "unsayable".into(), text: error.to_string() })
                    })?;
                    link.ask(request, None).await?;
                }
            },
            Heard::Answer(answer) => {
                match link.conversation.handle_answer(sequence, answer) {
                    // The login, which nobody else asks for.
                    Some((None, answer)) => {
                        let number = match answer {
                            Ok(Answer::Number(number)) => Some(number),
                            Ok(_) => None,
                            Err(RequestError::Refused(refused)) => {
                                let _ = link.socket.close(None).await;
                                return Err(match refused.known() {
                                    Some(ErrorName::Unauthorized) => End::Refused(refused),
                                    _ => Disconnect::LoginFailed(refused).into(),
                                });
                            }
                            Err(_) => return Err(Disconnect::Undecodable.into()),
                        };
                        link.is_ready = true;
                        *failures = 0;
                        self.say(Event::LoggedIn(number));
                    }
                    settled => answer_to(settled),
                }
                link.ask_waiting().await?;
            }
            Heard::PreKey(owner, key) => link.conversation.handle_prekey(now(), &owner, key),
            Heard::PreKeysLow(count) => self.say(Event::PreKeysLow(count)),
            Heard::Message(payload) => {
                if let Some(delivered) = self.inbound.handle_message(sequence, &payload) {
                    let receipt = Receipt::new(delivered, self.settle.clone());
                    self.say(Event::Message(Received { payload, receipt }));
                }
            }
            Heard::Nothing => {}
        }
        Ok(())
    }

    fn say(&mut self, event: Event) {
        let Some(Outlet { events, .. }) = &mut self.outlet else { return };
        // While nobody reads, one of them says as much as many.
        if let (Some(last @ Event::Disconnected(_)), Event::Disconnected(_)) =
            (events.back_mut(), &event)
        {
            *last = event;
        } else {
            events.push_back(event);
        }
    }

    async fn tell_last(&mut self, event: Event) {
        self.say(event);
        // Nobody gets an answer any more.
        self.asked.close();
        while let Some(outlet) = &self.outlet
            && !outlet.events.is_empty()
            && tell_next(&mut self.outlet).await
        {}
    }

    /// While there is no connection: until nobody is interested any more.
    async fn abandoned(&mut self) {
        loop {
            // Who does not wait any more need not be answered.
            self.backlog.retain(|asked| !asked.reply.is_closed());
            let (asked, outlet, settled) = (&mut self.asked, &mut self.outlet, &mut self.settled);
            tokio::select! {
                asked = asked.recv(), if self.backlog.len() < MAX_WAITING => match asked {
                    Some(asked) => self.backlog.push_back(asked),
                    None => return,
                },
                told = tell_next(outlet) => if !told { return },
                Some(delivered) = settled.recv() => self.inbound.settle(delivered),
            }
        }
    }

    /// Longer and longer, and not the same for all clients of a relay that was away.
    fn retry_time(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let longest = self.config.first_retry.saturating_mul(factor).min(self.config.last_retry);
        // Without random numbers there is no login either.
        let random = SysRng.try_next_u32().unwrap_or(0);
        longest.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
    }
}

/// Hands the next event to the reader as soon as it takes it; `false` once it is gone. Waits if there is none.
async fn tell_next(outlet: &mut Option<Outlet>) -> bool {
    let Some(outlet) = outlet else { return std::future::pending().await };
    if outlet.events.is_empty() {
        outlet.tell.closed().await;
        return false;
    }
    let Ok(permit) = outlet.tell.reserve().await else { return false };
    if let Some(event) = outlet.events.pop_front() {
        permit.send(event);
    }
    true
}

fn answer_to(settled: Option<Settled<Option<Reply>>>) {
    if let Some((Some(reply), answer)) = settled {
        // Who has gone away does not want to know.
        let _ = reply.send(answer);
    }
}

async fn connect(config: &Config) -> Result<Socket, Disconnect> {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(2 * MAX_MESSAGE_LEN))
        .max_frame_size(Some(2 * MAX_MESSAGE_LEN));
    let connected =
        connect_async_tls_with_config(&config.url, Some(limits), true, config.tls.clone()).await;
    let (socket, _) = connected.map_err(|error| Disconnect::Unreachable(error.to_string()))?;
    Ok(socket)
}

/// One connection.
struct Link {
    socket: Socket,
    /// Who asks nobody's question is the task itself, at the login.
    conversation: Conversation<Option<Reply>>,
    dialect: crate::dialect::Dialect,
    keepalive: Duration,
    /// The relay may be asked things.
    is_ready: bool,
    said_at: Instant,
    heard_at: Instant,
    ready_by: Instant,
}

impl Link {
    fn new(socket: Socket, config: &Config) -> Self {
        let now = now();
        Self {
            socket,
            conversation: Conversation::new(config.dialect, config.request_timeout, config.quiet),
            dialect: config.dialect,
            keepalive: config.keepalive,
            is_ready: false,
            said_at: now,
            heard_at: now,
            ready_by: now + config.request_timeout,
        }
    }

    /// Acknowledges what is safe, and lets everything leave.
    async fn send_due(&mut self, inbound: &mut Inbound) -> Result<(), Disconnect> {
        while let Some(sequence) = inbound.poll_acknowledgement() {
            let frame = words::acknowledgement(self.dialect, sequence);
            self.feed(frame).await?;
        }
        self.flush().await
    }

    async fn ask(&mut self, request: Request, reply: Option<Reply>) -> Result<(), Disconnect> {
        let asked = self.conversation.ask(now(), request, reply);
        self.send_asked(asked).await
    }

    async fn ask_waiting(&mut self) -> Result<(), Disconnect> {
        while let Some(asked) = self.conversation.poll_waiting(now()) {
            self.send_asked(asked).await?;
        }
        Ok(())
    }

    async fn send_asked(
        &mut self,
        asked: Result<Option<Bytes>, (Option<Reply>, words::Unsayable)>,
    ) -> Result<(), Disconnect> {
        match asked {
            Ok(Some(frame)) => self.feed(frame).await,
            Ok(None) => Ok(()),
            Err((reply, error)) => {
                answer_to(Some((reply, Err(error.into()))));
                Ok(())
            }
        }
    }

    async fn feed(&mut self, frame: Bytes) -> Result<(), Disconnect> {
        self.said_at = now();
        self.within(async |socket| socket.feed(Message::Binary(frame)).await).await
    }

    async fn flush(&mut self) -> Result<(), Disconnect> {
        self.within(async |socket| socket.flush().await).await
    }

    /// Does it, unless the relay does not take what it is sent.
    async fn within(
        &mut self,
        work: impl AsyncFnOnce(&mut Socket) -> Result<(), tungstenite::Error>,
    ) -> Result<(), Disconnect> {
        let patience = 3 * self.keepalive;
        let done = timeout(patience, work(&mut self.socket)).await;
        Ok(done.map_err(|_| Disconnect::Silent)??)
    }

    fn next_deadline(&self) -> Instant {
        let silence = (self.heard_at + 3 * self.keepalive).min(self.said_at + self.keepalive);
        let ready = (!self.is_ready).then_some(self.ready_by);
        let answer = self.conversation.poll_timeout();
        [ready, answer].into_iter().flatten().fold(silence, Instant::min)
    }

    async fn handle_timeout(&mut self) -> Result<(), Disconnect> {
        let now = now();
        let is_late = !self.is_ready && self.ready_by <= now;
        if is_late || self.heard_at + 3 * self.keepalive <= now {
            return Err(Disconnect::Silent);
        }
        let settled = self.conversation.handle_timeout(now)?;
        if settled.is_some() {
            answer_to(settled);
            self.ask_waiting().await?;
        }
        if self.said_at + self.keepalive <= now {
            self.feed(words::acknowledgement(self.dialect, NOTHING)).await?;
            // Its pong shows that the relay is there.
            self.within(async |socket| socket.feed(Message::Ping(Bytes::new())).await).await?;
        }
        Ok(())
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
