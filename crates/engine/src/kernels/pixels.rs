//! Pixels of a picture that a map follows: what differs by enough is taken over.

use super::args::{FollowArgs, PIXELS};
use super::simd::Simd;

/// The lowest of every three bits.
const EVERY_THIRD: u64 = 0o1111111111111111;

#[inline(always)]
pub fn follow<S: Simd>(s: S, args: &mut FollowArgs<'_>) -> u32 {
    // Safety: vectors that lie in arrays of as many numbers.
    unsafe {
        let zero = s.splat(0.0);
        // Vectors of the smallest kind.
        let (mut new, mut squares) = ([zero; 12], [zero; 12]);
        let n_vectors = 3 * PIXELS / S::LANES;
        let mut exceeds = 0;
        for (k, (new, square)) in new.iter_mut().zip(&mut squares).enumerate().take(n_vectors) {
            let i = k * S::LANES;
            // Rounded twice, as wherever else a picture is taken over.
            let scaled = s.mul(s.load_bytes(args.bytes.as_ptr().add(i)), s.load(args.scale.as_ptr().add(i)));
            *new = s.add(scaled, s.load(args.shift.as_ptr().add(i)));
            let moved = s.sub(*new, s.load(args.map.as_ptr().add(i)));
            *square = s.mul(moved, moved);
            exceeds |= s.exceeds(*square, s.load(args.limits.as_ptr().add(i))) << i;
        }
        let pixels = (exceeds | exceeds >> 1 | exceeds >> 2) & EVERY_THIRD;
        if pixels == 0 {
            return 0;
        }
        let taken = pixels * 7;
        for (k, (new, square)) in new.iter().zip(&squares).enumerate().take(n_vectors) {
            let i = k * S::LANES;
            let map = args.map.as_mut_ptr().add(i);
            s.store(map, s.select(taken >> i, *new, s.load(map)));
            s.store(args.squares.as_mut_ptr().add(i), s.select(taken >> i, *square, zero));
        }
        thirds(pixels)
    }
}

/// Every third of 48 bits, side by side.
fn thirds(bits: u64) -> u32 {
    let bits = (bits | bits >> 2) & 0x00c3_0c30_c30c_30c3;
    let bits = (bits | bits >> 4) & 0x000f_00f0_0f00_f00f;
    let bits = (bits | bits >> 8) & 0x0000_ff00_00ff;
    (bits | bits >> 16) as u32 & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Kernels;

    #[test]
    fn every_third_bit() {
        for i in 0..PIXELS {
            assert_eq!(thirds(1 << (3 * i)), 1 << i, "{i}");
        }
        assert_eq!(thirds(EVERY_THIRD), 0xffff);
    }

    #[test]
    fn pixels_are_followed_on_every_instruction_set() {
        let mut random = fastrand::Rng::with_seed(5);
        for round in 0..200 {
            let share = round as f32 / 200.0;
            let bytes: [u8; 3 * PIXELS] = std::array::from_fn(|_| random.u8(..));
            let scale: [f32; 3 * PIXELS] = std::array::from_fn(|i| [0.5, 0.25, 2.0][i % 3]);
            let shift: [f32; 3 * PIXELS] = std::array::from_fn(|i| [-3.0, 0.1, 7.0][i % 3]);
            let limits: [f32; 3 * PIXELS] = std::array::from_fn(|i| (scale[i] * 3.5).powi(2));
            let new: [f32; 3 * PIXELS] = std::array::from_fn(|i| f32::from(bytes[i]) * scale[i] + shift[i]);
            let mut off = |i: usize| if random.f32() < share { scale[i] * f32::from(random.i8(-9..9)) } else { 0.0 };
            let mut before: [f32; 3 * PIXELS] = std::array::from_fn(|i| new[i] + off(i));
            if round % 7 == 0 {
                before[random.usize(..3 * PIXELS)] = f32::NAN;
            }
            let square = |i: usize| (new[i] - before[i]).powi(2);
            let is_over = |i: usize| square(i) > limits[i] || square(i).is_nan();
            let is_taken = |pixel: usize| (3 * pixel..3 * pixel + 3).any(is_over);
            for kernels in Kernels::all() {
                let (mut map, mut squares) = (before, [0.0; 3 * PIXELS]);
                let bits = kernels.follow(&mut FollowArgs {
                    bytes: &bytes,
                    scale: &scale,
                    shift: &shift,
                    limits: &limits,
                    map: &mut map,
                    squares: &mut squares,
                });
                for i in 0..3 * PIXELS {
                    assert_eq!(bits >> (i / 3) & 1 == 1, is_taken(i / 3), "{kernels:?}, round {round}, number {i}");
                    let (wanted, square) = if is_taken(i / 3) { (new[i], square(i)) } else { (before[i], 0.0) };
                    assert_eq!(map[i].to_bits(), wanted.to_bits(), "{kernels:?}, round {round}, number {i}");
                    assert!(squares[i] == square || square.is_nan() && squares[i].is_nan(), "{kernels:?}, {i}");
                }
            }
        }
    }
}
