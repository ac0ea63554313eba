//! What happens in a picture: objects come, stay in zones, cross lines, and leave.
//!
//! In: a camera's tracks, frame by frame. Out: messages about events (one event is one
//! object's stay), how many objects are in which zone, and how often lines were crossed.
//! An object stands where the middle of its box's lower side is. Pure; the state of one stream.

pub mod event;
pub mod filter;
pub mod shape;

use crate::geom::Size;
use crate::track::{State, Track};
use event::{Crossing, Direction, Event, MOST, Message, Moment, Phase, Stay};
use filter::foot;
use shape::{Point, Polygon, Segment};

/// An area of interest.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    pub name: String,
    pub area: Polygon,
    /// Labels that count; empty: all.
    pub labels: Vec<String>,
    /// Frames in a row that an object must be inside, or outside, before it counts as such.
    pub inertia: u32,
    /// So long an object must be inside before it counts.
    pub loitering_ns: u64,
}

/// A line that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub name: String,
    pub segment: Segment,
    /// Labels that count; empty: all.
    pub labels: Vec<String>,
    /// Frames in a row that an object must be on the other side before it has crossed.
    pub inertia: u32,
}

/// What is watched in a camera's picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SceneSettings {
    pub zones: Vec<Zone>,
    pub lines: Vec<Line>,
    /// Zones of which an object must have been in one before there is an event; empty: any object is one.
    pub required: Vec<String>,
}

impl SceneSettings {
    pub fn zone_names(&self) -> Vec<&str> {
        self.zones.iter().map(|z| z.name.as_str()).collect()
    }

    pub fn line_names(&self) -> Vec<&str> {
        self.lines.iter().map(|l| l.name.as_str()).collect()
    }
}

/// Between two messages about small things: a better picture.
const PAUSE_NS: u64 = 1_000_000_000;
/// A picture must be this much better than the last one.
const BETTER: f32 = 1.15;
/// Most events at a time; objects beyond get none.
pub const MOST_EVENTS: usize = 256;

/// An object on its way, beside what is told of it.
#[derive(Debug, Clone)]
struct Visit {
    event: Event,
    /// Whether it has been told of, and can be.
    is_told: bool,
    is_due: bool,
    in_zones: Vec<Presence>,
    at_lines: Vec<Side>,
    /// How good a picture this frame would make, and how good the one that was taken is.
    worth: f32,
    best: f32,
    told_ns: u64,
    is_here: bool,
}

/// An object and a zone.
#[derive(Debug, Clone, Copy, Default)]
struct Presence {
    /// Frames in a row inside (above 0) or outside (below).
    n: i32,
    /// Since when it has been inside.
    since: Option<Moment>,
    counts: bool,
}

/// An object and a line.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    /// The last place that was for certain on one side.
    settled: Option<Point>,
    /// Frames in a row on the other one, and where it was first there.
    n: u32,
    over: Point,
}

/// The events of one stream.
#[derive(Debug, Clone)]
pub struct Scene {
    settings: SceneSettings,
    /// `[zone][class]`, `[line][class]`: whether it counts there.
    zone_counts: Vec<Vec<bool>>,
    line_counts: Vec<Vec<bool>>,
    /// One a zone: whether it is required.
    is_required: Vec<bool>,
    visits: Vec<Visit>,
    /// `[zone][class]`: objects inside now.
    inside: Vec<Vec<u32>>,
    /// `[line][class]`: crossings to the right and to the left since the start.
    crossed: Vec<Vec<[u64; 2]>>,
    /// `[class]`: objects in the picture now.
    present: Vec<u32>,
    n_refused: u64,
    last_refused: u64,
}

impl Scene {
    /// `labels` are the model's.
    pub fn new(settings: SceneSettings, labels: &[String]) -> Self {
        let counts = |wanted: &[String]| labels.iter().map(|l| wanted.is_empty() || wanted.contains(l)).collect();
        Self {
            zone_counts: settings.zones.iter().map(|z| counts(&z.labels)).collect(),
            line_counts: settings.lines.iter().map(|l| counts(&l.labels)).collect(),
            is_required: settings.zones.iter().map(|z| settings.required.contains(&z.name)).collect(),
            inside: vec![vec![0; labels.len()]; settings.zones.len()],
            crossed: vec![vec![[0; 2]; labels.len()]; settings.lines.len()],
            present: vec![0; labels.len()],
            visits: Vec::new(),
            n_refused: 0,
            last_refused: 0,
            settings,
        }
    }

    /// Other zones and lines are watched from now on. Objects, and what is known of them at zones and lines that keep
    /// their names, stay.
    pub fn change(&mut self, settings: SceneSettings, labels: &[String]) {
        let before = std::mem::replace(self, Self::new(settings, labels));
        let named = |names: &[&str], name: &str| names.iter().position(|n| *n == name);
        let [zones_before, zones] = [&before.settings, &self.settings].map(SceneSettings::zone_names);
        let [lines_before, lines] = [&before.settings, &self.settings].map(SceneSettings::line_names);
        // Of each one now: its number before.
        let zone_was: Vec<Option<usize>> = zones.iter().map(|z| named(&zones_before, z)).collect();
        let line_was: Vec<Option<usize>> = lines.iter().map(|l| named(&lines_before, l)).collect();
        let is = |was: &[Option<usize>], number: usize| was.iter().position(|w| *w == Some(number));
        let mut visits = before.visits;
        for visit in &mut visits {
            visit.in_zones =
                zone_was.iter().map(|was| was.map_or_else(Presence::default, |i| visit.in_zones[i])).collect();
            visit.at_lines = line_was.iter().map(|was| was.map_or_else(Side::default, |i| visit.at_lines[i])).collect();
            let event = &mut visit.event;
            event.stays.retain_mut(|s| is(&zone_was, s.zone).map(|zone| s.zone = zone).is_some());
            event.crossings.retain_mut(|c| is(&line_was, c.line).map(|line| c.line = line).is_some());
        }
        for (inside, was) in self.inside.iter_mut().zip(&zone_was) {
            was.iter().for_each(|&i| inside.clone_from(&before.inside[i]));
        }
        for (crossed, was) in self.crossed.iter_mut().zip(&line_was) {
            was.iter().for_each(|&i| crossed.clone_from(&before.crossed[i]));
        }
        (self.visits, self.present) = (visits, before.present);
        (self.n_refused, self.last_refused) = (before.n_refused, before.last_refused);
    }

    /// Whether nobody's stay lasts.
    pub fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    /// `[class]`: objects in the picture now.
    pub fn present(&self) -> &[u32] {
        &self.present
    }

    /// `[zone][class]`: objects inside now.
    pub fn inside(&self) -> &[Vec<u32>] {
        &self.inside
    }

    /// `[line][class]`: crossings to the right and to the left since the start.
    pub fn crossed(&self) -> &[Vec<[u64; 2]>] {
        &self.crossed
    }

    /// Objects that got no event, and were in no zone, because there were too many.
    pub fn n_refused(&self) -> u64 {
        self.n_refused
    }

    /// Brings the scene to a frame; `content` is the picture inside the model's input. What is to be
    /// told comes into `out`.
    pub fn update(&mut self, now: Moment, content: Size, tracks: &[Track], out: &mut Vec<Message>) {
        for visit in &mut self.visits {
            visit.is_here = false;
        }
        self.present.iter_mut().for_each(|n| *n = 0);
        for track in tracks.iter().filter(|t| t.state != State::Tentative) {
            if let Some(n) = self.present.get_mut(track.class as usize).filter(|_| track.is_present()) {
                *n += 1;
            }
            let Some(i) = self.visit_of(track, now) else { continue };
            self.visits[i].is_here = true;
            if track.is_present() {
                self.see(i, now, content, track);
            } else {
                // Hidden: this frame does not show it.
                (self.visits[i].event.state, self.visits[i].worth) = (track.state, 0.0);
            }
            self.tell(i, now, out);
        }
        self.end_all(|v| !v.is_here, out);
        self.count();
    }

    /// The stream is interrupted: every object leaves.
    pub fn end(&mut self, out: &mut Vec<Message>) {
        self.end_all(|_| true, out);
        self.present.iter_mut().for_each(|n| *n = 0);
        self.count();
    }

    fn visit_of(&mut self, track: &Track, now: Moment) -> Option<usize> {
        if let Some(i) = self.visits.iter().position(|v| v.event.track == track.id) {
            return Some(i);
        }
        if !track.is_present() {
            return None;
        }
        if self.visits.len() >= MOST_EVENTS {
            // Each is counted once: numbers only grow.
            self.n_refused += u64::from(track.id > self.last_refused);
            self.last_refused = self.last_refused.max(track.id);
            return None;
        }
        let before_ns = now.pts_ns.saturating_sub(track.first_ns);
        let from = Moment { pts_ns: track.first_ns, unix_ns: now.unix_ns.saturating_sub(before_ns) };
        let event = Event {
            track: track.id,
            class: track.class,
            state: track.state,
            from,
            to: now,
            score: track.score,
            top_score: track.score,
            bbox: track.bbox(),
            stays: Vec::new(),
            crossings: Vec::new(),
        };
        self.visits.push(Visit {
            event,
            is_told: false,
            is_due: true,
            in_zones: vec![Presence::default(); self.settings.zones.len()],
            at_lines: vec![Side::default(); self.settings.lines.len()],
            worth: 0.0,
            best: 0.0,
            told_ns: 0,
            is_here: true,
        });
        Some(self.visits.len() - 1)
    }

    fn see(&mut self, i: usize, now: Moment, content: Size, track: &Track) {
        let Self { settings, visits, zone_counts, line_counts, crossed, .. } = self;
        let visit = &mut visits[i];
        let (bbox, class) = (track.bbox(), track.class as usize);
        let event = &mut visit.event;
        visit.is_due |= event.state != track.state && event.state != State::Lost && track.state == State::Stationary;
        (event.state, event.to, event.bbox, event.score) = (track.state, now, bbox, track.score);
        event.class = track.class;
        event.top_score = event.top_score.max(track.score);
        // Large and sure is a good picture, cut off by the border is not.
        let picture = content.rect();
        let shown = bbox.intersection(&picture).area() / bbox.area().max(1.0);
        let worth = track.score * bbox.area().max(1.0).sqrt() * shown * shown;
        visit.worth = if track.looked_ns == now.pts_ns { worth } else { 0.0 };
        let foot = foot(&bbox, content);
        for (number, (zone, presence)) in settings.zones.iter().zip(&mut visit.in_zones).enumerate() {
            let is_wanted = zone_counts[number].get(class).is_some_and(|c| *c);
            let was = presence.counts;
            // What turned out to be of another class leaves.
            if !is_wanted && !was {
                continue;
            }
            presence.step(is_wanted && zone.area.contains(foot), now, zone);
            if presence.counts && !was {
                visit.is_due = true;
                if event.stays.len() < MOST {
                    event.stays.push(Stay { zone: number, from: presence.since.unwrap_or(now), to: None });
                }
            } else if was && !presence.counts {
                visit.is_due = true;
                event.stays.iter_mut().filter(|s| s.zone == number && s.to.is_none()).for_each(|s| s.to = Some(now));
            }
        }
        for (number, (line, side)) in settings.lines.iter().zip(&mut visit.at_lines).enumerate() {
            if !line_counts[number].get(class).is_some_and(|c| *c) {
                continue;
            }
            let Some(direction) = side.step(foot, line) else { continue };
            visit.is_due = true;
            if let Some(n) = crossed[number].get_mut(class) {
                n[direction as usize] += 1;
            }
            if event.crossings.len() < MOST {
                event.crossings.push(Crossing { line: number, direction, at: now });
            }
        }
    }

    fn tell(&mut self, i: usize, now: Moment, out: &mut Vec<Message>) {
        let visit = &mut self.visits[i];
        if !visit.is_told {
            let is_wanted = self.settings.required.is_empty()
                || visit.event.stays.iter().any(|s| self.is_required.get(s.zone).is_some_and(|r| *r));
            if is_wanted {
                (visit.is_told, visit.is_due, visit.best, visit.told_ns) = (true, false, visit.worth, now.pts_ns);
                out.push(Message { phase: Phase::New, event: visit.event.clone(), is_best: true });
            }
            return;
        }
        let is_best = visit.worth > visit.best * BETTER;
        if visit.is_due || (is_best && now.pts_ns.saturating_sub(visit.told_ns) >= PAUSE_NS) {
            if is_best {
                visit.best = visit.worth;
            }
            (visit.is_due, visit.told_ns) = (false, now.pts_ns);
            out.push(Message { phase: Phase::Update, event: visit.event.clone(), is_best });
        }
    }

    fn end_all(&mut self, ends: impl Fn(&Visit) -> bool, out: &mut Vec<Message>) {
        self.visits.retain_mut(|v| {
            let ends = ends(v);
            if ends && v.is_told {
                let to = v.event.to;
                v.event.stays.iter_mut().filter(|s| s.to.is_none()).for_each(|s| s.to = Some(to));
                out.push(Message { phase: Phase::End, event: v.event.clone(), is_best: false });
            }
            !ends
        });
    }

    fn count(&mut self) {
        for (number, inside) in self.inside.iter_mut().enumerate() {
            inside.iter_mut().for_each(|n| *n = 0);
            for visit in self.visits.iter().filter(|v| v.in_zones[number].counts && v.event.state != State::Lost) {
                if let Some(n) = inside.get_mut(visit.event.class as usize) {
                    *n += 1;
                }
            }
        }
    }
}

impl Presence {
    fn step(&mut self, is_inside: bool, now: Moment, zone: &Zone) {
        self.n = if is_inside { self.n.max(0).saturating_add(1) } else { self.n.min(0).saturating_sub(1) };
        let is_long = self.n.unsigned_abs() >= zone.inertia.max(1);
        match (is_inside, is_long) {
            (true, true) => {
                let since = *self.since.get_or_insert(now);
                self.counts |= now.pts_ns.saturating_sub(since.pts_ns) >= zone.loitering_ns;
            }
            (false, true) => *self = Self { n: self.n, ..Self::default() },
            // Not for long enough: as it was.
            _ => {}
        }
    }
}

impl Side {
    /// The direction in which the line has just been crossed.
    fn step(&mut self, foot: Point, line: &Line) -> Option<Direction> {
        let right = |p: Point| line.segment.side(p) > 0.0;
        let Some(settled) = self.settled.filter(|s| right(*s) != right(foot)) else {
            (self.settled, self.n) = (Some(foot), 0);
            return None;
        };
        if self.n == 0 {
            self.over = foot;
        }
        self.n += 1;
        if self.n < line.inertia.max(1) {
            return None;
        }
        let is_crossed = line.segment.is_crossed(settled, self.over);
        (self.settled, self.n) = (Some(foot), 0);
        is_crossed.then_some(if right(foot) { Direction::Right } else { Direction::Left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geom::Rect;
    use crate::merge::{Merged, Provenance};
    use crate::track::{TrackSettings, Tracker};

    const PICTURE: Size = Size::new(400, 200);
    const STEP: u64 = 100_000_000;
    const DAY: u64 = 1_700_000_000_000_000_000;

    struct Rig {
        tracker: Tracker,
        scene: Scene,
        frame: u64,
    }

    impl Rig {
        fn new(settings: SceneSettings) -> Self {
            let scene = Scene::new(settings, &["person".into(), "car".into()]);
            Self { tracker: Tracker::new(TrackSettings::default()), scene, frame: 0 }
        }

        /// One frame with objects of a class whose feet stand at these pixels. What is told of it.
        fn see(&mut self, all: &[(u16, f32, f32)]) -> Vec<Message> {
            self.frame += 1;
            let pts_ns = self.frame * STEP;
            let merged = |&(class, x, y): &(u16, f32, f32)| Merged {
                detection: crate::detect::Detection::new(class, 0.8, Rect::new(x - 10.0, y - 40.0, x + 10.0, y)),
                provenance: Provenance::Computed,
                frame: crate::frame::FrameId(self.frame),
                pts_ns,
            };
            let all: Vec<Merged> = all.iter().map(merged).collect();
            let tracks = self.tracker.update(pts_ns, PICTURE, &all, |_| true);
            let mut out = Vec::new();
            self.scene.update(Moment { pts_ns, unix_ns: DAY + pts_ns }, PICTURE, tracks, &mut out);
            out
        }

        /// The same, without what is told.
        fn wait(&mut self, n: usize, all: &[(u16, f32, f32)]) -> Vec<Phase> {
            (0..n).flat_map(|_| self.see(all)).map(|m| m.phase).collect()
        }
    }

    fn zone(name: &str, x1: f32, x2: f32) -> Zone {
        let area = Polygon(vec![[x1, 0.0], [x2, 0.0], [x2, 1.0], [x1, 1.0]]);
        Zone { name: name.into(), area, labels: Vec::new(), inertia: 3, loitering_ns: 0 }
    }

    #[test]
    fn other_zones_and_lines_leave_events_and_counts_as_they_are() {
        let settings = |zones: Vec<Zone>| SceneSettings { zones, lines: vec![line()], required: Vec::new() };
        let mut rig = Rig::new(settings(vec![zone("left", 0.0, 0.5), zone("right", 0.5, 1.0)]));
        let walk = |rig: &mut Rig, from: u16, to: u16| {
            (from..=to).step_by(5).for_each(|x| drop(rig.see(&[(0, f32::from(x), 150.0)])));
        };
        walk(&mut rig, 100, 250);
        assert_eq!(
            (rig.scene.inside(), rig.scene.crossed()),
            (&[vec![0, 0], vec![1, 0]][..], &[vec![[0, 1], [0, 0]]][..])
        );
        let labels = ["person".into(), "car".into()];
        rig.scene.change(settings(vec![zone("far", 0.9, 1.0), zone("right", 0.6, 1.0)]), &labels);
        assert_eq!(rig.scene.inside(), [vec![0, 0], vec![1, 0]], "right is the second one still");
        let told = rig.see(&[(0, 250.0, 150.0)]);
        assert!(told.iter().all(|m| m.phase != Phase::End), "{told:?}");
        walk(&mut rig, 255, 385);
        assert_eq!(rig.scene.inside(), [vec![1, 0], vec![1, 0]]);
        assert_eq!(rig.scene.crossed(), [vec![[0, 1], [0, 0]]], "what was counted stays");
        let mut out = Vec::new();
        rig.scene.end(&mut out);
        let [end] = &out[..] else { panic!("{out:?}") };
        let zones: Vec<usize> = end.event.stays.iter().map(|s| s.zone).collect();
        assert_eq!((zones, end.event.crossings.len()), (vec![1, 0], 1), "the left one is no more");
    }

    fn line() -> Line {
        // Down the middle: to its right is where x is smaller.
        let segment = Segment { from: [0.5, 0.0], to: [0.5, 1.0] };
        Line { name: "gate".into(), segment, labels: Vec::new(), inertia: 2 }
    }

    #[test]
    fn an_object_is_one_event_from_its_first_look_to_its_last() {
        let mut rig = Rig::new(SceneSettings::default());
        assert_eq!(rig.wait(2, &[(0, 100.0, 100.0)]), [], "not believed yet");
        let new = rig.see(&[(0, 100.0, 100.0)]);
        assert_eq!((new[0].phase, new[0].is_best, new[0].event.class), (Phase::New, true, 0));
        assert_eq!(new[0].event.from, Moment { pts_ns: STEP, unix_ns: DAY + STEP }, "from its first look on");
        assert_eq!(rig.scene.present(), [1, 0]);
        // Standing still is told once.
        assert_eq!(rig.wait(70, &[(0, 100.0, 100.0)]), [Phase::Update]);
        assert_eq!(rig.wait(10, &[]), [], "lost, and expected to come back");
        assert_eq!(rig.scene.present(), [0, 0]);
        assert_eq!(rig.wait(5, &[(0, 100.0, 100.0)]), [], "as it does");
        let mut told = Vec::new();
        while told.is_empty() {
            told = rig.see(&[]);
        }
        assert_eq!(told[0].phase, Phase::End);
        assert_eq!(told[0].event.to.pts_ns, 88 * STEP, "when it was last known to be there");
    }

    #[test]
    fn a_zone_counts_whoever_stays_in_it() {
        let mut rig = Rig::new(SceneSettings {
            zones: vec![zone("left", 0.0, 0.5), Zone { labels: vec!["car".into()], ..zone("cars", 0.0, 1.0) }],
            ..SceneSettings::default()
        });
        rig.wait(5, &[(0, 210.0, 100.0)]);
        assert_eq!(rig.scene.inside(), [[0, 0], [0, 0]]);
        // Over the border and back for two frames is nothing.
        assert_eq!(rig.wait(2, &[(0, 195.0, 100.0)]), []);
        assert_eq!(rig.wait(1, &[(0, 205.0, 100.0)]), []);
        let told: Vec<Message> = (0..4).flat_map(|i| rig.see(&[(0, 198.0 - i as f32, 100.0)])).collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].event.zones().collect::<Vec<_>>(), [0]);
        assert_eq!(rig.scene.inside(), [[1, 0], [0, 0]], "persons are no cars");
        let told: Vec<Message> = (0..4).flat_map(|i| rig.see(&[(0, 205.0 + i as f32, 100.0)])).collect();
        let stay = told[0].event.stays[0];
        assert_eq!(
            (told[0].event.zones().count(), stay.from.pts_ns, stay.to.unwrap().pts_ns),
            (0, 11 * STEP, 15 * STEP)
        );
        assert_eq!(rig.scene.inside(), [[0, 0], [0, 0]]);
    }

    #[test]
    fn who_only_passes_does_not_loiter() {
        let loiter = Zone { loitering_ns: 1_000_000_000, ..zone("door", 0.4, 0.6) };
        let mut rig =
            Rig::new(SceneSettings { zones: vec![loiter], required: vec!["door".into()], ..SceneSettings::default() });
        let told: Vec<Phase> =
            (0..30).flat_map(|i| rig.see(&[(0, 50.0 + 10.0 * i as f32, 100.0)])).map(|m| m.phase).collect();
        assert_eq!(told, [], "no event without the zone it needs");
        rig.wait(30, &[]);
        assert_eq!(rig.wait(11, &[(0, 200.0, 100.0)]), []);
        let new = rig.wait(5, &[(0, 200.0, 100.0)]);
        assert_eq!(new, [Phase::New]);
        assert_eq!(rig.wait(30, &[]), [Phase::End]);
    }

    #[test]
    fn a_line_is_crossed_once_and_in_a_direction() {
        let mut rig = Rig::new(SceneSettings { lines: vec![line()], ..SceneSettings::default() });
        for i in 0..40 {
            rig.see(&[(0, 100.0 + 5.0 * i as f32, 100.0)]);
        }
        assert_eq!(rig.scene.crossed()[0], [[0, 1], [0, 0]], "from the right to the left of the line");
        // Trembling on the line is no crossing.
        rig.wait(30, &[]);
        for i in 0..40 {
            rig.see(&[(1, if i % 2 == 0 { 203.0 } else { 197.0 }, 100.0)]);
        }
        assert_eq!(rig.scene.crossed()[0], [[0, 1], [0, 0]]);
        for i in 0..20 {
            let told = rig.see(&[(1, 205.0 - 4.0 * i as f32, 100.0)]);
            if let Some(m) = told.iter().find(|m| !m.event.crossings.is_empty()) {
                assert_eq!((m.event.crossings[0].line, m.event.crossings[0].direction), (0, Direction::Right));
            }
        }
        assert_eq!(rig.scene.crossed()[0], [[0, 1], [1, 0]]);
    }

    #[test]
    fn a_better_picture_is_told_but_not_in_every_frame() {
        let mut rig = Rig::new(SceneSettings::default());
        let mut best = Vec::new();
        // Comes in from the left border.
        for i in 0..60 {
            best.extend(rig.see(&[(0, -5.0 + 2.0 * i as f32, 100.0)]).into_iter().map(|m| (i, m.phase, m.is_best)));
        }
        assert_eq!(best[0], (2, Phase::New, true));
        assert!(best.len() == 2 && best[1].0 >= 12 && best[1].2, "{best:?}");
    }

    #[test]
    fn what_is_hidden_makes_no_better_picture() {
        let mut rig = Rig::new(SceneSettings::default());
        // Comes in from the border, shows well for a moment, and is hidden.
        let mut told = Vec::new();
        for x in [-8.0, -8.0, -8.0, 0.0, 8.0, 16.0] {
            told.extend(rig.see(&[(0, x, 100.0)]));
        }
        assert!(told.len() == 1 && told[0].is_best);
        let told: Vec<Message> = (0..15).flat_map(|_| rig.see(&[])).collect();
        assert!(told.iter().all(|m| !m.is_best), "{told:?}");
    }

    #[test]
    fn who_is_cut_off_by_the_border_is_in_the_zone_that_reaches_it() {
        let mut rig = Rig::new(SceneSettings { zones: vec![zone("right", 0.5, 1.0)], ..SceneSettings::default() });
        rig.wait(5, &[(0, 300.0, 200.0), (1, 400.0, 230.0)]);
        assert_eq!(rig.scene.inside(), [[1, 1]]);
    }

    #[test]
    fn an_interruption_ends_everything_and_a_storm_is_bounded() {
        let mut rig = Rig::new(SceneSettings { zones: vec![zone("all", 0.0, 1.0)], ..SceneSettings::default() });
        let crowd: Vec<(u16, f32, f32)> =
            (0..600).map(|i| (0, 400.0 * (i % 40) as f32, 50.0 * (i / 40) as f32)).collect();
        let n_new = (0..5).flat_map(|_| rig.see(&crowd)).filter(|m| m.phase == Phase::New).count();
        assert_eq!(n_new, MOST_EVENTS);
        assert!((1..=600).contains(&rig.scene.n_refused()) && rig.scene.present()[0] > MOST_EVENTS as u32);
        let mut out = Vec::new();
        rig.scene.end(&mut out);
        assert_eq!((out.len(), rig.scene.inside()[0][0]), (MOST_EVENTS, 0));
        assert!(out.iter().all(|m| m.phase == Phase::End && m.event.stays.iter().all(|s| s.to.is_some())));
    }
}
