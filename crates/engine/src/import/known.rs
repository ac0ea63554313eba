//! What is known of a value while a file is read: a constant, or views of maps.

use super::consts::Const;
use crate::graph::view::View;

/// Views one after another along `axis`; most have one part.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pieces {
    pub axis: usize,
    pub parts: Vec<View>,
}

impl Pieces {
    pub(super) fn one(view: View) -> Self {
        Self { axis: 0, parts: vec![view] }
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        let mut shape = self.parts[0].shape();
        if self.parts.len() > 1 {
            shape[self.axis] = self.parts.iter().map(|p| p.shape()[self.axis]).sum();
        }
        shape
    }
}

#[derive(Debug, Clone)]
pub(super) enum Known {
    Const(Const),
    Map(Pieces),
}
