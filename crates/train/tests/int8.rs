//! Training in eight bits: its gradients point where those in `f32` do, and its bits are the same everywhere.

mod common;

use common::graphs;
use engine::graph::{Act, Conv, Graph, MapShape, Node, Op, PoolKind, ValueId, Window};
use engine::kernels::Kernels;
use engine::kernels::int8::Int8Kernels;
use engine::passes;
use fastrand::Rng;
use std::sync::Arc;
use train::float::FloatTrainer;
use train::int8::{Int8Trainer, Settings};
use train::params::Params;
use train::plan::TrainPlan;

struct Case {
    plan: Arc<TrainPlan>,
    params: Params,
    pictures: Vec<f32>,
    factors: Vec<Vec<f32>>,
}

const PICTURES: usize = 2;

fn case(seed: u64) -> Option<Case> {
    let mut random = Rng::with_seed(seed);
    let mut graph = graphs::graph(&mut random, 3 + seed as usize % 9);
    passes::simplify(&mut graph).unwrap();
    let plan = Arc::new(TrainPlan::whole(graph).ok()?);
    let pictures: Vec<Vec<f32>> =
        (0..PICTURES).map(|_| graphs::picture(&mut random, plan.graph().shape(plan.graph().input))).collect();
    let mut numbers = |n: usize| (0..n).map(|_| random.f32() * 2.0 - 1.0).collect::<Vec<f32>>();
    let factors = plan.outputs().iter().map(|v| numbers(PICTURES * plan.graph().shape(*v).n_values())).collect();
    Some(Case { params: Params::of(&plan), pictures: pictures.concat(), factors, plan })
}

impl Case {
    fn factors(&self) -> Vec<&[f32]> {
        self.factors.iter().map(|f| &f[..]).collect()
    }

    fn float(&self) -> Params {
        let mut trainer = FloatTrainer::new(&self.plan, PICTURES, Kernels::best());
        trainer.map_mut(self.plan.sources()[0]).fill(&self.pictures);
        trainer.forward(&self.params);
        trainer.backward(&self.params, &self.factors())
    }

    /// The mean of the gradients of some steps.
    fn int8(&self, kernels: (Kernels, Int8Kernels), steps: usize) -> Params {
        let mut trainer = Int8Trainer::new(&self.plan, PICTURES, kernels, Settings::default());
        let mut mean = self.params.zeros();
        for _ in 0..steps {
            trainer.fill_source(self.plan.sources()[0], &self.pictures);
            trainer.forward(&self.params);
            let grads = trainer.backward(&self.params, &self.factors());
            for (mean, g) in mean.tensors_mut().flatten().zip(grads.tensors().flatten()) {
                *mean += g / steps as f32;
            }
        }
        mean
    }
}

/// The cosine of the angle between two tensors, and the ratio of their lengths.
fn compare(a: &[f32], b: &[f32]) -> (f64, f64) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let (aa, bb) = (dot(a, a).sqrt(), dot(b, b).sqrt());
    (dot(a, b) / (aa * bb), aa / bb)
}

#[test]
fn gradients_point_where_those_in_f32_do() {
    let (mut cosines, mut n_bad) = (Vec::new(), 0);
    for seed in 0..300 {
        let Some(case) = case(seed) else { continue };
        let (wanted, found) = (case.float(), case.int8((Kernels::best(), Int8Kernels::best()), 8));
        assert!(found.are_finite(), "seed {seed}");
        for (layer, (found, wanted)) in found.0.iter().zip(&wanted.0).enumerate() {
            if wanted.weights.iter().all(|g| g.abs() < 1e-6) {
                continue;
            }
            let (cosine, ratio) = compare(&found.weights, &wanted.weights);
            cosines.push(cosine);
            if !(cosine > 0.9 && (0.8..1.25).contains(&ratio)) {
                n_bad += 1;
                let acts: Vec<_> =
                    case.plan.nodes().iter().map(|i| &case.plan.graph().nodes[*i].op).map(Op::name).collect();
                println!("seed {seed} layer {layer}: {cosine:.3} {ratio:.3} {acts:?}");
            }
        }
    }
    cosines.sort_by(f64::total_cmp);
    let (n, at) = (cosines.len(), |share: f64| cosines[(cosines.len() as f64 * share) as usize]);
    println!("{n} layers: cosine at 1 %, 5 %, half: {:.4} {:.4} {:.4}; {n_bad} bad", at(0.01), at(0.05), at(0.5));
    assert!(n > 200 && at(0.5) > 0.999 && at(0.05) > 0.97, "gradients point elsewhere");
}

#[test]
fn all_instruction_sets_and_any_number_of_threads_give_the_same_bits() {
    let bits = |p: &Params| p.tensors().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
    for seed in 0..60 {
        let Some(case) = case(seed) else { continue };
        let wanted = bits(&case.int8((Kernels::best(), Int8Kernels::best()), 2));
        for int8 in Int8Kernels::all() {
            assert_eq!(bits(&case.int8((Kernels::best(), *int8), 2)), wanted, "seed {seed}, {int8:?}");
        }
        for kernels in Kernels::all() {
            assert_eq!(bits(&case.int8((*kernels, Int8Kernels::best()), 2)), wanted, "seed {seed}, {kernels:?}");
        }
        for n in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            let found = pool.install(|| case.int8((Kernels::best(), Int8Kernels::best()), 2));
            assert_eq!(bits(&found), wanted, "seed {seed}, {n} threads");
        }
    }
}

/// Of x86-64 and of 64-bit Arm, whatever they can do: `make test-aarch64` runs this too.
#[test]
fn every_machine_gives_these_bits() {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for seed in 0..60 {
        let Some(case) = case(seed) else { continue };
        for params in [case.float(), case.int8((Kernels::best(), Int8Kernels::best()), 2)] {
            for v in params.tensors().flatten() {
                hash = (hash ^ u64::from(v.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    assert_eq!(hash, 0xc3eb_2b3a_53a5_0ea9, "{hash:#x}");
}

/// A range that grows is seen by a pool's input one step before its output: their codings differ then.
#[test]
fn a_max_pool_passes_gradients_after_its_range_has_grown() {
    let mut random = Rng::with_seed(1);
    let mut graph =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let mut x = graph.add_value("picture", MapShape::new(8, 8, 3));
    for (c, act, is_pooled) in [(16, Act::Relu, true), (4, Act::Identity, false)] {
        let from = graph.shape(x);
        let window = Window { kernel: [3; 2], pad: [1; 2], pad_end: [1; 2], ..Window::POINT };
        let weights = (0..c * window.n_taps() * from.c).map(|_| random.f32() - 0.5).collect();
        let conv = Conv { window, groups: 1, weights, bias: vec![0.0; c], act, post: Act::Identity, transposed: false };
        let output = graph.add_value(format!("c{c}"), MapShape::new(from.h, from.w, c));
        graph.nodes.push(Node { op: Op::Conv(Box::new(conv)), inputs: vec![x], output });
        x = output;
        if is_pooled {
            let window = Window { kernel: [2; 2], stride: [2; 2], ..Window::POINT };
            let output = graph.add_value("pool", MapShape::new(from.h / 2, from.w / 2, c));
            graph.nodes.push(Node { op: Op::Pool(PoolKind::Max, window), inputs: vec![x], output });
            x = output;
        }
    }
    let input = graph.input;
    let plan = Arc::new(TrainPlan::new(graph, &[input], &[x], |_| true).unwrap());
    let params = Params::of(&plan);
    let mut float = FloatTrainer::new(&plan, PICTURES, Kernels::best());
    let kernels = (Kernels::best(), Int8Kernels::best());
    let mut int8 = Int8Trainer::new(&plan, PICTURES, kernels, Settings::default());
    let factors: Vec<f32> = (0..PICTURES * 4 * 4 * 4).map(|_| random.f32() - 0.5).collect();
    for (step, brightness) in [0.4, 1.0, 0.7, 0.6, 0.65].into_iter().enumerate() {
        let picture: Vec<f32> = (0..PICTURES * 8 * 8 * 3).map(|_| random.f32() * brightness).collect();
        float.map_mut(input).fill(&picture);
        float.forward(&params);
        int8.fill_source(input, &picture);
        int8.forward(&params);
        let (wanted, found) = (float.backward(&params, &[&factors]), int8.backward(&params, &[&factors]));
        let (cosine, ratio) = compare(&found.0[0].weights, &wanted.0[0].weights);
        println!("step {step}: {cosine:.3} {ratio:.3}");
        assert!(step < 2 || cosine > 0.95 && (0.9..1.1).contains(&ratio), "step {step}: {cosine} {ratio}");
    }
}
