//! Trees along the street, which sway.

use crate::sim::paint::{Brush, Rgba, circle, ellipse, rgb, shade};
use crate::sim::world::{Dice, FAR_WALK};
use std::f32::consts::TAU;

const BARK: Rgba = rgb(84, 62, 44);
const SNOW: Rgba = rgb(238, 241, 248);

/// Base line of a tree and everything needed to draw it.
#[derive(Clone, Copy)]
pub struct Tree {
    pub x: f32,
    pub y: f32,
    size: f32,
    looks: Dice,
}

/// What a tree bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foliage {
    Leaves,
    /// Snow: half of the trees are bare, the others are evergreens with white tops.
    Snow,
}

pub fn trees(height: f32, dice: Dice) -> [Tree; 4] {
    let dice = dice.child(60);
    std::array::from_fn(|i| {
        let looks = dice.child(i as u64);
        let near = i == 3;
        Tree {
            x: if near { 628.0 } else { 30.0 + 215.0 * i as f32 + looks.range(1, -40.0, 40.0) },
            y: if near { height } else { height * (FAR_WALK + 0.035) },
            size: if near { height * 0.30 } else { height * looks.range(2, 0.15, 0.2) },
            looks,
        }
    })
}

/// `sway` is the wind's amplitude in world units.
pub fn tree(b: &mut Brush<'_>, tree: &Tree, sway: f32, t_s: f32, foliage: Foliage) {
    let Tree { x, y, size, looks } = *tree;
    let top = y - size * 1.7;
    b.line(&[(x, y), (x, top)], size * 0.12, BARK);
    let is_bare = foliage == Foliage::Snow && looks.unit(8) < 0.5;
    let green = looks.pick(5, &[rgb(62, 110, 52), rgb(84, 124, 48), rgb(48, 92, 60)]);
    for leaf in 0..14 {
        let l = looks.child(100 + leaf);
        let (angle, distance) = (l.range(1, 0.0, TAU), size * 0.62 * l.unit(2).sqrt());
        let phase = t_s * TAU * l.range(3, 0.25, 0.7) + l.range(4, 0.0, TAU);
        let gust = 0.6 + 0.4 * (t_s * TAU / 11.0).sin();
        let dx = sway * gust * phase.sin();
        let dy = sway * 0.4 * gust * (phase * 1.3).cos();
        let radius = size * l.range(5, 0.16, 0.3);
        let tone = l.range(6, 0.75, 1.15);
        let (cx, cy) = (x + distance * angle.cos() + dx, top + distance * angle.sin() * 0.8 + dy);
        if is_bare {
            let fork = (x, top + size * 0.5);
            b.line(&[fork, (cx, cy)], size * 0.035, shade(BARK, tone));
            b.decorate(ellipse(cx, cy - size * 0.02, size * 0.05, size * 0.02), SNOW);
            continue;
        }
        b.fill(circle(cx, cy, radius), shade(green, tone));
        if foliage == Foliage::Snow {
            b.decorate(ellipse(cx, cy - radius * 0.4, radius * 0.75, radius * 0.5), SNOW);
        }
    }
}
