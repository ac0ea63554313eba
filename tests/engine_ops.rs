//! Every operation that the importer reads, against ONNX Runtime on random
//! input: as imported, and after all passes.

mod common;

use common::model::{
    Attr::{self, Float, Floats, Int, Ints, Text},
    ModelBuilder as Model, random_picture,
};

/// What is tried, the opset, channels, rows and columns of the picture, and the
/// operations; the last value is an output besides those that are declared.
type Case = (&'static str, i64, [usize; 3], fn(&mut Model, &str) -> String);

/// All cases run, so that a mistake shows how far it goes.
fn check(cases: &[Case]) {
    let wrong: Vec<&str> = cases
        .iter()
        .filter(|(name, opset, dims, build)| {
            let mut model = Model::new(*opset);
            let picture = model.input(dims[0], dims[1], dims[2]);
            let last = build(&mut model, &picture);
            model.output(&last);
            let picture = random_picture(*dims, -2.0, 2.0);
            let file = model.build();
            std::panic::catch_unwind(|| common::ort::check_file(name, &file, *dims, &picture, 1e-4)).is_err()
        })
        .map(|(name, ..)| *name)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Weights `[out, in of a group, rows, columns]`, and biases.
fn conv(m: &mut Model, x: &str, dims: [usize; 4], attrs: &[(&str, Attr)]) -> String {
    let w = m.weights(&dims, dims[1] * dims[2] * dims[3]);
    let b = m.random(&[dims[0]], -0.5, 0.5);
    m.node("Conv", &[x, &w, &b], attrs)
}

/// A window attribute for both directions, or for the four sides.
const S2: (&str, Attr) = ("strides", Ints(&[2, 2]));
const P1: (&str, Attr) = ("pads", Ints(&[1, 1, 1, 1]));

#[test]
fn convolutions() {
    check(&[
        ("1x1", 11, [3, 7, 9], |m, x| conv(m, x, [5, 3, 1, 1], &[])),
        ("1x1 of one cell", 11, [3, 1, 1], |m, x| conv(m, x, [5, 3, 1, 1], &[])),
        ("1x1 stride 2", 11, [3, 7, 9], |m, x| conv(m, x, [5, 3, 1, 1], &[S2])),
        ("3x3", 11, [3, 7, 9], |m, x| conv(m, x, [5, 3, 3, 3], &[P1])),
        ("3x3 on one cell", 11, [3, 1, 1], |m, x| conv(m, x, [5, 3, 3, 3], &[P1])),
        ("3x3 without border", 11, [3, 13, 5], |m, x| conv(m, x, [4, 3, 3, 3], &[])),
        ("3x3 stride 2", 11, [3, 13, 5], |m, x| conv(m, x, [4, 3, 3, 3], &[P1, S2])),
        ("5x5 stride 3", 11, [2, 13, 11], |m, x| {
            conv(m, x, [4, 2, 5, 5], &[("strides", Ints(&[3, 3])), ("pads", Ints(&[2, 2, 2, 2]))])
        }),
        ("strides that differ", 11, [2, 13, 11], |m, x| conv(m, x, [4, 2, 3, 3], &[("strides", Ints(&[1, 2])), P1])),
        ("7x1 and 1x7", 11, [2, 13, 9], |m, x| {
            let y = conv(m, x, [3, 2, 7, 1], &[("pads", Ints(&[3, 0, 3, 0]))]);
            conv(m, &y, [2, 3, 1, 7], &[("pads", Ints(&[0, 3, 0, 3]))])
        }),
        ("dilation 2", 11, [3, 13, 9], |m, x| {
            conv(m, x, [4, 3, 3, 3], &[("dilations", Ints(&[2, 2])), ("pads", Ints(&[2, 2, 2, 2]))])
        }),
        ("groups", 11, [6, 7, 9], |m, x| conv(m, x, [9, 2, 3, 3], &[("group", Int(3)), P1])),
        ("depthwise", 11, [6, 7, 9], |m, x| conv(m, x, [6, 1, 3, 3], &[("group", Int(6)), P1])),
        ("depthwise with a multiplier", 11, [4, 7, 9], |m, x| conv(m, x, [12, 1, 5, 5], &[("group", Int(4)), S2])),
        ("pads that differ", 11, [3, 7, 9], |m, x| conv(m, x, [4, 3, 3, 3], &[("pads", Ints(&[0, 1, 2, 3])), S2])),
        ("same upper", 11, [3, 7, 10], |m, x| conv(m, x, [4, 3, 3, 3], &[("auto_pad", Text("SAME_UPPER")), S2])),
        ("same upper, even window", 11, [3, 7, 9], |m, x| {
            conv(m, x, [4, 3, 2, 4], &[("auto_pad", Text("SAME_UPPER"))])
        }),
        ("same lower", 11, [3, 7, 10], |m, x| conv(m, x, [4, 3, 3, 3], &[("auto_pad", Text("SAME_LOWER")), S2])),
        ("same lower, even window", 11, [3, 7, 9], |m, x| {
            conv(m, x, [4, 3, 2, 4], &[("auto_pad", Text("SAME_LOWER"))])
        }),
        ("valid", 11, [3, 7, 10], |m, x| conv(m, x, [4, 3, 3, 3], &[("auto_pad", Text("VALID")), S2])),
        ("without bias", 11, [3, 7, 9], |m, x| {
            let w = m.weights(&[4, 3, 3, 3], 27);
            m.node("Conv", &[x, &w], &[P1])
        }),
    ]);
}

fn transposed(m: &mut Model, x: &str, dims: [usize; 4], attrs: &[(&str, Attr)]) -> String {
    let w = m.weights(&dims, dims[0] * dims[2]);
    let b = m.random(&[dims[1]], -0.5, 0.5);
    m.node("ConvTranspose", &[x, &w, &b], attrs)
}

#[test]
fn transposed_convolutions() {
    check(&[
        ("k2 s2", 11, [3, 7, 9], |m, x| transposed(m, x, [3, 5, 2, 2], &[S2])),
        ("k2 s2 of one cell", 11, [3, 1, 1], |m, x| transposed(m, x, [3, 5, 2, 2], &[S2])),
        ("k3 s2 p1 with one more", 11, [3, 5, 4], |m, x| {
            transposed(m, x, [3, 4, 3, 3], &[S2, P1, ("output_padding", Ints(&[1, 1]))])
        }),
        ("k4 s2 p1", 11, [3, 5, 4], |m, x| transposed(m, x, [3, 4, 4, 4], &[S2, P1])),
        ("k3 s1 p1", 11, [3, 5, 4], |m, x| transposed(m, x, [3, 4, 3, 3], &[P1])),
        ("k2 s3: cells that nothing reaches", 11, [3, 5, 4], |m, x| {
            transposed(m, x, [3, 4, 2, 2], &[("strides", Ints(&[3, 3]))])
        }),
        ("dilation 2", 11, [3, 5, 4], |m, x| transposed(m, x, [3, 4, 3, 3], &[("dilations", Ints(&[2, 2])), S2])),
        ("sides that differ", 11, [3, 5, 4], |m, x| {
            transposed(m, x, [3, 4, 3, 5], &[("strides", Ints(&[2, 1])), ("pads", Ints(&[0, 1, 1, 2]))])
        }),
    ]);
}

fn batch_norm(m: &mut Model, x: &str, c: usize) -> String {
    let [gamma, beta, mean] = [0; 3].map(|_| m.random(&[c], -1.0, 1.0));
    let var = m.random(&[c], 0.5, 2.0);
    m.node("BatchNormalization", &[x, &gamma, &beta, &mean, &var], &[("epsilon", Float(1e-3))])
}

#[test]
fn batch_normalisation() {
    check(&[
        ("after a convolution", 13, [3, 7, 9], |m, x| {
            let y = conv(m, x, [4, 3, 3, 3], &[P1]);
            batch_norm(m, &y, 4)
        }),
        ("alone", 11, [3, 7, 9], |m, x| batch_norm(m, x, 3)),
        ("before a convolution with border", 11, [3, 7, 9], |m, x| {
            let y = batch_norm(m, x, 3);
            conv(m, &y, [4, 3, 3, 3], &[P1])
        }),
        ("after a transposed convolution that is read twice", 11, [3, 7, 9], |m, x| {
            let y = transposed(m, x, [3, 5, 2, 2], &[S2]);
            let z = batch_norm(m, &y, 5);
            m.node("Add", &[&y, &z], &[])
        }),
    ]);
}

#[test]
fn activations() {
    check(&[
        ("relu", 13, [3, 7, 9], |m, x| m.node("Relu", &[x], &[])),
        ("leaky", 13, [3, 7, 9], |m, x| m.node("LeakyRelu", &[x], &[("alpha", Float(0.1))])),
        ("leaky by default", 13, [3, 7, 9], |m, x| m.node("LeakyRelu", &[x], &[])),
        ("sigmoid", 13, [3, 7, 9], |m, x| m.node("Sigmoid", &[x], &[])),
        ("tanh", 13, [3, 7, 9], |m, x| m.node("Tanh", &[x], &[])),
        ("hard swish", 14, [3, 7, 9], |m, x| m.node("HardSwish", &[x], &[])),
        ("hard sigmoid", 13, [3, 7, 9], |m, x| m.node("HardSigmoid", &[x], &[])),
        ("hard sigmoid of a sixth", 13, [3, 7, 9], |m, x| m.node("HardSigmoid", &[x], &[("alpha", Float(1.0 / 6.0))])),
        ("clip with attributes", 6, [3, 7, 9], |m, x| {
            m.node("Clip", &[x], &[("min", Float(0.0)), ("max", Float(1.5))])
        }),
        ("clip with one attribute", 6, [3, 7, 9], |m, x| m.node("Clip", &[x], &[("max", Float(0.5))])),
        ("clip with inputs", 13, [3, 7, 9], |m, x| {
            let (low, high) = (m.floats(&[], &[-0.5]), m.floats(&[], &[1.0]));
            m.node("Clip", &[x, &low, &high], &[])
        }),
        ("clip with a maximum only", 13, [3, 7, 9], |m, x| {
            let high = m.floats(&[], &[1.0]);
            m.node("Clip", &[x, "", &high], &[])
        }),
        ("prelu a channel", 13, [3, 7, 9], |m, x| {
            let slope = m.random(&[3, 1, 1], -0.5, 0.5);
            m.node("PRelu", &[x, &slope], &[])
        }),
        ("prelu of one slope after a convolution", 13, [3, 7, 9], |m, x| {
            let y = conv(m, x, [4, 3, 3, 3], &[P1]);
            let slope = m.floats(&[1], &[0.25]);
            m.node("PRelu", &[&y, &slope], &[])
        }),
        ("silu as two nodes", 13, [3, 7, 9], |m, x| {
            let y = conv(m, x, [4, 3, 3, 3], &[P1]);
            let gate = m.node("Sigmoid", &[&y], &[]);
            m.node("Mul", &[&y, &gate], &[])
        }),
        ("hard swish as two nodes", 13, [3, 7, 9], |m, x| {
            let y = conv(m, x, [4, 3, 3, 3], &[P1]);
            let gate = m.node("HardSigmoid", &[&y], &[("alpha", Float(1.0 / 6.0))]);
            m.node("Mul", &[&gate, &y], &[])
        }),
        ("hard swish as four nodes", 13, [3, 7, 9], |m, x| {
            let y = conv(m, x, [4, 3, 3, 3], &[P1]);
            let (three, zero, six) = (m.floats(&[], &[3.0]), m.floats(&[], &[0.0]), m.floats(&[], &[6.0]));
            let z = m.node("Add", &[&y, &three], &[]);
            let z = m.node("Clip", &[&z, &zero, &six], &[]);
            let z = m.node("Mul", &[&y, &z], &[]);
            m.node("Div", &[&z, &six], &[])
        }),
        ("two activations", 13, [3, 7, 9], |m, x| {
            let y = conv(m, x, [4, 3, 3, 3], &[P1]);
            let y = m.node("Relu", &[&y], &[]);
            m.node("Sigmoid", &[&y], &[])
        }),
        ("on a layout that is no map", 13, [4, 7, 9], |m, x| {
            let y = m.node("Transpose", &[x], &[("perm", Ints(&[0, 2, 3, 1]))]);
            m.node("Sigmoid", &[&y], &[])
        }),
        ("on a part of a map", 13, [4, 7, 9], |m, x| {
            let y = slice(m, x, &[1], &[3], &[1], &[1]);
            m.node("Sigmoid", &[&y], &[])
        }),
    ]);
}

/// An input and a constant of this shape.
fn with_constant(m: &mut Model, op: &str, x: &str, dims: &[usize]) -> String {
    let c = m.random(dims, 0.5, 1.5);
    m.node(op, &[x, &c], &[])
}

/// One cell a channel, between 0 and 1.
fn gate(m: &mut Model, x: &str, c: usize) -> String {
    let y = m.node("GlobalAveragePool", &[x], &[]);
    let y = conv(m, &y, [c, c, 1, 1], &[]);
    m.node("Sigmoid", &[&y], &[])
}

#[test]
fn arithmetic() {
    check(&[
        ("map + map, a residual", 13, [4, 7, 9], |m, x| {
            let y = conv(m, x, [4, 4, 3, 3], &[P1]);
            let y = m.node("Add", &[&y, x], &[]);
            m.node("Relu", &[&y], &[])
        }),
        ("residual after the activation", 13, [4, 7, 9], |m, x| {
            let y = conv(m, x, [4, 4, 3, 3], &[P1]);
            let y = m.node("Relu", &[&y], &[]);
            m.node("Add", &[x, &y], &[])
        }),
        ("sum of two convolutions", 13, [4, 7, 9], |m, x| {
            let y = conv(m, x, [4, 4, 3, 3], &[P1]);
            let z = conv(m, x, [4, 4, 1, 1], &[]);
            let y = m.node("Add", &[&y, &z], &[]);
            m.node("Relu", &[&y], &[])
        }),
        ("a sum that is read twice", 13, [4, 7, 9], |m, x| {
            let y = conv(m, x, [4, 4, 3, 3], &[P1]);
            let y = m.node("Add", &[&y, x], &[]);
            let z = m.node("Relu", &[&y], &[]);
            m.node("Mul", &[&y, &z], &[])
        }),
        ("a map and itself", 13, [4, 7, 9], |m, x| {
            let y = conv(m, x, [4, 4, 3, 3], &[P1]);
            m.node("Add", &[&y, &y], &[])
        }),
        ("map - map", 13, [4, 7, 9], |m, x| {
            let y = m.node("Tanh", &[x], &[]);
            m.node("Sub", &[x, &y], &[])
        }),
        ("map * map", 13, [4, 7, 9], |m, x| {
            let y = m.node("Tanh", &[x], &[]);
            m.node("Mul", &[x, &y], &[])
        }),
        ("map / map", 13, [4, 7, 9], |m, x| {
            let y = m.node("Sigmoid", &[x], &[]);
            m.node("Div", &[x, &y], &[])
        }),
        ("+ scalar", 13, [4, 7, 9], |m, x| with_constant(m, "Add", x, &[])),
        ("- scalar", 13, [4, 7, 9], |m, x| with_constant(m, "Sub", x, &[1])),
        ("* scalar", 13, [4, 7, 9], |m, x| with_constant(m, "Mul", x, &[1, 1, 1, 1])),
        ("/ scalar", 13, [4, 7, 9], |m, x| with_constant(m, "Div", x, &[])),
        ("+ [1,c,1,1]", 13, [4, 7, 9], |m, x| with_constant(m, "Add", x, &[1, 4, 1, 1])),
        ("- [1,c,1,1]", 13, [4, 7, 9], |m, x| with_constant(m, "Sub", x, &[1, 4, 1, 1])),
        ("* [c,1,1]", 13, [4, 7, 9], |m, x| with_constant(m, "Mul", x, &[4, 1, 1])),
        ("/ [c,1,1]", 13, [4, 7, 9], |m, x| with_constant(m, "Div", x, &[4, 1, 1])),
        ("scalar first", 13, [4, 7, 9], |m, x| {
            let one = m.floats(&[], &[1.0]);
            m.node("Sub", &[&one, x], &[])
        }),
        ("[1,c,1,1] first", 13, [4, 7, 9], |m, x| {
            let c = m.random(&[1, 4, 1, 1], 0.5, 1.5);
            let y = m.node("Mul", &[&c, x], &[]);
            m.node("Add", &[&c, &y], &[])
        }),
        ("[c] shaped by Unsqueeze", 11, [4, 7, 9], |m, x| {
            let c = m.random(&[4], 0.5, 1.5);
            let c = m.node("Unsqueeze", &[&c], &[("axes", Ints(&[1, 2]))]);
            m.node("Mul", &[x, &c], &[])
        }),
        ("map * cell", 13, [4, 7, 9], |m, x| {
            let g = gate(m, x, 4);
            m.node("Mul", &[x, &g], &[])
        }),
        ("cell * map", 13, [4, 7, 9], |m, x| {
            let g = gate(m, x, 4);
            m.node("Mul", &[&g, x], &[])
        }),
        ("cell + map", 13, [4, 7, 9], |m, x| {
            let g = gate(m, x, 4);
            let y = conv(m, x, [4, 4, 1, 1], &[]);
            m.node("Add", &[&g, &y], &[])
        }),
        ("map - cell", 13, [4, 7, 9], |m, x| {
            let g = gate(m, x, 4);
            m.node("Sub", &[x, &g], &[])
        }),
        ("scale and shift after a convolution", 13, [4, 7, 9], |m, x| {
            let y = conv(m, x, [3, 4, 3, 3], &[P1]);
            let y = with_constant(m, "Mul", &y, &[1, 3, 1, 1]);
            with_constant(m, "Add", &y, &[1, 3, 1, 1])
        }),
    ]);
}

#[test]
fn concatenations() {
    check(&[
        ("three maps", 13, [4, 7, 9], |m, x| {
            let y = conv(m, x, [3, 4, 3, 3], &[P1]);
            m.node("Concat", &[&y, x, &y], &[("axis", Int(1))])
        }),
        ("a negative axis", 13, [4, 7, 9], |m, x| m.node("Concat", &[x, x], &[("axis", Int(-3))])),
        ("one map", 13, [4, 7, 9], |m, x| {
            let y = m.node("Concat", &[x], &[("axis", Int(1))]);
            m.node("Relu", &[&y], &[])
        }),
        ("heads of two sizes", 13, [4, 8, 6], |m, x| {
            let z = conv(m, x, [4, 4, 3, 3], &[P1, S2]);
            let rows: Vec<String> = [x, &z].iter().map(|v| cells(m, v)).collect();
            let y = m.node("Concat", &[&rows[0], &rows[1]], &[("axis", Int(1))]);
            m.node("Sigmoid", &[&y], &[])
        }),
        ("heads along the last axis, then turned", 13, [4, 8, 6], |m, x| {
            let z = conv(m, x, [4, 4, 3, 3], &[P1, S2]);
            let flat: Vec<String> = [x, &z].iter().map(|v| reshape(m, v, &[1, 4, -1])).collect();
            let y = m.node("Concat", &[&flat[0], &flat[1]], &[("axis", Int(2))]);
            m.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 1]))])
        }),
    ]);
}

/// `[1, cells, channels]`.
fn cells(m: &mut Model, x: &str) -> String {
    let y = m.node("Transpose", &[x], &[("perm", Ints(&[0, 2, 3, 1]))]);
    reshape(m, &y, &[1, -1, 4])
}

fn reshape(m: &mut Model, x: &str, shape: &[i64]) -> String {
    let shape = m.ints(shape);
    m.node("Reshape", &[x, &shape], &[])
}

/// Along axis 1 with these sizes (none: equal), as attribute up to opset 12.
fn split(m: &mut Model, x: &str, sizes: &[i64], n: usize) -> String {
    let axis = ("axis", Int(1));
    let opset = m.model.opset_import[0].version;
    let parts = match sizes {
        [] if opset >= 18 => m.nodes("Split", &[x], &[axis, ("num_outputs", Int(n as i64))], n),
        [] => m.nodes("Split", &[x], &[axis], n),
        _ if opset < 13 => m.nodes("Split", &[x], &[axis, ("split", Ints(sizes))], n),
        _ => {
            let sizes = m.ints(sizes);
            m.nodes("Split", &[x, &sizes], &[axis], n)
        }
    };
    for part in &parts[1..] {
        let y = m.node("Relu", &[part], &[]);
        m.output(&y);
    }
    m.node("Sigmoid", &[&parts[0]], &[])
}

fn slice(m: &mut Model, x: &str, from: &[i64], to: &[i64], axes: &[i64], steps: &[i64]) -> String {
    let lists = [from, to, axes, steps].map(|v| m.ints(v));
    m.node("Slice", &[x, &lists[0], &lists[1], &lists[2], &lists[3]], &[])
}

#[test]
fn parts() {
    check(&[
        ("split in equal parts", 11, [6, 7, 9], |m, x| split(m, x, &[], 3)),
        ("split by attribute", 11, [6, 7, 9], |m, x| split(m, x, &[1, 3, 2], 3)),
        ("split by input", 13, [6, 7, 9], |m, x| split(m, x, &[1, 3, 2], 3)),
        ("split in equal parts, opset 13", 13, [6, 7, 9], |m, x| split(m, x, &[], 2)),
        ("split by number, the last is smaller", 18, [7, 7, 9], |m, x| split(m, x, &[], 3)),
        ("split along rows", 13, [2, 6, 5], |m, x| {
            let y = m.nodes("Split", &[x], &[("axis", Int(2))], 2);
            m.node("Sub", &[&y[0], &y[1]], &[])
        }),
        ("slice by attribute", 9, [6, 7, 9], |m, x| {
            m.node("Slice", &[x], &[("starts", Ints(&[1, 2])), ("ends", Ints(&[5, 99])), ("axes", Ints(&[1, 2]))])
        }),
        ("slice of channels", 13, [6, 7, 9], |m, x| {
            let y = slice(m, x, &[2], &[5], &[1], &[1]);
            conv(m, &y, [2, 3, 3, 3], &[P1])
        }),
        ("slice of rows from the end", 13, [3, 7, 9], |m, x| slice(m, x, &[-3], &[i64::MAX], &[2], &[1])),
        ("slice up to before the end", 13, [3, 7, 9], |m, x| slice(m, x, &[0], &[-2], &[-1], &[1])),
        ("every second column", 13, [3, 7, 9], |m, x| slice(m, x, &[1], &[9], &[3], &[2])),
        ("every second channel", 13, [7, 3, 5], |m, x| slice(m, x, &[1], &[7], &[1], &[2])),
        ("slice without axes", 13, [3, 7, 9], |m, x| {
            let (from, to) = (m.ints(&[0, 1, 2]), m.ints(&[1, 3, 5]));
            m.node("Slice", &[x, &from, &to], &[])
        }),
        ("a step beyond the end", 13, [3, 7, 9], |m, x| slice(m, x, &[1], &[9], &[1], &[i64::MAX])),
        ("space to depth by four slices", 13, [3, 8, 10], |m, x| {
            let corners = [[0, 0], [1, 0], [0, 1], [1, 1]].map(|at| slice(m, x, &at, &[99, 99], &[2, 3], &[2, 2]));
            let y = m.node("Concat", &corners.each_ref().map(String::as_str), &[("axis", Int(1))]);
            conv(m, &y, [4, 12, 3, 3], &[P1])
        }),
        ("space to depth", 13, [3, 8, 10], |m, x| m.node("SpaceToDepth", &[x], &[("blocksize", Int(2))])),
        ("one of a dimension", 13, [6, 4, 5], |m, x| {
            let y = reshape(m, x, &[2, 3, 4, 5]);
            let i = m.int_tensor(&[], &[-1]);
            let y = m.node("Gather", &[&y, &i], &[("axis", Int(0))]);
            reshape(m, &y, &[1, 3, 4, 5])
        }),
        ("one of a dimension that stays", 13, [6, 4, 5], |m, x| {
            let i = m.ints(&[2]);
            m.node("Gather", &[x, &i], &[("axis", Int(1))])
        }),
    ]);
}

#[test]
fn pools() {
    check(&[
        ("max 2x2", 11, [3, 7, 9], |m, x| m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[2, 2])), S2])),
        ("max with border", 11, [3, 7, 9], |m, x| m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[3, 3])), S2, P1])),
        ("max, rounded up", 11, [3, 7, 10], |m, x| {
            m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[2, 2])), S2, ("ceil_mode", Int(1))])
        }),
        ("max with border, rounded up", 11, [3, 7, 10], |m, x| {
            m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[3, 3])), S2, P1, ("ceil_mode", Int(1))])
        }),
        ("max, rounded up, stride beyond the window", 11, [3, 7, 10], |m, x| {
            let strides = ("strides", Ints(&[3, 4]));
            m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[2, 2])), strides, P1, ("ceil_mode", Int(1))])
        }),
        ("max of a wide window", 11, [3, 7, 10], |m, x| m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[3, 5]))])),
        ("max with dilation", 11, [3, 9, 10], |m, x| {
            m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[3, 3])), ("dilations", Ints(&[2, 2]))])
        }),
        ("max, same upper", 11, [3, 7, 10], |m, x| {
            m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[3, 3])), S2, ("auto_pad", Text("SAME_UPPER"))])
        }),
        ("pyramid of 5, 9, 13", 11, [3, 13, 5], |m, x| {
            let pools = [5, 9, 13].map(|k| {
                let pads = [k / 2; 4];
                m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[k, k])), ("pads", Ints(&pads))])
            });
            m.node("Concat", &[x, &pools[0], &pools[1], &pools[2]], &[("axis", Int(1))])
        }),
        ("pyramid as a chain", 11, [3, 7, 9], |m, x| {
            let mut all = vec![x.to_owned()];
            for _ in 0..3 {
                let last = all.last().unwrap().clone();
                let pads = ("pads", Ints(&[2; 4]));
                all.push(m.node("MaxPool", &[&last], &[("kernel_shape", Ints(&[5, 5])), pads]));
            }
            m.node("Concat", &all.iter().map(String::as_str).collect::<Vec<_>>(), &[("axis", Int(1))])
        }),
        ("average", 11, [3, 7, 9], |m, x| m.node("AveragePool", &[x], &[("kernel_shape", Ints(&[2, 3]))])),
        ("average with border", 11, [3, 7, 9], |m, x| {
            m.node("AveragePool", &[x], &[("kernel_shape", Ints(&[3, 3])), P1, S2])
        }),
        ("average that counts its border", 11, [3, 7, 9], |m, x| {
            m.node("AveragePool", &[x], &[("kernel_shape", Ints(&[3, 3])), P1, ("count_include_pad", Int(1))])
        }),
        ("global average", 11, [3, 7, 9], |m, x| m.node("GlobalAveragePool", &[x], &[])),
        ("global average of one cell", 11, [3, 1, 1], |m, x| m.node("GlobalAveragePool", &[x], &[])),
        ("mean over rows and columns", 11, [3, 7, 9], |m, x| m.node("ReduceMean", &[x], &[("axes", Ints(&[2, 3]))])),
        ("mean, flat", 11, [3, 7, 9], |m, x| {
            m.node("ReduceMean", &[x], &[("axes", Ints(&[-1, -2])), ("keepdims", Int(0))])
        }),
        ("mean, axes as input", 18, [3, 7, 9], |m, x| {
            let axes = m.ints(&[2, 3]);
            m.node("ReduceMean", &[x, &axes], &[])
        }),
    ]);
}

/// By scales down and across.
fn scaled(m: &mut Model, x: &str, by: [f32; 2], mode: &str, coordinates: &str, nearest: &str) -> String {
    let scales = m.floats(&[4], &[1.0, 1.0, by[0], by[1]]);
    let how = [("mode", mode), ("coordinate_transformation_mode", coordinates), ("nearest_mode", nearest)];
    m.node("Resize", &[x, "", &scales], &how.map(|(name, value)| (name, Text(value))))
}

fn sized(m: &mut Model, x: &str, to: [i64; 4], mode: &str, coordinates: &str, nearest: &str) -> String {
    let sizes = m.ints(&to);
    let how = [("mode", mode), ("coordinate_transformation_mode", coordinates), ("nearest_mode", nearest)];
    m.node("Resize", &[x, "", "", &sizes], &how.map(|(name, value)| (name, Text(value))))
}

#[test]
fn resizing() {
    check(&[
        ("x2 floor", 13, [3, 7, 9], |m, x| scaled(m, x, [2.0; 2], "nearest", "asymmetric", "floor")),
        ("x3 floor", 13, [3, 7, 5], |m, x| scaled(m, x, [3.0; 2], "nearest", "asymmetric", "floor")),
        ("x0.5 floor", 13, [3, 8, 6], |m, x| scaled(m, x, [0.5; 2], "nearest", "asymmetric", "floor")),
        ("x2 half pixel", 13, [3, 7, 9], |m, x| scaled(m, x, [2.0; 2], "nearest", "half_pixel", "round_prefer_floor")),
        ("x3 half pixel", 13, [3, 7, 9], |m, x| scaled(m, x, [3.0; 2], "nearest", "half_pixel", "round_prefer_floor")),
        ("x0.5 half pixel", 13, [3, 8, 6], |m, x| {
            scaled(m, x, [0.5; 2], "nearest", "half_pixel", "round_prefer_floor")
        }),
        ("x0.5 ceil", 13, [3, 8, 6], |m, x| scaled(m, x, [0.5; 2], "nearest", "half_pixel", "round_prefer_ceil")),
        ("x1.5 ceil", 13, [3, 8, 6], |m, x| scaled(m, x, [1.5; 2], "nearest", "asymmetric", "ceil")),
        ("x2 by x1", 13, [3, 7, 9], |m, x| scaled(m, x, [2.0, 1.0], "nearest", "asymmetric", "floor")),
        ("of one cell", 13, [3, 1, 1], |m, x| scaled(m, x, [4.0, 5.0], "nearest", "asymmetric", "floor")),
        ("corners, nearest", 13, [3, 7, 9], |m, x| {
            sized(m, x, [1, 3, 13, 17], "nearest", "align_corners", "round_prefer_floor")
        }),
        ("to a size", 13, [3, 7, 9], |m, x| sized(m, x, [1, 3, 14, 18], "nearest", "asymmetric", "floor")),
        ("to any size", 13, [3, 7, 9], |m, x| sized(m, x, [1, 3, 10, 4], "nearest", "asymmetric", "floor")),
        ("to any size, half pixel", 13, [3, 7, 9], |m, x| {
            sized(m, x, [1, 3, 10, 4], "nearest", "half_pixel", "round_prefer_floor")
        }),
        ("linear x2", 13, [3, 7, 9], |m, x| scaled(m, x, [2.0; 2], "linear", "half_pixel", "floor")),
        ("linear x2 corners", 13, [3, 7, 9], |m, x| scaled(m, x, [2.0; 2], "linear", "align_corners", "floor")),
        ("linear x2 asymmetric", 13, [3, 7, 9], |m, x| scaled(m, x, [2.0; 2], "linear", "asymmetric", "floor")),
        ("linear x0.5", 13, [3, 8, 6], |m, x| scaled(m, x, [0.5; 2], "linear", "half_pixel", "floor")),
        ("linear as PyTorch", 13, [3, 7, 9], |m, x| scaled(m, x, [2.0; 2], "linear", "pytorch_half_pixel", "floor")),
        ("linear to any size", 13, [3, 7, 9], |m, x| sized(m, x, [1, 3, 10, 4], "linear", "half_pixel", "floor")),
        ("linear to any size, corners", 13, [3, 7, 9], |m, x| {
            sized(m, x, [1, 3, 10, 4], "linear", "align_corners", "floor")
        }),
        ("linear of one cell", 13, [3, 1, 1], |m, x| sized(m, x, [1, 3, 5, 4], "linear", "half_pixel", "floor")),
        ("defaults", 13, [3, 7, 9], |m, x| {
            let scales = m.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
            m.node("Resize", &[x, "", &scales], &[])
        }),
        ("opset 10", 10, [3, 7, 9], |m, x| old(m, "Resize", x, [2.0; 2], "nearest")),
        ("opset 10, x0.5", 10, [3, 8, 6], |m, x| old(m, "Resize", x, [0.5; 2], "nearest")),
        ("opset 10, x0.75", 10, [3, 8, 12], |m, x| old(m, "Resize", x, [0.75; 2], "nearest")),
        ("opset 10, linear", 10, [3, 8, 6], |m, x| old(m, "Resize", x, [2.0; 2], "linear")),
        ("upsample", 9, [3, 7, 9], |m, x| old(m, "Upsample", x, [2.0; 2], "nearest")),
        ("upsample, linear", 9, [3, 7, 9], |m, x| old(m, "Upsample", x, [2.0, 3.0], "linear")),
        ("upsample, opset 7", 7, [3, 7, 9], |m, x| {
            m.node("Upsample", &[x], &[("scales", Floats(&[1.0, 1.0, 2.0, 2.0]))])
        }),
    ]);
}

fn old(m: &mut Model, op: &str, x: &str, by: [f32; 2], mode: &str) -> String {
    let scales = m.floats(&[4], &[1.0, 1.0, by[0], by[1]]);
    m.node(op, &[x, &scales], &[("mode", Text(mode))])
}

#[test]
fn borders() {
    check(&[
        ("zeros before a convolution", 13, [3, 7, 9], |m, x| {
            let pads = m.ints(&[0, 0, 1, 2, 0, 0, 3, 0]);
            let y = m.node("Pad", &[x, &pads], &[]);
            conv(m, &y, [4, 3, 3, 3], &[P1, S2])
        }),
        ("a number", 13, [3, 7, 9], |m, x| {
            let (pads, value) = (m.ints(&[0, 0, 1, 2, 0, 0, 3, 0]), m.floats(&[], &[-1.5]));
            let y = m.node("Pad", &[x, &pads, &value], &[]);
            conv(m, &y, [4, 3, 3, 3], &[])
        }),
        ("nothing", 13, [3, 7, 9], |m, x| {
            let pads = m.ints(&[0; 8]);
            m.node("Pad", &[x, &pads], &[])
        }),
        ("by attribute", 10, [3, 7, 9], |m, x| {
            m.node("Pad", &[x], &[("pads", Ints(&[0, 0, 1, 0, 0, 0, 0, 2])), ("value", Float(0.5))])
        }),
        ("zeros before a pool", 13, [3, 7, 9], |m, x| {
            let pads = m.ints(&[0, 0, 1, 1, 0, 0, 1, 1]);
            // ONNX Runtime 1.x takes the zeros for the pool's own padding, which is right for such maps only.
            let y = m.node("Relu", &[x], &[]);
            let y = m.node("Pad", &[&y, &pads], &[]);
            m.node("MaxPool", &[&y], &[("kernel_shape", Ints(&[3, 3])), S2])
        }),
        ("axes", 18, [3, 7, 9], |m, x| {
            let (pads, axes) = (m.ints(&[2, 1, 0, 3]), m.ints(&[-1, 2]));
            m.node("Pad", &[x, &pads, "", &axes], &[])
        }),
    ]);
}

#[test]
fn layouts() {
    check(&[
        ("channel shuffle", 13, [6, 7, 9], |m, x| {
            let y = reshape(m, x, &[1, 2, 3, 7, 9]);
            let y = m.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 1, 3, 4]))]);
            let y = reshape(m, &y, &[1, -1, 7, 9]);
            conv(m, &y, [6, 1, 3, 3], &[("group", Int(6)), P1])
        }),
        ("shape by attribute", 1, [6, 7, 9], |m, x| m.node("Reshape", &[x], &[("shape", Ints(&[1, 6, 63]))])),
        ("shape with a copied dimension", 13, [6, 7, 9], |m, x| reshape(m, x, &[0, 0, -1])),
        ("transpose by default", 13, [2, 3, 5], |m, x| m.node("Transpose", &[x], &[])),
        ("squeeze by attribute", 11, [6, 1, 1], |m, x| m.node("Squeeze", &[x], &[("axes", Ints(&[-1, 2]))])),
        ("squeeze by input", 13, [6, 1, 1], |m, x| {
            let axes = m.ints(&[3, 2]);
            m.node("Squeeze", &[x, &axes], &[])
        }),
        ("squeeze of all", 13, [1, 1, 1], |m, x| {
            let axes = m.ints(&[0, 1, 2, 3]);
            m.node("Squeeze", &[x, &axes], &[])
        }),
        ("unsqueeze", 13, [6, 2, 3], |m, x| {
            let axes = m.ints(&[-1, 0]);
            m.node("Unsqueeze", &[x, &axes], &[])
        }),
        ("identity and dropout", 13, [6, 2, 3], |m, x| {
            let y = m.node("Identity", &[x], &[]);
            m.node("Dropout", &[&y], &[])
        }),
        ("softmax over channels, last axis", 13, [6, 7, 9], |m, x| {
            let y = m.node("Transpose", &[x], &[("perm", Ints(&[0, 2, 3, 1]))]);
            m.node("Softmax", &[&y], &[("axis", Int(-1))])
        }),
        ("softmax over channels of a map", 13, [6, 7, 9], |m, x| m.node("Softmax", &[x], &[("axis", Int(1))])),
        ("softmax of pairs", 11, [6, 7, 9], |m, x| {
            let y = m.node("Transpose", &[x], &[("perm", Ints(&[0, 2, 3, 1]))]);
            let y = reshape(m, &y, &[1, -1, 2]);
            m.node("Softmax", &[&y], &[("axis", Int(2))])
        }),
        ("shape arithmetic", 13, [6, 7, 9], |m, x| {
            let shape = m.node("Shape", &[x], &[]);
            let zero = m.int_tensor(&[], &[0]);
            let n = m.node("Gather", &[&shape, &zero], &[("axis", Int(0))]);
            let axes = m.ints(&[0]);
            let n = m.node("Unsqueeze", &[&n, &axes], &[]);
            let rest = m.ints(&[2, 3]);
            let (from, to) = (m.ints(&[2]), m.ints(&[4]));
            let sides = m.node("Slice", &[&shape, &from, &to], &[]);
            let wanted = m.node("Concat", &[&n, &rest, &sides], &[("axis", Int(0))]);
            m.node("Reshape", &[x, &wanted], &[])
        }),
        ("sizes from a shape", 13, [3, 7, 9], |m, x| {
            let shape = m.node("Shape", &[x], &[]);
            let (two, to_float, to_int) = (m.floats(&[], &[2.0]), [("to", Int(1))], [("to", Int(7))]);
            let y = m.node("Cast", &[&shape], &to_float);
            let y = m.node("Mul", &[&y, &two], &[]);
            let y = m.node("Floor", &[&y], &[]);
            let y = m.node("Cast", &[&y], &to_int);
            let (from, to, all) = (m.ints(&[2]), m.ints(&[9]), m.ints(&[1, 3]));
            let y = m.node("Slice", &[&y, &from, &to], &[]);
            let sizes = m.node("Concat", &[&all, &y], &[("axis", Int(0))]);
            m.node("Resize", &[x, "", "", &sizes], &[("mode", Text("nearest"))])
        }),
        ("part of a shape", 15, [3, 7, 9], |m, x| {
            let sides = m.node("Shape", &[x], &[("start", Int(-2)), ("end", Int(9))]);
            let n = m.ints(&[3, 1]);
            let wanted = m.node("Concat", &[&n, &sides], &[("axis", Int(0))]);
            m.node("Reshape", &[x, &wanted], &[])
        }),
    ]);
}

fn gemm(m: &mut Model, x: &str, dims: [usize; 2], attrs: &[(&str, Attr)]) -> String {
    let (w, b) = (m.random(&dims, -0.3, 0.3), m.random(&[5], -0.5, 0.5));
    m.node("Gemm", &[x, &w, &b], attrs)
}

#[test]
fn fully_connected() {
    check(&[
        ("after the mean", 13, [4, 7, 9], |m, x| {
            let y = m.node("GlobalAveragePool", &[x], &[]);
            let y = m.node("Flatten", &[&y], &[]);
            gemm(m, &y, [5, 4], &[("transB", Int(1))])
        }),
        ("of a whole map, with factors", 13, [4, 3, 5], |m, x| {
            let y = m.node("Flatten", &[x], &[("axis", Int(1))]);
            gemm(m, &y, [60, 5], &[("alpha", Float(0.5)), ("beta", Float(2.0))])
        }),
        ("two layers and a softmax", 13, [4, 3, 5], |m, x| {
            let y = reshape(m, x, &[1, -1]);
            let y = gemm(m, &y, [60, 5], &[]);
            let y = m.node("Relu", &[&y], &[]);
            let y = gemm(m, &y, [5, 5], &[("transB", Int(1))]);
            m.node("Softmax", &[&y], &[("axis", Int(-1))])
        }),
    ]);
}
