//! The inner loops, over a handful of cells at a time.
//!
//! Each algorithm is written once over [`simd::Simd`]; each instruction set is
//! one file that says what its vectors can do. They are picked once, at run
//! time. All follow the same order of operations with the same roundings
//! (fused multiply-add, round to even, no estimates of the machine's), so that AVX-512,
//! AVX2+FMA, NEON and the portable one agree bit by bit: the portable one is what the
//! others are held to.
//!
//! To add a way to convolve, a product in eight bits say: what reads it (`import/ops.rs`, `graph/`, the verifier), a `ConvKind` and
//! what chooses it (`plan/step.rs`, `plan/lower.rs`), where its maps lie (`plan/layout.rs`), its `Packing` (`weights/packed.rs`),
//! the kernel with a function in the table (`table.rs`) and its arguments (`args.rs`), the match in `exec/tile.rs`, its scratch
//! (`exec/scratch.rs`) and whether it may write in place (`Step::fits_in_place`), the gain of its weights
//! (`gating/sensitivity.rs`), and the oracle. A separable pair's pointwise half is computed by the same GEMM. Of `f32` alone so
//! far: `Weights`, a stream's buffers and outputs, `Map::cell`, and all arguments here.

mod act;
mod args;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod depthwise;
mod estimate;
mod gemm;
pub mod int8;
pub mod math;
mod measure;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pixels;
mod portable;
mod rows;
mod simd;
mod table;
mod transform;
mod weight_grad;

pub use args::*;
pub use table::Kernels;

impl Kernels {
    /// The fastest that this machine can run.
    pub fn best() -> Self {
        *Self::all().first().expect("the portable ones run everywhere")
    }

    /// All that this machine can run, fastest first; the last is the portable one.
    pub fn all() -> &'static [Self] {
        static ALL: std::sync::OnceLock<Vec<Kernels>> = std::sync::OnceLock::new();
        ALL.get_or_init(|| {
            let mut all = Vec::new();
            #[cfg(target_arch = "x86_64")]
            all.extend([avx512::kernels(), avx2::kernels()].into_iter().flatten());
            #[cfg(target_arch = "aarch64")]
            all.extend(neon::kernels());
            all.push(portable::kernels());
            all
        })
    }

    /// Whether there is more than the portable one: without fused multiply-add in
    /// hardware the engine is right but slow.
    pub fn is_fast(&self) -> bool {
        self.name != portable::kernels().name
    }
}
