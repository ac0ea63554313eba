//! What is trained in eight bits learns as well as what is trained in `f32`: a network learns what another of its shape does.

use engine::graph::{Act, Binary, Conv, Graph, MapShape, Node, Op, ValueId, Window};
use engine::kernels::Kernels;
use engine::kernels::int8::Int8Kernels;
use fastrand::Rng;
use std::sync::Arc;
use train::float::FloatTrainer;
use train::int8::{Int8Trainer, Settings};
use train::optimise::Adam;
use train::params::Params;
use train::plan::TrainPlan;
use train::trainer::Trainer;

const PICTURES: usize = 4;
const PICTURE: MapShape = MapShape::new(12, 16, 3);

/// Three convolutions, one of them strided, a residual sum between them, and a last one without an activation.
fn network(random: &mut Rng) -> Graph {
    let mut graph =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let mut conv = |graph: &mut Graph, x: ValueId, out: usize, kernel: usize, stride: usize, act: Act| {
        let s = graph.shape(x);
        let n = out * kernel * kernel * s.c;
        let size = (6.0 / (kernel * kernel * s.c) as f32).sqrt();
        let conv = Conv {
            window: Window {
                kernel: [kernel; 2],
                stride: [stride; 2],
                dilation: [1; 2],
                pad: [kernel / 2; 2],
                pad_end: [kernel / 2; 2],
            },
            groups: 1,
            weights: (0..n).map(|_| (random.f32() * 2.0 - 1.0) * size).collect(),
            bias: (0..out).map(|_| random.f32() * 0.2 - 0.1).collect(),
            act,
            post: Act::Identity,
            transposed: false,
        };
        let shape = MapShape::new(s.h.div_ceil(stride), s.w.div_ceil(stride), out);
        let output = graph.add_value(format!("c{}", graph.nodes.len()), shape);
        graph.nodes.push(Node { op: Op::Conv(Box::new(conv)), inputs: vec![x], output });
        output
    };
    let picture = graph.add_value("picture", PICTURE);
    let a = conv(&mut graph, picture, 12, 3, 1, Act::Relu);
    let b = conv(&mut graph, a, 16, 3, 2, Act::Relu);
    let c = conv(&mut graph, b, 16, 3, 1, Act::Silu);
    let sum = graph.add_value("sum", graph.shape(b));
    graph.nodes.push(Node { op: Op::Binary(Binary::Add), inputs: vec![b, c], output: sum });
    conv(&mut graph, sum, 5, 1, 1, Act::Identity);
    graph
}

fn plan(seed: u64) -> Arc<TrainPlan> {
    let graph = network(&mut Rng::with_seed(seed));
    let output = graph.nodes.last().unwrap().output;
    let input = graph.input;
    Arc::new(TrainPlan::new(graph, &[input], &[output], |_| true).unwrap())
}

/// The output's numbers.
fn run(trainer: &mut dyn Trainer, params: &Params, pictures: &[f32]) -> Vec<f32> {
    let (source, output) = (trainer.plan().sources()[0], trainer.plan().outputs()[0]);
    trainer.fill_source(source, pictures);
    trainer.forward(params);
    trainer.output(output).numbers()
}

/// The mean square error on pictures that were not trained on, before and after.
fn learn(trainer: &mut dyn Trainer, seed: u64) -> [f64; 2] {
    let (teacher, student) = (plan(seed), plan(seed + 1000));
    let mut teacher_runs = FloatTrainer::new(&teacher, PICTURES, Kernels::best());
    let (truth, mut params) = (Params::of(&teacher), Params::of(&student));
    let mut random = Rng::with_seed(seed + 2000);
    let mut pictures = || (0..PICTURES * PICTURE.n_values()).map(|_| random.f32()).collect::<Vec<f32>>();
    let held_out = pictures();
    let wanted = run(&mut teacher_runs, &truth, &held_out);
    // The last weights are judged in `f32`, where they will be used.
    let mut judge = FloatTrainer::new(&student, PICTURES, Kernels::best());
    let mut error = |params: &Params| {
        let found = run(&mut judge, params, &held_out);
        let squares = found.iter().zip(&wanted).map(|(a, b)| f64::from((a - b) * (a - b)));
        squares.sum::<f64>() / found.len() as f64
    };
    let before = error(&params);
    let mut adam = Adam::new(&params, 0.0);
    for step in 0..300u16 {
        let pictures = pictures();
        let wanted = run(&mut teacher_runs, &truth, &pictures);
        let found = run(trainer, &params, &pictures);
        let n = found.len() as f32;
        let grads: Vec<f32> = found.iter().zip(&wanted).map(|(a, b)| 2.0 * (a - b) / n).collect();
        let grads = trainer.backward(&params, &[&grads]);
        adam.step(&mut params, &grads, 0.01 * (1.0 - f32::from(step) / 300.0));
    }
    [before, error(&params)]
}

#[test]
fn eight_bits_learn_as_f32_does() {
    let (mut ratios, settings) = (Vec::new(), Settings::default());
    for seed in 0..5 {
        let student = plan(seed + 1000);
        let float = learn(&mut FloatTrainer::new(&student, PICTURES, Kernels::best()), seed);
        let kernels = (Kernels::best(), Int8Kernels::best());
        let int8 = learn(&mut Int8Trainer::new(&student, PICTURES, kernels, settings), seed);
        println!("seed {seed}: f32 {:.4} -> {:.5}, eight bits -> {:.5}", float[0], float[1], int8[1]);
        assert!(float[1] < 0.2 * float[0], "it learns");
        ratios.push(int8[1] / float[1]);
    }
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[2] < 1.25, "eight bits to f32: {ratios:.2?}");
}
