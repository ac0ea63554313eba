//! Secrets: how they get into a text, and how they stay out of what is shown.
//!
//! What is shown is the text as written, `${NAME}` and all. What comes from elsewhere and may repeat a secret
//! (an error of GStreamer's, say) goes through [`Secrets::hide`], which knows them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;

/// Finds a secret by its name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Stands for a secret where text is shown.
pub const HIDDEN: &str = "***";

/// A text that no debug print shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Texts that must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Secrets of fewer bytes than this are hidden as whole words only: else little would be left to read.
const SHORT: usize = 5;

impl Secrets {
    /// From now on `secret` is hidden, also where it stands percent-encoded.
    pub fn add(&mut self, secret: &str) {
        for form in [secret.to_owned(), percent_encoded(secret), percent_encoded_path(secret)] {
            if !form.is_empty() && !self.0.contains(&form) {
                self.0.push(form);
            }
        }
        // One may be a part of another.
        self.0.sort_by_key(|s| std::cmp::Reverse(s.len()));
    }

    /// As [`Secrets::add`], of a secret that is written percent-encoded.
    pub fn add_encoded(&mut self, written: &str) {
        self.add(written);
        self.add(&percent_decoded(written).unwrap_or_default());
    }

    /// And all those that another list knows.
    pub fn extend(&mut self, other: Self) {
        other.0.iter().for_each(|secret| self.add(secret));
    }

    /// `text` with [`HIDDEN`] in the place of each secret.
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| hide_one(&text, secret))
    }
}

fn hide_one(text: &str, secret: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        out.push_str(before);
        let is_word = !out.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        out.push_str(if secret.len() >= SHORT || is_word { HIDDEN } else { secret });
        rest = after;
    }
    out + rest
}

/// What stays as it is in percent-encoded text (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path slashes stay, too.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Letters, digits and `-._~` as they are, everything else as `%XX`.
pub fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// As [`percent_encoded`], with its slashes.
pub fn percent_encoded_path(text: &str) -> String {
    utf8_percent_encode(text, ENCODED_IN_PATH).to_string()
}

/// What a percent-encoded text says; `None`: a `%` without two hexadecimal digits, or no UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let is_whole = |tail: &str| tail.as_bytes().get(..2).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit));
    let decoded = text.split('%').skip(1).all(is_whole).then(|| percent_decode_str(text));
    decoded?.decode_utf8().ok().map(Into::into)
}

/// A piece of a text with secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    Plain(&'a str),
    /// `${NAME}`: the name.
    Named(&'a str),
}

/// The pieces of a text in which `${NAME}` stands for a secret, and `$${` for `${`.
///
/// # Errors
/// A name that is none, or an open brace.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            pieces.push(Piece::Plain(&rest[..at - 1]));
            pieces.push(Piece::Plain(&rest[at..at + 2]));
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(Piece::Plain(&rest[..at]));
        let end = rest[at..].find('}').ok_or("'${' is never closed by '}'")? + at;
        let name = &rest[at + 2..end];
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(is_name) || name.contains("..") {
            return Err(format!("'${{{name}}}' is no name of a secret"));
        }
        pieces.push(Piece::Named(name));
        rest = &rest[end + 1..];
    }
    pieces.push(Piece::Plain(rest));
    pieces.retain(|piece| *piece != Piece::Plain(""));
    Ok(pieces)
}

/// Whether a text is one name of a secret and nothing else: it may be shown as it is written.
pub fn is_name(text: &str) -> bool {
    pieces(text).is_ok_and(|p| matches!(p.as_slice(), [Piece::Named(_)]))
}

/// The secret of that name.
///
/// # Errors
/// There is none.
pub fn named(name: &str, lookup: Lookup<'_>) -> Result<String, String> {
    lookup(name).ok_or_else(|| {
        format!("secret '{name}' is not set: neither a variable of the environment nor a credential of systemd")
    })
}

/// The text with its secrets.
///
/// # Errors
/// As [`pieces`], or a secret is not set.
pub fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    pieces(text)?.into_iter().try_fold(String::new(), |out, piece| match piece {
        Piece::Plain(plain) => Ok(out + plain),
        Piece::Named(name) => Ok(out + &named(name, lookup)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_hidden_wherever_it_stands() {
        let mut secrets = Secrets::default();
        ["p@s#1/%2", "hunter2", "hunter", "pw", ""].into_iter().for_each(|s| secrets.add(s));
        for (text, want) in [
            ("rtsp://a:p@s#1/%2@h and p%40s%231%2F%252", "rtsp://a:***@h and ***"),
            ("in a path p%40s%231/%252", "in a path ***"),
            ("hunter2hunter", "******"),
            ("u:pw@h, but not in pwd", "u:***@h, but not in pwd"),
            ("nothing here", "nothing here"),
        ] {
            assert_eq!(secrets.hide(text), want);
        }
        assert!(!format!("{secrets:?} {:?}", Secret("hunter2".into())).contains("hunter"));
    }

    #[test]
    fn encoded_and_back() {
        for text in ["p@s#1/%2", "a:b?c", "100%", "a9 b8", "ü€", "plain-._~"] {
            let encoded = percent_encoded(text);
            assert!(encoded.chars().all(|c| c.is_ascii_alphanumeric() || "-._~%".contains(c)), "{encoded}");
            assert_eq!(percent_decoded(&encoded).as_deref(), Some(text));
        }
        assert_eq!(percent_encoded_path("/a b/"), "/a%20b/");
        for bad in ["100%", "%2", "%+1", "%zz", "%ff"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_stand_for_secrets() {
        let lookup = |name: &str| (name == "PW").then(|| "s3".to_owned());
        assert_eq!(expand("a${PW}b$${PW}${PW}", &lookup).unwrap(), "as3b${PW}s3");
        for (bad, why) in
            [("${PW", "never closed"), ("${}", "no name"), ("${../x}", "no name"), ("${NO}", "'NO' is not")]
        {
            assert!(expand(bad, &lookup).unwrap_err().contains(why), "{bad}");
        }
    }
}
