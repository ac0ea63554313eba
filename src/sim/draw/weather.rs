//! What falls from the sky, in every frame anew.

use crate::sim::paint::Brush;
use crate::sim::world::{Dice, WIDTH};
use tiny_skia::{FillRule, Paint, PathBuilder, Stroke};

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

/// Flakes of snow, new ones in every frame: between two frames they fall too far to be known again.
pub fn flakes(b: &mut Brush<'_>, height: f32, dice: Dice) {
    let mut flakes = PathBuilder::new();
    for i in 0..170 {
        let flake = dice.child(i);
        flakes.push_circle(
            flake.range(1, -4.0, WIDTH + 4.0),
            flake.range(2, -4.0, height + 4.0),
            flake.range(3, 0.7, 2.2),
        );
    }
    if let Some(path) = flakes.finish() {
        let mut paint = Paint::default();
        paint.set_color_rgba8(250, 251, 255, 215);
        b.target.fill_path(&path, &paint, FillRule::Winding, b.transform, None);
    }
}
