//! The layer engine's reading of a model against ONNX Runtime's: real models,
//! and every operation on random input.

mod common;

use passd::engine::{graph::Graph, import, oracle, passes};
use passd::infer::onnx::with_input_shape;
use passd::infer::session::Runtime;

/// The outputs of ONNX Runtime for a picture `[rows][columns][channels]`, by name.
pub fn onnx_runtime(file: &[u8], picture: &[f32], dims: [usize; 4]) -> Vec<(String, Vec<i64>, Vec<f32>)> {
    let runtime = Runtime::get(None).unwrap();
    let mut session = ort::session::Session::builder(&runtime.environment).unwrap().commit_from_memory(file).unwrap();
    let [_, c, h, w] = dims;
    let mut planes = vec![0.0; picture.len()];
    for (cell, values) in picture.chunks_exact(c).enumerate() {
        for (channel, v) in values.iter().enumerate() {
            planes[channel * h * w + cell] = *v;
        }
    }
    let tensor = ort::value::Tensor::from_array((dims.map(|d| d as i64), planes)).unwrap();
    let outputs = session.run(ort::inputs![tensor]).unwrap();
    outputs
        .iter()
        .map(|(name, value)| {
            let (shape, data) = value.try_extract_tensor::<f32>().unwrap();
            (name.to_owned(), shape.to_vec(), data.to_vec())
        })
        .collect()
}

/// Largest difference, as a share of the output's own size where that is above 1.
fn difference(wanted: &[f32], found: &[f32]) -> f32 {
    assert_eq!(wanted.len(), found.len());
    wanted.iter().zip(found).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f32::max)
}

fn check_oracle(name: &str, graph: &Graph, picture: &[f32], wanted: &[(String, Vec<i64>, Vec<f32>)]) {
    let maps = oracle::run(graph, picture);
    for (output, (wanted_name, shape, wanted)) in graph.outputs.iter().zip(wanted) {
        assert_eq!(&output.name, wanted_name);
        assert_eq!(output.dims.iter().map(|d| *d as i64).collect::<Vec<_>>(), *shape, "{name} {wanted_name}");
        let off = difference(wanted, &maps.output(graph, output));
        assert!(off < 1e-3, "{name}, output {wanted_name}: off by {off}");
    }
}

/// Every shared model, as imported and after all passes.
#[test]
fn models_equal_onnx_runtime_before_and_after_the_passes() {
    let Some(shared) = common::shared() else { return };
    for (name, h, w) in [
        ("yolox_nano", 192, 224),
        ("yunet_2023mar", 128, 160),
        ("ultraface_rfb_320", 240, 320),
        ("fastestdet", 352, 352),
    ] {
        let file = std::fs::read(shared.join(format!("models/{name}.onnx"))).unwrap();
        check_model(name, &file, h, w);
    }
    check_model("street-nano", include_bytes!("../models/street-nano.onnx"), 96, 160);
}

fn check_model(name: &str, file: &[u8], h: usize, w: usize) {
    let sized = with_input_shape(file, [1, 3, h as i64, w as i64]).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let picture: Vec<f32> =
        (0..h * w * 3).map(|_| random.f32() * if name == "fastestdet" { 1.0 } else { 255.0 }).collect();
    let wanted = onnx_runtime(&sized, &picture, [1, 3, h, w]);
    let mut graph = import::import(file, h, w).unwrap();
    check_oracle(name, &graph, &picture, &wanted);
    let n_before = graph.nodes.len();
    let done = passes::optimise(&mut graph).unwrap();
    check_oracle(name, &graph, &picture, &wanted);
    println!("{name}: {n_before} nodes -> {} ({} MMAC), {done:?}", graph.nodes.len(), graph.macs() / 1_000_000);
    for (i, n) in graph.nodes.iter().enumerate() {
        if std::env::var_os("DUMP").is_some() {
            println!("  {i} {} {} -> {}", n.op.name(), graph.name(n.output), graph.shape(n.output));
        }
    }
}
