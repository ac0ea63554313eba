//! Marks with their pictures, out to other tools and in from them, on the learner's thread: a picture at a time.

use super::answers::failed;
use super::brought::{check_labels, decoded, labels_file, read_labels, scaled_places};
use super::learner::School;
use super::mark::Mark;
use super::picture::{jpeg, without};
use super::pupil::KeptPicture;
use super::store::MOST_MARKS;
use super::trail::Followed;
use crate::geom::{CameraPixels, Letterbox, Rect, Size};
use crate::output::desk::{Answer, BroughtPicture, BroughtPlace, DeskError, OutgoingParcel};
use crate::output::parcel::PICTURES;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// How far the corners of one box may be apart, pixels.
const SAME: f32 = 0.5;

impl School {
    /// A camera's marks, in pixels of the pictures that are kept, and where these are.
    pub(super) fn parcel(&self, camera: &str) -> Result<Answer, DeskError> {
        let pupil = &self.classes[self.class_of(camera)?].pupil;
        let (store, input) = (pupil.store(), pupil.net().input());
        let mut marks: Vec<&Mark> = store.marks().filter(|m| m.camera == camera).collect();
        marks.sort_by_key(|m| m.number);
        let mut pictures: BTreeMap<&str, (BroughtPicture, PathBuf)> = BTreeMap::new();
        let mut left_out = BTreeSet::new();
        for mark in marks {
            let path = store.picture(&mark.sample).filter(|path| path.is_file());
            let (Some([w, h]), Some(path)) = (store.source_of(&mark.sample), path) else {
                left_out.insert(format!("{PICTURES}{}.jpg", mark.sample));
                continue;
            };
            let content = Letterbox::fit(Size::new(w, h), input).content;
            let (picture, _) = pictures.entry(&mark.sample).or_insert_with(|| {
                let name = format!("{PICTURES}{}.jpg", mark.sample);
                (BroughtPicture { name, size: [content.width, content.height], places: Vec::new() }, path)
            });
            let [x, y] = [content.width as f32 / w as f32, content.height as f32 / h as f32];
            let [x1, y1, x2, y2] = mark.bbox;
            let bbox = [x1 * x, y1 * y, x2 * x, y2 * y];
            picture.places.push(BroughtPlace { said: mark.said, label: mark.label.clone(), bbox });
        }
        let (known, files): (Vec<_>, Vec<_>) = pictures.into_values().unzip();
        let file = labels_file(&known, pupil.labels());
        let labels = serde_json::to_vec_pretty(&file).map_err(|e| DeskError::Failed(e.to_string()))?;
        let pictures = known.into_iter().map(|p| p.name).zip(files).collect();
        Ok(Answer::Parcel(OutgoingParcel { labels, pictures, left_out: left_out.into_iter().collect() }))
    }

    /// What labels say, if the model of a camera knows them.
    pub(super) fn labels(&self, camera: &str, json: &[u8]) -> Result<Answer, DeskError> {
        let class = &self.classes[self.class_of(camera)?];
        let pictures = read_labels(json).map_err(DeskError::Wrong)?;
        check_labels(&pictures, class.pupil.labels()).map_err(DeskError::Wrong)?;
        Ok(Answer::Labels(pictures))
    }

    /// Keeps a picture and marks its places. Of a picture that is there already, only marks that are not.
    pub(super) fn bring(&mut self, camera: &str, picture: &BroughtPicture, data: &[u8]) -> Result<Answer, DeskError> {
        let (i, now_ms) = (self.class_of(camera)?, self.now_ms());
        let class = &mut self.classes[i];
        check_labels(std::slice::from_ref(picture), class.pupil.labels()).map_err(DeskError::Wrong)?;
        if class.pupil.store().marks().count() + picture.places.len() > MOST_MARKS {
            let why = format!("there would be more than {MOST_MARKS} marks, and there is no room for them: undo some");
            return Err(DeskError::Wrong(why));
        }
        let masks = class.pupil.settings.cameras.iter().find(|c| c.id == camera).map(|c| c.masks.clone());
        let input = class.pupil.net().input();
        let frame = decoded(data, input).map_err(DeskError::Wrong)?;
        let sum = format!("{:x}", Sha256::digest(data));
        let known = class.pupil.store().same_picture(camera, &picture.name, &sum, data);
        let source = match &known {
            Some((_, [w, h])) => Size::new(*w, *h),
            None => frame.letterbox.source,
        };
        let places = scaled_places(picture, source).map_err(DeskError::Wrong)?;
        let is_new = known.is_none();
        let sample = match known {
            Some((sample, _)) => sample,
            None => {
                let frame = without(&frame, &masks.unwrap_or_default());
                let jpeg = jpeg(&frame).ok_or_else(|| DeskError::Failed("the picture could not be made".into()))?;
                let (followed, event, brought) = (Followed::default(), None, Some(sum));
                let kept = KeptPicture {
                    camera,
                    time_ms: now_ms,
                    frame: &frame,
                    latents: None,
                    jpeg: &jpeg,
                    followed,
                    event,
                    brought,
                };
                class.pupil.keep(&kept).map_err(failed)?
            }
        };
        let mut n_marks = 0;
        for place in places {
            let bbox = Rect::<CameraPixels>::new(place.bbox[0], place.bbox[1], place.bbox[2], place.bbox[3]);
            // What is none may have been taken for what this model does not know.
            let label = place.label.filter(|l| class.pupil.labels().contains(l));
            let place = BroughtPlace { label, bbox: bbox.intersection(&source.rect()).to_array(), ..place };
            if class.pupil.store().marks().any(|m| m.sample == sample && is_same(m, &place)) {
                continue;
            }
            let (id, number) = (class.pupil.store_mut().name(now_ms), class.pupil.next_mark());
            let BroughtPlace { said, label, bbox } = place;
            let (event, time) = (None, now_ms as f64 / 1e3);
            let mark =
                Mark { id, number, camera: camera.into(), said, label, bbox, event, time, sample: sample.clone() };
            class.pupil.put_mark(mark).map_err(failed)?;
            n_marks += 1;
        }
        class.marked_ns = self.context.clock.monotonic_ns();
        Ok(Answer::Brought { n_marks, is_new })
    }
}

/// Whether a mark says what is said of a place.
fn is_same(mark: &Mark, place: &BroughtPlace) -> bool {
    let is_near = mark.bbox.iter().zip(place.bbox).all(|(a, b)| (a - b).abs() <= SAME);
    mark.said == place.said && mark.label == place.label && is_near
}
