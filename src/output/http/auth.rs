//! Who may look: whoever has the token, if there is one.
//!
//! Programs send it as `Authorization: Bearer …`. A browser posts it once to `/login` and gets a cookie, which
//! holds a hash of it and is good for as long as the token is.

use super::api::problem;
use super::shared::Shared;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::time::Duration;

/// Longest token, and longest wait for it.
const MAX_BODY: usize = 1024;
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds for which a browser keeps it: a month.
const AGE: u32 = 2_592_000;
/// What may be seen without a token: the page itself, which holds nothing, and probes.
const OPEN: [&str; 9] = ["/", "/page.js", "/learn.js", "/page.css", "/icon.svg", LOGIN, "/live", "/ready", "/startup"];
const LOGIN: &str = "/login";

/// Whether this machine is asked for by an address or name of its own: a page from elsewhere may have had its name
/// resolved to ours (DNS rebinding).
fn is_here(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a page from elsewhere asks, to show or to read what is here; a link to our page is no such thing. Browsers
/// say so by themselves; others that ask do not.
fn is_foreign(request: &Request) -> bool {
    let says = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_elsewhere = matches!(says("sec-fetch-site"), "cross-site" | "same-site");
    let is_link = says("sec-fetch-mode") == "navigate" && says("sec-fetch-dest") == "document";
    is_elsewhere && !(is_link && request.uri().path() == "/")
}

/// Whether what would change something says that it comes from another page than ours. A page's own requests name the
/// authority that they go to, or say that they stay there; programs say nothing.
fn is_foreign_change(request: &Request) -> bool {
    if request.method().is_safe() || request.uri().path() == LOGIN {
        return false;
    }
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_ours = |origin: &HeaderValue| {
        let authority = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, authority)| authority);
        authority.is_some_and(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host))
    };
    let stays = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    let is_ours_alone = headers.get_all(header::ORIGIN).iter().all(is_ours);
    !(is_ours_alone && headers.get_all("sec-fetch-site").iter().all(stays))
}

/// Lets requests through that may be, and says of every answer what browsers may do with it.
pub async fn guard(State(s): State<Shared>, request: Request, next: Next) -> Response {
    let open = OPEN.contains(&request.uri().path());
    let mut response = match &s.token {
        _ if is_foreign(&request) => problem(
            StatusCode::FORBIDDEN,
            "another page asks for this; it may link to passd, and not show what it shows",
        ),
        _ if is_foreign_change(&request) => problem(
            StatusCode::FORBIDDEN,
            "another page asks to change something; passd's own page may, and programs (a proxy must pass 'Host' on)",
        ),
        None if !is_here(request.headers()) => {
            let words =
                "without an http.token only this machine may look: as localhost or 127.0.0.1, not under another name";
            problem(StatusCode::MISDIRECTED_REQUEST, words)
        }
        Some(token) if !open && !token.is_sent(request.headers()) => {
            problem(StatusCode::UNAUTHORIZED, "a token is needed: 'Authorization: Bearer …', or log in at /")
        }
        _ => next.run(request).await,
    };
    let rules = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in rules {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Takes a token, gives a cookie.
pub async fn login(State(s): State<Shared>, body: Body) -> Response {
    let body = match tokio::time::timeout(LOGIN_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the token does not come"),
        Ok(Err(_)) => return problem(StatusCode::PAYLOAD_TOO_LARGE, "that is too long for a token"),
        Ok(Ok(body)) => body,
    };
    match &s.token {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(token) if token.is(body.trim_ascii()) => {
            let cookie = format!("{}; Path=/; HttpOnly; SameSite=Strict; Max-Age={AGE}", token.cookie());
            (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
        }
        Some(_) => problem(StatusCode::FORBIDDEN, "that is not the token"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_pages_may_link_to_ours_and_no_more() {
        let foreign = |path: &str, headers: &[(&str, &str)]| {
            let request = headers.iter().fold(axum::http::Request::builder().uri(path), |r, (k, v)| r.header(*k, *v));
            is_foreign(&request.body(Body::empty()).unwrap())
        };
        let site = |site: &'static str| ("sec-fetch-site", site);
        let link = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        let picture = "/api/cameras/a/latest.jpg";
        assert!(foreign(picture, &[site("cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")]));
        assert!(foreign(picture, &[site("same-site")]), "another port of this machine");
        assert!(foreign(picture, &[site("cross-site"), link[0], link[1]]), "a picture opened by a link");
        assert!(foreign("/", &[site("cross-site"), link[0], ("sec-fetch-dest", "iframe")]));
        assert!(!foreign("/", &[site("cross-site"), link[0], link[1]]));
        for here in ["same-origin", "none"] {
            assert!(!foreign(picture, &[site(here)]));
        }
        assert!(!foreign(picture, &[]), "programs do not say");
    }

    #[test]
    fn other_pages_change_nothing() {
        let foreign = |method: &str, path: &str, headers: &[(&str, &str)]| {
            let request = axum::http::Request::builder().method(method).uri(path);
            let request = headers.iter().fold(request, |r, (k, v)| r.header(*k, *v));
            is_foreign_change(&request.body(Body::empty()).unwrap())
        };
        let host = ("host", "cam.local:8090");
        let ours = ("origin", "http://cam.local:8090");
        let post = |headers: &[(&str, &str)]| foreign("POST", "/api/marks", headers);
        assert!(!post(&[host]) && !post(&[]), "programs do not say");
        assert!(!post(&[host, ours]));
        assert!(!post(&[host, ("origin", "https://CAM.local:8090")]), "behind a proxy with TLS");
        for site in ["same-origin", "none"] {
            assert!(!post(&[host, ours, ("sec-fetch-site", site)]));
        }
        for site in ["same-site", "cross-site", "", "odd"] {
            assert!(post(&[host, ours, ("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["http://evil.example", "http://cam.local", "http://cam.local:8091", "null", "", "cam.local:8090"]
        {
            assert!(post(&[host, ("origin", origin)]), "{origin}");
            assert!(post(&[host, ours, ("origin", origin)]), "one of two: {origin}");
        }
        assert!(post(&[ours]) && post(&[("host", ""), ("origin", "http://")]), "there is nothing to compare with");
        let elsewhere = ("origin", "http://evil.example");
        assert!(foreign("DELETE", "/api/marks/1-1", &[host, elsewhere]));
        assert!(!foreign("GET", "/api/marks", &[host, elsewhere]), "reads are looked at elsewhere");
        assert!(!foreign("POST", "/login", &[host, elsewhere]));
    }

    #[test]
    fn names_of_others_are_not_ours() {
        let here = |host: &str| is_here(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for host in ["localhost", "LocalHost:8090", "127.0.0.1:8090", "127.3.2.1", "[::1]:8090", "[::1]"] {
            assert!(here(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8090", "192.168.1.5:8090", "localhost.evil.example", "", "127.0.0.1.evil"]
        {
            assert!(!here(host), "{host}");
        }
    }
}
