//! A car, seen from the side.

use super::colours::Materials;
use crate::sim::paint::{Brush, Rgba, circle, ellipse, polygon, rgb, shade};
use crate::sim::world::Actor;

pub fn car(b: &mut Brush<'_>, a: &Actor, materials: Materials) {
    let k = a.looks;
    let s = a.scale;
    let paint = materials.car(k);
    // Half length, roof height, cabin from..to along the car: saloon, hatch, van, estate.
    let (half, roof, cabin) = k.pick(
        41,
        &[
            (1.05, 0.72, [-0.62, -0.38, 0.28, 0.60]),
            (0.88, 0.78, [-0.80, -0.62, 0.22, 0.56]),
            (1.10, 1.08, [-1.02, -0.98, 0.52, 0.80]),
            (1.06, 0.78, [-0.98, -0.84, 0.25, 0.58]),
        ],
    );
    let half = half * k.range(42, 0.95, 1.05);
    let at = |dx: f32, up: f32| (a.x + dx * a.facing * s, a.y - up * s);
    let (sill, belt) = (0.13, if roof > 1.0 { 0.56 } else { 0.46 });
    b.fill(
        polygon(&[at(cabin[0], belt), at(cabin[1], roof), at(cabin[2], roof), at(cabin[3], belt)]),
        shade(paint, 0.92),
    );
    b.fill(
        polygon(&[
            at(-half, sill + 0.05),
            at(-half, belt - 0.03),
            at(-half + 0.06, belt),
            at(cabin[3], belt + 0.01),
            at(half - 0.1, belt - 0.06),
            at(half, belt - 0.14),
            at(half, sill + 0.03),
            at(half - 0.05, sill),
            at(-half + 0.05, sill),
        ]),
        paint,
    );
    if let Some(second) = materials.second_paint(k) {
        let (low, high) = (sill + 0.03, sill + 0.16);
        let ends = (-half + 0.06, half - 0.08);
        b.decorate(polygon(&[at(ends.0, low), at(ends.0, high), at(ends.1, high), at(ends.1, low)]), second);
    }
    let glass = rgb(66, 84, 98);
    let post = (cabin[1] + cabin[2]) / 2.0;
    b.fill(
        polygon(&[
            at(cabin[0] + 0.09, belt + 0.02),
            at(cabin[1] + 0.03, roof - 0.06),
            at(post - 0.02, roof - 0.06),
            at(post - 0.02, belt + 0.02),
        ]),
        glass,
    );
    b.fill(
        polygon(&[
            at(post + 0.03, belt + 0.02),
            at(post + 0.03, roof - 0.06),
            at(cabin[2] - 0.02, roof - 0.06),
            at(cabin[3] - 0.08, belt + 0.02),
        ]),
        glass,
    );
    b.line(&[at(post, sill + 0.03), at(post, belt)], 0.012 * s, shade(paint, 0.7));
    b.line(&[at(-half + 0.03, sill + 0.05), at(half - 0.03, sill + 0.05)], 0.03 * s, shade(paint, 0.6));
    for dx in [-half * 0.62, half * 0.62] {
        let (wx, wy) = at(dx, 0.155);
        wheel(b, wx, wy, s, paint);
    }
    let (fx, fy) = at(half - 0.05, belt - 0.14);
    b.fill(ellipse(fx, fy, 0.05 * s, 0.045 * s), rgb(240, 236, 210));
    let (rx, ry) = at(-half + 0.035, belt - 0.1);
    b.fill(ellipse(rx, ry, 0.03 * s, 0.055 * s), rgb(170, 24, 20));
}

/// A wheel in its arch, its middle at (`x`, `y`), for somebody `s` tall.
pub fn wheel(b: &mut Brush<'_>, x: f32, y: f32, s: f32, paint: Rgba) {
    b.fill(circle(x, y, 0.175 * s), shade(paint, 0.45));
    b.fill(circle(x, y, 0.155 * s), rgb(26, 26, 28));
    b.fill(circle(x, y, 0.085 * s), rgb(150, 152, 156));
}
