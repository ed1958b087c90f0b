//! Attachments: files on the server's own disk, each under a name that nobody can guess.
//!
//! Who wants to send one asks for an authorization, uploads the file with it as a form, and tells the recipient,
//! sealed, where it is. The authorizations are signed with a secret of the directory, and kept nowhere: each holds for one
//! name, which is taken once.

mod http;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::Sha256;
use tempfile::TempPath;
use towline_wire::relay::BASE32;
use towline_wire::relay::deployed::UploadAuthorization;

use super::gate::Source;
use super::tally::Tally;
use crate::store::{InvalidSetting, Timestamp, check_setting};

pub(super) use http::{PATH, router};

/// How long an authorization holds, and by how much less clients are told, as their clocks differ.
const AUTHORIZED: Duration = Duration::from_secs(24 * 3600);
const MARGIN: Duration = Duration::from_secs(60);

/// Uploads at a time, of all and of one source.
const MAX_AT_ONCE: usize = 64;
const MAX_OF_SOURCE: usize = 8;

/// With this, as many authorizations as are given at once fit in a message.
const MAX_URL_LEN: usize = 480;

/// Random bytes of a name, and its characters.
const NAME_BYTES: usize = 16;
const NAME_LEN: usize = 26;

const SECRET_FILE: &str = "secret";
/// What uploads are called that are not complete.
const PARTIAL: &str = ".upload-";

/// Settings of [`Attachments`], valid as built.
#[derive(Clone, Debug)]
pub struct AttachmentConfig {
    url: Option<String>,
    max_bytes: u64,
    max_space: u64,
    max_age: Duration,
}

impl AttachmentConfig {
    /// Everything at its default.
    pub fn builder() -> AttachmentConfigBuilder {
        AttachmentConfigBuilder(Self {
            url: None,
            max_bytes: 100 << 20,
            max_space: 10 << 30,
            max_age: Duration::from_secs(30 * 24 * 3600),
        })
    }
}

/// Settings under construction; [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use]
pub struct AttachmentConfigBuilder(AttachmentConfig);

/// Why settings are not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachmentConfigError {
    /// Clients could not use it.
    #[error(
        "{0:?} is no URL of up to {MAX_URL_LEN} bytes that begins with http:// or https:// and a host"
    )]
    Url(String),
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

impl AttachmentConfigBuilder {
    /// Where clients reach the server, such as `https://relay.example`. By default it is the address that the server
    /// listens on.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.0.url = Some(url.into());
        self
    }

    /// The longest attachment, in bytes. Default 100 MiB, from 1 byte to 1 TiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.0.max_bytes = bytes;
        self
    }

    /// What all attachments together may take, in bytes. Default 10 GiB, from 1 byte to 1 EiB.
    pub fn max_space(mut self, bytes: u64) -> Self {
        self.0.max_space = bytes;
        self
    }

    /// How long an attachment is kept. Default 30 days, from an hour to ten years.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.0.max_age = age;
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// The first one that is wrong, ages in seconds.
    pub fn build(self) -> Result<AttachmentConfig, AttachmentConfigError> {
        const HOUR: u64 = 3600;
        let config = self.0;
        if let Some(url) = config.url.as_ref().filter(|url| !is_url(url)) {
            return Err(AttachmentConfigError::Url(url.clone()));
        }
        check_setting("max_bytes", config.max_bytes, 1..=1 << 40)?;
        check_setting("max_space", config.max_space, 1..=1 << 60)?;
        check_setting("max_age", config.max_age.as_secs(), HOUR..=10 * 366 * 24 * HOUR)?;
        Ok(config)
    }
}

fn is_url(url: &str) -> bool {
    let uri = url.parse::<axum::http::Uri>();
    url.len() <= MAX_URL_LEN
        && uri.is_ok_and(|uri| {
            let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
            is_http && uri.query().is_none()
        })
}

/// Why attachments cannot be kept in a directory.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}", path = path.display())]
pub struct AttachmentError {
    path: PathBuf,
    error: io::Error,
}

/// Attachments in a directory.
#[derive(Debug)]
pub struct Attachments {
    directory: PathBuf,
    config: AttachmentConfig,
    signer: Hmac<Sha256>,
    /// Bytes of what is there, and of what comes.
    used: AtomicU64,
    /// Uploads that go on, by who uploads.
    uploads: Mutex<Tally<Source>>,
}

impl Attachments {
    /// Keeps attachments in a directory, which is made if it is not there, and holds nothing else. One server at a
    /// time may use it.
    ///
    /// # Errors
    /// The directory cannot be made, read or written.
    pub fn open(
        directory: impl Into<PathBuf>,
        config: AttachmentConfig,
    ) -> Result<Self, AttachmentError> {
        let directory = directory.into();
        let failure = |error| AttachmentError { path: directory.clone(), error };
        make_directory(&directory).map_err(failure)?;
        let secret = secret(&directory).map_err(failure)?;
        let mut used = 0;
        for entry in fs::read_dir(&directory).map_err(failure)? {
            let entry = entry.map_err(failure)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(PARTIAL) {
                fs::remove_file(entry.path()).map_err(failure)?;
            } else if is_name(&name) {
                used += entry.metadata().map_err(failure)?.len();
            }
        }
        let signer = Hmac::new_from_slice(&secret).expect("a key of any length is good");
        let (used, uploads) = (AtomicU64::new(used), Mutex::default());
        Ok(Self { directory, config, signer, used, uploads })
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.config.max_bytes
    }

    /// Bytes that attachments take.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Where clients reach a server that listens there, if nothing else was said.
    pub(super) fn set_default_url(&mut self, is_tls: bool, address: SocketAddr) {
        let scheme = if is_tls { "https" } else { "http" };
        self.config.url.get_or_insert_with(|| format!("{scheme}://{address}"));
    }

    /// Permissions to upload, as many as are wanted, or none where there is no more space.
    pub(super) fn authorize(&self, count: usize, now: Timestamp) -> Vec<UploadAuthorization> {
        if self.used() >= self.config.max_space {
            return Vec::new();
        }
        let authorizations = (0..count).map(|_| self.authorize_one(now));
        authorizations.collect::<Result<_, _>>().unwrap_or_else(|error| {
            tracing::error!(%error, "no name for an attachment");
            Vec::new()
        })
    }

    fn authorize_one(&self, now: Timestamp) -> Result<UploadAuthorization, rand::rngs::SysError> {
        let mut random = [0; NAME_BYTES];
        SysRng.try_fill_bytes(&mut random)?;
        let name = BASE32.encode(&random);
        let expires = now.0 + AUTHORIZED.as_millis() as u64;
        let signature = self.sign(&name, expires).finalize().into_bytes();
        let url = self.config.url.as_deref().unwrap_or_default().trim_end_matches('/');
        let form = [
            ("name", name.clone()),
            ("expires", expires.to_string()),
            ("signature", BASE32.encode(&signature)),
        ];
        let told = expires - MARGIN.as_millis() as u64;
        Ok(UploadAuthorization {
            upload_url: format!("{url}{PATH}"),
            upload_form_data: form.map(|(key, value)| (key.to_owned(), value)).into(),
            authorization_expires_at: told.try_into().unwrap_or(i64::MAX),
            max_upload_size: self.config.max_bytes.try_into().unwrap_or(i64::MAX),
            download_url: format!("{url}{PATH}/{name}"),
        })
    }

    fn sign(&self, name: &str, expires: u64) -> Hmac<Sha256> {
        self.signer.clone().chain_update(name).chain_update([0]).chain_update(expires.to_be_bytes())
    }

    /// The name that an upload may take.
    fn verify(&self, form: &BTreeMap<String, String>, now: Timestamp) -> Option<String> {
        let name = form.get("name").filter(|name| is_name(name))?;
        let expires = form.get("expires")?.parse().ok()?;
        let signature = BASE32.decode(form.get("signature")?.as_bytes()).ok()?;
        let is_signed = self.sign(name, expires).verify_slice(&signature).is_ok();
        (is_signed && now.0 <= expires).then(|| name.clone())
    }

    /// Lets an upload go on, if there is room.
    fn slot(&self, source: Source) -> Option<Slot<'_>> {
        let mut uploads = self.uploads();
        if uploads.all() >= MAX_AT_ONCE || uploads.of(&source) >= MAX_OF_SOURCE {
            return None;
        }
        uploads.add(source);
        Some(Slot { attachments: self, source })
    }

    fn uploads(&self) -> MutexGuard<'_, Tally<Source>> {
        // Nothing under the lock leaves it half done.
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Room for an upload, of which nothing is used yet.
    fn room(self: &Arc<Self>) -> Room {
        Room { attachments: Arc::clone(self), bytes: 0 }
    }

    /// Bytes are not used any more. An operator may have put files there that were never counted.
    fn give_back(&self, bytes: u64) {
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            Some(used.saturating_sub(bytes))
        });
    }

    /// Deletes what is too old; how many files.
    pub(super) fn expire(&self, now: SystemTime) -> io::Result<u64> {
        let mut expired = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !is_name(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let metadata = entry.metadata()?;
            // One from the future is not old.
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            if age >= self.config.max_age {
                fs::remove_file(entry.path())?;
                self.give_back(metadata.len());
                expired += 1;
            }
        }
        Ok(expired)
    }
}

/// An upload that goes on, until it is dropped.
struct Slot<'a> {
    attachments: &'a Attachments,
    source: Source,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.attachments.uploads().take(self.source);
    }
}

/// What an upload takes, until it is given up.
struct Room {
    attachments: Arc<Attachments>,
    bytes: u64,
}

impl Room {
    /// Takes more, if there is more.
    fn take(&mut self, bytes: u64) -> bool {
        let used = &self.attachments.used;
        let fits =
            used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.attachments.config.max_space;
        if fits {
            self.bytes += bytes;
        } else {
            used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// It stays taken.
    fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.attachments.give_back(self.bytes);
    }
}

/// A file for what comes, which goes if it is not kept.
fn partial(directory: &Path) -> io::Result<(File, TempPath)> {
    let file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(directory)?;
    Ok(file.into_parts())
}

/// Puts a complete file, that is on the disk, at its place: it is there for good once this returns.
fn place(partial: TempPath, path: &Path) -> io::Result<()> {
    partial.persist_noclobber(path)?;
    if let Some(directory) = path.parent() {
        sync_directory(directory)?;
    }
    Ok(())
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Elsewhere it is the file system's business.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// What authorizations are signed with: random, and the same from one run to the next.
fn secret(directory: &Path) -> io::Result<[u8; 32]> {
    let path = directory.join(SECRET_FILE);
    let mut secret = [0; 32];
    match File::open(&path) {
        Ok(mut file) => file.read_exact(&mut secret)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            SysRng.try_fill_bytes(&mut secret).map_err(io::Error::other)?;
            let (mut file, partial) = partial(directory)?;
            file.write_all(&secret)?;
            file.sync_all()?;
            place(partial, &path)?;
        }
        Err(error) => return Err(error),
    }
    Ok(secret)
}

fn is_name(name: &str) -> bool {
    name.len() == NAME_LEN && BASE32.decode(name.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    fn attachments(builder: AttachmentConfigBuilder) -> (TempDir, Arc<Attachments>) {
        let directory = tempfile::tempdir().unwrap();
        let attachments = Attachments::open(directory.path(), builder.build().unwrap()).unwrap();
        (directory, Arc::new(attachments))
    }

    fn here() -> AttachmentConfigBuilder {
        AttachmentConfig::builder().url("https://relay.example/")
    }

    #[test]
    fn every_setting_is_checked() {
        let builder = AttachmentConfig::builder;
        assert!(builder().build().is_ok());
        for (field, builder) in [
            ("max_bytes", builder().max_bytes(0)),
            ("max_space", builder().max_space(0)),
            ("max_age", builder().max_age(Duration::from_secs(3599))),
        ] {
            let Err(AttachmentConfigError::Setting(error)) = builder.build() else {
                panic!("{field}")
            };
            assert_eq!(error.field, field);
        }
        let long = format!("https://{}.example", "x".repeat(MAX_URL_LEN));
        for url in ["", "relay.example", "ftp://relay.example", "https://", "https://x/?y", &long] {
            let wrong = AttachmentConfigError::Url(url.into());
            assert_eq!(builder().url(url).build().map(drop), Err(wrong));
        }
    }

    #[test]
    fn an_authorization_holds_for_its_name_and_its_time() {
        let (directory, attachments) = attachments(here());
        let given = attachments.authorize(2, Timestamp(1000));
        let [first, second] = &given[..] else { panic!("{given:?}") };
        assert_eq!(first.upload_url, "https://relay.example/attachments");
        assert_eq!(first.authorization_expires_at, (1000 + DAY - 60_000) as i64);
        let form = &first.upload_form_data;
        let name = form["name"].clone();
        assert_eq!(first.download_url, format!("https://relay.example/attachments/{name}"));
        assert_eq!(attachments.verify(form, Timestamp(1000 + DAY)), Some(name.clone()));
        assert_eq!(attachments.verify(form, Timestamp(1001 + DAY)), None);

        for key in ["name", "expires", "signature"] {
            let mut other = form.clone();
            other.insert(key.into(), second.upload_form_data[key].clone());
            if other != *form {
                assert_eq!(attachments.verify(&other, Timestamp(1000)), None, "{key}");
            }
            other.remove(key);
            assert_eq!(attachments.verify(&other, Timestamp(1000)), None, "{key}");
        }
        let mut later = form.clone();
        later.insert("expires".into(), (2000 + DAY).to_string());
        assert_eq!(attachments.verify(&later, Timestamp(1000)), None);

        // It holds after a restart, and nowhere else.
        let config = here().build().unwrap();
        let again = Attachments::open(directory.path(), config.clone()).unwrap();
        assert_eq!(again.verify(form, Timestamp(1000)), Some(name));
        let elsewhere = Attachments::open(tempfile::tempdir().unwrap().path(), config).unwrap();
        assert_eq!(elsewhere.verify(form, Timestamp(1000)), None);
    }

    #[test]
    fn nobody_takes_all_the_slots() {
        let (_directory, attachments) = attachments(here());
        let source = |last: u8| Source::from(std::net::IpAddr::from([192, 0, 2, last]));
        let of_one: Vec<_> =
            (0..MAX_OF_SOURCE).map(|_| attachments.slot(source(0)).unwrap()).collect();
        assert!(attachments.slot(source(0)).is_none());
        let others = MAX_AT_ONCE - MAX_OF_SOURCE;
        let of_others: Vec<_> =
            (0..others).map(|at| attachments.slot(source(1 + at as u8)).unwrap()).collect();
        assert!(attachments.slot(source(255)).is_none());
        drop(of_one);
        assert!(attachments.slot(source(255)).is_some());
        drop(of_others);
        assert_eq!(attachments.uploads().kinds(), 0);
    }

    #[test]
    fn space_is_taken_and_given_back() {
        let (directory, attachments) = attachments(here().max_space(10));
        let mut room = attachments.room();
        assert!(room.take(6) && !room.take(5) && room.take(4));
        assert_eq!(attachments.authorize(1, Timestamp(0)), []);
        drop(room);
        assert_eq!(attachments.authorize(1, Timestamp(0)).len(), 1);

        let mut room = attachments.room();
        assert!(room.take(4));
        let (mut file, partial) = partial(directory.path()).unwrap();
        file.write_all(b"file").unwrap();
        let form = &attachments.authorize(1, Timestamp(0))[0].upload_form_data;
        place(partial, &attachments.path(&form["name"])).unwrap();
        room.keep();
        assert_eq!(attachments.used(), 4);

        // What was left over goes, and what was complete counts.
        fs::write(directory.path().join(".upload-x"), b"part of one").unwrap();
        let config = here().build().unwrap();
        let again = Attachments::open(directory.path(), config).unwrap();
        assert_eq!(again.used(), 4);
        assert!(!directory.path().join(".upload-x").exists());

        let now = SystemTime::now();
        assert_eq!(again.expire(now).unwrap(), 0);
        assert_eq!(again.expire(now + Duration::from_secs(30 * 24 * 3600)).unwrap(), 1);
        assert_eq!(again.used(), 0);
        assert!(directory.path().join(SECRET_FILE).exists());
    }
}
