//! YuNet faces (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), with five landmarks.

use super::{Detection, HeadError, Tensor, finite, grid, named};
use crate::geom::{Rect, Size};

pub fn decode(
    tensors: &[Tensor<'_>],
    input: Size,
    strides: &[u32],
    min_score: f32,
    out: &mut Vec<Detection>,
) -> Result<(), HeadError> {
    for &stride in strides {
        let (cols, rows) = grid(input, stride);
        let n = cols * rows;
        let part = |kind: &str, width: usize| {
            let name = format!("{kind}_{stride}");
            named(tensors, &name)?.expect(&[n, width])
        };
        let (cls, obj, bbox, kps) = (part("cls", 1)?, part("obj", 1)?, part("bbox", 4)?, part("kps", 10)?);
        let s = stride as f32;
        let mut sum = 0.0;
        for i in 0..n {
            let score = (cls[i].clamp(0.0, 1.0) * obj[i].clamp(0.0, 1.0)).sqrt();
            sum += score;
            if score < min_score {
                continue;
            }
            let (x, y) = ((i % cols) as f32, (i / cols) as f32);
            let b = &bbox[i * 4..][..4];
            let (cx, cy) = ((x + b[0]) * s, (y + b[1]) * s);
            let (w, h) = (b[2].exp() * s / 2.0, b[3].exp() * s / 2.0);
            let k = &kps[i * 10..][..10];
            let landmarks = std::array::from_fn(|p| [(x + k[2 * p]) * s, (y + k[2 * p + 1]) * s]);
            let bbox = Rect::new(cx - w, cy - h, cx + w, cy + h);
            out.push(Detection { class: 0, score, bbox, landmarks: Some(landmarks) });
        }
        finite(&format!("cls_{stride}/obj_{stride}"), sum)?;
    }
    Ok(())
}
