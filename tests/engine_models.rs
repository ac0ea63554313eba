//! Whole networks of the usual kinds against ONNX Runtime: classification,
//! segmentation, pose, detection.

mod common;

use common::{model::random_picture, ort::check_file, zoo};

#[test]
fn networks_equal_onnx_runtime_before_and_after_the_passes() {
    for (name, file, dims) in zoo::all() {
        let picture = random_picture(dims, -1.5, 1.5);
        let graph = check_file(name, &file, dims, &picture, 1e-3);
        // Normalisation goes into the convolutions; the two with scaled sums keep those.
        let left: Vec<&str> = graph.nodes.iter().map(|n| n.op.name()).collect();
        assert!(!left.contains(&"affine") || name == "resnet18" || name == "hrnet", "{name}: {left:?}");
        println!("{name}: {} nodes, {} MMAC", graph.nodes.len(), graph.macs() / 1_000_000);
    }
}

/// Else a comparison would show nothing.
#[test]
fn values_stay_around_one() {
    for (name, file, dims) in zoo::all() {
        let [c, h, w] = dims;
        let outputs = common::ort::onnx_runtime(&file, &random_picture(dims, -1.5, 1.5), [1, c, h, w]);
        for (output, _, values) in outputs {
            let energy = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
            println!("{name} {output}: {energy}");
            assert!((0.003..100.0).contains(&energy), "{name} {output}: {energy}");
        }
    }
}
