//! ONNX Runtime as the judge of what the engine computes.

use engine::graph::Graph;
use engine::{import, oracle, passes};
use passd::infer::session::Runtime;

/// One output: its name, its shape, its values.
pub type Output = (String, Vec<i64>, Vec<f32>);

/// The outputs of ONNX Runtime for a picture `[rows][columns][channels]`.
pub fn onnx_runtime(file: &[u8], picture: &[f32], dims: [usize; 4]) -> Vec<Output> {
    try_onnx_runtime(file, picture, dims).unwrap()
}

/// As [`onnx_runtime`], of files that it may refuse.
pub fn try_onnx_runtime(file: &[u8], picture: &[f32], dims: [usize; 4]) -> ort::Result<Vec<Output>> {
    let runtime = Runtime::get(None).unwrap();
    let mut session = ort::session::Session::builder(&runtime.environment).unwrap().commit_from_memory(file)?;
    let [_, c, h, w] = dims;
    let mut planes = vec![0.0; picture.len()];
    for (cell, values) in picture.chunks_exact(c).enumerate() {
        for (channel, v) in values.iter().enumerate() {
            planes[channel * h * w + cell] = *v;
        }
    }
    let tensor = ort::value::Tensor::from_array((dims.map(|d| d as i64), planes)).unwrap();
    let outputs = session.run(ort::inputs![tensor])?;
    let read = outputs
        .iter()
        .map(|(name, value)| {
            let (shape, data) = value.try_extract_tensor::<f32>().unwrap();
            (name.to_owned(), shape.to_vec(), data.to_vec())
        })
        .collect();
    Ok(read)
}

/// Largest difference, as a share of the output's own size where that is above 1.
pub fn difference(wanted: &[f32], found: &[f32]) -> f32 {
    assert_eq!(wanted.len(), found.len());
    // A maximum would lose what is no number.
    wanted.iter().zip(found).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, |a, b| if b <= a { a } else { b })
}

/// The oracle's outputs against those that are wanted.
pub fn check_oracle(name: &str, graph: &Graph, picture: &[f32], wanted: &[Output], tolerance: f32) {
    let maps = oracle::run(graph, picture);
    assert_eq!(graph.outputs.len(), wanted.len(), "{name}: number of outputs");
    for (output, (wanted_name, shape, wanted)) in graph.outputs.iter().zip(wanted) {
        assert_eq!(&output.name, wanted_name);
        assert_eq!(output.dims.iter().map(|d| *d as i64).collect::<Vec<_>>(), *shape, "{name} {wanted_name}");
        let off = difference(wanted, &maps.output(graph, output));
        assert!(off < tolerance, "{name}, output {wanted_name}: off by {off}");
    }
}

/// A whole file: as imported, and after all passes. The optimised graph comes back.
pub fn check_file(name: &str, file: &[u8], [c, h, w]: [usize; 3], picture: &[f32], tolerance: f32) -> Graph {
    let wanted = onnx_runtime(file, picture, [1, c, h, w]);
    let mut graph = import::import(file, h, w).unwrap_or_else(|e| panic!("{name}: {e}"));
    check_oracle(name, &graph, picture, &wanted, tolerance);
    passes::optimise(&mut graph).unwrap_or_else(|e| panic!("{name}: {e}"));
    check_oracle(&format!("{name} after the passes"), &graph, picture, &wanted, tolerance);
    graph
}
