//! Whether a model's gates still fit once its weights are others: what is told with them against whole runs of the same
//! weights, and how much of them is computed, on short sequences of the anchors.
//!
//! Gates were found with the weights that the model came with. Kept pictures are a minute apart, so that a sequence has to
//! come from elsewhere.

use super::error::LearnError;
use super::export::learned_file;
use super::frames::Frames;
use super::gate::{GatesCompared, GatesReport, GatesStanding};
use super::net::LearnNet;
use crate::eval::calibrate::{GateBench, Outcome};
use crate::frame::{Frame, FrameId, Pixels};
use crate::models::model::{Model, hex};
use engine::gating::profile::Profile;
use std::ops::ControlFlow;
use std::sync::Arc;
use train::params::Params;

/// Anchors that are looked at, evenly over all; frames of each, and how far they are apart.
const CLIPS: usize = 4;
const FRAMES: usize = 10;
const APART: u64 = 5;
/// From one frame of a clip to the next.
const FRAME_NS: u64 = 40_000_000;

/// Compares the gates of a model with the weights `before` and `after`. `None`: it was stopped.
///
/// # Errors
/// An anchor's clip cannot be read, or the engine cannot run the model.
pub fn compare_gates(
    model: &Model,
    net: &LearnNet,
    gates: &Profile,
    [before, after]: [&Params; 2],
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<GatesReport>, LearnError> {
    let anchors = &model.sidecar.anchors;
    if anchors.is_empty() {
        return Ok(Some(GatesReport::not_judged("the model has no anchors that show how things move")));
    }
    let failed = |e: String| LearnError::model(&model.file, &e);
    let bench = |params: &Params| {
        let onnx = learned_file(model, net, params)?;
        let learned = Model { sha256: hex(&onnx), onnx: onnx.into(), ..model.clone() };
        GateBench::open(Arc::new(learned), net.input(), gates).map_err(failed)
    };
    let mut benches = [bench(before)?, bench(after)?];
    let mut outcomes = [Vec::new(), Vec::new()];
    let n_clips = CLIPS.min(anchors.len());
    for clip in (0..n_clips).map(|i| &anchors[i * anchors.len() / n_clips]) {
        let frames = sequence(clip, net)?;
        for (bench, outcomes) in benches.iter_mut().zip(&mut outcomes) {
            let Some(outcome) = bench.measure(&frames, go_on).map_err(failed)? else { return Ok(None) };
            outcomes.push(outcome);
        }
    }
    let [before, after] = outcomes.map(|outcomes| together(&outcomes));
    Ok(Some(GatesReport::of(GatesCompared { before, after })))
}

/// The first frames of a clip, `APART` from each other.
fn sequence(clip: &str, net: &LearnNet) -> Result<Vec<Frame>, LearnError> {
    let mut frames = Frames::open(clip, net.input(), APART, None)?;
    let mut sequence = Vec::new();
    while sequence.len() < FRAMES {
        let Some(next) = frames.next_frame()? else { break };
        let (n, frame) = (next.number, next.frame);
        // A frame of its own: a clip's buffers go back to it.
        let pixels = Pixels::owned(frame.data().to_vec());
        sequence.push(Frame::new(FrameId(n), n * FRAME_NS, frame.letterbox, pixels));
    }
    Ok(sequence)
}

/// Agreement by what was compared, work by sequences.
fn together(outcomes: &[Outcome]) -> GatesStanding {
    let n: usize = outcomes.iter().map(|o| o.n_detections).sum();
    let agreed: f64 = outcomes.iter().map(|o| o.agreement * o.n_detections as f64).sum();
    let executed = outcomes.iter().map(|o| o.cost).sum::<f64>() / outcomes.len().max(1) as f64;
    GatesStanding { agreement: if n == 0 { 1.0 } else { agreed / n as f64 }, executed, n_compared: n }
}

#[cfg(test)]
mod tests {
    use super::super::net::Depth;
    use super::*;
    use crate::models::model::ModelFolders;
    use crate::models::profiles;

    fn street() -> (Model, LearnNet, Profile) {
        let folders = ModelFolders::default();
        let model = Model::load("street-nano", &folders).unwrap();
        let net = LearnNet::open(&model, model.size, Depth::Head).unwrap();
        let gates = profiles::find(&model, &folders, None).unwrap().unwrap();
        (model, net, gates)
    }

    fn go_on() -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn weights_that_move_their_maps_further_are_computed_more() {
        let (model, net, gates) = street();
        let (base, mut louder) = (net.params(), net.params());
        let compare =
            |after: &Params| compare_gates(&model, &net, &gates, [&base, after], &mut go_on).unwrap().unwrap();
        let report = compare(&base);
        let same = report.compared.unwrap();
        println!("{report:?}");
        assert_eq!((same.before, report.said), (same.after, None));
        assert!(same.before.agreement > 0.95 && same.before.executed < 0.4 && same.before.n_compared > 50, "{same:?}");
        // The same detections but of the last maps, of which all that changes is beyond the gates.
        louder.tensors_mut().for_each(|w| w.iter_mut().for_each(|w| *w *= 1.3));
        let report = compare(&louder);
        println!("{report:?}");
        let other = report.compared.unwrap();
        assert!(other.after.executed > other.before.executed, "{report:?}");
        assert_eq!(other.before, same.before);
    }

    #[test]
    fn what_has_no_anchors_is_not_judged_and_a_stop_is_heard() {
        let (mut model, net, gates) = street();
        let params = net.params();
        let stopped = compare_gates(&model, &net, &gates, [&params, &params], &mut || ControlFlow::Break(())).unwrap();
        assert_eq!(stopped, None);
        model.sidecar.anchors.clear();
        let report = compare_gates(&model, &net, &gates, [&params, &params], &mut go_on).unwrap().unwrap();
        assert!(report.compared.is_none() && report.said.is_some_and(|s| s.contains("no anchors")));
    }
}
