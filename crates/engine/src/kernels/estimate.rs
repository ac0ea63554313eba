//! What is pending of the cells of a word, all at once.

use super::args::{BLOCK, EstimateArgs};
use super::simd::Simd;

/// Bits of a block.
const WHOLE: u64 = (1 << BLOCK) - 1;

/// # Safety
/// As of [`super::Kernels::estimate`].
#[inline(always)]
pub unsafe fn run<S: Simd>(s: S, args: &EstimateArgs<'_>) -> [u64; 2] {
    // Safety: all pointers are good for whole blocks, in which each vector lies.
    unsafe {
        let mut exceeds = [0; 2];
        let factor = s.splat(args.factor);
        let limits = args.limits.map(|limit| s.splat(limit));
        for at in (0..args.n_blocks * BLOCK).step_by(BLOCK).filter(|at| args.reached >> at & WHOLE != 0) {
            // As many vectors at once as are a block, so that sums do not wait for each other.
            let mut sums = [s.splat(0.0); 4];
            let sums = &mut sums[..BLOCK / S::LANES];
            if let Some(seen) = args.seen {
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum = s.load(seen.as_ptr().add(at + k * S::LANES));
                }
            }
            for tap in args.taps {
                let gain = s.splat(tap.gain);
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma(gain, s.load(tap.from.add(at + k * S::LANES)), *sum);
                }
            }
            for tap in args.every_second {
                let gain = s.splat(tap.gain);
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma(gain, s.load_even(tap.from.add(2 * (at + k * S::LANES))), *sum);
                }
            }
            for (k, sum) in sums.iter().enumerate() {
                let i = at + k * S::LANES;
                let pending = s.fma(factor, *sum, s.load(args.pending.add(i)));
                s.store(args.pending.add(i), pending);
                for ((bits, limit), tolerance) in exceeds.iter_mut().zip(&limits).zip(&args.tolerance) {
                    *bits |= s.exceeds(pending, s.mul(*limit, s.load(tolerance.add(i)))) << i;
                }
            }
        }
        exceeds
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::{BLOCK, EstimateArgs, Kernels, LANES, WindowTap};

    #[test]
    fn the_same_on_every_instruction_set() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut some = |n: usize| std::iter::repeat_with(|| random.f32()).take(n).collect::<Vec<f32>>();
        let (mut deltas, mut seen, before) = (some(2 * LANES + 20), [0.0; LANES], some(LANES));
        let tolerance = [some(LANES), some(LANES)];
        seen.copy_from_slice(&some(LANES));
        deltas[30] = f32::NAN;
        deltas[50] = f32::INFINITY;
        let gain = |i: usize| i as f32 * 0.3;
        let taps: Vec<WindowTap> =
            (0..25).map(|i| WindowTap { from: deltas[i % 20..].as_ptr(), gain: gain(i) }).collect();
        for (n_beside, n_second) in [(0, 0), (1, 0), (9, 0), (0, 9), (25, 2)] {
            for n_blocks in 1..=LANES / BLOCK {
                for (reached, seen) in [(u64::MAX, Some(&seen)), (0x0001_0000_8000_0100, None)] {
                    let (factor, limits) = (0.7, [n_beside as f32 * 2.0, 0.8]);
                    let run = |kernels: &Kernels| {
                        let mut pending = before.clone();
                        let args = EstimateArgs {
                            taps: &taps[..n_beside],
                            every_second: &taps[..n_second],
                            seen,
                            factor,
                            reached,
                            n_blocks,
                            pending: pending.as_mut_ptr(),
                            tolerance: [tolerance[0].as_ptr(), tolerance[1].as_ptr()],
                            limits,
                        };
                        // Safety: there are as many numbers from each tap on, and of everything else.
                        let exceeds = unsafe { kernels.estimate(&args) };
                        (pending, exceeds)
                    };
                    let is_told = |i: usize| i < n_blocks * BLOCK && reached >> (i / BLOCK * BLOCK) & 0xffff != 0;
                    let sum = |i: usize| {
                        let first = seen.map_or(0.0, |seen| seen[i]);
                        let add = |sum: f32, t: usize, at: usize| gain(t).mul_add(deltas[t % 20 + at], sum);
                        let beside = (0..n_beside).fold(first, |sum, t| add(sum, t, i));
                        (0..n_second).fold(beside, |sum, t| add(sum, t, 2 * i))
                    };
                    let wanted = |i: usize| if is_told(i) { factor.mul_add(sum(i), before[i]) } else { before[i] };
                    for kernels in Kernels::all() {
                        let what = format!("{kernels:?}, {n_beside} and {n_second} taps");
                        let (pending, exceeds) = run(kernels);
                        for (i, found) in pending.iter().enumerate() {
                            let wanted = wanted(i);
                            assert!(*found == wanted || found.is_nan() && wanted.is_nan(), "{what}, {i}");
                            for ((bits, limit), tolerance) in exceeds.iter().zip(limits).zip(&tolerance) {
                                let above = is_told(i) && (wanted > limit * tolerance[i] || wanted.is_nan());
                                assert_eq!(bits >> i & 1 == 1, above, "{what}, {i}");
                            }
                        }
                    }
                }
            }
        }
    }
}
