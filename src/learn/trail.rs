//! The last seconds' tracks of a camera: what a picture shows is told when what came after it is known.
//!
//! In: frames and their tracks, in order. Out: of a moment that is still held, the objects that were followed and moved,
//! though the detector may have missed them then, and places of which nobody knows. Between two sightings a track's way is
//! a straight line; before its first and after its last it is followed for a moment, and only within the picture. Pure, and
//! bounded whatever comes.

use super::picture::{has_stood, moves};
use crate::detect::heads::loss::LabelledBox;
use crate::frame::Frame;
use crate::geom::{Letterbox, ModelInput, Rect, Size, encloses};
use crate::track::Track;
use std::collections::{BTreeMap, VecDeque};

/// After so long what came after a frame is known.
pub const SETTLED_NS: u64 = 2_000_000_000;
/// So long frames are held, in media time: a picture's own time, and as much again for who comes late.
const HELD_NS: u64 = 3 * SETTLED_NS;
/// Most frames, and sightings in all of them: under a MiB.
const MOST_FRAMES: usize = 1000;
const MOST_SIGHTINGS: usize = 20_000;
/// Objects and doubtful places that are told of a frame at most.
const MOST_TOLD: usize = 500;
/// A track's boxes are labels as long as it is seen to move so short a time before or after.
const NEAR_NS: u64 = 1_000_000_000;
/// Longest gap between two sightings that is filled in; where it is longer, up to [`SETTLED_NS`] to either side, the place is in doubt.
const GAP_NS: u64 = 1_000_000_000;
/// So long a track is followed beyond its first or last sighting, and so long after that its place is in doubt.
const BEYOND_NS: u64 = 300_000_000;
const DOUBT_NS: u64 = 1_000_000_000;
/// Overlap of boxes that are of one thing: what is told without having been seen is mostly what was seen.
const SAME: f32 = 0.5;

/// What is known of a moment by tracks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Followed {
    /// Followed and moved.
    pub objects: Vec<LabelledBox>,
    /// Here may be such an object: no background.
    pub doubtful: Vec<Rect<ModelInput>>,
}

impl Followed {
    /// What was filled in where masks are, polygons of shares of a picture of size `content`, is in doubt: it is black there.
    pub fn hide(&mut self, masks: &[Vec<[f32; 2]>], content: Size) {
        let [w, h] = [content.width, content.height].map(|side| side.max(1) as f32);
        let is_hidden = |o: &mut LabelledBox| {
            let middle = [(o.bbox.x1 + o.bbox.x2) / 2.0 / w, (o.bbox.y1 + o.bbox.y2) / 2.0 / h];
            masks.iter().any(|mask| encloses(mask, middle))
        };
        self.doubtful.extend(self.objects.extract_if(.., is_hidden).map(|o| o.bbox));
    }
}

/// A track's detection in one frame.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    pts_ns: u64,
    id: u64,
    class: u16,
    bbox: Rect<ModelInput>,
    moves: bool,
    has_stood: bool,
}

/// Where a track is at a moment.
#[derive(Debug, Clone, Copy)]
enum Place {
    Seen(Rect<ModelInput>),
    FilledIn(Rect<ModelInput>),
    Doubtful(Rect<ModelInput>),
}

/// The last seconds of one stream.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    /// What media time and boxes belong to.
    of: Option<(u64, Letterbox)>,
    /// Times of the frames that are held, and their sightings; both in order.
    frames: VecDeque<u64>,
    sightings: VecDeque<Sighting>,
}

impl Trail {
    /// Takes in the next frame's tracks.
    pub fn see(&mut self, frame: &Frame, tracks: &[Track]) {
        let of = Some((frame.epoch, frame.letterbox));
        if self.of != of {
            *self = Self { of, ..Self::default() };
        }
        let pts_ns = frame.pts_ns;
        if self.frames.back().is_some_and(|last| *last >= pts_ns) {
            return;
        }
        self.frames.push_back(pts_ns);
        self.sightings.extend(tracks.iter().filter(|t| t.detection.is_some()).map(|t| Sighting {
            pts_ns,
            id: t.id,
            class: t.class,
            bbox: t.bbox(),
            moves: moves(t, pts_ns),
            has_stood: has_stood(t, pts_ns),
        }));
        let is_too_much = |s: &Self| s.frames.len() > MOST_FRAMES || s.sightings.len() > MOST_SIGHTINGS;
        while let Some(oldest) = self.frames.front().copied()
            && (pts_ns - oldest > HELD_NS || is_too_much(self))
        {
            self.frames.pop_front();
            while self.sightings.front().is_some_and(|s| s.pts_ns <= oldest) {
                self.sightings.pop_front();
            }
        }
    }

    /// What is known of a frame of this stream, as of now; `None`: it is not held any more, or not yet.
    pub fn at(&self, frame: &Frame) -> Option<Followed> {
        let at_ns = frame.pts_ns;
        let is_held = *self.frames.front()? <= at_ns && at_ns <= *self.frames.back()?;
        if !is_held || self.of != Some((frame.epoch, frame.letterbox)) {
            return None;
        }
        let mut ways: BTreeMap<u64, Vec<&Sighting>> = BTreeMap::new();
        for s in self.sightings.iter().filter(|s| s.pts_ns.abs_diff(at_ns) <= SETTLED_NS) {
            ways.entry(s.id).or_default().push(s);
        }
        let picture = frame.letterbox.content.rect();
        let mut told = Followed::default();
        let mut filled_in = Vec::new();
        for way in ways.values() {
            // That most looks saw, as of the last one.
            let class = way[way.len() - 1].class;
            match place(way, at_ns, &picture) {
                Some(Place::Seen(bbox)) => told.objects.push(LabelledBox { class, bbox }),
                Some(Place::FilledIn(bbox)) => filled_in.push(LabelledBox { class, bbox }),
                Some(Place::Doubtful(bbox)) => told.doubtful.push(bbox),
                None => {}
            }
        }
        // Who was not seen where another was may be behind it, or be the same under another number.
        let seen: Vec<_> = self.sightings.iter().filter(|s| s.pts_ns == at_ns).map(|s| s.bbox).collect();
        for object in filled_in {
            let mut others = seen.iter().copied().chain(told.objects.iter().map(|o| o.bbox));
            match others.any(|b| b.iou(&object.bbox) >= SAME) {
                true => told.doubtful.push(object.bbox),
                false => told.objects.push(object),
            }
        }
        told.objects.truncate(MOST_TOLD);
        told.doubtful.truncate(MOST_TOLD);
        Some(told)
    }
}

/// Where a track is at a moment, by its sightings around it; `None`: nothing is said of it.
fn place(way: &[&Sighting], at_ns: u64, picture: &Rect<ModelInput>) -> Option<Place> {
    if !way.iter().any(|s| s.moves && s.pts_ns.abs_diff(at_ns) <= NEAR_NS) {
        return None;
    }
    let i = way.partition_point(|s| s.pts_ns < at_ns);
    match (way[..i].last(), way.get(i)) {
        (_, Some(s)) if s.pts_ns == at_ns => {
            // What stands may be something else, of which somebody who passed by took the number.
            Some(if s.has_stood { Place::Doubtful(s.bbox) } else { Place::Seen(s.bbox) })
        }
        (Some(a), Some(b)) => {
            let bbox = on_line(a, b, at_ns);
            let is_sure = b.pts_ns - a.pts_ns <= GAP_NS && !a.has_stood && !b.has_stood;
            Some(if is_sure { Place::FilledIn(bbox) } else { Place::Doubtful(bbox) })
        }
        (None, Some(first)) => beyond(first, way.iter().copied(), at_ns, picture),
        (Some(last), None) => beyond(last, way.iter().rev().copied(), at_ns, picture),
        (None, None) => None,
    }
}

/// Before a track's first sighting, or after its last one, `end`; `inwards` leads from there along its way.
fn beyond<'a>(
    end: &Sighting,
    mut inwards: impl Iterator<Item = &'a Sighting>,
    at_ns: u64,
    picture: &Rect<ModelInput>,
) -> Option<Place> {
    let far_ns = end.pts_ns.abs_diff(at_ns);
    // Its way is drawn on no further than it was seen.
    let line = inwards.find(|s| s.pts_ns.abs_diff(end.pts_ns) >= far_ns.max(1)).map(|s| on_line(s, end, at_ns));
    let bbox = line.unwrap_or(end.bbox);
    let is_sure = line.is_some() && picture.contains(&bbox) && bbox.iou(&end.bbox) >= SAME && !end.has_stood;
    if is_sure && far_ns <= BEYOND_NS {
        return Some(Place::FilledIn(bbox));
    }
    let inside = bbox.intersection(picture);
    (far_ns <= DOUBT_NS && !inside.is_empty()).then_some(Place::Doubtful(inside))
}

/// Where the straight line through two sightings is at a moment; one beyond them is drawn on.
fn on_line(a: &Sighting, b: &Sighting, at_ns: u64) -> Rect<ModelInput> {
    let since = |ns: u64| ns as f64 - a.pts_ns as f64;
    let share = (since(at_ns) / since(b.pts_ns)) as f32;
    let (from, to) = (a.bbox.to_array(), b.bbox.to_array());
    let [x1, y1, x2, y2] = std::array::from_fn(|i| from[i] + share * (to[i] - from[i]));
    // Sides that shrink along the way do not turn inside out.
    Rect::new(x1, y1, x2.max(x1 + 1.0), y2.max(y1 + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Detection;
    use crate::frame::{FrameId, Pixels};
    use crate::merge::{Merged, Provenance};
    use crate::track::{TrackSettings, Tracker};

    const SIZE: Size = Size::new(320, 64);
    /// 10 frames a second.
    const STEP: u64 = 100_000_000;

    fn frame(n: u64) -> Frame {
        let pixels = Pixels::owned(vec![0; SIZE.area() * 3]);
        Frame::new(FrameId(n), n * STEP, Letterbox::fit(SIZE, SIZE), pixels)
    }

    fn bbox(x: f32) -> Rect<ModelInput> {
        Rect::new(x, 10.0, x + 20.0, 50.0)
    }

    /// The tracks of a clip in which something of 20x40 pixels is seen where `sees` says, in the frames `1..n`.
    fn trail(n: u64, sees: impl Fn(u64) -> Vec<f32>) -> Trail {
        let (mut tracker, mut trail) = (Tracker::new(TrackSettings::default()), Trail::default());
        for i in 1..n {
            let merged = |x: f32| Merged {
                detection: Detection::new(3, 0.8, bbox(x)),
                provenance: Provenance::Computed,
                frame: FrameId(i),
                pts_ns: i * STEP,
            };
            let all: Vec<Merged> = sees(i).into_iter().map(merged).collect();
            let tracks = tracker.update(i * STEP, SIZE, &all, |d| d.score >= 0.4);
            trail.see(&frame(i), tracks);
        }
        trail
    }

    /// Somebody who walks three pixels a frame.
    fn way(i: u64) -> f32 {
        20.0 + 3.0 * i as f32
    }

    /// The one object of a frame is at `x`.
    fn is_at(trail: &Trail, n: u64, x: f32) {
        let told = trail.at(&frame(n)).expect("it is held");
        let [object] = told.objects[..] else { panic!("frame {n}: {told:?}") };
        assert!(object.class == 3 && object.bbox.iou(&bbox(x)) > 0.9, "frame {n}: {object:?}, expected {x}");
        assert!(told.doubtful.is_empty(), "{told:?}");
    }

    #[test]
    fn a_gap_is_filled_in() {
        let seen = trail(40, |i| if (20..26).contains(&i) { vec![] } else { vec![way(i)] });
        for n in [18, 20, 23, 25, 26] {
            is_at(&seen, n, way(n));
        }
    }

    #[test]
    fn who_is_confirmed_later_is_walked_back_within_the_picture() {
        let seen = trail(40, |i| if i < 15 { vec![] } else { vec![way(i)] });
        for n in [13, 14, 15, 16] {
            is_at(&seen, n, way(n));
        }
        let told = seen.at(&frame(9)).unwrap();
        assert!(told.objects.is_empty() && told.doubtful.len() == 1, "too long before: {told:?}");
        assert_eq!(seen.at(&frame(2)), Some(Followed::default()), "longer still");
        // Somebody who comes in at the left.
        let seen = trail(40, |i| if i < 15 { vec![] } else { vec![6.0 * (i - 15) as f32 + 3.0] });
        is_at(&seen, 15, 3.0);
        let told = seen.at(&frame(14)).unwrap();
        assert!(told.objects.is_empty() && told.doubtful[0].x1 == 0.0, "half outside: {told:?}");
    }

    #[test]
    fn what_is_filled_in_behind_a_mask_is_in_doubt() {
        let seen = trail(40, |i| if (20..26).contains(&i) { vec![] } else { vec![way(i)] });
        let mut told = seen.at(&frame(22)).unwrap();
        let left = |share: f32| vec![[0.0, 0.0], [share, 0.0], [share, 1.0], [0.0, 1.0]];
        told.hide(&[left(0.2)], SIZE);
        assert_eq!((told.objects.len(), told.doubtful.len()), (1, 0));
        told.hide(&[left(0.5)], SIZE);
        assert_eq!((told.objects.len(), told.doubtful.len()), (0, 1));
    }

    #[test]
    fn what_ends_is_followed_for_a_moment() {
        let seen = trail(40, |i| if i > 20 { vec![] } else { vec![way(i)] });
        is_at(&seen, 22, way(22));
        assert_eq!(seen.at(&frame(23)).unwrap().objects, [], "less than half of where it was seen");
    }

    #[test]
    fn what_never_moves_and_what_is_not_confirmed_is_none() {
        let stands = trail(60, |i| if i == 30 { vec![] } else { vec![100.0] });
        assert_eq!(stands.at(&frame(29)), Some(Followed::default()));
        assert_eq!(stands.at(&frame(30)), Some(Followed::default()));
        let twice = trail(40, |i| if (20..22).contains(&i) { vec![way(i)] } else { vec![] });
        assert_eq!(twice.at(&frame(20)), Some(Followed::default()));
    }

    #[test]
    fn what_is_unsure_is_in_doubt() {
        let doubtful = |seen: &Trail, n: u64| {
            let told = seen.at(&frame(n)).expect("it is held");
            assert!(told.objects.is_empty(), "frame {n}: {told:?}");
            assert!(told.doubtful.iter().any(|b| b.iou(&bbox(way(n))) > 0.9), "frame {n}: {told:?}");
        };
        // Longer than is filled in.
        let seen = trail(50, |i| if (20..32).contains(&i) { vec![] } else { vec![way(i)] });
        doubtful(&seen, 25);
        // Somebody else stands where somebody goes who is not seen then.
        let crowd = trail(40, |i| if (20..26).contains(&i) { vec![way(22)] } else { vec![way(22), way(i)] });
        let told = crowd.at(&frame(22)).unwrap();
        assert!(told.objects.is_empty(), "{told:?}");
        // What stood for long, and then goes: it may be somebody else under its number.
        let seen = trail(60, |i| vec![if i < 40 { way(40) } else { way(i) }]);
        let told = seen.at(&frame(38)).unwrap();
        assert!(told.objects.is_empty() && told.doubtful == [bbox(way(40))], "{told:?}");
    }

    #[test]
    fn what_is_not_held_is_not_told() {
        let seen = trail(100, |i| vec![way(i % 60)]);
        assert_eq!((seen.at(&frame(30)), seen.at(&frame(100))), (None, None));
        assert!(seen.at(&frame(90)).is_some());
        assert_eq!(seen.at(&frame(90).of_epoch(1)), None, "of another epoch");
        let mut after = seen;
        after.see(&frame(5).of_epoch(1), &[]);
        assert_eq!(after.at(&frame(90)), None);
        assert_eq!(after.at(&frame(5).of_epoch(1)), Some(Followed::default()));
    }

    #[test]
    fn memory_is_bounded_over_many_frames() {
        let (mut tracker, mut trail) = (Tracker::new(TrackSettings::default()), Trail::default());
        let some: Vec<Merged> = (0..30)
            .map(|i| Merged {
                detection: Detection::new(0, 0.8, Rect::new(i as f32 * 10.0, 0.0, i as f32 * 10.0 + 9.0, 20.0)),
                provenance: Provenance::Computed,
                frame: FrameId(0),
                pts_ns: 0,
            })
            .collect();
        let mut at = frame(0);
        for i in 1..100_000u64 {
            // A millisecond apart, at the worst.
            at.pts_ns = i * 1_000_000;
            if i % 100 == 1 {
                tracker.update(at.pts_ns, SIZE, &some, |_| true);
            }
            trail.see(&at, tracker.tracks());
            assert!(trail.frames.len() <= MOST_FRAMES && trail.sightings.len() <= MOST_SIGHTINGS);
        }
        assert!(trail.sightings.capacity() < 4 * MOST_SIGHTINGS && trail.at(&at).is_some());
    }
}
