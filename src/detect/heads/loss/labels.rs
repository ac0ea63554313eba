//! What is known of a picture that a detector learns from.

use super::boxes;
use crate::geom::{ModelInput, Rect};

/// An object of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledBox {
    /// Index into the model's labels.
    pub class: u16,
    pub bbox: Rect<ModelInput>,
}

/// What is known of one picture. Boxes in pixels of the model's input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PictureLabels {
    /// Those without an area, outside of the picture or of a class that the model does not have are left out.
    pub objects: Vec<LabelledBox>,
    /// Not to be learnt from: a cell whose middle lies in one of these and that owns no object neither gains nor loses,
    /// unless `absent` says so.
    pub ignored: Vec<Rect<ModelInput>>,
    /// Here is nothing of any class. Objects win over it.
    pub absent: Vec<Rect<ModelInput>>,
    /// Whether all objects are named: then what is not named is background. Else all that lies outside of `objects` and
    /// `absent` is in doubt.
    pub is_complete: bool,
}

/// An object that can be learnt.
#[derive(Debug, Clone, Copy)]
pub struct LearntBox {
    /// Of [`PictureLabels::objects`].
    pub index: u32,
    pub class: usize,
    /// `[x1, y1, x2, y2]`, pixels of the model's input.
    pub corners: [f64; 4],
}

impl LearntBox {
    pub fn new(index: u32, object: &LabelledBox) -> Self {
        Self { index, class: usize::from(object.class), corners: boxes::corners(&object.bbox) }
    }

    pub fn middle(&self) -> [f64; 2] {
        let [x1, y1, x2, y2] = self.corners;
        [(x1 + x2) / 2.0, (y1 + y2) / 2.0]
    }

    /// Width and height.
    pub fn sides(&self) -> [f64; 2] {
        let [x1, y1, x2, y2] = self.corners;
        [x2 - x1, y2 - y1]
    }

    /// Whether a point lies inside, not on the border.
    pub fn holds(&self, point: [f64; 2]) -> bool {
        boxes::holds(&self.corners, point)
    }

    /// Whether a point is less than `distance` pixels from the middle, along each axis.
    pub fn is_near(&self, [x, y]: [f64; 2], distance: f64) -> bool {
        let [cx, cy] = self.middle();
        (x - cx).abs() < distance && (y - cy).abs() < distance
    }
}
