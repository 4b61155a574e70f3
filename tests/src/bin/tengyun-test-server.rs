//! A workload for tests: answers every HTTP request with the number of its instance, and with 503
//! while a file `sick` lies in its working directory.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var(name).map_err(io::Error::other);
    let port: u16 = variable("PORT_HTTP")?.parse().map_err(io::Error::other)?;
    let instance = variable("TENGYUN_INSTANCE")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    loop {
        let (stream, _) = listener.accept()?;
        // A client that goes away ends its connection and nothing else.
        answer(stream, &instance).ok();
    }
}

fn answer(mut stream: TcpStream, instance: &str) -> io::Result<()> {
    let mut request: Vec<u8> = Vec::new();
    let mut some = [0; 512];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Ok(());
        }
        request.extend(some.iter().take(count));
    }
    let status = if Path::new("sick").exists() { "503 Service Unavailable" } else { "200 OK" };
    let length = instance.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{instance}"
    )
}
