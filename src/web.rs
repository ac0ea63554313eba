//! A client for HTTP: whom it believes, how long it waits.

use crate::files::read_at_most;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// How a client behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientSettings<'a> {
    /// File with the certificates to believe in, PEM; `None`: the system's.
    pub ca: Option<&'a Path>,
    /// For connecting, and for the head of the answer; each.
    pub patience: Duration,
    pub redirects: u32,
}

/// Largest file of certificates that is read: the whole of a system's is a quarter of a megabyte.
pub const MAX_PEM: u64 = 16 << 20;

/// A client. A status that says no is an answer, too.
///
/// # Errors
/// The certificates cannot be read.
pub fn client(s: &ClientSettings<'_>) -> io::Result<ureq::Agent> {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(certificates(s.ca)?)))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(s.patience))
        .timeout_recv_response(Some(s.patience))
        .max_redirects(s.redirects)
        .http_status_as_error(false)
        .user_agent(concat!("passd/", env!("CARGO_PKG_VERSION")));
    Ok(config.build().new_agent())
}

/// A body that is sent as it is read.
pub fn body_of(from: &mut dyn io::Read) -> ureq::SendBody<'_> {
    ureq::SendBody::from_reader(from)
}

fn certificates(ca: Option<&Path>) -> io::Result<Vec<Certificate<'static>>> {
    let Some(path) = ca else {
        let system = rustls_native_certs::load_native_certs().certs;
        return Ok(system.iter().map(|c| Certificate::from_der(c).to_owned()).collect());
    };
    let named = |e: String| io::Error::other(format!("{}: {e}", path.display()));
    let pem = read_at_most(path, MAX_PEM, "certificates").map_err(|e| named(e.to_string()))?;
    let items = ureq::tls::parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(c)) => Some(Ok(c)),
        Ok(_) => None,
        Err(e) => Some(Err(named(e.to_string()))),
    });
    items.collect()
}
