//! What this process has used of the machine.

use std::time::Duration;

/// Processor time so far and the most memory held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// In bytes.
    pub(crate) max_rss: u64,
}

impl Usage {
    /// Of this process; `None` where the operating system does not tell.
    #[cfg(unix)]
    pub(crate) fn now() -> Option<Self> {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeValLike;

        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let micros = |time: nix::sys::time::TimeVal| {
            Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
        };
        let max_rss = u64::try_from(usage.max_rss()).ok()?;
        Some(Self {
            user: micros(usage.user_time()),
            system: micros(usage.system_time()),
            max_rss: if cfg!(target_vendor = "apple") { max_rss } else { max_rss * 1024 },
        })
    }

    /// Of this process; `None` where the operating system does not tell.
    #[cfg(not(unix))]
    pub(crate) fn now() -> Option<Self> {
        None
    }
}
