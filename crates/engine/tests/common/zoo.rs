//! Small networks of the usual kinds, with random weights that keep values around 1.
//!
//! Weights are uniform and scaled by fan-in, activations gain what they lose, so
//! that an error in the last layer is as visible as one in the first.

use super::model::{
    Attr::{Float, Int, Ints, Text},
    ModelBuilder as Model,
};

/// Name, file, and the picture's `[channels, rows, columns]`.
pub type Network = (&'static str, Vec<u8>, [usize; 3]);

/// All of them.
pub fn all() -> Vec<Network> {
    vec![resnet18(), mobilenet_v3(), unet(), hrnet(), yolov8_neck()]
}

/// A square convolution that keeps the size (over its stride).
struct Conv {
    c_in: usize,
    c_out: usize,
    k: usize,
    stride: usize,
    groups: usize,
}

fn conv(c_in: usize, c_out: usize, k: usize) -> Conv {
    Conv { c_in, c_out, k, stride: 1, groups: 1 }
}

impl Conv {
    fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    fn depthwise(self) -> Self {
        Self { groups: self.c_in, ..self }
    }

    fn add(&self, m: &mut Model, x: &str) -> String {
        let b = m.random(&[self.c_out], -0.1, 0.1);
        self.node(m, x, Some(&b))
    }

    fn node(&self, m: &mut Model, x: &str, bias: Option<&str>) -> String {
        let per_group = self.c_in / self.groups;
        let taps = self.k * self.k;
        // Activations halve the energy.
        let w = m.weights(&[self.c_out, per_group, self.k, self.k], (per_group * taps).div_ceil(2));
        let (half, stride) = ((self.k / 2) as i64, self.stride as i64);
        let inputs: Vec<&str> = [x, &w].into_iter().chain(bias).collect();
        let attrs = [
            ("kernel_shape", Ints(&[self.k as i64; 2])),
            ("pads", Ints(&[half; 4])),
            ("strides", Ints(&[stride; 2])),
            ("group", Int(self.groups as i64)),
        ];
        m.node("Conv", &inputs, &attrs)
    }

    /// As classifiers are trained: no bias, batch normalisation behind.
    fn normalised(&self, m: &mut Model, x: &str) -> String {
        let y = self.node(m, x, None);
        let gamma = m.random(&[self.c_out], 0.7, 1.3);
        let beta = m.random(&[self.c_out], -0.2, 0.2);
        let mean = m.random(&[self.c_out], -0.2, 0.2);
        let var = m.random(&[self.c_out], 0.7, 1.5);
        m.node("BatchNormalization", &[&y, &gamma, &beta, &mean, &var], &[("epsilon", Float(1e-5))])
    }

    fn silu(&self, m: &mut Model, x: &str) -> String {
        let y = self.add(m, x);
        let gate = m.node("Sigmoid", &[&y], &[]);
        m.node("Mul", &[&y, &gate], &[])
    }

    fn relu(&self, m: &mut Model, x: &str) -> String {
        let y = self.normalised(m, x);
        m.node("Relu", &[&y], &[])
    }
}

fn join(m: &mut Model, maps: &[&str]) -> String {
    m.node("Concat", maps, &[("axis", Int(1))])
}

fn classifier(m: &mut Model, x: &str, c: usize, n: usize) -> String {
    let y = m.node("GlobalAveragePool", &[x], &[]);
    let y = m.node("Flatten", &[&y], &[("axis", Int(1))]);
    let (w, b) = (m.weights(&[n, c], c), m.random(&[n], -0.1, 0.1));
    m.node("Gemm", &[&y, &w, &b], &[("transB", Int(1))])
}

/// The classifier of eighteen layers, a quarter as wide.
pub fn resnet18() -> Network {
    let mut m = Model::new(13);
    let picture = m.input(3, 64, 64);
    let mut x = conv(3, 16, 7).stride(2).relu(&mut m, &picture);
    let pool = [("kernel_shape", Ints(&[3, 3])), ("strides", Ints(&[2, 2])), ("pads", Ints(&[1; 4]))];
    x = m.node("MaxPool", &[&x], &pool);
    let mut c = 16;
    for (c_out, first_stride) in [(16, 1), (32, 2), (64, 2), (128, 2)] {
        for stride in [first_stride, 1] {
            let y = conv(c, c_out, 3).stride(stride).relu(&mut m, &x);
            let y = conv(c_out, c_out, 3).normalised(&mut m, &y);
            if (c, stride) != (c_out, 1) {
                x = conv(c, c_out, 1).stride(stride).normalised(&mut m, &x);
            }
            let sum = m.node("Add", &[&y, &x], &[]);
            // Sums of two maps grow; half of the energy keeps them in range.
            let half = m.floats(&[], &[0.7]);
            let sum = m.node("Mul", &[&sum, &half], &[]);
            x = m.node("Relu", &[&sum], &[]);
            c = c_out;
        }
    }
    let scores = classifier(&mut m, &x, c, 10);
    m.output(&scores);
    ("resnet18", m.build(), [3, 64, 64])
}

/// Inverted bottlenecks with squeeze-and-excitation.
pub fn mobilenet_v3() -> Network {
    let mut m = Model::new(14);
    let picture = m.input(3, 48, 80);
    let y = conv(3, 16, 3).stride(2).normalised(&mut m, &picture);
    let mut x = m.node("HardSwish", &[&y], &[]);
    let mut c = 16;
    for (k, wide, c_out, squeezed, stride) in [
        (3, 16, 16, true, 2),
        (3, 72, 24, false, 2),
        (3, 88, 24, false, 1),
        (5, 96, 40, true, 2),
        (5, 240, 40, true, 1),
    ] {
        let act = if squeezed { "HardSwish" } else { "Relu" };
        let y = conv(c, wide, 1).normalised(&mut m, &x);
        let y = m.node(act, &[&y], &[]);
        let y = conv(wide, wide, k).stride(stride).depthwise().normalised(&mut m, &y);
        let mut y = m.node(act, &[&y], &[]);
        if squeezed {
            let s = m.node("GlobalAveragePool", &[&y], &[]);
            let s = conv(wide, wide / 4, 1).add(&mut m, &s);
            let s = m.node("Relu", &[&s], &[]);
            let s = conv(wide / 4, wide, 1).add(&mut m, &s);
            let s = m.node("HardSigmoid", &[&s], &[("alpha", Float(1.0 / 6.0)), ("beta", Float(0.5))]);
            y = m.node("Mul", &[&s, &y], &[]);
        }
        let y = conv(wide, c_out, 1).normalised(&mut m, &y);
        x = if (c, stride) == (c_out, 1) { m.node("Add", &[&x, &y], &[]) } else { y };
        c = c_out;
    }
    let scores = classifier(&mut m, &x, c, 10);
    let scores = m.node("Softmax", &[&scores], &[("axis", Int(1))]);
    m.output(&x);
    m.output(&scores);
    ("mobilenet_v3", m.build(), [3, 48, 80])
}

/// Segmentation: down, up with transposed convolutions, and skips across.
pub fn unet() -> Network {
    let mut m = Model::new(11);
    let picture = m.input(3, 48, 64);
    let two = |m: &mut Model, x: &str, c_in: usize, c_out: usize| {
        let y = conv(c_in, c_out, 3).relu(m, x);
        conv(c_out, c_out, 3).relu(m, &y)
    };
    let mut skips = Vec::new();
    let (mut x, mut c) = (picture, 3);
    for c_out in [8, 16, 32] {
        x = two(&mut m, &x, c, c_out);
        skips.push((x.clone(), c_out));
        x = m.node("MaxPool", &[&x], &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))]);
        c = c_out;
    }
    x = two(&mut m, &x, c, 64);
    c = 64;
    for (skip, c_out) in skips.into_iter().rev() {
        let (w, b) = (m.weights(&[c, c_out, 2, 2], c), m.random(&[c_out], -0.1, 0.1));
        x = m.node("ConvTranspose", &[&x, &w, &b], &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))]);
        x = join(&mut m, &[&skip, &x]);
        x = two(&mut m, &x, 2 * c_out, c_out);
        c = c_out;
    }
    let classes = conv(c, 4, 1).add(&mut m, &x);
    m.output(&classes);
    ("unet", m.build(), [3, 48, 64])
}

/// Pose: branches of three sizes that are fused, and one heat map a joint.
pub fn hrnet() -> Network {
    const WIDTHS: [usize; 3] = [8, 16, 32];
    let mut m = Model::new(13);
    let picture = m.input(3, 64, 48);
    let x = conv(3, WIDTHS[0], 3).stride(2).relu(&mut m, &picture);
    let second = conv(WIDTHS[0], WIDTHS[1], 3).stride(2).relu(&mut m, &x);
    let third = conv(WIDTHS[1], WIDTHS[2], 3).stride(2).relu(&mut m, &second);
    let mut branches = [x, second, third];
    for _ in 0..2 {
        for (x, c) in branches.iter_mut().zip(WIDTHS) {
            let y = conv(c, c, 3).relu(&mut m, x);
            let y = conv(c, c, 3).normalised(&mut m, &y);
            let y = m.node("Add", &[&y, x], &[]);
            *x = m.node("Relu", &[&y], &[]);
        }
        let fused: Vec<String> = (0..3).map(|to| fuse(&mut m, &branches, &WIDTHS, to)).collect();
        branches = fused.try_into().unwrap();
    }
    let heat = conv(WIDTHS[0], 17, 1).add(&mut m, &branches[0]);
    m.output(&heat);
    ("hrnet", m.build(), [3, 64, 48])
}

/// The sum of all branches at the size of one.
fn fuse(m: &mut Model, branches: &[String; 3], widths: &[usize; 3], to: usize) -> String {
    let mut sum: Option<String> = None;
    for (from, x) in branches.iter().enumerate() {
        let mut y = x.clone();
        if from > to {
            y = conv(widths[from], widths[to], 1).normalised(m, &y);
            let by = (1 << (from - to)) as f32;
            let scales = m.floats(&[4], &[1.0, 1.0, by, by]);
            let how = [
                ("mode", Text("nearest")),
                ("coordinate_transformation_mode", Text("asymmetric")),
                ("nearest_mode", Text("floor")),
            ];
            y = m.node("Resize", &[&y, "", &scales], &how);
        }
        for step in from..to {
            let last = step + 1 == to;
            let c_out = if last { widths[to] } else { widths[from] };
            let down = conv(widths[from], c_out, 3).stride(2);
            y = if last { down.normalised(m, &y) } else { down.relu(m, &y) };
        }
        sum = Some(match sum {
            Some(sum) => m.node("Add", &[&sum, &y], &[]),
            None => y,
        });
    }
    let third = m.floats(&[], &[0.6]);
    let y = m.node("Mul", &[&sum.unwrap(), &third], &[]);
    m.node("Relu", &[&y], &[])
}

/// Detection: backbone with pyramid pooling, a neck down and up, three heads.
pub fn yolov8_neck() -> Network {
    let mut m = Model::new(13);
    for (x, c) in yolov8_maps(&mut m) {
        let boxes = conv(c, 16, 3).silu(&mut m, &x);
        let boxes = conv(16, 4, 1).add(&mut m, &boxes);
        let classes = conv(c, 16, 3).silu(&mut m, &x);
        let classes = conv(16, 6, 1).add(&mut m, &classes);
        let classes = m.node("Sigmoid", &[&classes], &[]);
        let y = join(&mut m, &[&boxes, &classes]);
        m.output(&y);
    }
    ("yolov8_neck", m.build(), [3, 64, 96])
}

/// The same with the end of its exports: distances as expected values of 16 bins, turned into
/// boxes in pixels. One output, `[1, 4 + 6, cells]`.
pub fn yolov8_detect() -> Network {
    let mut m = Model::new(13);
    let m = &mut m;
    let along = |m: &mut Model, maps: &[&str], axis: i64| m.node("Concat", maps, &[("axis", Int(axis))]);
    let levels: Vec<String> = yolov8_maps(m)
        .into_iter()
        .map(|(x, c)| {
            let boxes = conv(c, 16, 3).silu(m, &x);
            let boxes = conv(16, 64, 1).add(m, &boxes);
            let classes = conv(c, 16, 3).silu(m, &x);
            let classes = conv(16, 6, 1).add(m, &classes);
            let y = join(m, &[&boxes, &classes]);
            reshape(m, &y, &[1, 70, -1])
        })
        .collect();
    let all = along(m, &levels.iter().map(String::as_str).collect::<Vec<_>>(), 2);
    let sizes = m.ints(&[64, 6]);
    let parts = m.nodes("Split", &[&all, &sizes], &[("axis", Int(1))], 2);
    // 8x12, 4x6 and 2x3 cells.
    let places: Vec<(usize, usize, f32)> = [(8, 12, 8.0), (4, 6, 16.0), (2, 3, 32.0)]
        .into_iter()
        .flat_map(|(h, w, stride)| (0..h).flat_map(move |y| (0..w).map(move |x| (x, y, stride))))
        .collect();
    let bins = reshape(m, &parts[0], &[1, 4, 16, 126]);
    let bins = m.node("Transpose", &[&bins], &[("perm", Ints(&[0, 2, 1, 3]))]);
    let shares = m.node("Softmax", &[&bins], &[("axis", Int(1))]);
    let numbers = m.floats(&[1, 16, 1, 1], &(0..16).map(|i| i as f32).collect::<Vec<_>>());
    let sides = m.node("Conv", &[&shares, &numbers], &[("kernel_shape", Ints(&[1, 1]))]);
    let sides = reshape(m, &sides, &[1, 4, 126]);
    let (before, after) = (slice(m, &sides, [0, 2, 1, 1]), slice(m, &sides, [2, 4, 1, 1]));
    let middles: Vec<f32> =
        places.iter().map(|p| p.0 as f32 + 0.5).chain(places.iter().map(|p| p.1 as f32 + 0.5)).collect();
    let (middles, two) = (m.floats(&[1, 2, 126], &middles), m.floats(&[], &[2.0]));
    let first = m.node("Sub", &[&middles, &before], &[]);
    let last = m.node("Add", &[&middles, &after], &[]);
    let sum = m.node("Add", &[&first, &last], &[]);
    let middle = m.node("Div", &[&sum, &two], &[]);
    let size = m.node("Sub", &[&last, &first], &[]);
    let boxes = along(m, &[&middle, &size], 1);
    let strides = m.floats(&[1, 126], &places.iter().map(|p| p.2).collect::<Vec<_>>());
    let boxes = m.node("Mul", &[&boxes, &strides], &[]);
    let classes = m.node("Sigmoid", &[&parts[1]], &[]);
    let all = along(m, &[&boxes, &classes], 1);
    m.output(&all);
    ("yolov8_detect", m.build(), [3, 64, 96])
}

/// The three maps of the neck, with their channels.
fn yolov8_maps(m: &mut Model) -> [(String, usize); 3] {
    let picture = m.input(3, 64, 96);
    let x = conv(3, 8, 3).stride(2).silu(m, &picture);
    let x = conv(8, 16, 3).stride(2).silu(m, &x);
    let x = c2f(m, &x, 16, 16, true);
    let x = conv(16, 32, 3).stride(2).silu(m, &x);
    let p3 = c2f(m, &x, 32, 32, true);
    let x = conv(32, 48, 3).stride(2).silu(m, &p3);
    let p4 = c2f(m, &x, 48, 48, true);
    let x = conv(48, 64, 3).stride(2).silu(m, &p4);
    let p5 = sppf(m, &x, 64);
    let up = |m: &mut Model, x: &str| {
        let scales = m.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
        let how = [("coordinate_transformation_mode", Text("asymmetric")), ("nearest_mode", Text("floor"))];
        m.node("Resize", &[x, "", &scales], &how)
    };
    let x = up(m, &p5);
    let x = join(m, &[&x, &p4]);
    let n4 = c2f(m, &x, 112, 48, false);
    let x = up(m, &n4);
    let x = join(m, &[&x, &p3]);
    let n3 = c2f(m, &x, 80, 32, false);
    let x = conv(32, 32, 3).stride(2).silu(m, &n3);
    let x = join(m, &[&x, &n4]);
    let n4 = c2f(m, &x, 80, 48, false);
    let x = conv(48, 48, 3).stride(2).silu(m, &n4);
    let x = join(m, &[&x, &p5]);
    let n5 = c2f(m, &x, 112, 64, false);
    [(n3, 32), (n4, 48), (n5, 64)]
}

/// Half of the channels goes through two bottlenecks, and everything on the way is joined.
fn c2f(m: &mut Model, x: &str, c_in: usize, c_out: usize, shortcut: bool) -> String {
    let half = c_out / 2;
    let y = conv(c_in, c_out, 1).silu(m, x);
    let sizes = m.ints(&[half as i64; 2]);
    let mut all = m.nodes("Split", &[&y, &sizes], &[("axis", Int(1))], 2);
    for _ in 0..2 {
        let last = all.last().unwrap().clone();
        let y = conv(half, half, 3).silu(m, &last);
        let y = conv(half, half, 3).silu(m, &y);
        all.push(if shortcut { m.node("Add", &[&last, &y], &[]) } else { y });
    }
    let y = join(m, &all.iter().map(String::as_str).collect::<Vec<_>>());
    conv(4 * half, c_out, 1).silu(m, &y)
}

/// Pyramid pooling as a chain.
fn sppf(m: &mut Model, x: &str, c: usize) -> String {
    let mut all = vec![conv(c, c / 2, 1).silu(m, x)];
    for _ in 0..3 {
        let last = all.last().unwrap().clone();
        all.push(m.node("MaxPool", &[&last], &[("kernel_shape", Ints(&[5, 5])), ("pads", Ints(&[2; 4]))]));
    }
    let y = join(m, &all.iter().map(String::as_str).collect::<Vec<_>>());
    conv(2 * c, c, 1).silu(m, &y)
}

/// No network: one of most operations that compute, with attributes written out.
pub fn operations() -> Network {
    let mut m = Model::new(13);
    let x = m.input(4, 8, 8);
    let w = m.weights(&[4, 4, 3, 3], 36);
    let (pads, ones, twos) = (("pads", Ints(&[1; 4])), Ints(&[1; 2]), Ints(&[2; 2]));
    let kernel = ("kernel_shape", Ints(&[3, 3]));
    let c = m.node("Conv", &[&x, &w], &[pads, ("strides", ones), ("dilations", ones), ("group", Int(1))]);
    let transposed = [pads, ("strides", twos), ("dilations", ones), ("output_padding", ones)];
    let t = m.node("ConvTranspose", &[&c, &w], &transposed);
    let max = [kernel, pads, ("strides", twos), ("ceil_mode", Int(1)), ("dilations", ones)];
    let max = m.node("MaxPool", &[&t], &max);
    m.output(&max);
    let mean = [kernel, pads, ("strides", ones), ("count_include_pad", Int(1)), ("ceil_mode", Int(0))];
    let mean = m.node("AveragePool", &[&c], &mean);
    let h = m.node("HardSigmoid", &[&mean], &[("alpha", Float(0.2)), ("beta", Float(0.5))]);
    let l = m.node("LeakyRelu", &[&mean], &[("alpha", Float(0.2))]);
    let y = m.node("Sub", &[&h, &l], &[]);
    let y = m.node("Mul", &[&y, &h], &[]);
    let scales = m.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let how = [
        ("mode", Text("nearest")),
        ("coordinate_transformation_mode", Text("asymmetric")),
        ("nearest_mode", Text("floor")),
    ];
    let y = m.node("Resize", &[&y, "", &scales], &how);
    m.output(&y);
    let y = m.node("SpaceToDepth", &[&y], &[("blocksize", Int(2))]);
    let mean = m.node("ReduceMean", &[&y], &[("axes", Ints(&[2, 3])), ("keepdims", Int(1))]);
    let cell = m.node("GlobalAveragePool", &[&y], &[]);
    let y = m.node("Mul", &[&y, &cell], &[]);
    let y = m.node("Add", &[&mean, &y], &[]);
    let y = m.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 3, 1]))]);
    let y = m.node("Softmax", &[&y], &[("axis", Int(3))]);
    m.output(&y);
    let flat = m.node("Flatten", &[&cell], &[("axis", Int(1))]);
    let (w, b) = (m.weights(&[16, 16], 16), m.random(&[16], -1.0, 1.0));
    let how = [("alpha", Float(0.5)), ("beta", Float(0.5)), ("transB", Int(1)), ("transA", Int(0))];
    let scores = m.node("Gemm", &[&flat, &w, &b], &how);
    m.output(&scores);
    ("operations", m.build(), [4, 8, 8])
}

/// No network: layout operations, with lists of whole numbers as inputs.
pub fn layouts() -> Network {
    let mut m = Model::new(13);
    let picture = m.input(4, 8, 8);
    let x = slice(&mut m, &picture, [1, 8, 3, 2]);
    let x = reshape(&mut m, &x, &[1, 2, 2, 8, 4]);
    let x = m.node("Transpose", &[&x], &[("perm", Ints(&[0, 2, 1, 3, 4]))]);
    let x = reshape(&mut m, &x, &[0, 4, 8, -1]);
    let pads = m.ints(&[0, 0, 1, 0, 0, 0, 1, 2]);
    let x = m.node("Pad", &[&x, &pads], &[]);
    let sizes = m.ints(&[3, 1]);
    let parts = m.nodes("Split", &[&x, &sizes], &[("axis", Int(1))], 2);
    let sides = m.ints(&[1, 3, 20, 12]);
    let large = m.node("Resize", &[&parts[0], "", "", &sides], &[("mode", Text("linear"))]);
    m.output(&large);
    let shape = m.node("Shape", &[&parts[1]], &[]);
    let (from, to) = (m.ints(&[2]), m.ints(&[4]));
    let sides = m.node("Slice", &[&shape, &from, &to], &[]);
    let (first, two) = (m.ints(&[1, 1]), m.ints(&[2]));
    let sides = m.node("Mul", &[&sides, &two], &[]);
    let sides = m.node("Div", &[&sides, &two], &[]);
    let shape = m.node("Concat", &[&first, &sides], &[("axis", Int(0))]);
    let y = m.node("Reshape", &[&parts[1], &shape], &[]);
    let (index, axes) = (m.int_tensor(&[], &[-1]), m.ints(&[1, 2]));
    let y = m.node("Gather", &[&y, &index], &[("axis", Int(2))]);
    let one = m.ints(&[1]);
    let y = m.node("Squeeze", &[&y, &one], &[]);
    m.output(&y);
    let z = m.node("GlobalAveragePool", &[&parts[0]], &[]);
    let z = m.node("Flatten", &[&z], &[]);
    let w = m.random(&[3, 6], -1.0, 1.0);
    let z = m.node("Gemm", &[&z, &w], &[]);
    let z = m.node("Unsqueeze", &[&z, &axes], &[]);
    let z = m.node("Squeeze", &[&z, &axes], &[]);
    let z = m.node("Softmax", &[&z], &[("axis", Int(1))]);
    m.output(&z);
    ("layouts", m.build(), [4, 8, 8])
}

fn reshape(m: &mut Model, x: &str, shape: &[i64]) -> String {
    let shape = m.ints(shape);
    m.node("Reshape", &[x, &shape], &[])
}

/// From, to, axis, step.
fn slice(m: &mut Model, x: &str, range: [i64; 4]) -> String {
    let lists = range.map(|v| m.ints(&[v]));
    m.node("Slice", &[x, &lists[0], &lists[1], &lists[2], &lists[3]], &[])
}
