//! What a run begins with, and how a lesson is made of it: what each picture shows, by marks, tracks and the model itself.
//! Takes a while: it is done where the run is.

use super::backbone::Backbone;
use super::base::Base;
use super::error::LearnError;
use super::labelling::{MarkedPlace, Witness, add_taught, labels_of, standing};
use super::latents::Latents;
use super::lesson::Lesson;
use super::net::LearnNet;
use super::sample::{Origin, Sample};
use super::stored::SampleHead;
use super::teacher::{FAINT, TeacherAnswer};
use super::teaching::Teaching;
use crate::detect::Detection;
use crate::geom::{ModelInput, Rect};
use crate::models::model::Model;
use crate::output::desk::Said;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Marks that are looked for in other pictures, the latest of a camera.
const WITNESSES: usize = 200;
/// Marks of which it is seen how their place looks most of the time, the latest.
const WIDENED: usize = 40;
/// With fewer marked pictures than this, all of them are learned from.
const FEW: usize = 8;
/// Blocks of time that a lesson's pictures are parted into: two of them judge.
const BLOCKS: usize = 8;
/// With fewer pictures than this nothing can be judged.
const LEAST_PICTURES: usize = 8;

/// Pictures, and what was marked in them, the latest first.
pub struct LessonDraft {
    pub model: Arc<Model>,
    pub net: Arc<LearnNet>,
    pub score: f32,
    pub pictures: BTreeMap<String, (SampleHead, Latents)>,
    /// Camera and place.
    pub places: Vec<(String, MarkedPlace)>,
    pub teaching: Option<Teaching>,
}

impl LessonDraft {
    /// Asks the teacher, if there is one, as [`Teaching::ask`] does. Where it cannot be asked, its answers so far count.
    pub fn ask_teacher(
        &mut self,
        told: &mut dyn FnMut(&str, TeacherAnswer),
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) {
        let Some(teaching) = &mut self.teaching else { return };
        if let Err(e) = teaching.ask(&self.model, self.net.input(), told, go_on) {
            tracing::warn!("learn.teacher: nothing more is learned from it: {e}");
        }
    }

    /// Makes the lesson; `go_on` is called between its parts.
    ///
    /// # Errors
    /// There are too few pictures, an anchor's clip cannot be drawn, or it was stopped.
    pub fn finish(self, go_on: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Lesson, LearnError> {
        let n = self.pictures.len();
        if n < LEAST_PICTURES {
            return Err(LearnError::TooFew { n, least: LEAST_PICTURES });
        }
        let mut base = Base::new(&self.net);
        let known = self.label(&mut base, go_on)?;
        let none = |camera: &str, bbox: &Rect<ModelInput>| {
            let is =
                |(c, p): &(String, MarkedPlace)| c == camera && p.said == Said::NotAnObject && p.bbox.iou(bbox) >= 0.5;
            self.places.iter().any(is)
        };
        let has_anchors = !self.model.sidecar.anchors.is_empty();
        let mut nth = 0;
        let mut samples = Vec::new();
        for ((_, (head, latents)), mut known) in self.pictures.iter().zip(known) {
            // A model that comes without anchors keeps what it is sure of where nobody said anything.
            if !has_anchors && known.origin == Origin::Labelled {
                nth += 1;
                if nth % 2 == 0 {
                    base.anchor(latents, self.score, &mut known, |bbox| none(&head.camera, bbox));
                }
            }
            samples.push(known);
        }
        let mut lesson = Lesson::default();
        for ((_, latents), known) in self.pictures.into_values().zip(samples) {
            lesson.add(Sample { latents, ..known });
        }
        if has_anchors {
            let mut backbone = Backbone::open(&self.model, &self.net)?;
            lesson.add_anchors(&self.model, &self.net, &mut backbone, go_on)?;
        }
        Ok(lesson)
    }

    /// What is known of each picture, without its latents.
    fn label(
        &self,
        base: &mut Base<'_>,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Sample>, LearnError> {
        let input = self.net.input();
        let mut witnesses: Vec<(&str, Witness<'_>)> = Vec::new();
        let mut n_widened = 0;
        for (camera, place) in &self.places {
            if go_on().is_break() {
                return Err(LearnError::Refused("it was stopped".into()));
            }
            let Some((_, then)) = self.pictures.get(&place.sample) else { continue };
            witnesses.push((camera, Witness { place, latents: then }));
            if place.said == Said::NotAnObject && n_widened < WIDENED {
                n_widened += 1;
                let of_camera = self.pictures.values().filter(|(head, _)| head.camera == *camera);
                let pictures: Vec<&Latents> = of_camera.map(|(_, latents)| latents).collect();
                let looks = standing(place, then, &pictures, input);
                if let Some(latents) = looks.filter(|latents| is_meant(place, &base.found(latents, self.score))) {
                    witnesses.push((camera, Witness { place, latents }));
                }
            }
        }
        let is_marked_itself = |name: &str| self.places.iter().any(|(_, p)| p.sample == name);
        let n_marked = self.pictures.keys().filter(|name| is_marked_itself(name)).count();
        let mut samples = Vec::new();
        // Pictures from elsewhere came at one time: among themselves they are parted by the order in which they came.
        let kind = |head: &SampleHead| usize::from(head.brought.is_some());
        let mut n_of = [0; 2];
        self.pictures.values().for_each(|(head, _)| n_of[kind(head)] += 1);
        let mut ranks = [0; 2];
        for (name, (head, latents)) in &self.pictures {
            if go_on().is_break() {
                return Err(LearnError::Refused("it was stopped".into()));
            }
            let own = |w: &&Witness<'_>| w.place.sample == *name;
            let of_camera = witnesses.iter().filter(|(camera, _)| *camera == head.camera).map(|(_, w)| w);
            let mut n_others = 0;
            let heard: Vec<Witness<'_>> = of_camera
                .filter(|w| {
                    n_others += usize::from(!own(w));
                    own(w) || n_others <= WITNESSES
                })
                .copied()
                .collect();
            let (mut labels, n_sure, is_marked) = labels_of(name, latents, &head.moved, &heard, input);
            labels.ignored.extend(head.doubtful.iter().map(|[x1, y1, x2, y2]| Rect::new(*x1, *y1, *x2, *y2)));
            if let Some(taught) = self.teaching.as_ref().and_then(|t| t.answers.get(name)) {
                let is_none =
                    |(camera, p): &&(String, MarkedPlace)| *camera == head.camera && p.said == Said::NotAnObject;
                let nones: Vec<_> = self.places.iter().filter(is_none).map(|(_, p)| p.bbox).collect();
                add_taught(&mut labels, taught, &base.found(latents, FAINT), &nones);
            }
            let block = match is_marked_itself(name) && n_marked < FEW {
                true => 0,
                false => (ranks[kind(head)] * BLOCKS / n_of[kind(head)]) as u64,
            };
            ranks[kind(head)] += 1;
            let origin = if is_marked { Origin::Marked } else { Origin::Labelled };
            samples.push(Sample {
                latents: Latents::default(),
                labels,
                origin,
                n_sure,
                block,
                picture: Some(name.clone()),
            });
        }
        Ok(samples)
    }
}

/// Whether what the base sees could be what was marked: nothing is seen at the place, or the same.
fn is_meant(place: &MarkedPlace, found: &[Detection]) -> bool {
    let mut there = found.iter().filter(|d| d.bbox.iou(&place.bbox) >= 0.5);
    there.all(|d| place.class.is_none_or(|class| class == d.class))
}
