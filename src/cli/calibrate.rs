//! `passd calibrate`: finds a model's gate profile on clips.

use super::common::{Failure, ModelArgs, print_line, progress_bar};
use crate::eval::calibrate::{CalibrateSettings, Outcome, calibrate, judge};
use crate::models::profiles;
use crate::skip::SkipSettings;
use engine::gating::profile::Profile;
use std::path::PathBuf;

/// Find the gates of the layer engine that skip most and keep the detections
///
/// Needs clips of what the camera sees, no labels: the dense run of the model is the reference. Every
/// second window of frames is held out, and judges: a profile is written only if it keeps the target there and
/// takes less work than what is used now. Exit status 1: it was not, and why.
///
/// Example: passd calibrate street.mp4 --model yolox_nano --size 640x384 --target 0.99
#[derive(clap::Args)]
pub struct Args {
    /// Video files, or simulated cameras such as 'sim://street?scene=night'
    #[arg(required = true)]
    clips: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// Agreement with the dense run to keep, 0 to 1
    #[arg(long, default_value_t = 0.99)]
    target: f64,
    /// Frames of a window
    #[arg(long, default_value_t = 40)]
    window: usize,
    /// Windows of a clip; every second one is held out
    #[arg(long, default_value_t = 8)]
    windows: usize,
    /// Passes over all gates in each of the four rounds
    #[arg(long, default_value_t = 1)]
    passes: usize,
    /// Add sensor noise of this sigma (levels of 255) to every second clip
    #[arg(long, default_value_t = 0.0, value_name = "SIGMA")]
    noise: f32,
    /// Where to write the profile [default: MODEL.gates.toml]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    if !(0.5..=1.0).contains(&args.target) {
        return Err(Failure::Usage("--target: expected 0.5 to 1".into()));
    }
    if !(2..=1000).contains(&args.window) || !(2..=100).contains(&args.windows) || !(1..=20).contains(&args.passes) {
        return Err(Failure::Usage("expected --window 2 to 1000, --windows 2 to 100, --passes 1 to 20".into()));
    }
    let (model, size) = args.model.model()?;
    crate::capture::init().map_err(|e| Failure::Failed(e.to_string()))?;
    let settings = CalibrateSettings {
        clips: args.clips.clone(),
        size,
        target: args.target,
        window: args.window,
        n_windows: args.windows,
        n_passes: args.passes,
        noise: args.noise,
        skip: SkipSettings::default(),
        replaced: profiles::find(&model, &args.model.folders(), None)?,
    };
    let is_replaced = settings.replaced.is_some();
    let bar = progress_bar();
    let found = calibrate(&model, &settings, &mut |done, now| {
        bar.set_position((done * 1000.0) as u64);
        bar.set_message(format!("agreement {:.3}, work {:.1} %", now.agreement, 100.0 * now.cost));
    })
    .map_err(Failure::Failed)?;
    bar.finish_and_clear();
    let line = |what: &str, o: &Outcome| {
        format!(
            "{what}: agreement {:.4} on {} detections, work {:.1} % of dense, harm {:.4}",
            o.agreement,
            o.n_detections,
            100.0 * o.cost,
            o.harm
        )
    };
    let lines = vec![
        format!("clips {} at {size}, target {}", args.clips.join(" "), args.target),
        line(
            if is_replaced { "gates used now, held-out windows" } else { "default gates, held-out windows" },
            &found.before,
        ),
        line("these gates, windows tried on", &found.tried_on),
        line("these gates, held-out windows", &found.held_out),
    ];
    for text in &lines {
        print_line(text)?;
    }
    judge(&found.held_out, &found.before, args.target)
        .map_err(|why| Failure::Failed(format!("nothing is written: {why}")))?;
    let profile = Profile::of(&found.plan, &found.gates, &model.name, &model.sidecar.sha256, lines);
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.gates.toml", model.name)));
    profiles::write(&profile, &path)?;
    print_line(&format!("written to {}", path.display()))
}
