//! What the algorithms need of a vector of `f32`.

/// Vectors of one instruction set, as a token: whoever has one may use the instructions, because it is made only where
/// they are enabled, which the compiler sees to (each set's `here`). Of all that a method does only its pointers are left
/// to trust.
pub trait Simd: Copy {
    type V: Copy;
    const LANES: usize;

    fn splat(self, v: f32) -> Self::V;
    /// # Safety
    /// [`Simd::LANES`] numbers can be read.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// [`Simd::LANES`] numbers can be written.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// The first `n` numbers, fewer than [`Simd::LANES`], zeros behind them; nothing beyond is touched.
    ///
    /// # Safety
    /// So many can be read.
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
        let mut rest = [0.0; 16];
        // Safety: no vector is longer; as of this function.
        unsafe {
            std::ptr::copy_nonoverlapping(p, rest.as_mut_ptr(), n);
            self.load(rest.as_ptr())
        }
    }
    /// Every second of twice as many numbers, from the first on.
    ///
    /// # Safety
    /// Twice [`Simd::LANES`] numbers can be read.
    unsafe fn load_even(self, p: *const f32) -> Self::V;
    /// As many bytes, as numbers.
    ///
    /// # Safety
    /// [`Simd::LANES`] bytes can be read.
    unsafe fn load_bytes(self, p: *const u8) -> Self::V;
    /// Stores the first `n` numbers, fewer than [`Simd::LANES`].
    ///
    /// # Safety
    /// So many can be written.
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: Self::V, n: usize) {
        let mut rest = [0.0; 16];
        // Safety: no vector is longer; as of this function.
        unsafe {
            self.store(rest.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(rest.as_ptr(), p, n);
        }
    }
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where it is larger, else `b`.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a` where it is smaller, else `b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// A bit for each lane, lowest first, in which `a` is not at most `b`; NaN is at most nothing.
    fn exceeds(self, a: Self::V, b: Self::V) -> u64;
    /// Lanes of `a` where the bit is set, lowest first, else of `b`; higher bits mean nothing.
    fn select(self, bits: u64, a: Self::V, b: Self::V) -> Self::V;
    /// The bits, 23 places up: the lowest nine become sign and exponent.
    fn shift_to_exponent(self, a: Self::V) -> Self::V;
    /// The difference of the bits, as whole numbers that wrap.
    fn sub_bits(self, a: Self::V, b: Self::V) -> Self::V;
    /// The 16 sums of every 16th number, given as `16 / LANES` vectors, added as a fixed tree.
    fn sum16(self, v: &[Self::V]) -> f32;
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
