//! TLS on TCP: who the daemon is, and who may talk to it.
//!
//! ```text
//!  client ══ TLS over TCP ══ task ══ unix socket pair ══ the connection, as if it were local
//! ```
//! Everything above sees a unix socket: attaching takes sockets from hyper and hands descriptors on. The end of one
//! direction is carried over (`close_notify` and `shutdown(2)`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::Error;

/// A client that says nothing is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Clients at once that have not proved yet who they are. More wait in the kernel's queue: they cost no descriptor of
/// the daemon's, and the other doors stay open.
const UNPROVEN: usize = 64;

/// Files of a daemon's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Authorities whose clients may come in; `None`: everybody may.
    pub ca: Option<PathBuf>,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// TLS that is read and ready; clones are one.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    config: RwLock<Arc<ServerConfig>>,
    turns: Arc<Semaphore>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.files.fmt(f)
    }
}

impl Tls {
    /// Reads the files (PEM).
    ///
    /// # Errors
    /// Which file, and what is wrong with it.
    pub fn read(files: Files) -> Result<Tls, Error> {
        let config = RwLock::new(Arc::new(config(&files)?));
        Ok(Tls(Arc::new(Inner { files, config, turns: Arc::new(Semaphore::new(UNPROVEN)) })))
    }

    /// Reads the files again; connections that are open keep what they have.
    ///
    /// # Errors
    /// As [`Tls::read`]; then the old ones stay.
    pub fn reload(&self) -> Result<(), Error> {
        let new = Arc::new(config(&self.0.files)?);
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Clients have to show a certificate.
    pub(super) fn verifies(&self) -> bool {
        self.0.files.ca.is_some()
    }

    /// Waits until one more client may begin its handshake.
    pub(super) async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.0.turns).acquire_owned().await.expect("nobody closes it")
    }

    /// The connection at once; the handshake is done beside it, and ends it when it fails.
    pub(super) fn bridge(&self, tcp: TcpStream, turn: OwnedSemaphorePermit) -> std::io::Result<UnixStream> {
        let (ours, mut theirs) = UnixStream::pair()?;
        let config = Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner));
        let acceptor = TlsAcceptor::from(config);
        tokio::spawn(async move {
            let peer = tcp.peer_addr().map_or_else(|_| "somebody".to_owned(), |a| a.to_string());
            let mut session = match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                Ok(Ok(session)) => session,
                Ok(Err(error)) => return tracing::info!("TLS with {peer}: {error}"),
                Err(_) => return tracing::info!("TLS with {peer}: no handshake within {HANDSHAKE:?}"),
            };
            drop(turn);
            if let Err(error) = tokio::io::copy_bidirectional(&mut session, &mut theirs).await {
                tracing::debug!("TLS with {peer}: {error}");
            }
        });
        Ok(ours)
    }
}

fn config(files: &Files) -> Result<ServerConfig, Error> {
    let failed =
        |path: &Path, error: &dyn std::fmt::Display| Error::Tls { path: path.to_owned(), reason: error.to_string() };
    let read = |path: &Path| -> Result<Vec<CertificateDer<'static>>, Error> {
        let all: Vec<_> =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| failed(path, &error))?;
        if all.is_empty() {
            return Err(failed(path, &"there is no certificate in it"));
        }
        Ok(all)
    };
    let chain = read(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&files.certificate, &error))?;
    let builder = match &files.ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in read(ca)? {
                roots.add(certificate).map_err(|error| failed(ca, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| failed(ca, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| failed(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
