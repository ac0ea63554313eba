//! Operations that compute nothing: they change how a map is read, see [`crate::graph::view`].

use super::consts::{MAX_RANK, axes_at};
use super::error::{Fail, invalid, unsupported};
use super::importer::Importer;
use super::known::{Known, Pieces};
use super::ops::{OpOutputs, axis_of};
use crate::import::onnx::NodeProto;

impl Importer {
    pub(super) fn space_to_depth(&mut self, node: &NodeProto) -> OpOutputs {
        let view = self.view(node, 0)?;
        let &[1, c, h, w] = view.shape().as_slice() else { return unsupported("anything but a map") };
        let b = usize::try_from(node.int("blocksize", 0)).unwrap_or(0);
        if b == 0 || !h.is_multiple_of(b) || !w.is_multiple_of(b) {
            return invalid(format!("blocks of {b} in {h}x{w}"));
        }
        let view = view
            .reshape(&[1, c, h / b, b, w / b, b])
            .and_then(|v| v.transpose(&[0, 3, 5, 1, 2, 4]))
            .and_then(|v| v.reshape(&[1, c * b * b, h / b, w / b]));
        view.map(|v| vec![Known::Map(Pieces::one(v))]).ok_or(Fail::Unsupported("this layout".into()))
    }

    pub(super) fn reshape(&mut self, node: &NodeProto) -> OpOutputs {
        let from = self.view(node, 0)?.shape();
        let Some(wanted) = self.ints(node, 1)?.or_else(|| node.ints("shape").map(<[i64]>::to_vec)) else {
            return invalid("no shape");
        };
        if wanted.len() > MAX_RANK {
            return invalid(format!("{} dimensions", wanted.len()));
        }
        let n: usize = from.iter().product();
        let mut shape = Vec::with_capacity(wanted.len());
        let mut open = None;
        for (i, &d) in wanted.iter().enumerate() {
            shape.push(match d {
                0 => *from.get(i).ok_or(Fail::Invalid(format!("shape {wanted:?}")))?,
                -1 if open.is_none() => {
                    open = Some(i);
                    1
                }
                d => usize::try_from(d).map_err(|_| Fail::Invalid(format!("shape {wanted:?}")))?,
            });
        }
        let given = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n > 0);
        let Some(given) = given else { return invalid(format!("shape {wanted:?}")) };
        if let Some(i) = open {
            shape[i] = n / given;
        }
        if shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) != Some(n) {
            return invalid(format!("{from:?} cannot become {wanted:?}"));
        }
        self.reshaped(node, &shape)
    }

    pub(super) fn reshaped(&mut self, node: &NodeProto, shape: &[usize]) -> OpOutputs {
        match self.view(node, 0)?.reshape(shape) {
            Some(view) => Ok(vec![Known::Map(Pieces::one(view))]),
            None => unsupported(format!("a reshape to {shape:?} that tears rows, columns or channels")),
        }
    }

    pub(super) fn transpose(&mut self, node: &NodeProto) -> OpOutputs {
        let mut pieces = self.pieces(node, 0)?.clone();
        let rank = pieces.shape().len();
        let order: Vec<usize> = match node.ints("perm") {
            Some(p) => p.iter().map(|i| usize::try_from(*i).unwrap_or(usize::MAX)).collect(),
            None => (0..rank).rev().collect(),
        };
        for view in &mut pieces.parts {
            let Some(turned) = view.transpose(&order) else {
                return invalid(format!("order {order:?} of {rank} axes"));
            };
            *view = turned;
        }
        pieces.axis = order.iter().position(|i| *i == pieces.axis).unwrap_or(0);
        Ok(vec![Known::Map(pieces)])
    }

    pub(super) fn slice(&mut self, node: &NodeProto) -> OpOutputs {
        let mut view = self.view(node, 0)?;
        let shape = view.shape();
        let list = |i: usize, name: &str| match node.ints(name) {
            Some(v) => Ok(Some(v.to_vec())),
            None => self.ints(node, i),
        };
        let (Some(starts), Some(ends)) = (list(1, "starts")?, list(2, "ends")?) else { return invalid("no range") };
        let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return invalid("ranges of different lengths");
        }
        for i in 0..starts.len() {
            let axis = axis_of(axes[i], shape.len())?;
            let size = shape[axis] as i64;
            if steps[i] < 1 {
                return unsupported(format!("a step of {}", steps[i]));
            }
            let clamp = |v: i64| (if v < 0 { v.saturating_add(size) } else { v }).clamp(0, size);
            let (from, to) = (clamp(starts[i]), clamp(ends[i]));
            let n = (to - from).max(0).unsigned_abs() as usize;
            let n = n.div_ceil(steps[i] as usize);
            let sliced = view.slice(axis, from as usize, steps[i] as usize, n);
            let Some(sliced) = sliced else { return unsupported(format!("{from}..{to} step {} of {size}", steps[i])) };
            view = sliced;
        }
        Ok(vec![Known::Map(Pieces::one(view))])
    }

    pub(super) fn split(&mut self, node: &NodeProto) -> OpOutputs {
        let view = self.view(node, 0)?;
        let shape = view.shape();
        let axis = axis_of(node.int("axis", 0), shape.len())?;
        let n = node.output.len();
        let sizes = match node.ints("split").map(<[i64]>::to_vec).or(self.ints(node, 1)?) {
            Some(v) => v,
            None => {
                let each = shape[axis].div_ceil(n.max(1));
                (0..n).map(|i| each.min(shape[axis].saturating_sub(i * each)) as i64).collect()
            }
        };
        if sizes.len() != n || sizes.iter().try_fold(0i64, |a, b| a.checked_add(*b)) != Some(shape[axis] as i64) {
            return invalid(format!("parts {sizes:?} of {}", shape[axis]));
        }
        let mut from = 0;
        let mut out = Vec::with_capacity(n);
        for size in sizes {
            let size = usize::try_from(size).unwrap_or(0);
            let Some(part) = view.slice(axis, from, 1, size) else {
                return unsupported(format!("a part of {size} at {from} of {}", shape[axis]));
            };
            out.push(Known::Map(Pieces::one(part)));
            from += size;
        }
        Ok(out)
    }

    pub(super) fn gather(&mut self, node: &NodeProto) -> OpOutputs {
        let view = self.view(node, 0)?;
        let shape = view.shape();
        let axis = axis_of(node.int("axis", 0), shape.len())?;
        let Some(index) = self.constant(node, 1) else { return unsupported("an index that is not constant") };
        let (Some(&[i]), scalar) = (index.as_ints(), index.dims.is_empty()) else {
            return unsupported("more than one index");
        };
        let i = if i < 0 { i + shape[axis] as i64 } else { i };
        let picked = usize::try_from(i).ok().and_then(|i| view.slice(axis, i, 1, 1));
        let picked = if scalar { picked.and_then(|v| v.squeeze(axis)) } else { picked };
        picked.map(|v| vec![Known::Map(Pieces::one(v))]).ok_or(Fail::Invalid(format!("index {i} of {shape:?}")))
    }

    pub(super) fn squeeze(&mut self, node: &NodeProto) -> OpOutputs {
        let mut view = self.view(node, 0)?;
        let grow = node.op_type == "Unsqueeze";
        let axes = match node.ints("axes") {
            Some(a) => a.to_vec(),
            None => self.ints(node, 1)?.unwrap_or_default(),
        };
        if axes.is_empty() {
            return unsupported("axes that are not given");
        }
        let rank = view.shape().len() + if grow { axes.len() } else { 0 };
        if rank > MAX_RANK {
            return invalid(format!("{rank} dimensions"));
        }
        let Some(mut axes) = axes_at(&axes, rank) else { return invalid(format!("axes {axes:?} of {rank}")) };
        if !grow {
            axes.reverse();
        }
        for axis in axes {
            let changed = if grow { view.unsqueeze(axis) } else { view.squeeze(axis) };
            let Some(changed) = changed else { return invalid(format!("axis {axis} of {:?}", view.shape())) };
            view = changed;
        }
        Ok(vec![Known::Map(Pieces::one(view))])
    }
}
