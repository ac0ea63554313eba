//! The gradient of a map, row by row, from the parts that come from all who read the map.

use super::coded::{CodedGrad, ZERO_GRAD};
use super::conv::{Int8Conv, Product};
use super::rows;
use super::scratch::Scratch;
use crate::batch::Batch;
use engine::graph::MapShape;
use engine::kernels::BLOCK;

/// A part of a map's gradient, from one who reads the map.
pub enum GradPart<'a> {
    /// Of a convolution: a product a phase, and what its unit is worth.
    Products(Vec<Option<Product<'a>>>, &'a [f32], &'a Int8Conv),
    /// Of a sum, or of a map that lies among others from a channel on.
    Codes(&'a CodedGrad, usize),
    /// Of a larger map that repeats each cell so often.
    Repeated(&'a CodedGrad, [usize; 2]),
    Float(&'a Batch),
    /// `[picture][row][column][channel]`.
    Given(&'a [f32]),
}

/// Numbers of sums that the parts of a row need.
pub fn room(parts: &[GradPart<'_>]) -> usize {
    let of = |part: &GradPart<'_>| match part {
        GradPart::Products(products, ..) => products.iter().flatten().map(Product::room).max().unwrap_or(0),
        _ => 0,
    };
    parts.iter().map(of).max().unwrap_or(0).max(BLOCK)
}

/// Makes a row of a map's gradient.
pub fn add_row(parts: &[GradPart<'_>], s: &mut Scratch, picture: usize, y: usize, shape: MapShape, row: &mut [f32]) {
    let c = shape.c;
    let mut rest = parts;
    if let [GradPart::Products(products, scales, conv), others @ ..] = parts
        && let ([Some(product)], [gather]) = (&products[..], &conv.backward[..])
        && (gather.step, gather.first) == ([1; 2], [0; 2])
    {
        product.row(picture, y, &mut s.sums);
        rows::put_sums(&s.sums[..product.room()], scales, (&mut *row, c));
        rest = others;
    } else {
        row.fill(0.0);
    }
    for part in rest {
        match part {
            GradPart::Products(products, scales, conv) => {
                for (product, gather) in products.iter().zip(&conv.backward) {
                    let Some(product) = product.as_ref().filter(|_| y % gather.step[0] == gather.first[0]) else {
                        continue;
                    };
                    product.row(picture, y / gather.step[0], &mut s.sums);
                    let sums = &s.sums[..product.room()];
                    rows::add_sums(sums, scales, (&mut *row, c), gather.first[1], gather.step[1]);
                }
            }
            GradPart::Codes(grad, first) => {
                let all = grad.codes.shape().c;
                let codes = grad.codes.row(picture, y);
                if all == c {
                    rows::add_decoded(codes, &grad.spread, ZERO_GRAD, row);
                } else {
                    let scales = &grad.scales[*first..first + c];
                    for (to, codes) in row.chunks_exact_mut(c).zip(codes.chunks_exact(all)) {
                        rows::add_decoded(&codes[*first..first + c], scales, ZERO_GRAD, to);
                    }
                }
            }
            GradPart::Repeated(grad, by) => {
                for larger in y * by[0]..(y + 1) * by[0] {
                    let codes = grad.codes.row(picture, larger);
                    for (to, codes) in row.chunks_exact_mut(c).zip(codes.chunks_exact(by[1] * c)) {
                        for codes in codes.chunks_exact(c) {
                            rows::add_decoded(codes, &grad.scales, ZERO_GRAD, to);
                        }
                    }
                }
            }
            GradPart::Float(batch) => {
                row.iter_mut().zip(batch.row(picture, y)).for_each(|(to, g)| *to += g);
            }
            GradPart::Given(numbers) => {
                let given = &numbers[(picture * shape.h + y) * row.len()..][..row.len()];
                row.iter_mut().zip(given).for_each(|(to, g)| *to += g);
            }
        }
    }
}
