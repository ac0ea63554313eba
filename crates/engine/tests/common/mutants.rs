//! Small mistakes in networks.

use super::zoo;
use engine::import::onnx;
use prost::Message as _;

/// Shows mutants of the zoo's networks, so many of each small network and so many of each large one; how many `look` says
/// yes to.
pub fn count(seed: u64, [of_small, of_large]: [usize; 2], look: impl Fn(&str, &[u8], [usize; 3]) -> bool) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut n_yes = 0;
    for (name, file, dims) in zoo::all().into_iter().chain([zoo::operations(), zoo::layouts()]) {
        let model = onnx::ModelProto::decode(file.as_slice()).unwrap();
        // The small ones hold most kinds of nodes, and run fast.
        let n = if model.graph.as_ref().unwrap().node.len() < 30 { of_small } else { of_large };
        for _ in 0..n {
            let mut mutant = model.clone();
            let mut changed = String::new();
            for _ in 0..rng.usize(1..3) {
                changed += &mutate(mutant.graph.as_mut().unwrap(), &mut rng);
            }
            n_yes += usize::from(look(&format!("{name} with {changed}"), &mutant.encode_to_vec(), dims));
        }
    }
    n_yes
}

const WORDS: [&str; 12] = [
    "nearest",
    "linear",
    "asymmetric",
    "half_pixel",
    "align_corners",
    "pytorch_half_pixel",
    "floor",
    "ceil",
    "round_prefer_ceil",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
];

/// Changes one thing; says what.
fn mutate(graph: &mut onnx::GraphProto, rng: &mut fastrand::Rng) -> String {
    let (at, from) = (rng.usize(..graph.node.len()), rng.usize(..graph.node.len()));
    let other = graph.node[from].clone();
    let node = &mut graph.node[at];
    match rng.u8(..8) {
        0 => node.op_type = other.op_type,
        1 => node.attribute = other.attribute,
        2 => {
            let (i, k) = (rng.usize(..node.input.len()), rng.usize(..other.input.len()));
            node.input[i].clone_from(&other.input[k]);
        }
        3..=6 if !node.attribute.is_empty() => {
            let i = rng.usize(..node.attribute.len());
            let attribute = &mut node.attribute[i];
            attribute.f = rng.f32() * 3.0 - 1.0;
            attribute.i = rng.i64(-3..5);
            attribute.s = WORDS[rng.usize(..WORDS.len())].into();
            if let n @ 1.. = attribute.ints.len() {
                attribute.ints[rng.usize(..n)] = rng.i64(-3..5);
            }
        }
        _ => {
            let lists: Vec<_> = graph.initializer.iter_mut().filter(|t| !t.int64_data.is_empty()).collect();
            let Some(list) = rng.choice(lists) else { return String::new() };
            let i = rng.usize(..list.int64_data.len());
            list.int64_data[i] = rng.i64(-3..5);
            return format!("{} = {:?}, ", list.name, list.int64_data);
        }
    }
    format!("{node:?}, ")
}
