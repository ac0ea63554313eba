//! Products in eight bits, exact in `i32`: the sums are those of whole numbers, so that every instruction set and every
//! order give the same bits. The portable one is what the others are held to.
//!
//! What is not negative or has a zero point of its own is `u8` (maps: `value = scale * (code - zero)`), what is multiplied
//! with it is `i8` (weights, and gradients where they are summed over cells). Four of a sum's terms lie side by side, as
//! the instructions want them: [`super::args::ProductArgs`], [`super::args::SumArgs`]. Sums of less than 2^16 terms fit.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod dot;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
mod portable;
mod product;
mod sum;
mod table;

pub use table::Int8Kernels;

impl Int8Kernels {
    /// The fastest that this machine can run.
    pub fn best() -> Self {
        *Self::all().first().expect("the portable ones run everywhere")
    }

    /// All that this machine can run, fastest first; the last is the portable one.
    pub fn all() -> &'static [Self] {
        static ALL: std::sync::OnceLock<Vec<Int8Kernels>> = std::sync::OnceLock::new();
        ALL.get_or_init(|| {
            let mut all = Vec::new();
            #[cfg(target_arch = "x86_64")]
            all.extend([avx512vnni::kernels(), avxvnni::kernels(), avx2::kernels()].into_iter().flatten());
            #[cfg(target_arch = "aarch64")]
            all.extend([neon_dot::kernels(), neon::kernels()].into_iter().flatten());
            all.push(portable::kernels());
            all
        })
    }
}
