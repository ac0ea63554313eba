//! Draws whole frames of the street, with their ground truth.

use super::decoy::{Decoy, decoys};
use super::draw::{self, Foliage, Materials};
use super::paint::{Brush, Ink};
use super::sensor::Sensor;
use super::settings::SimSettings;
use super::truth::{DecoyTruth, Truth};
use super::world::{Actor, WIDTH, World};
use crate::geom::{CameraPixels, Rect};
use std::f32::consts::TAU;
use tiny_skia::{Pixmap, PixmapPaint, Transform};

/// Sharpness of the identity picture against the real one: half as many
/// pixels each way say well enough who hides whom.
const IDENTITY_SCALE: f32 = 0.5;

/// Something in the identity picture as it was when it had just been painted.
struct Painted {
    identity: u16,
    /// In pixels of the identity picture.
    extent: Rect<CameraPixels>,
    /// Pixels of its own.
    n: usize,
}

/// Something in the finished identity picture.
struct Measured {
    identity: u16,
    /// Clipped to the picture.
    bbox: Rect<CameraPixels>,
    /// 0..=1, as [`Truth::visible`].
    visible: f32,
}

/// Draws frames of one simulated camera. Not cheap to make (it draws the background).
pub struct SimCamera {
    settings: SimSettings,
    world: World,
    sensor: Sensor,
    background: Pixmap,
    canvas: Pixmap,
    identities: Pixmap,
    actors: Vec<Actor>,
    /// Farthest first.
    decoys: Vec<Decoy>,
    /// Scratch of [`SimCamera::measure`] and what came out.
    painted: Vec<Painted>,
    measured: Vec<Measured>,
    materials: Materials,
    foliage: Foliage,
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
        draw::background(&mut brush, world.height, world.dice, settings.scene);
        Self {
            sensor: Sensor::new(&settings),
            canvas: pixmap(1.0),
            identities: pixmap(IDENTITY_SCALE),
            background,
            decoys: decoys(&world, &settings.decoys),
            materials: if world.is_infrared() {
                Materials::in_infrared(settings.palette)
            } else {
                Materials::by_day(settings.palette)
            },
            foliage: if world.is_snow() { Foliage::Snow } else { Foliage::Leaves },
            world,
            settings,
            actors: Vec::new(),
            painted: Vec::new(),
            measured: Vec::new(),
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
        let is_dim = self.world.is_night() || self.world.is_rain() || self.world.is_snow() || self.world.is_infrared();
        let shadow = if is_dim { 40 } else { 90 };
        self.world.paint(&self.actors, &self.decoys, |item| {
            match item {
                Item::Tree(_) => {}
                Item::Decoy(_, d) => draw::decoy_shadow(&mut brush, d, shadow),
                Item::Actor(_, a) => draw::shadow(&mut brush, a, shadow),
            }
            item.draw(&mut brush, self.materials, self.foliage, self.settings.wind, t_s);
        });
        if self.world.is_night() {
            draw::tint(&mut brush, [62, 68, 96, 255]);
            draw::night_lights(&mut brush, self.world.height, &self.actors);
        } else if self.world.is_rain() {
            draw::tint(&mut brush, [176, 182, 192, 255]);
            draw::rain(&mut brush, self.world.height, self.world.dice.child(90).child(n));
        } else if self.world.is_snow() {
            draw::tint(&mut brush, [236, 240, 248, 255]);
            draw::flakes(&mut brush, self.world.height, self.world.dice.child(121).child(n));
        } else if self.world.is_infrared() {
            draw::infrared_lamp(&mut brush, self.world.height);
            draw::infrared_lights(&mut brush, &self.actors);
        }
        let gain = Sensor::gain(&self.world, &self.settings, t_s);
        self.sensor.develop(self.canvas.data(), bgr, gain, n, &self.settings);
    }

    /// What is really in frame `n`, farthest first. `out` is overwritten.
    pub fn truth(&mut self, n: u64, out: &mut Vec<Truth>) {
        out.clear();
        self.measure(n, |item| if let Item::Actor(i, _) = item { *i as u16 + 1 } else { 0 });
        out.extend(self.measured.iter().map(|m| {
            let a = &self.actors[m.identity as usize - 1];
            Truth { track: a.track, kind: a.kind, bbox: m.bbox, visible: m.visible }
        }));
    }

    /// What only looks like an object in frame `n`, farthest first: nothing of
    /// it is in [`SimCamera::truth`]. `out` is overwritten.
    pub fn decoys(&mut self, n: u64, out: &mut Vec<DecoyTruth>) {
        out.clear();
        self.measure(n, |item| if let Item::Decoy(i, _) = item { *i as u16 + 1 } else { 0 });
        out.extend(self.measured.iter().map(|m| {
            let kind = self.decoys[m.identity as usize - 1].kind;
            DecoyTruth { kind, bbox: m.bbox, visible: m.visible }
        }));
    }

    /// Paints the identity picture of frame `n` and fills `measured` from it with what is seen,
    /// farthest first. `identity` numbers what is wanted; 0 is what only hides others.
    fn measure(&mut self, n: u64, identity: impl Fn(&Item<'_>) -> u16) {
        let t_s = self.time(n);
        self.world.actors(t_s, &mut self.actors);
        let scale = self.settings.size.width as f32 / WIDTH * IDENTITY_SCALE;
        let (dx, dy) = self.shake(t_s);
        let transform = Transform::from_scale(scale, scale).post_translate(dx * scale, dy * scale);
        self.identities.fill(tiny_skia::Color::TRANSPARENT);
        self.painted.clear();
        let mut brush = Brush::new(&mut self.identities, transform, Ink::Identity(0));
        self.world.paint(&self.actors, &self.decoys, |item| {
            let id = identity(&item);
            brush.ink = Ink::Identity(id);
            brush.extent = None;
            item.draw(&mut brush, self.materials, self.foliage, self.settings.wind, t_s);
            if let Some(extent) = brush.extent.filter(|_| id != 0) {
                self.painted.push(Painted { identity: id, extent, n: count(brush.target, &extent, id) });
            }
        });
        let picture = self.settings.size.rect::<CameraPixels>();
        self.measured.clear();
        for Painted { identity, extent, n } in &self.painted {
            let up = 1.0 / IDENTITY_SCALE;
            let whole = Rect::<CameraPixels>::new(extent.x1 * up, extent.y1 * up, extent.x2 * up, extent.y2 * up);
            let bbox = whole.intersection(&picture);
            let n_seen = count(&self.identities, extent, *identity);
            if bbox.is_empty() || n_seen == 0 {
                continue;
            }
            let visible = n_seen as f32 / (*n).max(1) as f32 * whole.share_in(&picture);
            self.measured.push(Measured { identity: *identity, bbox, visible });
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
    Tree(&'a draw::Tree),
    /// With its place among the decoys.
    Decoy(usize, &'a Decoy),
    /// With its place among the actors.
    Actor(usize, &'a Actor),
}

impl Item<'_> {
    /// `wind` in world units.
    fn draw(&self, b: &mut Brush<'_>, materials: Materials, foliage: Foliage, wind: f32, t_s: f32) {
        match self {
            Item::Tree(tree) => draw::tree(b, tree, wind, t_s, foliage),
            Item::Decoy(_, d) => draw::decoy(b, d, materials, wind, t_s),
            Item::Actor(_, a) => draw::actor(b, a, materials),
        }
    }
}

impl World {
    /// Calls `paint` for trees, decoys and actors, farthest first.
    fn paint(&self, actors: &[Actor], decoys: &[Decoy], mut paint: impl FnMut(Item<'_>)) {
        let trees = draw::trees(self.height, self.dice);
        let (mut next_tree, mut next_decoy) = (0usize, 0usize);
        // Each in its turn; what stands still goes before an actor on the same line.
        let ends = std::iter::once(f32::INFINITY);
        for (i, y) in actors.iter().map(|a| a.y).chain(ends).enumerate() {
            loop {
                let tree = trees.get(next_tree).filter(|tree| tree.y <= y);
                let decoy = decoys.get(next_decoy).filter(|d| d.y <= y);
                match (tree, decoy) {
                    (Some(tree), decoy) if decoy.is_none_or(|d| tree.y <= d.y) => {
                        paint(Item::Tree(tree));
                        next_tree += 1;
                    }
                    (_, Some(decoy)) => {
                        paint(Item::Decoy(next_decoy, decoy));
                        next_decoy += 1;
                    }
                    _ => break,
                }
            }
            if let Some(a) = actors.get(i) {
                paint(Item::Actor(i, a));
            }
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

    fn camera(address: &str) -> SimCamera {
        SimCamera::new(SimSettings::parse(address).unwrap())
    }

    fn truth(address: &str, n: u64) -> Vec<Truth> {
        let mut out = Vec::new();
        camera(address).truth(n, &mut out);
        out
    }

    fn decoys_of(address: &str, n: u64) -> Vec<DecoyTruth> {
        let mut out = Vec::new();
        camera(address).decoys(n, &mut out);
        out
    }

    /// Whether any colour of pixel (`x`, `y`) differs in two pictures 640 wide.
    fn differs(a: &[u8], b: &[u8], x: usize, y: usize) -> bool {
        let at = (y * 640 + x) * 3;
        a[at..at + 3] != b[at..at + 3]
    }

    #[test]
    fn decoys_are_painted_in_their_boxes_and_are_no_objects() {
        for seed in 1..5 {
            let without = format!("sim://street?noise=0&seed={seed}");
            let with = format!("{without}&decoys=all");
            let (empty, full) = (render(&without, 30), render(&with, 30));
            let decoys = decoys_of(&with, 30);
            assert!(decoys_of(&without, 30).is_empty() && !decoys.is_empty());
            let mut changed = vec![0; decoys.len()];
            for (y, x) in
                (0..384).flat_map(|y| (0..640).map(move |x| (y, x))).filter(|(y, x)| differs(&empty, &full, *x, *y))
            {
                let pixel = Rect::new(x as f32, y as f32, x as f32 + 1.0, y as f32 + 1.0);
                let mut is_inside = false;
                for (decoy, n) in decoys.iter().zip(&mut changed) {
                    // Its shadow reaches a little farther than itself.
                    let inside = decoy.bbox.grown(6.0).contains(&pixel);
                    *n += usize::from(inside);
                    is_inside |= inside;
                }
                assert!(is_inside, "seed {seed}: ({x}, {y}) differs, and no decoy is there");
            }
            for (decoy, n) in decoys.iter().zip(&changed).filter(|(d, _)| d.visible > 0.5) {
                assert!(*n as f32 > 0.1 * decoy.bbox.area(), "seed {seed}: {decoy:?}: {n} pixels");
            }
            // They hide objects and are none.
            let objects = truth(&without, 30);
            for t in truth(&with, 30) {
                let before =
                    objects.iter().find(|o| o.track == t.track).expect("an object of the street without decoys");
                assert!(before.kind == t.kind && before.bbox == t.bbox && before.visible >= t.visible, "{t:?}");
            }
        }
    }

    #[test]
    fn decoys_stay_where_they_are() {
        let boxes = |seed: u64, n: u64| {
            let address = format!("sim://street?traffic=0&decoys=mannequin+poster+trailer&seed={seed}");
            decoys_of(&address, n).iter().map(|d| (d.kind, d.bbox)).collect::<Vec<_>>()
        };
        for seed in 1..5 {
            assert_eq!(boxes(seed, 0), boxes(seed, 700), "seed {seed}");
            assert_ne!(boxes(seed, 0), boxes(seed + 1, 0), "seed {seed}");
        }
    }

    #[test]
    fn another_palette_changes_colours_and_no_truth() {
        let (usual, other) = ("sim://street?noise=0&traffic=2", "sim://street?noise=0&traffic=2&palette=other");
        let objects = truth(usual, 30);
        assert_eq!(objects, truth(other, 30));
        let (a, b) = (render(usual, 30), render(other, 30));
        let cars: Vec<_> = objects.iter().filter(|t| t.kind == ActorKind::Car && t.visible > 0.5).collect();
        assert!(!cars.is_empty());
        for car in cars {
            let (xs, ys) = (car.bbox.x1 as usize..car.bbox.x2 as usize, car.bbox.y1 as usize..car.bbox.y2 as usize);
            let n = ys.flat_map(|y| xs.clone().map(move |x| (x, y))).filter(|(x, y)| differs(&a, &b, *x, *y)).count();
            assert!(n as f32 > 0.15 * car.bbox.area(), "{car:?}: {n} pixels");
        }
    }

    #[test]
    fn infrared_is_grey_and_darker_far_from_the_lamp() {
        let bgr = render("sim://street?scene=infrared&gop=7&shake=2", 30);
        assert!(bgr.as_chunks::<3>().0.iter().all(|p| p[0] == p[1] && p[1] == p[2]));
        let noiseless = render("sim://street?scene=infrared&noise=0&traffic=0", 30);
        let mean = |xs: std::ops::Range<usize>| {
            xs.clone().map(|x| u32::from(noiseless[(350 * 640 + x) * 3])).sum::<u32>() / xs.len() as u32
        };
        assert!(mean(300..340) > 2 * mean(0..40), "{} against {}", mean(300..340), mean(0..40));
        let noisy = render("sim://street?scene=infrared&traffic=0", 30);
        assert!(noisy != render("sim://street?scene=infrared&traffic=0", 31), "noise is new in every frame");
    }

    #[test]
    fn snow_lies_on_the_ground_and_falls() {
        let ground = |address: &str| {
            let bgr = render(address, 30);
            let road = &bgr[200 * 640 * 3..300 * 640 * 3];
            road.iter().map(|&v| f64::from(v)).sum::<f64>() / road.len() as f64
        };
        let (snow, day) = (ground("sim://street?scene=snow&traffic=0"), ground("sim://street?traffic=0"));
        assert!(snow > day + 40.0, "{snow} against {day}");
        let still = "sim://street?scene=snow&traffic=0&noise=0&wind=0";
        assert!(render(still, 30) != render(still, 31), "flakes fall");
    }
}
