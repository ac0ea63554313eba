//! One group of cameras and what it learns: marks in, judged models out. No thread and no clock of its own.

use super::backbone::Backbone;
use super::draft::LessonDraft;
use super::error::LearnError;
use super::export::{learned_file, write_model};
use super::gate::Judgement;
use super::labelling::MarkedPlace;
use super::latents::Latents;
use super::lesson::Taught;
use super::mark::Mark;
use super::net::{Depth, LearnNet};
use super::pairs::{self, PicturePair, SeenTwice};
use super::settings::{GroupSettings, LearnMode, LearnSettings, TeacherSpec};
use super::store::MarkStore;
use super::stored::{EventHead, SampleHead};
use super::teacher::{Teacher, TeacherAnswer};
use super::teaching::{Teaching, UnaskedPicture};
use super::trail::Followed;
use super::versions::{LastRun, Versions, model_file, not_usable};
use crate::files::write_whole;
use crate::frame::Frame;
use crate::geom::{Rect, Size};
use crate::models::model::{Learned, Model, ModelFolders};
use crate::models::profiles;
use engine::gating::profile::Profile;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::params::Params;

/// Bytes of latents that a run learns from at most.
const LESSON_BYTES: usize = 48 << 20;
/// A picture to keep.
pub struct KeptPicture<'a> {
    pub camera: &'a str,
    pub time_ms: u64,
    pub frame: &'a Frame,
    /// Its maps, where a stream has computed them.
    pub latents: Option<Latents>,
    /// The picture without its padding, for people.
    pub jpeg: &'a [u8],
    /// What is followed and moved, and where something may be.
    pub followed: Followed,
    pub event: Option<EventHead>,
    /// Brought from elsewhere: SHA-256 of the file that came.
    pub brought: Option<String>,
}

/// A group of cameras, with its marks, samples and models.
pub struct Pupil {
    pub settings: GroupSettings,
    model: Arc<Model>,
    net: Arc<LearnNet>,
    backbone: Backbone,
    store: MarkStore,
    versions: Versions,
    /// The model's gates.
    gates: Option<Arc<Profile>>,
    /// Which maps its samples are of: the model's checksum, and its size.
    base: String,
    /// Who teaches it, whose answers count, and where it is found.
    teacher: Option<(TeacherSpec, String, ModelFolders)>,
}

impl Pupil {
    /// Opens a group's folder and its base model. What was lost comes back in words.
    ///
    /// # Errors
    /// The model cannot be trained, or nothing can be written.
    pub fn open(
        settings: GroupSettings,
        around: &LearnSettings,
        folders: &ModelFolders,
    ) -> Result<(Self, Vec<String>), LearnError> {
        let model = Model::load(&settings.model, folders).map_err(|e| LearnError::Refused(e.to_string()))?;
        let size = settings.size.unwrap_or(model.size);
        let net = LearnNet::open(&model, size, Depth::Head)?;
        let backbone = Backbone::open(&model, &net)?;
        let teacher = around.teacher.as_ref().map(|spec| {
            let id = teacher_id(spec, folders, &model, size)
                .map_err(|e| LearnError::Refused(format!("learn.teacher, for group '{}': {e}", settings.name)))?;
            Ok::<_, LearnError>((spec.clone(), id, folders.clone()))
        });
        let teacher = teacher.transpose()?;
        let folder = around.path.join(&settings.name);
        std::fs::create_dir_all(&folder).map_err(|e| LearnError::file(&folder, &e))?;
        // Maps of another size mean as little as those of another model.
        let base = format!("{}@{size}", model.sha256);
        let max_age_ms = around.max_age.as_millis() as u64;
        let (store, mut lost) = MarkStore::open(&folder, &base, around.max_bytes, max_age_ms)?;
        let (mut versions, said) = Versions::open(&folder, &base);
        lost.extend(said);
        let fault = |n: u32| Model::load(&model_file(&folder, n).display().to_string(), folders).err();
        for n in [&mut versions.previous, &mut versions.waiting] {
            if let Some(e) = n.and_then(fault) {
                lost.push(format!("what was learned is not used: {e}"));
                *n = None;
            }
        }
        if let Some((n, e)) = versions.current.and_then(|n| Some((n, fault(n)?))) {
            lost.push(format!("what was learned is not used: {e}"));
            versions.step_back(not_usable(n, &e.to_string()));
        }
        let gates = profiles::find(&model, folders, None).unwrap_or_else(|e| {
            lost.push(format!("gates are not judged: {e}"));
            None
        });
        let (model, net, gates) = (Arc::new(model), Arc::new(net), gates.map(Arc::new));
        Ok((Self { settings, model, net, backbone, store, versions, gates, base, teacher }, lost))
    }

    /// The gates with which the model is run in mode layers, if some were found for it.
    pub fn gates(&self) -> Option<Arc<Profile>> {
        self.gates.clone()
    }

    fn folder(&self) -> &Path {
        self.store.folder()
    }

    pub fn store(&self) -> &MarkStore {
        &self.store
    }

    pub fn store_mut(&mut self) -> &mut MarkStore {
        &mut self.store
    }

    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    pub fn labels(&self) -> &[String] {
        &self.model.labels
    }

    /// Which maps its samples are of: the model's checksum, and its size.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The sidecar of the learned model that is in use.
    pub fn in_use(&self) -> Option<PathBuf> {
        self.versions.current.map(|n| model_file(self.folder(), n))
    }

    /// Keeps a picture; the sample's name.
    ///
    /// # Errors
    /// As [`MarkStore::put_sample`].
    pub fn keep(&mut self, picture: &KeptPicture<'_>) -> Result<String, LearnError> {
        let latents = match &picture.latents {
            Some(latents) => latents,
            None => &self.backbone.latents(picture.frame.data()),
        };
        let moved = picture.followed.objects.iter().map(|o| (o.class, o.bbox.to_array())).collect();
        let source = picture.frame.letterbox.source;
        let mut head = SampleHead::new(&self.base, picture.camera, picture.time_ms, source, moved);
        head.event.clone_from(&picture.event);
        head.doubtful = picture.followed.doubtful.iter().map(Rect::to_array).collect();
        head.brought.clone_from(&picture.brought);
        self.store.put_sample(&head, latents, picture.jpeg)
    }

    /// Keeps a mark.
    ///
    /// # Errors
    /// As [`MarkStore::put_mark`].
    pub fn put_mark(&mut self, mark: Mark) -> Result<(), LearnError> {
        self.store.put_mark(mark)
    }

    /// Keeps what the teacher said of a sample.
    ///
    /// # Errors
    /// As [`MarkStore::put_answer`].
    pub fn put_answer(&mut self, sample: &str, answer: &TeacherAnswer) -> Result<(), LearnError> {
        self.store.put_answer(sample, answer)
    }

    pub fn has_teacher(&self) -> bool {
        self.teacher.is_some()
    }

    /// Whether marks were made that no run has learned from.
    pub fn has_news(&self) -> bool {
        self.store.marks().any(|m| m.number > self.versions.learned_mark)
    }

    /// Notes time of learning as spent, before it is: whoever is killed has spent it. `now_ms` since 1970.
    ///
    /// # Errors
    /// It cannot be written: nothing is noted.
    pub fn spend(&mut self, ms: u64, now_ms: u64) -> Result<(), LearnError> {
        let mut next = self.versions.clone();
        next.spend(ms, now_ms);
        next.write(self.folder())?;
        self.versions = next;
        Ok(())
    }

    /// Puts right what was noted as spent, once it is known what was.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn spent(&mut self, noted_ms: u64, ms: u64, now_ms: u64) -> Result<(), LearnError> {
        self.versions.refund(noted_ms, now_ms);
        self.versions.spend(ms, now_ms);
        self.versions.write(self.store.folder())
    }

    /// Whether what a run may come to can be written: tries it with a file of a model's size.
    ///
    /// # Errors
    /// It cannot: the disk is full.
    pub fn expect_room(&self) -> Result<(), LearnError> {
        let path = self.folder().join("models").join("room");
        let written = write_whole(&path, &vec![0; self.model.onnx.len()]);
        let _ = std::fs::remove_file(&path);
        written.map_err(|e| LearnError::file(&path, &e))
    }

    /// What a run begins with.
    pub fn draft(&mut self) -> LessonDraft {
        let (input, labels) = (self.net.input(), self.model.labels.clone());
        let mut read: BTreeMap<String, (SampleHead, Latents)> = BTreeMap::new();
        // Marked ones first, then the others, evenly over all.
        let mut marks: Vec<&Mark> = self.store.marks().collect();
        marks.sort_by_key(|m| std::cmp::Reverse(m.number));
        let marks: Vec<Mark> = marks.into_iter().cloned().collect();
        let mut names: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        names.extend(marks.iter().map(|m| m.sample.clone()).filter(|s| seen.insert(s.clone())));
        let others: Vec<String> = self.store.samples().filter(|s| !seen.contains(*s)).map(str::to_owned).collect();
        let n_each = self.net.source_shapes().iter().map(|s| s.n_values()).sum::<usize>().max(1);
        let room = (LESSON_BYTES / n_each).max(16);
        names.truncate(room / 2);
        let n_others = room - names.len();
        let step = (others.len() as f64 / n_others.max(1) as f64).max(1.0);
        let thinned = (0..).map(|i| (i as f64 * step) as usize).take_while(|i| *i < others.len());
        names.extend(thinned.map(|i| others[i].clone()));
        for name in names {
            // One that is damaged is erased by this, and left out.
            match self.store.sample(&name) {
                Ok((_, latents)) if !self.net.fits(&latents) => {
                    tracing::warn!("sample {name}: its maps are of other shapes")
                }
                Ok(sample) => drop(read.insert(name, sample)),
                Err(e) => tracing::warn!("{e}"),
            }
        }
        let places: Vec<(String, MarkedPlace)> = (marks.iter())
            .filter_map(|m| {
                let [w, h] = read.get(&m.sample)?.0.source;
                Some((m.camera.clone(), MarkedPlace::of(m, Size::new(w, h), input, &labels)?))
            })
            .collect();
        let teaching = self.teacher.as_ref().map(|(spec, id, folders)| {
            let (mut answers, mut unasked) = (BTreeMap::new(), Vec::new());
            for (name, (head, _)) in &read {
                let [w, h] = head.source;
                match (self.store.answer(name, id), self.store.picture(name)) {
                    (Some(found), _) => drop(answers.insert(name.clone(), found)),
                    (None, Some(jpeg)) if w > 0 && h > 0 => {
                        unasked.push(UnaskedPicture { sample: name.clone(), jpeg, source: Size::new(w, h) });
                    }
                    (None, _) => {}
                }
            }
            Teaching { spec: spec.clone(), folders: folders.clone(), answers, unasked }
        });
        let (model, net) = (self.model.clone(), self.net.clone());
        LessonDraft { model, net, score: self.settings.score, pictures: read, places, teaching }
    }

    /// The latest mark, as of now: what a lesson that begins now has learned from.
    pub fn latest_mark(&self) -> u64 {
        self.store.marks().map(|m| m.number).max().unwrap_or(0)
    }

    /// The number of the next mark.
    pub fn next_mark(&self) -> u64 {
        self.latest_mark().max(self.versions.learned_mark).saturating_add(1)
    }

    /// What was learned from marks that do not hold any more is not taken; the others are learned from again.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn unlearn(&mut self) -> Result<(), LearnError> {
        self.take_over(Versions { waiting: None, learned_mark: 0, ..self.versions.clone() })
    }

    /// Takes in what a run came to: weights that pass are written, and wait. `latest_mark` is as it was when its lesson
    /// began, `time` seconds since 1970.
    ///
    /// # Errors
    /// It cannot be written: what is in use stays.
    pub fn settle(&mut self, taught: &Taught, latest_mark: u64, time: f64, seconds: f64) -> Result<(), LearnError> {
        let run = LastRun { time, seconds, curve: taught.curve.clone(), verdict: taught.verdict.clone() };
        let mut next = self.versions.clone();
        if run.verdict.refused.is_none() {
            next.last_number = next.last_number.saturating_add(1);
            self.write_version(next.last_number, taught, &run)?;
            next.waiting = Some(next.last_number);
        }
        next.last = Some(run);
        next.learned_mark = latest_mark;
        pairs::write(self.folder(), time, self.described(&taught.pairs))?;
        self.take_over(next)
    }

    fn described(&self, pairs: &[SeenTwice]) -> Vec<PicturePair> {
        let described = |seen: &SeenTwice| {
            let (camera, time_ms) = self.store.origin_of(&seen.sample)?;
            let [w, h] = self.store.source_of(&seen.sample)?;
            Some(seen.described(camera, time_ms, Size::new(w, h), self.net.input(), &self.model.labels))
        };
        pairs.iter().filter_map(described).collect()
    }

    /// What the last run changed in some pictures, of those that are still there.
    pub fn pairs(&self) -> Vec<PicturePair> {
        let mut pairs = self.versions.last.as_ref().map_or_else(Vec::new, |run| pairs::read(self.folder(), run.time));
        pairs.retain(|p| self.store.picture(&p.sample).is_some_and(|path| path.is_file()));
        pairs
    }

    /// Erases marks and pictures; what was learned from them and waits is not taken.
    ///
    /// # Errors
    /// Something cannot be erased.
    pub fn forget(&mut self) -> Result<(), LearnError> {
        // First what is not to be taken, as with a mark that is undone; but a full disk keeps nobody from being rid of
        // pictures.
        let unlearned = self.unlearn();
        self.store.forget()?;
        pairs::erase(self.folder())?;
        unlearned.or_else(|_| self.unlearn())
    }

    /// Notes why a run came to nothing, so that it is not begun again before there are more marks.
    ///
    /// # Errors
    /// It cannot be written down; it is told all the same.
    pub fn give_up(&mut self, why: String, latest_mark: u64, time: f64, seconds: f64) -> Result<(), LearnError> {
        let verdict = Judgement { refused: Some(why), ..Judgement::default() };
        self.versions.last = Some(LastRun { time, seconds, curve: Vec::new(), verdict });
        self.take_over(Versions { learned_mark: latest_mark, ..self.versions.clone() })
    }

    fn write_version(&self, n: u32, taught: &Taught, run: &LastRun) -> Result<(), LearnError> {
        let onnx = learned_file(&self.model, &self.net, &taught.params)?;
        let from = vec![format!("{} marks of {}", self.store.marks().count(), self.cameras().join(", "))];
        let learned = Learned { base: self.model.name.clone(), base_sha256: self.model.sha256.clone(), from };
        let (folder, name) = (self.folder().join("models"), format!("{n:04}"));
        let report = folder.join(format!("{name}.report.json"));
        let text = serde_json::to_vec_pretty(run).map_err(|e| LearnError::file(&report, &e))?;
        write_whole(&report, &text).map_err(|e| LearnError::file(&report, &e))?;
        write_model(&folder, &name, &self.model, &onnx, learned)
    }

    fn cameras(&self) -> Vec<&str> {
        self.settings.cameras.iter().map(|c| c.id.as_str()).collect()
    }

    fn take_over(&mut self, next: Versions) -> Result<(), LearnError> {
        next.write(self.folder())?;
        next.tidy(self.folder());
        self.versions = next;
        Ok(())
    }

    /// Takes what waits into use.
    ///
    /// # Errors
    /// Nothing waits, or it cannot be written down.
    pub fn accept(&mut self) -> Result<(), LearnError> {
        let Some(waiting) = self.versions.waiting else {
            return Err(LearnError::Refused("nothing that was learned waits".into()));
        };
        let (current, previous) = (Some(waiting), self.versions.current);
        self.take_over(Versions { current, previous, waiting: None, trouble: None, ..self.versions.clone() })
    }

    /// Lets go of what waits, and says why.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn refuse(&mut self, why: String) -> Result<(), LearnError> {
        let mut next = Versions { waiting: None, ..self.versions.clone() };
        if let Some(last) = &mut next.last {
            last.verdict.refused = Some(why);
        }
        self.take_over(next)
    }

    /// Goes back to what was in use before.
    ///
    /// # Errors
    /// The model as it came is in use and nothing was before it, or it cannot be written down.
    pub fn roll_back(&mut self) -> Result<(), LearnError> {
        if self.versions.current.is_none() && self.versions.previous.is_none() {
            return Err(LearnError::Refused("the model as it came is in use: there is nothing to go back to".into()));
        }
        let (current, previous) = (self.versions.previous, None);
        self.take_over(Versions { current, previous, waiting: None, trouble: None, ..self.versions.clone() })
    }

    /// Goes back to what was in use before, as what is in use cannot be; what waits goes on waiting.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn step_back(&mut self, why: &str) -> Result<(), LearnError> {
        let Some(current) = self.versions.current else { return Ok(()) };
        let mut next = self.versions.clone();
        next.step_back(not_usable(current, why));
        self.take_over(next)
    }

    /// Goes back to the model as it came.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn factory(&mut self) -> Result<(), LearnError> {
        let previous = self.versions.current.or(self.versions.previous);
        self.take_over(Versions { current: None, previous, waiting: None, trouble: None, ..self.versions.clone() })
    }

    /// Whether what was learned is taken over by itself.
    pub fn is_auto(&self) -> bool {
        self.settings.mode == LearnMode::Auto
    }

    /// The weights of a learned model, in this net.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn weights(&self, n: Option<u32>, folders: &ModelFolders) -> Result<Params, LearnError> {
        let Some(n) = n else { return Ok(self.net.params()) };
        let path = model_file(self.folder(), n);
        let model =
            Model::load(&path.display().to_string(), folders).map_err(|e| LearnError::Refused(e.to_string()))?;
        Ok(LearnNet::open(&model, self.net.input(), Depth::Head)?.params())
    }

    pub fn net(&self) -> &Arc<LearnNet> {
        &self.net
    }

    /// The maps of a frame.
    pub fn latents(&mut self, frame: &Frame) -> Latents {
        self.backbone.latents(frame.data())
    }
}

/// Whose answers count, if it can teach: it looks at the pictures that are kept, which are of the model's size.
fn teacher_id(spec: &TeacherSpec, folders: &ModelFolders, model: &Model, size: Size) -> Result<String, LearnError> {
    if let Some(own) = spec.size.filter(|own| *own != size) {
        return Err(LearnError::Refused(format!(
            "pictures are kept at {size}, the size of '{}', and show no more at {own}: write \"{}\" without a size, for a \
             larger model, or teach off line, from clips: passd learn train --teacher {spec}",
            model.name, spec.model
        )));
    }
    Ok(Teacher::open(spec, folders, model, size)?.id().to_owned())
}
