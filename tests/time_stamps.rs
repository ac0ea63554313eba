//! Whatever time a camera stamps its pictures with: skip stage, tracks and scene behind an intake.

use passd::capture::{Intake, Slot, SlotMode, Taken};
use passd::clock::SimClock;
use passd::detect::Detection;
use passd::frame::Frame;
use passd::geom::{Letterbox, Rect, Size};
use passd::infer::{Coverage, Inference, Seen};
use passd::merge::MergeSettings;
use passd::scene::event::{Message, Moment, Phase};
use passd::scene::{Scene, SceneSettings};
use passd::skip::{SkipMode, SkipSettings};
use passd::stage::Stage;
use passd::track::TrackSettings;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// A stage behind a camera whose time stamps are whatever they are, and a detector that finds who is in the patches that
/// it is asked for.
struct Street {
    clock: Arc<SimClock>,
    intake: Intake,
    incarnation: u64,
    mode: SkipMode,
    stage: Stage,
    scene: Scene,
    epoch: u64,
    /// What the layer engine knows of the one who is there: when it last looked.
    seen: Option<Seen>,
    told: Vec<Message>,
}

const STREET: Size = Size::new(256, 128);
const MAX_AGE: u64 = 5 * SECOND;
const WALKER: Detection = Detection::new(0, 0.9, Rect::new(64.0, 16.0, 112.0, 112.0));

impl Street {
    fn new(mode: SkipMode) -> Self {
        let clock = Arc::new(SimClock::default());
        let slot = Arc::new(Slot::new(SlotMode::Latest));
        let intake = Intake::new(STREET, clock.clone(), slot, None);
        let skip = SkipSettings { max_age_ns: Some(MAX_AGE), ..SkipSettings::default() };
        let merge = MergeSettings { max_age_ns: MAX_AGE, ..MergeSettings::default() };
        Self {
            clock,
            incarnation: intake.begin(),
            intake,
            mode,
            stage: Stage::new(mode, STREET, &skip, merge, TrackSettings::default()),
            scene: Scene::new(SceneSettings::default(), &["person".into()]),
            epoch: 0,
            seen: None,
            told: Vec::new(),
        }
    }

    /// A picture with or without the walker, `pts_ns` being its own time. The frame that comes of it.
    fn show(&mut self, pts_ns: u64, is_there: bool) -> Frame {
        let mut picture = vec![90; STREET.area() * 3];
        if is_there {
            let r = WALKER.bbox;
            for y in r.y1 as usize..r.y2 as usize {
                picture[(y * 256 + r.x1 as usize) * 3..(y * 256 + r.x2 as usize) * 3].fill(200);
            }
        }
        let letterbox = Letterbox::fit(STREET, STREET);
        self.intake.deliver(self.incarnation, pts_ns, &letterbox, &picture, 256 * 3, &AtomicBool::new(false));
        let Taken::Frame(frame) = self.intake.slot().take(Duration::ZERO) else { panic!("no frame") };
        if frame.epoch != self.epoch {
            self.epoch = frame.epoch;
            self.scene.end(&mut self.told);
        }
        let asked = self.stage.begin(&frame).0;
        let mut fresh = Inference::default();
        let looks = asked.touches(&WALKER.bbox);
        if looks {
            self.seen = Some(Seen { frame: frame.id, pts_ns: frame.pts_ns });
        }
        fresh.coverage = match self.mode {
            _ if asked.is_empty() => Coverage::Nothing,
            SkipMode::Off => Coverage::Full,
            SkipMode::Layers => Coverage::Layers,
            SkipMode::Regions => Coverage::Regions(vec![STREET.rect()]),
        };
        fresh.tolerance.fill(STREET.rows_and_columns(), 1.0);
        if fresh.coverage != Coverage::Nothing && is_there {
            fresh.detections.push(WALKER);
            fresh.cut.push(false);
            fresh.seen.extend(self.seen);
        }
        self.stage.finish(&frame, &fresh, |_| true);
        self.stage.track(&frame, |_| true);
        let now = Moment { pts_ns: frame.pts_ns, unix_ns: frame.captured_unix_ns };
        self.scene.update(now, STREET, self.stage.tracks(), &mut self.told);
        frame
    }

    fn phases(&mut self) -> Vec<Phase> {
        self.told.drain(..).map(|m| m.phase).collect()
    }
}

const MODES: [SkipMode; 3] = [SkipMode::Off, SkipMode::Regions, SkipMode::Layers];

/// A camera's stamps tremble, stand, go back and leap; people come and go. Nothing is older than it may be, or younger
/// than the frame; nobody is followed, and nothing told, out of another epoch; who leaves is gone in time.
#[test]
fn whatever_a_camera_stamps_nothing_lasts_longer_than_it_may() {
    for (mode, seed) in MODES.into_iter().flat_map(|mode| (0..40).map(move |seed| (mode, seed))) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut street = Street::new(mode);
        let (mut pts, mut is_there, mut absent_since) = (random.u64(..1 << 40), false, None::<u64>);
        let (mut last, mut epoch_began) = ((0, 0), 0);
        let mut open: Option<u64> = None;
        for n in 0..400 {
            street.clock.advance(Duration::from_millis(random.u64(0..200)));
            match random.u8(..30) {
                0 => pts = random.u64(..u64::MAX / 2),
                1 => pts = pts.saturating_sub(random.u64(..100 * SECOND)),
                2 => pts += random.u64(..50 * SECOND),
                3 => street.clock.advance(Duration::from_secs(random.u64(..10_000))),
                4 => street.incarnation = street.intake.begin(),
                5..8 => pts = pts.saturating_sub(random.u64(..500 * MS)),
                8 => {}
                9..11 => is_there = !is_there,
                _ => pts += random.u64(1..200 * MS),
            }
            let frame = street.show(pts, is_there);
            let (now, what) = (frame.pts_ns, format!("{mode:?}, seed {seed}, frame {n}"));
            assert!(frame.epoch > last.0 || (frame.epoch == last.0 && now >= last.1), "{what}");
            if frame.epoch != last.0 {
                (epoch_began, absent_since) = (now, None);
            }
            last = (frame.epoch, now);
            for m in street.stage.followed() {
                assert!((epoch_began..=now).contains(&m.pts_ns), "{what}: {m:?}");
                assert!(now - m.pts_ns <= MAX_AGE, "{what}: {} ns old", now - m.pts_ns);
            }
            for t in street.stage.tracks() {
                let times = [epoch_began, t.first_ns, t.looked_ns, t.known_ns, now];
                assert!(times.is_sorted(), "{what}: {times:?}");
            }
            for told in street.told.drain(..) {
                let event = &told.event;
                assert!(event.from.pts_ns <= event.to.pts_ns && event.from.unix_ns <= event.to.unix_ns, "{what}");
                match told.phase {
                    Phase::New => assert_eq!(open.replace(event.track), None, "{what}: two of one walker"),
                    Phase::Update => assert_eq!(open, Some(event.track), "{what}"),
                    Phase::End => assert_eq!(open.take(), Some(event.track), "{what}"),
                }
            }
            absent_since = (!is_there).then(|| absent_since.unwrap_or(now));
            let longest = MAX_AGE + TrackSettings::default().lost_stationary_ns;
            if absent_since.is_some_and(|since| now - since > longest) {
                assert!(open.is_none() && street.scene.is_empty(), "{what}: still there");
            }
        }
    }
}

/// A camera's time goes back by an hour while somebody is there, who leaves then; a minute later the next one comes.
#[test]
fn who_leaves_after_time_went_back_is_gone_and_the_next_one_is_new() {
    for mode in MODES {
        let mut street = Street::new(mode);
        let mut minutes = |from: u64, n: u64, is_there: bool| {
            for i in 0..n * 600 {
                street.clock.advance(Duration::from_millis(100));
                street.show(from + i * 100 * MS, is_there);
            }
            (street.phases(), street.stage.tracks().iter().map(|t| t.id).collect::<Vec<_>>())
        };
        let (told, first) = minutes(3600 * SECOND, 1, true);
        let comes = |told: &[Phase]| told.iter().filter(|phase| **phase != Phase::Update).eq([&Phase::New]);
        assert!(comes(&told), "{mode:?}: {told:?}");
        assert_eq!(minutes(0, 1, false), (vec![Phase::End], vec![]), "{mode:?}");
        let (told, next) = minutes(60 * SECOND, 1, true);
        assert!(comes(&told), "{mode:?}: {told:?}");
        assert!(next[0] > first[0], "{mode:?}: {next:?} after {first:?}");
    }
}
