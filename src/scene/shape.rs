//! Places in the picture: polygons and lines, in shares (0 to 1) of its sides.

use crate::geom::encloses;

/// Across and down, shares of the picture's sides.
pub type Point = [f32; 2];

/// An area inside straight sides; may be of any shape.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Polygon(pub Vec<Point>);

impl Polygon {
    /// Share of the picture that it encloses; what it encloses twice counts twice, turned the other way against it.
    pub fn area(&self) -> f32 {
        let corners = &self.0;
        let cross = |i: usize| {
            let (a, b) = (corners[i], corners[(i + 1) % corners.len()]);
            a[0] * b[1] - b[0] * a[1]
        };
        ((0..corners.len()).map(cross).sum::<f32>() / 2.0).abs()
    }

    /// Whether a point lies inside; see [`encloses`].
    pub fn contains(&self, p: Point) -> bool {
        encloses(&self.0, p)
    }
}

/// A straight line between two points.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Segment {
    pub from: Point,
    pub to: Point,
}

impl Segment {
    /// Above 0 to the right of the line, seen from `from` to `to`, below 0 to its left; twice the
    /// area of the triangle.
    pub fn side(&self, p: Point) -> f32 {
        let (d, e) =
            ([self.to[0] - self.from[0], self.to[1] - self.from[1]], [p[0] - self.from[0], p[1] - self.from[1]]);
        d[0] * e[1] - d[1] * e[0]
    }

    /// Whether the way from `a` to `b` crosses it.
    pub fn is_crossed(&self, a: Point, b: Point) -> bool {
        let way = Segment { from: a, to: b };
        (self.side(a) > 0.0) != (self.side(b) > 0.0) && (way.side(self.from) > 0.0) != (way.side(self.to) > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_inside_or_not() {
        let l = Polygon(vec![[0.0, 0.0], [0.6, 0.0], [0.6, 0.3], [0.3, 0.3], [0.3, 0.9], [0.0, 0.9]]);
        for (p, inside) in
            [([0.1, 0.8], true), ([0.5, 0.2], true), ([0.5, 0.5], false), ([0.7, 0.1], false), ([-0.1, 0.1], false)]
        {
            assert_eq!(l.contains(p), inside, "{p:?}");
        }
        assert!(!Polygon(Vec::new()).contains([0.5, 0.5]));
        // A point in one of two neighbours is in exactly one.
        let (left, right) = (
            Polygon(vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]),
            Polygon(vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]),
        );
        assert!(left.contains([0.5, 0.5]) ^ right.contains([0.5, 0.5]));
    }

    #[test]
    fn a_way_crosses_a_line_or_passes_its_end() {
        let gate = Segment { from: [0.5, 0.2], to: [0.5, 0.8] };
        assert!(gate.is_crossed([0.4, 0.5], [0.6, 0.5]) && gate.is_crossed([0.6, 0.3], [0.4, 0.7]));
        assert!(!gate.is_crossed([0.4, 0.9], [0.6, 0.9]), "beyond its end");
        assert!(!gate.is_crossed([0.4, 0.5], [0.45, 0.5]), "not there yet");
        // Down the picture, right is where x is smaller.
        assert!(gate.side([0.4, 0.5]) > 0.0 && gate.side([0.6, 0.5]) < 0.0);
    }
}
