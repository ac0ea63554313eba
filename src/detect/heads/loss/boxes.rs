//! Overlaps of boxes, and how they change with a box's corners.
//!
//! Boxes are corners `[x1, y1, x2, y2]` in `f64`: losses are summed and differentiated in it, and only what comes out is `f32`.

use crate::geom::{ModelInput, Rect};

/// A measure of two boxes' overlap.
#[derive(Debug, Clone, Copy)]
pub struct Overlap {
    pub value: f64,
    /// The value's derivative by each corner of the first box. At a kink (corners that coincide): of one of the sides.
    pub slope: [f64; 4],
}

pub fn corners(rect: &Rect<ModelInput>) -> [f64; 4] {
    rect.to_array().map(f64::from)
}

/// Whether a point lies inside, not on the border.
pub fn holds(b: &[f64; 4], [x, y]: [f64; 2]) -> bool {
    b[0] < x && x < b[2] && b[1] < y && y < b[3]
}

/// Areas of two boxes, and their derivatives by the corners of the first.
struct Areas {
    common: f64,
    union: f64,
    d_common: [f64; 4],
    d_union: [f64; 4],
}

impl Areas {
    /// Sides are not cut at 0, so that what is no number stays none.
    fn of(a: &[f64; 4], b: &[f64; 4]) -> Self {
        let sides = |r: &[f64; 4]| (r[2] - r[0], r[3] - r[1]);
        let ((aw, ah), (bw, bh)) = (sides(a), sides(b));
        let cw = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
        let ch = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        let common = cw * ch;
        let mut d_common = [0.0; 4];
        if common > 0.0 {
            let grows = |moves: bool, by: f64| if moves { by } else { 0.0 };
            d_common =
                [grows(a[0] > b[0], -ch), grows(a[1] > b[1], -cw), grows(a[2] < b[2], ch), grows(a[3] < b[3], cw)];
        }
        let d_area = [-ah, -aw, ah, aw];
        let d_union = std::array::from_fn(|k| d_area[k] - d_common[k]);
        Self { common, union: aw * ah + bw * bh - common, d_common, d_union }
    }

    fn iou(&self) -> Overlap {
        let (c, u) = (self.common, self.union);
        Overlap { value: c / u, slope: std::array::from_fn(|k| (self.d_common[k] * u - c * self.d_union[k]) / (u * u)) }
    }
}

/// Intersection over union, 0..=1. The first box's sides are positive, or no numbers: then neither is the value.
pub fn iou(a: &[f64; 4], b: &[f64; 4]) -> Overlap {
    Areas::of(a, b).iou()
}

/// The generalised intersection over union (Rezatofighi et al., arXiv:1902.09630), -1..=1: less the further boxes are apart.
pub fn giou(a: &[f64; 4], b: &[f64; 4]) -> Overlap {
    let areas = Areas::of(a, b);
    let iou = areas.iou();
    let (w, h) = (a[2].max(b[2]) - a[0].min(b[0]), a[3].max(b[3]) - a[1].min(b[1]));
    let grows = |moves: bool, by: f64| if moves { by } else { 0.0 };
    let d_hull = [grows(a[0] < b[0], -h), grows(a[1] < b[1], -w), grows(a[2] > b[2], h), grows(a[3] > b[3], w)];
    let (hull, union) = (w * h, areas.union);
    let d_share = |k: usize| (areas.d_union[k] * hull - union * d_hull[k]) / (hull * hull);
    Overlap { value: iou.value - 1.0 + union / hull, slope: std::array::from_fn(|k| iou.slope[k] + d_share(k)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_hand() {
        let a = [0.0, 0.0, 10.0, 10.0];
        assert_eq!(iou(&a, &a).value, 1.0);
        assert_eq!(giou(&a, &a).value, 1.0);
        assert!((iou(&a, &[5.0, 0.0, 15.0, 10.0]).value - 1.0 / 3.0).abs() < 1e-12);
        // 10 apart: a third of the hull is neither's.
        let far = giou(&a, &[20.0, 0.0, 30.0, 10.0]);
        assert!((far.value + 1.0 / 3.0).abs() < 1e-12, "{far:?}");
        assert!(iou(&[f64::NAN, 0.0, 10.0, 10.0], &a).value.is_nan());
        assert!(holds(&a, [5.0, 5.0]) && !holds(&a, [0.0, 5.0]));
    }

    #[test]
    fn slopes_are_those_of_differences() {
        let a = [3.0, 4.0, 20.0, 17.0];
        let others = [[5.0, 1.0, 30.0, 12.0], [0.0, 0.0, 40.0, 40.0], [6.0, 7.0, 12.0, 13.0], [30.0, 31.0, 40.0, 44.0]];
        for b in others {
            for f in [iou, giou] {
                for k in 0..4 {
                    let at = |by: f64| {
                        let mut moved = a;
                        moved[k] += by;
                        f(&moved, &b).value
                    };
                    let wanted = (at(1e-5) - at(-1e-5)) / 2e-5;
                    let found = f(&a, &b).slope[k];
                    assert!((wanted - found).abs() < 1e-7, "{b:?} {k}: {found}, not {wanted}");
                }
            }
        }
    }
}
