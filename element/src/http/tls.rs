//! TLS: the server's certificate and key, and taking up new ones while running. Tickets and keys of clients are no business of this
//! module: who may do what is decided by tokens.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at. A mounted Secret changes by swapping a link, so their content is compared.
const INTERVAL: Duration = Duration::from_secs(2);

/// Why a certificate and its key are of no use.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    #[error("failed to find a PEM certificate in it")]
    Certificate,
    #[error("failed to find a PEM private key in it")]
    Key,
    #[error("failed to use the certificate with this key: {0}")]
    Pair(rustls::Error),
    #[error("failed to set up TLS: {0}")]
    Setup(rustls::Error),
}

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The certificate in use; another one takes its place when the files change.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// From the content of the files.
    pub(crate) fn new(files: TlsFiles, certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(pair(certificate, key)?));
        Ok(Self { files, current })
    }

    /// Takes up what the files hold now; keeps what there is when they are of no use, as they are halfway through a change.
    fn renew(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let renewed = Arc::new(pair(certificate, key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn pair(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::Certificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(TlsError::Pair)
}

/// What connections are begun with.
pub(crate) fn acceptor(certificate: Arc<Certificate>) -> Result<TlsAcceptor, TlsError> {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Follows the files until the server stops.
pub(crate) async fn follow(certificate: Arc<Certificate>, stopping: CancellationToken) {
    let mut known = None;
    while stopping
        .run_until_cancelled(tokio::time::sleep(INTERVAL))
        .await
        .is_some()
    {
        let certificate = Arc::clone(&certificate);
        match spawn_blocking(move || look(&certificate, known)).await {
            Ok(seen) => known = seen,
            Err(error) => tracing::error!(%error, "looking at the certificate failed"),
        }
    }
}

/// A mark of what the files held, so that each content is taken up or complained of once.
type Mark = [u8; 32];

fn look(certificate: &Certificate, known: Option<Mark>) -> Option<Mark> {
    let files = &certificate.files;
    let content = std::fs::read(&files.certificate).and_then(|chain| Ok((chain, std::fs::read(&files.key)?)));
    let (chain, key) = match content {
        Ok(content) => content,
        Err(error) => {
            tracing::warn!(%error, "failed to read the certificate or its key; the one in use stays");
            return known;
        }
    };
    let mark = Sha256::new()
        .chain_update(Sha256::digest(&chain))
        .chain_update(Sha256::digest(&key))
        .finalize()
        .into();
    if known == Some(mark) {
        return known;
    }
    match certificate.renew(&chain, &key) {
        Ok(()) if known.is_some() => tracing::info!("took up a new certificate"),
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "the new certificate is of no use; the one in use stays"),
    }
    Some(mark)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};

    use super::{Certificate, TlsError, TlsFiles, acceptor, look, pair};

    fn generated() -> (String, String) {
        let Generated { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn certificate_and_key_must_belong_together() {
        let ((certificate, key), (_, other)) = (generated(), generated());
        assert!(pair(certificate.as_bytes(), key.as_bytes()).is_ok());
        let wrong = pair(certificate.as_bytes(), other.as_bytes());
        assert!(matches!(wrong, Err(TlsError::Pair(_))), "{wrong:?}");
        assert!(matches!(pair(b"", key.as_bytes()), Err(TlsError::Certificate)));
        assert!(matches!(
            pair(key.as_bytes(), key.as_bytes()),
            Err(TlsError::Certificate)
        ));
        assert!(matches!(
            pair(certificate.as_bytes(), certificate.as_bytes()),
            Err(TlsError::Key)
        ));
    }

    #[test]
    fn changed_files_are_taken_up_and_broken_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        };
        let write = |certificate: &str, key: &str| {
            std::fs::write(&files.certificate, certificate).unwrap();
            std::fs::write(&files.key, key).unwrap();
        };
        let ((first, first_key), (second, second_key)) = (generated(), generated());
        let certificate = Certificate::new(files.clone(), first.as_bytes(), first_key.as_bytes()).unwrap();
        let in_use = || certificate.current.read().unwrap().cert[0].to_vec();
        let begun = in_use();
        write(&first, &first_key);
        let mark = look(&certificate, None);
        assert!(mark.is_some() && in_use() == begun);
        write(&second, &first_key);
        let half = look(&certificate, mark);
        assert!(half != mark && in_use() == begun);
        write(&second, &second_key);
        let whole = look(&certificate, half);
        assert!(in_use() != begun);
        std::fs::remove_file(&files.key).unwrap();
        assert_eq!(look(&certificate, whole), whole);
        assert!(acceptor(std::sync::Arc::new(certificate)).is_ok());
    }
}
