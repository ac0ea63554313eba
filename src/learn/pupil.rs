//! One group of cameras and what it learns: marks in, judged models out. No thread and no clock of its own.

use super::backbone::Backbone;
use super::error::LearnError;
use super::export::{learned_file, write_model};
use super::gate::Judgement;
use super::labelling::{MarkedPlace, Witness, labels_of, standing};
use super::latents::Latents;
use super::lesson::{Lesson, Taught};
use super::mark::Mark;
use super::net::{Depth, LearnNet};
use super::sample::{Origin, Sample};
use super::settings::{GroupSettings, LearnMode, LearnSettings};
use super::store::MarkStore;
use super::stored::{EventHead, SampleHead};
use super::versions::{LastRun, Versions, model_file};
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::detect::heads::loss::LabelledBox;
use crate::frame::Frame;
use crate::geom::Size;
use crate::models::model::{Learned, Model, ModelFolders};
use crate::output::desk::Said;
use engine::kernels::Kernels;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::float::FloatTrainer;
use train::params::Params;

/// Bytes of latents that a run learns from at most.
const LESSON_BYTES: usize = 96 << 20;
/// Marks that are looked for in other pictures, the latest of a camera.
const WITNESSES: usize = 200;
/// Marks of which it is seen how their place looks most of the time, the latest.
const WIDENED: usize = 40;
/// With fewer marked pictures than this, all of them are learned from.
const FEW: usize = 8;
/// Blocks of time that a lesson's pictures are parted into.
const BLOCKS: u64 = 8;
/// How much surer than what is reported a model without anchors is of what it must keep.
const SURER: f32 = 0.1;

/// A picture to keep.
pub struct KeptPicture<'a> {
    pub camera: &'a str,
    pub time_ms: u64,
    pub frame: &'a Frame,
    /// The picture without its padding, for people.
    pub jpeg: &'a [u8],
    /// What is followed and moved.
    pub moved: Vec<LabelledBox>,
    pub event: Option<EventHead>,
}

/// A group of cameras, with its marks, samples and models.
pub struct Pupil {
    pub settings: GroupSettings,
    model: Arc<Model>,
    net: Arc<LearnNet>,
    backbone: Backbone,
    store: MarkStore,
    versions: Versions,
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
        let folder = around.path.join(&settings.name);
        std::fs::create_dir_all(&folder).map_err(|e| LearnError::file(&folder, &e))?;
        // Maps of another size mean as little as those of another model.
        let base = format!("{}@{size}", model.sha256);
        let max_age_ms = around.max_age.as_millis() as u64;
        let (store, mut lost) = MarkStore::open(&folder, &base, around.max_bytes, max_age_ms)?;
        let (versions, said) = Versions::open(&folder, &base);
        lost.extend(said);
        let (model, net) = (Arc::new(model), Arc::new(net));
        Ok((Self { settings, model, net, backbone, store, versions }, lost))
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

    /// The sidecar of the learned model that is in use.
    pub fn in_use(&self) -> Option<PathBuf> {
        self.versions.current.map(|n| model_file(self.folder(), n))
    }

    /// Keeps a picture; the sample's name.
    ///
    /// # Errors
    /// As [`MarkStore::put_sample`].
    pub fn keep(&mut self, picture: &KeptPicture<'_>) -> Result<String, LearnError> {
        let latents = self.backbone.latents(picture.frame.data());
        let moved = picture.moved.iter().map(|o| (o.class, o.bbox.to_array())).collect();
        let base = format!("{}@{}", self.model.sha256, self.net.input());
        let source = picture.frame.letterbox.source;
        let mut head = SampleHead::new(&base, picture.camera, picture.time_ms, source, moved);
        head.event.clone_from(&picture.event);
        self.store.put_sample(&head, &latents, picture.jpeg)
    }

    /// Keeps a mark.
    ///
    /// # Errors
    /// As [`MarkStore::put_mark`].
    pub fn put_mark(&mut self, mark: Mark) -> Result<(), LearnError> {
        self.store.put_mark(mark)
    }

    /// Whether marks were made that no run has learned from.
    pub fn has_news(&self) -> bool {
        self.store.marks().next_back().is_some_and(|m| m.id > self.versions.learned_marks)
    }

    /// Notes time that learning took; `now_ms` since 1970.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn spend(&mut self, ms: u64, now_ms: u64) -> Result<(), LearnError> {
        self.versions.spend(ms, now_ms);
        self.versions.write(self.store.folder())
    }

    /// What a run learns from, and whether there is anything.
    ///
    /// # Errors
    /// An anchor's clip cannot be drawn.
    pub fn lesson(&mut self) -> Result<Lesson, LearnError> {
        let (input, labels) = (self.net.input(), self.model.labels.clone());
        let mut read: BTreeMap<String, (SampleHead, Latents)> = BTreeMap::new();
        // Marked ones first, then the others, evenly over all.
        let mut names: Vec<String> = self.store.marks().rev().map(|m| m.sample.clone()).collect();
        names.dedup();
        let others: Vec<String> =
            self.store.samples().filter(|s| !names.iter().any(|n| n == s)).map(str::to_owned).collect();
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
                Ok(sample) => drop(read.insert(name, sample)),
                Err(e) => tracing::warn!("{e}"),
            }
        }
        let places: Vec<(String, MarkedPlace)> = (self.store.marks().rev())
            .filter_map(|m| {
                let [w, h] = read.get(&m.sample)?.0.source;
                Some((m.camera.clone(), MarkedPlace::of(m, Size::new(w, h), input, &labels)?))
            })
            .collect();
        let mut witnesses: Vec<(&str, Witness<'_>)> = Vec::new();
        for (camera, place) in &places {
            let Some((_, then)) = read.get(&place.sample) else { continue };
            witnesses.push((camera, Witness { place, latents: then }));
        }
        for (camera, place) in places.iter().filter(|(_, c)| c.said == Said::NotAnObject).take(WIDENED) {
            let Some((_, then)) = read.get(&place.sample) else { continue };
            let of_camera = read.values().filter(|(head, _)| head.camera == *camera).map(|(_, latents)| latents);
            let pictures: Vec<&Latents> = of_camera.collect();
            let looks = standing(place, then, &pictures, input);
            // What stands there as something else was not meant.
            let is_meant = |latents: &&Latents| {
                let mut there =
                    self.found(latents, self.settings.score).into_iter().filter(|d| d.bbox.iou(&place.bbox) >= 0.5);
                there.all(|d| place.class.is_none_or(|class| class == d.class))
            };
            if let Some(latents) = looks.filter(is_meant) {
                witnesses.push((camera, Witness { place, latents }));
            }
        }
        let mut samples = Vec::new();
        let n_marked = read.keys().filter(|name| places.iter().any(|(_, c)| c.sample == **name)).count();
        for (i, (name, (head, latents))) in read.iter().enumerate() {
            let witnesses: Vec<Witness<'_>> = witnesses
                .iter()
                .filter(|(camera, _)| *camera == head.camera)
                .take(WITNESSES)
                .map(|(_, w)| *w)
                .collect();
            let (labels, is_marked) = labels_of(name, latents, &head.moved, &witnesses, input);
            let is_itself = places.iter().any(|(_, c)| c.sample == *name);
            let block = match is_itself && n_marked < FEW {
                true => 0,
                false => i as u64 * BLOCKS / read.len() as u64,
            };
            let origin = if is_marked { Origin::Marked } else { Origin::Labelled };
            samples.push(Sample { latents: latents.clone(), labels, origin, block });
        }
        drop(read);
        let mut lesson = Lesson::default();
        if self.model.sidecar.anchors.is_empty() {
            self.anchor(&mut samples);
        } else {
            lesson.add_anchors(&self.model, &self.net, &mut self.backbone)?;
        }
        samples.into_iter().for_each(|sample| lesson.add(sample));
        Ok(lesson)
    }

    /// What the base model sees.
    fn found(&self, latents: &Latents, score: f32) -> Vec<Detection> {
        let mut trainer = FloatTrainer::new(self.net.plan(), 1, Kernels::best());
        self.net.feed(&mut trainer, &[latents]);
        trainer.forward(&self.net.params());
        self.net.detections(&self.net.numbers(&trainer, 0), Thresholds { score, iou: 0.5 })
    }

    /// A model that comes without anchors keeps what it is sure of in pictures of which nobody said anything.
    fn anchor(&self, samples: &mut [Sample]) {
        for sample in samples.iter_mut().filter(|s| s.origin == Origin::Labelled).step_by(2) {
            let found = self.found(&sample.latents, (self.settings.score + SURER).min(0.9));
            sample.labels.objects = found.iter().map(|d| LabelledBox { class: d.class, bbox: d.bbox }).collect();
            sample.origin = Origin::Anchor;
        }
    }

    /// The latest mark, as of now: what a lesson that begins now has learned from.
    pub fn latest_mark(&self) -> String {
        self.store.marks().next_back().map(|m| m.id.clone()).unwrap_or_default()
    }

    /// Takes in what a run came to: weights that pass are written, and wait. `latest_mark` is as it was when its lesson
    /// began, `time` seconds since 1970.
    ///
    /// # Errors
    /// It cannot be written: what is in use stays.
    pub fn settle(&mut self, taught: &Taught, latest_mark: String, time: f64, seconds: f64) -> Result<(), LearnError> {
        let run = LastRun { time, seconds, curve: taught.curve.clone(), verdict: taught.verdict.clone() };
        let mut next = self.versions.clone();
        if run.verdict.refused.is_none() {
            next.last_number += 1;
            self.write_version(next.last_number, taught, &run)?;
            next.waiting = Some(next.last_number);
        }
        next.last = Some(run);
        next.learned_marks = latest_mark;
        self.take_over(next)
    }

    /// Notes why a run came to nothing, so that it is not begun again before there are more marks.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn give_up(&mut self, why: String, latest_mark: String, time: f64, seconds: f64) -> Result<(), LearnError> {
        let verdict = Judgement { refused: Some(why), ..Judgement::default() };
        let last = Some(LastRun { time, seconds, curve: Vec::new(), verdict });
        self.take_over(Versions { last, learned_marks: latest_mark, ..self.versions.clone() })
    }

    fn write_version(&self, n: u32, taught: &Taught, run: &LastRun) -> Result<(), LearnError> {
        let onnx = learned_file(&self.model, &self.net, &taught.params)?;
        let from = vec![format!("{} marks of {}", self.store.marks().count(), self.cameras().join(", "))];
        let learned = Learned { base: self.model.name.clone(), base_sha256: self.model.sha256.clone(), from };
        let (folder, name) = (self.folder().join("models"), format!("{n:04}"));
        let report = folder.join(format!("{name}.report.json"));
        let text = serde_json::to_vec_pretty(run).map_err(|e| LearnError::file(&report, &e))?;
        crate::files::write_whole(&report, &text).map_err(|e| LearnError::file(&report, &e))?;
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
        self.take_over(Versions { current, previous, waiting: None, ..self.versions.clone() })
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
    /// The model as it came is in use, or it cannot be written down.
    pub fn roll_back(&mut self) -> Result<(), LearnError> {
        if self.versions.current.is_none() {
            return Err(LearnError::Refused("the model as it came is in use: there is nothing to go back to".into()));
        }
        let (current, previous) = (self.versions.previous, None);
        self.take_over(Versions { current, previous, waiting: None, ..self.versions.clone() })
    }

    /// Goes back to the model as it came.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn factory(&mut self) -> Result<(), LearnError> {
        let previous = self.versions.current.or(self.versions.previous);
        self.take_over(Versions { current: None, previous, waiting: None, ..self.versions.clone() })
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
