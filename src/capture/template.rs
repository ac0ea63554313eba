//! The pipelines in `pipelines/`: which one this machine can run.

use super::source::CaptureError;
use super::spec::SourceSpec;
use crate::files::read_text;

/// Largest template that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Templates that are part of the binary: best first within a kind.
const TEMPLATES: [(&str, &str); 6] = [
    ("rtsp.jetson.gst", include_str!("../../pipelines/rtsp.jetson.gst")),
    ("rtsp.software.gst", include_str!("../../pipelines/rtsp.software.gst")),
    ("file.software.gst", include_str!("../../pipelines/file.software.gst")),
    ("v4l2.software.gst", include_str!("../../pipelines/v4l2.software.gst")),
    ("csi.jetson.gst", include_str!("../../pipelines/csi.jetson.gst")),
    ("custom.software.gst", include_str!("../../pipelines/custom.software.gst")),
];

/// A pipeline to launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Name of the template, for logs.
    pub name: String,
    /// In `gst-launch` syntax.
    pub text: String,
}

/// Picks the template for `spec`: the first whose elements all exist.
///
/// # Errors
/// Names the elements that are missing, and their remedy.
pub fn choose(spec: &SourceSpec, exists: impl Fn(&str) -> bool) -> Result<Launch, CaptureError> {
    let kind = match spec {
        SourceSpec::Rtsp(_) => "rtsp",
        SourceSpec::File { .. } => "file",
        SourceSpec::V4l2 { .. } => "v4l2",
        SourceSpec::Csi { .. } => "csi",
        SourceSpec::Pipeline(_) => "custom",
        SourceSpec::Sim(_) => return Err(CaptureError::Setup("a simulated camera needs no pipeline".into())),
    };
    let folder = std::env::var_os("PASSD_PIPELINES").map(std::path::PathBuf::from);
    let mut missing = Vec::new();
    for (name, built_in) in TEMPLATES.iter().filter(|(name, _)| name.split('.').next() == Some(kind)) {
        let own = folder.as_ref().and_then(|f| read_text(&f.join(name), MAX_BYTES, "a pipeline").ok());
        let template = own.as_deref().unwrap_or(built_in);
        let lacking: Vec<&str> = needs(template).filter(|element| !exists(element)).collect();
        if lacking.is_empty() {
            let mut text: String = template.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
            if let SourceSpec::Pipeline(own) = spec {
                text = text.replace("{pipeline}", &own.text);
            }
            return Ok(Launch { name: (*name).into(), text });
        }
        missing.push(format!("{name} lacks {}", lacking.join(", ")));
    }
    Err(CaptureError::Setup(format!(
        "GStreamer cannot play a {kind} source here: {}. Remedy: apt-get install gstreamer1.0-plugins-base \
         gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav (CSI and NVDEC: JetPack's \
         nvidia-l4t-gstreamer)",
        missing.join("; ")
    )))
}

fn needs(template: &str) -> impl Iterator<Item = &str> {
    template.lines().filter_map(|line| line.strip_prefix("# needs:")).flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_first_then_software_then_the_remedy() {
        let spec = SourceSpec::parse("rtsp://cam/").unwrap();
        assert_eq!(choose(&spec, |_| true).unwrap().name, "rtsp.jetson.gst");
        let software = choose(&spec, |e| !e.starts_with("nv")).unwrap();
        assert_eq!(software.name, "rtsp.software.gst");
        assert!(software.text.starts_with("rtspsrc name=src") && !software.text.contains('#'), "{}", software.text);
        let error = choose(&spec, |e| e != "rtspsrc").unwrap_err().to_string();
        assert!(error.contains("rtsp.software.gst lacks rtspsrc") && error.contains("apt-get"), "{error}");
        let free = choose(&SourceSpec::parse("gst:videotestsrc").unwrap(), |_| true).unwrap();
        assert!(free.text.starts_with("videotestsrc ! queue name=queue"), "{}", free.text);
    }

    #[test]
    fn every_template_has_the_named_parts() {
        for (name, text) in TEMPLATES {
            for part in ["name=queue", "name=size", "name=sink"] {
                assert!(text.contains(part), "{name} lacks {part}");
            }
            assert!(needs(text).count() > 0, "{name} says what it needs");
        }
    }
}
