//! Networks with small mistakes in them run within their buffers, on every instruction set, and give what the oracle gives.
//! Under a sanitiser (`scripts/sanitize.sh`) each buffer lies apart, so that a number too many is seen.

mod common;

use common::{model::random_picture, mutants, zoo};
use engine::exec::runner::Runner;
use engine::exec::stream::Stream;
use engine::gating::gate::Gates;
use engine::graph::Graph;
use engine::kernels::Kernels;
use engine::plan::Plan;
use engine::{import, oracle, passes};
use std::sync::Arc;

/// What a stream's outputs hold, in bits; of what is no number its kind alone.
fn outputs(stream: &Stream) -> Vec<Vec<u32>> {
    let plan = stream.plan();
    let maps: Vec<Vec<f32>> = (0..plan.maps.len()).map(|i| stream.map(i)).collect();
    let read = |o| oracle::read_output(o, |v| (&maps[v.0 as usize], plan.maps[v.0 as usize].shape));
    plan.outputs.iter().map(|o| bits(&read(o))).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { f32::NAN } else { *v }.to_bits()).collect()
}

fn wanted(graph: &Graph, picture: &[f32]) -> Vec<Vec<u32>> {
    let maps = oracle::run(graph, picture);
    graph.outputs.iter().map(|o| bits(&maps.output(graph, o))).collect()
}

/// Whether the engine takes it.
fn runs(name: &str, file: &[u8], [_, h, w]: [usize; 3]) -> bool {
    let Ok(mut graph) = import::import(file, h, w) else { return false };
    let n_values: usize = graph.values.iter().map(|v| v.shape.n_values()).sum();
    if n_values > 500_000 || graph.macs() > 10_000_000 {
        return false;
    }
    let Ok(plan) = Plan::new(graph.clone()).map(Arc::new) else { return false };
    passes::optimise(&mut graph).unwrap();
    let s = graph.shape(graph.input);
    let mut picture = random_picture([s.c, s.h, s.w], -1.5, 1.5);
    for kernels in Kernels::all() {
        let mut stream = Stream::new(plan.clone(), Gates::exact(&plan), f32::NAN);
        let mut runner = Runner::new(&plan, *kernels);
        stream.input().0.copy_from_slice(&picture);
        runner.run(&mut stream, 0.0);
        assert_eq!(outputs(&stream), wanted(&graph, &picture), "{name}, {}", kernels.name);
        // The lower right corner, and a cell on the upper border.
        for (y, x) in [(s.h - 1, s.w - 1), (0, s.w / 2)] {
            picture[(y * s.w + x) * s.c] += 0.5;
            let (data, changes) = stream.input();
            changes.clear();
            changes.set_run(y, x, x + 1);
            data.copy_from_slice(&picture);
            runner.run(&mut stream, 0.0);
            assert_eq!(outputs(&stream), wanted(&graph, &picture), "{name}, {}, changed at {y}, {x}", kernels.name);
        }
    }
    true
}

#[test]
fn mutants_run_within_their_buffers() {
    let whole = zoo::all().into_iter().chain([zoo::operations(), zoo::layouts()]);
    let n_whole = whole.filter(|(name, file, dims)| runs(name, file, *dims)).count();
    let n_run = n_whole + mutants::count(31, [200, 20], runs);
    println!("{n_run} networks ran");
    assert!(n_run > 100, "{n_run}");
}
