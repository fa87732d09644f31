//! A connection that stops being HTTP: attach, and exec with streams.
//!
//! ```text
//!  client ═══ bytes, until its EOF ═══▶ pump ═══▶ socket of the process
//!         ◀══ frames or raw, verbatim ═      ◀═══
//! ```
//! - The client's EOF becomes `shutdown(SHUT_WR)` towards the process; output goes on.
//! - The process's EOF ends the connection, after everything was sent.
//! - Detach keys, and a client that is gone, close the process's socket without that EOF.

use crate::detach::Detaching;
use crate::socket::Socket;
use crate::websocket::{GOODBYE, Handshake, Heard, Split, Unframe};
use bytes::Bytes;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

/// Bytes copied at once, per direction.
const BUFFER: usize = 32 * 1024;

/// After the end of the output, the client has that long to close its side.
const LINGER: Duration = Duration::from_secs(5);

/// How long the client may take to read the header before output follows it.
const AT_MOST: Duration = Duration::from_millis(200);
/// Most clients wait for it and have it sooner than a timer could tell.
const AT_ONCE: Duration = Duration::from_micros(300);
/// The same where it cannot be known.
const ON_TCP: Duration = Duration::from_millis(2);

/// What a handler hands to the connection.
pub(crate) struct Takeover {
    /// The process's side.
    pub stream: OwnedFd,
    /// With a terminal and standard input.
    pub detach: Option<Detaching>,
    /// Empty for what is no stream of a process.
    pub media_type: &'static str,
    /// The protocol that the client asked for with `Upgrade`; without it older ones expect 200.
    pub upgrade: Option<&'static str>,
    /// What comes raw from a terminal goes out in frames of standard output: the client has not asked for a terminal.
    pub frame: bool,
    /// The client speaks in the frames of a websocket.
    pub websocket: Option<Handshake>,
}

pub(crate) const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
pub(crate) const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

/// Media type of a process's streams; the second name exists since API 1.42.
pub(crate) fn media_type(tty: bool, version: crate::version::Version) -> &'static str {
    if tty || version < crate::version::Version(1, 42) { RAW_STREAM } else { MULTIPLEXED_STREAM }
}

impl Takeover {
    /// The header that the client gets.
    fn head(&self) -> String {
        let mut head = String::with_capacity(256);
        if let Some(handshake) = &self.websocket {
            head.push_str("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
            let _ = write!(head, "Sec-WebSocket-Accept: {}\r\n\r\n", handshake.accept);
            return head;
        }
        let first = if self.upgrade.is_some() { "101 UPGRADED" } else { "200 OK" };
        // Writing to a string does not fail.
        let _ = write!(head, "HTTP/1.1 {first}\r\n");
        if !self.media_type.is_empty() {
            let _ = write!(head, "Content-Type: {}\r\n", self.media_type);
        }
        if let Some(protocol) = self.upgrade {
            let _ = write!(head, "Connection: Upgrade\r\nUpgrade: {protocol}\r\n");
        }
        for (name, value) in crate::connection::HEADERS {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        head
    }

    /// Serves the rest of the connection. `early` is what the client sent behind its request.
    pub async fn run(self, mut client: Socket, early: Bytes) -> io::Result<()> {
        client.write_all(self.head().as_bytes()).await?;
        client.flush().await?;
        head_is_read(&client).await;
        let process = std::os::unix::net::UnixStream::from(self.stream);
        process.set_nonblocking(true)?;
        if let Some(handshake) = &self.websocket {
            let split = (self.media_type != RAW_STREAM).then(Split::default);
            return pump_frames(client, early, UnixStream::from_std(process)?, self.detach, handshake, split).await;
        }
        let gone = client.as_fd().try_clone_to_owned()?;
        pump(client, early, UnixStream::from_std(process)?, self.detach, self.frame, || hung_up(&gone)).await
    }
}

/// Waits until the client has read the header, for a moment at most.
///
/// Clients that read the header through a buffer and the stream without it (docker-py) lose what comes together with it.
/// Docker never sends both at once, because its processes take that long to start.
async fn head_is_read(client: &Socket) {
    if let Socket::Tcp(_) = client {
        // The kernel knows what was acknowledged, not what was read.
        return tokio::time::sleep(ON_TCP).await;
    }
    let unread = || sys::socket::unread_by_peer(client).is_ok_and(|bytes| bytes > 0);
    let begun = std::time::Instant::now();
    while unread() && begun.elapsed() < AT_MOST {
        if begun.elapsed() < AT_ONCE {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The other side of the socket has closed both directions. TCP does not tell.
fn hung_up(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// Copies both ways until the process's side ends, the client detaches, or the client is gone.
async fn pump<C: AsyncRead + AsyncWrite>(
    client: C,
    early: Bytes,
    mut process: UnixStream,
    detach: Option<Detaching>,
    frame: bool,
    gone: impl Fn() -> bool,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_process, mut to_process) = process.split();
    let mut ended = false;
    {
        let input = async {
            if forward_input(&early, &mut from_client, &mut to_process, detach).await && !gone() {
                // Everything was sent; the process's side stays readable. Its reader may be gone already.
                let _ = to_process.shutdown().await;
                std::future::pending::<()>().await;
            }
        };
        let output = async {
            forward_output(&mut from_process, &mut to_client, frame).await?;
            ended = true;
            to_client.shutdown().await
        };
        tokio::select! {
            biased;
            result = output => result?,
            () = input => {}
        }
    }
    if ended {
        // What the client has sent meanwhile is read: closing with unread input would be a reset instead of an end.
        let mut nowhere = tokio::io::sink();
        let drain = tokio::io::copy(&mut from_client, &mut nowhere);
        let _ = tokio::time::timeout(LINGER, drain).await;
    }
    Ok(())
}

/// The same in frames. `split`: the process's side has headers of its own, which go.
async fn pump_frames<C: AsyncRead + AsyncWrite>(
    client: C,
    early: Bytes,
    mut process: UnixStream,
    detach: Option<Detaching>,
    handshake: &Handshake,
    mut split: Option<Split>,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_process, mut to_process) = process.split();
    // Answers to pings, on their way to the only one who writes.
    let (answer, mut answers) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
    let input = async move {
        if forward_frames(&early, &mut from_client, &mut to_process, detach, &answer).await {
            // The client gets what is still to come, and our close, as long as it stays.
            let _ = to_process.shutdown().await;
            drop(answer);
            let _ = tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await;
        }
    };
    let output = async {
        let mut buffer = vec![0; BUFFER];
        let mut payload = Vec::new();
        let mut listening = true;
        loop {
            let count = tokio::select! {
                read = from_process.read(&mut buffer) => match read {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                    result => result?,
                },
                answer = answers.recv(), if listening => {
                    match answer {
                        Some(bytes) => to_client.write_all(&bytes).await?,
                        None => listening = false,
                    }
                    continue;
                }
            };
            if count == 0 {
                to_client.write_all(&GOODBYE).await?;
                return to_client.shutdown().await;
            }
            payload.clear();
            match &mut split {
                Some(split) => split.feed(&buffer[..count], &mut payload),
                None => payload.extend_from_slice(&buffer[..count]),
            }
            if !payload.is_empty() {
                to_client.write_all(&handshake.header(payload.len())).await?;
                to_client.write_all(&payload).await?;
                to_client.flush().await?;
            }
        }
    };
    tokio::select! {
        biased;
        result = output => result,
        () = input => Ok(()),
    }
}

/// True: the client has closed. False: detached, or the connection failed.
async fn forward_frames(
    early: &[u8],
    from_client: &mut (impl AsyncRead + Unpin),
    to_process: &mut (impl AsyncWrite + Unpin),
    mut detach: Option<Detaching>,
    answer: &tokio::sync::mpsc::Sender<Vec<u8>>,
) -> bool {
    let (mut unframe, mut buffer, mut typed) = (Unframe::default(), vec![0; BUFFER], Vec::new());
    let (mut pending, mut wanted) = (early, true);
    loop {
        let mut heard = Heard::default();
        if pending.is_empty() {
            match from_client.read(&mut buffer).await {
                // Without a close there is nobody any more.
                Ok(0) => return false,
                Ok(count) => unframe.feed(&buffer[..count], &mut heard),
                Err(_) => return false,
            }
        } else {
            unframe.feed(std::mem::take(&mut pending), &mut heard);
        }
        if !heard.answers.is_empty() && answer.send(heard.answers).await.is_err() {
            return false;
        }
        let mut input = heard.input.as_slice();
        let mut detached = false;
        if let Some(keys) = &mut detach {
            typed.clear();
            detached = keys.feed(input, &mut typed);
            input = &typed;
        }
        wanted = wanted && to_process.write_all(input).await.is_ok();
        if detached {
            return false;
        }
        if heard.closed {
            return true;
        }
    }
}

/// Until the process's side ends.
async fn forward_output(
    from_process: &mut (impl AsyncRead + Unpin),
    to_client: &mut (impl AsyncWrite + Unpin),
    frame: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match from_process.read(&mut buffer).await {
            // Its owner has ended without reading all of the input; that is an end too.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            result => result?,
        };
        if count == 0 {
            return Ok(());
        }
        if frame {
            let length = u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
            to_client.write_all(&[1, 0, 0, 0, length[0], length[1], length[2], length[3]]).await?;
        }
        to_client.write_all(&buffer[..count]).await?;
        to_client.flush().await?;
    }
}

/// True: the client's EOF. False: detached, or the connection failed.
async fn forward_input(
    early: &[u8],
    from_client: &mut (impl AsyncRead + Unpin),
    to_process: &mut (impl AsyncWrite + Unpin),
    mut detach: Option<Detaching>,
) -> bool {
    let mut buffer = vec![0; BUFFER];
    let mut typed = Vec::new();
    let mut wanted = true;
    let mut pending = early;
    loop {
        let count;
        let mut input = if pending.is_empty() {
            count = match from_client.read(&mut buffer).await {
                Ok(0) => return true,
                Ok(count) => count,
                Err(_) => return false,
            };
            &buffer[..count]
        } else {
            std::mem::take(&mut pending)
        };
        let mut detached = false;
        if let Some(keys) = &mut detach {
            typed.clear();
            detached = keys.feed(input, &mut typed);
            input = &typed;
        }
        // A process that reads no more does not end the attachment; its input is dropped.
        wanted = wanted && to_process.write_all(input).await.is_ok();
        if detached {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detach::DetachKeys;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    async fn read_all(stream: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn half_close_both_ways() {
        let (mut client, server) = pair();
        let (engine, mut process) = pair();
        let task = tokio::spawn(pump(server, Bytes::from_static(b"early "), engine, None, false, || false));
        client.write_all(b"input").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut process).await, b"early input");
        // Output after the EOF of the input, more than any buffer holds.
        let output = vec![7; 3_000_000];
        let (copy, mut writer) = (output.clone(), process);
        let write = tokio::spawn(async move {
            writer.write_all(&copy).await.unwrap();
        });
        assert_eq!(read_all(&mut client).await, output);
        drop(client);
        write.await.unwrap();
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn detaching_is_no_eof() {
        let (mut client, server) = pair();
        let (engine, mut process) = pair();
        let told = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&told);
        let keys = Detaching::new(DetachKeys::parse("").unwrap(), move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        let task = tokio::spawn(pump(server, Bytes::new(), engine, Some(keys), false, || false));
        client.write_all(b"ls\n\x10\x11more").await.unwrap();
        task.await.unwrap().unwrap();
        // Both sides are closed as a whole, nothing behind the keys arrived.
        assert_eq!(read_all(&mut process).await, b"ls\n");
        assert!(process.write_all(b"x").await.is_err());
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_process_that_reads_nothing() {
        let (mut client, server) = pair();
        let (engine, process) = pair();
        let task = tokio::spawn(pump(server, Bytes::new(), engine, None, false, || false));
        let process = process.into_std().unwrap();
        process.shutdown(std::net::Shutdown::Read).unwrap();
        client.write_all(b"ignored").await.unwrap();
        process.set_nonblocking(false).unwrap();
        std::io::Write::write_all(&mut &process, b"output").unwrap();
        drop(process);
        assert_eq!(read_all(&mut client).await, b"output");
        drop(client);
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_gone() {
        let (client, server) = pair();
        let (engine, mut process) = pair();
        let probe = server.as_fd().try_clone_to_owned().unwrap();
        let task = tokio::spawn(pump(server, Bytes::new(), engine, None, false, move || hung_up(&probe)));
        drop(client);
        task.await.unwrap().unwrap();
        assert!(process.write_all(b"x").await.is_err());
    }

    #[tokio::test]
    async fn heads() {
        for (upgrade, head) in [
            (
                Some("tcp"),
                "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.51\r\n",
            ),
            (None, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\nApi-Version: 1.51\r\n"),
        ] {
            let (mut client, server) = pair();
            let (engine, mut process) = pair();
            let stream = OwnedFd::from(engine.into_std().unwrap());
            let takeover =
                Takeover { stream, detach: None, media_type: RAW_STREAM, upgrade, frame: false, websocket: None };
            let task = tokio::spawn(takeover.run(Socket::Unix(server), Bytes::new()));
            process.write_all(b"no\r\n").await.unwrap();
            drop(process);
            let text = String::from_utf8(read_all(&mut client).await).unwrap();
            assert!(text.starts_with(head) && text.ends_with("\r\n\r\nno\r\n"), "{text}");
            drop(client);
            task.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn frames_instead_of_bytes() {
        let (mut client, server) = pair();
        let (engine, mut process) = pair();
        let stream = OwnedFd::from(engine.into_std().unwrap());
        let websocket = Some(Handshake { accept: "x".to_owned(), text: false });
        let takeover =
            Takeover { stream, detach: None, media_type: MULTIPLEXED_STREAM, upgrade: None, frame: false, websocket };
        let task = tokio::spawn(takeover.run(Socket::Unix(server), Bytes::new()));
        // "in", a ping and a close, with a mask of zeros.
        client
            .write_all(&[0x82, 0x82, 0, 0, 0, 0, b'i', b'n', 0x89, 0x80, 0, 0, 0, 0, 0x88, 0x80, 0, 0, 0, 0])
            .await
            .unwrap();
        assert_eq!(read_all(&mut process).await, b"in");
        process.write_all(&[1, 0, 0, 0, 0, 0, 0, 3, b'o', b'u', b't']).await.unwrap();
        drop(process);
        let answer = read_all(&mut client).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Accept: x\r\n\r\n"), "{text}");
        let frames = [&[0x8a, 0][..], &[0x82, 3, b'o', b'u', b't'], &GOODBYE].concat();
        assert!(answer.ends_with(&frames), "{answer:?}");
        task.await.unwrap().unwrap();
    }
}
