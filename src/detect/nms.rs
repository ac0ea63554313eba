//! Greedy non-maximum suppression.

use super::Detection;

/// Keeps the best of boxes of one class that overlap by `iou` or more, best first.
/// Of more than `most` only the best are looked at:
/// the work is quadratic in what is kept. `of` says what a candidate shows.
pub fn suppress<T: Copy>(candidates: &mut Vec<T>, most: usize, iou: f32, of: impl Fn(&T) -> &Detection) {
    // Unstable, because it allocates nothing; the place breaks ties, so that the order does not depend on it.
    let place = |d: &Detection| d.bbox.to_array().map(|v| v.to_bits());
    candidates.sort_unstable_by(|a, b| {
        let (a, b) = (of(a), of(b));
        b.score.total_cmp(&a.score).then_with(|| (a.class, place(a)).cmp(&(b.class, place(b))))
    });
    candidates.truncate(most);
    keep_first(candidates, |a, b| {
        let (a, b) = (of(a), of(b));
        a.class == b.class && a.bbox.iou(&b.bbox) >= iou
    });
}

/// Keeps the first of things that are the same; quadratic in what is kept.
pub fn keep_first<T: Copy>(things: &mut Vec<T>, same: impl Fn(&T, &T) -> bool) {
    let mut n_kept = 0;
    for i in 0..things.len() {
        let candidate = things[i];
        if !things[..n_kept].iter().any(|kept| same(kept, &candidate)) {
            things[n_kept] = candidate;
            n_kept += 1;
        }
    }
    things.truncate(n_kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geom::Rect;

    #[test]
    fn best_of_each_class_stays() {
        let d = |class, score, x| Detection::new(class, score, Rect::new(x, 0.0, x + 10.0, 10.0));
        let check = |given: &[Detection], kept: &[(u16, f32)]| {
            let mut all = given.to_vec();
            suppress(&mut all, 100, 0.5, |d| d);
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
