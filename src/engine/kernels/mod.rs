//! The inner loops, over a handful of cells at a time.
//!
//! Each algorithm is written once over [`simd::Simd`]; each instruction set is
//! one file that says what its vectors can do. They are picked once, at run
//! time. All follow the same order of operations with the same roundings
//! (fused multiply-add, round to even, no estimates of the machine's), so that AVX-512,
//! AVX2+FMA, NEON and the portable one agree bit by bit: the portable one is the
//! oracle of the others.

mod act;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod depthwise;
mod foretell;
mod gemm;
pub mod math;
mod measure;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pixels;
mod portable;
mod rows;
mod simd;
mod winograd;

use super::graph::Act;

/// The functions of one instruction set: its token, its shape of GEMM, and what must be enabled for it. They may be called
/// only where the machine has it, for which each set's `kernels` looks.
macro_rules! functions {
    ($name:literal, $S:ty, $gemm:path $(, $feature:literal)?) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn run_gemm(args: &super::ConvArgs) {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::gemm`].
            unsafe { $gemm(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn depthwise(args: &super::ConvArgs) {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::depthwise`].
            unsafe { super::depthwise::run(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn depthwise_inside(args: &super::ConvArgs, apart: [usize; 2]) {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::depthwise_inside`].
            unsafe { super::depthwise::inside(simd, args, apart) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn act(act: &crate::engine::graph::Act, rows: super::Rows) {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::act`].
            unsafe { super::act::act(simd, act, rows) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn add(rows: super::Rows, others: &[*const f32]) {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::add`].
            unsafe { super::rows::add(simd, rows, others) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn pool(how: super::Pooled, taps: &[*const f32], row: &mut [f32]) {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::pool`].
            unsafe { super::rows::pool(simd, how, taps, row) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn measure(new: super::Rows, how: super::Measure<'_>, distances: &mut super::Distances) -> [u64; 2] {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::measure`].
            unsafe { super::measure::measure(simd, new, how, distances) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn replace(new: super::Rows, old: &super::Cells) -> u64 {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::replace`].
            unsafe { super::measure::replace(simd, new, old) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn foretell(args: &super::ForetellArgs<'_>) -> [u64; 2] {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::foretell`].
            unsafe { super::foretell::run(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn spread(args: &super::SpreadArgs) {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::spread`].
            unsafe { super::winograd::spread(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn gather(args: &super::GatherArgs<'_>) {
            let simd = <$S>::here();
            // Safety: as of [`super::Kernels::gather`].
            unsafe { super::winograd::gather(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        fn follow(args: &mut super::FollowArgs<'_>) -> u32 {
            super::pixels::follow(<$S>::here(), args)
        }

        const KERNELS: super::Kernels = super::Kernels {
            name: $name,
            gemm: run_gemm,
            depthwise,
            depthwise_inside,
            act,
            add,
            pool,
            measure,
            replace,
            foretell,
            spread,
            gather,
            follow,
        };
    };
}
use functions;

/// Most cells in one call.
pub const TILE: usize = 12;
/// Most squares of two by two cells in one call.
pub const SQUARES: usize = 12;
/// Most cells of a tile, by themselves or in squares.
pub const ROWS: usize = 4 * SQUARES;
/// Channels of weights, biases and scratch rows come in blocks of this many.
pub const BLOCK: usize = 16;
/// Most blocks that are computed at once.
pub const MOST_BLOCKS: usize = 3;
/// Most channels that are computed at once.
pub const STRIP: usize = MOST_BLOCKS * BLOCK;

/// Blocks that are computed at once, the weights of which lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strip {
    pub first: usize,
    pub n: usize,
}

/// Two blocks each, and of an odd number the last three: one alone reads an input for every product.
pub fn strips(n_blocks: usize) -> impl Iterator<Item = Strip> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = n_blocks - first;
        let n = if left == MOST_BLOCKS { MOST_BLOCKS } else { left.min(2) };
        let strip = Strip { first, n };
        first += n;
        (n > 0).then_some(strip)
    })
}

/// Some cells of a convolution before its activation.
///
/// Ordinary: `rows[p][o] = bias[o] + sum over taps t, channels c of input[t][p][c] * weights[t][c][o]`.
/// Depthwise: `rows[p][c] = bias[c] + sum over taps t of input[t][p][c] * weights[t][c]`.
#[derive(Debug, Clone, Copy)]
pub struct ConvArgs {
    /// Cells, 1..=[`TILE`].
    pub n: usize,
    pub n_taps: usize,
    /// Input channels of a tap that an output sees; 1 where depthwise.
    pub depth: usize,
    /// `[tap][TILE]`, first input channel of each.
    pub inputs: *const *const f32,
    /// As [`super::pack::pack`] or [`super::pack::pack_depthwise`] laid them out.
    pub weights: *const f32,
    /// `n_blocks * BLOCK` of them.
    pub bias: *const f32,
    pub n_blocks: usize,
    pub rows: *mut f32,
    /// From row to row.
    pub stride: usize,
    /// The weights were not used just now: they are asked for ahead.
    pub is_cold: bool,
}

/// Asks for `n` numbers to be brought near; a hint, which does nothing where there is none.
#[inline(always)]
pub fn prefetch(p: *const f32, n: usize) {
    ask_for::<true>(p, n);
}

/// The same into the second cache: for what would be pushed out of the first by all that is used before it.
#[inline(always)]
pub fn prefetch_for_later(p: *const f32, n: usize) {
    ask_for::<false>(p, n);
}

#[inline(always)]
fn ask_for<const NEAREST: bool>(p: *const f32, n: usize) {
    for line in (0..n).step_by(16) {
        let at = p.wrapping_add(line);
        // Safety: a prefetch never faults.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
            if NEAREST {
                _mm_prefetch::<_MM_HINT_T0>(at.cast());
            } else {
                _mm_prefetch::<_MM_HINT_T1>(at.cast());
            }
        }
        #[cfg(target_arch = "aarch64")]
        unsafe {
            if NEAREST {
                std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags));
            } else {
                std::arch::asm!("prfm pldl2keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags));
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = at;
    }
}

/// Rows of numbers in memory.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    pub first: *mut f32,
    /// From row to row.
    pub stride: usize,
    pub n: usize,
    /// Numbers of a row.
    pub width: usize,
}

/// What becomes of the cells of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooled {
    Greatest,
    Sum,
}

/// The first numbers of the stored cells of a tile.
pub type Cells = [*mut f32; ROWS];
/// The first numbers of what is added to the rows of a tile.
pub type Residuals = [*const f32; ROWS];
/// One a cell of a tile.
pub type Distances = [f32; ROWS];

/// How rows are finished, stored over others and measured.
#[derive(Debug, Clone, Copy)]
pub struct Measure<'a> {
    /// Added first.
    pub residuals: Option<&'a Residuals>,
    /// Applied then.
    pub act: &'a Act,
    /// What the rows are stored over.
    pub old: &'a Cells,
    /// One a channel.
    pub weights: &'a [f32],
    /// What sums of squares are compared with.
    pub limit: f32,
}

/// Cells whose changes are foretold at once: those of a word of a change set.
pub const LANES: usize = 64;

/// What [`LANES`] cells in a row see at one place of a window.
#[derive(Debug, Clone, Copy)]
pub struct Tap {
    pub from: *const f32,
    pub gain: f32,
}

/// Cells in a row whose changes are foretold:
/// `expected[i] += factor * (seen[i] + sum over taps of gain * from[i])`, where `from` has a number for each cell, or
/// every second one of its numbers is a cell's.
#[derive(Debug, Clone, Copy)]
pub struct ForetellArgs<'a> {
    pub taps: &'a [Tap],
    pub every_second: &'a [Tap],
    /// What is seen beside the taps.
    pub seen: Option<&'a [f32; LANES]>,
    pub factor: f32,
    /// A bit for each cell that changes reach: blocks without any stay as they are.
    pub reached: u64,
    /// Blocks of [`BLOCK`] cells, 1..=4.
    pub n_blocks: usize,
    /// From the first cell on, whole blocks.
    pub expected: *mut f32,
    /// Factors of each limit, as many.
    pub leeway: [*const f32; 2],
    pub limits: [f32; 2],
}

/// Inputs of squares, turned into what is multiplied ([`super::winograd`]).
#[derive(Debug, Clone, Copy)]
pub struct SpreadArgs {
    /// Squares, 1..=[`SQUARES`].
    pub n: usize,
    /// `[row and column of 4x4][TILE]`, first input channel of each.
    pub inputs: *const *const f32,
    /// Input channels.
    pub depth: usize,
    /// `[product][SQUARES]`, `stride` numbers each.
    pub out: *mut f32,
    pub stride: usize,
}

/// Products of squares, turned into outputs.
#[derive(Debug, Clone, Copy)]
pub struct GatherArgs<'a> {
    /// Squares, 1..=[`SQUARES`].
    pub n: usize,
    /// `[product][SQUARES][STRIP]`.
    pub products: *const f32,
    /// Output channels at once, whole blocks up to [`STRIP`].
    pub width: usize,
    /// Where the rows of each square's four cells begin; null: not wanted.
    pub rows: &'a Cells,
    /// First of the output channels.
    pub column: usize,
}

/// Pixels that are followed at once.
pub const PIXELS: usize = 16;
/// Of such pixels' colours, one after another.
pub type Colours<T> = [T; 3 * PIXELS];

/// Pixels of a picture, and the numbers of a map that follow them: `byte * scale + shift`.
#[derive(Debug)]
pub struct FollowArgs<'a> {
    pub bytes: &'a Colours<u8>,
    pub scale: &'a Colours<f32>,
    pub shift: &'a Colours<f32>,
    /// Squares of what a number may be off before its pixel is taken over.
    pub limits: &'a Colours<f32>,
    pub map: &'a mut Colours<f32>,
    /// Becomes the squares of what the numbers moved by, if any did.
    pub squares: &'a mut Colours<f32>,
}

// Safety: taps are scratch of one call, and are not read after it.
unsafe impl Send for Tap {}

fn check_slopes(act: &Act, rows: &Rows) {
    if let Act::PRelu(slopes) = act {
        assert!(slopes.len() >= rows.width, "one slope a channel");
    }
}

/// The functions of one instruction set, which can be had only where the machine has it.
#[derive(Clone, Copy)]
pub struct Kernels {
    pub name: &'static str,
    gemm: unsafe fn(&ConvArgs),
    depthwise: unsafe fn(&ConvArgs),
    depthwise_inside: unsafe fn(&ConvArgs, [usize; 2]),
    act: unsafe fn(&Act, Rows),
    add: unsafe fn(Rows, &[*const f32]),
    pool: unsafe fn(Pooled, &[*const f32], &mut [f32]),
    measure: unsafe fn(Rows, Measure<'_>, &mut Distances) -> [u64; 2],
    replace: unsafe fn(Rows, &Cells) -> u64,
    foretell: unsafe fn(&ForetellArgs<'_>) -> [u64; 2],
    spread: unsafe fn(&SpreadArgs),
    gather: unsafe fn(&GatherArgs<'_>),
    follow: unsafe fn(&mut FollowArgs<'_>) -> u32,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

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

    /// A convolution of some cells, before its activation.
    ///
    /// # Safety
    /// Pointers and counts are as [`ConvArgs`] says; `rows` has room for whole blocks.
    pub unsafe fn gemm(&self, args: &ConvArgs) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.gemm)(args) }
    }

    /// A depthwise convolution of some cells, before its activation.
    ///
    /// # Safety
    /// As [`ConvArgs`] says; inputs, too, can be read in whole blocks.
    pub unsafe fn depthwise(&self, args: &ConvArgs) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.depthwise)(args) }
    }

    /// The same, of windows of three by three inside the map: of the inputs only the first taps are read, the others stand
    /// so many numbers further down and along.
    ///
    /// # Safety
    /// As for [`Kernels::depthwise`], for all nine taps.
    pub unsafe fn depthwise_inside(&self, args: &ConvArgs, apart: [usize; 2]) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.depthwise_inside)(args, apart) }
    }

    /// Applies an activation to rows.
    ///
    /// # Safety
    /// The rows can be written in whole blocks; what is behind their width means nothing.
    pub unsafe fn act(&self, act: &Act, rows: Rows) {
        check_slopes(act, &rows);
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.act)(act, rows) }
    }

    /// Adds to each row what is behind its pointer.
    ///
    /// # Safety
    /// As for [`Kernels::act`]; as many numbers as rows are wide can be read behind each pointer.
    pub unsafe fn add(&self, rows: Rows, others: &[*const f32]) {
        assert!(others.len() >= rows.n, "one a row");
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.add)(rows, others) }
    }

    /// The greatest, or the sum, of what some cells hold, number by number.
    ///
    /// # Safety
    /// As many numbers as the row has can be read from each tap on.
    pub unsafe fn pool(&self, how: Pooled, taps: &[*const f32], row: &mut [f32]) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.pool)(how, taps, row) }
    }

    /// Finishes rows on their way to where they are stored, and finds for each the sum over channels of
    /// `((new - old) * weight)^2`. A bit for each of which that is above 0, and for each of which it is above the limit; for
    /// numbers that are none both.
    ///
    /// # Safety
    /// As for [`Kernels::act`]; as many numbers as rows are wide can be read behind each residual, and written behind each
    /// pointer of `old`.
    pub unsafe fn measure(&self, new: Rows, how: Measure<'_>, distances: &mut Distances) -> [u64; 2] {
        assert!(how.weights.len() >= new.width, "one weight a channel");
        assert!((1..=ROWS).contains(&new.n), "a tile of rows");
        check_slopes(how.act, &new);
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.measure)(new, how, distances) }
    }

    /// Stores the rows that differ in any bit. A bit for each.
    ///
    /// # Safety
    /// The rows can be read, and as many numbers behind each pointer of `old` written.
    pub unsafe fn replace(&self, new: Rows, old: &Cells) -> u64 {
        assert!(new.n <= ROWS, "a tile of rows");
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.replace)(new, old) }
    }

    /// Adds to what is expected of some cells. For both limits a bit for each cell of which more is expected.
    ///
    /// # Safety
    /// Pointers and counts are as [`ForetellArgs`] says; as many numbers can be read of each tap, twice as many of which
    /// every second is read.
    pub unsafe fn foretell(&self, args: &ForetellArgs<'_>) -> [u64; 2] {
        assert!((1..=LANES / BLOCK).contains(&args.n_blocks), "blocks of a word");
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.foretell)(args) }
    }

    /// Turns the inputs of squares into what is multiplied.
    ///
    /// # Safety
    /// As [`SpreadArgs`] says; inputs can be read, and `out` written, in whole blocks.
    pub unsafe fn spread(&self, args: &SpreadArgs) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.spread)(args) }
    }

    /// Turns products into the outputs of squares, before their activation.
    ///
    /// # Safety
    /// As [`GatherArgs`] says; rows have room for whole blocks.
    pub unsafe fn gather(&self, args: &GatherArgs<'_>) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.gather)(args) }
    }

    /// Takes over the pixels of which some colour is off by more than its limit. A bit for each.
    pub fn follow(&self, args: &mut FollowArgs<'_>) -> u32 {
        // Safety: the machine has the instruction set, or the table would not be there.
        unsafe { (self.follow)(args) }
    }
}

/// For comparisons; the sign of a NaN is not promised.
#[cfg(test)]
fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| if v.is_nan() { f32::INFINITY } else { *v }.to_bits()).collect()
}
