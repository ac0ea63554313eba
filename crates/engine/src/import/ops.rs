//! One function an ONNX operation, or a family of them.

use super::consts::{Const, Data, axis_at};
use super::error::{Fail, invalid, unsupported};
use super::importer::{Importer, MAX_CHANNELS, MAX_PARTS};
use super::known::{Known, Pieces};
use crate::graph::view::View;
use crate::graph::{Act, Binary, Conv, Coordinates, MapShape, Op, PoolKind, Resize, Rounding, ValueId, Window};
use crate::import::onnx::NodeProto;

/// Windows larger than this are refused.
const MAX_KERNEL: i64 = 256;
/// A transposed convolution is as many convolutions as its strides' product.
const MAX_TRANSPOSED_STRIDE: usize = 16;

pub(super) type OpOutputs = Result<Vec<Known>, Fail>;

impl Importer {
    pub(super) fn operation(&mut self, node: &NodeProto) -> OpOutputs {
        match node.op_type.as_str() {
            "Constant" => constant(node),
            "Identity" | "Dropout" => Ok(vec![Known::Map(self.pieces(node, 0)?.clone())]),
            "Shape" => self.shape(node),
            "Conv" => self.conv(node),
            "ConvTranspose" => self.conv_transpose(node),
            "Gemm" => self.gemm(node),
            "BatchNormalization" => self.batch_normalization(node),
            "Relu" => self.act(node, Act::Relu),
            "LeakyRelu" => self.act(node, Act::Leaky(number(node, "alpha", 0.01)?)),
            "Sigmoid" => self.act(node, Act::Sigmoid),
            "Tanh" => self.act(node, Act::Tanh),
            "HardSwish" => self.act(node, Act::HardSwish),
            "HardSigmoid" => self.act(node, Act::HardSigmoid(number(node, "alpha", 0.2)?, number(node, "beta", 0.5)?)),
            "Clip" => self.clip(node),
            "PRelu" => self.prelu(node),
            "Add" => self.binary(node, Binary::Add),
            "Sub" => self.binary(node, Binary::Sub),
            "Mul" => self.binary(node, Binary::Mul),
            "Div" => self.binary(node, Binary::Div),
            "MaxPool" => self.pool(node, PoolKind::Max),
            "AveragePool" => self.pool(node, PoolKind::Average { count_pad: node.int("count_include_pad", 0) != 0 }),
            "GlobalAveragePool" => self.global_average(node),
            "ReduceMean" => self.reduce_mean(node),
            "Resize" | "Upsample" => self.resize(node),
            "Concat" => self.concat(node),
            "Softmax" => self.softmax(node),
            "Pad" => self.pad(node),
            "SpaceToDepth" => self.space_to_depth(node),
            "Reshape" => self.reshape(node),
            "Flatten" => {
                let shape = self.view(node, 0)?.shape();
                let axis = axis_of(node.int("axis", 1), shape.len() + 1)?;
                self.reshaped(node, &[shape[..axis].iter().product(), shape[axis..].iter().product()])
            }
            "Transpose" => self.transpose(node),
            "Slice" => self.slice(node),
            "Split" => self.split(node),
            "Gather" => self.gather(node),
            "Squeeze" | "Unsqueeze" => self.squeeze(node),
            _ => unsupported("this operation"),
        }
    }

    fn shape(&self, node: &NodeProto) -> OpOutputs {
        let dims = self.pieces(node, 0)?.shape();
        let rank = dims.len() as i64;
        let clamp = |i: i64| (if i < 0 { i.saturating_add(rank) } else { i }).clamp(0, rank) as usize;
        let (from, to) = (clamp(node.int("start", 0)), clamp(node.int("end", i64::MAX)));
        let part = dims.get(from..to).unwrap_or_default();
        Ok(vec![Known::Const(Const::ints(part.iter().map(|d| *d as i64).collect()))])
    }

    fn conv(&mut self, node: &NodeProto) -> OpOutputs {
        let x = self.map(node, 0)?;
        let s = self.graph.shape(x);
        let Some(weights) = self.constant(node, 1) else { return unsupported("weights that are not constant") };
        let (&[n_out, per_group, kh, kw], Some(data)) = (weights.dims.as_slice(), weights.as_floats()) else {
            return unsupported(format!("weights of shape {:?}", weights.dims));
        };
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        if groups == 0 || per_group.checked_mul(groups) != Some(s.c) || n_out == 0 || !n_out.is_multiple_of(groups) {
            return invalid(format!("weights {:?} in {groups} groups do not fit {} channels", weights.dims, s.c));
        }
        let taps = kh * kw;
        let n = data.len();
        self.count_weights(n, n_out / groups)?;
        let Some(data) = self.constant(node, 1).and_then(Const::as_floats) else { return unsupported("weights") };
        let mut packed = vec![0.0; n];
        for (from, to) in
            data.chunks_exact((per_group * taps).max(1)).zip(packed.chunks_exact_mut((per_group * taps).max(1)))
        {
            for c in 0..per_group {
                for t in 0..taps {
                    to[t * per_group + c] = from[c * taps + t];
                }
            }
        }
        let bias = self.bias(node, n_out)?;
        let window = window(node, [kh, kw], s)?;
        let shape = slid(s, &window, n_out)?;
        let conv =
            Conv { window, groups, weights: packed, bias, act: Act::Identity, post: Act::Identity, transposed: false };
        self.emit(&node.output[0], Op::Conv(Box::new(conv)), vec![x], shape)
    }

    fn bias(&self, node: &NodeProto, n: usize) -> Result<Vec<f32>, Fail> {
        match self.floats(node, 2)? {
            None => Ok(vec![0.0; n]),
            Some(b) if b.len() == n => Ok(b.to_vec()),
            Some(b) => invalid(format!("{} biases for {n} channels", b.len())),
        }
    }

    fn conv_transpose(&mut self, node: &NodeProto) -> OpOutputs {
        let x = self.map(node, 0)?;
        let s = self.graph.shape(x);
        let Some(weights) = self.constant(node, 1) else { return unsupported("weights that are not constant") };
        let (&[n_in, per_group, kh, kw], Some(data)) = (weights.dims.as_slice(), weights.as_floats()) else {
            return unsupported(format!("weights of shape {:?}", weights.dims));
        };
        if node.int("group", 1) != 1 || n_in != s.c {
            return unsupported(format!("weights {:?} on {} channels, in groups", weights.dims, s.c));
        }
        if node.ints("output_shape").is_some_and(|v| !v.is_empty()) {
            return unsupported("output_shape");
        }
        // Checks the sides; no weights at all could have any.
        let mut window = window(node, [kh, kw], s)?;
        let taps = kh * kw;
        let n_out = per_group;
        if window.stride.iter().any(|s| *s > MAX_TRANSPOSED_STRIDE) {
            return unsupported(format!("strides {:?} of a transposed convolution", window.stride));
        }
        let n = data.len();
        self.count_weights(n, n_out)?;
        let Some(data) = self.constant(node, 1).and_then(Const::as_floats) else { return unsupported("weights") };
        let mut packed = vec![0.0; n];
        for i in 0..n_in {
            for o in 0..n_out {
                for t in 0..taps {
                    packed[(o * taps + t) * n_in + i] = data[(i * n_out + o) * taps + t];
                }
            }
        }
        let bias = self.bias(node, n_out)?;
        let extra = pair(node, "output_padding", 0)?;
        let mut sides = [0; 2];
        for i in 0..2 {
            let Some(pad_end) = window.pad_end[i].checked_sub(extra[i]) else {
                return unsupported("output_padding beyond pads");
            };
            if extra[i] > 0 && extra[i] >= window.stride[i] {
                return invalid("output_padding that is no smaller than the stride");
            }
            window.pad_end[i] = pad_end;
            let full = ([s.h, s.w][i] - 1) * window.stride[i] + window.dilation[i] * (window.kernel[i] - 1) + 1;
            let Some(side) = full.checked_sub(window.pad[i] + pad_end).filter(|n| *n > 0) else {
                return invalid("pads leave nothing");
            };
            sides[i] = side;
        }
        let conv = Conv {
            window,
            groups: 1,
            weights: packed,
            bias,
            act: Act::Identity,
            post: Act::Identity,
            transposed: true,
        };
        let shape = MapShape::new(sides[0], sides[1], n_out);
        self.emit(&node.output[0], Op::Conv(Box::new(conv)), vec![x], shape)
    }

    /// A fully connected layer on one cell is a convolution of one cell.
    fn gemm(&mut self, node: &NodeProto) -> OpOutputs {
        let view = self.view(node, 0)?;
        let &[1, n_in] = view.shape().as_slice() else {
            return unsupported(format!("a matrix of {:?} as input", view.shape()));
        };
        let cell = view.reshape(&[1, n_in, 1, 1]).map(|v| self.materialise(&v, &node.input[0]));
        let Some(x) = cell.transpose()? else { return unsupported("this layout") };
        let Some(weights) = self.constant(node, 1) else { return unsupported("weights that are not constant") };
        let (&[rows, cols], Some(data)) = (weights.dims.as_slice(), weights.as_floats()) else {
            return unsupported(format!("weights of shape {:?}", weights.dims));
        };
        let across = node.int("transB", 0) != 0;
        let (n_out, depth) = if across { (rows, cols) } else { (cols, rows) };
        if depth != n_in || node.int("transA", 0) != 0 || n_out == 0 {
            return invalid(format!("weights {:?} do not fit {n_in} numbers", weights.dims));
        }
        let alpha = number(node, "alpha", 1.0)?;
        let n = data.len();
        self.count_weights(n, n_out)?;
        let Some(data) = self.constant(node, 1).and_then(Const::as_floats) else { return unsupported("weights") };
        let at = |o: usize, i: usize| if across { data[o * cols + i] } else { data[i * cols + o] };
        let weights: Vec<f32> = (0..n_out).flat_map(|o| (0..n_in).map(move |i| at(o, i) * alpha)).collect();
        let beta = number(node, "beta", 1.0)?;
        let bias: Vec<f32> = self.bias(node, n_out)?.iter().map(|b| b * beta).collect();
        if !weights.iter().chain(&bias).all(|v| v.is_finite()) {
            return invalid("weights and factors give no finite numbers");
        }
        let conv = Conv {
            window: Window::POINT,
            groups: 1,
            weights,
            bias,
            act: Act::Identity,
            post: Act::Identity,
            transposed: false,
        };
        let name = &node.output[0];
        let shape = MapShape::new(1, 1, n_out);
        let out = self.add_value(name, shape)?;
        self.graph.nodes.push(crate::graph::Node { op: Op::Conv(Box::new(conv)), inputs: vec![x], output: out });
        let flat = View::whole(out, shape).reshape(&[1, n_out]);
        flat.map(|v| vec![Known::Map(Pieces::one(v))]).ok_or(Fail::Unsupported("this layout".into()))
    }

    fn batch_normalization(&mut self, node: &NodeProto) -> OpOutputs {
        let x = self.map(node, 0)?;
        let s = self.graph.shape(x);
        let mut inputs = [&[][..]; 4];
        for (i, input) in inputs.iter_mut().enumerate() {
            let v = self.floats(node, i + 1)?.unwrap_or_default();
            if v.len() != s.c {
                return invalid(format!("{} statistics for {} channels", v.len(), s.c));
            }
            *input = v;
        }
        let [gamma, beta, mean, var] = inputs;
        let epsilon = node.float("epsilon", 1e-5);
        let scale: Vec<f32> = gamma.iter().zip(var).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift: Vec<f32> = (0..s.c).map(|c| beta[c] - mean[c] * scale[c]).collect();
        if !scale.iter().chain(&shift).all(|v| v.is_finite()) {
            return invalid("statistics give no finite numbers");
        }
        self.emit(&node.output[0], Op::Affine { scale, shift }, vec![x], s)
    }

    /// Element by element on whatever layout: on the maps below it.
    fn each(&mut self, node: &NodeProto, op: &Op) -> OpOutputs {
        let mut pieces = self.pieces(node, 0)?.clone();
        for (i, view) in pieces.parts.iter_mut().enumerate() {
            let shape = self.graph.shape(view.base);
            if !view.covers(shape) {
                // A part of a map: only that part becomes a map of its own.
                let base = self.materialise(view, &node.input[0])?;
                *view = View::whole(base, self.graph.shape(base));
            }
            let shape = self.graph.shape(view.base);
            let name = if i == 0 { node.output[0].clone() } else { format!("{}/{i}", node.output[0]) };
            let output = self.add_value(&name, shape)?;
            self.graph.nodes.push(crate::graph::Node { op: op.clone(), inputs: vec![view.base], output });
            view.base = output;
        }
        Ok(vec![Known::Map(pieces)])
    }

    fn act(&mut self, node: &NodeProto, act: Act) -> OpOutputs {
        self.each(node, &Op::Act(act))
    }

    fn clip(&mut self, node: &NodeProto) -> OpOutputs {
        let bound = |i: usize, name: &str, default: f32| match self.floats(node, i)? {
            Some([v]) => Ok(*v),
            Some(_) => invalid("a bound is no single number"),
            None => number(node, name, default),
        };
        let (low, high) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
        self.act(node, Act::Clip(low, high))
    }

    fn prelu(&mut self, node: &NodeProto) -> OpOutputs {
        let x = self.map(node, 0)?;
        let s = self.graph.shape(x);
        let slope = self.constant(node, 1).and_then(|c| Some((c.dims.as_slice(), c.as_floats()?)));
        let slope = match slope {
            Some((_, [one])) => vec![*one; s.c],
            Some(([n, 1, 1] | [1, n, 1, 1], v)) if *n == s.c => v.to_vec(),
            _ => return unsupported("slopes that are not one a channel"),
        };
        self.emit(&node.output[0], Op::Act(Act::PRelu(slope)), vec![x], s)
    }

    fn binary(&mut self, node: &NodeProto, op: Binary) -> OpOutputs {
        match (self.constant(node, 0), self.constant(node, 1)) {
            (None, Some(c)) => {
                let c = c.clone();
                self.affine(node, 0, &c, op, false)
            }
            (Some(c), None) => {
                let c = c.clone();
                self.affine(node, 1, &c, op, true)
            }
            _ => {
                let (mut a, mut b) = (self.map(node, 0)?, self.map(node, 1)?);
                let (mut sa, mut sb) = (self.graph.shape(a), self.graph.shape(b));
                if sa != sb && sa.n_cells() == 1 && matches!(op, Binary::Add | Binary::Mul) {
                    (a, b, sa, sb) = (b, a, sb, sa);
                }
                if sa != sb && sb != MapShape::new(1, 1, sa.c) {
                    return unsupported(format!("maps of {sa} and {sb}"));
                }
                self.emit(&node.output[0], Op::Binary(op), vec![a, b], sa)
            }
        }
    }

    /// A map and a constant.
    fn affine(&mut self, node: &NodeProto, at: usize, c: &Const, op: Binary, reversed: bool) -> OpOutputs {
        let Some(data) = c.as_floats() else { return unsupported("a constant that is not of floats") };
        let apply = |v: f32| match (op, reversed) {
            (Binary::Add, _) => Ok((1.0, v)),
            (Binary::Mul, _) => Ok((v, 0.0)),
            (Binary::Sub, false) => Ok((1.0, -v)),
            (Binary::Sub, true) => Ok((-1.0, v)),
            (Binary::Div, false) if v != 0.0 => Ok((1.0 / v, 0.0)),
            (Binary::Div, _) => unsupported("division of a constant by a map, or by 0"),
        };
        let x = self.map(node, at)?;
        let s = self.graph.shape(x);
        let per_channel = match c.dims.as_slice() {
            _ if data.len() == 1 => false,
            [n, 1, 1] | [1, n, 1, 1] if *n == s.c => true,
            dims => return unsupported(format!("a constant of shape {dims:?} with a map of {s}")),
        };
        let pairs: Result<Vec<(f32, f32)>, Fail> =
            (0..s.c).map(|i| apply(data[if per_channel { i } else { 0 }])).collect();
        let (scale, shift): (Vec<f32>, Vec<f32>) = pairs?.into_iter().unzip();
        if !scale.iter().chain(&shift).all(|v| v.is_finite()) {
            return invalid("the constant gives no finite numbers");
        }
        self.emit(&node.output[0], Op::Affine { scale, shift }, vec![x], s)
    }

    fn pool(&mut self, node: &NodeProto, kind: PoolKind) -> OpOutputs {
        let x = self.map(node, 0)?;
        let s = self.graph.shape(x);
        let Some(&[kh, kw]) = node.ints("kernel_shape") else { return invalid("no kernel_shape of two numbers") };
        let kernel = [kh, kw].map(|k| usize::try_from(k).unwrap_or(0));
        let mut window = window(node, kernel, s)?;
        let dilated = window.dilation != [1; 2];
        if (0..2).any(|i| [window.pad[i], window.pad_end[i]].iter().any(|p| *p >= kernel[i] || dilated && *p > 0)) {
            return unsupported("windows that may lie in the padding only");
        }
        let ceil = node.int("ceil_mode", 0);
        if !(0..=1).contains(&ceil) {
            return invalid(format!("ceil_mode {ceil}"));
        }
        if ceil == 1 {
            if kind != PoolKind::Max {
                return unsupported("ceil_mode of an average");
            }
            for (i, size) in [s.h, s.w].into_iter().enumerate() {
                let reach = window.dilation[i] * (window.kernel[i] - 1) + 1;
                let Some(room) = (size + window.pad[i] + window.pad_end[i]).checked_sub(reach) else {
                    return invalid("the window is larger than the map");
                };
                let mut n = room.div_ceil(window.stride[i]) + 1;
                // No window begins beyond the map.
                if (n - 1) * window.stride[i] >= size + window.pad[i] {
                    n -= 1;
                }
                window.pad_end[i] = ((n - 1) * window.stride[i] + reach).saturating_sub(size + window.pad[i]);
            }
        }
        let shape = slid(s, &window, s.c)?;
        self.emit(&node.output[0], Op::Pool(kind, window), vec![x], shape)
    }

    fn global_average(&mut self, node: &NodeProto) -> OpOutputs {
        let x = self.map(node, 0)?;
        let shape = MapShape::new(1, 1, self.graph.shape(x).c);
        self.emit(&node.output[0], Op::GlobalAverage, vec![x], shape)
    }

    fn reduce_mean(&mut self, node: &NodeProto) -> OpOutputs {
        let mut axes = match node.ints("axes") {
            Some(v) => v.to_vec(),
            None => self.ints(node, 1)?.unwrap_or_default(),
        };
        axes.iter_mut().filter(|a| **a < 0).for_each(|a| *a += 4);
        axes.sort_unstable();
        if axes != [2, 3] {
            return unsupported(format!("a mean over axes {axes:?}"));
        }
        let keep = node.int("keepdims", 1) != 0;
        let out = self.global_average(node)?;
        match out.as_slice() {
            [Known::Map(p)] if !keep => {
                let flat = p.parts[0].squeeze(3).and_then(|v| v.squeeze(2));
                flat.map(|v| vec![Known::Map(Pieces::one(v))]).ok_or(Fail::Unsupported("this layout".into()))
            }
            _ => Ok(out),
        }
    }

    fn resize(&mut self, node: &NodeProto) -> OpOutputs {
        let x = self.map(node, 0)?;
        let s = self.graph.shape(x);
        // Upsample and the first Resize: (x, scales); later: (x, roi, scales, sizes).
        let old = node.op_type == "Upsample" || self.opset < 11;
        let stretched = node.text("keep_aspect_ratio_policy", "stretch") == "stretch";
        if node.int("antialias", 0) != 0 || node.ints("axes").is_some() || !stretched {
            return unsupported("antialias, axes or an aspect ratio");
        }
        let scales = match node.attribute("scales") {
            Some(a) if old && !a.floats.is_empty() => Some(a.floats.clone()),
            _ => self.floats(node, if old { 1 } else { 2 })?.map(<[f32]>::to_vec),
        };
        let sizes = if old { None } else { self.ints(node, 3)? };
        let sides = match (scales.as_deref(), sizes.as_deref()) {
            (_, Some(&[1, c, h, w])) if c == s.c as i64 => [h, w].map(|v| usize::try_from(v).unwrap_or(0)),
            (Some(&[1.0, 1.0, y, x]), _) if (0.01..=64.0).contains(&y) && (0.01..=64.0).contains(&x) => {
                [(s.h as f32 * y).floor() as usize, (s.w as f32 * x).floor() as usize]
            }
            other => return unsupported(format!("scales and sizes {other:?}")),
        };
        if sides.iter().any(|v| !(1..=1 << 16).contains(v)) {
            return invalid(format!("a size of {sides:?}"));
        }
        // Elsewhere ONNX Runtime samples by the given scale, not by the quotient of the sizes.
        if let Some(&[_, _, y, x]) = scales.as_deref()
            && (s.h as f32 * y != sides[0] as f32 || s.w as f32 * x != sides[1] as f32)
        {
            return unsupported(format!("scales {scales:?} that do not give whole sizes"));
        }
        let coordinates =
            match node.text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" }).as_str() {
                "asymmetric" => Coordinates::Asymmetric,
                "half_pixel" => Coordinates::HalfPixel,
                "pytorch_half_pixel" if sides.iter().all(|v| *v > 1) => Coordinates::HalfPixel,
                "align_corners" => Coordinates::AlignCorners,
                other => return unsupported(format!("coordinates {other}")),
            };
        let rounding = match node.text("nearest_mode", "round_prefer_floor").as_str() {
            // ONNX Runtime rounds up where it shrinks; the operation's text leaves it open.
            _ if old && sides[0] <= s.h && sides[1] <= s.w => Rounding::Ceil,
            _ if old && sides[0] >= s.h && sides[1] >= s.w => Rounding::Floor,
            _ if old => return unsupported("growing one way and shrinking the other"),
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "round_prefer_floor" => Rounding::PreferFloor,
            other => return unsupported(format!("rounding {other}")),
        };
        let how = match node.text("mode", "nearest").as_str() {
            "nearest" => Resize::Nearest(coordinates, rounding),
            "linear" => Resize::Bilinear(coordinates),
            other => return unsupported(format!("mode {other}")),
        };
        self.emit(&node.output[0], Op::Resize(how), vec![x], MapShape::new(sides[0], sides[1], s.c))
    }

    fn concat(&mut self, node: &NodeProto) -> OpOutputs {
        let inputs: Result<Vec<Pieces>, Fail> = (0..node.input.len()).map(|i| self.pieces(node, i).cloned()).collect();
        let inputs = inputs?;
        let Some(first) = inputs.first() else { return invalid("no inputs") };
        let shape = first.shape();
        let axis = axis_of(node.int("axis", 1), shape.len())?;
        for other in &inputs[1..] {
            let other = other.shape();
            if other.len() != shape.len() || (0..shape.len()).any(|i| i != axis && other[i] != shape[i]) {
                return invalid(format!("shapes {shape:?} and {other:?} do not fit along axis {axis}"));
            }
        }
        if inputs.len() == 1 {
            return Ok(vec![Known::Map(inputs[0].clone())]);
        }
        // Few enough channels first: whether a view is a map is found by listing them.
        let few = inputs.iter().map(|p| p.shape()[axis]).sum::<usize>() <= MAX_CHANNELS;
        let is_map = |p: &Pieces| p.parts.len() == 1 && p.parts[0].as_map().is_some();
        if axis == 1 && shape.len() == 4 && few && inputs.iter().all(is_map) {
            let maps: Result<Vec<ValueId>, Fail> = (0..inputs.len()).map(|i| self.map(node, i)).collect();
            let maps = maps?;
            let c = maps.iter().map(|m| self.graph.shape(*m).c).sum();
            let s = self.graph.shape(maps[0]);
            return self.emit(&node.output[0], Op::Concat, maps, MapShape::new(s.h, s.w, c));
        }
        if inputs.iter().any(|p| p.parts.len() > 1 && p.axis != axis) {
            return unsupported("parts that lie along different axes");
        }
        let parts: Vec<View> = inputs.into_iter().flat_map(|p| p.parts).collect();
        if parts.len() > MAX_PARTS {
            return unsupported(format!("{} maps that are joined are too many", parts.len()));
        }
        Ok(vec![Known::Map(Pieces { axis, parts })])
    }

    fn softmax(&mut self, node: &NodeProto) -> OpOutputs {
        let pieces = self.pieces(node, 0)?;
        let rank = pieces.shape().len();
        let axis = axis_of(node.int("axis", if self.opset < 13 { 1 } else { -1 }), rank)?;
        // Before opset 13 everything from the axis on is one run.
        if self.opset < 13 && axis + 1 != rank {
            return unsupported("a softmax over more than one axis");
        }
        if pieces.parts.len() > 1 && pieces.axis == axis {
            return unsupported("a softmax across maps");
        }
        let mut group = None;
        for view in &pieces.parts {
            let fits = match view.dims[axis].as_slice() {
                [f] => f.axis == crate::graph::view::Axis::Channel && f.stride == 1,
                _ => false,
            };
            let n = view.dims[axis].first().map_or(1, |f| f.size);
            if !fits || group.is_some_and(|g| g != n) || !view.covers(self.graph.shape(view.base)) {
                return unsupported("a softmax that is not over neighbouring channels");
            }
            group = Some(n);
        }
        self.each(node, &Op::Softmax { group: group.unwrap_or(1) })
    }

    fn pad(&mut self, node: &NodeProto) -> OpOutputs {
        if node.text("mode", "constant") != "constant" {
            return unsupported(format!("mode {}", node.text("mode", "")));
        }
        let pads = match node.ints("pads") {
            Some(p) => p.to_vec(),
            None => self.ints(node, 1)?.unwrap_or_default(),
        };
        let value = match self.constant(node, 2) {
            Some(c) => c.scalar().unwrap_or(f32::NAN),
            None if node.input.get(2).is_none_or(String::is_empty) => node.float("value", 0.0),
            None => return unsupported("a value that is not constant"),
        };
        if !value.is_finite() {
            return invalid("the value is no single finite number");
        }
        // Since opset 18 for some axes only.
        let axes = self.ints(node, 3)?.unwrap_or_else(|| vec![0, 1, 2, 3]);
        if pads.len() != 2 * axes.len() {
            return invalid(format!("pads {pads:?} for axes {axes:?}"));
        }
        let mut sides = [[0; 2]; 4];
        for (i, axis) in axes.iter().enumerate() {
            sides[axis_of(*axis, 4)?] = [pads[i], pads[i + axes.len()]];
        }
        let [[0, 0], [0, 0], [top, bottom], [left, right]] = sides else {
            return unsupported(format!("pads {pads:?}"));
        };
        if [top, left, bottom, right].iter().any(|p| !(0..=1024).contains(p)) {
            return unsupported(format!("pads {pads:?}"));
        }
        if [top, left, bottom, right] == [0; 4] {
            return Ok(vec![Known::Map(self.pieces(node, 0)?.clone())]);
        }
        let x = self.map(node, 0)?;
        let s = self.graph.shape(x);
        let shape = MapShape::new(s.h + (top + bottom) as usize, s.w + (left + right) as usize, s.c);
        self.emit(&node.output[0], Op::Pad { before: [top as usize, left as usize], value }, vec![x], shape)
    }
}

fn constant(node: &NodeProto) -> OpOutputs {
    let value = if let Some(t) = node.attribute("value").and_then(|a| a.t.as_ref()) {
        Const::read(t)?
    } else if let Some(a) = node.attribute("value_float") {
        Const { dims: Vec::new(), data: Data::Floats(vec![a.f]) }
    } else if let Some(a) = node.attribute("value_int") {
        Const { dims: Vec::new(), data: Data::Ints(vec![a.i]) }
    } else if let Some(a) = node.attribute("value_ints") {
        Const::ints(a.ints.clone())
    } else if let Some(a) = node.attribute("value_floats") {
        Const { dims: vec![a.floats.len()], data: Data::Floats(a.floats.clone()) }
    } else {
        return unsupported("a constant of this kind");
    };
    if !value.is_finite() {
        return invalid("holds values that are no finite numbers");
    }
    Ok(vec![Known::Const(value)])
}

/// A finite number.
fn number(node: &NodeProto, name: &str, default: f32) -> Result<f32, Fail> {
    let v = node.float(name, default);
    if v.is_finite() { Ok(v) } else { invalid(format!("{name} {v} is no finite number")) }
}

pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize, Fail> {
    axis_at(axis, rank).ok_or_else(|| Fail::Invalid(format!("axis {axis} of {rank}")))
}

/// Two small numbers, one a direction.
fn pair(node: &NodeProto, name: &str, default: usize) -> Result<[usize; 2], Fail> {
    match node.ints(name) {
        None | Some([]) => Ok([default; 2]),
        Some(&[a, b]) if (0..=MAX_KERNEL).contains(&a) && (0..=MAX_KERNEL).contains(&b) => Ok([a as usize, b as usize]),
        Some(v) => unsupported(format!("{name} {v:?}")),
    }
}

fn window(node: &NodeProto, kernel: [usize; 2], s: MapShape) -> Result<Window, Fail> {
    let (stride, dilation) = (pair(node, "strides", 1)?, pair(node, "dilations", 1)?);
    let in_range = |k: usize| (1..=MAX_KERNEL as usize).contains(&k);
    if ![kernel, stride, dilation].iter().flatten().all(|k| in_range(*k)) {
        return invalid(format!("kernel {kernel:?}, strides {stride:?}, dilations {dilation:?}"));
    }
    let (mut pad, mut pad_end) = ([0; 2], [0; 2]);
    match node.text("auto_pad", "NOTSET").as_str() {
        "NOTSET" | "" => match node.ints("pads") {
            None | Some([]) => {}
            Some(&[t, l, b, r]) if [t, l, b, r].iter().all(|p| (0..=MAX_KERNEL).contains(p)) => {
                pad = [t as usize, l as usize];
                pad_end = [b as usize, r as usize];
            }
            Some(v) => return unsupported(format!("pads {v:?}")),
        },
        "VALID" => {}
        how @ ("SAME_UPPER" | "SAME_LOWER") => {
            for (i, size) in [s.h, s.w].into_iter().enumerate() {
                let n = size.div_ceil(stride[i]);
                let all = ((n - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1).saturating_sub(size);
                let (less, more) = (all / 2, all - all / 2);
                (pad[i], pad_end[i]) = if how == "SAME_UPPER" { (less, more) } else { (more, less) };
            }
        }
        other => return unsupported(format!("auto_pad {other}")),
    }
    Ok(Window { kernel, stride, dilation, pad, pad_end })
}

/// The shape of what a window sees.
fn slid(s: MapShape, w: &Window, c: usize) -> Result<MapShape, Fail> {
    let side = |i: usize, size: usize| {
        let reach = w.dilation[i] * (w.kernel[i] - 1) + 1;
        (size + w.pad[i] + w.pad_end[i]).checked_sub(reach).map(|room| room / w.stride[i] + 1)
    };
    match (side(0, s.h), side(1, s.w)) {
        (Some(h), Some(w)) => Ok(MapShape::new(h, w, c)),
        _ => invalid(format!("a window of {:?} is larger than a map of {s}", w.kernel)),
    }
}
