//! Where a resized map's rows and columns come from.

use crate::graph::{Coordinates, MapShape, Resize, Rounding};

/// Two neighbours and the share of the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResampleTap {
    pub first: usize,
    pub second: usize,
    pub share: f32,
}

/// The sources of every row and every column.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    pub rows: Vec<ResampleTap>,
    pub cols: Vec<ResampleTap>,
}

/// How many rows and columns each cell of a map becomes, where a larger map repeats it: by whole numbers.
pub fn repeats(map: MapShape, larger: MapShape) -> Option<[usize; 2]> {
    let is_whole = map.c == larger.c && larger.h.is_multiple_of(map.h) && larger.w.is_multiple_of(map.w);
    (is_whole && map.n_cells() > 0).then(|| [larger.h / map.h, larger.w / map.w])
}

impl Taps {
    pub fn new(how: Resize, from: MapShape, to: MapShape) -> Self {
        Self { rows: line(how, from.h, to.h), cols: line(how, from.w, to.w) }
    }

    /// [`repeats`], if each output cell is the input cell of its place there.
    pub fn repeats(&self, from: MapShape, to: MapShape) -> Option<[usize; 2]> {
        let are =
            |taps: &[ResampleTap], by: usize| taps.iter().zip(0..).all(|(t, i)| t.share == 0.0 && t.first == i / by);
        repeats(from, to).filter(|by| are(&self.rows, by[0]) && are(&self.cols, by[1]))
    }

    /// The value at an output cell; `at` reads the input.
    pub fn sample(&self, y: usize, x: usize, at: impl Fn(usize, usize) -> f32) -> f32 {
        let (r, c) = (self.rows[y], self.cols[x]);
        let along = |row: usize| mix(at(row, c.first), at(row, c.second), c.share);
        mix(along(r.first), along(r.second), r.share)
    }
}

/// Between two numbers; the first one, bit by bit, at share 0.
pub fn mix(a: f32, b: f32, share: f32) -> f32 {
    if share == 0.0 { a } else { share.mul_add(b - a, a) }
}

fn line(how: Resize, from: usize, to: usize) -> Vec<ResampleTap> {
    let (coordinates, rounding) = match how {
        Resize::Nearest(c, r) => (c, Some(r)),
        Resize::Bilinear(c) => (c, None),
    };
    let scale = to as f32 / from as f32;
    (0..to)
        .map(|i| {
            let at = match coordinates {
                Coordinates::Asymmetric => i as f32 / scale,
                Coordinates::HalfPixel => (i as f32 + 0.5) / scale - 0.5,
                Coordinates::AlignCorners if to == 1 => 0.0,
                Coordinates::AlignCorners => i as f32 * (from - 1) as f32 / (to - 1) as f32,
            };
            let last = (from - 1) as f32;
            match rounding {
                Some(rounding) => {
                    let near = match rounding {
                        Rounding::Floor => at.floor(),
                        Rounding::Ceil => at.ceil(),
                        Rounding::PreferFloor => (at - 0.5).ceil(),
                        Rounding::PreferCeil => (at + 0.5).floor(),
                    };
                    // Beyond 2^24 the last place itself is rounded up.
                    let near = (near.clamp(0.0, last) as usize).min(from - 1);
                    ResampleTap { first: near, second: near, share: 0.0 }
                }
                None => {
                    let at = at.clamp(0.0, last);
                    let first = (at.floor() as usize).min(from - 1);
                    ResampleTap { first, second: (first + 1).min(from - 1), share: at - first as f32 }
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beyond 2^24 not every whole number is an f32.
    #[test]
    fn no_tap_lies_beyond_a_long_map() {
        let from = (1 << 25) + 1;
        for how in [
            Resize::Nearest(Coordinates::AlignCorners, Rounding::Ceil),
            Resize::Nearest(Coordinates::HalfPixel, Rounding::PreferCeil),
            Resize::Bilinear(Coordinates::AlignCorners),
        ] {
            let taps = line(how, from, 7);
            assert!(taps.iter().all(|t| t.first < from && t.second < from), "{how:?}: {taps:?}");
        }
    }
}
