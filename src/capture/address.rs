//! RTSP addresses: what is asked for, who asks, and what of it may be shown.

use super::source::CaptureError;
use crate::secret::{
    HIDDEN, Lookup, Piece, Secret, Secrets, is_name, named, percent_decoded, percent_encoded, percent_encoded_path,
    pieces,
};
use std::fmt;

/// An RTSP address, taken apart.
#[derive(Clone, PartialEq)]
pub struct RtspAddress {
    /// Without name and password: they travel apart, and need no encoding there.
    pub location: String,
    pub login: Option<Login>,
}

/// Name and password, as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub user: Secret,
    pub password: Secret,
}

impl fmt::Debug for RtspAddress {
    /// Paths, too, hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RtspAddress")
    }
}

/// How an address is written that can be read in one way only.
const REMEDY: &str = "in a name or password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, % as %25 and a space as \
    %20; or keep the password as a secret, which is written as it is: rtsp://NAME:${CAM_PASSWORD}@HOST/PATH";

/// Where the parts of an address begin and end.
struct Parts<'a> {
    scheme: &'a str,
    /// Before the `@`.
    login: Option<&'a str>,
    host: &'a str,
    /// Path and query.
    rest: &'a str,
}

/// Splits an address as written: what stands for a secret is in one part, whatever the secret holds.
fn split(written: &str) -> Result<Parts<'_>, String> {
    let err = |why: &str| Err(format!("{why}: {REMEDY}"));
    let Some((scheme, after)) = written.split_once("://") else { return Err("is no address".into()) };
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    if written.contains(char::is_whitespace) {
        return err("the address holds a space");
    }
    if written.contains('#') {
        return err("the address holds a '#'");
    }
    if authority.matches('@').count() > 1 {
        return err("the address holds more than one '@' before its path");
    }
    let Some((login, host)) = authority.rsplit_once('@') else {
        // `rtsp://name:pass/word@host/`: what looks like a port is a password.
        let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
        let is_port = port.is_empty() || authority.ends_with(']') || port.starts_with("${");
        return match rest.contains('@') && !is_port {
            true => err("it cannot be told where the password ends and the host begins (in a path, too, @ is %40)"),
            false => Ok(Parts { scheme, login: None, host: authority, rest }),
        };
    };
    if percent_decoded(login).is_none() {
        return err("the name or password holds a '%' that is not followed by two hexadecimal digits");
    }
    Ok(Parts { scheme, login: Some(login), host, rest })
}

impl RtspAddress {
    /// Takes an address apart. `secrets` gets what must not be shown of it.
    ///
    /// # Errors
    /// It is no address, or can be read in several ways; nothing of it that may be secret is said.
    pub fn parse(written: &str, lookup: Lookup<'_>, secrets: &mut Secrets) -> Result<Self, CaptureError> {
        Self::read(written, lookup, secrets).map_err(CaptureError::Setup)
    }

    fn read(written: &str, lookup: Lookup<'_>, secrets: &mut Secrets) -> Result<Self, String> {
        let parts = split(written)?;
        let mut fill = |part: &str, encode: fn(&str) -> String| -> Result<String, String> {
            let mut out = String::new();
            for piece in pieces(part)? {
                match piece {
                    Piece::Plain(plain) => out.push_str(plain),
                    Piece::Named(name) => {
                        let secret = named(name, lookup)?;
                        secrets.add(&secret);
                        out.push_str(&encode(&secret));
                    }
                }
            }
            Ok(out)
        };
        let (path, query) = parts.rest.find('?').map_or((parts.rest, ""), |at| parts.rest.split_at(at));
        let host = fill(parts.host, str::to_owned)?;
        let rest = fill(path, percent_encoded_path)? + &fill(query, percent_encoded)?;
        let login = match parts.login {
            None => None,
            Some(written) => {
                let (user, password) = written.split_once(':').unwrap_or((written, ""));
                let mut filled = |part: &str| -> Result<Secret, String> {
                    let text = fill(part, percent_encoded)?;
                    percent_decoded(&text).map(Secret).ok_or_else(|| "the name or password is no UTF-8".to_owned())
                };
                Some(Login { user: filled(user)?, password: filled(password)? })
            }
        };
        if let Some(login) = &login {
            secrets.add(&login.password.0);
            if login.password.0.is_empty() {
                // A lone name may be a token.
                secrets.add(&login.user.0);
            }
        }
        for (_, value) in secret_values(parts.rest) {
            secrets.add_encoded(value);
        }
        let location = format!("{}://{host}{rest}", parts.scheme);
        let parsed = url::Url::parse(&location).map_err(|e| format!("'{}' is no address: {e}", shown(written)))?;
        match parsed.host_str().is_some_and(|h| !h.is_empty()) {
            true => Ok(Self { location, login }),
            false => Err(format!("'{}' names no host", shown(written))),
        }
    }

    /// Name or address of the host, and its port.
    pub fn host(&self) -> Option<(String, u16)> {
        let parsed = url::Url::parse(&self.location).ok()?;
        let usual = if parsed.scheme() == "rtsps" { 322 } else { 554 };
        let host = parsed.host_str()?.trim_matches(['[', ']']).to_owned();
        Some((host, parsed.port().unwrap_or(usual)))
    }
}

/// An address as it was written, without passwords that stand in it.
pub fn shown(written: &str) -> String {
    let Ok(parts) = split(written) else {
        // Where its parts begin and end is not known.
        let scheme = written.split_once("://").map_or("", |(scheme, _)| scheme);
        return format!("{scheme}://{HIDDEN}");
    };
    let login = match parts.login {
        None => String::new(),
        Some(login) if login.split_once(':').is_some_and(|(_, password)| is_name(password)) => format!("{login}@"),
        Some(login) if is_name(login) => format!("{login}@"),
        Some(_) => format!("{HIDDEN}@"),
    };
    let mut rest = String::new();
    let mut done = 0;
    for (at, value) in secret_values(parts.rest) {
        rest.push_str(&parts.rest[done..at]);
        rest.push_str(if is_name(value) { value } else { HIDDEN });
        done = at + value.len();
    }
    rest.push_str(&parts.rest[done..]);
    format!("{}://{login}{}{rest}", parts.scheme, parts.host)
}

/// Parts of keys whose values are nobody's business.
const SECRET_KEYS: [&str; 8] = ["pass", "pw", "user", "login", "token", "secret", "auth", "key"];

/// Whether the value of a key is nobody's business.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|part| key.contains(part))
}

/// The values of such keys in a path and query, each to the next `&`, `;` or `?` or the end: where they begin, and what
/// they are.
pub fn secret_values(rest: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    rest.split(['&', ';', '?']).filter_map(move |pair| {
        let start = at;
        at += pair.len() + 1;
        let (key, value) = pair.split_once('=')?;
        let name = key.rsplit('/').next().unwrap_or_default();
        (is_secret_key(name) && !value.is_empty()).then_some((start + key.len() + 1, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: [(&str, &str); 6] =
        [("A", "p@s#1/%2"), ("B", "a:b?c"), ("C", "100%"), ("D", "a9 b8"), ("E", "ü€"), ("HOST", "10.0.0.7:8554")];

    fn lookup(name: &str) -> Option<String> {
        SECRETS.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    fn read(written: &str) -> (RtspAddress, Secrets) {
        let mut secrets = Secrets::default();
        (RtspAddress::parse(written, &lookup, &mut secrets).unwrap(), secrets)
    }

    #[test]
    fn secrets_are_what_they_are_wherever_they_stand() {
        for (name, value) in &SECRETS[..5] {
            let (address, secrets) = read(&format!("rtsp://admin:${{{name}}}@cam:554/live?x=1&token=${{{name}}}"));
            let login = address.login.unwrap();
            assert_eq!((login.user.0.as_str(), login.password.0.as_str()), ("admin", *value));
            let query = address.location.split_once("token=").unwrap().1;
            assert_eq!(percent_decoded(query).as_deref(), Some(*value));
            assert!(address.location.starts_with("rtsp://cam:554/live?x=1&"), "{}", address.location);
            let hidden = secrets.hide(&format!("401 for {} and {value}", address.location));
            assert!(!hidden.contains(value) && !hidden.contains(query), "{hidden}");
        }
        assert_eq!(read("rtsp://${HOST}/a").0.location, "rtsp://10.0.0.7:8554/a");
        assert_eq!(read("rtsp://${HOST}/a").0.host(), Some(("10.0.0.7".into(), 8554)));
        assert_eq!(read("rtsps://[::1]/a").0.host(), Some(("::1".into(), 322)));
        let login = read("rtsp://u%40x:p%2Fw@cam/").0.login.unwrap();
        assert_eq!((login.user.0.as_str(), login.password.0.as_str()), ("u@x", "p/w"));
        assert_eq!(read("rtsp://cam/stream@720p").0.location, "rtsp://cam/stream@720p");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for bad in [
            "rtsp://admin:p@s#1/%2@cam/1",
            "rtsp://admin:p@ss@cam/1",
            "rtsp://admin:p/ss@cam/1",
            "rtsp://admin:p?ss@cam/1",
            "rtsp://admin:p#ss@cam/1",
            "rtsp://admin:100%@cam/1",
            "rtsp://admin:p ss@cam/1",
            "rtsp://admin:2024/ss@cam/1",
        ] {
            let error = RtspAddress::parse(bad, &lookup, &mut Secrets::default()).unwrap_err().to_string();
            assert!(error.contains("%40") && error.contains("${CAM_PASSWORD}"), "{bad}: {error}");
            assert!(!error.contains("admin") && !error.contains("ss@"), "{error}");
            assert_eq!(shown(bad), "rtsp://***");
        }
    }

    #[test]
    fn literal_passwords_are_not_shown() {
        for (written, want) in [
            ("rtsp://cam/1", "rtsp://cam/1"),
            ("rtsp://u:p@cam:554/1", "rtsp://***@cam:554/1"),
            ("rtsp://u@cam", "rtsp://***@cam"),
            ("rtsp://u:${A}@cam/1", "rtsp://u:${A}@cam/1"),
            ("rtsp://u:x${A}@cam/1", "rtsp://***@cam/1"),
            ("rtsp://${A}@cam/1", "rtsp://${A}@cam/1"),
            ("rtsp://cam/path@2x", "rtsp://cam/path@2x"),
            ("rtsp://h/user=admin&password=x/1&channel=1", "rtsp://h/user=***&password=***&channel=1"),
            ("rtsp://h/user/s?channel=1;password=hunter2", "rtsp://h/user/s?channel=1;password=***"),
            ("rtsp://h/s?Pwd=q%20r&x=1&api_token=${B}", "rtsp://h/s?Pwd=***&x=1&api_token=${B}"),
        ] {
            assert_eq!(shown(written), want);
        }
        let (_, secrets) = read("rtsp://me:hunter2@h/user=adm1n&password=x%2F1&channel=1");
        assert_eq!(secrets.hide("hunter2 adm1n x%2F1 x/1"), "*** *** *** ***");
    }
}
