//! What is kept of a picture to learn from: the maps that training begins with, in eight bits.

use crate::geom::{ModelInput, Rect, Size};
use crate::infer::tap::WholeMap;
use engine::graph::MapShape;

/// One map: `scale * (code - zero)`.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentMap {
    pub shape: MapShape,
    pub scale: f32,
    pub zero: u8,
    /// `[row][column][channel]`.
    pub codes: Vec<u8>,
}

impl LatentMap {
    /// Of a map's numbers; what is not finite counts as 0.
    ///
    /// # Panics
    /// There are not as many numbers as the shape says.
    pub fn of(shape: MapShape, numbers: &[f32]) -> Self {
        assert_eq!(numbers.len(), shape.n_values(), "a whole map");
        let finite = |v: f32| if v.is_finite() { v } else { 0.0 };
        let (low, high) =
            numbers.iter().fold((0.0f32, 0.0f32), |(low, high), v| (low.min(finite(*v)), high.max(finite(*v))));
        let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
        let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
        let code = |v: &f32| (finite(*v) / scale + zero).round_ties_even().clamp(0.0, 255.0) as u8;
        Self { shape, scale, zero: zero as u8, codes: numbers.iter().map(code).collect() }
    }
}

/// The maps of one picture, in the order of the plan's sources.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Latents(pub Vec<LatentMap>);

impl Latents {
    /// Of a detector's maps.
    pub fn of(maps: &[WholeMap]) -> Self {
        Self(maps.iter().map(|map| LatentMap::of(map.shape, &map.numbers)).collect())
    }

    /// Adds the numbers of map `i` to `to`.
    pub fn decode(&self, i: usize, to: &mut Vec<f32>) {
        let map = &self.0[i];
        let number: [f32; 256] = std::array::from_fn(|code| (code as f32 - f32::from(map.zero)) * map.scale);
        to.extend(map.codes.iter().map(|code| number[usize::from(*code)]));
    }

    /// How alike two pictures of one camera are where a box lies, 0..=1: what of the maps' numbers there is the same. 0 where
    /// there are none, or the maps are of other shapes.
    pub fn likeness(&self, other: &Self, input: Size, bbox: &Rect<ModelInput>) -> f32 {
        let (mut same, mut all) = (0.0, 0.0);
        for (a, b) in self.0.iter().zip(&other.0) {
            let shape = a.shape;
            if shape != b.shape {
                return 0.0;
            }
            let number = |m: &LatentMap, code: u8| (f32::from(code) - f32::from(m.zero)) * m.scale;
            let span = |from: f32, to: f32, size: u32, n: usize| {
                let cells = |at: f32| at.max(0.0) * n as f32 / size as f32;
                let end = (cells(to).ceil() as usize).min(n);
                (cells(from) as usize).min(n.saturating_sub(1)).min(end)..end
            };
            let columns = span(bbox.x1, bbox.x2, input.width, shape.w);
            for y in span(bbox.y1, bbox.y2, input.height, shape.h) {
                let range = (y * shape.w + columns.start) * shape.c..(y * shape.w + columns.end) * shape.c;
                for (a_code, b_code) in a.codes[range.clone()].iter().zip(&b.codes[range]) {
                    let (a, b) = (number(a, *a_code), number(b, *b_code));
                    same += a.abs().max(b.abs()) - (a - b).abs();
                    all += a.abs().max(b.abs());
                }
            }
        }
        if all > 0.0 { (same / all).clamp(0.0, 1.0) } else { 0.0 }
    }

    pub fn n_bytes(&self) -> usize {
        self.0.iter().map(|m| m.codes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_told_where_the_box_lies() {
        let shape = MapShape::new(4, 4, 1);
        let map = |at: usize| {
            let mut numbers = vec![1.0; 16];
            numbers[at] = 3.0;
            Latents(vec![LatentMap::of(shape, &numbers)])
        };
        let (input, left) = (Size::new(32, 32), Rect::new(0.0, 0.0, 15.0, 31.0));
        assert_eq!(map(0).likeness(&map(0), input, &left), 1.0);
        assert_eq!(map(3).likeness(&map(15), input, &left), 1.0, "what differs lies at the right");
        let other = map(0).likeness(&map(4), input, &left);
        assert!((0.5..0.9).contains(&other), "{other}");
    }

    #[test]
    fn maps_come_back_within_half_a_step() {
        let shape = MapShape::new(1, 2, 3);
        let numbers = [0.0, 1.0, -0.5, 2.0, 0.25, f32::NAN];
        let latents = Latents(vec![LatentMap::of(shape, &numbers)]);
        let mut back = Vec::new();
        latents.decode(0, &mut back);
        for (a, b) in numbers.iter().zip(&back) {
            let a = if a.is_finite() { *a } else { 0.0 };
            assert!((a - b).abs() <= 2.5 / 255.0 / 2.0 + 1e-6, "{a} came back as {b}");
        }
        assert_eq!(back[0], 0.0, "nothing is nothing");
        assert!(LatentMap::of(MapShape::new(1, 1, 1), &[0.0]).codes == [0], "a map of zeros");
    }
}
