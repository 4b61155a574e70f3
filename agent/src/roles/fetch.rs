//! The role that fetches: speaks with one server, or reads one file, and hands the bytes to its
//! parent. It has no privilege and no file; its parent counts, checks and keeps.
//!
//! It never decides whether bytes are right, and never how long is too long: both are the parent's.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT_ENCODING, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use nix::sys::resource::Resource;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::privilege::confine;
use super::{Failed, user};

/// The most redirects that are followed; more is a loop.
const REDIRECTS_MAX: usize = 5;
/// The most bytes of an order: an address and the names of trusted hosts.
const ORDER_BYTES_MAX: u64 = 64 * 1024;
/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most headers of an answer.
const HEADERS_MAX: usize = 100;
/// The most open files: the pipes, a connection, the resolver's and the certificates'.
const FILES_MAX: u64 = 32;
/// How a file of the node is ordered.
pub(crate) const FILE_ORDER: &str = "file";
/// How an address is ordered.
pub(crate) const URL_ORDER: &str = "url";

/// Carries out the order that stands on standard input: the kind, the address, and one line for
/// each trusted host.
pub(super) fn run(mut args: impl Iterator<Item = OsString>) -> Result<(), Failed> {
    let (uid, gid) = (user(args.next())?, user(args.next())?);
    let limits = [(Resource::RLIMIT_NOFILE, FILES_MAX), (Resource::RLIMIT_FSIZE, 0)];
    confine(uid, gid, &limits)
        .map_err(|e| Failed::refused(format!("privilege cannot be given up: {e}")))?;
    let mut order = String::new();
    let read = io::stdin().lock().take(ORDER_BYTES_MAX).read_to_string(&mut order);
    read.map_err(|e| Failed::refused(format!("the order cannot be read: {e}")))?;
    let mut lines = order.lines();
    let (kind, address) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if kind == FILE_ORDER {
        return read_file(address);
    }
    let trusted: Vec<String> = lines.map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failed::again(format!("no runtime: {e}")))?;
    runtime.block_on(get(address, &trusted))
}

/// Passes on a plain file; a pipe or a device would never end.
fn read_file(path: &str) -> Result<(), Failed> {
    let failed = |e: io::Error| Failed::refused(format!("{path} on this node cannot be read: {e}"));
    let mut options = File::options();
    let file = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Failed::refused(format!("{path} on this node is not a plain file")));
    }
    io::copy(&mut &file, &mut io::stdout().lock()).map(drop).map_err(failed)
}

async fn get(address: &str, trusted: &[String]) -> Result<(), Failed> {
    let mut uri: Uri =
        address.parse().map_err(|_| Failed::refused(format!("{address} is no address")))?;
    let mut beyond = false;
    for _ in 0..=REDIRECTS_MAX {
        let target = Target::of(&uri)?;
        let place = target.resolve(trusted, beyond).await?;
        beyond = beyond || !place.ip().is_loopback();
        let response = ask(&target, place).await?;
        let status = response.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            uri = location(&uri, &response)?;
            continue;
        }
        return match status {
            StatusCode::OK => pass_on(response).await,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failed::again(format!("{} answers {status}", target.host)))
            }
            _ if status.is_server_error() => {
                Err(Failed::again(format!("{} answers {status}", target.host)))
            }
            _ => Err(Failed::refused(format!(
                "{} answers {status}: correct the url, or put the file there",
                target.host
            ))),
        };
    }
    Err(Failed::refused(format!("more than {REDIRECTS_MAX} redirects: name the last address")))
}

/// Where one request goes.
#[derive(Debug)]
struct Target {
    secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, Failed> {
        let wrong = || Failed::refused(format!("{uri} is no address with http:// or https://"));
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Failed::refused("an address must not hold a user or a password"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path: path.to_owned(),
        })
    }

    /// Finds an address that may be spoken with: plain text is for this server and trusted hosts, and
    /// whoever was sent on from elsewhere is not sent to this server.
    async fn resolve(&self, trusted: &[String], beyond: bool) -> Result<SocketAddr, Failed> {
        let host = self.host.as_str();
        let found = tokio::net::lookup_host((host, self.port)).await;
        let found = found.map_err(|e| Failed::again(format!("{host} is not found: {e}")))?;
        let place = found.into_iter().next();
        let place = place.ok_or_else(|| Failed::again(format!("{host} has no address")))?;
        let here = is_here(place.ip());
        if here && beyond {
            return Err(Failed::refused(format!("it was redirected to this server, to {host}")));
        }
        if !self.secure && !here && !trusted.iter().any(|t| t.eq_ignore_ascii_case(host)) {
            return Err(Failed::refused(format!(
                "{host} is asked in plain text, which its operators do not trust: use https, or \
                 start the agent with --artifact-http {host}"
            )));
        }
        Ok(place)
    }

    fn shown(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

fn is_here(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified(),
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback());
            v6.is_loopback() || v6.is_unspecified() || mapped
        }
    }
}

fn location(from: &Uri, response: &Response<Incoming>) -> Result<Uri, Failed> {
    let wrong = || Failed::refused("it is redirected to nowhere");
    let text = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).ok_or_else(wrong)?;
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map(ToString::to_string).unwrap_or_default();
    let whole = if text.contains("://") {
        text.to_owned()
    } else if text.starts_with("//") {
        format!("{scheme}:{text}")
    } else if text.starts_with('/') {
        format!("{scheme}://{authority}{text}")
    } else {
        let base = from.path().rsplit_once('/').map_or("", |(base, _)| base);
        format!("{scheme}://{authority}{base}/{text}")
    };
    let to: Uri = whole.parse().map_err(|_| wrong())?;
    if scheme == "https" && to.scheme_str() != Some("https") {
        return Err(Failed::refused("it is redirected from https to plain text"));
    }
    Ok(to)
}

async fn ask(target: &Target, place: SocketAddr) -> Result<Response<Incoming>, Failed> {
    let failed = |e: io::Error| Failed::again(format!("{} cannot be reached: {e}", target.host));
    let stream = TcpStream::connect(place).await.map_err(failed)?;
    if !target.secure {
        return exchange(target, stream).await;
    }
    let name = ServerName::try_from(target.host.clone());
    let name = name.map_err(|_| Failed::refused(format!("{} is no name", target.host)))?;
    let connector = TlsConnector::from(Arc::new(trust()?));
    exchange(target, connector.connect(name, stream).await.map_err(failed)?).await
}

/// Trusts whom the server's own certificates trust.
fn trust() -> Result<ClientConfig, Failed> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(Failed::refused(
            "this node trusts no authority: install ca-certificates, or set SSL_CERT_FILE for the \
             agent",
        ));
    }
    let builder = ClientConfig::builder_with_provider(tengyun_proto::tls::provider());
    let versions = builder.with_protocol_versions(&[&rustls::version::TLS13]);
    let versions = versions.map_err(|e| Failed::refused(format!("no TLS 1.3: {e}")))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange<S>(target: &Target, stream: S) -> Result<Response<Incoming>, Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |e: hyper::Error| Failed::again(format!("{} broke off: {e}", target.host));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let request = Request::get(&target.path)
        .header(HOST, target.shown())
        .header(USER_AGENT, concat!("tengyun-agent/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT_ENCODING, "identity")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|e| Failed::refused(format!("it cannot be asked for: {e}")))?;
    sender.send_request(request).await.map_err(failed)
}

async fn pass_on(response: Response<Incoming>) -> Result<(), Failed> {
    let mut body = response.into_body();
    let mut out = io::stdout().lock();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Failed::again(format!("the server broke off half-way: {e}")))?;
        if let Ok(data) = frame.into_data() {
            out.write_all(&data).map_err(|e| Failed::refused(format!("nobody listens: {e}")))?;
        }
    }
    out.flush().map_err(|e| Failed::refused(format!("nobody listens: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_no_password() {
        let of = |text: &str| Target::of(&text.parse().unwrap());
        let target = of("https://files.city.example:8443/a/b?c=d").unwrap();
        assert_eq!((target.secure, target.port), (true, 8443));
        assert_eq!(
            (target.shown().as_str(), target.path.as_str()),
            ("files.city.example:8443", "/a/b?c=d")
        );
        assert_eq!(of("http://[::1]:81/").unwrap().shown(), "[::1]:81");
        assert_eq!(of("http://h").unwrap().path, "/");
        for bad in ["ftp://h/", "/a", "h:80", "http://u:p@h/"] {
            assert!(of(bad).is_err(), "{bad} passed");
        }
    }

    #[test]
    fn this_server_has_many_addresses() {
        for here in ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"] {
            assert!(is_here(here.parse().unwrap()), "{here}");
        }
        for there in ["10.0.0.1", "192.168.1.1", "2001:db8::1", "169.254.169.254"] {
            assert!(!is_here(there.parse().unwrap()), "{there}");
        }
    }
}
