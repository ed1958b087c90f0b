//! Where a relay keeps what it must not forget.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A relay's directory, as an argument.
#[derive(Clone, Debug)]
pub(crate) struct Directory(PathBuf);

impl From<PathBuf> for Directory {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

/// Keeps others from using a directory.
pub(crate) struct Lock {
    #[cfg(unix)]
    _file: nix::fcntl::Flock<File>,
}

impl Directory {
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("relay.db")
    }

    pub(crate) fn attachments(&self) -> PathBuf {
        self.0.join("attachments")
    }

    /// Makes it, for its owner alone, if it is not there.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).map_err(|error| self.failure(&error))
    }

    /// Takes it for this process: two relays on one store would not hear of each other's messages.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        let path = self.0.join("relay.lock");
        let file = File::options().create(true).truncate(false).write(true).open(path);
        lock(file.map_err(|error| self.failure(&error))?).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Failure::Failed(format!("{}: a relay uses it already", self.0.display()))
            }
            _ => self.failure(&error),
        })
    }

    /// The store that must be there.
    pub(crate) fn existing_store(&self) -> Result<PathBuf, Failure> {
        let store = self.store();
        if store.is_file() { Ok(store) } else { Err(Failure::Failed(no_store(&store))) }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::Failed(format!("{}: {error}", self.0.display()))
    }
}

fn no_store(path: &Path) -> String {
    format!("{}: there is no such file; is that the --data of a relay?", path.display())
}

#[cfg(unix)]
fn lock(file: File) -> io::Result<Lock> {
    use nix::fcntl::{Flock, FlockArg};
    let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    locked.map(|file| Lock { _file: file }).map_err(|(_, error)| error.into())
}

/// Elsewhere than on Unix the operator sees to it.
#[cfg(not(unix))]
fn lock(_: File) -> io::Result<Lock> {
    Ok(Lock {})
}
