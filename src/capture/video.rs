//! Writes frames to an H.264 file, so that a simulated camera can be a clip.

use super::gst::{init, stop};
use super::source::CaptureError;
use crate::geom::Size;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use std::path::Path;

/// An H.264 video in the making. Without [`VideoWriter::close`] the file is unfinished.
pub struct VideoWriter {
    gst_pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    interval_ns: f64,
    width: usize,
    n: u64,
}

impl VideoWriter {
    /// `path` ends in `.mp4` or `.mkv`.
    ///
    /// # Errors
    /// No H.264 encoder, or the file cannot be made.
    pub fn create(path: &Path, size: Size, fps: f32) -> Result<Self, CaptureError> {
        init()?;
        let setup = |e: &dyn std::fmt::Display| CaptureError::Setup(format!("{}: {e}", path.display()));
        if !size.width.is_multiple_of(2) || !size.height.is_multiple_of(2) {
            return Err(setup(&format!("{size}: a video needs even sides")));
        }
        if let Err(e) = std::fs::File::create(path) {
            return Err(setup(&e));
        }
        let muxer = if path.extension().is_some_and(|e| e == "mkv") { "matroskamux" } else { "mp4mux" };
        let text = format!(
            "appsrc name=src format=time block=true max-bytes=8000000 ! videoconvert \
             ! x264enc speed-preset=veryfast bitrate=2000 key-int-max=50 ! h264parse ! {muxer} ! filesink name=sink"
        );
        let gst_pipeline = gst::parse::launch(&text)
            .map_err(|e| setup(&format!("{e} (remedy: apt-get install gstreamer1.0-plugins-ugly)")))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| setup(&"no pipeline"))?;
        let element = |name: &str| gst_pipeline.by_name(name).ok_or_else(|| setup(&format!("no element '{name}'")));
        element("sink")?.set_property("location", path.display().to_string());
        let source = element("src")?.downcast::<gst_app::AppSrc>().map_err(|_| setup(&"no appsrc"))?;
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "BGR")
            .field("width", size.width as i32)
            .field("height", size.height as i32)
            .field("framerate", gst::Fraction::approximate_f32(fps).unwrap_or(gst::Fraction::new(10, 1)))
            .build();
        source.set_caps(Some(&caps));
        gst_pipeline.set_state(gst::State::Playing).map_err(|e| setup(&e))?;
        Ok(Self { gst_pipeline, source, interval_ns: 1e9 / f64::from(fps), width: size.width as usize, n: 0 })
    }

    /// Appends one BGR picture.
    ///
    /// # Errors
    /// The encoder or the disk refused.
    pub fn write(&mut self, bgr: &[u8]) -> Result<(), CaptureError> {
        // Rows are padded to four bytes in GStreamer's BGR.
        let row = self.width * 3;
        let mut padded = Vec::with_capacity(bgr.len() / row * row.next_multiple_of(4));
        for line in bgr.chunks_exact(row) {
            padded.extend_from_slice(line);
            padded.resize(padded.len().next_multiple_of(4), 0);
        }
        let mut buffer = gst::Buffer::from_mut_slice(padded);
        let at = |n: u64| gst::ClockTime::from_nseconds((n as f64 * self.interval_ns) as u64);
        let b = buffer.get_mut().ok_or_else(|| CaptureError::Transient("buffer is shared".into()))?;
        b.set_pts(at(self.n));
        b.set_duration(at(1));
        self.n += 1;
        self.source.push_buffer(buffer).map(|_| ()).map_err(|_| self.failure())
    }

    /// Finishes the file.
    ///
    /// # Errors
    /// As [`VideoWriter::write`].
    pub fn close(&mut self) -> Result<(), CaptureError> {
        self.source.end_of_stream().map_err(|_| self.failure())?;
        let bus = self.gst_pipeline.bus().ok_or_else(|| CaptureError::Setup("no bus".into()))?;
        let last =
            bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
        match last.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Eos(_)) => Ok(()),
            Some(gst::MessageView::Error(e)) => Err(CaptureError::Transient(e.error().to_string())),
            _ => Err(CaptureError::Transient("the encoder did not finish".into())),
        }
    }

    fn failure(&self) -> CaptureError {
        let said = self.gst_pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match said.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Error(e)) => CaptureError::Transient(e.error().to_string()),
            _ => CaptureError::Transient("the encoder takes no more frames".into()),
        }
    }
}

impl Drop for VideoWriter {
    fn drop(&mut self) {
        stop(&self.gst_pipeline);
    }
}
