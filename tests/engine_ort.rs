//! The layer engine's reading of real models against ONNX Runtime's.

mod common;

use passd::models::onnx::with_input_shape;

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
    let brightest = if name == "fastestdet" { 1.0 } else { 255.0 };
    let picture = common::model::random_picture([3, h, w], 0.0, brightest);
    let graph = common::ort::check_file(name, &sized, [3, h, w], &picture, 1e-3);
    println!("{name}: {} nodes ({} MMAC)", graph.nodes.len(), graph.macs() / 1_000_000);
    for (i, n) in graph.nodes.iter().enumerate() {
        if std::env::var_os("DUMP").is_some() {
            println!("  {i} {} {} -> {}", n.op.name(), graph.name(n.output), graph.shape(n.output));
        }
    }
}
