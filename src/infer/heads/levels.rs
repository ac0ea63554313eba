//! What a family of heads expects of a model's outputs: grids of cells, and for
//! each the planes of numbers that a cell is decoded from. Where the numbers
//! stand is the source's business: tensors of ONNX Runtime ([`Bound`]), or the
//! layer engine's maps.

use super::{Head, HeadError, Tensor, fastestdet, only, yunet};
use crate::geom::Size;

/// A grid of cells of one stride.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    pub cols: usize,
    pub rows: usize,
    pub stride: u32,
    pub planes: Vec<Plane>,
}

/// Numbers of each cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// The output's name; `None`: the only one.
    pub output: Option<String>,
    /// Numbers a cell.
    pub width: usize,
    /// Whether cells lie one after another (`[cells, width]`, levels too) or channels do (`[width, rows, cols]`).
    pub is_rows: bool,
}

impl Head {
    /// The levels of a model for pictures of `input` size; `None` for families that are not grids of cells.
    pub fn levels(&self, input: Size, n_classes: usize) -> Option<Vec<Level>> {
        let level = |stride: u32, planes: Vec<Plane>| Level {
            cols: (input.width / stride.max(1)) as usize,
            rows: (input.height / stride.max(1)) as usize,
            stride,
            planes,
        };
        let plane = |output: Option<String>, width: usize, is_rows: bool| Plane { output, width, is_rows };
        Some(match self {
            Self::Yolox { strides } => {
                strides.iter().map(|&s| level(s, vec![plane(None, 5 + n_classes, true)])).collect()
            }
            Self::Yunet { strides } => strides
                .iter()
                .map(|&s| {
                    let planes = yunet::PLANES.map(|(kind, width)| plane(Some(format!("{kind}_{s}")), width, true));
                    level(s, planes.to_vec())
                })
                .collect(),
            Self::Fastestdet {} => vec![level(fastestdet::STRIDE, vec![plane(None, 5 + n_classes, false)])],
            Self::Street { strides } => {
                strides.iter().map(|&s| level(s, vec![plane(Some(format!("p{s}")), n_classes + 4, false)])).collect()
            }
            Self::Ultraface {} | Self::Yolov8 {} => return None,
        })
    }
}

/// A plane in a tensor: number `c` of cell `i` is `data[start + i * cell + c * channel]`.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    pub name: &'a str,
    pub data: &'a [f32],
    pub start: usize,
    pub cell: usize,
    pub channel: usize,
}

impl Bound<'_> {
    pub fn at(&self, i: usize, c: usize) -> f32 {
        self.data[self.start + i * self.cell + c * self.channel]
    }
}

/// Finds the planes of all levels, in order, in a model's outputs.
pub fn bind<'a>(levels: &[Level], tensors: &[Tensor<'a>]) -> Result<Vec<Vec<Bound<'a>>>, HeadError> {
    let mut first = 0;
    let n_all: usize = levels.iter().map(|l| l.cols * l.rows).sum();
    levels
        .iter()
        .map(|level| {
            let n = level.cols * level.rows;
            let planes = level.planes.iter().map(|plane| {
                let tensor = match &plane.output {
                    None => only(tensors)?,
                    Some(name) => super::named(tensors, name)?,
                };
                let (start, dims): (usize, &[usize]) = match (plane.is_rows, &plane.output) {
                    // All levels in one tensor, or each in its own.
                    (true, None) => (first * plane.width, &[n_all, plane.width]),
                    (true, Some(_)) => (0, &[n, plane.width]),
                    (false, _) => (0, &[plane.width, level.rows, level.cols]),
                };
                let data = tensor.expect(dims)?;
                let (cell, channel) = if plane.is_rows { (plane.width, 1) } else { (1, n) };
                Ok(Bound { name: tensor.name, data, start, cell, channel })
            });
            let planes = planes.collect();
            first += n;
            planes
        })
        .collect()
}
