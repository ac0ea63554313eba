//! A hook at the products of convolutions: one that does nothing changes no bit, one that changes something changes that.

mod common;

use common::graphs;
use engine::graph::{Act, Conv, Graph, MapShape, Node, Op, ValueId, Window};
use engine::kernels::Kernels;
use engine::passes;
use fastrand::Rng;
use std::borrow::Cow;
use std::sync::Arc;
use train::batch::Batch;
use train::float::{FloatTrainer, Hook};
use train::optimise::Sgd;
use train::params::Params;
use train::plan::TrainPlan;

const PICTURES: usize = 2;

fn numbers(random: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// What a step with a hook gives: the outputs' maps, and the gradients.
fn step(plan: &Arc<TrainPlan>, seed: u64, hook: &mut impl Hook) -> (Vec<Vec<f32>>, Params) {
    let mut random = Rng::with_seed(seed);
    let (source, params) = (plan.sources()[0], Params::of(plan));
    let mut of = |v: &ValueId| numbers(&mut random, PICTURES * plan.graph().shape(*v).n_values());
    let pictures = of(&source);
    let factors: Vec<Vec<f32>> = plan.outputs().iter().map(of).collect();
    let mut trainer = FloatTrainer::new(plan, PICTURES, Kernels::best());
    trainer.map_mut(source).fill(&pictures);
    trainer.forward_with(&params, hook);
    let maps = plan.outputs().iter().map(|v| trainer.map(*v).numbers()).collect();
    let factors: Vec<&[f32]> = factors.iter().map(|f| &f[..]).collect();
    (maps, trainer.backward_with(&params, &factors, hook))
}

/// Sees everything, and copies what it sees.
#[derive(Default)]
struct Looks {
    n_forward: usize,
    n_backward: usize,
}

impl Hook for Looks {
    fn forward(&mut self, _node: usize, x: &mut Cow<'_, Batch>, weights: &mut Cow<'_, [f32]>) {
        (_, _) = (x.to_mut(), weights.to_mut());
        self.n_forward += 1;
    }

    fn backward(&mut self, _node: usize, x: &mut Cow<'_, Batch>, weights: &mut Cow<'_, [f32]>, _dy: &mut Batch) {
        (_, _) = (x.to_mut(), weights.to_mut());
        self.n_backward += 1;
    }
}

#[test]
fn a_hook_that_does_nothing_changes_no_bit() {
    let mut n_seen = 0;
    for seed in 0..200 {
        let mut graph = graphs::graph(&mut Rng::with_seed(seed), 3 + seed as usize % 9);
        passes::simplify(&mut graph).unwrap();
        let Ok(plan) = TrainPlan::whole(graph) else { continue };
        let (plan, mut looks) = (Arc::new(plan), Looks::default());
        let (wanted, found) = (step(&plan, seed, &mut ()), step(&plan, seed, &mut looks));
        let bits = |(maps, grads): &(Vec<Vec<f32>>, Params)| {
            let all = maps.iter().map(|m| &m[..]).chain(grads.tensors());
            all.flatten().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(&found), bits(&wanted), "seed {seed}");
        assert!(looks.n_forward >= looks.n_backward && looks.n_backward > 0, "seed {seed}: all are seen");
        n_seen += looks.n_forward;
    }
    assert!(n_seen > 100, "convolutions are seen: {n_seen}");
}

/// Three convolutions, one after another, without biases.
fn chain() -> Arc<TrainPlan> {
    let mut random = Rng::with_seed(7);
    let mut graph =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let mut x = graph.add_value("picture", MapShape::new(5, 6, 3));
    for (name, c, act) in [("a", 4, Act::Relu), ("b", 5, Act::Silu), ("c", 2, Act::Identity)] {
        let from = graph.shape(x);
        let window = Window { kernel: [3; 2], pad: [1; 2], pad_end: [1; 2], ..Window::POINT };
        let weights = numbers(&mut random, c * window.n_taps() * from.c);
        let conv = Conv { window, groups: 1, weights, bias: vec![0.0; c], act, post: Act::Identity, transposed: false };
        let output = graph.add_value(name, MapShape::new(from.h, from.w, c));
        graph.nodes.push(Node { op: Op::Conv(Box::new(conv)), inputs: vec![x], output });
        x = output;
    }
    let input = graph.input;
    Arc::new(TrainPlan::new(graph, &[input], &[x], |_| true).unwrap())
}

/// A factor for each of what a hook may change.
struct Scales {
    x: f32,
    weights: f32,
    y: f32,
    dy: f32,
}

impl Scales {
    const fn keep() -> Self {
        Self { x: 1.0, weights: 1.0, y: 1.0, dy: 1.0 }
    }
}

fn scale(batch: &mut Batch, by: f32) {
    batch.for_rows(|| (), |(), _, _, row| row.iter_mut().for_each(|v| *v *= by));
}

impl Hook for Scales {
    fn forward(&mut self, _node: usize, x: &mut Cow<'_, Batch>, weights: &mut Cow<'_, [f32]>) {
        scale(x.to_mut(), self.x);
        weights.to_mut().iter_mut().for_each(|w| *w *= self.weights);
    }

    fn output(&mut self, _node: usize, y: &mut Batch) {
        scale(y, self.y);
    }

    fn backward(&mut self, _node: usize, _x: &mut Cow<'_, Batch>, _weights: &mut Cow<'_, [f32]>, dy: &mut Batch) {
        scale(dy, self.dy);
    }
}

/// Powers of two, so that all is exact.
#[test]
fn a_hook_that_halves_gradients_halves_steps() {
    let plan = chain();
    let (maps, wanted) = step(&plan, 1, &mut Scales::keep());
    let (same_maps, found) = step(&plan, 1, &mut Scales { dy: 0.5, ..Scales::keep() });
    assert_eq!(maps, same_maps, "nothing changes forwards");
    let stepped = |grads: &Params| {
        let mut params = Params::of(&plan);
        params.tensors_mut().for_each(|t| t.fill(0.0));
        Sgd::new(&params, 0.9, 0.0).step(&mut params, grads, 0.25);
        params
    };
    let (wanted, found) = (stepped(&wanted), stepped(&found));
    // Each layer on the way back halves once more.
    for (layer, share) in [(2, 0.5), (1, 0.25), (0, 0.125)] {
        let of = |params: &Params, share: f32| params.0[layer].weights.iter().map(|w| w * share).collect::<Vec<_>>();
        assert!(of(&wanted, 1.0).iter().any(|w| *w != 0.0));
        assert_eq!(of(&found, 1.0), of(&wanted, share), "layer {layer}");
    }
}

#[test]
fn a_hook_changes_what_products_are_made_of_and_what_they_give() {
    let plan = chain();
    let maps = |hook: &mut Scales| step(&plan, 1, hook).0;
    let doubled = maps(&mut Scales { x: 2.0, ..Scales::keep() });
    assert_ne!(doubled, maps(&mut Scales::keep()));
    assert_eq!(doubled, maps(&mut Scales { weights: 2.0, ..Scales::keep() }));
    assert!(maps(&mut Scales { y: 0.0, ..Scales::keep() }).concat().iter().all(|v| *v == 0.0));
}
