//! Ultra-Light-Fast-Generic-Face-Detector: boxes decoded in the graph, as shares of the picture.

use super::{Detection, HeadError, Tensor, finite, named};
use crate::geom::{Rect, Size};

pub fn decode(tensors: &[Tensor<'_>], input: Size, min_score: f32, out: &mut Vec<Detection>) -> Result<(), HeadError> {
    let (scores, boxes) = (named(tensors, "scores")?, named(tensors, "boxes")?);
    let n = scores.shape.get(1).copied().unwrap_or(0).max(0) as usize;
    let (scores, name) = (scores.expect(&[n, 2])?, scores.name);
    let boxes = boxes.expect(&[n, 4])?;
    let (w, h) = (input.width as f32, input.height as f32);
    let mut sum = 0.0;
    for (s, b) in scores.as_chunks::<2>().0.iter().zip(boxes.as_chunks::<4>().0) {
        sum += s[1];
        if s[1] >= min_score {
            let bbox = Rect::new(b[0] * w, b[1] * h, b[2] * w, b[3] * h);
            out.push(Detection { class: 0, score: s[1], bbox, landmarks: None });
        }
    }
    finite(name, sum)
}
