//! `passd detect`: what is in some pictures.

use super::common::{Failure, ModelArgs, print_line};
use crate::detect::heads::Thresholds;
use crate::frame::Frame;
use crate::geom::{PatchGrid, PatchMask, Size};
use crate::infer::detector::DenseDetector;
use crate::infer::session::SessionSettings;
use crate::infer::{Detector, Inference, StreamId, Work};
use crate::learn::picture::letterboxed;
use crate::wire::frame::round;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Detect objects in pictures
///
/// Prints one JSON object a picture: {"image", "detections": [{"class", "label", "score",
/// "box": [x1, y1, x2, y2]}]}, boxes in the picture's own pixels, best first.
///
/// Example: passd detect --model yolox_nano --size 640x384 street.jpg | jq .detections
#[derive(clap::Args)]
pub struct Args {
    /// JPEG or PNG files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Least score of a detection, as the daemon's
    #[arg(long, value_parser = super::numbers::score, default_value_t = crate::config::SCORE)]
    score: f32,
    /// Threads of the model
    #[arg(long, value_parser = super::numbers::threads, default_value_t = 1)]
    threads: usize,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (runtime, model, size) = args.model.load()?;
    let thresholds = Thresholds { score: args.score, iou: 0.5 };
    let session = SessionSettings { threads: args.threads, ..SessionSettings::default() };
    let mut detector = DenseDetector::open(runtime, model.clone(), size, thresholds, &session)?;
    let everything = PatchMask::full(PatchGrid::new(size, 16));
    let mut fresh = Inference::default();
    let mut failures = Vec::new();
    for path in &args.images {
        let frame = match load(path, size) {
            Ok(frame) => frame,
            // The others are still looked at.
            Err(reason) => {
                eprintln!("passd: {}: {reason}", path.display());
                failures.push(path);
                continue;
            }
        };
        let work = Work::whole(&frame, &everything);
        detector.detect(StreamId(0), &work, &mut fresh)?;
        let detections: Vec<_> = fresh
            .detections
            .iter()
            .map(|d| {
                let bbox = frame.letterbox.to_source(&d.bbox).to_array().map(|v| round(v, 2));
                let mut object = json!({
                    "class": d.class, "label": model.label(d.class), "score": round(d.score, 4), "box": bbox,
                });
                if !d.points.is_empty() {
                    let l = &frame.letterbox;
                    let scale = l.source.width as f32 / l.content.width as f32;
                    let in_source = d.points.as_slice().iter().map(|p| p.map(|v| round(v * scale, 2)));
                    object["landmarks"] = json!(in_source.collect::<Vec<_>>());
                }
                object
            })
            .collect();
        print_line(&json!({ "image": path.display().to_string(), "detections": detections }).to_string())?;
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{} of {} pictures could not be read", failures.len(), args.images.len())))
    }
}

/// A picture as a frame.
fn load(path: &Path, input: Size) -> Result<Frame, String> {
    let picture = image::ImageReader::open(path)
        .and_then(image::ImageReader::with_guessed_format)
        .map_err(|e| e.to_string())?
        .decode()
        .map_err(|e| e.to_string())?
        .into_rgb8();
    Ok(letterboxed(picture, input))
}
