//! Draws whole frames of the street, with their ground truth.

use super::draw;
use super::paint::{Brush, Ink};
use super::sensor::Sensor;
use super::settings::SimSettings;
use super::truth::Truth;
use super::world::{Actor, WIDTH, World};
use crate::geom::{CameraPixels, Rect};
use std::f32::consts::TAU;
use tiny_skia::{Pixmap, PixmapPaint, Transform};

/// Sharpness of the identity picture against the real one: half as many
/// pixels each way say well enough who hides whom.
const IDENTITY_SCALE: f32 = 0.5;

/// Draws frames of one simulated camera. Not cheap to make (it draws the background).
pub struct SimCamera {
    settings: SimSettings,
    world: World,
    sensor: Sensor,
    background: Pixmap,
    canvas: Pixmap,
    identities: Pixmap,
    actors: Vec<Actor>,
}

impl SimCamera {
    /// # Panics
    /// If the size is 0; [`SimSettings::parse`] refuses that.
    pub fn new(settings: SimSettings) -> Self {
        let pixmap = |scale: f32| {
            let side = |v: u32| ((v as f32 * scale) as u32).max(1);
            Pixmap::new(side(settings.size.width), side(settings.size.height)).expect("settings have a size")
        };
        let world = World::new(&settings);
        let mut background = pixmap(1.0);
        let scale = settings.size.width as f32 / WIDTH;
        let mut brush = Brush::new(&mut background, Transform::from_scale(scale, scale), Ink::Colour);
        draw::background(&mut brush, world.height, world.dice);
        Self {
            sensor: Sensor::new(&settings),
            canvas: pixmap(1.0),
            identities: pixmap(IDENTITY_SCALE),
            background,
            world,
            settings,
            actors: Vec::new(),
        }
    }

    pub fn settings(&self) -> &SimSettings {
        &self.settings
    }

    /// Draws frame `n` into `bgr` (`height * width * 3` bytes).
    pub fn render(&mut self, n: u64, bgr: &mut [u8]) {
        let t_s = self.time(n);
        self.world.actors(t_s, &mut self.actors);
        let scale = self.settings.size.width as f32 / WIDTH;
        let (dx, dy) = self.shake(t_s);
        let moved = Transform::from_translate(dx * scale, dy * scale);
        self.canvas.data_mut().copy_from_slice(self.background.data());
        if (dx, dy) != (0.0, 0.0) {
            // The strip that the shift uncovers keeps the unshifted street.
            self.canvas.draw_pixmap(0, 0, self.background.as_ref(), &PixmapPaint::default(), moved, None);
        }
        let transform = Transform::from_scale(scale, scale).post_concat(moved);
        let mut brush = Brush::new(&mut self.canvas, transform, Ink::Colour);
        let shadow = if self.world.is_night() || self.world.is_rain() { 40 } else { 90 };
        self.world.paint(&self.settings, &self.actors, |item| match item {
            Item::Tree(tree, sway) => draw::tree(&mut brush, tree, sway, t_s),
            Item::Actor(_, a) => {
                draw::shadow(&mut brush, a, shadow);
                draw::actor(&mut brush, a);
            }
        });
        if self.world.is_night() {
            draw::tint(&mut brush, [62, 68, 96, 255]);
            draw::night_lights(&mut brush, self.world.height, &self.actors);
        } else if self.world.is_rain() {
            draw::tint(&mut brush, [176, 182, 192, 255]);
            draw::rain(&mut brush, self.world.height, self.world.dice.child(90).child(n));
        }
        let gain = Sensor::gain(&self.world, &self.settings, t_s);
        self.sensor.develop(self.canvas.data(), bgr, gain, n, &self.settings);
    }

    /// What is really in frame `n`, farthest first. `out` is overwritten.
    pub fn truth(&mut self, n: u64, out: &mut Vec<Truth>) {
        out.clear();
        let t_s = self.time(n);
        self.world.actors(t_s, &mut self.actors);
        let scale = self.settings.size.width as f32 / WIDTH * IDENTITY_SCALE;
        let (dx, dy) = self.shake(t_s);
        let transform = Transform::from_scale(scale, scale).post_translate(dx * scale, dy * scale);
        self.identities.fill(tiny_skia::Color::TRANSPARENT);
        let mut painted: Vec<(Rect<CameraPixels>, usize)> = vec![(Rect::new(0.0, 0.0, 0.0, 0.0), 0); self.actors.len()];
        let mut brush = Brush::new(&mut self.identities, transform, Ink::Identity(0));
        self.world.paint(&self.settings, &self.actors, |item| match item {
            Item::Tree(tree, sway) => {
                brush.ink = Ink::Identity(0);
                draw::tree(&mut brush, tree, sway, t_s);
            }
            Item::Actor(i, a) => {
                brush.ink = Ink::Identity(i as u16 + 1);
                brush.extent = None;
                draw::actor(&mut brush, a);
                if let Some(extent) = brush.extent {
                    painted[i] = (extent, count(brush.target, &extent, i as u16 + 1));
                }
            }
        });
        let picture = self.settings.size.rect::<CameraPixels>();
        for (i, a) in self.actors.iter().enumerate() {
            let (extent, n_painted) = painted[i];
            let up = 1.0 / IDENTITY_SCALE;
            let whole = Rect::<CameraPixels>::new(extent.x1 * up, extent.y1 * up, extent.x2 * up, extent.y2 * up);
            let bbox = whole.intersection(&picture);
            let n_seen = count(&self.identities, &extent, i as u16 + 1);
            if bbox.is_empty() || n_seen == 0 {
                continue;
            }
            let visible = n_seen as f32 / n_painted.max(1) as f32 * whole.share_in(&picture);
            out.push(Truth { track: a.track, kind: a.kind, bbox, visible });
        }
    }

    fn time(&self, n: u64) -> f32 {
        // From a moment on at which the street is already busy.
        100.0 + n as f32 / self.settings.fps
    }

    /// Wind against the mast: the picture's offset in world units.
    fn shake(&self, t_s: f32) -> (f32, f32) {
        let a = self.settings.shake;
        if a == 0.0 {
            return (0.0, 0.0);
        }
        let gust = (t_s * TAU / 7.0).sin().max(0.0);
        (a * gust * (t_s * TAU * 1.9).sin(), 0.6 * a * gust * (t_s * TAU * 2.7).cos())
    }
}

/// Something that is painted, in painter's order.
enum Item<'a> {
    Tree(&'a draw::Tree, f32),
    Actor(usize, &'a Actor),
}

impl World {
    /// Calls `paint` for trees and actors, farthest first.
    fn paint(&self, s: &SimSettings, actors: &[Actor], mut paint: impl FnMut(Item<'_>)) {
        let trees = draw::trees(self.height, self.dice);
        let mut next = 0;
        for (i, a) in actors.iter().enumerate() {
            while let Some(tree) = trees.get(next).filter(|tree| tree.y <= a.y) {
                paint(Item::Tree(tree, s.wind));
                next += 1;
            }
            paint(Item::Actor(i, a));
        }
        for tree in &trees[next..] {
            paint(Item::Tree(tree, s.wind));
        }
    }
}

/// Pixels of identity `id` within `extent`.
fn count(map: &Pixmap, extent: &Rect<CameraPixels>, id: u16) -> usize {
    let (w, h) = (map.width() as usize, map.height() as usize);
    let clip = |v: f32, max: usize| (v.max(0.0) as usize).min(max);
    let (x1, x2) = (clip(extent.x1, w), clip(extent.x2.ceil(), w));
    let (y1, y2) = (clip(extent.y1, h), clip(extent.y2.ceil(), h));
    let pixels = map.pixels();
    (y1..y2)
        .flat_map(|y| &pixels[y * w + x1..y * w + x2.max(x1)])
        .filter(|p| u16::from(p.red()) | u16::from(p.green()) << 8 == id)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{ActorKind, StreetScene};

    fn render(address: &str, n: u64) -> Vec<u8> {
        let settings = SimSettings::parse(address).unwrap();
        let mut bgr = vec![0; settings.size.area() * 3];
        SimCamera::new(settings).render(n, &mut bgr);
        bgr
    }

    #[test]
    fn a_frame_depends_on_settings_and_number_alone() {
        let address = "sim://street?scene=rain&size=320x192&seed=3&shake=2&gop=5";
        let mut camera = SimCamera::new(SimSettings::parse(address).unwrap());
        let mut bgr = vec![0; 320 * 192 * 3];
        let mut truth = Vec::new();
        for n in [40, 3, 7] {
            camera.truth(n + 1, &mut truth); // truth in between changes nothing
            camera.render(n, &mut bgr);
            assert!(bgr == render(address, n), "frame {n}");
        }
        assert!(render(address, 7) != render(address, 8));
        assert!(render(address, 7) != render("sim://street?scene=rain&size=320x192&seed=4&shake=2&gop=5", 7));
    }

    #[test]
    fn truth_is_where_the_picture_differs_from_the_empty_street() {
        let quiet = "size=640x384&noise=0&wind=0&seed=5";
        let empty = render(&format!("sim://street?{quiet}&traffic=0"), 30);
        let busy = render(&format!("sim://street?{quiet}"), 30);
        let mut camera = SimCamera::new(SimSettings::parse(&format!("sim://street?{quiet}")).unwrap());
        let mut truth = Vec::new();
        camera.truth(30, &mut truth);
        let moving: Vec<_> = truth.iter().filter(|t| t.track >> 32 != 3).collect();
        assert!(moving.iter().any(|t| t.kind == ActorKind::Car) && moving.iter().any(|t| t.kind == ActorKind::Person));
        for (i, (a, b)) in empty.chunks(3).zip(busy.chunks(3)).enumerate() {
            if a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > 60) {
                let (x, y) = ((i % 640) as f32, (i / 640) as f32);
                let inside = moving.iter().any(|t| t.bbox.grown(12.0).contains(&Rect::new(x, y, x + 1.0, y + 1.0)));
                assert!(inside, "({x}, {y}) differs, and nothing is said to be there");
            }
        }
    }

    #[test]
    fn hidden_and_cut_objects_are_less_visible() {
        let mut camera = SimCamera::new(SimSettings { traffic: 4.0, ..SimSettings::new(StreetScene::Crowd) });
        let mut truth = Vec::new();
        let (mut hidden, mut whole) = (0, 0);
        for n in 0..40 {
            camera.truth(n * 5, &mut truth);
            for t in &truth {
                assert!((0.0..=1.0).contains(&t.visible) && !t.bbox.is_empty(), "{t:?}");
                hidden += usize::from(t.visible < 0.5);
                whole += usize::from(t.visible == 1.0);
            }
        }
        assert!(hidden > 20 && whole > 100, "hidden {hidden}, whole {whole}");
    }

    #[test]
    fn conditions_show() {
        let mean = |address: &str, n: u64| {
            let bgr = render(address, n);
            bgr.iter().map(|&v| f64::from(v)).sum::<f64>() / bgr.len() as f64
        };
        let day = mean("sim://street?size=320x192", 0);
        assert!(mean("sim://street?size=320x192&scene=night", 0) < 0.6 * day);
        let switched = "sim://street?size=320x192&switch=1";
        assert!(mean(switched, 10) < 0.75 * mean(switched, 9), "a light goes out between frames 9 and 10");
    }
}
