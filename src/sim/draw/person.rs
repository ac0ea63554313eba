//! A person, walking or standing, and what else has that figure.

use super::colours::Materials;
use crate::sim::paint::{Brush, Rgba, ellipse, polygon, rgb, shade};
use crate::sim::world::{Actor, Dice};
use std::f32::consts::TAU;

/// Where a figure stands and how: as in [`Actor`].
#[derive(Clone, Copy)]
pub struct Stance {
    pub x: f32,
    pub y: f32,
    pub scale: f32,
    pub facing: f32,
    pub stride: Option<f32>,
    pub looks: Dice,
}

impl Stance {
    pub fn of(a: &Actor) -> Self {
        Self { x: a.x, y: a.y, scale: a.scale, facing: a.facing, stride: a.stride, looks: a.looks }
    }
}

/// The colours of a figure.
#[derive(Clone, Copy)]
pub struct Outfit {
    pub coat: Rgba,
    pub legs: Rgba,
    pub sleeves: Rgba,
    pub skin: Rgba,
    /// `None` is a bald head.
    pub hair: Option<Rgba>,
}

impl Outfit {
    pub fn of(looks: Dice, skin: Rgba, materials: Materials) -> Self {
        let coat = materials.clothes(looks, 31);
        Self {
            coat,
            legs: if wears_skirt(looks) { skin } else { materials.clothes(looks, 32) },
            sleeves: if looks.unit(36) < 0.5 { coat } else { skin },
            skin,
            hair: Some(materials.hair(looks)),
        }
    }
}

fn wears_skirt(looks: Dice) -> bool {
    looks.unit(35) < 0.25
}

pub fn person(b: &mut Brush<'_>, a: &Stance, materials: Materials) {
    let outfit = Outfit::of(a.looks, materials.skin(a.looks), materials);
    figure(b, a, &outfit, materials);
}

pub fn figure(b: &mut Brush<'_>, a: &Stance, outfit: &Outfit, materials: Materials) {
    let k = a.looks;
    let s = a.scale;
    let build = k.range(30, 0.85, 1.2);
    let Outfit { coat, legs, sleeves, skin, hair } = *outfit;
    let swing = a.stride.map_or(0.08, |turn| (turn * TAU).sin() * 0.5) * a.facing;
    let bob = a.stride.map_or(0.0, |turn| (turn * 2.0 * TAU).cos().abs() * 0.012 * s);
    let at = |dx: f32, up: f32| (a.x + dx * s, a.y - up * s - bob);
    let skirt = wears_skirt(k);
    // Legs from the hip, arms from the shoulder, opposite to each other.
    let (hip, shoulder) = (at(0.0, 0.47), at(0.0, 0.80));
    for (side, tone) in [(-1.0, 0.78), (1.0, 1.0)] {
        let knee = at(side * swing * 0.16, 0.25);
        let foot = (a.x + side * swing * 0.30 * s, a.y - 0.02 * s - (side * swing).max(0.0) * 0.03 * s);
        let leg = shade(legs, tone);
        b.line(&[hip, knee, foot], 0.085 * s * build, leg);
        b.line(&[foot, (foot.0 + 0.055 * s * a.facing, foot.1)], 0.05 * s, shade(rgb(44, 38, 36), tone));
    }
    let arm = |b: &mut Brush<'_>, side: f32, tone: f32| {
        let hand = at(-side * swing * 0.24 + 0.02 * a.facing, 0.50);
        let elbow = at(-side * swing * 0.10 - 0.02 * a.facing, 0.64);
        b.line(&[shoulder, elbow], 0.07 * s * build, shade(coat, tone));
        b.line(&[elbow, hand], 0.055 * s * build, shade(sleeves, tone));
    };
    arm(b, -1.0, 0.72);
    let w = 0.115 * build;
    let hem = if skirt { 0.36 } else { 0.45 };
    b.fill(
        polygon(&[
            at(-w, 0.83),
            at(w, 0.83),
            at(w * 0.95, 0.6),
            at(w * if skirt { 1.3 } else { 1.0 }, hem),
            at(-w * if skirt { 1.3 } else { 1.0 }, hem),
            at(-w * 0.95, 0.6),
        ]),
        coat,
    );
    if let Some(stripe) = materials.stripes(k) {
        for up in [0.62, 0.73] {
            let half = w * 0.9;
            b.decorate(polygon(&[at(-half, up), at(half, up), at(half, up + 0.04), at(-half, up + 0.04)]), stripe);
        }
    }
    arm(b, 1.0, 0.86);
    if k.unit(37) < 0.3 {
        let (px, py) = at(-0.13 * a.facing, 0.68);
        b.fill(ellipse(px, py, 0.07 * s, 0.12 * s), materials.clothes(k, 38));
    }
    let (nx, ny) = at(0.0, 0.84);
    b.line(&[(nx, ny), at(0.01 * a.facing, 0.88)], 0.06 * s, shade(skin, 0.85));
    let (hx, hy) = at(0.015 * a.facing, 0.925);
    b.fill(ellipse(hx, hy, 0.062 * s, 0.075 * s), skin);
    if let Some(hair) = hair {
        b.fill(ellipse(hx - 0.018 * s * a.facing, hy - 0.025 * s, 0.062 * s, 0.052 * s), hair);
    }
}
