//! What the algorithms need of a vector of `f32`.

/// Vectors of one instruction set.
///
/// # Safety
/// Methods may be called only where the instruction set is there, which is what
/// [`super::Kernels::all`] looks for; pointers must be good for [`Simd::LANES`] numbers, or as many as are asked for.
pub trait Simd: Copy {
    type V: Copy;
    const LANES: usize;

    unsafe fn splat(v: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n` numbers, fewer than [`Simd::LANES`], zeros behind them; nothing beyond is touched.
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V {
        let mut rest = [0.0; 16];
        unsafe {
            std::ptr::copy_nonoverlapping(p, rest.as_mut_ptr(), n);
            Self::load(rest.as_ptr())
        }
    }
    /// Every second of twice as many numbers, from the first on.
    unsafe fn load_even(p: *const f32) -> Self::V;
    /// As many bytes, as numbers.
    unsafe fn load_bytes(p: *const u8) -> Self::V;
    /// Stores the first `n` numbers, fewer than [`Simd::LANES`].
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: Self::V, n: usize) {
        let mut rest = [0.0; 16];
        unsafe {
            Self::store(rest.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(rest.as_ptr(), p, n);
        }
    }
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where it is larger, else `b`.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a` where it is smaller, else `b`.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// A bit for each lane, lowest first, in which `a` is not at most `b`; numbers that are none are at most nothing.
    unsafe fn exceeds(a: Self::V, b: Self::V) -> u64;
    /// Lanes of `a` where the bit is set, lowest first, else of `b`; higher bits mean nothing.
    unsafe fn select(bits: u64, a: Self::V, b: Self::V) -> Self::V;
    /// The bits, 23 places up: the lowest nine become sign and exponent.
    unsafe fn shift_to_exponent(a: Self::V) -> Self::V;
    /// The difference of the bits, as whole numbers that wrap.
    unsafe fn sub_bits(a: Self::V, b: Self::V) -> Self::V;
    /// The 16 sums of every 16th number, given as `16 / LANES` vectors, added as a fixed tree.
    unsafe fn sum16(v: &[Self::V]) -> f32;
}

/// Adds 16 partial sums, halves onto halves.
pub fn tree(mut s: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            s[i] += s[i + half];
        }
    }
    s[0]
}
