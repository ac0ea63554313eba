//! Networks with small mistakes in them: what both the engine and ONNX Runtime
//! read gives the same numbers. Either may refuse; nothing may be taken for
//! something else.

mod common;

use common::{
    model::random_picture,
    mutants,
    ort::{Output, difference, try_onnx_runtime},
};
use engine::{graph::Graph, import, oracle, passes};

#[test]
fn mutants_that_are_read_equal_onnx_runtime() {
    let n_both = mutants::count(9, [400, 40], compare);
    println!("{n_both} mutants were read by both");
    assert!(n_both > 100, "most mutants are refused: {n_both} are left");
}

/// Whether both could read it.
fn compare(name: &str, file: &[u8], [c, h, w]: [usize; 3]) -> bool {
    let Ok(mut graph) = import::import(file, h, w) else { return false };
    let n_values: usize = graph.values.iter().map(|v| v.shape.n_values()).sum();
    if n_values > 2_000_000 || graph.macs() > 40_000_000 {
        return false;
    }
    let picture = random_picture([c, h, w], -1.5, 1.5);
    let Ok(wanted) = try_onnx_runtime(file, &picture, [1, c, h, w]) else { return false };
    if !wanted.iter().all(|(_, _, values)| values.iter().all(|v| v.is_finite())) {
        return false;
    }
    equal(name, &graph, &picture, &wanted);
    passes::optimise(&mut graph).unwrap();
    equal(&format!("{name} after the passes"), &graph, &picture, &wanted);
    true
}

fn equal(name: &str, graph: &Graph, picture: &[f32], wanted: &[Output]) {
    let maps = oracle::run(graph, picture);
    for (output, (_, shape, values)) in graph.outputs.iter().zip(wanted) {
        assert_eq!(output.dims.iter().map(|d| *d as i64).collect::<Vec<_>>(), *shape, "{name}");
        // Mutants may have large values on the way.
        let off = difference(values, &maps.output(graph, output));
        assert!(off < 1e-2, "{name}: off by {off}");
    }
}
