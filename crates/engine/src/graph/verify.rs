//! What must hold of every [`Graph`], checked after import and after every pass.
//!
//! - A value is made once, by the picture or by one node, before it is read.
//! - The shape of a node's output follows from its inputs and its operation.
//! - Weights have the lengths that the shapes demand, and are finite numbers.
//! - Outputs read values that exist, inside their maps.
//! - What is kept is made.

use crate::graph::resample;
use crate::graph::{Act, Conv, Graph, MapShape, Node, Op, Window};

/// What does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Broken {
    pub place: String,
    pub what: String,
}

/// # Errors
/// The first rule that is broken.
pub fn verify(graph: &Graph) -> Result<(), Broken> {
    let mut made = vec![false; graph.values.len()];
    let exists = |v: crate::graph::ValueId| (v.0 as usize) < graph.values.len();
    if !exists(graph.input) {
        return Err(Broken { place: "input".into(), what: "is no value".into() });
    }
    made[graph.input.0 as usize] = true;
    for (i, node) in graph.nodes.iter().enumerate() {
        let at = |what: String| {
            let name = if exists(node.output) { graph.name(node.output) } else { "?" };
            Broken { place: format!("node {i} ({}, '{name}')", node.op.name()), what }
        };
        for input in &node.inputs {
            if !exists(*input) || !made[input.0 as usize] {
                return Err(at(format!("reads value {} before it is made", input.0)));
            }
        }
        if !exists(node.output) || std::mem::replace(&mut made[node.output.0 as usize], true) {
            return Err(at("writes a value that is made already".into()));
        }
        let inputs: Vec<MapShape> = node.inputs.iter().map(|v| graph.shape(*v)).collect();
        check(node, &inputs, graph.shape(node.output)).map_err(at)?;
    }
    for output in &graph.outputs {
        for part in &output.parts {
            let broken = |what: &str| Broken { place: format!("output '{}'", output.name), what: what.into() };
            if !exists(part.base) || !made[part.base.0 as usize] {
                return Err(broken("reads a value that is not made"));
            }
            let s = graph.shape(part.base);
            let mut end = part.start;
            for f in part.dims.iter().flatten() {
                end[f.axis as usize] += (f.size - 1) * f.stride;
            }
            if end[0] >= s.h || end[1] >= s.w || end[2] >= s.c {
                return Err(broken("reaches outside its map"));
            }
        }
    }
    if let Some(kept) = graph.kept.iter().find(|v| !exists(**v) || !made[v.0 as usize]) {
        return Err(Broken { place: "kept maps".into(), what: format!("value {} is not made", kept.0) });
    }
    Ok(())
}

fn check(node: &Node, inputs: &[MapShape], out: MapShape) -> Result<(), String> {
    let n_inputs = match &node.op {
        Op::Conv(_) | Op::Separable(_) => 1..=2,
        Op::Binary(_) => 2..=2,
        Op::Concat => 1..=usize::MAX,
        _ => 1..=1,
    };
    if !n_inputs.contains(&inputs.len()) {
        return Err(format!("{} inputs", inputs.len()));
    }
    let x = inputs[0];
    let expect = |wanted: MapShape| if out == wanted { Ok(()) } else { Err(format!("gives {out}, expected {wanted}")) };
    let one_each = |what: &str, n: usize| if n == x.c { Ok(()) } else { Err(format!("{n} {what} for {x}")) };
    match &node.op {
        Op::Conv(conv) => {
            expect(check_conv(conv, x)?)?;
            check_residual(inputs, out)
        }
        Op::Separable(pair) => {
            let (depthwise, pointwise) = (&pair.depthwise, &pair.pointwise);
            let between = check_conv(depthwise, x)?;
            if !depthwise.is_depthwise() || !pointwise.is_plain_point() {
                return Err("no depthwise convolution before a pointwise one".into());
            }
            expect(check_conv(pointwise, between)?)?;
            check_residual(inputs, out)
        }
        Op::Act(act) => check_act(act, x.c).and_then(|()| expect(x)),
        Op::Affine { scale, shift } => {
            one_each("scales", scale.len())?;
            one_each("shifts", shift.len())?;
            expect(x)
        }
        Op::Binary(_) if inputs[1] == x || inputs[1] == MapShape::new(1, 1, x.c) => expect(x),
        Op::Binary(_) => Err(format!("{x} and {}", inputs[1])),
        Op::Pool(_, window) => expect(slid(window, x, x.c).ok_or("its window is larger than the map")?),
        Op::GlobalAverage => expect(MapShape::new(1, 1, x.c)),
        Op::Resize(_) if out.c == x.c => Ok(()),
        Op::Resize(_) => Err(format!("makes {out} of {x}")),
        Op::Concat => {
            if inputs.iter().any(|i| (i.h, i.w) != (x.h, x.w)) {
                return Err("maps of different sizes".into());
            }
            expect(MapShape::new(x.h, x.w, inputs.iter().map(|i| i.c).sum()))
        }
        Op::Rearrange { stride, sources } => {
            let inside = |s: &crate::graph::ChannelSource| {
                (out.h - 1) * stride[0] + s.dy < x.h && (out.w - 1) * stride[1] + s.dx < x.w && s.c < x.c
            };
            if sources.len() != out.c || !sources.iter().all(inside) {
                return Err("reaches outside its map".into());
            }
            Ok(())
        }
        Op::Pad { before, .. } => {
            if out.c != x.c || out.h < x.h + before[0] || out.w < x.w + before[1] {
                return Err(format!("makes {out} of {x}"));
            }
            Ok(())
        }
        Op::Softmax { group } if *group > 0 && x.c.is_multiple_of(*group) => expect(x),
        Op::Softmax { group } => Err(format!("runs of {group} in {} channels", x.c)),
    }
}

fn check_residual(inputs: &[MapShape], out: MapShape) -> Result<(), String> {
    match inputs.get(1) {
        Some(residual) if resample::repeats(*residual, out).is_none() => Err(format!("adds {residual} to {out}")),
        _ => Ok(()),
    }
}

/// What a convolution makes of a map.
fn check_conv(conv: &Conv, x: MapShape) -> Result<MapShape, String> {
    let n_out = conv.bias.len();
    let taps = conv.window.n_taps();
    if conv.groups == 0 || !x.c.is_multiple_of(conv.groups) || !n_out.is_multiple_of(conv.groups) {
        return Err(format!("{} groups of {} -> {n_out} channels", conv.groups, x.c));
    }
    if conv.weights.len() != n_out * taps * (x.c / conv.groups) {
        return Err(format!("{} weights", conv.weights.len()));
    }
    if !conv.weights.iter().chain(&conv.bias).all(|v| v.is_finite()) {
        return Err("weights that are no finite numbers".into());
    }
    check_act(&conv.act, n_out)?;
    check_act(&conv.post, n_out)?;
    Ok(conv_shape(conv, x).ok_or("its window is larger than the map")?)
}

fn check_act(act: &Act, c: usize) -> Result<(), String> {
    match act {
        Act::PRelu(slopes) if slopes.len() != c => Err(format!("{} slopes for {c} channels", slopes.len())),
        _ => Ok(()),
    }
}

fn slid(w: &Window, x: MapShape, c: usize) -> Option<MapShape> {
    let side = |i: usize, size: usize| {
        let reach = w.dilation[i] * (w.kernel[i] - 1) + 1;
        Some((size + w.pad[i] + w.pad_end[i]).checked_sub(reach)? / w.stride[i] + 1)
    };
    Some(MapShape::new(side(0, x.h)?, side(1, x.w)?, c))
}

fn conv_shape(conv: &Conv, x: MapShape) -> Option<MapShape> {
    let w = &conv.window;
    if !conv.transposed {
        return slid(w, x, conv.bias.len());
    }
    let side = |i: usize, size: usize| {
        ((size - 1) * w.stride[i] + w.dilation[i] * (w.kernel[i] - 1) + 1).checked_sub(w.pad[i] + w.pad_end[i])
    };
    Some(MapShape::new(side(0, x.h)?, side(1, x.w)?, conv.bias.len()))
}
