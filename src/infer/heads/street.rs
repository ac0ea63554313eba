//! The project's own head: one map a stride, distances from the cell's middle
//! to the four sides (as in FCOS, Tian et al., arXiv:1904.01355).

use super::{Detection, HeadError, Tensor, best, finite, grid, named, sigmoid};
use crate::geom::{Rect, Size};

/// Logarithms of distances beyond this are clipped, as in training.
const MAX_LOG: f32 = 4.0;

pub fn decode(
    tensors: &[Tensor<'_>],
    input: Size,
    n_classes: usize,
    strides: &[u32],
    min_score: f32,
    out: &mut Vec<Detection>,
) -> Result<(), HeadError> {
    // Compare logits with the bar's logit: no exponential for the many that fail.
    let bar = (min_score / (1.0 - min_score)).ln();
    for &stride in strides {
        let tensor = named(tensors, &format!("p{stride}"))?;
        let (cols, rows) = grid(input, stride);
        let data = tensor.expect(&[n_classes + 4, rows, cols])?;
        let n = cols * rows;
        finite(tensor.name, data[..n_classes * n].iter().sum())?;
        let s = stride as f32;
        for i in 0..n {
            let at = |channel: usize| data[channel * n + i];
            let (class, logit) = best((0..n_classes).map(at));
            if logit < bar {
                continue;
            }
            let (cx, cy) = (((i % cols) as f32 + 0.5) * s, ((i / cols) as f32 + 0.5) * s);
            let side = |k: usize| at(n_classes + k).clamp(-MAX_LOG, MAX_LOG).exp() * s;
            let bbox = Rect::new(cx - side(0), cy - side(1), cx + side(2), cy + side(3));
            out.push(Detection { class, score: sigmoid(logit), bbox, landmarks: None });
        }
    }
    Ok(())
}
