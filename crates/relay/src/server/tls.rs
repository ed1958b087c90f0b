//! The relay's certificate, which may be renewed while it runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

/// TLS 1.2 and 1.3 with a certificate from files. Clones share it.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

struct Files {
    certificates: PathBuf,
    key: PathBuf,
}

/// Why a certificate is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file of certificates cannot be read, or is no PEM.
    #[error("{path}: {error}", path = .path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{path}: there is no certificate in it", path = .path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The file of the key cannot be read, or holds no private key in PEM.
    #[error("{path}: {error}", path = .path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// The key is of no known kind, or not the certificate's.
    #[error("the key and the certificate do not go together: {0}")]
    Mismatch(#[source] rustls::Error),
    /// No protocol version is possible.
    #[error(transparent)]
    Protocol(rustls::Error),
}

impl Tls {
    /// Reads a chain of certificates, the relay's own first, and its key, both in PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let files = Files { certificates: certificates.into(), key: key.into() };
        let current = Arc::new(Current(RwLock::new(files.read()?)));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as _);
        Ok(Self { files: Arc::new(files), current, acceptor: Arc::new(config).into() })
    }

    /// Reads the files again. Who connects from now on gets what is in them.
    ///
    /// # Errors
    /// [`TlsError`]; what was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let renewed = self.files.read()?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificates", &self.files.certificates)
            .field("key", &self.files.key)
            .finish_non_exhaustive()
    }
}

impl Files {
    fn read(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        let path = &self.certificates;
        let faulty = |error| TlsError::Certificates { path: path.clone(), error };
        let chain = CertificateDer::pem_file_iter(path).map_err(faulty)?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(faulty)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { path: path.clone() });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| TlsError::Key { path: self.key.clone(), error })?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
        key.map(Arc::new).map_err(TlsError::Mismatch)
    }
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
