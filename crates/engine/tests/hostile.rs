//! Broken and hostile model files: refused with a reason, or read; never a
//! panic, and never more time or memory than the file is worth.

use engine::import::onnx;
use engine::import::{ImportError, import};
use engine::passes;
mod common;

use common::model::{
    Attr::{self, Float, Floats, Int, Ints, Text},
    ModelBuilder as Model,
};
use common::zoo;
use prost::Message as _;
use std::time::{Duration, Instant};

const STREET: &[u8] = include_bytes!("../../../models/street-nano.onnx");

/// Far above what is needed: for slow machines.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads, and runs the passes on what could be read.
#[track_caller]
fn read(file: &[u8], h: usize, w: usize) -> Result<(), ImportError> {
    let start = Instant::now();
    let result = import(file, h, w).map(|mut graph| {
        passes::optimise(&mut graph).expect("what was imported stays in order");
    });
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
    result
}

/// A model on a map of 7 rows, 9 columns, 4 channels, and a part of the reason why it is refused.
type Case = (&'static str, &'static str, Build);

/// Adds to the value named; the name of what comes out.
type Build = fn(&mut Model, &str) -> String;

fn check(cases: &[Case]) {
    for (name, reason, build) in cases {
        let mut model = Model::new(13);
        let picture = model.input(4, 7, 9);
        let last = build(&mut model, &picture);
        model.output(&last);
        let file = model.build();
        let message = match std::panic::catch_unwind(|| read(&file, 7, 9)) {
            Ok(Err(e)) => e.to_string(),
            Ok(Ok(())) => panic!("{name}: was read"),
            Err(_) => panic!("{name}: panicked"),
        };
        assert!(message.contains(reason), "{name}: '{message}' does not say '{reason}'");
    }
}

fn conv(m: &mut Model, x: &str, attrs: &[(&str, Attr)]) -> String {
    let w = m.weights(&[4, 4, 3, 3], 36);
    m.node("Conv", &[x, &w], attrs)
}

/// A tensor as it stands, with data that may not fit.
fn tensor(m: &mut Model, dims: &[i64], data_type: i32, floats: &[f32]) -> String {
    let tensor = onnx::TensorProto {
        name: "weights".into(),
        dims: dims.to_vec(),
        data_type,
        float_data: floats.to_vec(),
        ..Default::default()
    };
    m.graph().initializer.push(tensor);
    "weights".into()
}

#[test]
fn wiring() {
    check(&[
        ("a cycle", "'second' is not defined before it is read", |m, x| {
            let y = m.node("Add", &[x, "second"], &[]);
            let z = m.node("Relu", &[&y], &[]);
            m.graph().node[1].output[0] = "second".into();
            z.replace(&z, "second")
        }),
        ("a node that reads itself", "not defined", |m, x| {
            let y = m.node("Add", &[x, "self"], &[]);
            m.graph().node[0].output[0] = "self".into();
            y.replace(&y, "self")
        }),
        ("an undefined name", "'nobody' is not defined", |m, _| m.node("Relu", &["nobody"], &[])),
        ("an output that nobody makes", "output 'nobody'", |m, x| {
            m.node("Relu", &[x], &[]);
            "nobody".into()
        }),
        ("an output that is a constant", "does not come from the picture", |m, _| m.floats(&[1], &[1.0])),
        ("an output twice", "'Relu_1_out' is declared twice", |m, x| {
            let y = m.node("Relu", &[x], &[]);
            m.output(&y);
            y
        }),
        ("a name that is written twice", "written twice", |m, x| {
            let y = m.node("Relu", &[x], &[]);
            m.node("Relu", &[x], &[]);
            m.graph().node[1].output[0].clone_from(&y);
            y
        }),
        ("weights that are declared twice", "'floats_1' is declared twice", |m, x| {
            m.floats(&[1], &[1.0]);
            let again = m.graph().initializer[0].clone();
            m.graph().initializer.push(again);
            m.node("Relu", &[x], &[])
        }),
        ("two pictures", "2 inputs", |m, x| {
            let again = onnx::ValueInfo { name: "other".into(), ..m.graph().input[0].clone() };
            m.graph().input.push(again);
            m.node("Add", &[x, "other"], &[])
        }),
        ("no picture", "0 inputs", |m, x| {
            m.graph().input.clear();
            m.node("Relu", &[x], &[])
        }),
        ("no inputs", "input 0 is missing", |m, _| m.node("Relu", &[], &[])),
        ("a node without outputs", "no output", |m, x| {
            m.nodes("Relu", &[x], &[], 0);
            x.into()
        }),
        ("an unnamed output", "no output", |m, x| {
            let y = m.node("Relu", &[x], &[]);
            m.graph().node[0].output[0].clear();
            y
        }),
        ("too many outputs", "2 outputs", |m, x| m.nodes("Relu", &[x], &[], 2).remove(1)),
        ("an operation in the middle", "'Erf_2' (Erf): not supported", |m, x| {
            let y = m.node("Relu", &[x], &[]);
            let y = m.node("Erf", &[&y], &[]);
            m.node("Relu", &[&y], &[])
        }),
        ("an operation of somebody else", "domain 'com.acme'", |m, x| {
            let y = m.node("Relu", &[x], &[]);
            m.graph().node[0].domain = "com.acme".into();
            y
        }),
    ]);
}

#[test]
fn weights() {
    check(&[
        ("missing", "'nobody' is not defined", |m, x| m.node("Conv", &[x, "nobody"], &[])),
        ("not given", "weights that are not constant", |m, x| m.node("Conv", &[x], &[])),
        ("a map", "weights that are not constant", |m, x| m.node("Conv", &[x, x], &[])),
        ("whole numbers", "weights of shape", |m, x| {
            let w = m.int_tensor(&[1, 4, 1, 1], &[1; 4]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("doubles", "element type 11", |m, x| {
            let w = tensor(m, &[1, 4, 1, 1], 11, &[1.0; 4]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("too few", "3 values for shape", |m, x| {
            let w = tensor(m, &[1, 4, 1, 1], 1, &[1.0; 3]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("torn bytes", "15 bytes", |m, x| {
            let w = m.floats(&[1, 4, 1, 1], &[1.0; 4]);
            m.graph().initializer[0].raw_data.pop();
            m.node("Conv", &[x, &w], &[])
        }),
        ("no number", "no finite numbers", |m, x| {
            let w = m.floats(&[1, 4, 1, 1], &[1.0, f32::NAN, 1.0, 1.0]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("infinite", "no finite numbers", |m, x| {
            let w = tensor(m, &[1, 4, 1, 1], 1, &[1.0, 1.0, f32::NEG_INFINITY, 1.0]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("in another file", "in another file", |m, x| {
            let w = m.floats(&[1, 4, 1, 1], &[1.0; 4]);
            m.graph().initializer[0].data_location = 1;
            m.node("Conv", &[x, &w], &[])
        }),
        ("negative dimensions", "dimension -1", |m, x| {
            let w = tensor(m, &[1, 4, -1, -1], 1, &[1.0; 4]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("no dimensions", "weights of shape []", |m, x| {
            let w = m.floats(&[], &[1.0]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("empty", "do not fit", |m, x| {
            let w = tensor(m, &[0, 4, 1, 1], 1, &[]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("huge", "shape [1099511627776]", |m, x| {
            let w = tensor(m, &[1 << 40], 1, &[]);
            m.node("Add", &[x, &w], &[])
        }),
        ("huge beyond count", "shape [1099511627776, 1099511627776]", |m, x| {
            let w = tensor(m, &[1 << 40, 1 << 40], 1, &[]);
            m.node("Add", &[x, &w], &[])
        }),
        ("empty and huge, transposed", "kernel", |m, x| {
            let w = tensor(m, &[4, 0, 1 << 40, 1 << 40], 1, &[]);
            m.node("ConvTranspose", &[x, &w], &[])
        }),
        ("empty and huge, window", "kernel", |m, x| {
            let w = tensor(m, &[4, 4, 0, i64::MAX], 1, &[]);
            m.node("Conv", &[x, &w], &[])
        }),
        ("a bias of another length", "3 biases for 4 channels", |m, x| {
            let (w, b) = (m.weights(&[4, 4, 1, 1], 4), m.random(&[3], 0.0, 1.0));
            m.node("Conv", &[x, &w, &b], &[])
        }),
        ("statistics of another length", "3 statistics for 4 channels", |m, x| {
            let s = m.random(&[3], 0.0, 1.0);
            m.node("BatchNormalization", &[x, &s, &s, &s, &s], &[])
        }),
        ("a negative variance", "no finite numbers", |m, x| {
            let s = m.floats(&[4], &[-1.0; 4]);
            m.node("BatchNormalization", &[x, &s, &s, &s, &s], &[])
        }),
        ("a constant along columns", "constant of shape [9]", |m, x| {
            let c = m.random(&[9], 0.0, 1.0);
            m.node("Add", &[x, &c], &[])
        }),
        ("slopes along columns", "slopes", |m, x| {
            // As many columns as channels.
            let y = slice(m, x, [0, 4, 3, 1]);
            let slopes = m.random(&[4], 0.0, 1.0);
            m.node("PRelu", &[&y, &slopes], &[])
        }),
        ("a fully connected layer of another size", "do not fit 4 numbers", |m, x| {
            let y = m.node("GlobalAveragePool", &[x], &[]);
            let y = m.node("Flatten", &[&y], &[]);
            let w = m.random(&[5, 7], 0.0, 1.0);
            m.node("Gemm", &[&y, &w], &[])
        }),
    ]);
}

#[test]
fn numbers() {
    check(&[
        ("a slope that is no number", "finite", |m, x| m.node("LeakyRelu", &[x], &[("alpha", Float(f32::NAN))])),
        ("a hard sigmoid without end", "finite", |m, x| m.node("HardSigmoid", &[x], &[("beta", Float(f32::INFINITY))])),
        ("a constant that is no number", "finite", |m, x| {
            let c = m.node("Constant", &[], &[("value_float", Float(f32::NAN))]);
            m.node("Mul", &[x, &c], &[])
        }),
        ("constants that are no numbers", "finite", |m, x| {
            let c = m.node("Constant", &[], &[("value_floats", Floats(&[f32::NAN]))]);
            m.node("Mul", &[x, &c], &[])
        }),
        ("an infinite factor", "finite", |m, x| {
            let y = m.node("GlobalAveragePool", &[x], &[]);
            let y = m.node("Flatten", &[&y], &[]);
            let w = m.random(&[4, 7], 1e30, 1e30);
            m.node("Gemm", &[&y, &w], &[("alpha", Float(1e30))])
        }),
        ("a quotient without end", "finite", |m, x| {
            let c = m.floats(&[], &[1e-42]);
            m.node("Div", &[x, &c], &[])
        }),
        ("division by zero", "by 0", |m, x| {
            let c = m.floats(&[], &[0.0]);
            m.node("Div", &[x, &c], &[])
        }),
        ("division of constants by zero", "constants", |m, x| {
            let (a, b) = (m.floats(&[], &[1.0]), m.floats(&[], &[0.0]));
            let c = m.node("Div", &[&a, &b], &[]);
            m.node("Mul", &[x, &c], &[])
        }),
        ("division by zero in a shape", "constants", |m, x| {
            let shape = m.node("Shape", &[x], &[]);
            let zero = m.ints(&[0]);
            let shape = m.node("Div", &[&shape, &zero], &[]);
            m.node("Reshape", &[x, &shape], &[])
        }),
        ("a quotient beyond the largest number", "constants", |m, x| {
            let (a, b) = (m.ints(&[i64::MIN]), m.ints(&[-1]));
            let shape = m.node("Div", &[&a, &b], &[]);
            m.node("Reshape", &[x, &shape], &[])
        }),
        ("a product beyond the largest number", "constants", |m, x| {
            let a = m.ints(&[i64::MAX]);
            let shape = m.node("Mul", &[&a, &a], &[]);
            m.node("Reshape", &[x, &shape], &[])
        }),
        ("an index of a shape beyond its end", "constants", |m, x| {
            let shape = m.node("Shape", &[x], &[]);
            let i = m.int_tensor(&[], &[i64::MIN]);
            let shape = m.node("Gather", &[&shape, &i], &[]);
            m.node("Reshape", &[x, &shape], &[])
        }),
        ("a border that is no number", "finite", |m, x| {
            m.node("Pad", &[x], &[("pads", Ints(&[0, 0, 1, 1, 0, 0, 1, 1])), ("value", Float(f32::NAN))])
        }),
    ]);
}

#[test]
fn windows() {
    const HUGE: [i64; 2] = [i64::MAX; 2];
    check(&[
        ("huge pads", "pads", |m, x| conv(m, x, &[("pads", Ints(&[1 << 40; 4]))])),
        ("the smallest pads", "pads", |m, x| conv(m, x, &[("pads", Ints(&[i64::MIN; 4]))])),
        ("two pads", "pads", |m, x| conv(m, x, &[("pads", Ints(&[1, 1]))])),
        ("huge strides", "strides", |m, x| conv(m, x, &[("strides", Ints(&HUGE))])),
        ("no strides", "strides [0, 0]", |m, x| conv(m, x, &[("strides", Ints(&[0, 0]))])),
        ("the smallest strides", "strides", |m, x| conv(m, x, &[("strides", Ints(&[i64::MIN; 2]))])),
        ("huge dilations", "dilations", |m, x| conv(m, x, &[("dilations", Ints(&HUGE))])),
        ("a window beyond the map", "larger than a map", |m, x| conv(m, x, &[("dilations", Ints(&[99, 99]))])),
        ("no groups", "in 0 groups", |m, x| conv(m, x, &[("group", Int(0))])),
        ("negative groups", "groups", |m, x| conv(m, x, &[("group", Int(i64::MIN))])),
        ("too many groups", "groups", |m, x| conv(m, x, &[("group", Int(i64::MAX))])),
        ("unknown padding", "auto_pad OTHER", |m, x| conv(m, x, &[("auto_pad", Text("OTHER"))])),
        ("a huge kernel", "kernel", |m, x| m.node("MaxPool", &[x], &[("kernel_shape", Ints(&HUGE))])),
        ("a negative kernel", "kernel", |m, x| m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[i64::MIN; 2]))])),
        ("no kernel", "kernel_shape", |m, x| m.node("MaxPool", &[x], &[])),
        ("windows before the map", "padding only", |m, x| {
            m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[2, 2])), ("pads", Ints(&[2, 0, 0, 0]))])
        }),
        ("windows behind the map", "padding only", |m, x| {
            m.node("AveragePool", &[x], &[("kernel_shape", Ints(&[2, 2])), ("pads", Ints(&[0, 0, 0, 9]))])
        }),
        ("rounding of no kind", "ceil_mode 2", |m, x| {
            m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[2, 2])), ("ceil_mode", Int(2))])
        }),
        ("a pool beyond the map, rounded up", "larger than the map", |m, x| {
            m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[99, 99])), ("ceil_mode", Int(1))])
        }),
        ("an output padding that the stride does not allow", "output_padding", |m, x| {
            let w = m.weights(&[4, 4, 3, 3], 36);
            let extra = [("pads", Ints(&[1; 4])), ("output_padding", Ints(&[1, 1]))];
            m.node("ConvTranspose", &[x, &w], &extra)
        }),
        ("pads that leave nothing", "leave nothing", |m, x| {
            let w = m.weights(&[4, 4, 3, 3], 36);
            m.node("ConvTranspose", &[x, &w], &[("pads", Ints(&[9; 4]))])
        }),
        ("a map that grows without end", "too large", |m, x| {
            let w = m.weights(&[4, 4, 3, 3], 36);
            let mut y = x.to_owned();
            for _ in 0..9 {
                y = m.node("ConvTranspose", &[&y, &w], &[("strides", Ints(&[16, 16]))]);
            }
            y
        }),
        ("a border without end", "pads", |m, x| {
            let pads = m.ints(&[0, 0, 1 << 40, 0, 0, 0, 0, i64::MAX]);
            m.node("Pad", &[x, &pads], &[])
        }),
        ("a negative border", "pads", |m, x| {
            let pads = m.ints(&[0, 0, i64::MIN, 0, 0, 0, 0, 0]);
            m.node("Pad", &[x, &pads], &[])
        }),
        ("a border of channels", "pads", |m, x| {
            let pads = m.ints(&[0, 1, 0, 0, 0, 0, 0, 0]);
            m.node("Pad", &[x, &pads], &[])
        }),
        ("borders on borders", "4 GiB", |m, x| {
            let pads = m.ints(&[0, 0, 1024, 0, 0, 0, 1024, 0]);
            let mut y = x.to_owned();
            for _ in 0..1000 {
                y = m.node("Pad", &[&y, &pads], &[]);
            }
            y
        }),
        ("huge scales", "scales", |m, x| {
            let scales = m.floats(&[4], &[1.0, 1.0, 1e30, 1e30]);
            m.node("Resize", &[x, "", &scales], &[])
        }),
        ("negative scales", "scales", |m, x| {
            let scales = m.floats(&[4], &[1.0, 1.0, -1.0, 2.0]);
            m.node("Resize", &[x, "", &scales], &[])
        }),
        ("scales that are no numbers", "scales", |m, x| {
            let scales = [1.0, 1.0, f32::NAN, 2.0];
            m.model.opset_import[0].version = 7;
            m.node("Upsample", &[x], &[("scales", Floats(&scales))])
        }),
        ("huge sizes", "a size of", |m, x| {
            let sizes = m.ints(&[1, 4, i64::MAX, i64::MAX]);
            m.node("Resize", &[x, "", "", &sizes], &[])
        }),
        ("negative sizes", "a size of", |m, x| {
            let sizes = m.ints(&[1, 4, i64::MIN, 0]);
            m.node("Resize", &[x, "", "", &sizes], &[])
        }),
        ("growth on growth", "too large", |m, x| {
            let scales = m.floats(&[4], &[1.0, 1.0, 64.0, 64.0]);
            let y = m.node("Resize", &[x, "", &scales], &[]);
            m.node("Resize", &[&y, "", &scales], &[])
        }),
        ("antialiasing", "antialias", |m, x| {
            let sizes = m.ints(&[1, 4, 3, 3]);
            m.node("Resize", &[x, "", "", &sizes], &[("mode", Text("linear")), ("antialias", Int(1))])
        }),
    ]);
}

fn reshape(m: &mut Model, x: &str, shape: &[i64]) -> String {
    let shape = m.ints(shape);
    m.node("Reshape", &[x, &shape], &[])
}

fn slice(m: &mut Model, x: &str, range: [i64; 4]) -> String {
    let lists = range.map(|v| m.ints(&[v]));
    m.node("Slice", &[x, &lists[0], &lists[1], &lists[2], &lists[3]], &[])
}

#[test]
fn shapes() {
    check(&[
        ("two open dimensions", "shape [-1, -1]", |m, x| reshape(m, x, &[-1, -1])),
        ("too many values", "cannot become [4, 64]", |m, x| reshape(m, x, &[4, 64])),
        ("no whole rest", "cannot become [-1, 11]", |m, x| reshape(m, x, &[-1, 11])),
        ("negative", "shape [-2", |m, x| reshape(m, x, &[-2, 126])),
        ("smallest", "shape", |m, x| reshape(m, x, &[i64::MIN])),
        ("largest", "shape", |m, x| reshape(m, x, &[i64::MAX; 3])),
        ("nothing to copy", "shape", |m, x| reshape(m, x, &[0, 0, 0, 0, 0])),
        ("many dimensions", "99 dimensions", |m, x| reshape(m, x, &[1; 99])),
        ("torn rows", "tears", |m, x| reshape(m, x, &[1, 12, 21])),
        ("a shape of fractions", "whole numbers", |m, x| {
            let shape = m.floats(&[1], &[252.0]);
            m.node("Reshape", &[x, &shape], &[])
        }),
        ("an axis twice", "order", |m, x| m.node("Transpose", &[x], &[("perm", Ints(&[0, 1, 2, 2]))])),
        ("an axis outside", "order", |m, x| m.node("Transpose", &[x], &[("perm", Ints(&[0, 1, 2, i64::MIN]))])),
        ("too few axes", "order", |m, x| m.node("Transpose", &[x], &[("perm", Ints(&[0, 1]))])),
        ("join along an axis outside", "axis 9 of 4", |m, x| m.node("Concat", &[x, x], &[("axis", Int(9))])),
        ("join along the smallest axis", "axis", |m, x| m.node("Concat", &[x, x], &[("axis", Int(i64::MIN))])),
        ("join of maps that differ", "do not fit along axis 1", |m, x| {
            let y = m.node("GlobalAveragePool", &[x], &[]);
            m.node("Concat", &[x, &y], &[("axis", Int(1))])
        }),
        ("flat beyond the last axis", "axis 5 of 5", |m, x| m.node("Flatten", &[x], &[("axis", Int(5))])),
        ("softmax along nothing", "axis", |m, x| m.node("Softmax", &[x], &[("axis", Int(i64::MAX))])),
        ("softmax along rows", "neighbouring channels", |m, x| m.node("Softmax", &[x], &[("axis", Int(2))])),
        ("mean along channels", "mean over axes", |m, x| m.node("ReduceMean", &[x], &[("axes", Ints(&[i64::MIN, 1]))])),
        ("part from axis outside", "axis -5 of 4", |m, x| slice(m, x, [0, 1, -5, 1])),
        ("backwards", "a step of -1", |m, x| slice(m, x, [3, 0, 1, -1])),
        ("smallest step", "a step of", |m, x| slice(m, x, [0, 3, 1, i64::MIN])),
        ("no part", "0..0", |m, x| slice(m, x, [i64::MIN, i64::MIN, 1, 1])),
        ("ranges of two lengths", "lengths", |m, x| {
            let (from, to) = (m.ints(&[0, 0]), m.ints(&[1]));
            m.node("Slice", &[x, &from, &to], &[])
        }),
        ("parts that do not add up", "parts [1, 1] of 4", |m, x| {
            let sizes = m.ints(&[1, 1]);
            m.nodes("Split", &[x, &sizes], &[("axis", Int(1))], 2).remove(0)
        }),
        ("parts beyond count", "parts", |m, x| {
            let sizes = m.ints(&[i64::MAX, i64::MAX]);
            m.nodes("Split", &[x, &sizes], &[("axis", Int(1))], 2).remove(0)
        }),
        ("negative parts", "a part of", |m, x| {
            let sizes = m.ints(&[5, -1]);
            m.nodes("Split", &[x, &sizes], &[("axis", Int(1))], 2).remove(0)
        }),
        ("more parts than channels", "a part of 0", |m, x| m.nodes("Split", &[x], &[("axis", Int(1))], 9).remove(0)),
        ("one that is not there", "index", |m, x| {
            let i = m.int_tensor(&[], &[i64::MIN]);
            m.node("Gather", &[x, &i], &[("axis", Int(1))])
        }),
        ("squeeze of rows", "axis 2 of", |m, x| m.node("Squeeze", &[x], &[("axes", Ints(&[2]))])),
        ("squeeze of one axis twice", "axes [0, 0]", |m, x| m.node("Squeeze", &[x], &[("axes", Ints(&[0, 0]))])),
        ("unsqueeze at the smallest axis", "axes", |m, x| m.node("Unsqueeze", &[x], &[("axes", Ints(&[i64::MIN]))])),
        ("unsqueeze without end", "dimensions", |m, x| {
            let axes: Vec<i64> = (0..1000).collect();
            m.node("Unsqueeze", &[x], &[("axes", Ints(&axes))])
        }),
        ("blocks of nothing", "blocks of 0", |m, x| m.node("SpaceToDepth", &[x], &[])),
        ("huge blocks", "blocks of", |m, x| m.node("SpaceToDepth", &[x], &[("blocksize", Int(i64::MAX))])),
        ("blocks that do not fit", "blocks of 2 in 7x9", |m, x| m.node("SpaceToDepth", &[x], &[("blocksize", Int(2))])),
        ("maps that differ", "maps of", |m, x| {
            let y = m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[2, 2]))]);
            m.node("Add", &[x, &y], &[])
        }),
        ("shapes of two ranks", "mixes rows", |m, x| {
            let y = reshape(m, x, &[4, 7, 1, 9]);
            let y = m.node("Transpose", &[&y], &[("perm", Ints(&[2, 3, 1, 0]))]);
            m.node("Add", &[x, &y], &[])
        }),
    ]);
}

/// Files whose cost would double with every node, or grow with its square.
#[test]
fn growth() {
    check(&[
        ("a join of joins", "are too many", |m, x| {
            let mut y = reshape(m, x, &[1, 4, 63]);
            for _ in 0..60 {
                y = m.node("Concat", &[&y, &y], &[("axis", Int(2))]);
            }
            y
        }),
        ("a list that doubles", "constants", |m, x| {
            let mut shape = m.ints(&[1]);
            for _ in 0..60 {
                shape = m.node("Concat", &[&shape, &shape], &[("axis", Int(0))]);
            }
            m.node("Reshape", &[x, &shape], &[])
        }),
        ("a long list again and again", "constants", |m, x| {
            let shape = m.ints(&[1; 1000]);
            let all: Vec<&str> = vec![&shape; 100_000];
            let shape = m.node("Concat", &all, &[("axis", Int(0))]);
            m.node("Reshape", &[x, &shape], &[])
        }),
        ("copies of weights", "copies", |m, x| {
            let w = m.random(&[1 << 20], 0.0, 1.0);
            for _ in 0..2000 {
                m.node("Identity", &[&w], &[]);
            }
            m.node("Relu", &[x], &[])
        }),
        ("dimensions one by one", "dimensions", |m, x| {
            let mut y = x.to_owned();
            for _ in 0..7_000 {
                y = m.node("Unsqueeze", &[&y], &[("axes", Ints(&[0]))]);
            }
            y
        }),
        ("wide scales again and again", "channels are too many", |m, x| {
            let w = m.random(&[60_000, 4, 1, 1], 0.0, 1.0);
            let mut y = m.node("GlobalAveragePool", &[x], &[]);
            y = m.node("Conv", &[&y, &w], &[]);
            let half = m.floats(&[], &[0.5]);
            for _ in 0..5_000 {
                y = m.node("Mul", &[&y, &half], &[]);
            }
            y
        }),
        ("cells as channels", "made of 2 maps", |m, x| {
            let scales = m.floats(&[4], &[1.0, 1.0, 64.0, 64.0]);
            let y = m.node("Resize", &[x, "", &scales], &[]);
            let y = reshape(m, &y, &[1, -1, 1, 1]);
            let y = m.node("Concat", &[&y, &y], &[("axis", Int(1))]);
            conv(m, &y, &[])
        }),
        ("too many nodes", "nodes are too many", |m, x| {
            for _ in 0..20_001 {
                m.node("Relu", &[x], &[]);
            }
            x.into()
        }),
        ("too many inputs", "are too many", |m, x| m.node("Concat", &vec![x; 200_000], &[("axis", Int(1))])),
    ]);
}

/// Allowed, but the passes must not take forever.
#[test]
fn long_models_are_read_in_time() {
    let cases: [(&str, Build); 3] = [
        ("pools", |m, x| m.node("MaxPool", &[x], &[("kernel_shape", Ints(&[3, 3])), ("pads", Ints(&[1; 4]))])),
        ("activations", |m, x| m.node("Relu", &[x], &[])),
        ("sums", |m, x| {
            let w = m.floats(&[1, 1, 1, 1], &[1.0]);
            let y = m.node("Conv", &[x, &w], &[]);
            m.node("Add", &[&y, x], &[])
        }),
    ];
    for (name, add) in cases {
        let mut m = Model::new(13);
        let mut x = m.input(1, 3, 3);
        for _ in 0..3000 {
            x = add(&mut m, &x);
        }
        m.output(&x);
        let start = Instant::now();
        read(&m.build(), 3, 3).unwrap();
        println!("3000 {name}: {:?}", start.elapsed());
    }
}

/// Finite weights whose product is not: not folded, and no mistake of ours.
#[test]
fn weights_that_overflow_when_folded_stay_as_they_are() {
    let mut m = Model::new(13);
    let x = m.input(1, 3, 3);
    let w = m.floats(&[1, 1, 1, 1], &[1e30]);
    let y = m.node("Conv", &[&x, &w], &[]);
    let c = m.floats(&[], &[1e30]);
    let y = m.node("Mul", &[&y, &c], &[]);
    m.output(&y);
    read(&m.build(), 3, 3).unwrap();
}

#[test]
fn files_that_are_no_models() {
    for (file, reason) in [
        (&b""[..], "no graph"),
        (b"passd is no model\n", "not an ONNX model"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "not an ONNX model"),
        // A field that says it is longer than the file.
        (b"\x3a\xff\xff\xff\xff\x0f", "not an ONNX model"),
    ] {
        let message = read(file, 96, 160).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
    // Messages in messages.
    let mut nested = vec![0x3a, 0];
    for _ in 0..10_000 {
        let mut outer = vec![0x2a];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.extend(&nested);
        nested = outer;
    }
    assert!(read(&nested, 96, 160).is_err());
}

#[test]
fn pictures_of_impossible_sizes() {
    for (h, w) in [(0, 0), (0, 160), (usize::MAX, usize::MAX), (1 << 40, 1), (1, 1), (7, 9)] {
        let _ = read(STREET, h, w);
    }
    assert!(read(STREET, 0, 160).unwrap_err().to_string().contains("empty or too large"));
    read(STREET, 96, 160).unwrap();
}

#[test]
fn files_that_are_cut_short() {
    for end in (0..STREET.len()).step_by(64) {
        let _ = read(&STREET[..end], 96, 160);
    }
}

/// Whole files, and in every second turn only what is not weights: most bytes are.
#[test]
fn flipped_bytes() {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut structure = onnx::ModelProto::decode(STREET).unwrap();
    let weights = std::mem::take(&mut structure.graph.as_mut().unwrap().initializer);
    let structure = structure.encode_to_vec();
    let mut n_read = 0;
    for i in 0..2000 {
        let mut file = if i % 2 == 0 { STREET.to_vec() } else { structure.clone() };
        for _ in 0..1 + i % 5 {
            let at = rng.usize(..file.len());
            file[at] = rng.u8(..);
        }
        if i % 2 == 1 {
            let Ok(mut model) = onnx::ModelProto::decode(file.as_slice()) else { continue };
            let Some(graph) = &mut model.graph else { continue };
            graph.initializer.extend(weights.iter().cloned());
            file = model.encode_to_vec();
        }
        n_read += usize::from(read(&file, 96, 160).is_ok());
    }
    println!("{n_read} of 2000 were read");
}

/// Changes to decoded models: every number and name of nodes is reached.
#[test]
fn mutated_nodes() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut models = zoo::all();
    models.extend([zoo::operations(), zoo::layouts(), ("street-nano", STREET.to_vec(), [3, 96, 160])]);
    for (name, file, [_, h, w]) in models {
        read(&file, h, w).unwrap();
        let model = onnx::ModelProto::decode(file.as_slice()).unwrap();
        let n = model.graph.as_ref().unwrap().node.len();
        let mut n_read = 0;
        for _ in 0..600 {
            let mut model = model.clone();
            let graph = model.graph.as_mut().unwrap();
            let (at, other) = (rng.usize(..n), rng.usize(..n));
            match rng.u8(..8) {
                0 => graph.node.swap(at, other),
                1 => drop(graph.node.remove(at)),
                2 => graph.node[at].op_type = graph.node[other].op_type.clone(),
                3 => graph.node[at].input = graph.node[other].input.clone(),
                4 => graph.node[at].attribute = graph.node[other].attribute.clone(),
                5 => mutate_attribute(&mut graph.node[at], &mut rng),
                6 => model.opset_import[0].version = EDGES[rng.usize(..EDGES.len())],
                _ => mutate_constant(graph, &mut rng),
            }
            n_read += usize::from(read(&model.encode_to_vec(), h, w).is_ok());
        }
        println!("{name}: {n_read} of 600 were read");
    }
}

const EDGES: [i64; 9] = [i64::MIN, -(1 << 40), -2, -1, 0, 2, 255, 1 << 40, i64::MAX];

fn mutate_attribute(node: &mut onnx::NodeProto, rng: &mut fastrand::Rng) {
    let Some(i) = (!node.attribute.is_empty()).then(|| rng.usize(..node.attribute.len())) else { return };
    let attribute = &mut node.attribute[i];
    attribute.i = EDGES[rng.usize(..EDGES.len())];
    attribute.f = f32::from_bits(rng.u32(..));
    match attribute.ints.len() {
        0 => attribute.s = b"?".to_vec(),
        n => attribute.ints[rng.usize(..n)] = EDGES[rng.usize(..EDGES.len())],
    }
}

fn mutate_constant(graph: &mut onnx::GraphProto, rng: &mut fastrand::Rng) {
    let i = rng.usize(..graph.initializer.len());
    let tensor = &mut graph.initializer[i];
    if !tensor.int64_data.is_empty() && rng.bool() {
        let at = rng.usize(..tensor.int64_data.len());
        tensor.int64_data[at] = EDGES[rng.usize(..EDGES.len())];
        return;
    }
    match tensor.dims.len() {
        0 => tensor.dims.push(EDGES[rng.usize(..EDGES.len())]),
        n => tensor.dims[rng.usize(..n)] = EDGES[rng.usize(..EDGES.len())],
    }
    if rng.bool() {
        tensor.raw_data.clear();
    }
}

/// A small file, and what it may cost.
#[test]
fn small_files_have_small_costs() {
    let refused = |build: Build, reason: &str| {
        let mut model = Model::new(13);
        let picture = model.input(4, 64, 64);
        let last = build(&mut model, &picture);
        model.output(&last);
        let file = model.build();
        let message = read(&file, 64, 64).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    };
    refused(
        |m, x| {
            let w = m.weights(&[4, 512, 4, 4], 64);
            m.node("ConvTranspose", &[x, &w], &[("strides", Ints(&[256, 256]))])
        },
        "strides [256, 256] of a transposed convolution",
    );
    refused(
        |m, x| {
            let widen = m.weights(&[256, 4, 1, 1], 4);
            let shared = m.weights(&[256, 256, 1, 1], 256);
            let mut y = m.node("Conv", &[x, &widen], &[]);
            for _ in 0..2000 {
                y = m.node("Conv", &[&y, &shared], &[]);
            }
            y
        },
        "weights need more than",
    );
    refused(|m, x| (0..20_000).fold(x.to_owned(), |x, _| m.node("Relu", &[&x], &[])), "20000 nodes are too many; 8000");
    // As many as may be, laid out too.
    let mut model = Model::new(13);
    let picture = model.input(4, 64, 64);
    let last = (0..8000).fold(picture, |x, i| model.node(["Relu", "Tanh"][i % 2], &[&x], &[]));
    model.output(&last);
    let file = model.build();
    let start = Instant::now();
    let graph = import(&file, 64, 64).unwrap();
    engine::plan::Plan::new(graph).unwrap();
    println!("8000 nodes took {:?}", start.elapsed());
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
}
