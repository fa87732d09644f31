//! Sending requests.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::connection::{Connection, Socket};
use crate::request::{Body, Request};
use crate::response::{self, Head};
use crate::{API_VERSION, Error, Hijacked, Host, Response, Result, Tls, query_escape};

/// Idle connection shared by a client and its running responses.
#[derive(Debug, Default)]
pub(crate) struct Idle(Mutex<Option<Connection>>);

impl Idle {
    pub(crate) fn put(&self, connection: Connection) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }
    fn take(&self) -> Option<Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A client of one daemon; shared freely between threads.
#[derive(Debug)]
pub struct Client {
    host: Host,
    user_agent: String,
    version: Mutex<String>,
    fixed_version: bool,
    tls: Option<Tls>,
    headers: Vec<(String, String)>,
    programs: [&'static str; 2],
    idle: Arc<Idle>,
}

impl Client {
    /// A client for `host`; nothing is connected yet. `version` pins the API version (`DOCKER_API_VERSION`).
    pub fn new(host: Host, user_agent: impl Into<String>, version: Option<&str>) -> Client {
        Client {
            host,
            user_agent: user_agent.into(),
            version: Mutex::new(version.unwrap_or(API_VERSION).to_owned()),
            fixed_version: version.is_some(),
            tls: None,
            headers: Vec::new(),
            programs: ["hoist", "docker"],
            idle: Arc::new(Idle::default()),
        }
    }

    /// Encrypts TCP connections.
    #[must_use]
    pub fn tls(mut self, tls: Option<Tls>) -> Client {
        self.tls = tls;
        self
    }

    /// Headers of every request.
    #[must_use]
    pub fn headers(mut self, headers: Vec<(String, String)>) -> Client {
        self.headers = headers;
        self
    }

    /// What the client is called at the other end of `ssh://`, the most likely name first.
    #[must_use]
    pub fn programs(mut self, programs: [&'static str; 2]) -> Client {
        self.programs = programs;
        self
    }

    /// A connection to the daemon over which nothing was said yet.
    pub fn dial(&self) -> Result<Socket> {
        self.connect().map_err(|source| self.connect_error("GET", "/", source))
    }

    fn connect(&self) -> io::Result<Socket> {
        Socket::connect(&self.host, self.tls.as_ref(), self.programs)
    }

    /// Another client of the same daemon with connections of its own, for a thread that outlives this one.
    pub fn another(&self) -> Client {
        let fixed = self.version();
        let version = self.fixed_version.then_some(fixed.as_str());
        Client::new(self.host.clone(), self.user_agent.clone(), version)
            .tls(self.tls.clone())
            .headers(self.headers.clone())
            .programs(self.programs)
    }

    /// The daemon's address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// API version in use.
    pub fn version(&self) -> String {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request; an error status becomes [`Error::Daemon`].
    pub fn send(&self, mut request: Request<'_>) -> Result<Response> {
        if matches!(request.body, Body::Stream(..)) && !self.fixed_version {
            // A stream can't be repeated with another version: ask first.
            let ping = self.send(Request::get("/_ping").unversioned())?;
            if let Some(offered) = ping.header("api-version") {
                self.lower(offered);
            }
            ping.discard()?;
        }
        let (connection, head) = self.exchange(&mut request, None)?;
        if head.status < 400 {
            return Ok(Response::new(connection, head, request.method == "HEAD", Arc::clone(&self.idle)));
        }
        let error = self.failure(connection, head, request.method == "HEAD");
        if self.adapt(&error) && !matches!(request.body, Body::Stream(..)) {
            let (connection, head) = self.exchange(&mut request, None)?;
            if head.status < 400 {
                return Ok(Response::new(connection, head, request.method == "HEAD", Arc::clone(&self.idle)));
            }
            return Err(self.failure(connection, head, request.method == "HEAD"));
        }
        Err(error)
    }

    /// Writes a request without a body and returns at once; the answer is read later, so that another request can be
    /// on its way meanwhile.
    pub fn begin(&self, request: Request<'static>) -> Result<Pending<'_>> {
        let target = request.target(&self.version());
        let mut connection = match self.idle.take() {
            Some(connection) => connection,
            None => {
                let socket = self.connect();
                Connection::new(socket.map_err(|source| self.connect_error(request.method, &target, source))?)
            }
        };
        let mut message = Vec::with_capacity(512);
        self.write_head(&mut message, &request, &target, None);
        let written = connection.socket.write_all(&message).is_ok();
        Ok(Pending { client: self, request, connection: Some(connection).filter(|_| written) })
    }

    /// Sends a request that turns the connection into a raw stream.
    pub fn hijack(&self, request: Request<'_>) -> Result<Hijacked> {
        self.upgrade(request, "tcp")
    }

    /// The same for a protocol of a name.
    pub fn upgrade(&self, mut request: Request<'_>, protocol: &str) -> Result<Hijacked> {
        for attempt in 0..2 {
            let (connection, head) = self.exchange(&mut request, Some(protocol))?;
            if head.status == 101 || head.status == 200 {
                return Ok(Hijacked::new(connection, &head));
            }
            let error = self.failure(connection, head, false);
            if attempt == 1 || !self.adapt(&error) {
                return Err(error);
            }
        }
        Err(Error::Malformed("no upgrade".to_owned()))
    }

    fn failure(&self, connection: Connection, head: Head, headless: bool) -> Error {
        let status = head.status;
        let response = Response::new(connection, head, headless, Arc::clone(&self.idle));
        match response.bytes(1 << 20) {
            Ok(body) => Error::Daemon { status, message: response::error_message(status, &body) },
            Err(error) => error,
        }
    }

    /// Lowers the version when the daemon calls ours too new; true when something changed.
    fn adapt(&self, error: &Error) -> bool {
        let Error::Daemon { status: 400, message } = error else { return false };
        if self.fixed_version || !message.contains("is too new") {
            return false;
        }
        let Some((_, offered)) = message.rsplit_once("version is ") else { return false };
        self.lower(offered.trim())
    }

    fn lower(&self, offered: &str) -> bool {
        let number = |v: &str| -> Option<(u32, u32)> {
            let (major, minor) = v.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        match (number(offered), number(&version)) {
            (Some(new), Some(old)) if new < old => {
                *version = format!("{}.{}", new.0, new.1);
                true
            }
            _ => false,
        }
    }

    fn exchange(&self, request: &mut Request<'_>, upgrade: Option<&str>) -> Result<(Connection, Head)> {
        let target = request.target(&self.version());
        let streaming = matches!(request.body, Body::Stream(..));
        if !streaming
            && upgrade.is_none()
            && let Some(mut connection) = self.idle.take()
        {
            // The daemon may have closed an idle connection: nothing was answered, so a fresh one is tried.
            if let Ok(head) = self.attempt(&mut connection, request, &target, upgrade) {
                return Ok((connection, head));
            }
        }
        let socket = self.connect().map_err(|source| self.connect_error(request.method, &target, source))?;
        let mut connection = Connection::new(socket);
        let head = self.attempt(&mut connection, request, &target, upgrade).map_err(|failure| match failure {
            Failure::Body(source) => Error::RequestBody(source),
            Failure::Malformed(text) => Error::Malformed(text),
            Failure::Socket(source) => {
                Error::Transport { method: go_method(request.method), url: self.url(&target), source }
            }
        })?;
        Ok((connection, head))
    }

    fn attempt(
        &self,
        connection: &mut Connection,
        request: &mut Request<'_>,
        target: &str,
        upgrade: Option<&str>,
    ) -> Result<Head, Failure> {
        let mut message = Vec::with_capacity(1024);
        self.write_head(&mut message, request, target, upgrade);
        let written = match &mut request.body {
            Body::Empty => connection.socket.write_all(&message),
            Body::Json(json) => {
                message.extend_from_slice(json);
                connection.socket.write_all(&message)
            }
            Body::Stream(_, from) => {
                connection.socket.write_all(&message).map_err(Failure::Socket)?;
                send_chunks(&mut connection.socket, from)?
            }
        };
        match (written, response::read_head(connection)) {
            (_, Ok(head)) => Ok(head),
            (Err(source), Err(_)) => Err(Failure::Socket(source)),
            (Ok(()), Err(failure)) => Err(failure),
        }
    }

    fn write_head(&self, out: &mut Vec<u8>, request: &Request<'_>, target: &str, upgrade: Option<&str>) {
        let mut head = String::with_capacity(256);
        let authority = match &self.host {
            Host::Unix(_) => "api.moby.localhost",
            Host::Ssh(_) => "docker.example.com",
            Host::Tcp(address) => address,
        };
        for piece in
            [request.method, " ", target, " HTTP/1.1\r\nHost: ", authority, "\r\nUser-Agent: ", &self.user_agent]
        {
            head.push_str(piece);
        }
        for (name, value) in &self.headers {
            for piece in ["\r\n", name, ": ", value] {
                head.push_str(piece);
            }
        }
        for (name, value) in &request.headers {
            for piece in ["\r\n", name, ": ", value] {
                head.push_str(piece);
            }
        }
        if let Some(protocol) = upgrade {
            head.push_str("\r\nConnection: Upgrade\r\nUpgrade: ");
            head.push_str(protocol);
        }
        match &request.body {
            Body::Empty if upgrade.is_some() => head.push_str("\r\nContent-Type: text/plain\r\nContent-Length: 0"),
            Body::Empty if request.method == "POST" => head.push_str("\r\nContent-Length: 0"),
            Body::Empty => {}
            Body::Json(json) => {
                head.push_str(&format!("\r\nContent-Type: application/json\r\nContent-Length: {}", json.len()));
            }
            Body::Stream(media_type, _) => {
                head.push_str("\r\nContent-Type: ");
                head.push_str(media_type);
                head.push_str("\r\nTransfer-Encoding: chunked");
            }
        }
        head.push_str("\r\n\r\n");
        out.extend_from_slice(head.as_bytes());
    }

    fn url(&self, target: &str) -> String {
        match &self.host {
            Host::Unix(path) => format!("http://{}{target}", query_escape(&path.to_string_lossy())),
            Host::Tcp(address) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{address}{target}")
            }
            Host::Ssh(_) => format!("http://docker.example.com{target}"),
        }
    }

    fn connect_error(&self, method: &str, target: &str, source: io::Error) -> Error {
        match (&self.host, source.kind()) {
            (Host::Unix(path), io::ErrorKind::PermissionDenied) => Error::PermissionDenied {
                host: self.host.to_string(),
                method: go_method(method),
                url: self.url(target),
                path: path.display().to_string(),
            },
            // The handshake: the words of the one who failed are what helps.
            (Host::Tcp(_), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                Error::Transport { method: go_method(method), url: self.url(target), source }
            }
            (Host::Ssh(_), _) => Error::Transport { method: go_method(method), url: self.url(target), source },
            _ => Error::Unreachable { host: self.host.to_string(), source },
        }
    }
}

/// A request on its way.
pub struct Pending<'c> {
    client: &'c Client,
    request: Request<'static>,
    connection: Option<Connection>,
}

impl Pending<'_> {
    /// The answer. When the connection turns out to be stale, or the answer is an error, the request is sent anew.
    pub fn response(mut self) -> Result<Response> {
        if let Some(mut connection) = self.connection.take()
            && let Ok(head) = response::read_head(&mut connection)
            && head.status < 400
        {
            return Ok(Response::new(connection, head, false, Arc::clone(&self.client.idle)));
        }
        self.client.send(self.request)
    }
}

/// Go prints `Get "http://…"` in its transport errors.
fn go_method(method: &str) -> String {
    let mut text = method.to_ascii_lowercase();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// Why one attempt failed.
pub(crate) enum Failure {
    Socket(io::Error),
    Body(io::Error),
    Malformed(String),
}

/// Sends all of `from`; an early answer of the daemon (it closed its side) is not an error here.
fn send_chunks(socket: &mut Socket, from: &mut dyn Read) -> Result<io::Result<()>, Failure> {
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Failure::Body(e)),
        };
        let sent = (|| {
            if count == 0 {
                return socket.write_all(b"0\r\n\r\n");
            }
            socket.write_all(format!("{count:x}\r\n").as_bytes())?;
            socket.write_all(&buffer[..count])?;
            socket.write_all(b"\r\n")
        })();
        if count == 0 || sent.is_err() {
            return Ok(sent);
        }
    }
}
