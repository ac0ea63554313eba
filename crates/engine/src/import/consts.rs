//! Constants of a model: weights, shapes, and the small sums that exporters leave for a runtime to fold.

use super::error::Fail;
use crate::import::onnx::{self, data_type};

/// A constant tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Const {
    pub dims: Vec<usize>,
    pub data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

/// More values than this in one tensor are refused.
const MAX_VALUES: usize = 1 << 28;
/// More dimensions than this are refused.
pub const MAX_RANK: usize = 16;
/// Sums are folded for shapes, not for weights.
const MAX_FOLDED: usize = 1 << 16;

impl Const {
    pub fn ints(data: Vec<i64>) -> Self {
        Self { dims: vec![data.len()], data: Data::Ints(data) }
    }

    pub fn len(&self) -> usize {
        match &self.data {
            Data::Floats(v) => v.len(),
            Data::Ints(v) => v.len(),
        }
    }

    /// Reads a tensor of the file.
    pub fn read(t: &onnx::TensorProto) -> Result<Self, Fail> {
        let bad = |why: String| Fail::Invalid(format!("tensor '{}': {why}", t.name));
        if t.data_location != 0 {
            return Err(bad("its data are in another file; put them into this one".into()));
        }
        let mut dims = Vec::with_capacity(t.dims.len().min(16));
        let mut n = 1usize;
        for &d in &t.dims {
            let d = usize::try_from(d).map_err(|_| bad(format!("dimension {d}")))?;
            n = n.checked_mul(d).filter(|n| *n <= MAX_VALUES).ok_or_else(|| bad(format!("shape {:?}", t.dims)))?;
            dims.push(d);
        }
        let raw = &t.raw_data;
        let data = match t.data_type {
            data_type::FLOAT if raw.is_empty() => Data::Floats(t.float_data.clone()),
            data_type::FLOAT => Data::Floats(raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            data_type::INT64 if raw.is_empty() => Data::Ints(t.int64_data.clone()),
            data_type::INT64 => Data::Ints(raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            data_type::INT32 if raw.is_empty() => Data::Ints(t.int32_data.iter().map(|v| i64::from(*v)).collect()),
            data_type::INT32 => {
                Data::Ints(raw.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect())
            }
            other => return Err(bad(format!("element type {other} is not read (float, int32 and int64 are)"))),
        };
        let size = if t.data_type == data_type::INT64 { 8 } else { 4 };
        if !raw.len().is_multiple_of(size) {
            return Err(bad(format!("{} bytes are no whole number of values", raw.len())));
        }
        let found = Self { dims, data };
        if found.len() != n {
            return Err(bad(format!("{} values for shape {:?}", found.len(), t.dims)));
        }
        if !found.is_finite() {
            return Err(bad("holds values that are no finite numbers".into()));
        }
        Ok(found)
    }

    pub fn is_finite(&self) -> bool {
        self.as_floats().is_none_or(|v| v.iter().all(|x| x.is_finite()))
    }

    pub fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Ints(v) => Some(v),
            Data::Floats(_) => None,
        }
    }

    pub fn as_floats(&self) -> Option<&[f32]> {
        match &self.data {
            Data::Floats(v) => Some(v),
            Data::Ints(_) => None,
        }
    }

    /// The only value, as a number.
    pub fn scalar(&self) -> Option<f32> {
        match &self.data {
            Data::Floats(v) if v.len() == 1 => Some(v[0]),
            Data::Ints(v) if v.len() == 1 => Some(v[0] as f32),
            _ => None,
        }
    }
}

/// Computes an operation all of whose inputs are constants. `None`: not one that is folded,
/// or its result is no number.
pub fn fold(node: &onnx::NodeProto, inputs: &[Option<&Const>]) -> Option<Const> {
    let first = *inputs.first()?.as_ref()?;
    if inputs.iter().flatten().any(|c| c.len() > MAX_FOLDED) && node.op_type != "Identity" {
        return None;
    }
    let second = inputs.get(1).copied().flatten();
    match node.op_type.as_str() {
        "Identity" => Some(first.clone()),
        "Cast" => match (node.int("to", 0) as i32, &first.data) {
            (data_type::FLOAT, Data::Ints(v)) => {
                Some(Const { dims: first.dims.clone(), data: Data::Floats(v.iter().map(|x| *x as f32).collect()) })
            }
            (data_type::INT32 | data_type::INT64, Data::Floats(v)) => {
                Some(Const { dims: first.dims.clone(), data: Data::Ints(v.iter().map(|x| *x as i64).collect()) })
            }
            (data_type::FLOAT | data_type::INT32 | data_type::INT64, _) => Some(first.clone()),
            _ => None,
        },
        "Floor" => {
            let v = first.as_floats()?;
            Some(Const { dims: first.dims.clone(), data: Data::Floats(v.iter().map(|x| x.floor()).collect()) })
        }
        "Squeeze" | "Unsqueeze" => {
            let axes = node.ints("axes").or_else(|| second?.as_ints())?;
            let dims =
                if node.op_type == "Squeeze" { squeezed(&first.dims, axes)? } else { unsqueezed(&first.dims, axes)? };
            Some(Const { dims, ..first.clone() })
        }
        "Gather" => {
            let from = first.as_ints()?;
            let index = second?.as_ints()?;
            let picked: Option<Vec<i64>> = index
                .iter()
                .map(|&i| usize::try_from(if i < 0 { i + from.len() as i64 } else { i }).ok())
                .map(|i| from.get(i?).copied())
                .collect();
            Some(Const::ints(picked?))
        }
        "Slice" => {
            let v = first.as_ints()?;
            let at = |i: usize| inputs.get(i).copied().flatten().and_then(Const::as_ints).and_then(|v| v.first());
            if at(4).is_some_and(|step| *step != 1) {
                return None;
            }
            let n = v.len() as i64;
            let clamp = |i: i64| (if i < 0 { i.saturating_add(n) } else { i }).clamp(0, n) as usize;
            let (from, to) = (clamp(*at(1)?), clamp(*at(2)?));
            Some(Const::ints(v.get(from..to.max(from))?.to_vec()))
        }
        "Concat" => {
            let mut all = Vec::new();
            for c in inputs {
                all.extend_from_slice((*c)?.as_ints()?);
                if all.len() > MAX_FOLDED {
                    return None;
                }
            }
            Some(Const::ints(all))
        }
        op @ ("Add" | "Sub" | "Mul" | "Div") => zip(op, first, second?),
        _ => None,
    }
}

/// Where an axis that may count from the end is; `None` outside.
pub fn axis_at(axis: i64, rank: usize) -> Option<usize> {
    let at = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
    usize::try_from(at).ok().filter(|a| *a < rank)
}

/// The same axes counted from the start, in order; `None` if one is outside or named twice.
pub fn axes_at(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let mut at = axes.iter().map(|a| axis_at(*a, rank)).collect::<Option<Vec<usize>>>()?;
    at.sort_unstable();
    at.windows(2).all(|pair| pair[0] != pair[1]).then_some(at)
}

fn squeezed(dims: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let axes = axes_at(axes, dims.len())?;
    let kept = |i: &usize| !axes.contains(i);
    axes.iter().all(|a| dims[*a] == 1).then(|| (0..dims.len()).filter(kept).map(|i| dims[i]).collect())
}

fn unsqueezed(dims: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let rank = dims.len() + axes.len();
    let axes = axes_at(axes, rank.min(MAX_RANK)).filter(|_| rank <= MAX_RANK)?;
    let mut rest = dims.iter();
    (0..rank).map(|i| if axes.contains(&i) { Some(1) } else { rest.next().copied() }).collect()
}

fn zip(op: &str, a: &Const, b: &Const) -> Option<Const> {
    let n = a.len().max(b.len());
    if (a.len() != n && a.len() != 1) || (b.len() != n && b.len() != 1) {
        return None;
    }
    let data = match (&a.data, &b.data) {
        (Data::Ints(x), Data::Ints(y)) => Data::Ints(
            (0..n)
                .map(|i| {
                    let (x, y) = (x[i % x.len()], y[i % y.len()]);
                    match op {
                        "Add" => x.checked_add(y),
                        "Sub" => x.checked_sub(y),
                        "Mul" => x.checked_mul(y),
                        _ => x.checked_div(y),
                    }
                })
                .collect::<Option<_>>()?,
        ),
        (Data::Floats(x), Data::Floats(y)) => Data::Floats(
            (0..n)
                .map(|i| {
                    let (x, y) = (x[i % x.len()], y[i % y.len()]);
                    match op {
                        "Add" => x + y,
                        "Sub" => x - y,
                        "Mul" => x * y,
                        _ => x / y,
                    }
                })
                .collect(),
        ),
        _ => return None,
    };
    let dims = if a.len() == n { a.dims.clone() } else { b.dims.clone() };
    Some(Const { dims, data }).filter(Const::is_finite)
}
