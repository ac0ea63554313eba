//! An object of the street, whatever it is, and its shadow.

use super::car::car;
use super::colours::Materials;
use super::person::{Stance, person};
use crate::sim::paint::{Brush, ellipse};
use crate::sim::truth::ActorKind;
use crate::sim::world::Actor;

pub fn actor(b: &mut Brush<'_>, a: &Actor, materials: Materials) {
    match a.kind {
        ActorKind::Person => person(b, &Stance::of(a), materials),
        ActorKind::Car => car(b, a, materials),
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
