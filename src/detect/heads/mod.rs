//! From a model's raw output to detections, one family a file.
//!
//! Every decoder checks its tensors' shapes, reads only what it needs and
//! refuses values that are no numbers. Boxes come in pixels of the tensor's
//! own input (a region's, if a region was run), unclipped.

mod cell;
mod fastestdet;
pub mod levels;
pub mod logits;
pub mod loss;
mod street;
mod tensor;
mod ultraface;
mod yolov8;
mod yolox;
mod yunet;

pub use cell::{CellPlace, CellResult, NoNumber};
pub use tensor::{HeadError, Tensor};

use super::{Detection, nms};
use crate::geom::Size;
use cell::finite;
use levels::{Layout, Level, Plane};

/// Most candidates that go into suppression; the weakest beyond are left out.
const MAX_CANDIDATES: usize = 1000;

/// A family of detectors, with its parameters.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Head {
    /// `[1, cells, 5 + classes]`: centre offset and log size in strides, objectness, class scores.
    Yolox { strides: Vec<u32> },
    /// `[1, 4 + classes, cells]`: centre and size in pixels, class scores (YOLOv8, YOLO11 detect).
    Yolov8 {},
    /// `cls_S`, `obj_S`, `bbox_S`, `kps_S` for every stride.
    Yunet { strides: Vec<u32> },
    /// `scores` `[1, priors, 2]` and `boxes` `[1, priors, 4]`, offsets to fixed priors.
    Ultraface {},
    /// `[1, 5 + classes, h, w]`: objectness, tanh centre, sigmoid size.
    Fastestdet {},
    /// One map `[1, classes + 4, h, w]` a stride: logits, log distances to the four sides.
    Street { strides: Vec<u32> },
}

/// Scores and overlaps that count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Least score of a detection, 0..=1.
    pub score: f32,
    /// Overlap at which the weaker of two boxes of one class goes.
    pub iou: f32,
}

/// Fainter detections than are reported, down to this share of the least score, are handed on: they
/// confirm known boxes, and keep tracks.
pub const FAINT_SHARE: f32 = 0.5;

impl Thresholds {
    /// Those of what is handed on.
    #[must_use]
    pub fn faint(self) -> Self {
        Self { score: self.score * FAINT_SHARE, ..self }
    }
}

/// How a head's output is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadLayout {
    /// Levels of cells, each of which owns its numbers.
    Cells,
    /// One list of boxes, decoded by the model already; a level of it is a map of distances and classes.
    Boxes,
}

/// Levels that a model may have, and the greatest stride of one.
const MOST_LEVELS: usize = 8;
const MOST_STRIDE: u32 = 1024;

impl Head {
    /// Whether the parameters can be a model's.
    ///
    /// # Errors
    /// Says what they may be.
    pub fn check(&self) -> Result<(), String> {
        let (Self::Yolox { strides } | Self::Yunet { strides } | Self::Street { strides }) = self else {
            return Ok(());
        };
        let is_good = (1..=MOST_LEVELS).contains(&strides.len())
            && strides.iter().all(|s| (1..=MOST_STRIDE).contains(s))
            && strides.windows(2).all(|w| w[0] < w[1]);
        match is_good {
            true => Ok(()),
            false => Err(format!(
                "head.strides: expected 1 to {MOST_LEVELS} strides of 1 to {MOST_STRIDE} pixels, the smallest first, such as [8, 16, 32]"
            )),
        }
    }

    /// The levels of a model for pictures of `input` size; `None` for families that are not grids of cells.
    pub fn levels(&self, input: Size, n_classes: usize) -> Option<Vec<Level>> {
        let level = |stride: u32, planes: Vec<Plane>| Level {
            cols: (input.width / stride.max(1)) as usize,
            rows: (input.height / stride.max(1)) as usize,
            stride,
            priors: &[],
            planes,
        };
        let plane =
            |output: Option<String>, width: usize, layout: Layout| Plane { output, width, n_classes: 0, layout };
        let classes = |plane: Plane| Plane { width: plane.width + n_classes, n_classes, ..plane };
        Some(match self {
            Self::Yolox { strides } => {
                strides.iter().map(|&s| level(s, vec![classes(plane(None, 5, Layout::AllLevels))])).collect()
            }
            Self::Yunet { strides } => strides
                .iter()
                .map(|&s| {
                    let planes =
                        yunet::PLANES.map(|(kind, width)| plane(Some(format!("{kind}_{s}")), width, Layout::Rows));
                    level(s, planes.to_vec())
                })
                .collect(),
            Self::Fastestdet {} => {
                vec![level(fastestdet::STRIDE, vec![classes(plane(None, 5, Layout::Channels))])]
            }
            Self::Street { strides } => strides
                .iter()
                .map(|&s| level(s, vec![classes(plane(Some(format!("p{s}")), 4, Layout::Channels))]))
                .collect(),
            Self::Ultraface {} => ultraface::LEVELS
                .iter()
                .map(|&(stride, priors)| Level {
                    cols: input.width.div_ceil(stride) as usize,
                    rows: input.height.div_ceil(stride) as usize,
                    stride,
                    priors,
                    planes: ultraface::PLANES
                        .map(|(name, width)| plane(Some(name.into()), width, Layout::AllLevels))
                        .to_vec(),
                })
                .collect(),
            Self::Yolov8 {} => return None,
        })
    }

    /// How its output is laid out.
    pub fn layout(&self) -> HeadLayout {
        match self {
            Self::Yolox { .. }
            | Self::Yunet { .. }
            | Self::Ultraface { .. }
            | Self::Fastestdet { .. }
            | Self::Street { .. } => HeadLayout::Cells,
            Self::Yolov8 { .. } => HeadLayout::Boxes,
        }
    }

    /// Decodes one picture of `input` size into `out` (overwritten), suppression included, best first.
    ///
    /// # Errors
    /// The tensors are not what this family with `n_classes` puts out.
    pub fn decode(
        &self,
        tensors: &[Tensor<'_>],
        input: Size,
        n_classes: usize,
        t: Thresholds,
        out: &mut Vec<Detection>,
    ) -> Result<(), HeadError> {
        out.clear();
        let Some(levels) = self.levels(input, n_classes) else {
            yolov8::decode(tensors, n_classes, t.score, out)?;
            return select(out, t, |d| d);
        };
        for (level, planes) in levels.iter().zip(levels::bind(&levels, tensors)?) {
            for cell in 0..level.rows * level.cols {
                for anchor in 0..level.n_boxes() {
                    let i = cell * level.n_boxes() + anchor;
                    let place = level.place(cell, anchor, input, n_classes, t.score);
                    let found = self.cell(|k, c| planes[k].at(i, c), &place);
                    out.extend(found.map_err(|_| HeadError::NotFinite(planes[0].name.into()))?);
                }
            }
        }
        select(out, t, |d| d)
    }

    /// The number that decides whether a cell shows anything, as plane and channel, if there is one: where it is less than
    /// [`Head::bar`], no other is read.
    pub fn deciding(&self) -> Option<(usize, usize)> {
        match self {
            Self::Yolox { .. } => Some(yolox::OBJECTNESS),
            Self::Yunet { .. } => Some(yunet::OBJECTNESS),
            Self::Ultraface {} => Some(ultraface::FACE),
            Self::Fastestdet {} => Some(fastestdet::OBJECTNESS),
            Self::Street { .. } | Self::Yolov8 {} => None,
        }
    }

    /// The least deciding number of a cell that can have a score.
    pub fn bar(&self, score: f32) -> f32 {
        match self {
            Self::Yunet { .. } => yunet::bar(score),
            Self::Fastestdet {} => fastestdet::bar(score),
            _ => score,
        }
    }

    /// Decodes one cell; `at(k, c)` is number `c` of its plane `k`.
    pub fn cell(&self, at: impl Fn(usize, usize) -> f32, p: &CellPlace) -> CellResult {
        if let Some((k, c)) = self.deciding()
            && finite(at(k, c))? < self.bar(p.min_score)
        {
            return Ok(None);
        }
        match self {
            Self::Yolox { .. } => yolox::cell(|c| at(0, c), p),
            Self::Yunet { .. } => yunet::cell(at, p),
            Self::Ultraface {} => ultraface::cell(at, p),
            Self::Fastestdet {} => fastestdet::cell(|c| at(0, c), p),
            Self::Street { .. } => street::cell(|c| at(0, c), p),
            Self::Yolov8 {} => Ok(None),
        }
    }
}

/// Candidates to detections: the best of them, suppression included, best first.
/// `of` says what a candidate shows.
pub fn select<T: Copy>(out: &mut Vec<T>, t: Thresholds, of: impl Fn(&T) -> &Detection) -> Result<(), HeadError> {
    if let Some(bad) = out.iter().map(&of).find(|d| !d.bbox.is_finite() || !d.points.are_finite()) {
        return Err(HeadError::NotFinite(format!("box of class {}", bad.class)));
    }
    nms::suppress(out, MAX_CANDIDATES, t.iou, of);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::cell::sigmoid;
    use super::*;

    const T: Thresholds = Thresholds { score: 0.3, iou: 0.5 };

    fn decode(head: &Head, tensors: &[Tensor<'_>], n_classes: usize) -> Result<Vec<Detection>, HeadError> {
        let mut out = Vec::new();
        head.decode(tensors, Size::new(64, 32), n_classes, T, &mut out).map(|()| out)
    }

    #[track_caller]
    fn check(found: &Detection, class: u16, score: f32, bbox: [f32; 4]) {
        assert_eq!(found.class, class);
        assert!((found.score - score).abs() < 1e-5, "{found:?}");
        assert!(found.bbox.to_array().iter().zip(bbox).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?}, not {bbox:?}");
    }

    #[test]
    fn yolox_cell_becomes_a_box() {
        let head = Head::Yolox { strides: vec![8, 16, 32] };
        let n = 32 + 8 + 2;
        let mut data = vec![0.0; n * 7];
        // Stride 16, cell (2, 1): centre (2.5, 1.25) strides, 2x1 strides, class 1.
        data[(32 + 6) * 7..][..7].copy_from_slice(&[0.5, 0.25, 2f32.ln(), 0.0, 0.8, 0.1, 0.9]);
        let shape = [1, n as i64, 7];
        let found = decode(&head, &[Tensor { name: "o", shape: &shape, data: &data }], 2).unwrap();
        check(&found[0], 1, 0.72, [24.0, 12.0, 56.0, 28.0]);
        assert_eq!(found.len(), 1);
        data[4] = f32::NAN;
        let error = decode(&head, &[Tensor { name: "o", shape: &shape, data: &data }], 2).unwrap_err();
        assert_eq!(error, HeadError::NotFinite("o".into()));
        let error = decode(&head, &[Tensor { name: "o", shape: &shape, data: &data }], 3).unwrap_err();
        assert_eq!(error.to_string(), "the model has 2 classes, the sidecar 3 labels");
        let shape = [1, n as i64 + 1, 7];
        data.resize(data.len() + 7, 0.0);
        let error = decode(&head, &[Tensor { name: "o", shape: &shape, data: &data }], 2).unwrap_err();
        assert!(error.to_string().contains("expected [1, 42, 7]"), "{error}");
        let error = decode(&head, &[Tensor { name: "o", shape: &[1, 300, 6], data: &[0.0; 1800] }], 80).unwrap_err();
        assert_eq!(error, HeadError::EndToEnd("o".into(), 300));
        for strides in [vec![], vec![0], vec![16, 8], vec![8; 100_000], vec![4096]] {
            assert!(Head::Yolox { strides }.check().unwrap_err().contains("head.strides"));
        }
        head.check().unwrap();
    }

    #[test]
    fn yolov8_columns_become_boxes() {
        // 2 classes, 3 cells, one value a row: cx cy w h c0 c1.
        let data = [0., 20., 0., 0., 10., 0., 0., 8., 0., 0., 4., 0., 0., 0.2, 0., 0., 0.6, 0.];
        let found = decode(&Head::Yolov8 {}, &[Tensor { name: "o", shape: &[1, 6, 3], data: &data }], 2).unwrap();
        check(&found[0], 1, 0.6, [16.0, 8.0, 24.0, 12.0]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn street_logits_and_distances() {
        let (p8, mut p16) = (vec![-9.0; 6 * 32], vec![-9.0; 6 * 8]);
        // Stride 16, cell (1, 0), middle (24, 8): person, 1 stride left, 0.5 up, 2 right, 1 down.
        for (channel, v) in [2.0f32, -3.0, 0.0, 0.5f32.ln(), 2f32.ln(), 0.0].into_iter().enumerate() {
            p16[channel * 8 + 1] = v;
        }
        let head = Head::Street { strides: vec![8, 16] };
        let tensors = [
            Tensor { name: "p8", shape: &[1, 6, 4, 8], data: &p8 },
            Tensor { name: "p16", shape: &[1, 6, 2, 4], data: &p16 },
        ];
        let found = decode(&head, &tensors, 2).unwrap();
        check(&found[0], 0, sigmoid(2.0), [8.0, 0.0, 56.0, 24.0]);
        assert_eq!(decode(&head, &tensors[..1], 2).unwrap_err(), HeadError::Missing("p16".into()));
    }

    #[test]
    fn ultraface_and_fastestdet() {
        // 64x32 pixels: 8x4 cells of 3 priors, 4x2 of 2, 2x1 of 2, 1x1 (cut) of 3.
        let n = 96 + 16 + 4 + 3;
        let (mut scores, mut boxes) = (vec![0.0; n * 2], vec![0.0; n * 4]);
        // Stride 16, cell (2, 1), its second prior: 48 wide, as high as the picture.
        let i = 96 + (4 + 2) * 2 + 1;
        scores[2 * i + 1] = 0.8;
        boxes[4 * i..][..4].copy_from_slice(&[1.0, -1.0, 0.0, 0.5f32.ln() / 0.2]);
        let shapes = [[1, n as i64, 2], [1, n as i64, 4]];
        let tensors = [
            Tensor { name: "scores", shape: &shapes[0], data: &scores },
            Tensor { name: "boxes", shape: &shapes[1], data: &boxes },
        ];
        let found = decode(&Head::Ultraface {}, &tensors, 1).unwrap();
        check(&found[0], 0, 0.8, [44.8 - 24.0, 20.8 - 8.0, 44.8 + 24.0, 20.8 + 8.0]);
        assert_eq!(found.len(), 1);
        let mut data = [0.0; 7 * 8]; // 4x2 cells, 2 classes
        for (channel, v) in [0.5, 0.0, 0.0, 0.0, 0.0, 0.25, 0.75].into_iter().enumerate() {
            data[channel * 8 + 2] = v;
        }
        let found =
            decode(&Head::Fastestdet {}, &[Tensor { name: "o", shape: &[1, 7, 2, 4], data: &data }], 2).unwrap();
        check(&found[0], 1, 0.5f32.powf(0.6) * 0.75f32.powf(0.4), [16.0, -8.0, 48.0, 8.0]);
    }

    #[test]
    fn yunet_finds_points() {
        let mut cls = vec![0.0; 32];
        let mut obj = vec![0.0; 32];
        let mut bbox = vec![0.0; 32 * 4];
        let mut kps = vec![0.0; 32 * 10];
        (cls[9], obj[9]) = (0.9, 0.4); // stride 8, cell (1, 1)
        bbox[9 * 4..][..4].copy_from_slice(&[0.5, 0.5, 1.0f32.exp().ln(), 0.0]);
        kps[9 * 10..][..10].copy_from_slice(&[0.0, 0.0, 1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 1.0, 1.0]);
        let tensors = [
            Tensor { name: "cls_8", shape: &[1, 32, 1], data: &cls },
            Tensor { name: "obj_8", shape: &[1, 32, 1], data: &obj },
            Tensor { name: "bbox_8", shape: &[1, 32, 4], data: &bbox },
            Tensor { name: "kps_8", shape: &[1, 32, 10], data: &kps },
        ];
        let found = decode(&Head::Yunet { strides: vec![8] }, &tensors, 1).unwrap();
        let e = 1f32.exp() * 4.0;
        check(&found[0], 0, 0.6, [12.0 - e, 8.0, 12.0 + e, 16.0]);
        assert_eq!(found[0].points.as_slice(), [[8., 8.], [16., 8.], [12., 12.], [8., 16.], [16., 16.]]);
        let mut none = kps.clone();
        none[9 * 10 + 3] = f32::NAN;
        let tensors = [tensors[0], tensors[1], tensors[2], Tensor { data: &none, ..tensors[3] }];
        let error = decode(&Head::Yunet { strides: vec![8] }, &tensors, 1).unwrap_err();
        assert!(matches!(error, HeadError::NotFinite(_)), "{error}");
    }
}
