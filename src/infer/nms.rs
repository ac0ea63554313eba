//! Greedy non-maximum suppression.

use super::Detection;

/// Keeps the best of boxes of one class that overlap by `iou` or more, best first.
///
/// Quadratic in what is kept; callers bound the number of candidates.
pub fn suppress(detections: &mut Vec<Detection>, iou: f32) {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut n_kept = 0;
    for i in 0..detections.len() {
        let candidate = detections[i];
        let repeats = |kept: &Detection| kept.class == candidate.class && kept.bbox.iou(&candidate.bbox) >= iou;
        if !detections[..n_kept].iter().any(repeats) {
            detections[n_kept] = candidate;
            n_kept += 1;
        }
    }
    detections.truncate(n_kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geom::Rect;

    #[test]
    fn best_of_each_class_stays() {
        let d = |class, score, x| Detection { class, score, bbox: Rect::new(x, 0.0, x + 10.0, 10.0), landmarks: None };
        let check = |given: &[Detection], kept: &[(u16, f32)]| {
            let mut all = given.to_vec();
            suppress(&mut all, 0.5);
            assert_eq!(all.iter().map(|d| (d.class, d.score)).collect::<Vec<_>>(), kept);
        };
        check(&[], &[]);
        check(&[d(0, 0.5, 0.0), d(0, 0.9, 1.0)], &[(0, 0.9)]);
        check(&[d(0, 0.5, 0.0), d(1, 0.9, 1.0)], &[(1, 0.9), (0, 0.5)]);
        check(&[d(0, 0.5, 0.0), d(0, 0.9, 8.0)], &[(0, 0.9), (0, 0.5)]);
        // A box that only the suppressed one would suppress stays.
        check(&[d(0, 0.9, 0.0), d(0, 0.8, 3.0), d(0, 0.7, 6.0)], &[(0, 0.9), (0, 0.7)]);
    }
}
