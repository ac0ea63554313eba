//! What does a frame of the layer engine cost, by share of changed cells, and what of it is bookkeeping?
//!
//! One thread. `layer/…`: one convolution at several shares of active cells. `model/…`: street-nano
//! at 640x384 as a whole, with every pixel changed, with a tenth of the rows changed, with nothing
//! changed. `spread/…`: change sets alone.

use criterion::{Criterion, criterion_group, criterion_main};
use engine::changes::{ChangeSet, Spread};
use engine::exec::executor::StreamMaps;
use engine::exec::runner::Runner;
use engine::exec::stream::Stream;
use engine::gating::gate::Gates;
use engine::graph::view::View;
use engine::graph::{Act, Conv, Graph, MapShape, Node, Op, Output, ValueId, Window};
use engine::import;
use engine::kernels::Kernels;
use engine::plan::Plan;
use std::hint::black_box;
use std::sync::Arc;

/// A graph of one convolution with SiLU.
fn layer(h: usize, w: usize, c_in: usize, c_out: usize, side: usize, depthwise: bool) -> Graph {
    let mut g =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let (input, output) = (g.add_value("x", MapShape::new(h, w, c_in)), g.add_value("y", MapShape::new(h, w, c_out)));
    let depth = if depthwise { 1 } else { c_in };
    let window = Window { kernel: [side; 2], pad: [side / 2; 2], pad_end: [side / 2; 2], ..Window::POINT };
    let conv = Conv {
        window,
        groups: if depthwise { c_in } else { 1 },
        weights: vec![0.01; c_out * side * side * depth],
        bias: vec![0.1; c_out],
        act: Act::Silu,
        post: Act::Identity,
        transposed: false,
    };
    g.nodes.push(Node { op: Op::Conv(Box::new(conv)), inputs: vec![input], output });
    let view = View::whole(output, g.shape(output));
    g.outputs.push(Output { name: "y".into(), dims: view.shape(), axis: 0, parts: vec![view] });
    g
}

fn opened(graph: Graph) -> (Stream, Runner) {
    let plan = Arc::new(Plan::new(graph).expect("a sound graph"));
    let mut stream = Stream::new(plan.clone(), Gates::exact(&plan), 0.0);
    let mut runner = Runner::new(&plan, Kernels::best());
    runner.run(&mut stream, 0.0);
    (stream, runner)
}

/// Every frame another picture in the first rows: all that changes reach is computed and passes.
fn with_rows(stream: &mut Stream, runner: &mut Runner, rows: usize, value: f32) {
    let shape = stream.plan().maps[stream.plan().input].shape;
    let (data, changed) = stream.input();
    changed.clear();
    changed.set_rows(0..rows);
    data[..rows * shape.w * shape.c].fill(value);
    black_box(runner.run(stream, 0.0));
}

fn layers(c: &mut Criterion) {
    for (name, graph) in [
        ("1x1 64->64 48x80", layer(48, 80, 64, 64, 1, false)),
        ("3x3 64->64 48x80", layer(48, 80, 64, 64, 3, false)),
        ("depthwise 3x3 64 48x80", layer(48, 80, 64, 64, 3, true)),
    ] {
        let (mut stream, mut runner) = opened(graph);
        for share in [100, 25, 5] {
            let mut n = 0u32;
            c.bench_function(&format!("layer/{name}/{share}%"), |b| {
                b.iter(|| {
                    n += 1;
                    with_rows(&mut stream, &mut runner, 48 * share / 100, (n % 7) as f32);
                });
            });
        }
    }
}

fn model(c: &mut Criterion) {
    let file = include_bytes!("../../../models/street-nano.onnx");
    let (mut stream, mut runner) = opened(import::import(file, 384, 640).expect("our own model"));
    c.bench_function("model/whole", |b| {
        b.iter(|| {
            stream.forget();
            black_box(runner.run(&mut stream, 0.0))
        });
    });
    for (name, rows) in [("every pixel changed", 384), ("a tenth of the rows changed", 38), ("nothing changed", 0)] {
        let mut n = 0u32;
        c.bench_function(&format!("model/{name}"), |b| {
            b.iter(|| {
                n += 1;
                with_rows(&mut stream, &mut runner, rows, (n % 7) as f32 * 30.0);
            });
        });
    }
}

fn spread(c: &mut Criterion) {
    let mut from = ChangeSet::new(192, 320);
    (0..192).step_by(9).for_each(|y| from.set_run(y, y, y + 40));
    let mut scratch = Vec::new();
    for (name, stride) in [("3x3", 1), ("3x3 stride 2", 2)] {
        let window = Window { kernel: [3; 2], stride: [stride; 2], pad: [1; 2], pad_end: [1; 2], ..Window::POINT };
        let spread = Spread::Window(window);
        let mut out = ChangeSet::new(192 / stride, 320 / stride);
        c.bench_function(&format!("spread/{name} 192x320"), |b| {
            b.iter(|| {
                out.clear();
                spread.apply(black_box(&from), &mut out, &mut scratch);
            });
        });
    }
}

criterion_group!(benches, layers, model, spread);
criterion_main!(benches);
