//! A larger model that says what pictures show, on request: computed as a whole by the layer engine, on the caller's thread.
//!
//! What it says is told in the classes of the model that is taught.

use super::error::LearnError;
use super::settings::TeacherSpec;
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::frame::Frame;
use crate::geom::{Letterbox, PatchGrid, PatchMask, Rect, Size};
use crate::infer::layers::{LayersDetector, LayersSettings, Plans};
use crate::infer::{Detector, Inference, StreamId, Work};
use crate::models::model::{Model, ModelFolders};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// From here on it is sure, and below it in doubt down to [`FAINT`]; what is fainter still is not heard.
pub const SURE: f32 = 0.5;
pub const FAINT: f32 = 0.1;

/// Detections that are heard of a picture, the surest.
const MOST_FOUND: usize = 100;
/// Side of the patches in which a whole picture is asked for.
const PATCH: u32 = 32;

/// A model that teaches another one.
pub struct Teacher {
    detector: LayersDetector,
    everything: PatchMask,
    /// By its classes, those of the model that is taught.
    classes: Vec<Option<u16>>,
    id: String,
    fresh: Inference,
}

impl Teacher {
    /// Of `pupil`, which is taught at `size`.
    ///
    /// # Errors
    /// There is no such model, the engine cannot run it at its size, it lacks labels of the pupil's, or it is the pupil.
    pub fn open(spec: &TeacherSpec, folders: &ModelFolders, pupil: &Model, size: Size) -> Result<Self, LearnError> {
        let refused = |e: &dyn std::fmt::Display| LearnError::Refused(format!("teacher '{spec}': {e}"));
        let model = Arc::new(Model::load(&spec.model, folders).map_err(|e| refused(&e))?);
        let own_size = spec.size.unwrap_or(size);
        if (&model.sha256, own_size) == (&pupil.sha256, size) {
            return Err(refused(&"it is the model itself, at the size at which it is taught; give a larger one"));
        }
        let classes = classes_of(&model.labels, &pupil.labels)
            .map_err(|lacks| refused(&format!("it does not know {lacks}, which '{}' reports", pupil.name)))?;
        let t = Thresholds { score: FAINT, iou: 0.5 };
        let id = format!("{} {}@{own_size}", model.name, model.sha256);
        let detector = LayersDetector::open(model, own_size, t, LayersSettings::default(), 1, None, &Plans::default())
            .map_err(|e| refused(&e))?;
        let everything = PatchMask::full(PatchGrid::new(own_size, PATCH));
        Ok(Self { detector, everything, classes, id, fresh: Inference::default() })
    }

    /// Its name, checksum and size: whose answers are whose.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Of the pictures that it looks at.
    pub fn size(&self) -> Size {
        self.everything.grid().size
    }

    /// What it sees in a frame of its size, the surest first, of the classes that the model knows.
    ///
    /// # Errors
    /// It has no numbers for this picture.
    pub fn look(&mut self, frame: &Frame) -> Result<Vec<Detection>, LearnError> {
        let work = Work::whole(frame, &self.everything);
        (self.detector.detect(StreamId(0), &work, &mut self.fresh))
            .map_err(|e| LearnError::Refused(format!("teacher: {e}")))?;
        let of_model = |d: &Detection| {
            let class = self.classes.get(usize::from(d.class)).copied().flatten()?;
            Some(Detection { class, ..*d })
        };
        let mut found: Vec<Detection> = self.fresh.detections.iter().filter_map(of_model).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(MOST_FOUND);
        Ok(found)
    }

    /// The same, where another letterbox of the same picture has it.
    ///
    /// # Errors
    /// As [`Teacher::look`].
    pub fn look_for(&mut self, frame: &Frame, to: &Letterbox) -> Result<Vec<Detection>, LearnError> {
        Ok(moved_into(&self.look(frame)?, &frame.letterbox, to))
    }
}

/// By the teacher's labels, the classes of a model's; or which of them it lacks.
fn classes_of(teacher: &[String], model: &[String]) -> Result<Vec<Option<u16>>, String> {
    let lacks: Vec<&str> = model.iter().filter(|l| !teacher.contains(l)).map(String::as_str).collect();
    if !lacks.is_empty() {
        let some = lacks.iter().take(5).map(|l| format!("'{l}'")).collect::<Vec<_>>().join(", ");
        return Err(if lacks.len() > 5 { format!("{some} and {} others", lacks.len() - 5) } else { some });
    }
    let class = |l: &String| model.iter().position(|m| m == l).map(|at| at as u16);
    Ok(teacher.iter().map(class).collect())
}

/// Detections in one letterbox, where another one of the same picture has them.
fn moved_into(found: &[Detection], from: &Letterbox, to: &Letterbox) -> Vec<Detection> {
    found.iter().map(|d| d.moved_to(to.to_input(&from.to_source(&d.bbox)))).collect()
}

/// What a teacher said of a kept picture, as it is kept beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeacherAnswer {
    /// [`Teacher::id`].
    teacher: String,
    /// Class, score, and box in pixels of the model's input.
    found: Vec<(u16, f32, [f32; 4])>,
}

impl TeacherAnswer {
    pub fn new(teacher: &str, found: &[Detection]) -> Self {
        let found = found.iter().map(|d| (d.class, d.score, d.bbox.to_array())).collect();
        Self { teacher: teacher.into(), found }
    }

    /// What was said, if it was this teacher.
    pub fn of(&self, teacher: &str) -> Option<Vec<Detection>> {
        let detection = |&(class, score, [x1, y1, x2, y2]): &(u16, f32, [f32; 4])| {
            let bbox = Rect::new(x1, y1, x2, y2);
            (bbox.is_finite() && (0.0..=1.0).contains(&score)).then(|| Detection::new(class, score, bbox))
        };
        let is_it = self.teacher == teacher && self.found.len() <= MOST_FOUND;
        is_it.then(|| self.found.iter().map(detection).collect()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[&str]) -> Vec<String> {
        all.iter().map(|l| (*l).to_owned()).collect()
    }

    #[test]
    fn labels_are_the_same_by_name() {
        let teacher = labels(&["person", "bicycle", "car", "tram"]);
        assert_eq!(classes_of(&teacher, &labels(&["car", "person"])), Ok(vec![Some(1), None, Some(0), None]));
        assert_eq!(classes_of(&teacher, &labels(&["tiger", "person", "cat"])), Err("'tiger', 'cat'".into()));
        let many: Vec<String> = (0..8).map(|i| format!("n{i}")).collect();
        assert!(classes_of(&teacher, &many).unwrap_err().ends_with("'n4' and 3 others"));
    }

    #[test]
    fn teachers_that_have_nothing_to_teach_are_refused() {
        let folders = ModelFolders(Vec::new());
        let model = Model::load("street-nano", &folders).unwrap();
        let size = Size::new(320, 192);
        let check = |teacher: &str, pupil: &Model, part: &str| {
            let error = Teacher::open(&teacher.parse().unwrap(), &folders, pupil, size).err().unwrap().to_string();
            assert!(error.contains(part) && error.contains(teacher), "{error}");
        };
        check("street-nano", &model, "it is the model itself");
        check("street-nano@640x100", &model, "multiples of");
        check("yolox_s", &model, "no such model");
        check("yolox_nano", &model, "passd models pull yolox_nano");
        let other = Model { labels: labels(&["person", "tram"]).into(), ..model };
        check("street-nano@640x384", &other, "it does not know 'tram', which 'street-nano' reports");
    }

    #[test]
    fn answers_are_of_one_teacher() {
        let found = [Detection::new(1, 0.75, Rect::new(1.0, 2.0, 3.0, 4.0))];
        let answer = TeacherAnswer::new("large abc@64x32", &found);
        let text = serde_json::to_string(&answer).unwrap();
        let back: TeacherAnswer = serde_json::from_str(&text).unwrap();
        assert_eq!(back.of("large abc@64x32").as_deref(), Some(&found[..]));
        assert_eq!(back.of("large abd@64x32"), None, "another file of the same name");
        let strange: TeacherAnswer = serde_json::from_str(&text.replace("0.75", "7.5")).unwrap();
        assert_eq!(strange.of("large abc@64x32"), None);
    }

    #[test]
    fn boxes_come_to_where_the_smaller_one_sees_them() {
        let source = Size::new(400, 200);
        let (large, small) = (Letterbox::fit(source, Size::new(200, 200)), Letterbox::fit(source, Size::new(100, 60)));
        let found = [Detection::new(0, 0.5, Rect::new(20.0, 10.0, 60.0, 40.0))];
        assert_eq!(moved_into(&found, &large, &small)[0].bbox.to_array(), [10.0, 5.0, 30.0, 20.0]);
    }
}
