//! The table of functions of one instruction set.

use crate::kernels::args::{ProductArgs, SumArgs};

/// The functions of one instruction set: its token, and what must be enabled for it. They may be called only where the
/// machine has it, for which each set's `kernels` looks.
macro_rules! functions {
    ($name:literal, $D:ty $(, $feature:literal)?) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn run_product(args: &$crate::kernels::args::ProductArgs<'_>) {
            let dot = <$D>::here();
            // Safety: as of [`$crate::kernels::int8::table::Int8Kernels::product`].
            unsafe { $crate::kernels::int8::product::run(dot, args) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn run_sum(args: &$crate::kernels::args::SumArgs<'_>) {
            let dot = <$D>::here();
            // Safety: as of [`$crate::kernels::int8::table::Int8Kernels::sum`].
            unsafe { $crate::kernels::int8::sum::run(dot, args) }
        }

        const KERNELS: $crate::kernels::int8::table::Int8Kernels =
            $crate::kernels::int8::table::Int8Kernels { name: $name, product: run_product, sum: run_sum };
    };
}
pub(super) use functions;

/// The functions of one instruction set, which can be had only where the machine has it.
#[derive(Clone, Copy)]
pub struct Int8Kernels {
    pub name: &'static str,
    pub(super) product: unsafe fn(&ProductArgs<'_>),
    pub(super) sum: unsafe fn(&SumArgs<'_>),
}

impl std::fmt::Debug for Int8Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Int8Kernels {
    /// Some cells of a map times weights.
    ///
    /// # Safety
    /// Pointers, offsets and counts are as [`ProductArgs`] says.
    pub unsafe fn product(&self, args: &ProductArgs<'_>) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.product)(args) }
    }

    /// Products of two maps, summed over cells.
    ///
    /// # Safety
    /// As [`SumArgs`] says.
    pub unsafe fn sum(&self, args: &SumArgs<'_>) {
        // Safety: the machine has the instruction set, or the table would not be there; as of this function.
        unsafe { (self.sum)(args) }
    }
}
