//! What winter lays over roofs, pavements and road.

use super::houses::houses;
use crate::sim::paint::{Brush, Rgba, ellipse, rectangle, rgb};
use crate::sim::world::{Dice, FAR_LANE, NEAR_LANE, WIDTH};

const ROOF: Rgba = rgb(240, 243, 249);
/// Not quite opaque: kerbs and the marks on the road can just be made out.
const PAVEMENT: Rgba = [234, 238, 245, 238];
const ROAD: Rgba = [208, 215, 226, 222];
/// Blue-grey, where the snow is pressed down or in the shade.
const HOLLOW: Rgba = [176, 188, 208, 70];
const SLUSH: Rgba = rgb(158, 165, 177);
const WET_ROAD: Rgba = rgb(122, 128, 138);

/// Draws it over the street's background. `dice` are the street's.
pub fn cover(b: &mut Brush<'_>, height: f32, dice: Dice) {
    let h = |share: f32| share * height;
    for house in houses(height, dice) {
        b.fill(rectangle(house.x, house.top - 3.0, house.x + house.width, house.top + 5.0), ROOF);
    }
    let dice = dice.child(120);
    b.fill(rectangle(-20.0, h(0.355), WIDTH + 20.0, h(0.465)), PAVEMENT);
    b.fill(rectangle(-20.0, h(0.465), WIDTH + 20.0, h(0.80)), ROAD);
    b.fill(rectangle(-20.0, h(0.80), WIDTH + 20.0, height + 20.0), PAVEMENT);
    for i in 0..50 {
        let spot = dice.child(100 + i);
        let (x, y) = (spot.range(1, 0.0, WIDTH), h(spot.range(2, 0.38, 0.99)));
        b.fill(ellipse(x, y, spot.range(3, 10.0, 60.0), spot.range(4, 1.0, 4.0)), HOLLOW);
    }
    for (lane, y) in [(1, FAR_LANE), (2, NEAR_LANE)] {
        // The near wheels' track, and the far wheels' a little behind it.
        for (track, behind) in [(0, 0.0), (1, 0.03)] {
            tyre_track(b, h(y - behind), dice.child(lane).child(track));
        }
    }
}

/// Slush, with the wet road to be seen in its middle.
fn tyre_track(b: &mut Brush<'_>, y: f32, dice: Dice) {
    let points: [(f32, f32); 18] = std::array::from_fn(|i| {
        let x = -20.0 + 40.0 * i as f32;
        (x, y + dice.range(i as u64, -0.9, 0.9))
    });
    b.line(&points, 4.5, SLUSH);
    b.line(&points, 1.8, WET_ROAD);
}
