//! Answers every request with a line; `--check` asks a server that runs.

use std::io::{Read, Write};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if std::env::args().nth(1).as_deref() == Some("--check") {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:8080")?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        return if answer.contains(" 200 ") { Ok(()) } else { Err(answer.into()) };
    }
    let server = tiny_http::Server::http("0.0.0.0:8080")?;
    for request in server.incoming_requests() {
        request.respond(tiny_http::Response::from_string("first answer of tiny_http\n"))?;
    }
    Ok(())
}
