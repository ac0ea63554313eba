//! `passd sim`: the simulated camera as files.

use super::common::{Failure, print_line};
use crate::sim::{DecoyTruth, SimCamera, SimSettings, Truth};
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Write the simulated camera to a folder of frames or a video, with its ground truth
///
/// OUT is a folder (000000.png, 000001.png, … and truth.jsonl) or a file that ends in .mp4 or .mkv
/// (H.264, and FILE.truth.jsonl beside it). A line of ground truth: {"frame", "objects": [{"track",
/// "class", "label", "box", "visible", "counts"}]}. Where the address asks for decoys (decoys=all), "decoys" beside
/// it names those that are seen: [{"kind", "box", "visible"}]. They look like objects and are none.
///
/// Example: passd sim 'sim://street?scene=night&seed=7&frames=100' --out night/
#[derive(clap::Args)]
pub struct Args {
    /// What to draw: sim://street?scene=day|cloud|night|rain|crowd|snow|infrared&seed=N&size=WxH&fps=F&frames=N
    /// &decoys=mannequin+poster+bush+trailer|all&palette=usual|other&…
    address: String,
    /// Folder or video file
    #[arg(long)]
    out: PathBuf,
    /// Write every Nth frame only
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

/// Length of a clip whose address does not say.
const DEFAULT_FRAMES: u64 = 100;

pub fn run(args: &Args) -> Result<(), Failure> {
    let settings = SimSettings::parse(&args.address).map_err(|e| Failure::Usage(e.to_string()))?;
    let n_frames = settings.n_frames.unwrap_or(DEFAULT_FRAMES);
    let video = args.out.extension().is_some_and(|e| e == "mp4" || e == "mkv");
    let mut sink: Box<dyn FrameSink> = if video {
        Box::new(
            crate::capture::VideoWriter::create(&args.out, settings.size, settings.fps)
                .map_err(|e| Failure::Failed(e.to_string()))?,
        )
    } else {
        std::fs::create_dir_all(&args.out).map_err(|e| Failure::Failed(format!("{}: {e}", args.out.display())))?;
        Box::new(Folder(args.out.clone(), settings.size))
    };
    let truth_path = if video { args.out.with_added_extension("truth.jsonl") } else { args.out.join("truth.jsonl") };
    let named = |e: std::io::Error| Failure::Failed(format!("{}: {e}", truth_path.display()));
    let mut truth_file = BufWriter::new(std::fs::File::create(&truth_path).map_err(named)?);
    let mut camera = SimCamera::new(settings.clone());
    let mut bgr = vec![0; settings.size.area() * 3];
    let (mut truth, mut decoys) = (Vec::new(), Vec::new());
    for n in 0..n_frames {
        camera.render(n.saturating_mul(args.every), &mut bgr);
        camera.truth(n.saturating_mul(args.every), &mut truth);
        sink.put(n, &bgr).map_err(Failure::Failed)?;
        let mut line = json!({ "frame": n, "objects": truth.iter().map(object).collect::<Vec<_>>() });
        if !settings.decoys.is_empty() {
            camera.decoys(n.saturating_mul(args.every), &mut decoys);
            line["decoys"] = decoys.iter().map(decoy).collect();
        }
        writeln!(truth_file, "{line}").map_err(named)?;
    }
    sink.finish().map_err(Failure::Failed)?;
    truth_file.flush().map_err(named)?;
    print_line(&format!("{n_frames} frames in {}, ground truth in {}", args.out.display(), truth_path.display()))
}

fn object(t: &Truth) -> serde_json::Value {
    json!({
        "track": t.track, "class": t.kind as u8, "label": t.kind, "box": t.bbox.to_array(),
        "visible": t.visible, "counts": t.counts(),
    })
}

fn decoy(d: &DecoyTruth) -> serde_json::Value {
    json!({ "kind": d.kind, "box": d.bbox.to_array(), "visible": d.visible })
}

/// Where frames go.
pub trait FrameSink {
    fn put(&mut self, n: u64, bgr: &[u8]) -> Result<(), String>;
    fn finish(&mut self) -> Result<(), String>;
}

struct Folder(PathBuf, crate::geom::Size);

impl FrameSink for Folder {
    fn put(&mut self, n: u64, bgr: &[u8]) -> Result<(), String> {
        let path = self.0.join(format!("{n:06}.png"));
        save_png(&path, bgr, self.1).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

fn save_png(path: &Path, bgr: &[u8], size: crate::geom::Size) -> image::ImageResult<()> {
    let mut rgb = bgr.to_vec();
    for pixel in rgb.as_chunks_mut::<3>().0 {
        pixel.swap(0, 2);
    }
    image::save_buffer(path, &rgb, size.width, size.height, image::ExtendedColorType::Rgb8)
}

impl FrameSink for crate::capture::VideoWriter {
    fn put(&mut self, _n: u64, bgr: &[u8]) -> Result<(), String> {
        self.write(bgr).map_err(|e| e.to_string())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.close().map_err(|e| e.to_string())
    }
}
