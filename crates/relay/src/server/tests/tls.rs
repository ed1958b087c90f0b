use std::path::{Path, PathBuf};

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

/// Writes a certificate and its key, and returns who trusts it.
fn certify(directory: &Path) -> (PathBuf, PathBuf, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key, made.cert.der().clone())
}

async fn connect(
    relay: &Relay,
    trusted: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "relay.example".try_into().unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, relay.stream().await).await
}

#[tokio::test]
async fn clients_talk_over_tls_and_a_renewed_certificate_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (certificates, key, first) = certify(directory.path());
    let tls = Tls::open(certificates, key).unwrap();
    let relay = Relay::with(|builder| builder.tls(tls.clone())).await;

    let mut client =
        Client::new(connect(&relay, &first).await.unwrap(), Dialect::Seed).await.unwrap();
    assert_eq!(client.ask(1, Ask::Send(ALICE, b"sealed")).await.told, Told::Ack);

    let (_, _, second) = certify(directory.path());
    assert!(connect(&relay, &second).await.is_err());
    tls.reload().unwrap();
    assert!(connect(&relay, &second).await.is_ok());
    assert!(connect(&relay, &first).await.is_err());
    assert_eq!(client.ask(2, Ask::Send(ALICE, b"sealed")).await.told, Told::Ack);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_leaves_the_old_one_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let (certificates, key, first) = certify(directory.path());
    let tls = Tls::open(&certificates, &key).unwrap();
    let relay = Relay::with(|builder| builder.tls(tls.clone())).await;
    std::fs::write(&certificates, "no certificate").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::NoCertificate { path }) if path == certificates));
    assert!(connect(&relay, &first).await.is_ok());
}

#[tokio::test]
async fn a_client_without_tls_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let (certificates, key, _) = certify(directory.path());
    let tls = Tls::open(certificates, key).unwrap();
    let relay = Relay::with(|builder| builder.tls(tls)).await;
    let mut stream = relay.stream().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay.example\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert, or a reset.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
}

#[test]
fn files_that_are_no_pair_are_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (certificates, key, _) = certify(one.path());
    let (_, other_key, _) = certify(other.path());
    assert!(matches!(Tls::open(&certificates, other_key), Err(TlsError::Mismatch(_))));
    assert!(matches!(Tls::open(&certificates, &certificates), Err(TlsError::Key { .. })));
    let missing = one.path().join("missing.pem");
    assert!(matches!(Tls::open(missing, key), Err(TlsError::Certificates { .. })));
}
