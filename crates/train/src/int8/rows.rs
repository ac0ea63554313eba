//! Loops over the numbers of a row: between sums, numbers and codes. Compiled for each instruction set; each step is
//! rounded by itself, so that all give the same bits.
//!
//! What a channel has of its own is laid out as often as a [`period`] of channels needs.

use super::range::{Coding, Range};
use engine::kernels::BLOCK;
use multiversion::multiversion;

/// Numbers after which channels begin anew at a multiple of 16.
pub fn period(c: usize) -> usize {
    c * 16 / gcd(c, 16)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One number a channel, as often as a period has it.
pub fn spread(of_channel: &[f32], out: &mut Vec<f32>) {
    out.clear();
    let n = period(of_channel.len()) / of_channel.len().max(1);
    (0..n).for_each(|_| out.extend_from_slice(of_channel));
}

/// The greatest of what a period holds of each channel.
pub fn gather_most(spread: &[f32], of_channel: &mut [f32]) {
    for cells in spread.chunks_exact(of_channel.len().max(1)) {
        of_channel.iter_mut().zip(cells).for_each(|(most, v)| *most = most.max(*v));
    }
}

/// Makes numbers that are at least 0 and less than 256 whole, to the nearest, ties to even.
#[inline(always)]
fn whole(v: f32) -> u8 {
    (v + 8_388_608.0).to_bits() as u8
}

/// A number of 0 to 1, less than 1, for each element of each tensor in each step: a hash of the three.
#[inline(always)]
fn chance(seed: u32, index: u32) -> f32 {
    let mut h = index.wrapping_add(seed).wrapping_mul(0x9e37_79b1);
    h ^= h >> 15;
    h = h.wrapping_mul(0x85eb_ca77);
    h ^= h >> 13;
    (h >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A seed of a tensor in a step.
pub fn seed(step: u32, tensor: u32) -> u32 {
    let h = step.wrapping_mul(0xc2b2_ae3d) ^ tensor.wrapping_mul(0x27d4_eb2f);
    (h ^ (h >> 15)).wrapping_mul(0x1656_67b1)
}

/// `to = sums * scale + bias`, over whole blocks of channels.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
pub fn scale_sums(sums: &[i32], scale: &[f32], bias: &[f32], to: &mut [f32]) {
    let n = scale.len();
    for (sums, to) in sums.chunks_exact(n).zip(to.chunks_exact_mut(n)) {
        for ((to, sum), (scale, bias)) in to.iter_mut().zip(sums).zip(scale.iter().zip(bias)) {
            *to = *sum as f32 * scale + bias;
        }
    }
}

/// Codes of `max(sums * scale + bias, 0)`, cells of `c` channels; `most` grows to the greatest numbers. Sums, and what a
/// channel has of its own, come in whole blocks.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
pub fn code_relu(
    sums: &[i32],
    (scale, bias): (&[f32], &[f32]),
    inverse: f32,
    (codes, c): (&mut [u8], usize),
    most: &mut [f32],
) {
    // A block's own numbers stay in registers. What it writes behind a cell's last channel is written over: by the next cell,
    // or by the block before, which comes later.
    for first in (0..scale.len()).step_by(BLOCK).rev() {
        let (scale, bias, mut greatest) = (block(scale, first), block(bias, first), block(most, first));
        for (cell, sums) in sums[first..].chunks(most.len()).enumerate() {
            let sums = block(sums, 0);
            let mut coded = [0; BLOCK];
            for i in 0..BLOCK {
                let v = sums[i] as f32 * scale[i] + bias[i];
                let v = if v > 0.0 { v } else { 0.0 };
                greatest[i] = if v > greatest[i] { v } else { greatest[i] };
                let v = v * inverse;
                coded[i] = whole(if v < 255.0 { v } else { 255.0 });
            }
            put_block(codes, cell * c + first, coded);
        }
        put_block(most, first, greatest);
    }
}

/// Codes of numbers, and what range they have.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
pub fn code(numbers: &[f32], coding: Coding, codes: &mut [u8]) -> Range {
    let (inverse, zero) = (1.0 / coding.scale, f32::from(coding.zero));
    let (mut low, mut high) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16]);
    let one = |v: f32, low: &mut f32, high: &mut f32| {
        *low = if v < *low { v } else { *low };
        *high = if v > *high { v } else { *high };
        let v = v * inverse + zero;
        let v = if v > 0.0 { v } else { 0.0 };
        whole(if v < 255.0 { v } else { 255.0 })
    };
    let mut parts = numbers.chunks_exact(16).zip(codes.chunks_exact_mut(16));
    for (numbers, codes) in &mut parts {
        for i in 0..16 {
            codes[i] = one(numbers[i], &mut low[i], &mut high[i]);
        }
    }
    let done = numbers.len() / 16 * 16;
    for (v, code) in numbers[done..].iter().zip(&mut codes[done..]) {
        *code = one(*v, &mut low[0], &mut high[0]);
    }
    let least = low.iter().fold(f32::INFINITY, |a, b| a.min(*b));
    Range { low: least, high: high.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b)) }
}

/// `to = scale * (codes - zero)`, with a scale a channel, spread.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
pub fn decode(codes: &[u8], scale: &[f32], zero: u8, to: &mut [f32]) {
    let (n, zero) = (scale.len(), i32::from(zero));
    for (codes, to) in codes.chunks(n).zip(to.chunks_mut(n)) {
        for ((to, code), scale) in to.iter_mut().zip(codes).zip(scale) {
            *to = (i32::from(*code) - zero) as f32 * scale;
        }
    }
}

/// The same, added.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
pub fn add_decoded(codes: &[u8], scale: &[f32], zero: u8, to: &mut [f32]) {
    let (n, zero) = (scale.len(), i32::from(zero));
    for (codes, to) in codes.chunks(n).zip(to.chunks_mut(n)) {
        for ((to, code), scale) in to.iter_mut().zip(codes).zip(scale) {
            *to += (i32::from(*code) - zero) as f32 * scale;
        }
    }
}

/// Adds sums times a scale a channel to cells `first`, `first + step` and so on of `to`, cells of `c` channels. Sums and scales
/// come in whole blocks, with zeros behind the last channel.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
pub fn add_sums(sums: &[i32], scale: &[f32], (to, c): (&mut [f32], usize), first: usize, step: usize) {
    for channel in (0..scale.len()).step_by(BLOCK) {
        let scale_of = block(scale, channel);
        for (cell, sums) in sums[channel..].chunks(scale.len()).enumerate() {
            let at = (first + cell * step) * c + channel;
            let (sums, mut numbers) = (block(sums, 0), block(to, at));
            for i in 0..BLOCK {
                numbers[i] += sums[i] as f32 * scale_of[i];
            }
            put_block(to, at, numbers);
        }
    }
}

/// As [`add_sums`] to all cells, of which nothing is known before.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
pub fn put_sums(sums: &[i32], scale: &[f32], (to, c): (&mut [f32], usize)) {
    // What a block writes behind a cell's last channel is written over, as in `code_relu`.
    for channel in (0..scale.len()).step_by(BLOCK).rev() {
        let scale_of = block(scale, channel);
        for (cell, sums) in sums[channel..].chunks(scale.len()).enumerate() {
            let sums = block(sums, 0);
            let mut numbers = [0.0; BLOCK];
            for i in 0..BLOCK {
                numbers[i] = sums[i] as f32 * scale_of[i];
            }
            put_block(to, cell * c + channel, numbers);
        }
    }
}

/// Gradients are 0 where a code is that of 0: behind a ReLU; without one `seen` is empty.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
pub fn mask_relu(seen: &[u8], grads: &mut [f32]) {
    grads.iter_mut().zip(seen).for_each(|(g, code)| *g = if *code > 0 { *g } else { 0.0 });
}

/// How gradients are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GradRounding {
    Nearest,
    /// Up or down, by chance, so that the mean is right.
    Random {
        seed: u32,
    },
}

impl GradRounding {
    /// For what lies behind so many numbers.
    #[must_use]
    pub fn behind(self, n: u32) -> Self {
        match self {
            Self::Nearest => Self::Nearest,
            Self::Random { seed } => Self::Random { seed: seed.wrapping_add(n) },
        }
    }
}

/// Codes of gradients, 128 for 0, of `inverse` scales a channel, spread; `most` grows to the greatest sizes, spread. Where
/// `seen`, the codes that a ReLU gave, is 0, a gradient is 0; without a ReLU it is empty.
pub fn code_grads(
    grads: &[f32],
    inverse: &[f32],
    rounding: GradRounding,
    seen: &[u8],
    codes: &mut [u8],
    most: &mut [f32],
) {
    match (rounding, seen.is_empty()) {
        (GradRounding::Nearest, _) => code_grads_nearest(grads, inverse, seen, codes, most),
        (GradRounding::Random { seed }, true) => code_grads_random(grads, inverse, seed, codes, most),
        (GradRounding::Random { seed }, false) => code_grads_behind_relu(grads, inverse, seed, seen, codes, most),
    }
}

/// A gradient in units of its scale, at most 127 of them; NaN is one of the ends.
#[inline(always)]
pub fn bounded(v: f32) -> f32 {
    let v = if v > -127.0 { v } else { -127.0 };
    if v < 127.0 { v } else { 127.0 }
}

/// A gradient's code, rounded by chance.
#[inline(always)]
fn by_chance(v: f32, seed: u32, at: usize) -> u8 {
    let v = bounded(v) + (chance(seed, at as u32) + 128.0);
    // Safety: a number of 1 to less than 257.
    unsafe { v.to_int_unchecked::<i32>() }.min(255) as u8
}

/// A block of numbers; behind the end are zeros.
#[inline(always)]
fn block<T: Copy + Default>(numbers: &[T], at: usize) -> [T; BLOCK] {
    match numbers[at..].first_chunk() {
        Some(block) => *block,
        None => {
            let mut block = [T::default(); BLOCK];
            block.iter_mut().zip(&numbers[at..]).for_each(|(to, v)| *to = *v);
            block
        }
    }
}

/// Stores a block of numbers, as far as there is room.
#[inline(always)]
fn put_block<T: Copy>(numbers: &mut [T], at: usize, block: [T; BLOCK]) {
    match numbers[at..].first_chunk_mut() {
        Some(to) => *to = block,
        None => numbers[at..].iter_mut().zip(block).for_each(|(to, v)| *to = v),
    }
}

/// Block by block of channels: what `grads` says of the numbers from a place on, and how `code` codes one in units of its
/// scale.
#[inline(always)]
fn code_blocks(
    inverse: &[f32],
    codes: &mut [u8],
    most: &mut [f32],
    grads: impl Fn(usize) -> [f32; BLOCK],
    code: impl Fn(f32, usize) -> u8,
) {
    // A block's own numbers stay in registers.
    for first in (0..inverse.len()).step_by(BLOCK) {
        let unit = block(inverse, first);
        let mut greatest = block(most, first);
        for at in (first..codes.len()).step_by(inverse.len()) {
            let grads = grads(at);
            let mut coded = [0; BLOCK];
            for i in 0..BLOCK {
                let size = grads[i].abs();
                greatest[i] = if size > greatest[i] { size } else { greatest[i] };
                coded[i] = code(grads[i] * unit[i], at + i);
            }
            put_block(codes, at, coded);
        }
        put_block(most, first, greatest);
    }
}

/// A block of gradients that a ReLU lets pass.
#[inline(always)]
fn passed(grads: &[f32], seen: &[u8], at: usize) -> [f32; BLOCK] {
    let (mut grads, seen) = (block(grads, at), block(seen, at));
    for i in 0..BLOCK {
        grads[i] = if seen[i] > 0 { grads[i] } else { 0.0 };
    }
    grads
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
fn code_grads_nearest(grads: &[f32], inverse: &[f32], seen: &[u8], codes: &mut [u8], most: &mut [f32]) {
    let grads = |at| if seen.is_empty() { block(grads, at) } else { passed(grads, seen, at) };
    code_blocks(inverse, codes, most, grads, |v, _| whole(bounded(v) + 128.0));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
fn code_grads_random(grads: &[f32], inverse: &[f32], seed: u32, codes: &mut [u8], most: &mut [f32]) {
    code_blocks(inverse, codes, most, |at| block(grads, at), |v, at| by_chance(v, seed, at));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
fn code_grads_behind_relu(grads: &[f32], inverse: &[f32], seed: u32, seen: &[u8], codes: &mut [u8], most: &mut [f32]) {
    code_blocks(inverse, codes, most, |at| passed(grads, seen, at), |v, at| by_chance(v, seed, at));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_for_what_they_were_made_of() {
        let numbers: Vec<f32> = (0..77u8).map(|i| f32::from(i) / 20.0 - 1.0).collect();
        let coding = Coding::of(-1.0, 2.8);
        let mut codes = vec![0; 77];
        let range = code(&numbers, coding, &mut codes);
        assert_eq!((range.low, range.high), (numbers[0], numbers[76]));
        let mut back = vec![0.0; 77];
        decode(&codes, &[coding.scale; 48], coding.zero, &mut back);
        assert!(numbers.iter().zip(&back).all(|(a, b)| (a - b).abs() <= coding.scale * 0.51));
        code(&[f32::NAN, 99.0, -99.0], coding, &mut codes[..3]);
        assert_eq!(codes[1..3], [255, 0]);
    }

    #[test]
    fn rounding_by_chance_is_right_on_average_and_the_same_each_time() {
        let n = 48 * 400;
        let grads = vec![0.3f32; n];
        let (mut codes, mut most) = (vec![0u8; n], vec![0.0; 48]);
        let rounding = GradRounding::Random { seed: seed(3, 5) };
        code_grads(&grads, &[10.1; 48], rounding, &[], &mut codes, &mut most);
        let mean = codes.iter().map(|c| f64::from(*c) - 128.0).sum::<f64>() / n as f64;
        assert!((mean - 3.03).abs() < 0.01, "{mean}");
        assert!(codes.iter().all(|c| [131, 132].contains(c)));
        // In pieces as at once.
        let mut pieces = vec![0u8; n];
        for (i, codes) in pieces.chunks_mut(96).enumerate() {
            code_grads(&grads[..96], &[10.1; 48], rounding.behind(96 * i as u32), &[], codes, &mut most);
        }
        assert_eq!(pieces, codes);
        code_grads(&[f32::NAN, 1e30, -1e30], &[1.0; 16], rounding, &[], &mut codes[..3], &mut most[..16]);
        assert_eq!(codes[..3], [1, 255, 1], "nothing leaves the range");
        code_grads(&[0.25, -0.25], &[10.0; 16], GradRounding::Nearest, &[], &mut codes[..2], &mut most[..16]);
        assert_eq!(codes[..2], [130, 126]);
        for rounding in [rounding, GradRounding::Nearest] {
            code_grads(&[4.0, 5.0, -6.0], &[10.0; 16], rounding, &[9, 0, 1], &mut codes[..3], &mut most[..16]);
            assert_eq!(codes[..3], [168, 128, 68], "behind a ReLU");
        }
    }
}
