//! Steps of training: a batch of samples, their loss, its gradient, other weights.
//!
//! Where labels say what is there, the head's own loss counts. Where nothing is known, the net shall say what it said
//! before (Hinton et al., arXiv:1503.02531; for detectors Shmelkov et al., arXiv:1708.06977). And weights are pulled
//! towards those with which it began.

use super::deck::Decks;
use super::net::LearnNet;
use super::sample::Sample;
use crate::detect::heads::loss::{Assignment, CellRole, LossInput, LossParts};
use engine::kernels::Kernels;
use engine::kernels::int8::Int8Kernels;
use fastrand::Rng;
use train::float::FloatTrainer;
use train::int8::{self, Int8Trainer};
use train::optimise::{Adam, Ema, clip_length, rate_share};
use train::params::Params;
use train::trainer::Trainer;

/// In which numbers it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    Eight(int8::Settings),
    Float,
}

impl Default for Bits {
    fn default() -> Self {
        Self::Eight(int8::Settings::default())
    }
}

/// How it is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitSettings {
    pub bits: Bits,
    /// Pictures of a batch.
    pub n_batch: usize,
    pub n_steps: u32,
    /// Adam's step at its largest; it falls to nothing along half a cosine.
    pub rate: f32,
    /// Share of the way back to the first weights that a step goes, times the rate.
    pub pull: f32,
    /// Weight of what was said before, where nothing is known.
    pub keep: f32,
    pub seed: u64,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self { bits: Bits::default(), n_batch: 8, n_steps: 400, rate: 5e-4, pull: 0.05, keep: 1.0, seed: 1 }
    }
}

impl FitSettings {
    /// Adam's step: a few steps of warming up, then half a cosine.
    pub fn rate_at(&self, step: u32) -> f32 {
        let share = step as f32 / self.n_steps.max(1) as f32;
        let begin = (step as f32 / 20.0).min(1.0);
        self.rate * begin * 0.5 * (1.0 + (std::f32::consts::PI * share.min(1.0)).cos())
    }
}

/// Length to which a step's gradient is cut.
const LONGEST: f32 = 10.0;

/// Numbers of what was said before that are kept: 32 MiB.
const MOST_KEPT: usize = 8 << 20;

/// What of an old mean of the weights stays at a step.
const MEAN: f32 = 0.98;

/// A training run under way.
pub struct Fit<'a> {
    net: &'a LearnNet,
    samples: &'a [Sample],
    settings: FitSettings,
    trainer: Box<dyn Trainer>,
    first: Params,
    params: Params,
    adam: Adam,
    mean: Ema,
    /// What the first weights say of each sample, level by level; made when it is needed.
    before: Vec<Option<Vec<Vec<f32>>>>,
    /// Numbers of what is kept of that.
    n_before: usize,
    judge: FloatTrainer,
    random: Rng,
    step: u32,
    deck: Decks,
}

/// What a step was like.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FitStep {
    pub loss: LossParts,
    /// Loss against what was said before.
    pub kept: f32,
    /// Whether it was taken: gradients that are not numbers are left out.
    pub is_taken: bool,
}

impl FitStep {
    /// Both losses.
    pub fn total(&self) -> f32 {
        self.loss.total() as f32 + self.kept
    }
}

impl<'a> Fit<'a> {
    /// # Panics
    /// There are no samples.
    pub fn new(net: &'a LearnNet, samples: &'a [Sample], settings: FitSettings) -> Self {
        let (plan, n) = (net.plan(), settings.n_batch.max(1));
        let trainer: Box<dyn Trainer> = match settings.bits {
            Bits::Float => Box::new(FloatTrainer::new(plan, n, Kernels::best())),
            Bits::Eight(parts) => {
                let kernels = (Kernels::best(), Int8Kernels::best());
                Box::new(Int8Trainer::new(plan, n, kernels, parts))
            }
        };
        Self::with_trainer(net, samples, settings, trainer)
    }

    /// With another way to compute than by [`FitSettings::bits`]; its batches are as many pictures as the settings say.
    ///
    /// # Panics
    /// There are no samples.
    pub fn with_trainer(
        net: &'a LearnNet,
        samples: &'a [Sample],
        settings: FitSettings,
        trainer: Box<dyn Trainer>,
    ) -> Self {
        assert!(!samples.is_empty(), "something to learn from");
        let params = net.params();
        Self {
            net,
            samples,
            settings,
            trainer,
            adam: Adam::new(&params, 0.0),
            mean: Ema::new(&params, MEAN),
            first: params.clone(),
            params,
            before: vec![None; samples.len()],
            n_before: 0,
            judge: FloatTrainer::new(net.plan(), 1, Kernels::best()),
            random: Rng::with_seed(settings.seed),
            step: 0,
            deck: Decks::of(samples),
        }
    }

    /// Whether all steps were gone.
    pub fn is_done(&self) -> bool {
        self.step >= self.settings.n_steps
    }

    /// How far it is, 0..=1.
    pub fn share(&self) -> f32 {
        self.step as f32 / self.settings.n_steps.max(1) as f32
    }

    /// Goes one step.
    pub fn step(&mut self) -> FitStep {
        let (net, n) = (self.net, self.settings.n_batch.max(1));
        let batch: Vec<usize> = (0..n).map(|i| self.deck.draw(i, &mut self.random)).collect();
        let latents: Vec<_> = batch.iter().map(|i| &self.samples[*i].latents).collect();
        net.feed(&mut *self.trainer, &latents);
        self.trainer.forward(&self.params);
        let numbers: Vec<Vec<Vec<f32>>> = (0..n).map(|i| net.numbers(&*self.trainer, i)).collect();
        let grids: Vec<_> = numbers.iter().map(|numbers| net.grids(numbers)).collect();
        let cases: Vec<LossInput<'_>> =
            batch.iter().zip(&grids).map(|(i, grids)| net.case(grids, &self.samples[*i].labels)).collect();
        let assignments: Vec<Assignment> = cases.iter().map(|case| net.head().assign(case)).collect();
        let mut outputs = net.no_grads(n);
        let mut told = FitStep::default();
        for (at, ((sample, numbers), roles)) in batch.iter().zip(&numbers).zip(&assignments).enumerate() {
            let mut grads: Vec<Vec<f32>> = numbers.iter().map(|level| vec![0.0; level.len()]).collect();
            // Pictures count alike: what is wrong at one marked place is not drowned by all that is right in others.
            let per = roles.weight_sum.max(1.0) * n as f32;
            told.loss += net.head().loss(&cases[at], roles, per, &mut grads);
            told.kept += self.keep(*sample, numbers, roles, &mut grads, n);
            net.put_grads(&grads, at, &mut outputs);
        }
        let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        let mut grads = self.trainer.backward(&self.params, &outputs);
        told.is_taken = grads.are_finite() && told.total().is_finite();
        self.step += 1;
        if told.is_taken {
            clip_length(&mut grads, LONGEST);
            let rate = self.settings.rate_at(self.step) * rate_share(self.trainer.deviation());
            self.adam.step(&mut self.params, &grads, rate);
            let pull = (self.settings.pull * rate / self.settings.rate).min(1.0) * 0.1;
            for (w, first) in self.params.tensors_mut().zip(self.first.tensors()) {
                w.iter_mut().zip(first).for_each(|(w, first)| *w -= pull * (*w - first));
            }
            self.mean.step(&self.params);
        }
        told
    }

    /// The weights that were reached: their mean over the last steps.
    pub fn params(&self) -> &Params {
        self.mean.mean()
    }

    /// Adds the gradient of what keeps the net saying what it said, in cells of which nothing is known; the loss.
    fn keep(
        &mut self,
        sample: usize,
        numbers: &[Vec<f32>],
        roles: &Assignment,
        grads: &mut [Vec<f32>],
        n: usize,
    ) -> f32 {
        if self.settings.keep == 0.0 || !roles.cells.iter().flatten().any(|role| *role == CellRole::Doubt) {
            return 0.0;
        }
        let made = self.before[sample].is_none().then(|| {
            self.net.feed(&mut self.judge, &[&self.samples[sample].latents]);
            self.judge.forward(&self.first);
            self.net.numbers(&self.judge, 0)
        });
        let n_made = made.iter().flatten().map(Vec::len).sum::<usize>();
        let before = match made {
            // Beyond that it is made again each time.
            Some(made) if self.n_before + n_made <= MOST_KEPT => {
                self.n_before += n_made;
                &*self.before[sample].insert(made)
            }
            Some(made) => &made.clone(),
            None => match &self.before[sample] {
                Some(before) => before,
                None => return 0.0,
            },
        };
        let (net, mut loss) = (self.net, 0.0);
        let weight = self.settings.keep / n as f32;
        for (level, grid) in net.grids(numbers).iter().enumerate() {
            for (cell, _) in roles.cells[level].iter().enumerate().filter(|(_, role)| **role == CellRole::Doubt) {
                let range = cell * grid.width..(cell + 1) * grid.width;
                let (now, then) = (&numbers[level][range.clone()], &before[level][range.clone()]);
                loss += net.head().keep_loss(now, then, net.n_classes(), weight, &mut grads[level][range]);
            }
        }
        loss
    }
}
