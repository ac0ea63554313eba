//! Everything that never moves.

use super::houses::{house, houses};
use super::snow;
use crate::sim::paint::{Brush, Rgba, ellipse, rectangle, rgb};
use crate::sim::settings::StreetScene;
use crate::sim::world::{CROSSING, Dice, FAR_LANE, NEAR_LANE, PARKED, WIDTH};

/// Sky, houses, pavements, road and lamps. `dice` are the street's.
pub fn background(b: &mut Brush<'_>, height: f32, dice: Dice, scene: StreetScene) {
    let h = |share: f32| share * height;
    b.fill(rectangle(-20.0, -20.0, WIDTH + 20.0, h(0.3)), sky(scene));
    for one in &houses(height, dice) {
        house(b, one, height);
    }
    ground(b, height, dice.child(50));
    if scene == StreetScene::Snow {
        snow::cover(b, height, dice);
    }
    lamps(b, height);
}

/// Its light by night comes with the night's tint, so one sky does for most.
fn sky(scene: StreetScene) -> Rgba {
    match scene {
        StreetScene::Snow => rgb(214, 219, 226),
        StreetScene::Infrared => rgb(22, 22, 22),
        _ => rgb(168, 200, 226),
    }
}

/// Pavement, kerb, road, near pavement.
fn ground(b: &mut Brush<'_>, height: f32, dice: Dice) {
    let h = |share: f32| share * height;
    b.fill(rectangle(-20.0, h(0.36), WIDTH + 20.0, h(0.46)), rgb(166, 162, 156));
    b.fill(rectangle(-20.0, h(0.455), WIDTH + 20.0, h(0.465)), rgb(196, 194, 188));
    b.fill(rectangle(-20.0, h(0.465), WIDTH + 20.0, h(0.80)), rgb(92, 94, 98));
    for i in 0..60 {
        let spot = dice.child(200 + i);
        let (sx, sy) = (spot.range(1, 0.0, WIDTH), h(spot.range(2, 0.48, 0.79)));
        b.fill(ellipse(sx, sy, spot.range(3, 4.0, 40.0), spot.range(4, 1.0, 4.0)), [70, 72, 76, 60]);
    }
    b.fill(rectangle(-20.0, h(PARKED) + 8.0, WIDTH + 20.0, h(PARKED) + 9.5), rgb(200, 200, 196));
    let middle = h((FAR_LANE + NEAR_LANE) / 2.0 - 0.04);
    for i in 0..12 {
        let dash = 60.0 * i as f32;
        b.fill(rectangle(dash, middle, dash + 30.0, middle + 3.0), rgb(214, 214, 208));
    }
    for i in 0..11 {
        let y = h(0.475) + i as f32 * h(0.03);
        let lean = 40.0 + i as f32 * 2.5;
        b.fill(rectangle(WIDTH * CROSSING - lean, y, WIDTH * CROSSING + lean, y + h(0.014)), rgb(206, 206, 200));
    }
    b.fill(rectangle(-20.0, h(0.80), WIDTH + 20.0, h(0.815)), rgb(190, 188, 182));
    b.fill(rectangle(-20.0, h(0.815), WIDTH + 20.0, height + 20.0), rgb(158, 154, 148));
    for i in 0..14 {
        let x = 52.0 * i as f32;
        b.line(&[(x, h(0.815)), (x - 30.0, height + 20.0)], 1.0, rgb(138, 134, 130));
    }
}

fn lamps(b: &mut Brush<'_>, height: f32) {
    let h = |share: f32| share * height;
    for i in 0..3 {
        let x = lamp_x(i);
        b.line(&[(x, h(0.44)), (x, h(0.14))], 3.0, rgb(60, 62, 64));
        b.line(&[(x, h(0.14)), (x + 14.0, h(0.13))], 2.5, rgb(60, 62, 64));
        b.fill(ellipse(x + 16.0, h(0.135), 6.0, 2.5), rgb(230, 226, 200));
    }
}

/// Where lamp post `i` stands, 0..3.
pub fn lamp_x(i: usize) -> f32 {
    80.0 + 230.0 * i as f32
}
