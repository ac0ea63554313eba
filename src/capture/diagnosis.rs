//! Why an RTSP camera does not answer: its name is looked up, its port connected to and its first answer read, as
//! GStreamer says the same of all of them ("Failed to connect. (Generic error)").
//!
//! Asks once and without a password; takes as long as the network does, within bounds: call it where that is bearable.

use super::address::RtspAddress;
use crate::text::printable;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For a connection, and for an answer; each.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// Most of an answer that is read.
const MAX_ANSWER: u64 = 16 << 10;
/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// What is wrong, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    pub cause: String,
    pub remedy: String,
}

fn is(cause: impl Into<String>, remedy: impl Into<String>) -> Diagnosis {
    Diagnosis { cause: cause.into(), remedy: remedy.into() }
}

/// Looks for the cause of what was `said` by who tried; `None`: everything that was looked at is in order.
pub fn diagnose(address: &RtspAddress, said: &str) -> Option<Diagnosis> {
    let (host, port) = address.host()?;
    // Asked without a password, every camera that has one answers 401: whether ours is wrong who used it knows.
    let said = said.to_lowercase();
    let is_refused = said.contains("unauthorized") || said.contains("401");
    match look(address, &host, port, is_refused) {
        Ok(found) => found,
        Err(found) => Some(found),
    }
}

fn look(address: &RtspAddress, host: &str, port: u16, is_refused: bool) -> Result<Option<Diagnosis>, Diagnosis> {
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|e| {
            let cause = format!("the name '{host}' has no address: {e}");
            is(
                cause,
                "is it written right, and does this machine's name server know it? The camera's IP address does, too",
            )
        })?
        .take(MAX_ADDRESSES)
        .collect();
    let stream = connect(&addresses)?;
    let request = format!(
        "DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\nUser-Agent: passd\r\n\r\n",
        address.location.replace("rtsps://", "rtsp://")
    );
    let answer = match address.location.starts_with("rtsps://") {
        true => ask_by_tls(stream, host, &request)?,
        false => ask(stream, &request).map_err(|e| silence(&e))?,
    };
    Ok(read(&answer, address.login.is_some(), is_refused))
}

fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Diagnosis> {
    let mut found = is("the name has no address", "give the camera's IP address");
    for address in addresses {
        let error = match TcpStream::connect_timeout(address, ANSWER_WAIT) {
            Ok(stream) => {
                let limited = stream
                    .set_read_timeout(Some(ANSWER_WAIT))
                    .and_then(|()| stream.set_write_timeout(Some(ANSWER_WAIT)));
                return limited.map(|()| stream).map_err(|e| silence(&e));
            }
            Err(e) => e,
        };
        found = match error.kind() {
            ErrorKind::ConnectionRefused => is(
                format!("{address} refuses the connection: nothing listens at that port"),
                "is the camera's RTSP switched on, and is the port right? 554 is the usual one",
            ),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => is(
                format!("{address} does not answer"),
                "is the camera on, is the address right, and does no firewall stand between?",
            ),
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => is(
                format!("there is no way to {address}: {error}"),
                "is this machine in the camera's network (ip route get ADDRESS)?",
            ),
            _ => is(format!("{address}: {error}"), "is the camera on, and the address right?"),
        };
    }
    Err(found)
}

fn silence(e: &std::io::Error) -> Diagnosis {
    match e.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => is(
            "it takes the connection and says nothing",
            "does the port speak RTSP (with TLS: rtsps://)? Else restart the camera",
        ),
        _ => is(
            format!("it closes the connection without an answer ({e})"),
            "does the port speak RTSP (with TLS: rtsps://), and has it room for another viewer?",
        ),
    }
}

/// Sends a request and reads the head of the answer, and the body that came with it.
fn ask(mut stream: impl Read + Write, request: &str) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    let began = Instant::now();
    // Bytes may come one by one, each within its time.
    while (answer.len() as u64) < MAX_ANSWER && began.elapsed() < 2 * ANSWER_WAIT {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(e) if answer.is_empty() => return Err(e),
            Err(_) => break,
        }
        if is_whole(&answer) {
            break;
        }
    }
    if answer.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

/// Whether head and body have come.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = header(head, "content-length").next().and_then(|v| v.parse().ok()).unwrap_or(0);
    body.len() >= length
}

fn header<'a>(head: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    head.lines().skip(1).filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn ask_by_tls(mut stream: TcpStream, host: &str, request: &str) -> Result<Vec<u8>, Diagnosis> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| is(format!("TLS: {e}"), "use rtsp:// in a network that you trust"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|e| is(format!("'{host}' is no name for TLS: {e}"), "give the camera's name or IP address"))?;
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name)
        .map_err(|e| is(format!("TLS: {e}"), "use rtsp:// in a network that you trust"))?;
    let answer = ask(rustls::Stream::new(&mut tls, &mut stream), request);
    answer.map_err(|e| match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => is(
            format!("its certificate is not believed: {}", in_words(why)),
            "install the camera's certificate on this machine (/usr/local/share/ca-certificates, then \
             update-ca-certificates), give the name that it is for, or use rtsp:// in a network that you trust",
        ),
        Some(rustls::Error::InvalidMessage(_)) => {
            is("the port does not speak TLS", "write rtsp:// instead of rtsps://, or give the port for TLS, often 322")
        }
        Some(other) => is(format!("TLS fails: {other}"), "does the camera speak TLS 1.2 or 1.3?"),
        None => silence(&e),
    })
}

fn in_words(why: &rustls::CertificateError) -> String {
    use rustls::CertificateError as E;
    match why {
        E::UnknownIssuer => "it is self-signed, or its issuer is not known here".into(),
        E::Expired | E::ExpiredContext { .. } => "it has expired; or this machine's clock is wrong".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet; or this machine's clock is wrong".into(),
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is for another name".into(),
        other => printable(&other.to_string(), 120),
    }
}

/// What an answer to DESCRIBE says.
fn read(answer: &[u8], has_login: bool, is_refused: bool) -> Option<Diagnosis> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let first = printable(head.lines().next().unwrap_or_default(), 80);
    let mut words = first.splitn(3, ' ');
    let (protocol, code) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !protocol.starts_with("RTSP/") {
        return Some(match (answer.first(), protocol.starts_with("HTTP/")) {
            (_, true) => is("the port speaks HTTP, not RTSP", "give the port for RTSP, 554 usually"),
            // The beginning of a record of TLS.
            (Some(0x15 | 0x16), _) => is("the port speaks TLS", "write rtsps:// instead of rtsp://"),
            _ => is("it answers, but not in RTSP", "is the port right? 554 is the usual one"),
        });
    }
    match code {
        "200" if !is_whole(answer) && answer.len() as u64 >= MAX_ANSWER => Some(is(
            format!("it describes its streams in more than {} KiB", MAX_ANSWER >> 10),
            "is the address that of one camera? See its log",
        )),
        "200" if !is_whole(answer) => {
            Some(is("its answer breaks off in the middle", "restart the camera, or bring its firmware up to date"))
        }
        "200" => {
            let media: Vec<&str> = body.lines().filter_map(|l| l.strip_prefix("m=")?.split(' ').next()).collect();
            let is_blind = !media.is_empty() && !media.contains(&"video");
            is_blind.then(|| {
                let media = printable(&media.join(", "), 80);
                is(format!("the camera sends no video, only {media}"), "choose a stream with video in the path")
            })
        }
        "401" | "403" => refused(head, has_login, is_refused),
        "404" => Some(is("it has nothing at this path (404)", "see the camera's manual for the path of its stream")),
        "453" | "503" => Some(is(
            format!("it has no room for another viewer ({first})"),
            "close other viewers, or allow more of them in the camera",
        )),
        code if code.starts_with('3') => {
            let target = header(head, "location").next().map(|t| printable(t, 200)).unwrap_or_default();
            Some(is(format!("it sends us elsewhere ({first}): {target}"), "give that address, if it is right"))
        }
        _ => Some(is(format!("it answers {first}"), "see the camera's log; another path or stream may work")),
    }
}

/// Why nobody is let in, if nobody is.
fn refused(head: &str, has_login: bool, is_refused: bool) -> Option<Diagnosis> {
    let asks: Vec<String> = header(head, "www-authenticate").map(str::to_ascii_lowercase).collect();
    let can_answer = |ask: &String| {
        let algorithm = ask.split_once("algorithm=").map(|(_, rest)| rest.trim_start_matches('"'));
        ask.starts_with("basic") || ask.starts_with("digest") && algorithm.is_none_or(|a| a.starts_with("md5"))
    };
    if !has_login {
        let remedy = "write rtsp://NAME:${CAM_PASSWORD}@HOST/PATH and set the secret";
        return Some(is("it wants a name and a password", remedy));
    }
    if !asks.is_empty() && !asks.iter().any(can_answer) {
        let asked = printable(&asks.join(" / "), 160);
        return Some(is(
            format!("it asks for a password in a way that GStreamer cannot answer ({asked})"),
            "set the camera's RTSP authentication to Digest with MD5, or to Basic",
        ));
    }
    is_refused.then(|| {
        is(
            "it does not take this name and password (401)",
            "see the camera's users; some lock a name for a while after wrong passwords",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let check = |answer: &str, has_login: bool, part: Option<&str>| {
            let found = read(answer.as_bytes(), has_login, true).map(|d| format!("{}; {}", d.cause, d.remedy));
            match part {
                Some(part) => assert!(found.as_ref().is_some_and(|f| f.contains(part)), "{answer}: {found:?}"),
                None => assert_eq!(found, None, "{answer}"),
            }
        };
        let unauthorized = |ask: &str| format!("RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n{ask}\r\n\r\n");
        let sha = "WWW-Authenticate: Digest realm=\"x\", nonce=\"1\", algorithm=SHA-256";
        check(&unauthorized(sha), true, Some("Digest with MD5"));
        check(&unauthorized(&format!("{sha}\r\nWWW-Authenticate: Basic realm=\"x\"")), true, Some("does not take"));
        check(&unauthorized("WWW-Authenticate: Digest realm=\"x\", nonce=\"1\""), true, Some("does not take"));
        check(&unauthorized(sha), false, Some("wants a name and a password"));
        let protected = unauthorized("WWW-Authenticate: Basic realm=\"x\"");
        assert_eq!(read(protected.as_bytes(), true, false), None, "it is something else");
        check("RTSP/1.0 404 Not Found\r\n\r\n", false, Some("nothing at this path"));
        check("RTSP/1.0 453 Not Enough Bandwidth\r\n\r\n", false, Some("no room"));
        check("RTSP/1.0 302 Moved\r\nLocation: rtsp://b/\r\n\r\n", false, Some("elsewhere"));
        check("RTSP/1.0 551 Option\x1b[31m\r\n\r\n", false, Some("551 Option [31m"));
        check("HTTP/1.1 400 Bad Request\r\n\r\n", false, Some("speaks HTTP"));
        check("\x15\x03\x01\0\x02", false, Some("rtsps://"));
        check("\0\0junk", false, Some("not in RTSP"));
        check("RTSP/1.0 200 OK\r\n\r\nv=0\r\nm=audio 0 RTP/AVP 0\r\n", false, Some("no video, only audio"));
        check("RTSP/1.0 200 OK\r\n\r\nv=0\r\nm=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n", false, None);
        check("RTSP/1.0 200 OK\r\n\r\n", false, None);
        check("RTSP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nv=0", false, Some("breaks off"));
        let long =
            format!("RTSP/1.0 200 OK\r\nContent-Length: 99999\r\n\r\n{}", "m=video 0 RTP/AVP 96\r\n".repeat(999));
        check(&long, false, Some("more than 16 KiB"));
    }
}
