//! `rtsp://…`, `file.mp4`, `sim://…`: what a camera's address means.

use super::CaptureError;
use crate::sim::SimSettings;
use std::path::PathBuf;

/// A source that was understood, not yet opened.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    Rtsp {
        address: String,
    },
    File {
        path: PathBuf,
    },
    V4l2 {
        device: String,
    },
    Csi {
        sensor: u32,
    },
    Sim(SimSettings),
    /// A free GStreamer pipeline, without a sink.
    Pipeline {
        text: String,
    },
}

impl SourceSpec {
    /// Reads an address.
    ///
    /// `rtsp://` and `rtsps://`, `file://` or a path, `v4l2:///dev/video0` or
    /// `/dev/video0`, `csi://0`, `sim://street?…`, `gst:videotestsrc ! …`.
    ///
    /// # Errors
    /// Says what is wrong with the address, without its credentials.
    pub fn parse(address: &str) -> Result<Self, CaptureError> {
        let err = |text: String| Err(CaptureError::Setup(text));
        if address.trim().is_empty() {
            return err("the source is empty".into());
        }
        if let Some(text) = address.strip_prefix("gst:") {
            return Ok(Self::Pipeline { text: text.trim().into() });
        }
        if address.starts_with("sim://") {
            return SimSettings::parse(address).map(Self::Sim).or_else(|e| err(e.to_string()));
        }
        let Some((scheme, rest)) = address.split_once("://") else {
            if address.starts_with("/dev/video") {
                return Ok(Self::V4l2 { device: address.into() });
            }
            // Whoever forgot a part of `rtsp://` has perhaps written a password: it is not said what stands there.
            let is_path = address.starts_with(['/', '.']) && !address.contains('@');
            if address.contains(':') && !is_path && !std::path::Path::new(address).exists() {
                return err(
                    "the source is neither a file nor an address; addresses begin with rtsp:// or the like".into()
                );
            }
            return Ok(Self::File { path: address.into() });
        };
        match scheme {
            "rtsp" | "rtsps" => match url::Url::parse(address) {
                Ok(u) if u.host_str().is_some_and(|h| !h.is_empty()) => Ok(Self::Rtsp { address: address.into() }),
                Ok(_) => err(format!("'{}' names no host", redact(address))),
                Err(e) => err(format!("'{}' is no address: {e}", redact(address))),
            },
            "file" => Ok(Self::File { path: rest.into() }),
            "v4l2" => Ok(Self::V4l2 { device: if rest.is_empty() { "/dev/video0".into() } else { rest.into() } }),
            "csi" => match rest.trim_end_matches('/') {
                "" => Ok(Self::Csi { sensor: 0 }),
                n => n
                    .parse()
                    .map(|sensor| Self::Csi { sensor })
                    .or_else(|_| err(format!("csi://{n}: expected the number of a sensor"))),
            },
            _ => err(format!(
                "'{scheme}://' is no known kind of source; known are rtsp, rtsps, file, v4l2, csi, sim and gst:"
            )),
        }
    }

    /// Whether frames come at the camera's own pace, come what may.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Sim(_))
    }
}

/// An address, or any text with addresses in it, without user names and passwords.
///
/// Hides what stands before the `@` of an address, and the values of keys such
/// as `password=`, `user=` or `user-pw=`. Rather too much than too little.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        // The authority ends at a slash; but a password may itself hold one, or a
        // quote: then all up to the last '@' of the word goes.
        let word = tail.find(char::is_whitespace).unwrap_or(tail.len());
        let end = tail.find(['/', '?', '#']).unwrap_or(word).min(word);
        let last = tail[..word].rfind('@');
        let cut = last.filter(|i| *i < end || tail[..*i].contains(':')).map_or(0, |i| i + 1);
        if cut > 0 {
            out.push_str("***@");
        }
        rest = &tail[cut..];
    }
    out.push_str(rest);
    redact_keys(&out)
}

/// Ends of keys whose values are nobody's business.
const SECRET_KEYS: [&str; 8] = ["password", "passwd", "pass", "pwd", "pw", "user", "user-id", "token"];

fn redact_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (head, tail) = rest.split_at(at + 1);
        out.push_str(head);
        let key = head[..at].trim_end().to_ascii_lowercase();
        let secret = SECRET_KEYS.iter().any(|k| {
            let before = key.strip_suffix(k).and_then(|b| b.chars().next_back().or(Some(' ')));
            before.is_some_and(|c| !c.is_ascii_alphanumeric())
        });
        if secret {
            let value = tail.find(|c: char| c.is_whitespace() || "&/;,\"".contains(c)).unwrap_or(tail.len());
            out.push_str("***");
            rest = &tail[value..];
        } else {
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let ok = |text: &str| SourceSpec::parse(text).unwrap();
        assert_eq!(ok("rtsp://u:p@cam/1"), SourceSpec::Rtsp { address: "rtsp://u:p@cam/1".into() });
        assert_eq!(ok("clips/a b.mp4"), SourceSpec::File { path: "clips/a b.mp4".into() });
        assert_eq!(ok("/disk/10:00:00.mp4"), SourceSpec::File { path: "/disk/10:00:00.mp4".into() }, "not there yet");
        assert_eq!(ok("file:///x.mp4"), SourceSpec::File { path: "/x.mp4".into() });
        assert_eq!(ok("/dev/video2"), SourceSpec::V4l2 { device: "/dev/video2".into() });
        assert_eq!(ok("csi://1"), SourceSpec::Csi { sensor: 1 });
        assert_eq!(ok("gst: videotestsrc ! identity"), SourceSpec::Pipeline { text: "videotestsrc ! identity".into() });
        assert!(matches!(ok("sim://street?scene=night"), SourceSpec::Sim(_)));
        let check = |bad: &str, part: &str| {
            let text = SourceSpec::parse(bad).unwrap_err().to_string();
            assert!(text.contains(part) && !text.contains("secret"), "{bad}: {text}");
        };
        check("", "empty");
        check("http://cam/", "'http://'");
        check("rtsp://", "names no host");
        check("rtsp://u:secret@:99999/", "no address");
        check("csi://left", "number of a sensor");
        check("sim://street?sceen=day", "sceen");
        for bad in ["admin:secret@192.168.1.10/1", "192.168.1.10:554/1", "rtsp:/admin:secret@cam/1", "sim:street"] {
            check(bad, "neither a file nor an address");
        }
    }

    #[test]
    fn credentials_never_show() {
        let check = |text: &str, want: &str| assert_eq!(redact(text), want);
        check("rtsp://cam/1", "rtsp://cam/1");
        check("rtsp://u:p@cam:554/1", "rtsp://***@cam:554/1");
        check("rtsp://u@cam", "rtsp://***@cam");
        check("at rtsp://u:p@a/ and http://x:y@b", "at rtsp://***@a/ and http://***@b");
        check("rtsp://u:p/w@rd@cam/1", "rtsp://***@cam/1");
        check("rtsp://cam/path@2x", "rtsp://cam/path@2x");
        check("no address", "no address");
        check("rtsp://u:pa'ss@cam/", "rtsp://***@cam/");
        check("rtsp://h/user=admin&password=x1&channel=1", "rtsp://h/user=***&password=***&channel=1");
        check(
            "gst:rtspsrc location=rtsp://h/ user-id=a user-pw=x1 latency=1",
            "gst:rtspsrc location=rtsp://h/ user-id=*** user-pw=*** latency=1",
        );
        check("a=b&Pwd=q", "a=b&Pwd=***");
    }
}
