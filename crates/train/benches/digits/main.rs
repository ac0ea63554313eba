//! A small network learns digits from nothing: how well, and what each part of training in eight bits brings.
//!
//!     cargo bench -p passd-train --bench digits -- [--data digits,mnist] [--seeds 5] [--arms f32,int8,…] [--epochs N]
//!         [--batch 32] [--rate 0.004] [--threads 1] [--picture docs/learning-digits.svg]
//!
//! All arms of a seed begin with the same weights and see the same pictures in the same order. Prints how many of the test
//! pictures each arm has right, in the arithmetic in which it learned and with its weights in `f32`; the last is what a camera
//! would run. With `--picture` the curves are drawn. `scripts/setup.sh digits` fetches the pictures.

mod chart;
mod data;
mod network;
mod octo;

use chart::{Chart, Curve};
use data::Digits;
use engine::kernels::Kernels;
use engine::kernels::int8::Int8Kernels;
use fastrand::Rng;
use network::Acts;
use octo::{Octo, ZeroPoint};
use std::time::Instant;
use train::float::FloatTrainer;
use train::int8::{Int8Trainer, Settings};
use train::optimise::{Adam, rate_share};
use train::params::Params;
use train::trainer::Trainer;

/// A way to train.
#[derive(Clone, Copy)]
enum Way {
    Float {
        has_gain: bool,
    },
    Int8 {
        settings: Settings,
        /// Whether the rate falls where gradients point elsewhere for want of bits.
        is_cut: bool,
    },
    Octo(ZeroPoint),
}

impl Way {
    /// Those that run where none are named.
    const MOST: &str = "f32,f32-gain,int8,uniform,octo,nearest,per-tensor,no-gain,no-clip";

    fn of(name: &str) -> Self {
        let all = Settings::default();
        let int8 = |settings| Self::Int8 { settings, is_cut: true };
        match name {
            "f32" => Self::Float { has_gain: false },
            "f32-gain" => Self::Float { has_gain: true },
            "int8" => int8(all),
            "uniform" => int8(Settings::UNIFORM),
            "nearest" => int8(Settings { is_random: false, ..all }),
            "per-tensor" => int8(Settings { is_per_channel: false, ..all }),
            "no-gain" => int8(Settings { has_gain: false, ..all }),
            "no-clip" => int8(Settings { is_clipped: false, ..all }),
            "no-cut" => Self::Int8 { settings: all, is_cut: false },
            "octo" => Self::Octo(ZeroPoint::TakenOff),
            "octo-zero-points" => Self::Octo(ZeroPoint::LeftIn),
            _ => panic!("--arms: some of {},no-cut,octo-zero-points, not '{name}'", Self::MOST),
        }
    }

    fn acts(self) -> Acts {
        if matches!(self, Self::Octo(_)) { Acts::Apart } else { Acts::Fused }
    }

    fn has_gain(self) -> bool {
        matches!(self, Self::Float { has_gain: true } | Self::Int8 { settings: Settings { has_gain: true, .. }, .. })
    }
}

/// What an arm computes with.
enum Learner {
    Float(Box<FloatTrainer>),
    /// The second looks at test pictures, so that their ranges are not learned from.
    Int8(Box<Int8Trainer>, Box<Int8Trainer>),
    Octo(Box<Octo>),
}

impl Learner {
    fn new(way: Way, side: usize, n: usize, seed: u64) -> Self {
        let plan = network::plan(side, seed, way.acts());
        let kernels = (Kernels::best(), Int8Kernels::best());
        match way {
            Way::Float { .. } => Self::Float(Box::new(FloatTrainer::new(&plan, n, kernels.0))),
            Way::Int8 { settings, .. } => {
                let new = || Box::new(Int8Trainer::new(&plan, n, kernels, settings));
                Self::Int8(new(), new())
            }
            Way::Octo(zero_point) => Self::Octo(Box::new(Octo::new(&plan, n, kernels.0, seed, zero_point))),
        }
    }

    fn trainer(&mut self) -> &mut dyn Trainer {
        match self {
            Self::Float(trainer) => trainer.as_mut(),
            Self::Int8(trainer, _) => trainer.as_mut(),
            Self::Octo(trainer) => trainer.as_mut(),
        }
    }

    fn judge(&mut self) -> &mut dyn Trainer {
        match self {
            Self::Int8(_, judge) => judge.as_mut(),
            other => other.trainer(),
        }
    }
}

#[derive(Clone, Copy)]
struct Options {
    n_epochs: usize,
    batch: usize,
    rate: f32,
}

/// What came of an arm with a seed; shares of the test pictures in percent.
struct Outcome {
    /// By epoch, in its own arithmetic.
    curve: Vec<f64>,
    in_f32: f64,
    /// The mean share of the rate that was taken.
    share: f64,
    seconds: f64,
}

/// The pictures of a batch, one after another.
fn gathered<'a>(pictures: impl Iterator<Item = &'a (Vec<f32>, usize)>) -> (Vec<f32>, Vec<usize>) {
    let (mut numbers, mut digits) = (Vec::new(), Vec::new());
    for (picture, digit) in pictures {
        numbers.extend_from_slice(picture);
        digits.push(*digit);
    }
    (numbers, digits)
}

/// Ten numbers a picture.
fn run(trainer: &mut dyn Trainer, params: &Params, pictures: &[f32]) -> Vec<f32> {
    let (source, output) = (trainer.plan().sources()[0], trainer.plan().outputs()[0]);
    trainer.fill_source(source, pictures);
    trainer.forward(params);
    trainer.output(output).numbers()
}

/// Percent of the test pictures.
fn accuracy(trainer: &mut dyn Trainer, params: &Params, data: &Digits) -> f64 {
    let n = trainer.n();
    let mut n_right = 0;
    for first in (0..data.test.len()).step_by(n) {
        // The last batch is filled up, and what fills it not counted.
        let (pictures, digits) = gathered(data.test.iter().cycle().skip(first).take(n));
        let found = run(trainer, params, &pictures);
        let is_right =
            |(found, digit): &(&[f32], &usize)| (0..10).all(|other| other == **digit || found[other] < found[**digit]);
        n_right += found.chunks_exact(10).zip(&digits).take(data.test.len() - first).filter(is_right).count();
    }
    100.0 * n_right as f64 / data.test.len() as f64
}

/// The slope of the mean cross entropy of softmax.
fn loss_grad(found: &[f32], digits: &[usize]) -> Vec<f32> {
    let mut grad = Vec::with_capacity(found.len());
    for (found, digit) in found.chunks_exact(10).zip(digits) {
        let most = found.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = found.iter().map(|v| (v - most).exp()).collect();
        let sum: f32 = powers.iter().sum();
        let wanted = |i: usize| if i == *digit { 1.0 } else { 0.0 };
        grad.extend(powers.iter().enumerate().map(|(i, p)| (p / sum - wanted(i)) / digits.len() as f32));
    }
    grad
}

fn learn(data: &Digits, way: Way, seed: u64, options: Options) -> Outcome {
    let mut learner = Learner::new(way, data.side, options.batch, seed);
    let mut params = Params::of(learner.trainer().plan());
    let mut adam = Adam::new(&params, 0.0);
    let mut random = Rng::with_seed(seed ^ 0x5eed);
    let mut order: Vec<usize> = (0..data.train.len()).collect();
    let n_steps = (options.n_epochs * (order.len() / options.batch)) as f32;
    let (mut step, mut curve, mut shares, mut seconds) = (0.0, Vec::new(), 0.0, 0.0);
    for _ in 0..options.n_epochs {
        random.shuffle(&mut order);
        let start = Instant::now();
        for batch in order.chunks_exact(options.batch) {
            let (pictures, digits) = gathered(batch.iter().map(|i| &data.train[*i]));
            let trainer = learner.trainer();
            let found = run(trainer, &params, &pictures);
            let mut grads = trainer.backward(&params, &[&loss_grad(&found, &digits)]);
            if !way.has_gain() {
                grads.0.iter_mut().for_each(|layer| layer.gain.fill(0.0));
            }
            let is_cut = !matches!(way, Way::Int8 { is_cut: false, .. });
            let share = if is_cut { rate_share(trainer.deviation()) } else { 1.0 };
            let rate = options.rate * (1.0 - step / n_steps) * share;
            shares += f64::from(share / n_steps);
            adam.step(&mut params, &grads, rate);
            if let Learner::Octo(octo) = &mut learner {
                octo.step(rate);
            }
            step += 1.0;
        }
        seconds += start.elapsed().as_secs_f64();
        curve.push(accuracy(learner.judge(), &params, data));
    }
    let plan = network::plan(data.side, seed, Acts::Fused);
    let mut judge = FloatTrainer::new(&plan, options.batch, Kernels::best());
    Outcome { curve, in_f32: accuracy(&mut judge, &params, data), share: shares, seconds }
}

/// Mean, and standard deviation of the single ones.
fn spread(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    let numbers: Vec<f64> = numbers.collect();
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let squares: f64 = numbers.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}

fn option(name: &str, default: &str) -> String {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned().unwrap_or_else(|| default.into())
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{name}: a number, not '{text}'"))
}

fn main() {
    let (sets, arms) = (option("--data", "digits,mnist"), option("--arms", Way::MOST));
    let n_seeds = number("--seeds", &option("--seeds", "5"));
    let (batch, rate) = (number("--batch", &option("--batch", "32")), number("--rate", &option("--rate", "0.004")));
    let n_threads = number("--threads", &option("--threads", "1"));
    let arms: Vec<(&str, Way)> = arms.split(',').map(|name| (name, Way::of(name))).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
    let mut charts = Vec::new();
    for set in sets.split(',') {
        let data = Digits::load(set);
        let epochs = option("--epochs", if set == "mnist" { "6" } else { "30" });
        let options = Options { n_epochs: number::<usize>("--epochs", &epochs).max(1), batch, rate };
        println!(
            "\n{set}: {} pictures of {}x{}, {} for tests; {epochs} epochs in batches of {batch}, rate {rate}, {n_seeds} seeds\n",
            data.train.len() + data.test.len(),
            data.side,
            data.side,
            data.test.len(),
        );
        println!("| arm | right, % | against {} | weights in f32, % | against {0} | rate | s |", arms[0].0);
        println!("|---|---|---|---|---|---|---|");
        let (mut curves, mut first) = (Vec::new(), Vec::new());
        for (name, way) in &arms {
            let all: Vec<Outcome> =
                pool.install(|| (1..=n_seeds).map(|seed| learn(&data, *way, seed, options)).collect());
            let last = |o: &Outcome| o.curve[o.curve.len() - 1];
            let own: Vec<[f64; 2]> = all.iter().map(|o| [last(o), o.in_f32]).collect();
            if first.is_empty() {
                first.clone_from(&own);
            }
            let columns: [String; 2] = std::array::from_fn(|i| {
                let (mean, off) = spread(own.iter().map(|v| v[i]));
                let (change, change_off) = spread(own.iter().zip(&first).map(|(v, first)| v[i] - first[i]));
                format!("{mean:.2} ± {off:.2} | {change:+.2} ± {change_off:.2}")
            });
            let (seconds, _) = spread(all.iter().map(|o| o.seconds));
            let (share, _) = spread(all.iter().map(|o| o.share));
            println!("| {name} | {} | {} | {share:.2} | {seconds:.1} |", columns[0], columns[1]);
            let means = (0..options.n_epochs).map(|epoch| spread(all.iter().map(|o| o.curve[epoch])).0);
            curves.push(Curve { arm: (*name).into(), points: means.collect() });
        }
        let title = format!("{set}: {} pictures of {}x{} to learn from", data.train.len(), data.side, data.side);
        charts.push(Chart { title, curves });
    }
    let picture = option("--picture", "");
    if !picture.is_empty() {
        // From the folder of the repository, where cargo is called; cargo runs benches in their crate's.
        let path = format!("{}/../../{picture}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(&path, chart::draw(&charts)).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
}
