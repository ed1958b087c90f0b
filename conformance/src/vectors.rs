//! Test vectors: messages with their bytes, and bytes that are no messages, per dialect.
//!
//! The files in `conformance/vectors` are golden. [`generate`] made them with this project's codec, they
//! were then held against an implementation that shares nothing with it (`verify.py` beside them), and
//! from there on it is the codec that has to agree with the files: [`check`] and [`checks`] read them,
//! never what `generate` would write. Their `README.md` explains the format to other implementers.

mod case;
mod check;
mod data;
mod file;
mod generate;
mod number;
mod reason;
mod start;
mod tag;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub use check::Check;
pub use file::File;
use towline_wire::Dialect;

/// Makes the vectors of a dialect with the codec.
#[must_use]
pub fn generate(dialect: Dialect) -> File {
    generate::file(dialect)
}

/// Writes the generated vectors of every dialect into a folder, and says which files that were.
///
/// # Errors
/// Whatever the file system says.
pub fn write(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let written = Dialect::ALL.map(|dialect| {
        let path = path(folder, dialect);
        fs::write(&path, generate(dialect).to_json())?;
        Ok(path)
    });
    written.into_iter().collect()
}

/// Checks the codec against every vector in a folder, in both directions.
///
/// # Errors
/// [`ReadError`] when a file is missing or is no vector file.
pub fn check(folder: &Path) -> Result<Report, ReadError> {
    let mut report = Report { checks: Vec::new() };
    for dialect in Dialect::ALL {
        let path = path(folder, dialect);
        let file = match fs::read_to_string(&path).map(|text| File::from_json(&text)) {
            Ok(Ok(file)) => file,
            Ok(Err(source)) => return Err(ReadError::Malformed { path, source }),
            Err(source) => return Err(ReadError::Unreadable { path, source }),
        };
        report.checks.extend(check::file(&file));
    }
    Ok(report)
}

/// Checks the codec against the vectors that this program was built with.
pub fn checks(dialect: Dialect) -> impl Iterator<Item = Check> {
    let text = match dialect {
        Dialect::Rfc0007 => include_str!("../vectors/rfc0007.json"),
        Dialect::Rfc0009 => include_str!("../vectors/rfc0009.json"),
        Dialect::Hoprnet => include_str!("../vectors/hoprnet.json"),
    };
    let file = File::from_json(text).expect("the tests read the vectors of every dialect");
    check::file(&file).into_iter()
}

fn path(folder: &Path, dialect: Dialect) -> PathBuf {
    folder.join(dialect.name()).with_extension("json")
}

/// How the codec did on each vector.
#[derive(Clone, Debug)]
pub struct Report {
    /// One check per vector, in the order of the files.
    pub checks: Vec<Check>,
}

impl Report {
    /// The checks that did not pass.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome.is_err())
    }
}

/// Why a folder of vectors cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file is not there or not readable.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// A file is not in the format of vectors.
    #[error("{} is no file of vectors", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        source: serde_json::Error,
    },
}
