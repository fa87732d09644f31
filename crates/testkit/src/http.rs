//! A small blocking HTTP/1.1 client over TCP or a unix socket: for the registry, the published ports and raw API calls.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

/// Where to connect.
#[derive(Clone, Debug)]
pub enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// A connected stream of either kind.
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub fn open(target: &Target, timeout: Duration) -> std::io::Result<Stream> {
        Ok(match target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(timeout))?;
                Stream::Unix(stream)
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, timeout)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
    }

    /// Ends the sending direction, so that the other side reads end of file.
    pub fn shut_down_writing(&self) -> std::io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The response, or an error when the status is not a success.
    pub fn success(self) -> Result<Response> {
        if (200..300).contains(&self.status) { Ok(self) } else { bail!("HTTP {}: {}", self.status, self.text()) }
    }
}

/// One connection, for any number of requests.
pub struct Connection {
    reader: BufReader<Stream>,
    host: String,
}

/// Largest body that is read; more is an error.
const MAX_BODY: usize = 1 << 30;

impl Connection {
    pub fn open(target: &Target) -> Result<Connection> {
        Connection::open_within(target, Duration::from_secs(30))
    }

    /// `timeout` is for connecting and for each read.
    pub fn open_within(target: &Target, timeout: Duration) -> Result<Connection> {
        let stream = Stream::open(target, timeout).with_context(|| format!("cannot connect to {target:?}"))?;
        let host = match target {
            Target::Unix(_) => "hoist".to_string(),
            Target::Tcp(address) => address.to_string(),
        };
        Ok(Connection { reader: BufReader::with_capacity(64 * 1024, stream), host })
    }

    /// Sends the head and, if `length` is given, announces a body of that many bytes.
    pub fn send_head(&mut self, method: &str, path: &str, headers: &[(&str, &str)], length: Option<u64>) -> Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hoist-testkit\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        self.stream().write_all(head.as_bytes())?;
        Ok(())
    }

    /// The connection itself, for bodies and for what follows an upgrade. Bytes read ahead stay in [`Connection::reader`].
    pub fn stream(&mut self) -> &mut Stream {
        self.reader.get_mut()
    }

    pub fn reader(&mut self) -> &mut BufReader<Stream> {
        &mut self.reader
    }

    /// Reads status line and headers only.
    pub fn read_head(&mut self) -> Result<Response> {
        loop {
            let line = self.line()?;
            let mut parts = line.splitn(3, ' ');
            let (version, status) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            if !version.starts_with("HTTP/1.") {
                bail!("not an HTTP answer: {line:?}");
            }
            let status: u16 = status.parse().with_context(|| format!("bad status line {line:?}"))?;
            let mut headers = Vec::new();
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').ok_or_else(|| anyhow!("bad header {line:?}"))?;
                headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
            }
            if status >= 200 || status == 101 {
                return Ok(Response { status, headers, body: Vec::new() });
            }
        }
    }

    /// Reads a whole answer to a request made with `method`.
    pub fn read_response(&mut self, method: &str) -> Result<Response> {
        let mut response = self.read_head()?;
        if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                    .with_context(|| format!("bad chunk size {line:?}"))?;
                if size > MAX_BODY || response.body.len() + size > MAX_BODY {
                    bail!("answer too large");
                }
                let start = response.body.len();
                response.body.resize(start + size, 0);
                self.reader.read_exact(&mut response.body[start..])?;
                self.line()?;
                if size == 0 {
                    return Ok(response);
                }
            }
        }
        match response.header("content-length") {
            Some(length) => {
                let length: u64 = length.parse().context("bad Content-Length")?;
                (&mut self.reader).take(length).read_to_end(&mut response.body)?;
                if (response.body.len() as u64) < length {
                    bail!("answer cut after {} of {length} bytes", response.body.len());
                }
            }
            None => {
                self.reader.read_to_end(&mut response.body)?;
            }
        }
        Ok(response)
    }

    /// One request with a body in memory, and its whole answer.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response> {
        self.send_head(method, path, headers, body.map(|body| body.len() as u64))?;
        if let Some(body) = body {
            self.stream().write_all(body)?;
        }
        self.read_response(method).with_context(|| format!("{method} {path}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        (&mut self.reader).take(64 * 1024).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            bail!("connection closed in the middle of an answer");
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

/// One request on a connection of its own.
pub fn request(target: &Target, method: &str, path: &str, body: Option<&[u8]>) -> Result<Response> {
    let mut headers = vec![("Connection", "close")];
    if body.is_some() {
        headers.push(("Content-Type", "application/json"));
    }
    Connection::open(target)?.request(method, path, &headers, body)
}

/// `GET http://address path`, as a browser would; a short time-out, meant to be asked again.
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    let mut connection = Connection::open_within(&Target::Tcp(address), Duration::from_secs(3))?;
    connection.request("GET", path, &[("Connection", "close")], None)
}

/// `METHOD path` on a daemon's socket; the body, if any, is JSON.
pub fn api(socket: &Path, method: &str, path: &str, body: Option<&serde_json::Value>) -> Result<Response> {
    let body = body.map(|body| body.to_string());
    request(&Target::Unix(socket.to_path_buf()), method, path, body.as_deref().map(str::as_bytes))
}
