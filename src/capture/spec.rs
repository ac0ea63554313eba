//! `rtsp://…`, `file.mp4`, `sim://…`: what a camera's address means.

use super::address::{RtspAddress, shown as shown_address};
use super::custom::{CustomPipeline, shown as shown_pipeline};
use super::source::CaptureError;
use crate::secret::{Lookup, Piece, Secrets, expand, pieces};
use crate::sim::SimSettings;
use std::fmt;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// What a camera's source says, and what of it may be shown.
#[derive(Clone, PartialEq)]
pub struct CameraSource {
    pub spec: SourceSpec,
    /// As it is written: `${NAME}` for a secret, nothing in the place of a literal password.
    pub shown: String,
    /// What must not be shown, wherever it turns up.
    pub secrets: Secrets,
}

impl fmt::Debug for CameraSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A source that was understood, not yet opened.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    Rtsp(RtspAddress),
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
    /// A free GStreamer pipeline.
    Pipeline(CustomPipeline),
}

impl CameraSource {
    /// Reads a source as it is written; `${NAME}` stands for a secret.
    ///
    /// `rtsp://` and `rtsps://`, `file://` or a path, `v4l2:///dev/video0` or
    /// `/dev/video0`, `csi://0`, `sim://street?…`, `gst:videotestsrc ! …`.
    ///
    /// # Errors
    /// Says what is wrong with the address, without its secrets.
    pub fn parse(written: &str, lookup: Lookup<'_>) -> Result<Self, CaptureError> {
        let mut secrets = Secrets::default();
        if let Some(text) = written.strip_prefix("gst:") {
            let spec = SourceSpec::Pipeline(CustomPipeline::parse(text.trim(), lookup, &mut secrets)?);
            return Ok(Self { spec, shown: shown_pipeline(written), secrets });
        }
        if is_rtsp(written) {
            let spec = SourceSpec::Rtsp(RtspAddress::parse(written, lookup, &mut secrets)?);
            return Ok(Self { spec, shown: shown_address(written), secrets });
        }
        let pieces = pieces(written).map_err(CaptureError::Setup)?;
        if !pieces.iter().any(|piece| matches!(piece, Piece::Named(_))) {
            return Ok(Self { spec: parse_plain(written)?, shown: written.into(), secrets });
        }
        // All of the address, or a part that is none of RTSP's, is a secret.
        let text = expand(written, lookup).map_err(CaptureError::Setup)?;
        pieces.iter().for_each(|piece| match piece {
            Piece::Named(name) => secrets.add(&lookup(name).unwrap_or_default()),
            Piece::Plain(_) => {}
        });
        let known = Self::parse(&text.replace("${", "$${"), lookup);
        let hidden = |e: CaptureError| CaptureError::Setup(secrets.hide(&e.to_string()));
        let Self { spec, secrets: inner, .. } = known.map_err(hidden)?;
        secrets.extend(inner);
        Ok(Self { spec, shown: written.into(), secrets })
    }
}

fn is_rtsp(text: &str) -> bool {
    text.starts_with("rtsp://") || text.starts_with("rtsps://")
}

/// An address that is not RTSP's, and holds no secrets.
fn parse_plain(address: &str) -> Result<SourceSpec, CaptureError> {
    let err = |text: String| Err(CaptureError::Setup(text));
    if address.trim().is_empty() {
        return err("the source is empty".into());
    }
    if address.starts_with("sim://") {
        return SimSettings::parse(address).map(SourceSpec::Sim).or_else(|e| err(e.to_string()));
    }
    let Some((scheme, rest)) = address.split_once("://") else {
        if address.starts_with("/dev/video") || is_device(address) {
            return Ok(SourceSpec::V4l2 { device: address.into() });
        }
        // Whoever forgot a part of `rtsp://` has perhaps written a password: it is not said what stands there.
        let is_path = address.starts_with(['/', '.']) && !address.contains('@');
        if address.contains(':') && !is_path && !Path::new(address).exists() {
            return err("the source is neither a file nor an address; addresses begin with rtsp:// or the like".into());
        }
        return Ok(SourceSpec::File { path: address.into() });
    };
    match scheme {
        "file" => Ok(SourceSpec::File { path: rest.into() }),
        "v4l2" => Ok(SourceSpec::V4l2 { device: if rest.is_empty() { "/dev/video0".into() } else { rest.into() } }),
        "csi" => match rest.trim_end_matches('/') {
            "" => Ok(SourceSpec::Csi { sensor: 0 }),
            n => n
                .parse()
                .map(|sensor| SourceSpec::Csi { sensor })
                .or_else(|_| err(format!("csi://{n}: expected the number of a sensor"))),
        },
        _ => err(format!(
            "'{scheme}://' is no known kind of source; known are rtsp, rtsps, file, v4l2, csi, sim and gst:"
        )),
    }
}

/// Whether a path names a device, `/dev/v4l/by-id/…` say: a camera that may be renumbered keeps that name.
fn is_device(path: &str) -> bool {
    path.starts_with("/dev/v4l/") || std::fs::metadata(path).is_ok_and(|m| m.file_type().is_char_device())
}

impl SourceSpec {
    /// What is said of a source that is silent: of a file, which one it is and what may be wrong with it.
    pub fn silence(&self, said: &str) -> String {
        match self {
            // decodebin loses an error of a demuxer that comes while it starts it (GStreamer 1.22).
            Self::File { path } => format!("{}: {said}; the file may be cut short or damaged", path.display()),
            _ => said.to_owned(),
        }
    }

    /// Reads an address without secrets.
    ///
    /// # Errors
    /// As [`CameraSource::parse`].
    pub fn parse(address: &str) -> Result<Self, CaptureError> {
        CameraSource::parse(address, &|_| None).map(|source| source.spec)
    }

    /// Whether frames come at the camera's own pace, come what may.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Sim(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_file_is_named() {
        let said = |address: &str| SourceSpec::parse(address).unwrap().silence("no frame within 15 s");
        assert_eq!(said("/a/b.mp4"), "/a/b.mp4: no frame within 15 s; the file may be cut short or damaged");
        assert_eq!(said("rtsp://cam/1"), "no frame within 15 s");
    }

    #[test]
    fn addresses() {
        let ok = |text: &str| SourceSpec::parse(text).unwrap();
        let SourceSpec::Rtsp(address) = ok("rtsp://u:p@cam/1") else { panic!() };
        assert_eq!(address.location, "rtsp://cam/1");
        assert_eq!(ok("clips/a b.mp4"), SourceSpec::File { path: "clips/a b.mp4".into() });
        assert_eq!(ok("/disk/10:00:00.mp4"), SourceSpec::File { path: "/disk/10:00:00.mp4".into() }, "not there yet");
        assert_eq!(ok("file:///x.mp4"), SourceSpec::File { path: "/x.mp4".into() });
        assert_eq!(ok("/dev/video2"), SourceSpec::V4l2 { device: "/dev/video2".into() });
        assert_eq!(ok("csi://1"), SourceSpec::Csi { sensor: 1 });
        let SourceSpec::Pipeline(pipeline) = ok("gst: videotestsrc ! identity") else { panic!() };
        assert_eq!(pipeline.text, "videotestsrc ! identity");
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
    fn all_of_an_address_may_be_a_secret() {
        let lookup = |name: &str| match name {
            "CAM" => Some("rtsp://admin:hunter22@cam/${x}?token=s3cret".to_owned()),
            "CLIP" => Some("/disk/hidden.mp4".to_owned()),
            _ => None,
        };
        let source = CameraSource::parse("${CAM}", &lookup).unwrap();
        let SourceSpec::Rtsp(address) = &source.spec else { panic!("{source:?}") };
        assert_eq!(address.location, "rtsp://cam/${x}?token=s3cret");
        assert_eq!(source.shown, "${CAM}");
        assert_eq!(source.secrets.hide("hunter22, s3cret"), "***, ***");
        let source = CameraSource::parse("${CLIP}", &lookup).unwrap();
        assert_eq!(source.spec, SourceSpec::File { path: "/disk/hidden.mp4".into() });
        assert_eq!(source.secrets.hide("there is no file /disk/hidden.mp4"), "there is no file ***");
        assert!(CameraSource::parse("${NONE}", &lookup).unwrap_err().to_string().contains("'NONE' is not set"));
    }

    #[test]
    fn any_path_of_a_device_is_a_camera() {
        let of = |text: &str| SourceSpec::parse(text).unwrap();
        assert_eq!(of("/dev/v4l/by-id/usb-cam"), SourceSpec::V4l2 { device: "/dev/v4l/by-id/usb-cam".into() });
        assert_eq!(of("/dev/null"), SourceSpec::V4l2 { device: "/dev/null".into() });
    }
}
