//! A scale and shift a channel after a convolution (batch normalisation) goes
//! into its weights and bias: `s * (w x + b) + t = (s w) x + (s b + t)`.

use crate::graph::{Act, Conv, Graph, Op};

pub fn run(graph: &mut Graph) -> usize {
    let mut n = 0;
    let mut i = 0;
    while i < graph.nodes.len() {
        let (uses, makers) = (graph.n_uses(), graph.makers());
        let node = &graph.nodes[i];
        let maker = makers[node.inputs[0].0 as usize].filter(|_| uses[node.inputs[0].0 as usize] == 1);
        if let (Op::Affine { scale, shift }, Some(maker)) = (&node.op, maker) {
            let (scale, shift, output) = (scale.clone(), shift.clone(), node.output);
            let single = graph.nodes[maker].inputs.len() == 1;
            if let Op::Conv(conv) = &mut graph.nodes[maker].op
                && single
                && conv.act == Act::Identity
                && let Some((weights, bias)) = scaled(conv, &scale, &shift)
            {
                (conv.weights, conv.bias) = (weights, bias);
                graph.nodes[maker].output = output;
                graph.nodes.remove(i);
                n += 1;
                continue;
            }
        }
        i += 1;
    }
    n
}

/// The new weights and bias; `None` if they would be no finite numbers.
fn scaled(conv: &Conv, scale: &[f32], shift: &[f32]) -> Option<(Vec<f32>, Vec<f32>)> {
    let (mut weights, mut bias) = (conv.weights.clone(), conv.bias.clone());
    let per_out = weights.len() / bias.len();
    for (o, weights) in weights.chunks_exact_mut(per_out).enumerate() {
        weights.iter_mut().for_each(|w| *w *= scale[o]);
        bias[o] = bias[o].mul_add(scale[o], shift[o]);
    }
    weights.iter().chain(&bias).all(|v| v.is_finite()).then_some((weights, bias))
}
