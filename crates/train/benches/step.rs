//! One step of training (forwards, backwards, Adam): how long it takes, in `f32` and in eight bits, side by side.
//!
//!     cargo bench -p passd-train --bench step -- [--pictures 4] [--threads 2] [--rounds 9] [--model models/street-nano.onnx]
//!         [--only f32|int8] [--layers all|head]
//!
//! `--layers head`: what lies behind the backbone, from maps that were kept. Prints the median of each, the ratio of the two
//! round by round, and with `--only` by how much memory grew. `benches/train.py` runs PyTorch beside it.

use engine::import::import;
use engine::kernels::Kernels;
use engine::kernels::int8::Int8Kernels;
use engine::passes;
use std::sync::Arc;
use std::time::Instant;
use train::cut::Cut;
use train::float::FloatTrainer;
use train::int8::{Int8Trainer, Settings};
use train::optimise::Adam;
use train::params::Params;
use train::plan::TrainPlan;

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
    let mut plan = TrainPlan::whole(graph).expect("a graph that can be trained");
    if option("--layers", "all") == "head" {
        let outputs = plan.outputs().to_vec();
        let cut = Cut::smallest(plan.graph(), &outputs).expect("a backbone");
        plan = TrainPlan::new(plan.graph().clone(), &cut.sources, &outputs, |_| true).expect("a head");
    }
    let plan = Arc::new(plan);
    let mut random = fastrand::Rng::with_seed(1);
    let maps: Vec<Vec<f32>> = (plan.sources().iter())
        .map(|v| (0..n * plan.graph().shape(*v).n_values()).map(|_| random.f32()).collect())
        .collect();
    let grads: Vec<Vec<f32>> = (plan.outputs().iter())
        .map(|v| (0..n * plan.graph().shape(*v).n_values()).map(|_| (random.f32() - 0.5) / 1000.0).collect())
        .collect();
    let grads: Vec<&[f32]> = grads.iter().map(|g| &g[..]).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let int8 = Int8Kernels::all().iter().find(|k| k.name == option("--int8", Int8Kernels::best().name));
    let kernels = Kernels::all().iter().find(|k| k.name == option("--f32", Kernels::best().name));
    let (Some(int8), Some(kernels)) = (int8, kernels) else {
        panic!("one of {:?}, {:?}", Int8Kernels::all(), Kernels::all())
    };
    let arms = match option("--only", "").as_str() {
        "f32" => 0..1,
        "int8" => 1..2,
        _ => 0..2,
    };
    let before = memory("VmRSS:");
    let mut float = arms.contains(&0).then(|| FloatTrainer::new(&plan, n, *kernels));
    let mut eight = arms.contains(&1).then(|| Int8Trainer::new(&plan, n, (*kernels, *int8), Settings::default()));
    let mut params: Vec<Params> = arms.clone().map(|_| Params::of(&plan)).collect();
    let mut adam: Vec<Adam> = params.iter().map(|p| Adam::new(p, 1e-4)).collect();
    let mut step = |which: usize| {
        let at_arm = which - arms.start;
        let params = &mut params[at_arm];
        let start = Instant::now();
        let split = |seconds: &mut f64| *seconds = start.elapsed().as_secs_f64();
        let mut at = [0.0; 3];
        let grads = match (&mut float, &mut eight) {
            (Some(float), _) if which == 0 => {
                plan.sources().iter().zip(&maps).for_each(|(v, map)| float.map_mut(*v).fill(map));
                float.forward(params);
                split(&mut at[0]);
                float.backward(params, &grads)
            }
            (_, Some(eight)) => {
                plan.sources().iter().zip(&maps).for_each(|(v, map)| eight.fill_source(*v, map));
                eight.forward(params);
                split(&mut at[0]);
                eight.backward(params, &grads)
            }
            _ => unreachable!("an arm of those that run"),
        };
        split(&mut at[1]);
        adam[at_arm].step(params, &grads, 1e-5);
        split(&mut at[2]);
        [at[0], at[1] - at[0], at[2] - at[1], at[2]].map(|t| t * 1e3 / n as f64)
    };
    let mut times = [Vec::new(), Vec::new()];
    pool.install(|| {
        // The first steps make room, and look for ranges.
        arms.clone().for_each(|i| (0..2).for_each(|_| _ = step(i)));
        for _ in 0..rounds {
            arms.clone().for_each(|i| times[i].push(step(i)));
        }
    });
    println!("{n} pictures of {w}x{h}, {threads} threads, {:.0} MMAC forwards, ms a picture", plan.macs() as f64 / 1e6);
    let names = [format!("f32 ({kernels:?})"), format!("eight bits ({int8:?})")];
    for (name, times) in names.iter().zip(&times).filter(|(_, times)| !times.is_empty()) {
        let of = |i: usize| median(times.iter().map(|t| t[i]).collect());
        println!("{name}: forward {:.2}, backward {:.2}, Adam {:.2}, all {:.2}", of(0), of(1), of(2), of(3));
    }
    let ratios: Vec<f64> = times[0].iter().zip(&times[1]).map(|(f, e)| f[3] / e[3]).collect();
    if !ratios.is_empty() {
        println!("f32 to eight bits: {:.2}", median(ratios));
    }
    // Now and then eight bits look for clips: that shows in the mean alone.
    for (name, times) in names.iter().zip(&times).filter(|(_, times)| !times.is_empty()) {
        println!("{name}: mean {:.2}", times.iter().map(|t| t[3]).sum::<f64>() / times.len() as f64);
    }
    if arms.len() == 1 {
        println!("memory grew by {:.1} MiB at most", (memory("VmHWM:") - before) / 1024.0);
    }
}

/// Of this process, KiB.
fn memory(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(what)).unwrap_or("0");
    line.split_whitespace().next().and_then(|v| v.parse().ok()).unwrap_or(0.0)
}
