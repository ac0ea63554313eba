//! What the algorithms need of an instruction set that multiplies in eight bits.

/// Four terms at once, for several sums side by side. A token as [`crate::kernels::simd::Simd`] is.
pub trait Dot: Copy {
    /// Four terms of [`Dot::SUMS`] sums: what is signed.
    type Many: Copy;
    /// Four terms, the same for all sums: what is unsigned.
    type One: Copy;
    type Sums: Copy;
    const SUMS: usize;
    /// Registers that hold sums at once, in blocks of so many cells and so many [`Dot::Sums`].
    const MOST: [(usize, usize); 3];
    /// What is taken from each unsigned number, by instructions that know signed ones alone.
    const SHIFT: i32;

    /// # Safety
    /// [`Dot::SUMS`] numbers can be read.
    unsafe fn load(self, p: *const i32) -> Self::Sums;
    /// # Safety
    /// [`Dot::SUMS`] numbers can be written.
    unsafe fn store(self, p: *mut i32, sums: Self::Sums);
    /// # Safety
    /// Four times [`Dot::SUMS`] bytes can be read.
    unsafe fn many(self, p: *const i8) -> Self::Many;
    /// # Safety
    /// Four bytes can be read.
    unsafe fn one(self, p: *const u8) -> Self::One;
    /// `sums + (one - SHIFT) * many`, exact.
    fn dot(self, sums: Self::Sums, one: Self::One, many: Self::Many) -> Self::Sums;
}
