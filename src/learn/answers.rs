//! What people say and ask, answered on the learner's thread.

use super::class::Class;
use super::coco::{CocoAnnotation, CocoCategory, CocoFile, CocoImage};
use super::error::LearnError;
use super::learner::School;
use super::mark::Mark;
use super::pairs::PicturePair;
use crate::files::{Links, open_plain, read_open};
use crate::geom::{CameraPixels, Rect, Size};
use crate::output::desk::{Answer, Ask, DeskError, LearnControl, NewMark, Said};
use crate::output::draw;
use crate::wire::frame::FrameJson;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Largest picture that is read.
const MOST_PICTURE: u64 = 64 << 20;
const STILL_QUALITY: u8 = 85;

pub(super) fn failed(e: LearnError) -> DeskError {
    match e {
        LearnError::Refused(why) => DeskError::Wrong(why),
        LearnError::File { file, reason } => {
            DeskError::Failed(format!("it could not be written down: {file}: {reason}"))
        }
        other => DeskError::Failed(other.to_string()),
    }
}

impl School {
    /// Does what is asked.
    pub(super) fn answer(&mut self, ask: Ask) -> Result<Answer, DeskError> {
        match ask {
            Ask::Mark(new) => self.mark(&new).map(Answer::Json),
            Ask::Undo(id) => self.undo(&id),
            Ask::Marks(camera) => Ok(Answer::Json(self.marks(camera.as_deref()))),
            Ask::Status => Ok(Answer::Json(self.status())),
            Ask::Control(control, camera) => self.control(control, &camera),
            Ask::Export(camera) => self.export(&camera),
            Ask::Parcel(camera) => self.parcel(&camera),
            Ask::Labels { camera, json } => self.labels(&camera, &json),
            Ask::Bring { camera, picture, data } => self.bring(&camera, &picture, &data),
            Ask::Picture(id) => self.picture(&id),
            Ask::Pairs(camera) => self.pairs(&camera).map(|pairs| Answer::Json(json!(pairs))),
            Ask::PairPicture(camera, sample) => self.pair_picture(&camera, &sample),
            Ask::Still(camera) => self.still(&camera),
        }
    }

    pub(super) fn class_of(&self, camera: &str) -> Result<usize, DeskError> {
        self.classes
            .iter()
            .position(|c| c.has(camera))
            .ok_or_else(|| DeskError::Missing(format!("there is no camera '{camera}' that learns; see learn.mode")))
    }

    fn mark(&mut self, new: &NewMark) -> Result<Value, DeskError> {
        let wrong = |what: &str| DeskError::Wrong(what.into());
        let now_ms = self.now_ms();
        // What an event says, where it is of one; its picture may still wait.
        if new.event.is_some() {
            self.classes.iter_mut().for_each(|c| c.keep_due(u64::MAX));
        }
        let of_event = new.event.as_deref().map(|id| {
            let found = (self.classes.iter().enumerate()).find_map(|(i, c)| {
                let (sample, camera, event) = c.pupil.store().of_event(id)?;
                Some((i, sample.to_owned(), camera.to_owned(), event.clone()))
            });
            found.ok_or_else(|| DeskError::Missing(format!("of event '{id}' no picture is kept to learn from")))
        });
        let of_event = of_event.transpose()?;
        let (i, camera) = match (&of_event, &new.camera) {
            (Some((_, _, of, _)), Some(camera)) if of != camera => {
                return Err(wrong("the event is of another camera"));
            }
            (Some((i, _, camera, _)), _) => (*i, camera.clone()),
            (None, Some(camera)) => (self.class_of(camera)?, camera.clone()),
            (None, None) => return Err(wrong("a mark is of an event or of a camera: give one of them")),
        };
        let label = new.label.clone().or_else(|| of_event.as_ref().map(|(_, _, _, e)| e.label.clone()));
        let known = self.classes[i].pupil.labels();
        match &label {
            Some(label) if !known.contains(label) => {
                let some = known.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
                return Err(DeskError::Wrong(format!("'{label}' is no label of the model; it has {some}")));
            }
            None if new.said != Said::NotAnObject => return Err(wrong("label: say what it is")),
            _ => {}
        }
        let bbox = new.bbox.or_else(|| of_event.as_ref().map(|(_, _, _, e)| e.bbox));
        let bbox = bbox.ok_or_else(|| wrong("box: say where, as [left, top, right, bottom] in pixels"))?;
        let [x1, y1, x2, y2] = bbox;
        if !bbox.iter().all(|v| v.is_finite()) || x2 - x1 < 1.0 || y2 - y1 < 1.0 {
            return Err(wrong("box: expected [left, top, right, bottom], right and bottom being larger"));
        }
        // What lies outside of the picture shows nothing.
        let within = |source: Size| {
            let inside = Rect::<CameraPixels>::new(x1, y1, x2, y2).intersection(&source.rect());
            match inside.width() >= 1.0 && inside.height() >= 1.0 {
                true => Ok(inside.to_array()),
                false => Err(DeskError::Wrong(format!("box: it lies outside of the picture of {source}"))),
            }
        };
        self.classes[i].pupil.store().expect_room().map_err(failed)?;
        let (sample, bbox) = match &of_event {
            Some((i, sample, _, _)) => {
                let [w, h] = self.classes[*i].pupil.store().source_of(sample).unwrap_or_default();
                (sample.clone(), within(Size::new(w, h))?)
            }
            None => {
                let still = self.stills.get(&camera).into_iter().flatten().rev();
                let held = still.into_iter().find(|r| new.frame == Some(r.frame.id.0)).cloned();
                let latest = || self.latest(&camera).filter(|r| new.frame.is_none_or(|n| n == r.frame.id.0));
                let result = held.or_else(latest).ok_or_else(|| match new.frame {
                    Some(n) => DeskError::Missing(format!("frame {n} is not held any more: mark a still")),
                    None => DeskError::Missing(format!("camera '{camera}' has not shown a frame yet")),
                })?;
                let bbox = within(result.frame.letterbox.source)?;
                (self.classes[i].keep(&result, now_ms, None).map_err(failed)?, bbox)
            }
        };
        let class = &mut self.classes[i];
        let id = class.pupil.store_mut().name(now_ms);
        let (said, event, number) = (new.said, new.event.clone(), class.pupil.next_mark());
        let mark = Mark { id, number, camera, said, label, bbox, event, time: now_ms as f64 / 1e3, sample };
        let told = described(&mark);
        class.pupil.put_mark(mark).map_err(failed)?;
        class.marked_ns = self.context.clock.monotonic_ns();
        Ok(told)
    }

    fn undo(&mut self, id: &str) -> Result<Answer, DeskError> {
        let now_ms = self.now_ms();
        for class in &mut self.classes {
            let Some(mark) = class.pupil.store().mark(id) else { continue };
            let learned = mark.number <= class.pupil.versions().learned_mark;
            // What was learned from it, or is being, is not taken: first of all, so that no start goes on with it.
            class.cancel(now_ms);
            if learned {
                class.pupil.unlearn().map_err(failed)?;
            }
            class.pupil.store_mut().undo(id).map_err(failed)?;
            return Ok(Answer::Json(json!({ "undone": id })));
        }
        Err(DeskError::Missing(format!("there is no mark '{id}'")))
    }

    fn marks(&self, camera: Option<&str>) -> Value {
        let of = |m: &&Mark| camera.is_none_or(|c| m.camera == c);
        let mut all: Vec<&Mark> = self.classes.iter().flat_map(|c| c.pupil.store().marks()).filter(of).collect();
        all.sort_by(|a, b| (b.number, &b.id).cmp(&(a.number, &a.id)));
        all.into_iter().map(described).collect()
    }

    fn status(&self) -> Value {
        let now_ms = self.now_ms();
        let cameras = self.classes.iter().flat_map(|class| {
            let stands = stands(class);
            class.pupil.settings.cameras.iter().map(move |camera| {
                let mut stands = stands.clone();
                stands["camera"] = json!(camera.id);
                stands["marks"] = json!(class.pupil.store().marks().filter(|m| m.camera == camera.id).count());
                stands
            })
        });
        let used: u64 = self.classes.iter().map(|c| c.spent_ms(now_ms)).sum();
        json!({
            "cameras": cameras.collect::<Vec<_>>(),
            "budget": { "used_s": used as f64 / 1e3, "daily_s": self.settings.daily.as_secs_f64() },
        })
    }

    fn control(&mut self, control: LearnControl, camera: &str) -> Result<Answer, DeskError> {
        let i = self.class_of(camera)?;
        let now_ms = self.now_ms();
        match control {
            LearnControl::Run => {
                if self.classes[i].run.is_some() {
                    return Err(DeskError::Busy("it is learning already".into()));
                }
                let pupil = &self.classes[i].pupil;
                if pupil.store().marks().next().is_none() && !pupil.has_teacher() {
                    return Err(DeskError::Wrong("there are no marks to learn from, and no learn.teacher".into()));
                }
                self.classes[i].is_asked = true;
            }
            LearnControl::Accept => self.accept(i).map_err(failed)?,
            LearnControl::Rollback => {
                self.classes[i].cancel(now_ms);
                self.classes[i].pupil.roll_back().map_err(failed)?;
                self.tell(i);
            }
            LearnControl::Factory => {
                self.classes[i].cancel(now_ms);
                self.classes[i].pupil.factory().map_err(failed)?;
                self.tell(i);
            }
            LearnControl::Forget => {
                self.classes[i].cancel(now_ms);
                self.classes[i].forget_waiting();
                self.stills.clear();
                self.classes[i].pupil.forget().map_err(failed)?;
            }
        }
        Ok(Answer::Json(stands(&self.classes[i])))
    }

    fn picture(&self, id: &str) -> Result<Answer, DeskError> {
        let missing = || DeskError::Missing(format!("there is no picture of mark '{id}'"));
        let path = self.classes.iter().find_map(|c| {
            let store = c.pupil.store();
            store.mark(id).and_then(|m| store.picture(&m.sample))
        });
        jpeg_of(path).ok_or_else(missing)
    }

    /// What the last run changed in a camera's pictures.
    fn pairs(&self, camera: &str) -> Result<Vec<PicturePair>, DeskError> {
        let mut pairs = self.classes[self.class_of(camera)?].pupil.pairs();
        pairs.retain(|p| p.camera == camera);
        Ok(pairs)
    }

    fn pair_picture(&self, camera: &str, sample: &str) -> Result<Answer, DeskError> {
        let store = self.classes[self.class_of(camera)?].pupil.store();
        let is_shown = self.pairs(camera)?.iter().any(|p| p.sample == sample);
        let path = store.picture(sample).filter(|_| is_shown);
        jpeg_of(path).ok_or_else(|| DeskError::Missing(format!("no picture '{sample}' is shown of camera '{camera}'")))
    }

    fn still(&mut self, camera: &str) -> Result<Answer, DeskError> {
        self.class_of(camera)?;
        let result = self
            .latest(camera)
            .ok_or_else(|| DeskError::Missing(format!("camera '{camera}' has not shown a frame yet")))?;
        self.hold(&result);
        let told = serde_json::to_value(FrameJson::new(&result)).map_err(|e| DeskError::Failed(e.to_string()))?;
        let jpeg = draw::picture(&result).jpeg(STILL_QUALITY).map_err(|e| DeskError::Failed(e.to_string()))?;
        Ok(Answer::Still(told, jpeg))
    }

    fn export(&self, camera: &str) -> Result<Answer, DeskError> {
        let class = &self.classes[self.class_of(camera)?];
        let (store, labels) = (class.pupil.store(), class.pupil.labels());
        let mut file = CocoFile::default();
        let categories = labels.iter().enumerate();
        file.categories = categories.map(|(i, l)| CocoCategory { id: i as u64 + 1, name: l.clone() }).collect();
        let mut images: Vec<String> = Vec::new();
        for (n, mark) in store.marks().filter(|m| m.camera == camera).enumerate() {
            let known = images.iter().position(|s| *s == mark.sample);
            let image = known.unwrap_or_else(|| {
                images.push(mark.sample.clone());
                images.len() - 1
            });
            let category = mark.label.as_ref().and_then(|l| labels.iter().position(|k| k == l));
            // What is no object has no place among objects: it stands in the image as one without a category.
            let Some(category) = category.filter(|_| mark.said != Said::NotAnObject) else { continue };
            let [x1, y1, x2, y2] = mark.bbox;
            let (w, h) = (x2 - x1, y2 - y1);
            file.annotations.push(CocoAnnotation {
                id: n as u64 + 1,
                image_id: image as u64 + 1,
                category_id: category as u64 + 1,
                bbox: [x1, y1, w, h],
                iscrowd: 0,
                area: w * h,
                attributes: None,
            });
        }
        for (i, sample) in images.iter().enumerate() {
            let Some([width, height]) = store.source_of(sample) else { continue };
            let file_name = format!("{sample}.jpg");
            file.images.push(CocoImage { id: i as u64 + 1, width, height, file_name });
        }
        serde_json::to_value(&file).map(Answer::Json).map_err(|e| DeskError::Failed(e.to_string()))
    }
}

fn jpeg_of(path: Option<PathBuf>) -> Option<Answer> {
    let file = open_plain(&path?, Links::Refused).and_then(|f| read_open(f, MOST_PICTURE, "a picture"));
    file.map(Answer::Jpeg).ok()
}

fn described(m: &Mark) -> Value {
    json!({
        "id": m.id, "camera": m.camera, "said": m.said, "label": m.label, "box": m.bbox, "event": m.event, "time": m.time,
    })
}

/// How a group stands.
fn stands(class: &Class) -> Value {
    let (pupil, versions) = (&class.pupil, class.pupil.versions());
    let (samples, bytes) = pupil.store().size();
    let progress = class.run.as_ref().map_or(0.0, |r| f64::from(r.flags.progress.load(Ordering::Relaxed)) / 1e3);
    let is_paused = class.run.as_ref().is_some_and(|r| r.flags.pause.load(Ordering::Relaxed));
    let state = match (&class.run, &class.shadow, versions.waiting) {
        (Some(_), ..) if is_paused => "paused",
        (Some(_), ..) => "learning",
        (_, Some(_), _) => "shadow",
        (_, _, Some(_)) => "waiting",
        _ if class.is_asked => "learning",
        _ => "idle",
    };
    json!({
        "group": pupil.settings.name,
        "mode": pupil.settings.mode,
        "labels": pupil.labels(),
        "samples": samples,
        "bytes": bytes,
        "state": state,
        "progress": progress,
        "model": versions.current.map_or_else(|| "base".to_owned(), |n| format!("learned {n}")),
        "waiting": versions.waiting.map(|version| {
            let mut report = json!(versions.last);
            report["version"] = json!(version);
            report
        }),
        "last": versions.last,
        "trouble": versions.trouble,
    })
}
