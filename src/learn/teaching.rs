//! What a run asks a teacher: a few of the kept pictures of which it was not asked before.

use super::error::LearnError;
use super::picture::read_jpeg;
use super::settings::TeacherSpec;
use super::teacher::{Teacher, TeacherAnswer};
use crate::detect::Detection;
use crate::geom::{Letterbox, Size};
use crate::models::model::{Model, ModelFolders};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Pictures that a run asks of at most: the others are asked of by later ones.
const MOST_ASKED: usize = 40;

/// A teacher, and what is known of its answers.
pub struct Teaching {
    pub spec: TeacherSpec,
    pub folders: ModelFolders,
    /// What it said, by sample, in pixels of the model's input.
    pub answers: BTreeMap<String, Vec<Detection>>,
    /// Samples of which it was not asked.
    pub unasked: Vec<UnaskedPicture>,
}

/// A picture that no teacher has seen.
pub struct UnaskedPicture {
    pub sample: String,
    pub jpeg: PathBuf,
    /// Of the camera's picture.
    pub source: Size,
}

impl Teaching {
    /// Asks of some pictures, evenly over all; `told` hears the answers as they come. `go_on` is called after each: what
    /// was answered until it says no stays.
    ///
    /// # Errors
    /// As [`Teacher::open`].
    pub fn ask(
        &mut self,
        model: &Model,
        input: Size,
        told: &mut dyn FnMut(&str, TeacherAnswer),
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), LearnError> {
        let n = self.unasked.len();
        if n == 0 {
            return Ok(());
        }
        let mut teacher = Teacher::open(&self.spec, &self.folders, model, input)?;
        let n_asked = n.min(MOST_ASKED);
        for picture in (0..n_asked).map(|i| &self.unasked[i * n / n_asked]) {
            if go_on().is_break() {
                break;
            }
            let letterbox = Letterbox::fit(picture.source, input);
            let found = read_jpeg(&picture.jpeg, letterbox)
                .map_err(|e| LearnError::file(&picture.jpeg, &e))
                .and_then(|frame| teacher.look(&frame));
            match found {
                Ok(found) => {
                    told(&picture.sample, TeacherAnswer::new(teacher.id(), &found));
                    self.answers.insert(picture.sample.clone(), found);
                }
                Err(e) => tracing::warn!("a teacher cannot say what a picture shows: {e}"),
            }
        }
        Ok(())
    }
}
