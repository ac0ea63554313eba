//! Who is where at a moment: closed formulas of seed and time, no state.

use super::settings::{SimSettings, StreetScene};
use super::truth::ActorKind;
use std::f32::consts::TAU;

/// Width of the world; its height follows from the picture's shape.
pub const WIDTH: f32 = 640.0;

/// Base lines, as shares of the world's height: where feet and wheels stand.
pub const FAR_WALK: f32 = 0.41;
pub const PARKED: f32 = 0.50;
pub const FAR_LANE: f32 = 0.60;
pub const NEAR_LANE: f32 = 0.74;
pub const NEAR_WALK: f32 = 0.93;
/// Middle of the crossing, as a share of the width.
pub const CROSSING: f32 = 0.70;

/// One object at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Actor {
    pub track: u64,
    pub kind: ActorKind,
    /// Middle of the object, world units.
    pub x: f32,
    /// Its base line.
    pub y: f32,
    /// Height of a person standing there, world units.
    pub scale: f32,
    /// 1.0 to the right, -1.0 to the left.
    pub facing: f32,
    /// Where in the step a walker is, in turns; `None` stands still.
    pub stride: Option<f32>,
    /// Fixed per object: its colours and build come from here.
    pub looks: Dice,
}

/// Repeatable random numbers, addressed by key.
#[derive(Debug, Clone, Copy)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// Dice of their own for `key`.
    pub fn child(self, key: u64) -> Self {
        Self(mix(self.0.wrapping_add(mix(key))))
    }

    /// 0 <= v < 1.
    pub fn unit(self, key: u64) -> f32 {
        (self.child(key).0 >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn range(self, key: u64, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.unit(key)
    }

    pub fn pick<T: Copy>(self, key: u64, of: &[T]) -> T {
        of[((self.unit(key) * of.len() as f32) as usize).min(of.len() - 1)]
    }

    pub fn seed(self) -> u64 {
        self.0
    }
}

/// The finaliser of splitmix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Height of a person whose feet stand at `y` (a share of the height), as a share of the height.
pub fn person_share(y: f32) -> f32 {
    0.15 + (y - FAR_WALK) / (NEAR_WALK - FAR_WALK) * (0.34 - 0.15)
}

/// The street of one seed.
pub struct World {
    pub height: f32,
    pub dice: Dice,
    traffic: f32,
    scene: StreetScene,
}

/// People walking along or across: where, which way, how often (seconds between two at traffic 1).
struct Path {
    key: u64,
    y: f32,
    spread: f32,
    every_s: f32,
    crossing: bool,
}

const PATHS: [Path; 3] = [
    Path { key: 10, y: FAR_WALK, spread: 0.015, every_s: 9.0, crossing: false },
    Path { key: 11, y: NEAR_WALK, spread: 0.05, every_s: 11.0, crossing: false },
    Path { key: 12, y: 0.0, spread: 0.05, every_s: 16.0, crossing: true },
];

/// Lanes: key, base line, direction, seconds between two cars at traffic 1.
const LANES: [(u64, f32, f32, f32); 2] = [(1, FAR_LANE, -1.0, 9.0), (2, NEAR_LANE, 1.0, 11.0)];

/// Parking places along the far kerb.
const SLOTS: u64 = 5;

/// Middle of a parking place, world units.
fn slot_x(slot: u64) -> f32 {
    WIDTH * (0.05 + 0.225 * slot as f32)
}

/// The longest anybody is in the picture: bounds the search for who is there.
const LONGEST_S: f32 = 75.0;

impl World {
    pub fn new(s: &SimSettings) -> Self {
        let height = WIDTH * s.size.height as f32 / s.size.width as f32;
        Self { height, dice: Dice::new(s.seed), traffic: s.traffic, scene: s.scene }
    }

    /// Everybody who may be in the picture at `t_s`, farthest first.
    pub fn actors(&self, t_s: f32, out: &mut Vec<Actor>) {
        out.clear();
        self.parked(out);
        if self.traffic > 0.0 {
            for lane in LANES {
                self.lane(lane, t_s, out);
            }
            for path in &PATHS {
                self.path(path, t_s, out);
            }
        }
        out.sort_by(|a, b| a.y.total_cmp(&b.y).then(a.track.cmp(&b.track)));
    }

    fn parked(&self, out: &mut Vec<Actor>) {
        let scale = person_share(PARKED) * self.height;
        let dice = self.dice.child(3);
        for slot in 0..SLOTS {
            if self.is_taken(slot) {
                let looks = dice.child(100 + slot);
                let x = slot_x(slot) + looks.range(1, -8.0, 8.0);
                let facing = looks.pick(2, &[1.0, -1.0]);
                out.push(self.actor(3, slot as i64, ActorKind::Car, x, PARKED * self.height, scale, facing, looks));
            }
        }
    }

    fn is_taken(&self, slot: u64) -> bool {
        self.dice.child(3).unit(slot) < 0.7
    }

    /// Middles of the parking places where no car stands, world units.
    pub fn free_slots(&self) -> Vec<f32> {
        (0..SLOTS).filter(|slot| !self.is_taken(*slot)).map(slot_x).collect()
    }

    #[allow(clippy::too_many_arguments)]
    fn actor(
        &self,
        group: u64,
        k: i64,
        kind: ActorKind,
        x: f32,
        y: f32,
        scale: f32,
        facing: f32,
        looks: Dice,
    ) -> Actor {
        let track = group << 32 | (k + (1 << 30)) as u64;
        Actor { track, kind, x, y, scale, facing, stride: None, looks }
    }

    /// Numbers of those that began in the last `LONGEST_S` when one begins every `every_s`.
    fn started(every_s: f32, t_s: f32) -> std::ops::RangeInclusive<i64> {
        ((t_s - LONGEST_S) / every_s).floor() as i64 - 1..=(t_s / every_s).ceil() as i64
    }

    fn lane(&self, (key, y, facing, every_s): (u64, f32, f32, f32), t_s: f32, out: &mut Vec<Actor>) {
        let dice = self.dice.child(key);
        let scale = person_share(y) * self.height;
        let speed = scale * dice.range(0, 1.2, 1.8);
        let length = scale * 2.6;
        // One speed a lane and a least distance in time: cars never touch.
        let every_s = (every_s / self.traffic.min(2.0)).max(2.2 * length / speed);
        for k in Self::started(every_s, t_s) {
            let looks = dice.child(k as u64);
            let begin = (k as f32 + looks.range(1, 0.0, 0.5)) * every_s;
            let way = (t_s - begin) * speed - length;
            if way > -length && way < WIDTH + length {
                let x = if facing > 0.0 { way } else { WIDTH - way };
                out.push(self.actor(key, k, ActorKind::Car, x, y * self.height, scale, facing, looks));
            }
        }
    }

    fn path(&self, path: &Path, t_s: f32, out: &mut Vec<Actor>) {
        let dice = self.dice.child(path.key);
        let every_s = path.every_s / self.traffic;
        for k in Self::started(every_s, t_s) {
            let looks = dice.child(k as u64);
            let age = t_s - (k as f32 + looks.range(1, 0.0, 0.9)) * every_s;
            if !(0.0..LONGEST_S).contains(&age) {
                continue;
            }
            let facing = looks.pick(2, &[1.0, -1.0]);
            let offset = looks.range(3, -path.spread, path.spread);
            // Walk to a place, perhaps stop there, walk on.
            let pace = looks.range(4, 0.55, 0.85); // person heights a second
            let place = looks.range(5, 0.15, 0.85);
            let stop_s = if looks.unit(6) < 0.35 { looks.range(7, 3.0, 14.0) } else { 0.0 };
            let (from, to, unit_speed) = if path.crossing {
                (FAR_WALK, NEAR_WALK, pace * 0.16)
            } else {
                (-0.08, 1.08, pace * person_share(path.y) * self.height / WIDTH)
            };
            let length = to - from;
            let stop_at = if path.crossing { 0.08 } else { place } * length;
            let walked = age * unit_speed;
            let way = if walked < stop_at { walked } else { stop_at.max(walked - stop_s * unit_speed) };
            if way >= length {
                continue;
            }
            let stands = walked >= stop_at && way == stop_at && stop_s > 0.0;
            let along = if facing > 0.0 { from + way } else { to - way };
            let (x, y) =
                if path.crossing { (WIDTH * (CROSSING + offset), along) } else { (WIDTH * along, path.y + offset) };
            let scale = person_share(y) * self.height * looks.range(8, 0.88, 1.1);
            let mut actor = self.actor(path.key, k, ActorKind::Person, x, y * self.height, scale, facing, looks);
            actor.stride = (!stands).then_some(age * 0.9 + looks.unit(9));
            out.push(actor);
        }
    }

    /// Daylight at `t_s` as a factor: clouds pass with depth `clouds`.
    pub fn daylight(&self, clouds: f32, t_s: f32) -> f32 {
        let phase = self.dice.unit(20) * TAU;
        let wave = (t_s * TAU / 37.0 + phase).sin() + 0.6 * (t_s * TAU / 13.0 + 2.0 * phase).sin();
        1.0 - clouds * (0.5 + 0.45 * wave).clamp(0.0, 1.0)
    }

    pub fn is_night(&self) -> bool {
        self.scene == StreetScene::Night
    }

    pub fn is_rain(&self) -> bool {
        self.scene == StreetScene::Rain
    }

    pub fn is_snow(&self) -> bool {
        self.scene == StreetScene::Snow
    }

    pub fn is_infrared(&self) -> bool {
        self.scene == StreetScene::Infrared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cars_of_a_lane_never_touch() {
        for seed in 0..20 {
            let world = World::new(&SimSettings { seed, traffic: 8.0, ..SimSettings::new(StreetScene::Day) });
            let mut actors = Vec::new();
            for step in 0..200 {
                world.actors(step as f32 * 0.7, &mut actors);
                for lane in [1, 2] {
                    let mut xs: Vec<f32> = actors.iter().filter(|a| a.track >> 32 == lane).map(|a| a.x).collect();
                    xs.sort_by(f32::total_cmp);
                    let length = actors.iter().find(|a| a.track >> 32 == lane).map_or(0.0, |a| a.scale * 2.2);
                    assert!(xs.windows(2).all(|w| w[1] - w[0] > length), "seed {seed} lane {lane}: {xs:?}");
                }
            }
        }
    }

    #[test]
    fn walkers_move_smoothly_and_stop() {
        let world = World::new(&SimSettings { traffic: 4.0, ..SimSettings::new(StreetScene::Day) });
        let (mut before, mut now) = (Vec::new(), Vec::new());
        let mut stood = 0;
        for step in 1..2000 {
            world.actors((step - 1) as f32 * 0.1, &mut before);
            world.actors(step as f32 * 0.1, &mut now);
            for a in now.iter().filter(|a| a.kind == ActorKind::Person) {
                if let Some(b) = before.iter().find(|b| b.track == a.track) {
                    assert!(
                        (a.x - b.x).powi(2) + (a.y - b.y).powi(2) < (0.2 * a.scale).powi(2),
                        "{a:?} jumped from {b:?}"
                    );
                    stood += usize::from(a.stride.is_none() && a.x == b.x && a.y == b.y);
                }
            }
        }
        assert!(stood > 100, "somebody stands still: {stood}");
    }
}
