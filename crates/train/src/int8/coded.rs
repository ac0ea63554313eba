//! Maps and gradients as codes of eight bits, with what the codes stand for.

use super::range::{Coding, Range};
use super::rows;
use super::scratch::Scratch;
use crate::batch::Batch;
use engine::graph::MapShape;

/// What stands for 0 in a gradient's codes.
pub const ZERO_GRAD: u8 = 128;

/// A map in eight bits.
#[derive(Debug)]
pub struct Coded {
    pub codes: Batch<u8>,
    pub coding: Coding,
    pub range: Range,
}

impl Coded {
    pub fn new(n: usize, shape: MapShape, border: usize) -> Self {
        Self { codes: Batch::new(n, shape, border, 0), coding: Coding::of(0.0, 0.0), range: Range::NONE }
    }

    /// For the next numbers: the coding of the ranges so far.
    pub fn begin(&mut self) {
        let coding = self.range.coding();
        if coding.zero != self.coding.zero {
            self.codes.set_all(coding.zero);
        }
        self.coding = coding;
    }

    pub fn scales(&self) -> Vec<f32> {
        vec![self.coding.scale; rows::period(self.codes.shape().c)]
    }

    pub fn decoded(&self, border: usize) -> Batch {
        let mut out = Batch::new(self.codes.n(), self.codes.shape(), border, 0.0);
        let scales = self.scales();
        out.for_rows(
            || (),
            |(), picture, y, row| {
                rows::decode(self.codes.row(picture, y), &scales, self.coding.zero, row);
            },
        );
        out
    }

    /// Takes over numbers.
    pub fn take(&mut self, numbers: &Batch) {
        self.take_rows(|picture, y| numbers.row(picture, y));
    }

    /// Codes what `code` says by the ranges so far, and takes in the range that it saw; the first numbers show theirs first.
    pub fn settle(&mut self, mut code: impl FnMut(&mut Batch<u8>, Coding) -> Range) {
        for _ in 0..if self.range.is_none() { 2 } else { 1 } {
            self.begin();
            let seen = code(&mut self.codes, self.coding);
            self.range = self.range.after(seen);
        }
    }

    /// As [`Coded::take`], of rows that are made while they are near.
    pub fn take_made(&mut self, make: impl Fn(&mut [f32], usize, usize) + Sync + Send) {
        let width = self.codes.shape().w * self.codes.shape().c;
        self.settle(|codes, coding| {
            let code = |s: &mut Scratch, picture, y, row: &mut [u8]| {
                make(&mut s.row, picture, y);
                s.range = s.range.with(rows::code(&s.row, coding, row));
            };
            codes.fold_rows(|| Scratch::new(0, width, 0), code, Scratch::merged).range
        });
    }

    /// As [`Coded::take`], row by row of each picture.
    pub fn take_rows<'a>(&mut self, numbers: impl Fn(usize, usize) -> &'a [f32] + Sync + Send) {
        self.settle(|codes, coding| {
            let code = |seen: &mut Range, picture, y, row: &mut [u8]| {
                *seen = seen.with(rows::code(numbers(picture, y), coding, row));
            };
            codes.fold_rows(|| Range::NONE, code, Range::with)
        });
    }
}

/// A map's gradient in eight bits: of what its activation was given.
#[derive(Debug)]
pub struct CodedGrad {
    pub codes: Batch<u8>,
    /// What a unit is worth, a channel.
    pub scales: Vec<f32>,
    /// The same, spread.
    pub spread: Vec<f32>,
}
