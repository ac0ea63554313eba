//! The shapes of the street: buildings, road, trees, cars, people, light, rain.

use super::paint::{Brush, Rgba, circle, ellipse, polygon, radial, rectangle, rgb};
use super::truth::ActorKind;
use super::world::{Actor, CROSSING, Dice, FAR_LANE, FAR_WALK, NEAR_LANE, PARKED, WIDTH};
use std::f32::consts::TAU;
use tiny_skia::{BlendMode, Color, Paint, PathBuilder, Stroke, Transform};

const CAR_PAINTS: [Rgba; 9] = [
    rgb(196, 40, 36),
    rgb(34, 70, 150),
    rgb(232, 232, 228),
    rgb(46, 48, 52),
    rgb(150, 156, 162),
    rgb(24, 102, 70),
    rgb(214, 160, 40),
    rgb(120, 34, 60),
    rgb(96, 132, 168),
];
const CLOTHES: [Rgba; 10] = [
    rgb(180, 44, 50),
    rgb(40, 60, 120),
    rgb(230, 226, 214),
    rgb(38, 38, 42),
    rgb(90, 120, 70),
    rgb(210, 150, 60),
    rgb(110, 70, 120),
    rgb(70, 140, 160),
    rgb(150, 110, 80),
    rgb(220, 120, 140),
];
const SKINS: [Rgba; 4] = [rgb(236, 196, 168), rgb(200, 150, 116), rgb(140, 94, 66), rgb(92, 60, 44)];
const HAIRS: [Rgba; 4] = [rgb(30, 24, 22), rgb(90, 60, 34), rgb(180, 150, 96), rgb(120, 116, 112)];

/// Everything that never moves.
pub fn background(b: &mut Brush<'_>, height: f32, dice: Dice) {
    let h = |share: f32| share * height;
    let dice = dice.child(50);
    b.fill(rectangle(-20.0, -20.0, WIDTH + 20.0, h(0.3)), rgb(168, 200, 226));
    // Houses along the far side.
    let mut x = -20.0;
    for i in 0..12 {
        let house = dice.child(i);
        let width = house.range(1, 70.0, 130.0);
        let top = h(house.range(2, 0.03, 0.16));
        let wall = house.pick(
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
        if house.unit(5) < 0.5 {
            b.fill(rectangle(x + 10.0, h(0.30), x + width - 10.0, h(0.36)), rgb(58, 62, 70));
            b.fill(rectangle(x + 8.0, h(0.285), x + width - 8.0, h(0.305)), house.pick(6, &CLOTHES));
        } else {
            b.fill(rectangle(x + 14.0, h(0.29), x + 32.0, h(0.36)), rgb(84, 56, 40));
        }
        x += width;
        if x > WIDTH + 20.0 {
            break;
        }
    }
    // Pavement, kerb, road, near pavement.
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
    for i in 0..3 {
        let x = lamp_x(i);
        b.line(&[(x, h(0.44)), (x, h(0.14))], 3.0, rgb(60, 62, 64));
        b.line(&[(x, h(0.14)), (x + 14.0, h(0.13))], 2.5, rgb(60, 62, 64));
        b.fill(ellipse(x + 16.0, h(0.135), 6.0, 2.5), rgb(230, 226, 200));
    }
}

fn lamp_x(i: usize) -> f32 {
    80.0 + 230.0 * i as f32
}

/// Base line of a tree and everything needed to draw it.
#[derive(Clone, Copy)]
pub struct Tree {
    pub x: f32,
    pub y: f32,
    size: f32,
    looks: Dice,
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
pub fn tree(b: &mut Brush<'_>, tree: &Tree, sway: f32, t_s: f32) {
    let Tree { x, y, size, looks } = *tree;
    let top = y - size * 1.7;
    b.line(&[(x, y), (x, top)], size * 0.12, rgb(84, 62, 44));
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
        b.fill(
            circle(x + distance * angle.cos() + dx, top + distance * angle.sin() * 0.8 + dy, radius),
            shade(green, tone),
        );
    }
}

pub fn actor(b: &mut Brush<'_>, a: &Actor) {
    match a.kind {
        ActorKind::Person => person(b, a),
        ActorKind::Car => car(b, a),
    }
}

/// Soft shadow on the ground; not part of the object.
pub fn shadow(b: &mut Brush<'_>, a: &Actor, strength: u8) {
    let (rx, ry) = match a.kind {
        ActorKind::Person => (a.scale * 0.2, a.scale * 0.035),
        ActorKind::Car => (a.scale * 1.05, a.scale * 0.09),
    };
    b.fill(ellipse(a.x + rx * 0.15, a.y, rx, ry), [20, 20, 24, strength]);
}

fn person(b: &mut Brush<'_>, a: &Actor) {
    let k = a.looks;
    let s = a.scale;
    let build = k.range(30, 0.85, 1.2);
    let (coat, legs) = (k.pick(31, &CLOTHES), k.pick(32, &CLOTHES));
    let (skin, hair) = (k.pick(33, &SKINS), k.pick(34, &HAIRS));
    let swing = a.stride.map_or(0.08, |turn| (turn * TAU).sin() * 0.5) * a.facing;
    let bob = a.stride.map_or(0.0, |turn| (turn * 2.0 * TAU).cos().abs() * 0.012 * s);
    let at = |dx: f32, up: f32| (a.x + dx * s, a.y - up * s - bob);
    let skirt = k.unit(35) < 0.25;
    // Legs from the hip, arms from the shoulder, opposite to each other.
    let (hip, shoulder) = (at(0.0, 0.47), at(0.0, 0.80));
    for (side, tone) in [(-1.0, 0.78), (1.0, 1.0)] {
        let knee = at(side * swing * 0.16, 0.25);
        let foot = (a.x + side * swing * 0.30 * s, a.y - 0.02 * s - (side * swing).max(0.0) * 0.03 * s);
        let leg = shade(if skirt { skin } else { legs }, tone);
        b.line(&[hip, knee, foot], 0.085 * s * build, leg);
        b.line(&[foot, (foot.0 + 0.055 * s * a.facing, foot.1)], 0.05 * s, shade(rgb(44, 38, 36), tone));
    }
    let arm = |b: &mut Brush<'_>, side: f32, tone: f32| {
        let hand = at(-side * swing * 0.24 + 0.02 * a.facing, 0.50);
        let elbow = at(-side * swing * 0.10 - 0.02 * a.facing, 0.64);
        b.line(&[shoulder, elbow], 0.07 * s * build, shade(coat, tone));
        b.line(&[elbow, hand], 0.055 * s * build, shade(if k.unit(36) < 0.5 { coat } else { skin }, tone));
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
    arm(b, 1.0, 0.86);
    if k.unit(37) < 0.3 {
        let (px, py) = at(-0.13 * a.facing, 0.68);
        b.fill(ellipse(px, py, 0.07 * s, 0.12 * s), k.pick(38, &CLOTHES));
    }
    let (nx, ny) = at(0.0, 0.84);
    b.line(&[(nx, ny), at(0.01 * a.facing, 0.88)], 0.06 * s, shade(skin, 0.85));
    let (hx, hy) = at(0.015 * a.facing, 0.925);
    b.fill(ellipse(hx, hy, 0.062 * s, 0.075 * s), skin);
    b.fill(ellipse(hx - 0.018 * s * a.facing, hy - 0.025 * s, 0.062 * s, 0.052 * s), hair);
}

fn car(b: &mut Brush<'_>, a: &Actor) {
    let k = a.looks;
    let s = a.scale;
    let paint = k.pick(40, &CAR_PAINTS);
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
        b.fill(circle(wx, wy, 0.175 * s), shade(paint, 0.45));
        b.fill(circle(wx, wy, 0.155 * s), rgb(26, 26, 28));
        b.fill(circle(wx, wy, 0.085 * s), rgb(150, 152, 156));
    }
    let (fx, fy) = at(half - 0.05, belt - 0.14);
    b.fill(ellipse(fx, fy, 0.05 * s, 0.045 * s), rgb(240, 236, 210));
    let (rx, ry) = at(-half + 0.035, belt - 0.1);
    b.fill(ellipse(rx, ry, 0.03 * s, 0.055 * s), rgb(170, 24, 20));
}

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

/// Falling streaks, new ones in every frame.
pub fn rain(b: &mut Brush<'_>, height: f32, dice: Dice) {
    let mut streaks = PathBuilder::new();
    for i in 0..110 {
        let drop = dice.child(i);
        let (x, y) = (drop.range(1, -10.0, WIDTH), drop.range(2, -20.0, height));
        let length = drop.range(3, 8.0, 22.0);
        streaks.move_to(x, y);
        streaks.line_to(x + length * 0.18, y + length);
    }
    if let Some(path) = streaks.finish() {
        let mut paint = Paint::default();
        paint.set_color_rgba8(206, 212, 220, 95);
        let stroke = Stroke { width: 0.9, ..Stroke::default() };
        b.target.stroke_path(&path, &paint, &stroke, b.transform, None);
    }
}

fn shade(c: Rgba, factor: f32) -> Rgba {
    let f = |v: u8| (f32::from(v) * factor).min(255.0) as u8;
    [f(c[0]), f(c[1]), f(c[2]), c[3]]
}
