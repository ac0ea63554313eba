//! The numbers of a model, apart from what is done with them: packed for the kernels, a step's together.
//!
//! A program says what is computed and has no weights. A stream runs with some [`Weights`], and with others from one
//! frame to the next; what is equal in both is in memory once.

pub mod int8;
pub mod packed;
pub mod winograd;

use crate::buffer::{Element, Room};
use packed::Packed;
use std::collections::HashMap;
use std::sync::Arc;

/// Weights for every step of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    version: u64,
    /// One a step: none, one, one a group, one a phase, or those of both halves of a separable convolution.
    steps: Vec<Vec<Packed>>,
}

/// Why some weights cannot take the place of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("step {step} has no weights {part}")]
    NoSuchPart { step: usize, part: usize },
    #[error("step {step}, weights {part}: their number is another")]
    Number { step: usize, part: usize },
    #[error("step {step}, weights {part}: they are too large, or not finite")]
    Size { step: usize, part: usize },
}

/// Other weights for a part of a step.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub step: usize,
    /// Which of the step's weights.
    pub part: usize,
    /// `[out][tap][in]`.
    pub weights: &'a [f32],
    /// One an output channel.
    pub bias: &'a [f32],
}

impl Weights {
    /// Lays the weights of all steps side by side, equal ones once: the cache then holds them once.
    pub fn new(mut steps: Vec<Vec<Packed>>) -> Self {
        gather(&mut steps);
        Self { version: 0, steps }
    }

    /// How often weights were replaced since they were read.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What a step computes with.
    #[inline]
    pub fn of(&self, step: usize) -> &[Packed] {
        &self.steps[step]
    }

    /// Whether these can stand in the place of `others`: as many, and packed alike.
    pub fn fits(&self, others: &Self) -> bool {
        let is_like = |a: &Packed, b: &Packed| (a.packing(), a.n_out()) == (b.packing(), b.n_out());
        let alike =
            |(a, b): (&Vec<Packed>, &Vec<Packed>)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_like(a, b));
        self.steps.len() == others.steps.len() && self.steps.iter().zip(&others.steps).all(alike)
    }

    /// The next version: some weights replaced, all others shared with this one.
    ///
    /// # Errors
    /// A change is of no weights of this program, or its numbers cannot be computed with.
    pub fn with<'a>(&self, changes: impl IntoIterator<Item = Change<'a>>) -> Result<Self, Misfit> {
        let mut next = Self { version: self.version + 1, steps: self.steps.clone() };
        for Change { step, part, weights, bias } in changes {
            let old = next.steps.get_mut(step).and_then(|parts| parts.get_mut(part));
            let old = old.ok_or(Misfit::NoSuchPart { step, part })?;
            if weights.len() != old.n_weights() || bias.len() != old.n_out() {
                return Err(Misfit::Number { step, part });
            }
            if !weights.iter().chain(bias).all(|v| v.abs() <= winograd::MOST_WEIGHT) {
                return Err(Misfit::Size { step, part });
            }
            *old = Packed::new(old.packing(), weights, bias);
        }
        Ok(next)
    }
}

fn gather(steps: &mut [Vec<Packed>]) {
    let mut all: Vec<&mut Packed> = steps.iter_mut().flatten().collect();
    let firsts = firsts(&all);
    let n_weights = |(i, first): (usize, &usize)| if *first == i { all[i].weights().len() } else { 0 };
    let weights = firsts.iter().enumerate().map(n_weights);
    let mut room = Room::of::<f32>(weights.chain(all.iter().map(|p| p.biases().len())));
    for (i, first) in firsts.into_iter().enumerate() {
        let weights = if first == i { Arc::new(room.copy(all[i].weights())) } else { all[first].shared_weights() };
        let bias = room.copy(all[i].biases());
        all[i].move_to(weights, bias);
    }
}

/// For each the first that has the same weights, bit by bit.
fn firsts(all: &[&mut Packed]) -> Vec<usize> {
    let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
    let bits = |p: &Packed| p.weights().iter().map(|w| w.bits()).collect();
    all.iter().enumerate().map(|(i, p)| *known.entry(bits(p)).or_insert(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use packed::Packing;

    fn pointwise(weights: &[f32]) -> Packed {
        Packed::new(Packing::Gemm { n_taps: 1, depth: 2 }, weights, &[0.0; 2])
    }

    #[test]
    fn equal_weights_are_kept_once_and_others_replaced() {
        let some = [1.0, 2.0, 3.0, 4.0];
        let weights = Weights::new(vec![vec![pointwise(&some)], vec![], vec![pointwise(&some)]]);
        assert!(Arc::ptr_eq(&weights.of(0)[0].shared_weights(), &weights.of(2)[0].shared_weights()));
        let change = Change { step: 2, part: 0, weights: &[5.0; 4], bias: &[1.0; 2] };
        let next = weights.with([change]).unwrap();
        assert_eq!((weights.version(), next.version()), (0, 1));
        assert_eq!((weights.of(2)[0].unpacked(), next.of(2)[0].unpacked()), (some.to_vec(), vec![5.0; 4]));
        assert_eq!((weights.of(2)[0].bias(), next.of(2)[0].bias()), (&[0.0; 2][..], &[1.0; 2][..]));
        assert!(Arc::ptr_eq(&weights.of(0)[0].shared_weights(), &next.of(0)[0].shared_weights()));
        let misfit = |change| weights.with([change]).unwrap_err();
        assert_eq!(misfit(Change { step: 1, ..change }), Misfit::NoSuchPart { step: 1, part: 0 });
        assert_eq!(misfit(Change { bias: &[1.0], ..change }), Misfit::Number { step: 2, part: 0 });
        assert_eq!(misfit(Change { weights: &[f32::NAN; 4], ..change }), Misfit::Size { step: 2, part: 0 });
    }
}
