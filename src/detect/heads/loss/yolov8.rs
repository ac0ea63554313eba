//! The loss of YOLOv8 (Ultralytics; the task-aligned head of TOOD, Feng et al., arXiv:2108.07755, with distribution focal
//! loss, Li et al., arXiv:2006.04388): cross-entropy of the classes, generalised IoU (there: complete IoU) of the boxes,
//! and cross-entropy of where their sides are.
//!
//! A cell holds `[left bins…, top bins…, right bins…, bottom bins…, class logits…]`: bin `j` of a side is the logit of its
//! being `j` strides from the cell's middle, and the box's side is where the softmax says on average.

use super::boxes;
use super::grid::{LossGrid, LossInput};
use super::logits::{bce, log_sum_exp};
use super::parts::LossParts;
use super::roles::Assignment;

/// Numbers of a cell beside the classes', as published: sixteen bins a side.
pub const BESIDE: usize = 64;
/// Weights of the parts, as published.
const BOX_WEIGHT: f64 = 7.5;
const BINS_WEIGHT: f64 = 1.5;
const CLASS_WEIGHT: f64 = 0.5;

/// Bins of a side; `None` where a cell's numbers are not four times that, at least two, and the classes.
pub fn n_bins(width: usize, n_classes: usize) -> Option<usize> {
    let beside = width.checked_sub(n_classes)?;
    (beside >= 8 && beside.is_multiple_of(4)).then_some(beside / 4)
}

/// Where a side is on average, strides from the cell's middle, and the logarithm of the softmax's divisor.
fn average(bins: &[f32]) -> (f64, f64) {
    let divisor = log_sum_exp(bins);
    let distance = bins.iter().enumerate().map(|(j, x)| j as f64 * (f64::from(*x) - divisor).exp()).sum();
    (distance, divisor)
}

/// The corners of a cell's box, pixels.
pub fn corners(grid: &LossGrid<'_>, cell: usize, n_classes: usize) -> [f64; 4] {
    let numbers = grid.cell(cell);
    let n = (grid.width - n_classes) / 4;
    let ([x, y], stride) = (grid.middle(cell), f64::from(grid.stride));
    let side = |k: usize| average(&numbers[k * n..][..n]).0 * stride;
    [x - side(0), y - side(1), x + side(2), y + side(3)]
}

/// Adds the gradient to `grads`; parts and gradient are divided by `per`. A class's target, and the weight of a box, is
/// the quality.
pub fn loss(case: &LossInput<'_>, assignment: &Assignment, per: f64, grads: &mut [Vec<f32>]) -> LossParts {
    let mut parts = LossParts::default();
    for (level, cell, owned) in assignment.judged() {
        let grid = &case.grids[level];
        let numbers = grid.cell(cell);
        let out = &mut grads[level][cell * grid.width..][..grid.width];
        let first_class = grid.width - case.n_classes;
        let target = owned.map(|owned| (case.object(owned.index), owned.quality));
        for class in 0..case.n_classes {
            let wanted = target.filter(|(object, _)| object.class == class).map_or(0.0, |(_, quality)| quality);
            let (value, slope) = bce(f64::from(numbers[first_class + class]), wanted);
            parts.class += CLASS_WEIGHT * value / per;
            out[first_class + class] += (CLASS_WEIGHT * slope / per) as f32;
        }
        let Some((object, quality)) = target else { continue };
        let weight = quality / per;
        let giou = boxes::giou(&corners(grid, cell, case.n_classes), &object.corners);
        parts.bbox += BOX_WEIGHT * weight * (1.0 - giou.value);
        let ([x, y], stride, n) = (grid.middle(cell), f64::from(grid.stride), first_class / 4);
        for (k, slope) in giou.slope.into_iter().enumerate() {
            let outwards = if k < 2 { -1.0 } else { 1.0 };
            let by_distance = -BOX_WEIGHT * weight * slope * outwards * stride;
            let wanted = outwards * (object.corners[k] - if k % 2 == 0 { x } else { y }) / stride;
            let bins_weight = BINS_WEIGHT * weight / 4.0;
            parts.bbox += bins_weight
                * side_loss(&numbers[k * n..][..n], wanted, by_distance, bins_weight, &mut out[k * n..][..n]);
        }
    }
    parts
}

/// The cross-entropy of a side's bins and its place, `wanted` strides from the cell's middle: shared by the two bins beside it.
/// Adds its gradient, times `weight`, and that of the average, times `by_distance`.
fn side_loss(bins: &[f32], wanted: f64, by_distance: f64, weight: f64, out: &mut [f32]) -> f64 {
    // Below the last bin, so that there is one on each side.
    let wanted = wanted.clamp(0.0, bins.len() as f64 - 1.01);
    let (distance, divisor) = average(bins);
    let mut value = 0.0;
    for (j, (x, slope)) in bins.iter().zip(out).enumerate() {
        let log = f64::from(*x) - divisor;
        let share = (1.0 - (wanted - j as f64).abs()).max(0.0);
        value -= share * log;
        *slope += (log.exp() * by_distance * (j as f64 - distance) + weight * (log.exp() - share)) as f32;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::aligned;
    use super::super::testing::{TestMaps, check_gradient, picture, two_objects};
    use super::*;

    #[test]
    fn the_gradient_is_that_of_differences() {
        let labels = two_objects();
        for n in [16, 6] {
            let mut maps = TestMaps::random(4, &[8, 16, 32], 4 * n + 2);
            // Boxes that are not too large: the first bins are likelier.
            let sides = |cell: &mut [f32]| cell[..4 * n].chunks_mut(n).for_each(|side| side[..4].fill(1.0));
            maps.numbers.iter_mut().for_each(|level| level.chunks_mut(4 * n + 2).for_each(sides));
            let grids = maps.grids();
            let case = picture(&grids, &labels, 2);
            let assignment = aligned::assign(&case);
            assert!(assignment.n_positive > 8);
            let mut grads = maps.zeros();
            let parts = loss(&case, &assignment, 1.0, &mut grads);
            assert!(parts.class > 0.0 && parts.bbox > 0.0 && parts.objectness == 0.0);
            check_gradient(&maps, &grads, |moved| {
                loss(&picture(moved, &labels, 2), &assignment, 1.0, &mut maps.zeros()).total()
            });
        }
    }

    #[test]
    fn widths_that_are_bins_and_classes() {
        for (width, n_classes, n) in [(144, 80, Some(16)), (66, 2, Some(16)), (9, 2, None), (6, 2, None), (2, 80, None)]
        {
            assert_eq!(n_bins(width, n_classes), n);
        }
    }
}
