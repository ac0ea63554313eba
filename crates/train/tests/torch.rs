//! The gradients of random networks are PyTorch's: `fixtures/torch_grads.py` wrote both.

use engine::import::{import, onnx};
use engine::kernels::Kernels;
use engine::passes;
use prost::Message as _;
use std::collections::HashMap;
use std::sync::Arc;
use train::float::FloatTrainer;
use train::params::Params;
use train::plan::{LayerId, TrainPlan};

/// A network's tensors by name: dimensions and numbers.
struct Fixture {
    file: Vec<u8>,
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Fixture {
    fn read(seed: usize) -> Self {
        let path = format!("{}/tests/fixtures/torch-{seed:02}.onnx", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(path).unwrap();
        let model = onnx::ModelProto::decode(&file[..]).unwrap();
        let tensor = |t: &onnx::TensorProto| {
            let numbers = t.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            (t.name.clone(), (t.dims.iter().map(|d| *d as usize).collect(), numbers))
        };
        let tensors = model.graph.unwrap().initializer.iter().map(tensor).collect();
        Self { file, tensors }
    }

    /// `[n][c][h][w]` as `[n][h][w][c]`; weights so, too: `[out][in][taps]` as `[out][taps][in]`.
    fn channels_last(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (dims, numbers) = self.tensors.get(name).unwrap_or_else(|| panic!("{name}"));
        let [n, c, h, w] = dims[..] else { return (dims.clone(), numbers.clone()) };
        let mut out = Vec::with_capacity(numbers.len());
        for (i, cell) in (0..n).flat_map(|i| (0..h * w).map(move |cell| (i, cell))) {
            out.extend((0..c).map(|channel| numbers[(i * c + channel) * h * w + cell]));
        }
        (dims.clone(), out)
    }
}

#[test]
fn gradients_are_those_of_pytorch() {
    for seed in 0..6 {
        let fixture = Fixture::read(seed);
        let (dims, pictures) = fixture.channels_last("pictures");
        let mut graph = import(&fixture.file, dims[2], dims[3]).unwrap();
        passes::simplify(&mut graph).unwrap();
        let names: Vec<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
        let plan = Arc::new(TrainPlan::whole(graph).unwrap());
        assert_eq!(plan.outputs().len(), names.len(), "a map an output");
        let params = Params::of(&plan);
        let mut trainer = FloatTrainer::new(&plan, dims[0], Kernels::best());
        trainer.map_mut(plan.sources()[0]).fill(&pictures);
        trainer.forward(&params);
        let factors: Vec<Vec<f32>> = names.iter().map(|n| fixture.channels_last(&format!("factor.{n}")).1).collect();
        let grads = trainer.backward(&params, &factors.iter().map(|f| &f[..]).collect::<Vec<_>>());
        // Both read the file's convolutions in their order; what no output depends on is no layer.
        let mut layers = (0..plan.layers().len()).map(LayerId).peekable();
        for i in 0.. {
            let Some((_, weights)) =
                fixture.tensors.get(&format!("w{i}")).map(|_| fixture.channels_last(&format!("w{i}")))
            else {
                break;
            };
            let Some(layer) = layers.next_if(|l| plan.conv(*l).weights == weights) else { continue };
            for (kind, found) in [("w", &grads.0[layer.0].weights), ("b", &grads.0[layer.0].bias)] {
                let (_, wanted) = fixture.channels_last(&format!("grad.{kind}{i}"));
                let most = wanted.iter().fold(1e-3, |a: f32, b| a.max(b.abs()));
                assert_eq!(found.len(), wanted.len());
                for (a, b) in found.iter().zip(&wanted) {
                    assert!((a - b).abs() < 2e-4 * most, "torch-{seed:02} {kind}{i}: {a}, not {b}");
                }
            }
        }
        assert!(layers.next().is_none(), "every layer was compared");
    }
}
