//! The slope of an activation, told from the codes of a map.

use super::coded::Coded;
use crate::batch::Batch;
use crate::float::act;
use engine::graph::Act;

/// The slope of an activation, told from codes.
pub enum Slopes<'a> {
    One,
    Relu(&'a Batch<u8>),
    /// By code.
    Table(&'a Batch<u8>, Box<[f32; 256]>),
    /// Of each channel by itself.
    Channels(&'a Coded, &'a Act),
}

impl<'a> Slopes<'a> {
    pub fn of(act: &'a Act, map: &'a Coded, before: Option<&'a Coded>) -> Self {
        let seen = before.unwrap_or(map);
        match act {
            Act::Identity => Self::One,
            Act::Relu => Self::Relu(&map.codes),
            Act::PRelu(_) => Self::Channels(seen, act),
            _ => {
                let number = |code: usize| seen.coding.scale * (code as f32 - f32::from(seen.coding.zero));
                let table: [f32; 256] = std::array::from_fn(|code| act::slope(act, number(code), 0));
                Self::Table(&seen.codes, Box::new(table))
            }
        }
    }

    /// What a ReLU gave, which tells what it lets pass; empty where there is none.
    pub fn relu(&self, picture: usize, y: usize) -> &[u8] {
        match self {
            Self::Relu(codes) => codes.row(picture, y),
            _ => &[],
        }
    }

    /// Multiplies by the slopes, all but a ReLU's.
    pub fn apply(&self, picture: usize, y: usize, row: &mut [f32]) {
        match self {
            Self::One | Self::Relu(_) => {}
            Self::Table(codes, table) => {
                row.iter_mut().zip(codes.row(picture, y)).for_each(|(g, code)| *g *= table[usize::from(*code)]);
            }
            Self::Channels(seen, act) => {
                let c = seen.codes.shape().c;
                for (i, (g, code)) in row.iter_mut().zip(seen.codes.row(picture, y)).enumerate() {
                    let number = seen.coding.scale * (f32::from(*code) - f32::from(seen.coding.zero));
                    *g *= act::slope(act, number, i % c);
                }
            }
        }
    }
}
