//! Plain Rust: runs everywhere, and says what the others must compute.

use super::dot::Dot;

/// Nothing has to be there.
#[derive(Clone, Copy)]
struct Portable;

impl Portable {
    fn here() -> Self {
        Self
    }
}

/// These kernels, which every machine can run.
pub fn kernels() -> super::table::Int8Kernels {
    KERNELS
}

impl Dot for Portable {
    type Many = [[i8; 4]; 16];
    type One = [u8; 4];
    type Sums = [i32; 16];
    const SUMS: usize = 16;
    const MOST: [(usize, usize); 3] = [(4, 1), (4, 1), (4, 1)];
    const SHIFT: i32 = 0;

    #[inline(always)]
    unsafe fn load(self, p: *const i32) -> [i32; 16] {
        // Safety: the caller's pointer.
        unsafe { p.cast::<[i32; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32, sums: [i32; 16]) {
        // Safety: the caller's pointer.
        unsafe { p.cast::<[i32; 16]>().write_unaligned(sums) }
    }
    #[inline(always)]
    unsafe fn many(self, p: *const i8) -> [[i8; 4]; 16] {
        // Safety: the caller's pointer.
        unsafe { p.cast::<[[i8; 4]; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn one(self, p: *const u8) -> [u8; 4] {
        // Safety: the caller's pointer.
        unsafe { p.cast::<[u8; 4]>().read_unaligned() }
    }
    #[inline(always)]
    fn dot(self, sums: [i32; 16], one: [u8; 4], many: [[i8; 4]; 16]) -> [i32; 16] {
        std::array::from_fn(|i| {
            let terms = one.iter().zip(&many[i]).map(|(a, b)| i32::from(*a) * i32::from(*b));
            terms.fold(sums[i], i32::wrapping_add)
        })
    }
}

super::table::functions!("portable", Portable);
