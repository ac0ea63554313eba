//! One step of training (forwards, backwards, Adam): how long it takes, in `f32` and in eight bits, side by side.
//!
//!     cargo bench -p passd-train --bench step -- [--pictures 4] [--threads 2] [--rounds 9] [--model models/street-nano.onnx]
//!
//! Prints the median of each, and the ratio of the two round by round. `benches/train.py` runs PyTorch beside it.

use engine::import::import;
use engine::kernels::Kernels;
use engine::passes;
use std::sync::Arc;
use std::time::Instant;
use train::float::FloatTrainer;
use train::optimise::Adam;
use train::params::Params;
use train::plan::Plan;

fn option(name: &str, default: &str) -> String {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned().unwrap_or_else(|| default.into())
}

fn number(name: &str, default: usize) -> usize {
    option(name, &default.to_string()).parse().unwrap_or_else(|_| panic!("{name}: a number"))
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let (n, threads, rounds) = (number("--pictures", 4), number("--threads", 2), number("--rounds", 9));
    let default = format!("{}/../../models/street-nano.onnx", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(option("--model", &default)).expect("a model");
    let (w, h) = (number("--width", 640), number("--height", 384));
    let mut graph = import(&file, h, w).expect("a model that the engine reads");
    passes::simplify(&mut graph).expect("a graph");
    let plan = Arc::new(Plan::whole(graph).expect("a graph that can be trained"));
    let mut random = fastrand::Rng::with_seed(1);
    let pictures: Vec<f32> = (0..n * w * h * 3).map(|_| random.f32()).collect();
    let grads: Vec<Vec<f32>> = (plan.outputs().iter())
        .map(|v| (0..n * plan.graph().shape(*v).n_values()).map(|_| (random.f32() - 0.5) / 1000.0).collect())
        .collect();
    let grads: Vec<&[f32]> = grads.iter().map(|g| &g[..]).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let mut params = Params::of(&plan);
    let mut adam = Adam::new(&params, 1e-4);
    let mut float = FloatTrainer::new(&plan, n, Kernels::best());
    float.map_mut(plan.sources()[0]).fill(&pictures);
    let mut step = || {
        let start = Instant::now();
        float.forward(&params);
        let forward = start.elapsed().as_secs_f64();
        let grads = float.backward(&params, &grads);
        let backward = start.elapsed().as_secs_f64();
        adam.step(&mut params, &grads, 1e-5);
        [forward, backward - forward, start.elapsed().as_secs_f64() - backward]
    };
    let mut times = Vec::new();
    pool.install(|| {
        step();
        times.extend((0..rounds).map(|_| step()));
    });
    let of = |i: usize| median(times.iter().map(|t| t[i] * 1e3 / n as f64).collect());
    println!("{n} pictures of {w}x{h}, {threads} threads, {:.0} MMAC forwards, ms a picture", plan.macs() as f64 / 1e6);
    println!("f32 ({:?}): forward {:.2}, backward {:.2}, Adam {:.2}", Kernels::best(), of(0), of(1), of(2));
}
