//! Files of keys: the private key's 32 bytes in hex, for their owner alone.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;
use towline_relay::auth::Key;

use crate::failure::Failure;

/// Makes a key, and a file for it.
pub(super) fn create(path: &Path) -> Result<Key, Failure> {
    let failure =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", path.display()));
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|error| failure(&error))?;
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| failure(&error))?;
    writeln!(file, "{}", hex::encode(seed)).map_err(|error| failure(&error))?;
    Ok(Key::new(&seed))
}

pub(super) fn read(path: &Path) -> Result<Key, Failure> {
    let failure = |text: &str| Failure::Failed(format!("{}: {text}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failure(&error.to_string()))?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| {
        failure("a key is 32 bytes in hex, as `towline relay client keygen` writes it")
    })?;
    Ok(Key::new(&seed))
}
