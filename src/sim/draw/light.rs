//! Light by night: lamps, headlights, the camera's own; and the colour of the daylight.

use super::street::lamp_x;
use crate::sim::paint::{Brush, Rgba, circle, ellipse, radial, radial_between, rectangle};
use crate::sim::truth::ActorKind;
use crate::sim::world::{Actor, WIDTH};
use tiny_skia::{BlendMode, Color, FillRule, Paint, Transform};

/// Lamps and headlights, after the picture was darkened.
pub fn night_lights(b: &mut Brush<'_>, height: f32, actors: &[Actor]) {
    for i in 0..3 {
        let (x, y) = (lamp_x(i) + 16.0, height * 0.135);
        b.glow(circle(x, y, 26.0), radial(x, y, 26.0, [255, 220, 150, 220]));
        let (gx, gy) = (x, height * 0.5);
        b.glow(ellipse(gx, gy, 130.0, 110.0), radial(gx, gy, 130.0, [110, 92, 56, 150]));
    }
    for a in actors.iter().filter(|a| a.kind == ActorKind::Car && a.track >> 32 != 3) {
        let s = a.scale;
        let (x, y) = (a.x + a.facing * s * 1.0, a.y - 0.34 * s);
        b.glow(circle(x, y, s * 0.35), radial(x, y, s * 0.35, [255, 246, 210, 230]));
        let (bx, by) = (x + a.facing * s * 1.1, a.y - 0.02 * s);
        b.glow(ellipse(bx, by, s * 1.3, s * 0.22), radial(bx, by, s * 1.3, [150, 140, 100, 150]));
        let (tx, ty) = (a.x - a.facing * s * 1.0, a.y - 0.36 * s);
        b.glow(circle(tx, ty, s * 0.2), radial(tx, ty, s * 0.2, [220, 30, 20, 220]));
    }
}

/// Multiplies everything by a colour: dusk, night, a grey sky.
pub fn tint(b: &mut Brush<'_>, colour: Rgba) {
    let mut paint = Paint { blend_mode: BlendMode::Multiply, anti_alias: false, ..Paint::default() };
    paint.set_color(Color::from_rgba8(colour[0], colour[1], colour[2], 255));
    let (w, h) = (b.target.width() as f32, b.target.height() as f32);
    if let Some(all) = tiny_skia::Rect::from_xywh(0.0, 0.0, w, h) {
        b.target.fill_rect(all, &paint, Transform::identity(), None);
    }
}

/// The lamp at an infrared camera: the picture is dark but for what is near and in the middle.
pub fn infrared_lamp(b: &mut Brush<'_>, height: f32) {
    // The lamp shakes with the camera, so its light stays where it is in the picture.
    let fixed = Transform::from_scale(b.transform.sx, b.transform.sy);
    let beam = radial_between(WIDTH / 2.0, height * 0.8, 430.0, [250, 250, 250, 255], [24, 24, 24, 255]);
    let all = rectangle(-20.0, -20.0, WIDTH + 20.0, height + 20.0);
    let (Some(shader), Some(all)) = (beam, all) else { return };
    let paint = Paint { shader, blend_mode: BlendMode::Multiply, anti_alias: false, ..Paint::default() };
    b.target.fill_path(&all, &paint, FillRule::Winding, fixed, None);
}

/// What shines in infrared, after the picture was darkened: eyes and reflectors
/// send the lamp's light back, and headlights bloom.
pub fn infrared_lights(b: &mut Brush<'_>, actors: &[Actor]) {
    for a in actors {
        let s = a.scale;
        match a.kind {
            ActorKind::Person => {
                let (x, y) = (a.x + 0.035 * a.facing * s, a.y - 0.93 * s);
                b.glow(circle(x, y, s * 0.045), radial(x, y, s * 0.045, [255, 255, 255, 220]));
            }
            ActorKind::Car => {
                let (tx, ty) = (a.x - a.facing * s * 1.0, a.y - 0.36 * s);
                b.glow(circle(tx, ty, s * 0.14), radial(tx, ty, s * 0.14, [200, 200, 200, 220]));
                let is_parked = a.track >> 32 == 3;
                if !is_parked {
                    let (x, y) = (a.x + a.facing * s * 1.0, a.y - 0.34 * s);
                    b.glow(circle(x, y, s * 0.75), radial(x, y, s * 0.75, [255, 255, 255, 240]));
                    b.glow(circle(x, y, s * 0.3), radial(x, y, s * 0.3, [255, 255, 255, 255]));
                }
            }
        }
    }
}
