//! The gradients of random graphs are the slopes that one measures: finite differences in `f64`.

mod common;

use common::{exact, graphs};
use engine::graph::{Graph, Op};
use engine::kernels::Kernels;
use engine::passes;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use train::float::FloatTrainer;
use train::params::Params;
use train::plan::{TrainPlan, Untrainable};

fn numbers(random: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// A random graph that can be trained, its numbers and pictures.
struct Case {
    plan: Arc<TrainPlan>,
    params: Params,
    pictures: Vec<Vec<f32>>,
    /// What the outputs' numbers count: by output and picture.
    factors: Vec<Vec<Vec<f32>>>,
}

impl Case {
    fn new(seed: u64, n_pictures: usize) -> Option<Self> {
        let mut random = Rng::with_seed(seed);
        let mut graph: Graph = graphs::graph(&mut random, 3 + seed as usize % 14);
        passes::simplify(&mut graph).unwrap();
        let plan = match TrainPlan::whole(graph) {
            Ok(plan) => Arc::new(plan),
            Err(Untrainable::Op { .. } | Untrainable::Nothing) => return None,
            Err(e) => panic!("seed {seed}: {e}"),
        };
        let graph = plan.graph();
        let pictures = (0..n_pictures).map(|_| graphs::picture(&mut random, graph.shape(graph.input))).collect();
        let factors = plan
            .outputs()
            .iter()
            .map(|v| (0..n_pictures).map(|_| numbers(&mut random, graph.shape(*v).n_values())).collect())
            .collect();
        let mut params = Params::of(&plan);
        for layer in &mut params.0 {
            layer.gain.iter_mut().for_each(|g| *g = 0.75 + random.f32() / 2.0);
        }
        Some(Self { plan, params, pictures, factors })
    }

    fn grads(&self, kernels: Kernels) -> (FloatTrainer, Params) {
        let mut trainer = FloatTrainer::new(&self.plan, self.pictures.len(), kernels);
        trainer.map_mut(self.plan.sources()[0]).fill(&self.pictures.concat());
        trainer.forward(&self.params);
        let factors: Vec<Vec<f32>> = self.factors.iter().map(|of| of.concat()).collect();
        let grads = trainer.backward(&self.params, &factors.iter().map(|f| &f[..]).collect::<Vec<_>>());
        (trainer, grads)
    }

    /// All pictures' maps with numbers moved along `direction`.
    fn maps(&self, direction: &Params, by: f64) -> Vec<Vec<Vec<f64>>> {
        let moved = |a: &[f32], d: &[f32]| -> Vec<f64> {
            a.iter().zip(d).map(|(a, d)| f64::from(*a) + by * f64::from(*d)).collect()
        };
        let weights = |node: usize, conv: &engine::graph::Conv| {
            let Some(layer) = self.plan.layer_of(node) else {
                return (
                    conv.weights.iter().map(|v| f64::from(*v)).collect(),
                    conv.bias.iter().map(|v| f64::from(*v)).collect(),
                );
            };
            let (p, d) = (&self.params.0[layer.0], &direction.0[layer.0]);
            let (mut weights, gain) = (moved(&p.weights, &d.weights), moved(&p.gain, &d.gain));
            let per_out = weights.len() / gain.len();
            weights.iter_mut().enumerate().for_each(|(i, w)| *w *= gain[i / per_out]);
            (weights, moved(&p.bias, &d.bias))
        };
        self.pictures.iter().map(|picture| exact::run(self.plan.graph(), weights, picture)).collect()
    }

    fn loss(&self, direction: &Params, by: f64) -> f64 {
        let of = |(i, maps): (usize, &Vec<Vec<f64>>)| {
            let factors: Vec<Vec<f32>> = self.factors.iter().map(|of| of[i].clone()).collect();
            exact::weighed(maps, self.plan.outputs(), &factors)
        };
        self.maps(direction, by).iter().enumerate().map(of).sum()
    }
}

#[test]
fn gradients_are_slopes() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut n_kinks = 0;
    for seed in 0..200 {
        let Some(case) = Case::new(seed, 2) else { continue };
        let (trainer, grads) = case.grads(Kernels::best());
        let zero = case.params.zeros();
        for (i, maps) in case.maps(&zero, 0.0).iter().enumerate() {
            for v in case.plan.outputs() {
                let (found, wanted) = (trainer.map(*v).numbers(), &maps[v.0 as usize]);
                let most = wanted.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
                let same =
                    found[i * wanted.len()..].iter().zip(wanted).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4 * most);
                assert!(same, "seed {seed}: forward");
            }
        }
        // Along a direction of each tensor by itself.
        let n_tensors = zero.tensors().count();
        for tensor in 0..n_tensors {
            let mut random = Rng::with_seed(seed * 1000 + tensor as u64);
            let mut direction = zero.clone();
            let along = direction.tensors_mut().nth(tensor).unwrap();
            along.iter_mut().for_each(|d| *d = random.f32() * 2.0 - 1.0);
            let along = along.to_vec();
            let grad = grads.tensors().nth(tensor).unwrap();
            let terms = || grad.iter().zip(&along).map(|(g, d)| f64::from(*g) * f64::from(*d));
            let (found, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let slope = |h: f64| (case.loss(&direction, h) - case.loss(&direction, -h)) / (2.0 * h);
            let is_near = |slope: f64| (found - slope).abs() <= 2e-3 * size.max(slope.abs()) + 1e-4;
            let wanted = slope(1e-6);
            if !is_near(wanted) {
                // A corner lies within the step: it is not within one of another length.
                n_kinks += 1;
                let wanted = slope(1e-8);
                assert!(is_near(wanted), "seed {seed}, tensor {tensor}: {found}, not {wanted} (terms of {size})");
            }
        }
        for node in case.plan.nodes().iter().map(|i| &case.plan.graph().nodes[*i]) {
            if node.inputs.iter().any(|v| case.plan.wants_grad(*v)) {
                let grouped = matches!(&node.op, Op::Conv(c) if c.groups > 1 && !c.is_depthwise());
                *seen.entry(if grouped { "grouped" } else { node.op.name() }).or_default() += 1;
            }
        }
    }
    println!("{seen:?}, {n_kinks} corners");
    for op in [
        "conv",
        "grouped",
        "depthwise",
        "activation",
        "affine",
        "binary",
        "pool",
        "global-average",
        "resize",
        "concat",
        "rearrange",
        "pad",
        "softmax",
    ] {
        assert!(seen.get(op).is_some_and(|n| *n >= 5), "{op} is hardly ever on the way back: {seen:?}");
    }
    assert!(n_kinks < 10);
}

#[test]
fn all_instruction_sets_and_any_number_of_threads_give_the_same_bits() {
    let bits = |p: &Params| p.tensors().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
    for seed in 0..120 {
        let Some(case) = Case::new(seed, 3) else { continue };
        let wanted = bits(&case.grads(Kernels::best()).1);
        for kernels in Kernels::all() {
            assert_eq!(bits(&case.grads(*kernels).1), wanted, "seed {seed}, {kernels:?}");
        }
        for n in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            assert_eq!(bits(&pool.install(|| case.grads(Kernels::best())).1), wanted, "seed {seed}, {n} threads");
        }
    }
}
