//! A brush that paints either colours or identities, so that ground truth
//! comes from the very shapes that are seen.

use crate::geom::{CameraPixels, Rect};
use tiny_skia::{BlendMode, Color, FillRule, LineCap, Paint, Path, PathBuilder, Pixmap, Shader, Stroke, Transform};

/// 8-bit colour with alpha.
pub type Rgba = [u8; 4];

pub const fn rgb(r: u8, g: u8, b: u8) -> Rgba {
    [r, g, b, 255]
}

/// Darker below 1, lighter above; the alpha stays.
pub fn shade(c: Rgba, factor: f32) -> Rgba {
    let f = |v: u8| (f32::from(v) * factor).min(255.0) as u8;
    [f(c[0]), f(c[1]), f(c[2]), c[3]]
}

/// What a stroke of the brush leaves behind.
#[derive(Clone, Copy, PartialEq)]
pub enum Ink {
    /// The colour it is given, anti-aliased.
    Colour,
    /// This number, hard-edged, whatever the colour; 0 is nobody.
    Identity(u16),
}

/// Draws shapes in world units onto a picture.
pub struct Brush<'a> {
    pub target: &'a mut Pixmap,
    /// World units to pixels.
    pub transform: Transform,
    pub ink: Ink,
    /// Pixels that were painted since it was last taken.
    pub extent: Option<Rect<CameraPixels>>,
}

impl<'a> Brush<'a> {
    pub fn new(target: &'a mut Pixmap, transform: Transform, ink: Ink) -> Self {
        Self { target, transform, ink, extent: None }
    }

    pub fn fill(&mut self, path: Option<Path>, colour: Rgba) {
        let Some(path) = path else { return };
        self.grow(path.bounds());
        let paint = self.paint(colour);
        self.target.fill_path(&path, &paint, FillRule::Winding, self.transform, None);
    }

    pub fn line(&mut self, points: &[(f32, f32)], width: f32, colour: Rgba) {
        let mut builder = PathBuilder::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            if i == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
        }
        let Some(path) = builder.finish() else { return };
        if let Some(b) = path.bounds().outset(width / 2.0, width / 2.0) {
            self.grow(b);
        }
        let stroke = Stroke { width, line_cap: LineCap::Round, ..Stroke::default() };
        let paint = self.paint(colour);
        self.target.stroke_path(&path, &paint, &stroke, self.transform, None);
    }

    /// A pattern on what was just painted: who is who does not depend on it.
    pub fn decorate(&mut self, path: Option<Path>, colour: Rgba) {
        if self.ink == Ink::Colour {
            self.fill(path, colour);
        }
    }

    /// Light, added to what is there; identities cast none.
    pub fn glow(&mut self, path: Option<Path>, shader: Option<Shader<'_>>) {
        let (Some(path), Some(shader)) = (path, shader) else { return };
        if self.ink == Ink::Colour {
            let paint = Paint { shader, blend_mode: BlendMode::Plus, ..Paint::default() };
            self.target.fill_path(&path, &paint, FillRule::Winding, self.transform, None);
        }
    }

    fn paint(&self, colour: Rgba) -> Paint<'static> {
        let mut paint = Paint::default();
        match self.ink {
            Ink::Colour => paint.set_color_rgba8(colour[0], colour[1], colour[2], colour[3]),
            Ink::Identity(id) => {
                paint.set_color_rgba8((id & 255) as u8, (id >> 8) as u8, 0, 255);
                paint.anti_alias = false;
            }
        }
        paint
    }

    fn grow(&mut self, bounds: tiny_skia::Rect) {
        let t = self.transform;
        let r = Rect::new(
            bounds.left() * t.sx + t.tx,
            bounds.top() * t.sy + t.ty,
            bounds.right() * t.sx + t.tx,
            bounds.bottom() * t.sy + t.ty,
        );
        self.extent = Some(self.extent.map_or(r, |e| e.hull(&r)));
    }
}

pub fn rectangle(x1: f32, y1: f32, x2: f32, y2: f32) -> Option<Path> {
    tiny_skia::Rect::from_ltrb(x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)).map(PathBuilder::from_rect)
}

pub fn circle(x: f32, y: f32, r: f32) -> Option<Path> {
    PathBuilder::from_circle(x, y, r)
}

pub fn ellipse(x: f32, y: f32, rx: f32, ry: f32) -> Option<Path> {
    tiny_skia::Rect::from_ltrb(x - rx, y - ry, x + rx, y + ry).and_then(PathBuilder::from_oval)
}

pub fn polygon(points: &[(f32, f32)]) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        if i == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
    }
    builder.close();
    builder.finish()
}

/// Light that fades from `colour` at the middle to nothing at `radius`.
pub fn radial(x: f32, y: f32, radius: f32, colour: Rgba) -> Option<Shader<'static>> {
    radial_between(x, y, radius, colour, [colour[0], colour[1], colour[2], 0])
}

/// `inner` at the middle, `outer` from `radius` on.
pub fn radial_between(x: f32, y: f32, radius: f32, inner: Rgba, outer: Rgba) -> Option<Shader<'static>> {
    use tiny_skia::{GradientStop, Point, RadialGradient, SpreadMode};
    let colour = |c: Rgba| Color::from_rgba8(c[0], c[1], c[2], c[3]);
    let stops = vec![GradientStop::new(0.0, colour(inner)), GradientStop::new(1.0, colour(outer))];
    let p = Point::from_xy(x, y);
    RadialGradient::new(p, 0.0, p, radius, stops, SpreadMode::Pad, Transform::identity())
}
