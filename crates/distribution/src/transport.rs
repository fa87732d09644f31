//! One HTTP exchange, without redirects, credentials or second attempts. Everything of the HTTP library is in here.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use ureq::config::Config;
use ureq::http::{Request, Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::config::RegistryConfig;
use crate::hosts::Options;
use crate::url::{Scheme, Url};
use crate::{Error, tls};

/// What the registry API is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Patch,
    Put,
    Delete,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }

    /// As error texts have it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Method::Get => "Get",
            Method::Head => "Head",
            Method::Post => "Post",
            Method::Patch => "Patch",
            Method::Put => "Put",
            Method::Delete => "Delete",
        }
    }
}

/// Content of a request. It can be sent again.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// Bytes `from..to` of a file; `sent` hears where the sending is.
    File {
        file: &'a File,
        from: u64,
        to: u64,
        sent: &'a dyn Fn(u64),
    },
    /// As many bytes as come: reads from an offset on, waits for bytes that are not there yet, and gives 0 at the end.
    Growing(&'a dyn Fn(u64, &mut [u8]) -> io::Result<usize>),
}

/// A source of unknown length as it is sent.
struct Growing<'a> {
    read: &'a dyn Fn(u64, &mut [u8]) -> io::Result<usize>,
    at: u64,
}

impl Read for Growing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = (self.read)(self.at, buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// A part of a file as it is sent.
struct Piece<'a> {
    file: &'a File,
    at: u64,
    to: u64,
    sent: &'a dyn Fn(u64),
}

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.to - self.at).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += n as u64;
        (self.sent)(self.at);
        Ok(n)
    }
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// In Go's words.
    pub(crate) text: String,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The name has no address.
    Lookup,
    /// Nobody there, or no way there.
    Refused,
    /// The other side does not speak TLS.
    NotTls,
    /// TLS went wrong in another way; a certificate, for instance.
    Tls,
    /// The connection ended too early.
    Cut,
    /// Too long without connection.
    ConnectTimeout,
    /// Too long without an answer.
    Silent,
    /// The session was stopped.
    Stopped,
    /// The other side breaks HTTP.
    Protocol,
}

impl FaultKind {
    /// Could the same again go well?
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, FaultKind::Cut | FaultKind::Silent)
    }

    /// Could the host speak plain HTTP instead?
    pub(crate) fn suggests_plain_http(self) -> bool {
        !matches!(self, FaultKind::Lookup | FaultKind::Stopped)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    scheme: Scheme,
    authority: String,
    verify: bool,
}

#[derive(Clone)]
struct Connections {
    agent: Agent,
    lookup: Lookup,
}

/// The connections of one pull.
pub(crate) struct Transport {
    config: RegistryConfig,
    /// What hosts files say about servers, by `host[:port]`.
    options: Mutex<HashMap<String, Arc<Options>>>,
    /// `None` once it was shut down.
    connections: Mutex<Option<HashMap<Key, Connections>>>,
}

impl Transport {
    pub(crate) fn new(config: RegistryConfig) -> Transport {
        Transport { config, options: Mutex::default(), connections: Mutex::new(Some(HashMap::new())) }
    }

    /// How a server is spoken to from now on.
    pub(crate) fn learn(&self, authority: &str, options: &Arc<Options>) {
        let mut known = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(authority) {
            known.insert(authority.to_owned(), Arc::clone(options));
        }
    }

    fn options(&self, authority: &str) -> Option<Arc<Options>> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).get(authority).cloned()
    }

    /// Cuts every connection, from any thread; later exchanges fail at once.
    pub(crate) fn shut_down(&self) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner).take();
        for connection in connections.into_iter().flatten() {
            connection.1.agent.shutdown();
        }
    }

    /// Asks once. The answer may have any status.
    pub(crate) fn exchange(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        payload: Payload<'_>,
        verify: bool,
    ) -> Result<Result<Response<Body>, Fault>, Error> {
        let Some(connections) = self.connections(url, verify)? else {
            return Ok(Err(Fault { kind: FaultKind::Stopped, text: "context canceled".into() }));
        };
        let mut request = Request::builder().method(method.as_str()).uri(url.to_string());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let options = self.options(&url.authority);
        for (name, value) in options.iter().flat_map(|options| &options.headers) {
            request = request.header(name, value);
        }
        let answer = match payload {
            Payload::None => request.body(()).map(|request| connections.agent.run(request)),
            Payload::Bytes(bytes) => request.body(bytes).map(|request| connections.agent.run(request)),
            Payload::File { file, from, to, sent } => {
                let mut piece = Piece { file, at: from, to, sent };
                request
                    .header("Content-Length", to - from)
                    .body(SendBody::from_reader(&mut piece))
                    .map(|request| connections.agent.run(request))
            }
            // Without a length the library sends chunks (RFC 9112, 7.1).
            Payload::Growing(read) => {
                let mut source = Growing { read, at: 0 };
                request.body(SendBody::from_reader(&mut source)).map(|request| connections.agent.run(request))
            }
        };
        let answer = answer.map_err(|error| Error::Protocol {
            method: method.title(),
            url: url.to_string(),
            detail: error.to_string(),
        })?;
        Ok(answer.map_err(|error| {
            let fault = connections.lookup.explain(error, url);
            let stopped = self.connections.lock().unwrap_or_else(PoisonError::into_inner).is_none();
            if stopped { Fault { kind: FaultKind::Stopped, ..fault } } else { fault }
        }))
    }

    fn connections(&self, url: &Url, verify: bool) -> Result<Option<Connections>, Error> {
        let key = Key { scheme: url.scheme, authority: url.authority.clone(), verify };
        {
            let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            match connections.as_ref() {
                None => return Ok(None),
                Some(connections) => {
                    if let Some(found) = connections.get(&key) {
                        return Ok(Some(found.clone()));
                    }
                }
            }
        }
        // Reads files, so outside of the lock; two threads may both build, the first one stays.
        let made = self.connect(url, verify)?;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(connections.as_mut().map(|connections| connections.entry(key).or_insert(made).clone()))
    }

    fn connect(&self, url: &Url, verify: bool) -> Result<Connections, Error> {
        let config = &self.config;
        let proxy = match config.proxies.choose(url) {
            None => None,
            Some(text) => Some(ureq::Proxy::new(text).map_err(|error| Error::Option {
                option: "proxy",
                value: hide_password(text),
                detail: error.to_string(),
            })?),
        };
        let mut builder = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(config.user_agent.as_str())
            .timeout_resolve(Some(config.connect_timeout))
            .timeout_connect(Some(config.connect_timeout))
            .timeout_recv_response(Some(config.idle_timeout))
            .timeout_per_read(Some(config.idle_timeout))
            .timeout_per_write(Some(config.idle_timeout))
            .max_idle_connections_per_host(4)
            .proxy(proxy);
        if url.scheme == Scheme::Https {
            builder = builder.tls_config(tls::settings(
                &url.authority,
                verify,
                &config.certs_dirs,
                self.options(&url.authority).as_deref(),
            )?);
        }
        let lookup = Lookup::default();
        let agent = Agent::with_parts(builder.build(), DefaultConnector::default(), lookup.clone());
        Ok(Connections { agent, lookup })
    }
}

/// Resolves names and remembers what came out, for error texts.
#[derive(Debug, Clone, Default)]
struct Lookup(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    address: Option<SocketAddr>,
    failed: Option<String>,
}

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let result = DefaultResolver::default().resolve(uri, config, timeout);
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(addresses) => *found = Found { address: addresses.first().copied(), failed: None },
            Err(ureq::Error::Timeout(_)) => {}
            Err(error) => {
                let passing = error.to_string().contains("Temporary failure");
                let host = uri.host().unwrap_or_default();
                let why = if passing { "server misbehaving" } else { "no such host" };
                found.failed = Some(format!("dial tcp: lookup {host}: {why}"));
            }
        }
        // The only source of this error, so that a failed lookup is known as one.
        result.map_err(|error| match error {
            ureq::Error::Timeout(timeout) => ureq::Error::Timeout(timeout),
            _ => ureq::Error::HostNotFound,
        })
    }
}

impl Lookup {
    fn explain(&self, error: ureq::Error, url: &Url) -> Fault {
        let fault = |kind, text: &str| Fault { kind, text: text.to_owned() };
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dial = match found.address {
            Some(address) => format!("dial tcp {address}"),
            None => "dial tcp".into(),
        };
        match error {
            ureq::Error::HostNotFound => {
                let unknown = format!("dial tcp: lookup {}: no such host", url.host());
                fault(FaultKind::Lookup, found.failed.as_deref().unwrap_or(&unknown))
            }
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                fault(FaultKind::ConnectTimeout, &format!("{dial}: i/o timeout"))
            }
            ureq::Error::Timeout(_) => fault(FaultKind::Silent, "net/http: timeout awaiting response"),
            ureq::Error::Rustls(error) => explain_tls(&error),
            ureq::Error::Io(error) => explain_io(&error, &dial),
            ureq::Error::ConnectProxyFailed(text) => {
                fault(FaultKind::Refused, &format!("proxyconnect tcp: {}", crate::error::printable(&text)))
            }
            ureq::Error::ConnectionFailed => fault(FaultKind::Refused, &format!("{dial}: connection failed")),
            other => fault(FaultKind::Protocol, &crate::error::printable(&other.to_string())),
        }
    }
}

/// What an I/O error in the middle of a body means.
pub(crate) fn explain_body(error: &io::Error) -> Fault {
    if error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ureq::Error>())
        .is_some_and(|inner| matches!(inner, ureq::Error::Timeout(_)))
    {
        return Fault { kind: FaultKind::Silent, text: "net/http: timeout reading the body".into() };
    }
    let fault = explain_io(error, "read tcp");
    match fault.kind {
        FaultKind::Tls | FaultKind::Stopped => fault,
        _ => Fault { kind: FaultKind::Cut, ..fault },
    }
}

fn explain_io(error: &io::Error, dial: &str) -> Fault {
    let mut inner = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(cause) = inner {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return explain_tls(tls);
        }
        inner = cause.source();
    }
    use io::ErrorKind as Kind;
    let (kind, text) = match error.kind() {
        Kind::ConnectionRefused => (FaultKind::Refused, format!("{dial}: connect: connection refused")),
        Kind::HostUnreachable => (FaultKind::Refused, format!("{dial}: connect: no route to host")),
        Kind::NetworkUnreachable => (FaultKind::Refused, format!("{dial}: connect: network is unreachable")),
        Kind::AddrNotAvailable => (FaultKind::Refused, format!("{dial}: connect: cannot assign requested address")),
        Kind::PermissionDenied => (FaultKind::Refused, format!("{dial}: connect: permission denied")),
        Kind::ConnectionReset => (FaultKind::Cut, "read: connection reset by peer".into()),
        Kind::BrokenPipe => (FaultKind::Cut, "write: broken pipe".into()),
        Kind::ConnectionAborted | Kind::UnexpectedEof => (FaultKind::Cut, "EOF".into()),
        Kind::TimedOut | Kind::WouldBlock => (FaultKind::Silent, "i/o timeout".into()),
        _ => (FaultKind::Cut, crate::error::printable(&error.to_string())),
    };
    Fault { kind, text }
}

fn explain_tls(error: &rustls::Error) -> Fault {
    use rustls::{CertificateError as Bad, Error as Tls};
    let (kind, text) = match error {
        Tls::InvalidMessage(_) => (FaultKind::NotTls, "http: server gave HTTP response to HTTPS client".to_owned()),
        Tls::InvalidCertificate(bad) => {
            let why = match bad {
                Bad::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
                Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                    "certificate has expired or is not yet valid".to_owned()
                }
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                    "certificate is not valid for the name of the host".to_owned()
                }
                // What a self-signed certificate of an authority gives when it is shown as a server's.
                Bad::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                    "certificate signed by unknown authority".to_owned()
                }
                other => other.to_string(),
            };
            (FaultKind::Tls, format!("tls: failed to verify certificate: x509: {why}"))
        }
        Tls::AlertReceived(alert) => (FaultKind::Tls, format!("remote error: tls: {alert:?}")),
        other => (FaultKind::Tls, format!("tls: {other}")),
    };
    Fault { kind, text }
}

fn hide_password(proxy: &str) -> String {
    match (proxy.find("://"), proxy.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => format!("{}xxxxx{}", &proxy[..scheme + 3], &proxy[at..]),
        (None, Some(at)) => format!("xxxxx{}", &proxy[at..]),
        _ => proxy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_as_go_writes_them() {
        let explain = |error: ureq::Error| Lookup::default().explain(error, &Url::parse("https://h/v2/").unwrap());
        let io = |kind: io::ErrorKind| ureq::Error::Io(io::Error::from(kind));
        for (error, kind, text) in [
            (ureq::Error::HostNotFound, FaultKind::Lookup, "dial tcp: lookup h: no such host"),
            (io(io::ErrorKind::ConnectionRefused), FaultKind::Refused, "dial tcp: connect: connection refused"),
            (io(io::ErrorKind::UnexpectedEof), FaultKind::Cut, "EOF"),
            (
                ureq::Error::Io(io::Error::new(
                    io::ErrorKind::InvalidData,
                    rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                )),
                FaultKind::NotTls,
                "http: server gave HTTP response to HTTPS client",
            ),
            (
                ureq::Error::Rustls(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
                FaultKind::Tls,
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ),
        ] {
            assert_eq!(explain(error), Fault { kind, text: text.into() });
        }
    }

    #[test]
    fn proxy_passwords_stay_out_of_messages() {
        assert_eq!(hide_password("http://u:p@h:1"), "http://xxxxx@h:1");
        assert_eq!(hide_password("u:p@h:1"), "xxxxx@h:1");
        assert_eq!(hide_password("http://h:1"), "http://h:1");
    }

    /// Answers one request over TLS.
    fn tls_server() -> SocketAddr {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        use std::io::{Read, Write};
        let chain = vec![CertificateDer::from_pem_slice(include_bytes!("../tests/data/server.cert")).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../tests/data/server.key")).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let mut request = [0; 4096];
            // The client may hang up in the handshake; that is its test.
            if stream.read(&mut request).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            }
        });
        address
    }

    fn ask(url: &str, verify: bool, certs_dirs: Vec<std::path::PathBuf>) -> Result<u16, Fault> {
        let config = RegistryConfig { certs_dirs, proxies: crate::Proxies::default(), ..RegistryConfig::default() };
        let url = Url::parse(url).unwrap();
        let answer = Transport::new(config).exchange(Method::Get, &url, &[], Payload::None, verify).unwrap();
        answer.map(|answer| answer.status().as_u16())
    }

    #[test]
    fn certificates_are_verified() {
        let address = tls_server();
        let fault = ask(&format!("https://{address}/"), true, Vec::new()).unwrap_err();
        assert_eq!(fault.text, "tls: failed to verify certificate: x509: certificate signed by unknown authority");

        let address = tls_server();
        assert_eq!(ask(&format!("https://{address}/"), false, Vec::new()), Ok(204), "insecure");

        let root = std::env::temp_dir().join(format!("hoist-authority-{}", std::process::id()));
        let address = tls_server();
        let dir = root.join(address.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ca.crt"), include_bytes!("../tests/data/ca.crt")).unwrap();
        assert_eq!(ask(&format!("https://{address}/"), true, vec![root.clone()]), Ok(204), "certs.d");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
