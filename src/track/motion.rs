//! How a box moves: a Kalman filter for its middle and one for each of its sides.

use super::kalman::KalmanFilter;
use crate::geom::{ModelInput, Rect};

/// Standard deviations, as shares of a box's side: of a look, of the speed at first (a second), and of
/// what it gains a root of seconds (after ByteTrack's 1/20 and 1/160 a frame).
const LOOK: f32 = 0.05;
const SPEED: f32 = 2.0;
const DRIFT: f32 = 1.0;
/// What is not seen slows down: after this many seconds, to a third.
const SLOWS: f32 = 1.0;

pub(super) fn side(b: &Rect<ModelInput>) -> f32 {
    (b.width().max(1.0) * b.height().max(1.0)).sqrt()
}

/// Middle and sides of a box: across, down, width, height.
fn parts(b: &Rect<ModelInput>) -> [f32; 4] {
    [(b.x1 + b.x2) / 2.0, (b.y1 + b.y2) / 2.0, b.width(), b.height()]
}

fn from_parts([x, y, w, h]: [f32; 4]) -> Rect<ModelInput> {
    let (w, h) = (w.max(1.0) / 2.0, h.max(1.0) / 2.0);
    Rect::new(x - w, y - h, x + w, y + h)
}

/// How fast each of a box's [`parts`] may be, against its middle.
const PACES: [f32; 4] = [1.0, 1.0, 0.25, 0.25];

/// A filter for each of a box's [`parts`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Motion([KalmanFilter; 4]);

impl Motion {
    pub fn new(b: &Rect<ModelInput>) -> Self {
        let (size, parts) = (side(b), parts(b));
        Self(std::array::from_fn(|i| KalmanFilter::new(parts[i], LOOK * size, SPEED * PACES[i] * size)))
    }

    pub fn bbox(&self) -> Rect<ModelInput> {
        from_parts(self.0.map(|f| f.value))
    }

    /// Where what was at `b` is expected `dt` seconds later.
    pub fn ahead(&self, b: &Rect<ModelInput>, dt: f32) -> Rect<ModelInput> {
        let mut at = parts(b);
        at.iter_mut().zip(&self.0).for_each(|(at, f)| *at += f.speed * dt);
        from_parts(at)
    }

    /// Of the middle, pixels a second.
    pub fn speed(&self) -> [f32; 2] {
        [self.0[0].speed, self.0[1].speed]
    }

    pub fn predict(&mut self, dt: f32) {
        let drift = DRIFT * side(&self.bbox());
        self.0.iter_mut().zip(PACES).for_each(|(f, pace)| f.predict(dt, drift * pace));
    }

    pub fn update(&mut self, b: &Rect<ModelInput>) {
        let noise = LOOK * side(b);
        self.0.iter_mut().zip(parts(b)).for_each(|(f, seen)| f.update(seen, noise));
    }

    /// Stands still at `b`.
    pub fn rest(&mut self, b: &Rect<ModelInput>) {
        self.0.iter_mut().zip(parts(b)).for_each(|(f, at)| f.rest(at));
    }

    pub fn slow_down(&mut self, dt: f32) {
        let share = (-dt / SLOWS).exp();
        self.0.iter_mut().for_each(|f| f.speed *= share);
    }
}
