//! Output for other programs.

use std::io::Write;

use serde::Serialize;

use crate::failure::Failure;

/// Prints one object on a line of its own.
pub(crate) fn print(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value).map_err(|error| Failure::Stdout(error.into()))?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line).map_err(Failure::Stdout)
}
