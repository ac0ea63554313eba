//! What looks like a person or a car and is none.

use super::car::wheel;
use super::colours::Materials;
use super::person::{Outfit, Stance, figure, person};
use crate::sim::decoy::Decoy;
use crate::sim::paint::{Brush, Rgba, circle, ellipse, polygon, rgb, shade};
use crate::sim::truth::DecoyKind;
use std::f32::consts::TAU;

/// Of a mannequin.
const PLASTIC: Rgba = rgb(238, 214, 196);
const METAL: Rgba = rgb(78, 80, 84);

/// `sway` is the wind's amplitude in world units.
pub fn decoy(b: &mut Brush<'_>, d: &Decoy, materials: Materials, sway: f32, t_s: f32) {
    match d.kind {
        DecoyKind::Mannequin => mannequin(b, d, materials),
        DecoyKind::Poster => poster(b, d, materials),
        DecoyKind::Bush => bush(b, d, sway, t_s),
        DecoyKind::Trailer => trailer(b, d, materials),
    }
}

/// Soft shadow on the ground beneath it, hardly wider than the decoy.
pub fn decoy_shadow(b: &mut Brush<'_>, d: &Decoy, strength: u8) {
    let half = match d.kind {
        DecoyKind::Mannequin | DecoyKind::Bush => 0.12,
        DecoyKind::Poster => 0.26,
        DecoyKind::Trailer => 0.58,
    };
    b.fill(ellipse(d.x, d.y, half * d.scale, 0.03 * d.scale), [20, 20, 24, strength]);
}

fn stance(d: &Decoy) -> Stance {
    Stance { x: d.x, y: d.y, scale: d.scale, facing: d.facing, stride: None, looks: d.looks }
}

fn mannequin(b: &mut Brush<'_>, d: &Decoy, materials: Materials) {
    let s = d.scale;
    b.fill(ellipse(d.x, d.y - 0.015 * s, 0.15 * s, 0.022 * s), rgb(150, 152, 156));
    let worn = Outfit::of(d.looks, PLASTIC, materials);
    let legs = if d.looks.unit(60) < 0.5 { PLASTIC } else { worn.legs };
    let outfit = Outfit { legs, sleeves: PLASTIC, hair: None, ..worn };
    figure(b, &stance(d), &outfit, materials);
}

/// A light panel with a frame on two posts, and somebody painted on it.
fn poster(b: &mut Brush<'_>, d: &Decoy, materials: Materials) {
    let (k, s) = (d.looks, d.scale);
    let at = |dx: f32, up: f32| (d.x + dx * s, d.y - up * s);
    let share = k.range(62, 0.7, 1.0);
    let (low, high) = (0.12, 0.12 + share + 0.10);
    for dx in [-0.22, 0.22] {
        b.line(&[at(dx, 0.01), at(dx, low)], 0.035 * s, METAL);
    }
    let mut board = |half: f32, inset: f32, colour: Rgba| {
        let (bottom, top) = (low + inset, high - inset);
        b.fill(polygon(&[at(-half, bottom), at(-half, top), at(half, top), at(half, bottom)]), colour);
    };
    board(0.31, 0.0, METAL);
    board(0.285, 0.025, k.pick(63, &[rgb(238, 234, 222), rgb(214, 226, 236), rgb(240, 226, 198)]));
    let painted = Stance { y: d.y - (low + 0.045) * s, scale: share * s, stride: Some(k.unit(64)), ..stance(d) };
    person(b, &painted, materials);
}

/// Cut to a head, shoulders, a trunk and two legs; darker bands where clothes would end.
fn bush(b: &mut Brush<'_>, d: &Decoy, sway: f32, t_s: f32) {
    let (k, s) = (d.looks, d.scale);
    let at = |dx: f32, up: f32| (d.x + dx * s, d.y - up * s);
    let green = k.pick(66, &[rgb(38, 72, 36), rgb(30, 62, 44), rgb(50, 76, 34)]);
    let (hx, hy) = at(0.0, 0.91);
    b.fill(circle(hx, hy, 0.075 * s), shade(green, 0.85));
    b.fill(
        polygon(&[
            at(-0.05, 0.88),
            at(0.05, 0.88),
            at(0.15, 0.80),
            at(0.16, 0.52),
            at(0.11, 0.46),
            at(0.115, 0.0),
            at(0.03, 0.0),
            at(0.005, 0.42),
            at(-0.005, 0.42),
            at(-0.03, 0.0),
            at(-0.115, 0.0),
            at(-0.11, 0.46),
            at(-0.16, 0.52),
            at(-0.15, 0.80),
        ]),
        shade(green, 0.85),
    );
    for i in 0..48 {
        let leaf = k.child(200 + i);
        let (dx, up) = match i {
            0..8 => (leaf.range(1, -0.05, 0.05), leaf.range(2, 0.86, 0.96)),
            8..28 => (leaf.range(1, -0.13, 0.13), leaf.range(2, 0.48, 0.81)),
            28..38 => (leaf.range(1, -0.10, -0.04), leaf.range(2, 0.04, 0.48)),
            _ => (leaf.range(1, 0.04, 0.10), leaf.range(2, 0.04, 0.48)),
        };
        // Stiffer than a tree, and its feet hardly move.
        let phase = t_s * TAU * leaf.range(3, 0.3, 0.8) + leaf.range(4, 0.0, TAU);
        let swing = 0.4 * sway * up * phase.sin();
        let (x, y) = at(dx, up);
        b.fill(circle(x + swing, y, leaf.range(5, 0.025, 0.042) * s), shade(green, leaf.range(6, 0.7, 1.3)));
    }
    let mut band = |up: f32, half: f32| {
        b.fill(polygon(&[at(-half, up), at(half, up), at(half, up + 0.05), at(-half, up + 0.05)]), shade(green, 0.45));
    };
    band(0.47, 0.125);
    if k.unit(67) < 0.5 {
        band(0.66, 0.15);
    }
}

/// A box on wheels with a window, a drawbar and a tail light: a car without an engine.
fn trailer(b: &mut Brush<'_>, d: &Decoy, materials: Materials) {
    let s = d.scale;
    let at = |dx: f32, up: f32| (d.x + dx * d.facing * s, d.y - up * s);
    let paint = materials.car(d.looks);
    b.line(&[at(0.44, 0.20), at(0.71, 0.20)], 0.035 * s, METAL);
    b.line(&[at(0.64, 0.20), at(0.64, 0.02)], 0.03 * s, METAL);
    b.fill(
        polygon(&[at(-0.62, 0.16), at(-0.62, 0.60), at(-0.56, 0.68), at(0.40, 0.68), at(0.48, 0.54), at(0.48, 0.16)]),
        paint,
    );
    for (from, to) in [(-0.48, -0.14), (-0.06, 0.32)] {
        b.fill(polygon(&[at(from, 0.42), at(from, 0.60), at(to, 0.60), at(to, 0.42)]), rgb(66, 84, 98));
    }
    b.line(&[at(-0.59, 0.21), at(0.45, 0.21)], 0.03 * s, shade(paint, 0.6));
    for dx in [-0.22, 0.12] {
        let (x, y) = at(dx, 0.155);
        wheel(b, x, y, s, paint);
    }
    let (rx, ry) = at(-0.585, 0.36);
    b.fill(ellipse(rx, ry, 0.03 * s, 0.055 * s), rgb(170, 24, 20));
}
