//! The houses along the far side.

use crate::sim::paint::{Brush, rectangle, rgb, shade};
use crate::sim::palette::Palette;
use crate::sim::world::{Dice, WIDTH};

pub struct House {
    /// Left end, world units.
    pub x: f32,
    pub width: f32,
    /// Top of its wall.
    pub top: f32,
    looks: Dice,
}

/// From left to right. `dice` are the street's.
pub fn houses(height: f32, dice: Dice) -> Vec<House> {
    let h = |share: f32| share * height;
    let dice = dice.child(50);
    let mut x = -20.0;
    let mut all = Vec::new();
    for i in 0..12 {
        let looks = dice.child(i);
        let width = looks.range(1, 70.0, 130.0);
        let top = h(looks.range(2, 0.03, 0.16));
        all.push(House { x, width, top, looks });
        x += width;
        if x > WIDTH + 20.0 {
            break;
        }
    }
    all
}

/// Draws one.
pub fn house(b: &mut Brush<'_>, house: &House, height: f32) {
    let h = |share: f32| share * height;
    let House { x, width, top, looks } = *house;
    let wall = looks.pick(
        3,
        &[
            rgb(176, 140, 116),
            rgb(190, 180, 160),
            rgb(150, 110, 96),
            rgb(164, 168, 172),
            rgb(206, 192, 150),
            rgb(128, 120, 124),
        ],
    );
    b.fill(rectangle(x, top, x + width, h(0.36)), wall);
    b.fill(rectangle(x, top, x + width, top + 4.0), shade(wall, 0.7));
    let n_windows = (width / 24.0) as i32;
    for floor in 0..5 {
        let y = top + 14.0 + 24.0 * floor as f32;
        for w in 0..n_windows {
            let wx = x + 8.0 + 24.0 * w as f32;
            if y + 14.0 < h(0.29) {
                b.fill(rectangle(wx, y, wx + 11.0, y + 14.0), rgb(70, 84, 98));
                b.fill(rectangle(wx, y + 7.0, wx + 11.0, y + 8.0), rgb(220, 220, 214));
            }
        }
    }
    if looks.unit(5) < 0.5 {
        b.fill(rectangle(x + 10.0, h(0.30), x + width - 10.0, h(0.36)), rgb(58, 62, 70));
        b.fill(rectangle(x + 8.0, h(0.285), x + width - 8.0, h(0.305)), looks.pick(6, Palette::Usual.clothes()));
    } else {
        b.fill(rectangle(x + 14.0, h(0.29), x + 32.0, h(0.36)), rgb(84, 56, 40));
    }
}
