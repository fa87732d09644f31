//! TLS to a daemon on TCP: the handshake on the caller's thread, then a thread that carries bytes.
//!
//! ```text
//!  caller ══ unix socket pair ══ thread ══ TLS over TCP ══ daemon
//! ```
//! The end of one direction is carried over as such: `shutdown(2)` here is `close_notify` there, so that `exec -i` and
//! `attach` end as they do on a unix socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Error;

/// Where distributions keep the authorities that the system trusts.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Bytes from the daemon that wait for the caller to read them, at most.
const LIMIT: usize = 256 * 1024;

/// How connections are encrypted, ready to be used.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files (PEM). Without an authority, the system's are trusted; without `verify`, everybody is.
    pub fn read(ca: Option<&Path>, pair: Option<(&Path, &Path)>, verify: bool) -> Result<Tls, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed("TLS", Path::new(""), &error))?;
        let builder = if verify {
            builder.with_root_certificates(authorities(ca)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        };
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let what = "could not load X509 key pair";
                let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
                    .and_then(Iterator::collect)
                    .map_err(|error| failed(what, certificate, &error))?;
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(what, key, &error))?;
                builder.with_client_auth_cert(chain, private).map_err(|error| failed(what, certificate, &error))?
            }
        };
        Ok(Tls(Arc::new(config)))
    }

    /// Shakes hands, and leaves the rest to a thread. `address` is `host:port`.
    pub(crate) fn connect(&self, mut tcp: TcpStream, address: &str) -> io::Result<UnixStream> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).map_err(invalid)?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        let (ours, theirs) = UnixStream::pair()?;
        tcp.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let bridge = Bridge { session, tcp, local: theirs, waiting: Vec::new(), daemon_done: false, local_done: false };
        // Signals are for the thread that waits for them, not for this one.
        sys::signal::deaf(|| std::thread::Builder::new().name("tls".to_owned()).spawn(move || bridge.run()))?;
        Ok(ours)
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn failed(what: &'static str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Tls { what, path: path.display().to_string(), reason: error.to_string() }
}

fn authorities(ca: Option<&Path>) -> Result<RootCertStore, Error> {
    let what = "could not read CA certificate";
    let path = match ca {
        Some(path) => path,
        None => SYSTEM_AUTHORITIES
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .ok_or_else(|| failed("no authorities to trust:", Path::new(SYSTEM_AUTHORITIES[0]), &"no such file"))?,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(what, path, &error))? {
        let certificate = certificate.map_err(|error| failed(what, path, &error))?;
        match (roots.add(certificate), ca) {
            // One of the system's that is odd makes the others no worse.
            (Ok(()), _) | (Err(_), None) => {}
            (Err(error), Some(_)) => return Err(failed(what, path, &error)),
        }
    }
    if roots.is_empty() {
        return Err(failed(what, path, &"there is no certificate in it"));
    }
    Ok(roots)
}

/// A connection in the hands of its thread.
struct Bridge {
    session: ClientConnection,
    tcp: TcpStream,
    local: UnixStream,
    /// Decrypted and not yet taken by the caller.
    waiting: Vec<u8>,
    daemon_done: bool,
    local_done: bool,
}

impl Bridge {
    /// Until both sides are done, or one is gone.
    fn run(mut self) {
        // What went wrong shows as the end of the stream; the reader says that it came too early.
        while !(self.daemon_done && self.waiting.is_empty()) {
            if self.step().is_err() {
                break;
            }
        }
        let _ = self.local.shutdown(Shutdown::Both);
        self.session.send_close_notify();
        let _ = self.session.write_tls(&mut self.tcp);
    }

    fn step(&mut self) -> io::Result<()> {
        let (tcp, local) = self.wait()?;
        if tcp.contains(PollFlags::OUT) {
            quiet(self.session.write_tls(&mut self.tcp))?;
        }
        if tcp.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && !self.daemon_done {
            if quiet(self.session.read_tls(&mut self.tcp))? == Some(0) {
                self.daemon_done = true;
            }
            let state = self.session.process_new_packets().map_err(invalid)?;
            let start = self.waiting.len();
            self.waiting.resize(start + state.plaintext_bytes_to_read(), 0);
            self.session.reader().read_exact(&mut self.waiting[start..])?;
            self.daemon_done |= state.peer_has_closed();
        }
        if local.intersects(PollFlags::IN | PollFlags::HUP) && !self.local_done && !self.session.wants_write() {
            let mut piece = [0u8; 16 * 1024];
            match quiet(self.local.read(&mut piece))? {
                Some(0) => {
                    self.local_done = true;
                    self.session.send_close_notify();
                }
                Some(count) => self.session.writer().write_all(&piece[..count])?,
                None => {}
            }
        }
        if !self.waiting.is_empty()
            && let Some(count) = quiet(self.local.write(&self.waiting))?
        {
            self.waiting.drain(..count);
        }
        // Said at once where there is room for it: one wait less for each request.
        if self.session.wants_write() {
            quiet(self.session.write_tls(&mut self.tcp))?;
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<(PollFlags, PollFlags)> {
        let mut tcp = PollFlags::empty();
        let mut local = PollFlags::empty();
        tcp.set(PollFlags::IN, !self.daemon_done && self.waiting.len() < LIMIT);
        tcp.set(PollFlags::OUT, self.session.wants_write());
        local.set(PollFlags::IN, !self.local_done && !self.session.wants_write());
        local.set(PollFlags::OUT, !self.waiting.is_empty());
        let mut fds = [PollFd::new(&self.local, local), PollFd::new(&self.tcp, tcp)];
        // A daemon that has hung up would be reported again and again while the caller takes its time.
        let watched = if self.daemon_done && !self.session.wants_write() { 1 } else { 2 };
        loop {
            match poll(&mut fds[..watched], None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let gone = fds[0].revents().contains(PollFlags::HUP) && self.local_done;
        if gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let tcp = if watched == 2 { fds[1].revents() } else { PollFlags::empty() };
        Ok((tcp, fds[0].revents()))
    }
}

/// Not now is no failure.
fn quiet(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `--tls` without `--tlsverify`: encrypted, and whoever answers is believed.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
