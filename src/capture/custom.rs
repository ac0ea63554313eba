//! Pipelines that a user wrote (`gst:…`): secrets are put in as properties, never as text.

use super::address::{is_secret_key, secret_values, shown as shown_address};
use super::source::CaptureError;
use crate::secret::{HIDDEN, Lookup, Piece, Secret, Secrets, is_name, named, pieces};

/// A pipeline without a sink, in `gst-launch` syntax.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomPipeline {
    /// With a word in the place of each secret.
    pub text: String,
    /// Those words and what they stand for.
    pub secrets: Vec<(String, Secret)>,
}

impl CustomPipeline {
    /// Reads a pipeline. `secrets` gets what must not be shown of it.
    ///
    /// # Errors
    /// A secret is not set.
    pub fn parse(written: &str, lookup: Lookup<'_>, secrets: &mut Secrets) -> Result<Self, CaptureError> {
        let mut pipeline = Self { text: String::new(), secrets: Vec::new() };
        for piece in pieces(written).map_err(CaptureError::Setup)? {
            match piece {
                Piece::Plain(plain) => pipeline.text.push_str(plain),
                Piece::Named(name) => {
                    let secret = named(name, lookup).map_err(CaptureError::Setup)?;
                    secrets.add(&secret);
                    let word = format!("passd-secret-{}-", pipeline.secrets.len());
                    pipeline.text.push_str(&word);
                    pipeline.secrets.push((word, Secret(secret)));
                }
            }
        }
        for (key, value, at) in values(written) {
            if hides(key, value) {
                secrets.add(&written[at.clone()]);
                secrets.add(value);
            } else if let Some((_, after)) = value.split_once("://") {
                let login = after.rsplit_once('@').map(|(login, _)| login);
                let passwords = login.map(|login| login.split_once(':').map_or(login, |(_, password)| password));
                let values = secret_values(after).map(|(_, value)| value);
                passwords.into_iter().chain(values).for_each(|secret| secrets.add_encoded(secret));
            }
        }
        Ok(pipeline)
    }
}

/// A pipeline as it was written, without passwords that stand in it.
pub fn shown(written: &str) -> String {
    let mut out = String::new();
    let mut done = 0;
    for (key, value, at) in values(written) {
        let hidden = match (hides(key, value), value.contains("://")) {
            (true, _) => HIDDEN.to_owned(),
            (false, true) => shown_address(value),
            (false, false) => continue,
        };
        out.push_str(&written[done..at.start]);
        out.push_str(&hidden);
        done = at.end;
    }
    out + &written[done..]
}

fn hides(key: &str, value: &str) -> bool {
    !is_name(value) && (is_secret_key(key) || (!value.contains("://") && holds_secret_keys(value)))
}

/// Whether a value is a structure (`h,Authorization=(string)x`) some of whose fields are nobody's business.
fn holds_secret_keys(value: &str) -> bool {
    let fields = value.split(|c: char| c == ',' || c == ';' || c.is_whitespace());
    fields.filter_map(|field| field.split_once('=')).any(|(key, _)| is_secret_key(key))
}

/// Every `key=value` of a pipeline: the value without quotes, and where it stands with them.
fn values(text: &str) -> Vec<(&str, &str, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find('=').map(|i| from + i) {
        let before = text[..at].trim_end();
        let key = before.rsplit(|c: char| c.is_whitespace() || c == '!').next().unwrap_or_default();
        let start = at + 1 + (text[at + 1..].len() - text[at + 1..].trim_start().len());
        let rest = &text[start..];
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let mut escaped = false;
        let mut ends = |c: char, end: &dyn Fn(char) -> bool| {
            let is_end = !escaped && end(c);
            escaped = !escaped && c == '\\';
            is_end
        };
        let (value, len) = match quote {
            Some(quote) => {
                let inner = &rest[1..];
                let end = inner.find(|c| ends(c, &|c| c == quote)).unwrap_or(inner.len());
                (&inner[..end], (end + 2).min(rest.len()))
            }
            None => {
                let end = rest.find(|c| ends(c, &char::is_whitespace)).unwrap_or(rest.len());
                (&rest[..end], end)
            }
        };
        found.push((key, value, start..start + len));
        from = start + len;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_to_their_very_end() {
        for (written, want) in [
            ("videotestsrc ! identity", "videotestsrc ! identity"),
            (
                "rtspsrc location=rtsp://h/ user-id=a user-pw=x1 latency=1",
                "rtspsrc location=rtsp://h/ user-id=*** user-pw=*** latency=1",
            ),
            ("a user-pw=\"x 1 \\\" y\" latency=1 ! b", "a user-pw=*** latency=1 ! b"),
            ("a user-pw = 'x \" y' ! b", "a user-pw = *** ! b"),
            ("a user-pw=x\\ y ! b", "a user-pw=*** ! b"),
            ("a user-pw=\"never closed", "a user-pw=***"),
            ("a location=\"rtsp://u:p@h/1\" ! b", "a location=rtsp://***@h/1 ! b"),
            ("a location=\"rtsp://u:p w@h/1\" ! b", "a location=rtsp://*** ! b"),
            ("a user-pw=\"${PW}\" ! b", "a user-pw=\"${PW}\" ! b"),
            ("a extra-headers=\"h,Authorization=(string)x,user-pw=hunter2\" ! b", "a extra-headers=*** ! b"),
            ("a extra-headers=h,a=(string)x ! b", "a extra-headers=h,a=(string)x ! b"),
            ("a location=http://h/v?token=lit3ral ! b", "a location=http://h/v?token=*** ! b"),
        ] {
            assert_eq!(shown(written), want);
        }
    }

    #[test]
    fn secrets_become_words_and_are_known() {
        let lookup = |_: &str| Some("a\"b c".to_owned());
        let mut secrets = Secrets::default();
        let written = "rtspsrc location=rtsp://u:lit3ral@h/ user-pw=\"${PW}\" proxy-pw='also this' \
            ! souphttpsrc location=http://h/v?token=t0k%2Fen";
        let pipeline = CustomPipeline::parse(written, &lookup, &mut secrets).unwrap();
        let word = &pipeline.secrets[0].0;
        assert!(pipeline.text.contains(&format!("user-pw=\"{word}\"")), "{}", pipeline.text);
        assert!(!pipeline.text.contains("a\"b c"));
        assert_eq!(secrets.hide("no a\"b c, no lit3ral, not also this, no t0k/en"), "no ***, no ***, not ***, no ***");
    }
}
