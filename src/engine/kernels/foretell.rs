//! What is expected of the cells of a word, all at once.

use super::simd::Simd;
use super::{BLOCK, ForetellArgs};

#[inline(always)]
pub unsafe fn run<S: Simd>(args: &ForetellArgs<'_>) -> [u64; 2] {
    unsafe {
        let mut exceeds = [0; 2];
        let factor = S::splat(args.factor);
        let limits = args.limits.map(|limit| S::splat(limit));
        for block in 0..args.n_blocks {
            let at = block * BLOCK;
            // As many vectors at once as are a block, so that sums do not wait for each other.
            let mut sums = [S::splat(0.0); 4];
            let sums = &mut sums[..BLOCK / S::LANES];
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum = S::load(args.seen.as_ptr().add(at + k * S::LANES));
            }
            for tap in args.taps {
                let gain = S::splat(tap.gain);
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(gain, S::load(tap.from.add(at + k * S::LANES)), *sum);
                }
            }
            for (k, sum) in sums.iter().enumerate() {
                let i = at + k * S::LANES;
                let expected = S::fma(factor, *sum, S::load(args.expected.add(i)));
                S::store(args.expected.add(i), expected);
                for ((bits, limit), leeway) in exceeds.iter_mut().zip(&limits).zip(&args.leeway) {
                    *bits |= S::exceeds(expected, S::mul(*limit, S::load(leeway.add(i)))) << i;
                }
            }
        }
        exceeds
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::kernels::{BLOCK, ForetellArgs, Kernels, LANES, Tap};

    #[test]
    fn the_same_on_every_instruction_set() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut some = |n: usize| std::iter::repeat_with(|| random.f32()).take(n).collect::<Vec<f32>>();
        let (mut felt, mut seen, before) = (some(LANES + 20), [0.0; LANES], some(LANES));
        let leeway = [some(LANES), some(LANES)];
        seen.copy_from_slice(&some(LANES));
        felt[30] = f32::NAN;
        felt[50] = f32::INFINITY;
        for n_taps in [0, 1, 9, 25] {
            let taps: Vec<Tap> =
                (0..n_taps).map(|i| Tap { from: felt[i % 20..][..LANES].as_ptr(), gain: i as f32 * 0.3 }).collect();
            for n_blocks in 1..=LANES / BLOCK {
                let run = |kernels: &Kernels| {
                    let mut expected = before.clone();
                    let (first, leeway) = (expected.as_mut_ptr(), [leeway[0].as_ptr(), leeway[1].as_ptr()]);
                    let (factor, limits) = (0.7, [n_taps as f32 * 2.0, 0.8]);
                    let args =
                        ForetellArgs { taps: &taps, seen: &seen, factor, n_blocks, expected: first, leeway, limits };
                    // Safety: there are as many numbers from each tap on, and of everything else.
                    let exceeds = unsafe { kernels.foretell(&args) };
                    (expected, exceeds, limits)
                };
                let sum =
                    |i: usize| (0..n_taps).fold(seen[i], |sum, t| (t as f32 * 0.3).mul_add(felt[t % 20 + i], sum));
                let wanted =
                    |i: usize| if i < n_blocks * BLOCK { 0.7f32.mul_add(sum(i), before[i]) } else { before[i] };
                for kernels in Kernels::all() {
                    let (expected, exceeds, limits) = run(kernels);
                    for (i, found) in expected.iter().enumerate() {
                        let wanted = wanted(i);
                        assert!(
                            *found == wanted || found.is_nan() && wanted.is_nan(),
                            "{kernels:?}, {n_taps} taps, {i}"
                        );
                        for ((bits, limit), leeway) in exceeds.iter().zip(limits).zip(&leeway) {
                            let above = i < n_blocks * BLOCK && (wanted > limit * leeway[i] || wanted.is_nan());
                            assert_eq!(bits >> i & 1 == 1, above, "{kernels:?}, {n_taps} taps, {i}");
                        }
                    }
                }
            }
        }
    }
}
