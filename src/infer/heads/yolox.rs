//! YOLOX (Ge et al., arXiv:2107.08430) with raw heads: boxes in strides
//! relative to the cell, sigmoid already applied to objectness and classes.

use super::{Detection, HeadError, Tensor, best, finite, grid, only};
use crate::geom::{Rect, Size};

pub fn decode(
    tensors: &[Tensor<'_>],
    input: Size,
    n_classes: usize,
    strides: &[u32],
    min_score: f32,
    out: &mut Vec<Detection>,
) -> Result<(), HeadError> {
    let tensor = only(tensors)?;
    let n_cells = strides.iter().map(|&s| grid(input, s)).map(|(w, h)| w * h).sum();
    let width = 5 + n_classes;
    let data = tensor.expect(&[n_cells, width])?;
    let mut rows = data.chunks_exact(width);
    let mut sum = 0.0;
    for &stride in strides {
        let (cols, n_rows) = grid(input, stride);
        let s = stride as f32;
        for y in 0..n_rows {
            for (x, row) in rows.by_ref().take(cols).enumerate() {
                let objectness = row[4];
                sum += objectness;
                // A class score is at most 1: it cannot lift a cell over the bar.
                if objectness < min_score {
                    continue;
                }
                let (class, top) = best(row[5..].iter().copied());
                finite(tensor.name, top)?;
                let score = objectness * top;
                if score >= min_score {
                    let (cx, cy) = ((row[0] + x as f32) * s, (row[1] + y as f32) * s);
                    let (w, h) = (row[2].exp() * s / 2.0, row[3].exp() * s / 2.0);
                    out.push(Detection {
                        class,
                        score,
                        bbox: Rect::new(cx - w, cy - h, cx + w, cy + h),
                        landmarks: None,
                    });
                }
            }
        }
    }
    finite(tensor.name, sum)
}
