//! How far a download is: a bar on a terminal, lines elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

pub(super) struct Progress {
    total: u64,
    bar: Option<ProgressBar>,
    /// Tenths that were told.
    tenths: Cell<u64>,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(total));
        Self { total, bar, tenths: Cell::new(0) }
    }

    pub(super) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            return;
        }
        let tenths = bytes.saturating_mul(10) / self.total.max(1);
        if tenths > self.tenths.replace(tenths) {
            eprintln!("{:3} %", tenths * 10);
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: u64) -> ProgressBar {
    let template = "{bar:40} {percent:>3} %  {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let bar = ProgressBar::new(total);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // The default will do.
        Err(_) => bar,
    }
}
