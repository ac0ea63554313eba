//! What the losses' tests share: seeded numbers, maps of them, pictures' labels, and central differences.

use super::grid::{LossGrid, LossInput};
use super::labels::{LabelledBox, PictureLabels};
use crate::geom::{Rect, Size};

/// The model's input in all tests.
pub const INPUT: Size = Size::new(64, 64);

/// Pseudo-random numbers: a linear congruential generator with Knuth's constants of MMIX.
pub struct Lcg(pub u64);

impl Lcg {
    /// -1..1.
    pub fn number(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

/// A model's numbers.
pub struct TestMaps {
    pub strides: Vec<u32>,
    pub width: usize,
    /// By level.
    pub numbers: Vec<Vec<f32>>,
}

impl TestMaps {
    pub fn filled(strides: &[u32], width: usize, mut number: impl FnMut() -> f32) -> Self {
        let mut numbers = Vec::new();
        for &stride in strides {
            let n = (INPUT.width / stride) as usize * (INPUT.height / stride) as usize * width;
            numbers.push((0..n).map(|_| number()).collect());
        }
        Self { strides: strides.to_vec(), width, numbers }
    }

    pub fn random(seed: u64, strides: &[u32], width: usize) -> Self {
        let mut random = Lcg(seed);
        random.number();
        Self::filled(strides, width, || 0.5 * random.number())
    }

    pub fn grids(&self) -> Vec<LossGrid<'_>> {
        let mut grids = Vec::new();
        for (&stride, numbers) in self.strides.iter().zip(&self.numbers) {
            let (cols, rows) = ((INPUT.width / stride) as usize, (INPUT.height / stride) as usize);
            grids.push(LossGrid { cols, rows, stride, width: self.width, numbers });
        }
        grids
    }

    pub fn zeros(&self) -> Vec<Vec<f32>> {
        self.numbers.iter().map(|level| vec![0.0; level.len()]).collect()
    }

    /// A cell's number in its level.
    pub fn index(&self, level: usize, col: usize, row: usize) -> usize {
        row * (INPUT.width / self.strides[level]) as usize + col
    }

    /// The numbers of a cell.
    pub fn cell_mut(&mut self, level: usize, col: usize, row: usize) -> &mut [f32] {
        let cell = self.index(level, col, row);
        &mut self.numbers[level][cell * self.width..][..self.width]
    }
}

/// A picture of which all objects are named.
pub fn labels_of(objects: &[(u16, [f32; 4])]) -> PictureLabels {
    let object = |&(class, [x1, y1, x2, y2]): &(u16, [f32; 4])| LabelledBox { class, bbox: Rect::new(x1, y1, x2, y2) };
    PictureLabels { objects: objects.iter().map(object).collect(), is_complete: true, ..PictureLabels::default() }
}

pub fn picture<'a>(grids: &'a [LossGrid<'a>], labels: &'a PictureLabels, n_classes: usize) -> LossInput<'a> {
    LossInput { grids, labels, n_classes, input: INPUT }
}

/// Two objects of two classes that overlap.
pub fn two_objects() -> PictureLabels {
    labels_of(&[(0, [6.0, 9.0, 37.0, 43.0]), (1, [24.0, 18.0, 58.0, 60.0])])
}

/// Holds a gradient to differences of the loss's value, number by number.
#[track_caller]
pub fn check_gradient(maps: &TestMaps, grads: &[Vec<f32>], value: impl Fn(&[LossGrid<'_>]) -> f64) {
    const STEP: f32 = 1e-3;
    let mut moved = TestMaps { strides: maps.strides.clone(), width: maps.width, numbers: maps.numbers.clone() };
    let mut n_alive = 0;
    for (level, slopes) in grads.iter().enumerate() {
        for (at, &slope) in slopes.iter().enumerate() {
            let here = maps.numbers[level][at];
            let mut value_at = |number: f32| {
                moved.numbers[level][at] = number;
                value(&moved.grids())
            };
            let (up, down) = (here + STEP, here - STEP);
            let wanted = (value_at(up) - value_at(down)) / (f64::from(up) - f64::from(down));
            value_at(here);
            let found = f64::from(slope);
            let allowed = 2e-2 * wanted.abs().max(found.abs()) + 1e-4;
            assert!((wanted - found).abs() <= allowed, "level {level}, number {at}: {found}, not {wanted}");
            n_alive += usize::from(wanted.abs() > 1e-3);
        }
    }
    assert!(n_alive > 20, "only {n_alive} numbers matter");
}
