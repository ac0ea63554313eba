//! One whole run of learning: samples in, judged weights out.

use super::backbone::Backbone;
use super::error::LearnError;
use super::fit::{Fit, FitSettings};
use super::frames::Frames;
use super::gate::{Judge, Judgement};
use super::net::LearnNet;
use super::pairs::SeenTwice;
use super::sample::{Origin, Sample};
use crate::models::model::Model;
use std::ops::ControlFlow;
use train::params::Params;

/// Every so manieth block of time is held out.
const HELD_OUT: u64 = 4;

/// Of the way from the first weights to the learned ones, what is tried in turn until the gate is passed (weights between
/// two models of one origin keep what both know: Wortsman et al., arXiv:2109.01903).
const SHARES: [f32; 6] = [1.0, 0.85, 0.7, 0.6, 0.5, 0.3];

/// What is learned from, and what judges.
#[derive(Debug, Default)]
pub struct Lesson {
    pub learned: Vec<Sample>,
    pub held_out: Vec<Sample>,
}

impl Lesson {
    /// Puts each sample where its block belongs.
    pub fn add(&mut self, sample: Sample) {
        let is_held_out = sample.block % HELD_OUT == HELD_OUT - 1;
        if is_held_out { self.held_out.push(sample) } else { self.learned.push(sample) }
    }

    /// Adds what the model is to keep knowing: frames of its anchors.
    ///
    /// # Errors
    /// A clip cannot be read, or it was stopped.
    pub fn add_anchors(
        &mut self,
        model: &Model,
        net: &LearnNet,
        backbone: &mut Backbone,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), LearnError> {
        let mut n = 0;
        for clip in &model.sidecar.anchors {
            let mut frames = Frames::open(clip, net.input(), ANCHOR_EVERY, None)?;
            while let Some(frame) = frames.next_frame()? {
                if go_on().is_break() {
                    return Err(stopped());
                }
                let Some(labels) = frame.labels else { continue };
                let latents = backbone.latents(frame.frame.data());
                let sample = Sample { latents, labels, origin: Origin::Anchor, n_sure: 0, block: n, picture: None };
                // Half of them judge: half a point is not told by less.
                let to = if n.is_multiple_of(2) { &mut self.learned } else { &mut self.held_out };
                to.push(sample);
                n += 1;
            }
        }
        Ok(())
    }
}

/// Anchors' frames are so far apart.
const ANCHOR_EVERY: u64 = 83;

/// What was reached.
#[derive(Debug, Clone)]
pub struct Taught {
    pub params: Params,
    pub verdict: Judgement,
    /// Share of the way to the learned weights that was taken.
    pub share: f32,
    /// Mean loss of each tenth of the steps.
    pub curve: Vec<f32>,
    /// Steps that were left out, their gradients not being numbers.
    pub n_left_out: u32,
    /// Kept pictures that show the difference.
    pub pairs: Vec<SeenTwice>,
}

/// How a lesson ends before its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing comes of it.
    Stopped,
    /// Time is up: what was reached so far is judged.
    Enough,
}

/// Called after every step, and every picture that judges, with how far it is, 0..=1, and the loss; says whether to go on.
pub type LessonProgress<'a> = &'a mut dyn FnMut(f32, f32) -> ControlFlow<Ending>;

/// Learns, and judges against the weights `in_use`; `score` is the least that is reported.
///
/// # Errors
/// There is nothing to learn from, it was stopped, or the numbers went astray.
pub fn teach(
    net: &LearnNet,
    in_use: &Params,
    lesson: &Lesson,
    settings: FitSettings,
    score: f32,
    progress: LessonProgress<'_>,
) -> Result<Taught, LearnError> {
    if lesson.learned.iter().all(|s| s.origin == Origin::Anchor) {
        return Err(LearnError::Refused("there is nothing to learn from: no marked or labelled picture".into()));
    }
    let mut fit = Fit::new(net, &lesson.learned, settings);
    let (mut curve, mut n_steps, mut n_left_out) = (vec![Vec::new(); 10], 0, 0);
    while !fit.is_done() {
        let tenth = ((fit.share() * 10.0) as usize).min(9);
        let step = fit.step();
        n_steps += 1;
        n_left_out += u32::from(!step.is_taken);
        let loss = step.total();
        if step.is_taken {
            curve[tenth].push(loss);
        }
        match progress(fit.share(), loss) {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(Ending::Enough) => break,
            ControlFlow::Break(Ending::Stopped) => return Err(stopped()),
        }
    }
    // Of those that were gone: it may have ended early.
    if n_left_out > n_steps / 10 {
        return Err(LearnError::Refused(format!(
            "in {n_left_out} of {n_steps} steps a gradient was not a number: nothing is taken"
        )));
    }
    // Weights that see nothing at all raise no false alarm either.
    if !fit.params().are_finite() {
        return Err(LearnError::Refused("a learned weight was not a number: nothing is taken".into()));
    }
    // Of fewer steps than tenths some have none.
    let mut last = 0.0;
    let mean = |v: &Vec<f32>| {
        last = if v.is_empty() { last } else { v.iter().map(|l| l / v.len() as f32).sum::<f32>() };
        last
    };
    let curve = curve.iter().map(mean).collect();
    let mut go_on = || match progress(1.0, 0.0) {
        ControlFlow::Break(Ending::Stopped) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let judge = Judge::new(net, in_use, &lesson.learned, &lesson.held_out, score, &mut go_on).ok_or_else(stopped)?;
    let first = net.params();
    let mut reached: Option<(Params, Judgement, f32)> = None;
    for share in SHARES {
        let params = between(&first, fit.params(), share);
        let verdict = judge.judge(&params, &mut go_on).ok_or_else(stopped)?;
        let is_taken = verdict.refused.is_none();
        if is_taken || reached.is_none() {
            reached = Some((params, verdict, share));
        }
        if is_taken {
            break;
        }
    }
    let (params, verdict, share) = reached.expect("shares are tried");
    Ok(Taught { params, verdict, share, curve, n_left_out, pairs: Vec::new() })
}

pub fn stopped() -> LearnError {
    LearnError::Refused("it was stopped".into())
}

/// Of the way from some weights to others.
fn between(from: &Params, to: &Params, share: f32) -> Params {
    let mut params = to.clone();
    for (w, first) in params.tensors_mut().zip(from.tensors()) {
        w.iter_mut().zip(first).for_each(|(w, first)| *w = first + share * (*w - first));
    }
    params
}
