//! Layout algebra: what `Reshape`, `Transpose`, `Slice` and `Gather` make of a map.
//!
//! Such operations compute nothing. A [`View`] keeps what they do as a list of
//! dimensions, each a product of factors of the map's own axes with a stride: a
//! reshape merges and splits factors, a transpose reorders dimensions, a slice
//! changes offsets, strides and sizes. At the end a view is either a map again
//! (a channel shuffle, a space-to-depth), or the way to read an output.

use super::shape::{ChannelSource, MapShape, ValueId};

/// An axis of a map, in the order of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    Row,
    Column,
    Channel,
}

/// `size` steps of `stride` along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    pub axis: Axis,
    pub size: usize,
    pub stride: usize,
}

/// A map, read in another order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub base: ValueId,
    /// Where it starts: row, column, channel.
    pub start: [usize; 3],
    /// Outer to inner; a dimension of size 1 has no factors.
    pub dims: Vec<Vec<Factor>>,
}

fn extent(dim: &[Factor]) -> usize {
    dim.iter().map(|f| f.size).product()
}

impl View {
    /// The map itself, `[1, c, h, w]`.
    pub fn whole(base: ValueId, s: MapShape) -> Self {
        let dim = |axis, size| if size == 1 { Vec::new() } else { vec![Factor { axis, size, stride: 1 }] };
        Self {
            base,
            start: [0; 3],
            dims: vec![Vec::new(), dim(Axis::Channel, s.c), dim(Axis::Row, s.h), dim(Axis::Column, s.w)],
        }
    }

    pub fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|d| extent(d)).collect()
    }

    pub fn n_values(&self) -> usize {
        self.dims.iter().map(|d| extent(d)).product()
    }

    /// Whether every value of the base is read exactly once.
    pub fn covers(&self, base: MapShape) -> bool {
        self.start == [0; 3] && self.n_values() == base.n_values()
    }

    /// The same values in the same order as `shape`; `None` if a factor would have to be torn.
    pub fn reshape(&self, shape: &[usize]) -> Option<Self> {
        if shape.iter().product::<usize>() != self.n_values() {
            return None;
        }
        let mut factors: Vec<Factor> = self.dims.concat();
        factors.reverse();
        let mut dims = Vec::with_capacity(shape.len());
        for &size in shape {
            let mut dim = Vec::new();
            let mut left = size;
            while left > 1 {
                let f = factors.pop()?;
                if left.is_multiple_of(f.size) {
                    left /= f.size;
                    dim.push(f);
                } else if f.size.is_multiple_of(left) {
                    let inner = f.size / left;
                    dim.push(Factor { size: left, stride: f.stride * inner, ..f });
                    factors.push(Factor { size: inner, ..f });
                    left = 1;
                } else {
                    return None;
                }
            }
            dims.push(join(dim));
        }
        Some(Self { dims, ..self.clone() })
    }

    pub fn transpose(&self, order: &[usize]) -> Option<Self> {
        let mut seen = vec![false; self.dims.len()];
        for &i in order {
            if std::mem::replace(seen.get_mut(i)?, true) {
                return None;
            }
        }
        if order.len() != self.dims.len() {
            return None;
        }
        Some(Self { dims: order.iter().map(|&i| self.dims[i].clone()).collect(), ..self.clone() })
    }

    /// `n` indices from `from` in steps of `step` along one dimension.
    pub fn slice(&self, dim: usize, from: usize, step: usize, n: usize) -> Option<Self> {
        let size = extent(self.dims.get(dim)?);
        if n == 0 || step == 0 || from.checked_add((n - 1).checked_mul(step)?)? >= size {
            return None;
        }
        if n == size {
            return Some(self.clone());
        }
        // Of one index the step does not matter, and may be anything.
        let step = if n == 1 { 1 } else { step };
        let mut view = self.clone();
        // A contiguous part whose borders lie on the inner factors', or one index.
        let mut inner = 1;
        for i in (0..self.dims[dim].len()).rev() {
            let f = self.dims[dim][i];
            let whole = extent(&self.dims[dim][..i]) == 1;
            if whole && from.is_multiple_of(inner) && (n * step).is_multiple_of(inner) && (step == 1 || inner == 1) {
                let (from, n) = (from / inner, n / inner);
                view.start[f.axis as usize] += from * f.stride;
                let kept = Factor { size: n, stride: f.stride * step, ..f };
                view.dims[dim].splice(i..=i, (n > 1).then_some(kept));
                return Some(view);
            }
            inner *= f.size;
        }
        if n == 1 {
            let mut index = from;
            for f in self.dims[dim].iter().rev() {
                view.start[f.axis as usize] += index % f.size * f.stride;
                index /= f.size;
            }
            view.dims[dim].clear();
            return Some(view);
        }
        None
    }

    /// Without a dimension of size 1.
    pub fn squeeze(&self, dim: usize) -> Option<Self> {
        let mut view = self.clone();
        (dim < view.dims.len() && view.dims.remove(dim).is_empty()).then_some(view)
    }

    /// With a new dimension of size 1.
    pub fn unsqueeze(&self, dim: usize) -> Option<Self> {
        let mut view = self.clone();
        (dim <= view.dims.len()).then(|| view.dims.insert(dim, Vec::new()))?;
        Some(view)
    }

    /// The view as a map: its shape, the stride of its cells, and where each channel comes from.
    /// `None` if rows and columns are not the last two dimensions.
    pub fn as_map(&self) -> Option<(MapShape, [usize; 2], Vec<ChannelSource>)> {
        let [n, c, h, w] = self.dims.as_slice() else { return None };
        if !n.is_empty() {
            return None;
        }
        let along = |dim: &[Factor], axis| match dim {
            [] => Some((1, 1)),
            [f] if f.axis == axis => Some((f.size, f.stride)),
            _ => None,
        };
        let (rows, sy) = along(h, Axis::Row)?;
        let (cols, sx) = along(w, Axis::Column)?;
        let mut sources = Vec::with_capacity(extent(c));
        for i in 0..extent(c) {
            let mut at = self.start;
            let mut index = i;
            for f in c.iter().rev() {
                at[f.axis as usize] += index % f.size * f.stride;
                index /= f.size;
            }
            sources.push(ChannelSource { dy: at[0], dx: at[1], c: at[2] });
        }
        Some((MapShape::new(rows, cols, sources.len()), [sy, sx], sources))
    }

    /// Calls `f` with row, column, channel of the base for every value in order.
    pub fn for_each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let factors: Vec<Factor> = self.dims.concat();
        let mut index = vec![0; factors.len()];
        let mut at = self.start;
        loop {
            f(at[0], at[1], at[2]);
            let mut i = factors.len();
            loop {
                if i == 0 {
                    return;
                }
                i -= 1;
                let k = factors[i].axis as usize;
                index[i] += 1;
                at[k] += factors[i].stride;
                if index[i] < factors[i].size {
                    break;
                }
                at[k] -= factors[i].size * factors[i].stride;
                index[i] = 0;
            }
        }
    }
}

/// Neighbours of one axis that continue each other become one.
fn join(dim: Vec<Factor>) -> Vec<Factor> {
    let mut out: Vec<Factor> = Vec::with_capacity(dim.len());
    for f in dim.into_iter().filter(|f| f.size > 1) {
        match out.last_mut() {
            Some(last) if last.axis == f.axis && last.stride == f.stride * f.size => {
                *last = Factor { size: last.size * f.size, ..f };
            }
            _ => out.push(f),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(h: usize, w: usize, c: usize) -> View {
        View::whole(ValueId(0), MapShape::new(h, w, c))
    }

    #[test]
    fn a_channel_shuffle_is_a_map_again() {
        let view = whole(2, 3, 6).reshape(&[1, 2, 3, 2, 3]).unwrap().transpose(&[0, 2, 1, 3, 4]).unwrap();
        let (shape, stride, sources) = view.reshape(&[1, 6, 2, 3]).unwrap().as_map().unwrap();
        assert_eq!((shape, stride), (MapShape::new(2, 3, 6), [1, 1]));
        assert_eq!(sources.iter().map(|s| s.c).collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn shuffle_with_flat_cells_and_a_gathered_half() {
        // As exported by ShuffleNet: pairs, halves, one half taken.
        let view = whole(2, 3, 8).reshape(&[4, 2, 6]).unwrap().transpose(&[1, 0, 2]).unwrap();
        let half = view.reshape(&[2, 1, 4, 2, 3]).unwrap().slice(0, 1, 1, 1).unwrap().squeeze(0).unwrap();
        let (_, _, sources) = half.as_map().unwrap();
        assert_eq!(sources.iter().map(|s| s.c).collect::<Vec<_>>(), [1, 3, 5, 7]);
    }

    #[test]
    fn space_to_depth_by_slices_and_by_reshape() {
        let corner = whole(4, 6, 3).slice(2, 1, 2, 2).unwrap().slice(3, 0, 2, 3).unwrap();
        let (shape, stride, sources) = corner.as_map().unwrap();
        assert_eq!((shape, stride), (MapShape::new(2, 3, 3), [2, 2]));
        assert_eq!(sources[2], ChannelSource { dy: 1, dx: 0, c: 2 });
        let folded = whole(4, 6, 1).reshape(&[1, 1, 2, 2, 3, 2]).unwrap().transpose(&[0, 1, 3, 5, 2, 4]).unwrap();
        let (shape, stride, sources) = folded.reshape(&[1, 4, 2, 3]).unwrap().as_map().unwrap();
        assert_eq!((shape, stride), (MapShape::new(2, 3, 4), [2, 2]));
        assert_eq!(sources.iter().map(|s| (s.dy, s.dx)).collect::<Vec<_>>(), [(0, 0), (0, 1), (1, 0), (1, 1)]);
    }

    #[test]
    fn rows_of_a_flattened_map_are_its_cells() {
        let rows = whole(2, 2, 2).reshape(&[1, 2, 4]).unwrap().transpose(&[0, 2, 1]).unwrap();
        assert_eq!(rows.shape(), [1, 4, 2]);
        let mut seen = Vec::new();
        rows.for_each(|y, x, c| seen.push((y, x, c)));
        assert_eq!(seen[..3], [(0, 0, 0), (0, 0, 1), (0, 1, 0)]);
        assert!(whole(2, 2, 3).reshape(&[2, 6]).is_none(), "channels of three cannot be torn into halves");
        assert!(rows.as_map().is_none());
    }
}
