//! From marks and samples to what a picture shows: the order of trust.
//!
//! What a person marked counts first, the later mark before the earlier one. It holds for other pictures of the camera, too,
//! where the place looks as it did: what stands there is the same thing. Then what was followed and moved, then what a
//! teacher is sure of. All else is in doubt, and never taken for background, but for what neither a teacher nor the model
//! sees.

use super::latents::Latents;
use super::mark::Mark;
use super::teacher::SURE;
use crate::detect::Detection;
use crate::detect::heads::loss::{LabelledBox, PictureLabels};
use crate::geom::{CameraPixels, Letterbox, ModelInput, Rect, Size};
use crate::output::desk::Said;

/// Likeness from which a place looks as it did: a decoy alone has 0.83 and more by day and night, somebody before it 0.67
/// and less (simulated street, 2026-11-30).
const ALIKE: f32 = 0.75;

/// Overlap of boxes that are of one thing.
const SAME: f32 = 0.5;

/// Places of a picture of which something is said: of ten thousand, a step of training would not end.
const MOST_PLACES: usize = 500;

/// A mark where the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkedPlace {
    pub said: Said,
    pub class: Option<u16>,
    pub bbox: Rect<ModelInput>,
    /// The sample it is of.
    pub sample: String,
}

impl MarkedPlace {
    /// `source` is the size of the camera's picture; `None`: the mark's label is none of the model's.
    pub fn of(mark: &Mark, source: Size, input: Size, labels: &[String]) -> Option<Self> {
        let class = mark.label.as_ref().and_then(|name| labels.iter().position(|l| l == name)).map(|c| c as u16);
        if class.is_none() && mark.said != Said::NotAnObject {
            return None;
        }
        let [x1, y1, x2, y2] = mark.bbox;
        let bbox = Letterbox::fit(source, input).to_input(&Rect::<CameraPixels>::new(x1, y1, x2, y2));
        Some(Self { said: mark.said, class, bbox, sample: mark.sample.clone() })
    }
}

/// A marked place, and a picture that shows it.
#[derive(Debug, Clone, Copy)]
pub struct Witness<'a> {
    pub place: &'a MarkedPlace,
    pub latents: &'a Latents,
}

/// Likeness from which two pictures show one look of a place; and from which a mark's own picture may show it with somebody
/// before it.
const ONE_LOOK: f32 = 0.85;
const RELATED: f32 = 0.55;
/// Pictures of which it is seen how many others look as they do.
const CANDIDATES: usize = 12;

/// The picture that shows a marked place as it looks most of the time, if it looks alike in half of them: who happened to
/// pass by when the mark was made does not hide what stands there.
pub fn standing<'a>(place: &MarkedPlace, then: &Latents, pictures: &[&'a Latents], input: Size) -> Option<&'a Latents> {
    let likeness = |a: &Latents, b: &Latents| a.likeness(b, input, &place.bbox);
    let step = pictures.len().div_ceil(CANDIDATES).max(1);
    let n_alike = |a: &&&Latents| pictures.iter().filter(|b| likeness(a, b) >= ONE_LOOK).count();
    let best = pictures.iter().step_by(step).map(|a| (n_alike(&a), *a)).max_by_key(|(n, _)| *n)?;
    (best.0 * 2 >= pictures.len() && likeness(then, best.1) >= RELATED).then_some(best.1)
}

/// What is known of a sample, how many of its objects people marked (the first ones), and whether marks say anything of it.
///
/// `witnesses` are those of its camera, the latest mark first.
pub fn labels_of(
    sample: &str,
    latents: &Latents,
    moved: &[(u16, [f32; 4])],
    witnesses: &[Witness<'_>],
    input: Size,
) -> (PictureLabels, usize, bool) {
    let mut labels = PictureLabels::default();
    // Boxes of which something was said already.
    let mut said: Vec<Rect<ModelInput>> = Vec::new();
    let holds = |w: &&Witness<'_>| {
        // What is taken for an object must look very much as it did.
        let least = if w.place.said == Said::NotAnObject { ALIKE } else { ONE_LOOK };
        w.place.sample == sample || w.latents.likeness(latents, input, &w.place.bbox) >= least
    };
    for Witness { place, .. } in witnesses.iter().filter(holds) {
        if said.len() >= MOST_PLACES || said.iter().any(|s| s.iou(&place.bbox) >= SAME) {
            continue;
        }
        said.push(place.bbox);
        match (place.said, place.class) {
            (Said::NotAnObject, _) => labels.absent.push(place.bbox),
            (Said::Right | Said::Missed, Some(class)) => {
                labels.objects.push(LabelledBox { class, bbox: place.bbox });
            }
            (Said::Right | Said::Missed, None) => {}
        }
    }
    let (n_sure, is_marked) = (labels.objects.len(), !said.is_empty());
    // Where something was marked as none, a track may have gone over from somebody who passed by: in doubt.
    let none = || witnesses.iter().map(|w| w.place).filter(|c| c.said == Said::NotAnObject).map(|c| c.bbox);
    for (class, [x1, y1, x2, y2]) in moved {
        let bbox = Rect::new(*x1, *y1, *x2, *y2);
        if !said.iter().copied().chain(none()).any(|s| s.iou(&bbox) >= SAME) {
            labels.objects.push(LabelledBox { class: *class, bbox });
        }
    }
    (labels, n_sure, is_marked)
}

/// Adds what a teacher sees of a picture to what is known of it otherwise, which it never contradicts. What it is sure of is
/// there; what it, or the model itself (`own`, faint ones too), sees beside that is in doubt, as is what lies where people
/// marked something as none (`nones`). What neither of them sees is background.
pub fn add_taught(labels: &mut PictureLabels, taught: &[Detection], own: &[Detection], nones: &[Rect<ModelInput>]) {
    let is_known = |labels: &PictureLabels, d: &Detection| {
        let mut known = labels.objects.iter().map(|o| &o.bbox).chain(&labels.absent);
        known.any(|r| r.iou(&d.bbox) >= SAME)
    };
    for d in taught {
        if is_known(labels, d) {
            continue;
        }
        match d.score >= SURE && !nones.iter().any(|r| r.iou(&d.bbox) >= SAME) {
            true => labels.objects.push(LabelledBox { class: d.class, bbox: d.bbox }),
            false => labels.ignored.push(d.bbox),
        }
    }
    for d in own {
        if !is_known(labels, d) {
            labels.ignored.push(d.bbox);
        }
    }
    labels.is_complete = true;
}

#[cfg(test)]
mod tests {
    use super::super::latents::LatentMap;
    use super::*;
    use engine::graph::MapShape;

    fn picture(at: usize) -> Latents {
        let mut numbers = vec![1.0; 16];
        numbers[at] = 9.0;
        Latents(vec![LatentMap::of(MapShape::new(4, 4, 1), &numbers)])
    }

    fn place(said: Said, sample: &str, bbox: [f32; 4]) -> MarkedPlace {
        let [x1, y1, x2, y2] = bbox;
        MarkedPlace { said, class: Some(0), bbox: Rect::new(x1, y1, x2, y2), sample: sample.into() }
    }

    #[test]
    fn marks_hold_where_the_place_looks_as_it_did_and_the_later_one_counts() {
        let input = Size::new(32, 32);
        let left = [0.0, 0.0, 15.0, 31.0];
        let right = [17.0, 0.0, 31.0, 31.0];
        let then = picture(0);
        let places = [
            place(Said::NotAnObject, "a", left),
            place(Said::Right, "a", left), // said before it
            place(Said::Right, "a", right),
        ];
        let witnesses: Vec<Witness<'_>> = places.iter().map(|place| Witness { place, latents: &then }).collect();
        let moved = [(1, [16.0, 0.0, 31.0, 31.0]), (1, [0.0, 20.0, 31.0, 31.0])];
        let (labels, n_sure, is_marked) = labels_of("a", &then, &moved, &witnesses, input);
        assert!(is_marked && !labels.is_complete && n_sure == 1);
        assert_eq!((labels.absent.len(), labels.objects.len()), (1, 2), "of what moved, one was marked: {labels:?}");
        // Somebody stands at the left now.
        let (labels, ..) = labels_of("b", &picture(4), &[], &witnesses, input);
        assert_eq!((labels.absent.len(), labels.objects.len()), (0, 1), "{labels:?}");
        let (labels, _, is_marked) = labels_of("c", &picture(4), &[], &witnesses[..2], input);
        assert!(labels.absent.is_empty() && labels.objects.is_empty() && !is_marked);
        // Said later of another picture that looks the same: it counts.
        let later = place(Said::NotAnObject, "d", right);
        let mut all = vec![Witness { place: &later, latents: &then }];
        all.extend(&witnesses);
        let (labels, n_sure, _) = labels_of("a", &then, &[], &all, input);
        assert_eq!((labels.absent.len(), n_sure), (2, 0));
    }

    #[test]
    fn a_teacher_adds_what_it_is_sure_of_and_contradicts_nobody() {
        let boxed = |x: f32| Rect::new(x, 0.0, x + 10.0, 20.0);
        let seen = |class: u16, score: f32, x: f32| Detection::new(class, score, boxed(x));
        let mut labels = PictureLabels {
            objects: vec![LabelledBox { class: 0, bbox: boxed(0.0) }],
            absent: vec![boxed(20.0)],
            ..PictureLabels::default()
        };
        let taught = [
            seen(1, 0.9, 1.0),   // a person was followed here
            seen(0, 0.9, 21.0),  // marked as none here
            seen(0, 0.9, 40.0),  // marked as none in other pictures
            seen(0, 0.9, 60.0),  // sure
            seen(1, 0.8, 61.0),  // the same thing, less sure
            seen(0, 0.49, 80.0), // in doubt
        ];
        let own = [seen(0, 0.2, 0.0), seen(0, 0.6, 22.0), seen(1, 0.7, 60.0), seen(0, 0.9, 100.0), seen(0, 0.3, 80.0)];
        add_taught(&mut labels, &taught, &own, &[boxed(40.0)]);
        let objects: Vec<(u16, f32)> = labels.objects.iter().map(|o| (o.class, o.bbox.x1)).collect();
        assert_eq!(objects, [(0, 0.0), (0, 60.0)]);
        let ignored: Vec<f32> = labels.ignored.iter().map(|r| r.x1).collect();
        assert_eq!(ignored, [40.0, 80.0, 100.0, 80.0], "what one of them sees alone is in doubt");
        assert!(labels.absent == [boxed(20.0)] && labels.is_complete, "what neither sees is background");
    }

    #[test]
    fn who_passes_by_while_a_mark_is_made_hides_nothing() {
        let input = Size::new(32, 32);
        let place = place(Said::NotAnObject, "a", [0.0, 0.0, 15.0, 31.0]);
        let alone = [picture(0), picture(0), picture(0)];
        let all: Vec<&Latents> = alone.iter().collect();
        let (with_somebody, other) = (picture(1), picture(4));
        assert_eq!(standing(&place, &alone[0], &all, input), Some(&alone[2]));
        let changing: Vec<&Latents> = [&alone[0], &with_somebody, &other].to_vec();
        assert_eq!(standing(&place, &alone[0], &changing, input), None, "it looks like nothing most of the time");
    }

    #[test]
    fn labels_that_the_model_does_not_know_say_nothing() {
        let mark = Mark {
            id: "1-1".into(),
            number: 1,
            camera: "a".into(),
            said: Said::Missed,
            label: Some("tiger".into()),
            bbox: [0.0, 0.0, 100.0, 50.0],
            event: None,
            time: 0.0,
            sample: "s".into(),
        };
        let (source, input, labels) = (Size::new(200, 100), Size::new(100, 100), ["person".to_owned()]);
        assert_eq!(MarkedPlace::of(&mark, source, input, &labels), None);
        let mark = Mark { said: Said::NotAnObject, ..mark };
        let place = MarkedPlace::of(&mark, source, input, &labels).unwrap();
        assert_eq!(place.bbox.width(), 50.0);
    }
}
