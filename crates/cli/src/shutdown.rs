//! Ctrl-C and SIGTERM: the first asks for an end, the second ends at once.

use std::time::Duration;

use tokio::sync::watch;
use towline::Endpoint;

use crate::failure::Failure;

/// Knows whether the program was asked to end.
#[derive(Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for the signals from now on.
    pub(crate) fn listen() -> Self {
        let (asked, receiver) = watch::channel(false);
        tokio::spawn(async move {
            let Ok(mut signals) = Signals::new() else { return };
            signals.next().await;
            // Nobody listens any more when the command is over, and then it ends anyway.
            let _ = asked.send(true);
            signals.next().await;
            std::process::exit(1);
        });
        Self(receiver)
    }

    /// Waits until the program is asked to end.
    pub(crate) async fn asked(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            // Without a handler the signals end the program as they always do.
            std::future::pending::<()>().await;
        }
    }

    /// What `work` comes to, unless the program is asked to end before.
    pub(crate) async fn guard<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            result = work => result,
            () = self.asked() => Err(Failure::Interrupted),
        }
    }

    /// Answers what peers repeat that missed our last answers, until none does or the program is asked to
    /// end; for at most `limit`, if there is one.
    pub(crate) async fn linger(&mut self, endpoint: &Endpoint, limit: Option<Duration>) {
        let idle = async {
            match limit {
                // A peer that is not answered any more takes the silence for the end.
                Some(limit) => drop(tokio::time::timeout(limit, endpoint.wait_idle()).await),
                None => endpoint.wait_idle().await,
            }
        };
        tokio::select! {
            () = idle => {}
            () = self.asked() => {}
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
