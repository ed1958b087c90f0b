//! What this process has used of the machine.

use std::time::Duration;

/// Processor time so far, of all threads; zero where the operating system does not tell.
#[cfg(unix)]
pub(crate) fn processor_time() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::{TimeVal, TimeValLike};

    let micros =
        |time: TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0));
    getrusage(UsageWho::RUSAGE_SELF)
        .map_or(Duration::ZERO, |usage| micros(usage.user_time()) + micros(usage.system_time()))
}

/// Processor time so far, of all threads; zero where the operating system does not tell.
#[cfg(not(unix))]
pub(crate) fn processor_time() -> Duration {
    Duration::ZERO
}

/// Bytes of memory that this process uses; zero where the operating system does not tell.
pub(crate) fn resident_memory() -> u64 {
    memory_of("self")
}

/// Bytes of memory that a process uses, by its id; zero where the operating system does not tell.
pub(crate) fn memory_of(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kibibytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kibibytes.unwrap_or(0) * 1024
}
