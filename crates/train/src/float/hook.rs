//! What stands beside the products of convolutions: another arithmetic that is tried out, or a measurement.

use crate::batch::Batch;
use std::borrow::Cow;

/// Sees what each convolution's products are made of and what they give, and may change it; `node` is the convolution's place
/// in the plan's graph. Whatever a hook leaves out changes nothing.
///
/// A changed input or weight is seen by the products of this one call alone: gradients go on as if it had not been changed.
pub trait Hook {
    /// Before the product forwards: the input, and the weights, `[out][tap][in of the group]`, with the gain in them.
    fn forward(&mut self, _node: usize, _x: &mut Cow<'_, Batch>, _weights: &mut Cow<'_, [f32]>) {}

    /// After it: the output. Its activation has been applied; a hook that wants it as the product gave it runs graphs whose
    /// activations are nodes of their own.
    fn output(&mut self, _node: usize, _y: &mut Batch) {}

    /// Before the products backwards: input and weights, unchanged, and the gradient of what the activation was given.
    fn backward(&mut self, _node: usize, _x: &mut Cow<'_, Batch>, _weights: &mut Cow<'_, [f32]>, _dy: &mut Batch) {}
}

/// No hook.
impl Hook for () {}
