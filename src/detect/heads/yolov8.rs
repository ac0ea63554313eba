//! YOLOv8 and YOLO11 "detect" exports: one column a cell, boxes decoded in the graph.

use super::tensor::{HeadError, Tensor, only};
use crate::detect::Detection;
use crate::geom::Rect;

pub fn decode(
    tensors: &[Tensor<'_>],
    n_classes: usize,
    min_score: f32,
    out: &mut Vec<Detection>,
) -> Result<(), HeadError> {
    let tensor = only(tensors)?;
    let n_cells = tensor.shape.last().copied().unwrap_or(0).max(0) as usize;
    let data = tensor.expect_classes(&[4 + n_classes, n_cells], 0, 4)?;
    let row = |i: usize| &data[i * n_cells..][..n_cells];
    // Class rows lie far apart: go along each of them, not across.
    for class in 0..n_classes {
        let scores = row(4 + class);
        if !scores.iter().sum::<f32>().is_finite() {
            return Err(HeadError::NotFinite(tensor.name.into()));
        }
        for (i, &score) in scores.iter().enumerate().filter(|(_, s)| **s >= min_score) {
            let (cx, cy, w, h) = (row(0)[i], row(1)[i], row(2)[i] / 2.0, row(3)[i] / 2.0);
            let bbox = Rect::new(cx - w, cy - h, cx + w, cy + h);
            out.push(Detection::new(class as u16, score, bbox));
        }
    }
    Ok(())
}
