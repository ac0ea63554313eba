//! The table of functions of one instruction set.

use super::args::{
    BLOCK, Cells, ConvArgs, Distances, EstimateArgs, FollowArgs, InputTransformArgs, LANES, Measure,
    OutputTransformArgs, Pooled, ROWS, Rows, WeightGradArgs,
};
use crate::graph::Act;

/// The functions of one instruction set: its token, its shape of GEMM, and what must be enabled for it. They may be called
/// only where the machine has it, for which each set's `kernels` looks.
macro_rules! functions {
    ($name:literal, $S:ty, $gemm:path $(, $feature:literal)?) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn run_gemm(args: &$crate::kernels::args::ConvArgs) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::gemm`].
            unsafe { $gemm(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn depthwise(args: &$crate::kernels::args::ConvArgs) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::depthwise`].
            unsafe { $crate::kernels::depthwise::run(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn depthwise_inside(args: &$crate::kernels::args::ConvArgs, apart: [usize; 2]) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::depthwise_inside`].
            unsafe { $crate::kernels::depthwise::inside(simd, args, apart) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn act(act: &$crate::graph::Act, rows: $crate::kernels::args::Rows) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::act`].
            unsafe { $crate::kernels::act::act(simd, act, rows) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn add(rows: $crate::kernels::args::Rows, others: &[*const f32]) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::add`].
            unsafe { $crate::kernels::rows::add(simd, rows, others) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn pool(how: $crate::kernels::args::Pooled, taps: &[*const f32], row: &mut [f32]) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::pool`].
            unsafe { $crate::kernels::rows::pool(simd, how, taps, row) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn measure(new: $crate::kernels::args::Rows, how: $crate::kernels::args::Measure<'_>, distances: &mut $crate::kernels::args::Distances) -> [u64; 2] {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::measure`].
            unsafe { $crate::kernels::measure::measure(simd, new, how, distances) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn replace(new: $crate::kernels::args::Rows, old: &$crate::kernels::args::Cells) -> u64 {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::replace`].
            unsafe { $crate::kernels::measure::replace(simd, new, old) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn estimate(args: &$crate::kernels::args::EstimateArgs<'_>) -> [u64; 2] {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::estimate`].
            unsafe { $crate::kernels::estimate::run(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn input_transform(args: &$crate::kernels::args::InputTransformArgs) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::input_transform`].
            unsafe { $crate::kernels::transform::input_transform(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn output_transform(args: &$crate::kernels::args::OutputTransformArgs<'_>) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::output_transform`].
            unsafe { $crate::kernels::transform::output_transform(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn weight_grad(args: &$crate::kernels::args::WeightGradArgs<'_>) {
            let simd = <$S>::here();
            // Safety: as of [`$crate::kernels::table::Kernels::weight_grad`].
            unsafe { $crate::kernels::weight_grad::run(simd, args) }
        }
        $(#[target_feature(enable = $feature)])?
        fn follow(args: &mut $crate::kernels::args::FollowArgs<'_>) -> u32 {
            $crate::kernels::pixels::follow(<$S>::here(), args)
        }

        const KERNELS: $crate::kernels::table::Kernels = $crate::kernels::table::Kernels {
            name: $name,
            gemm: run_gemm,
            depthwise,
            depthwise_inside,
            act,
            add,
            pool,
            measure,
            replace,
            estimate,
            input_transform,
            output_transform,
            weight_grad,
            follow,
        };
    };
}
pub(super) use functions;

fn check_slopes(act: &Act, rows: &Rows) {
    if let Act::PRelu(slopes) = act {
        assert!(slopes.len() >= rows.width, "one slope a channel");
    }
}

/// The functions of one instruction set, which can be had only where the machine has it.
#[derive(Clone, Copy)]
pub struct Kernels {
    pub name: &'static str,
    pub(super) gemm: unsafe fn(&ConvArgs),
    pub(super) depthwise: unsafe fn(&ConvArgs),
    pub(super) depthwise_inside: unsafe fn(&ConvArgs, [usize; 2]),
    pub(super) act: unsafe fn(&Act, Rows),
    pub(super) add: unsafe fn(Rows, &[*const f32]),
    pub(super) pool: unsafe fn(Pooled, &[*const f32], &mut [f32]),
    pub(super) measure: unsafe fn(Rows, Measure<'_>, &mut Distances) -> [u64; 2],
    pub(super) replace: unsafe fn(Rows, &Cells) -> u64,
    pub(super) estimate: unsafe fn(&EstimateArgs<'_>) -> [u64; 2],
    pub(super) input_transform: unsafe fn(&InputTransformArgs),
    pub(super) output_transform: unsafe fn(&OutputTransformArgs<'_>),
    pub(super) weight_grad: unsafe fn(&WeightGradArgs<'_>),
    pub(super) follow: unsafe fn(&mut FollowArgs<'_>) -> u32,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Kernels {
    /// A convolution of some cells, before its activation.
    ///
    /// # Safety
    /// Pointers and counts are as [`ConvArgs`] says; `rows` has room for whole blocks.
    pub unsafe fn gemm(&self, args: &ConvArgs) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.gemm)(args) }
    }

    /// One tap's part of the gradient of a convolution's weights.
    ///
    /// # Safety
    /// Runs, steps and counts are as [`WeightGradArgs`] says; sums have room for whole blocks.
    pub unsafe fn weight_grad(&self, args: &WeightGradArgs<'_>) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.weight_grad)(args) }
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
    /// NaN both.
    ///
    /// # Safety
    /// As for [`Kernels::act`]; as many numbers as rows are wide can be read behind each residual, and written behind each
    /// pointer of `old`.
    pub unsafe fn measure(&self, new: Rows, how: Measure<'_>, distances: &mut Distances) -> [u64; 2] {
        assert!(how.inverse_scales.len() >= new.width, "one scale a channel");
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

    /// Adds to what is pending of some cells. For both limits a bit for each cell of which more is pending.
    ///
    /// # Safety
    /// Pointers and counts are as [`EstimateArgs`] says; as many numbers can be read of each tap, twice as many of which
    /// every second is read.
    pub unsafe fn estimate(&self, args: &EstimateArgs<'_>) -> [u64; 2] {
        assert!((1..=LANES / BLOCK).contains(&args.n_blocks), "blocks of a word");
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.estimate)(args) }
    }

    /// Turns the inputs of squares into what is multiplied.
    ///
    /// # Safety
    /// As [`InputTransformArgs`] says; inputs can be read, and `out` written, in whole blocks.
    pub unsafe fn input_transform(&self, args: &InputTransformArgs) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.input_transform)(args) }
    }

    /// Turns products into the outputs of squares, before their activation.
    ///
    /// # Safety
    /// As [`OutputTransformArgs`] says; rows have room for whole blocks.
    pub unsafe fn output_transform(&self, args: &OutputTransformArgs<'_>) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.output_transform)(args) }
    }

    /// Takes over the pixels of which some colour is off by more than its limit. A bit for each.
    pub fn follow(&self, args: &mut FollowArgs<'_>) -> u32 {
        // Safety: the machine has the instruction set, or the table would not be there.
        unsafe { (self.follow)(args) }
    }
}
