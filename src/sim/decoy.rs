//! Where decoys stand: a pure function of seed and kinds, the same at any time.

use super::truth::DecoyKind;
use super::world::{Dice, FAR_WALK, NEAR_WALK, PARKED, WIDTH, World, person_share};

/// A thing that looks like an object and is none.
#[derive(Debug, Clone, Copy)]
pub struct Decoy {
    pub kind: DecoyKind,
    /// Its middle, world units.
    pub x: f32,
    /// Its base line.
    pub y: f32,
    /// Height of a person standing there, world units.
    pub scale: f32,
    /// 1.0 to the right, -1.0 to the left.
    pub facing: f32,
    /// Its colours and shape come from here.
    pub looks: Dice,
}

/// Base line of the near kerb, as a share of the world's height.
const NEAR_KERB: f32 = 0.80;

/// One or two of each kind, farthest first. A kind stands where it stands, whatever other kinds there are.
pub fn decoys(world: &World, kinds: &[DecoyKind]) -> Vec<Decoy> {
    let street = world.dice.child(110);
    let mut all = Vec::new();
    for &kind in kinds {
        let dice = street.child(kind as u64);
        let n = if dice.unit(0) < 0.5 { 2 } else { 1 };
        if kind == DecoyKind::Trailer {
            trailers(world, dice, n, &mut all);
        } else {
            on_pavements(world, kind, street.pick(100, &[0usize, 1, 2]), n, &mut all);
        }
    }
    all.sort_by(|a, b| a.y.total_cmp(&b.y));
    all
}

/// Six columns of the street, each with one decoy at most: three kinds in each
/// half, `turn` says in which order. So no two stand before one another.
fn on_pavements(world: &World, kind: DecoyKind, turn: usize, n: usize, out: &mut Vec<Decoy>) {
    let dice = world.dice.child(110).child(kind as u64);
    let first = dice.pick(1, &[0usize, 1]);
    for i in 0..n {
        let looks = dice.child(10 + i as u64);
        let column = (kind as usize + turn) % 3 + 3 * ((first + i) % 2);
        let x = WIDTH * (0.05 + 0.15 * column as f32 + looks.range(1, 0.04, 0.11));
        let is_near = looks.unit(2) < 0.4;
        let (middle, spread) = if is_near { (NEAR_WALK, 0.04) } else { (FAR_WALK, 0.025) };
        out.push(decoy(world, kind, x, middle + looks.range(3, -spread, spread), looks));
    }
}

/// At parking places that no car takes; at the near kerb where all are taken.
fn trailers(world: &World, dice: Dice, n: usize, out: &mut Vec<Decoy>) {
    let free = world.free_slots();
    if free.is_empty() {
        let looks = dice.child(10);
        out.push(decoy(world, DecoyKind::Trailer, WIDTH * looks.range(1, 0.2, 0.8), NEAR_KERB, looks));
        return;
    }
    let first = (dice.unit(1) * free.len() as f32) as usize;
    for i in 0..n.min(free.len()) {
        let looks = dice.child(10 + i as u64);
        // No more than that, or it would touch a long car beside it.
        let x = free[(first + i) % free.len()] + looks.range(1, -2.5, 2.5);
        out.push(decoy(world, DecoyKind::Trailer, x, PARKED, looks));
    }
}

/// `y` is a share of the world's height.
fn decoy(world: &World, kind: DecoyKind, x: f32, y: f32, looks: Dice) -> Decoy {
    let scale = person_share(y) * world.height * looks.range(4, 0.88, 1.0);
    Decoy { kind, x, y: y * world.height, scale, facing: looks.pick(5, &[1.0, -1.0]), looks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimSettings;

    fn street(seed: u64) -> World {
        World::new(&SimSettings::parse(&format!("sim://street?seed={seed}")).unwrap())
    }

    #[test]
    fn each_kind_stands_once_or_twice_and_where_it_stands_alone() {
        let places = |all: &[Decoy], kind: DecoyKind| -> Vec<(f32, f32)> {
            all.iter().filter(|d| d.kind == kind).map(|d| (d.x, d.y)).collect()
        };
        for seed in 0..40 {
            let world = street(seed);
            let all = decoys(&world, &DecoyKind::ALL.map(|d| d.1));
            assert!(all.is_sorted_by(|a, b| a.y <= b.y));
            for (name, kind) in DecoyKind::ALL {
                let of_kind = places(&all, kind);
                assert!((1..=2).contains(&of_kind.len()), "seed {seed}: {name}: {of_kind:?}");
                assert_eq!(of_kind, places(&decoys(&world, &[kind]), kind), "seed {seed}: {name}");
                assert_ne!(of_kind, places(&decoys(&street(seed + 1), &[kind]), kind), "seed {seed}: {name}");
            }
        }
    }

    #[test]
    fn no_car_is_parked_where_a_trailer_is() {
        let mut parked = Vec::new();
        for seed in 0..200 {
            let world = street(seed);
            world.actors(100.0, &mut parked);
            parked.retain(|a| a.track >> 32 == 3);
            for trailer in decoys(&world, &[DecoyKind::Trailer]) {
                let at_kerb = trailer.y > PARKED * world.height;
                // Half of the longest car, half of the trailer with its drawbar.
                let apart = parked.iter().all(|a| (a.x - trailer.x).abs() > 1.16 * a.scale + 0.73 * trailer.scale);
                assert!(at_kerb || apart, "seed {seed}: {trailer:?}");
            }
        }
    }
}
