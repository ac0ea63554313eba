//! Which detections are worth following: by label, score, size, shape and place.

use super::shape::{Point, Polygon};
use crate::detect::Detection;
use crate::geom::Size;
use std::collections::BTreeMap;

/// What a detection of one label must be like.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Least score; detections between the detector's and this one are faint.
    pub min_score: f32,
    /// Area, as a share of the picture's.
    pub area: [f32; 2],
    /// Width over height.
    pub ratio: [f32; 2],
    /// Where nothing of this label is believed, if it stands there.
    pub masks: Vec<Polygon>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { min_score: 0.0, area: [0.0, 1.0], ratio: [0.0, f32::INFINITY], masks: Vec::new() }
    }
}

/// Where an object stands: the middle of its box's lower side; inside the picture, though its border cut the
/// object off.
pub fn foot(d: &crate::geom::Rect<crate::geom::ModelInput>, content: Size) -> Point {
    let share = |v: f32, of: u32| (v / of.max(1) as f32).clamp(0.0, 1.0 - 1e-6);
    [share((d.x1 + d.x2) / 2.0, content.width), share(d.y2, content.height)]
}

impl Filter {
    /// Whether a detection's box is one to believe in; `content` is the picture inside the model's input.
    pub fn fits(&self, d: &Detection, content: Size) -> bool {
        let b = d.bbox.intersection(&content.rect());
        let area = b.area() / content.area().max(1) as f32;
        let ratio = d.bbox.width() / d.bbox.height().max(1e-3);
        let between = |v: f32, [lo, hi]: [f32; 2]| lo <= v && v <= hi;
        between(area, self.area) && between(ratio, self.ratio) && {
            let foot = foot(&d.bbox, content);
            !self.masks.iter().any(|m| m.contains(foot))
        }
    }
}

/// The filters of a camera.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filters {
    /// By label; `*` holds for all that have none of their own.
    pub by_label: BTreeMap<String, Filter>,
}

impl Filters {
    /// One a class, in the model's order.
    pub fn of(&self, labels: &[String]) -> Vec<Filter> {
        let other = self.by_label.get("*");
        labels.iter().map(|l| self.by_label.get(l).or(other).cloned().unwrap_or_default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geom::Rect;

    #[test]
    fn size_shape_and_place_decide() {
        let content = Size::new(200, 100);
        let d = |x1: f32, y1: f32, x2: f32, y2: f32| Detection::new(0, 0.5, Rect::new(x1, y1, x2, y2));
        let person = d(90.0, 20.0, 110.0, 60.0); // 4 % of the area, half as wide as high, standing at (0.5, 0.6)
        let check = |f: Filter, fits: bool| assert_eq!(f.fits(&person, content), fits, "{f:?}");
        check(Filter::default(), true);
        check(Filter { area: [0.05, 1.0], ..Filter::default() }, false);
        check(Filter { area: [0.0, 0.03], ..Filter::default() }, false);
        check(Filter { ratio: [0.4, 0.6], ..Filter::default() }, true);
        check(Filter { ratio: [0.6, 2.0], ..Filter::default() }, false);
        let mask = |y: f32| Polygon(vec![[0.4, y], [0.6, y], [0.6, y + 0.2], [0.4, y + 0.2]]);
        check(Filter { masks: vec![mask(0.5)], ..Filter::default() }, false);
        check(Filter { masks: vec![mask(0.2)], ..Filter::default() }, true);
        // What lies outside the picture is not counted.
        let beside = Filter { area: [0.0, 0.05], ..Filter::default() };
        assert!(beside.fits(&d(-100.0, 50.0, 20.0, 100.0), content));
    }

    #[test]
    fn a_star_stands_for_all_others() {
        let strict = Filter { min_score: 0.9, ..Filter::default() };
        let filters = Filters { by_label: [("*".into(), strict.clone()), ("car".into(), Filter::default())].into() };
        assert_eq!(filters.of(&["person".into(), "car".into()]), [strict, Filter::default()]);
    }
}
