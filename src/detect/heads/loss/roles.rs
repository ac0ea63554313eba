//! Which cells learn which object, and which learn that there is none.

/// What a cell learns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CellRole {
    /// Nothing is here: every score's target is 0.
    Background,
    /// Nobody knows: the cell has no part in the loss.
    Doubt,
    /// An object.
    Object {
        /// Of the labels' objects.
        index: u32,
        /// How well the cell's box fits it, 0..=1, from the numbers that the roles were told from: a target of the
        /// loss, and as such a constant of it.
        quality: f32,
    },
}

/// An object that a cell owns, and how well the cell's box fits it.
#[derive(Debug, Clone, Copy)]
pub struct Owned {
    pub index: u32,
    pub quality: f64,
}

/// The roles of a picture's cells. They belong to the numbers that they were told from: after a step of training there
/// are others.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// By level, by cell.
    pub cells: Vec<Vec<CellRole>>,
    /// Cells that own an object.
    pub n_positive: usize,
    /// The picture's part of what a batch's loss is divided by: its positive cells, for YOLOv8 the sum of their qualities,
    /// for FastestDet at least 1.
    pub weight_sum: f32,
}

impl Assignment {
    pub fn new(cells: Vec<Vec<CellRole>>) -> Self {
        let n_positive = cells.iter().flatten().filter(|role| matches!(role, CellRole::Object { .. })).count();
        Self { cells, n_positive, weight_sum: n_positive as f32 }
    }

    /// The cells that have a part in the loss, in order: level, cell, and what it owns.
    pub fn judged(&self) -> impl Iterator<Item = (usize, usize, Option<Owned>)> {
        self.cells.iter().enumerate().flat_map(|(level, roles)| {
            roles.iter().enumerate().filter_map(move |(cell, role)| match *role {
                CellRole::Doubt => None,
                CellRole::Background => Some((level, cell, None)),
                CellRole::Object { index, quality } => {
                    Some((level, cell, Some(Owned { index, quality: f64::from(quality) })))
                }
            })
        })
    }
}
