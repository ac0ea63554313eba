//! The decision: changed, stale, forced, masked or kept, patch by patch.

use super::breakeven::BreakEven;
use super::decision::{Counts, Decision, GlobalChange, Reason};
use super::diff::{CELL, Differ};
use super::light;
use super::masks::{Corner, patches_where};
use super::mode::{PatchCost, SkipMode};
use super::noise::Noise;
use super::prescreen::RowPrescreen;
use crate::frame::Frame;
use crate::geom::{Letterbox, PatchGrid, PatchMask, Size, encloses};
use engine::gating::policy::PicturePolicy;
use engine::tolerance::ToleranceMap;

/// What the user sets.
#[derive(Debug, Clone, PartialEq)]
pub struct SkipSettings {
    /// Side of a patch, pixels of model input: 8, 16, 32 or 64; `None`: what suits the mode.
    pub patch: Option<u32>,
    /// Least mean difference of an 8x8 cell that is a change, levels of 255, on top of
    /// the cell's own noise; `None`: what suits the mode.
    pub threshold: Option<f32>,
    /// Nothing that is known is older than this; `None`: what suits the mode.
    pub max_age_ns: Option<u64>,
    /// Objects whose way is known go for so long without a look; 0: not at all, `None`: what suits the mode.
    pub predict_ns: Option<u64>,
    /// Changed share of the picture from which everything is computed, 0..=1.
    pub global_share: f32,
    /// Areas to ignore: polygons in shares (0..=1) of the camera picture's sides.
    pub masks: Vec<Vec<[f32; 2]>>,
}

impl Default for SkipSettings {
    fn default() -> Self {
        Self { patch: None, threshold: None, max_age_ns: None, predict_ns: None, global_share: 0.6, masks: Vec::new() }
    }
}

impl SkipSettings {
    /// Side of a patch.
    pub fn patch_in(&self, mode: SkipMode) -> u32 {
        self.patch.unwrap_or(mode.policy().patch)
    }

    /// Age that nothing exceeds.
    pub fn max_age_in(&self, mode: SkipMode) -> u64 {
        self.max_age_ns.unwrap_or(mode.policy().max_age_ns)
    }

    /// How long objects whose way is known go without a look.
    pub fn predict_in(&self, mode: SkipMode) -> u64 {
        self.predict_ns.unwrap_or(mode.policy().predict_ns)
    }

    /// Least change of a cell.
    pub fn threshold_in(&self, mode: SkipMode) -> f32 {
        self.threshold.unwrap_or(mode.policy().threshold)
    }
}

/// Light may move this far from the last full picture before it is computed anew.
const MAX_GAIN: f32 = 1.25;
/// A change of this many levels is one of what is seen, not of how it is shown.
const STRONG: f32 = 8.0;
/// Closer to 1 than this, the light counts as unchanged and costs nothing.
const SAME_LIGHT: f32 = 0.012;
/// Every how many rows of cells the noise is measured in one frame: all rows in this many frames.
const NOISE_TURN: u64 = 8;
/// In this many first frames all rows are measured, so that the noise is known within a second.
const NOISE_START: u64 = 8;
/// A patch that has been at rest for this many frames is looked at once more, however little it still
/// differs: by night somebody who has left differs from the wall behind by less than the noise.
const RECHECK_AFTER: u32 = 2;
const SEEN_AT_REST: u32 = u32::MAX;
/// Patches grow stale block by block: this many blocks each way.
const STALE_BLOCKS: usize = 2;

/// The skip stage of one stream.
pub struct SkipStage {
    mode: SkipMode,
    settings: SkipSettings,
    picture: PicturePolicy,
    decision: Decision,
    state: Option<State>,
    force: Option<GlobalChange>,
}

/// What is known of the stream so far.
struct State {
    cost: PatchCost,
    picture: PicturePolicy,
    /// Least change of a cell, and age that nothing exceeds.
    threshold: f32,
    letterbox: Letterbox,
    /// The last accepted picture, patch by patch.
    reference: Vec<u8>,
    /// The same under this frame's light; used while the light has changed.
    relit: Vec<u8>,
    before: Vec<u8>,
    noise: Noise,
    /// Not part of the camera's picture.
    padding: PatchMask,
    masked: PatchMask,
    /// Of each patch, as long as nothing happens.
    usual: Vec<Reason>,
    n_masked: u32,
    tolerance: ToleranceMap,
    break_even: BreakEven,
    /// When each patch was last computed because it was asked for; moved back to stagger staleness.
    asked_ns: Vec<i64>,
    /// For how many frames each patch has been at rest; [`SEEN_AT_REST`] once it was computed so.
    at_rest: Vec<u32>,
    differ: Differ,
    /// One a cell: difference from the reference, then of one row of pixels
    /// the sums now and in the reference.
    sad: Vec<u32>,
    sums: Vec<u32>,
    reference_sums: Vec<u32>,
    /// Scratch.
    flicker: Vec<u32>,
    prescreen: RowPrescreen,
    levels: Vec<f32>,
    ratios: Vec<f32>,
    n_frames: u64,
}

impl SkipStage {
    /// # Panics
    /// If the patch is no multiple of 8.
    pub fn new(mode: SkipMode, settings: SkipSettings, input: Size) -> Self {
        let patch = settings.patch_in(mode);
        assert!(patch >= 8 && patch.is_multiple_of(8), "patches are made of cells of 8x8 pixels");
        let grid = PatchGrid::new(input, patch);
        let decision = Decision {
            patches: PatchMask::empty(grid),
            reasons: vec![Reason::Kept; grid.n_patches()],
            counts: Counts::default(),
            global: None,
            gain: 1.0,
        };
        Self { mode, settings, picture: PicturePolicy::default(), decision, state: None, force: None }
    }

    pub fn grid(&self) -> PatchGrid {
        self.decision.patches.grid()
    }

    /// The last decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The next frame is computed as a whole.
    pub fn request_full(&mut self) {
        self.force = Some(GlobalChange::Requested);
    }

    /// Forgets the stream: the next frame starts a new one.
    pub fn reset(&mut self) {
        self.state = None;
    }

    /// Decides for the next frame of the stream.
    pub fn decide(&mut self, frame: &Frame) -> &Decision {
        assert_eq!(frame.size(), self.grid().size, "one stage serves one model input");
        if self.state.as_ref().is_some_and(|s| s.letterbox != frame.letterbox) {
            self.state = None;
        }
        match &mut self.state {
            None => {
                self.state =
                    Some(State::new(frame, self.decision.patches.grid(), &self.settings, self.mode, &self.picture));
                self.force = None;
                self.decision.all(GlobalChange::Start);
            }
            Some(state) => {
                let max_age_ns = self.settings.max_age_in(self.mode);
                let global = state.decide(frame, &self.settings, max_age_ns, &mut self.decision);
                let motion =
                    || state.break_even.is_passed(self.decision.counts.asked()).then_some(GlobalChange::Motion);
                if let Some(why) = self.force.take().or(global).or_else(motion) {
                    self.decision.all(why);
                }
            }
        }
        &self.decision
    }

    /// Takes what changed in `patches` out of the decision: it is explained, and will be asked for again.
    pub fn put_off(&mut self, patches: &PatchMask) {
        let d = &mut self.decision;
        for patch in patches.iter() {
            if d.reasons[patch] == Reason::Changed {
                d.reasons[patch] = Reason::Predicted;
                d.patches.unset(patch);
                d.counts.changed -= 1;
                d.counts.predicted += 1;
            }
        }
    }

    /// How closely frames are followed from now on.
    pub fn follow(&mut self, tolerance: &ToleranceMap) {
        if let Some(state) = &mut self.state {
            state.tolerance.copy_from(tolerance);
        }
    }

    /// Of a whole frame's work, the share (0..=1) that the last decision took.
    pub fn weigh(&mut self, share: f64) {
        if let (Some(state), None) = (&mut self.state, self.decision.global) {
            state.break_even.learn(self.decision.counts.asked(), share);
        }
    }

    /// Age that nothing exceeds from now on.
    pub fn set_max_age(&mut self, max_age_ns: u64) {
        self.settings.max_age_ns = Some(max_age_ns);
    }

    /// By what pictures are judged, for streams that begin from now on.
    pub fn set_policy(&mut self, picture: &PicturePolicy) {
        self.picture = picture.clone();
    }

    /// Takes over the pictures of the patches that were computed.
    ///
    /// Call it with the frame of the last [`SkipStage::decide`]. What was asked
    /// for and is left out will be asked for again. What was computed for its
    /// neighbours' sake only goes on growing stale: nobody asked what is there.
    pub fn accept(&mut self, frame: &Frame, computed: &PatchMask) {
        if let Some(state) = &mut self.state {
            state.accept(frame, computed, self.settings.max_age_in(self.mode), &self.decision);
        }
    }
}

impl State {
    fn new(frame: &Frame, grid: PatchGrid, settings: &SkipSettings, mode: SkipMode, picture: &PicturePolicy) -> Self {
        let size = frame.size();
        let n_cells = (size.width as usize).div_ceil(CELL) * (size.height as usize).div_ceil(CELL);
        let mut differ = Differ::new(size.width as usize);
        let mut sums = vec![0; n_cells];
        light::sums(&mut differ, frame, &mut sums);
        let padding = patches_where(grid, &frame.letterbox, |x, y| x >= 1.0 || y >= 1.0, Corner::TopLeft);
        let is_masked = |x, y| settings.masks.iter().any(|polygon| encloses(polygon, [x, y]));
        let masked = patches_where(grid, &frame.letterbox, is_masked, Corner::Middle);
        let is_watched = |patch: usize| !padding.get(patch) && !masked.get(patch);
        let usual = |patch| if is_watched(patch) { Reason::Kept } else { Reason::Masked };
        let usual: Vec<Reason> = (0..grid.n_patches()).map(usual).collect();
        Self {
            cost: mode.policy().cost,
            picture: picture.clone(),
            threshold: settings.threshold_in(mode),
            letterbox: frame.letterbox,
            reference: frame.data().to_vec(),
            relit: vec![0; frame.data().len()],
            before: frame.data().to_vec(),
            noise: Noise::new(n_cells),
            padding,
            masked,
            n_masked: usual.iter().filter(|reason| **reason == Reason::Masked).count() as u32,
            usual,
            tolerance: ToleranceMap::default(),
            break_even: BreakEven::new(picture.break_even),
            asked_ns: vec![i64::MIN; grid.n_patches()],
            at_rest: vec![SEEN_AT_REST; grid.n_patches()],
            sad: vec![0; n_cells],
            reference_sums: sums.clone(),
            sums,
            flicker: vec![0; differ.cols()],
            prescreen: RowPrescreen::new(grid.cols),
            levels: Vec::with_capacity(differ.cols()),
            differ,
            ratios: Vec::with_capacity(n_cells),
            n_frames: 0,
        }
    }

    /// Whether the reference is brought to each frame's light.
    fn is_relit(&self) -> bool {
        self.cost == PatchCost::Region
    }

    fn decide(
        &mut self,
        frame: &Frame,
        settings: &SkipSettings,
        max_age_ns: u64,
        d: &mut Decision,
    ) -> Option<GlobalChange> {
        let grid = d.patches.grid();
        let width = grid.size.width as usize;
        let cell_rows = (grid.size.height as usize).div_ceil(CELL);
        let cell_cols = width.div_ceil(CELL);
        self.learn_noise(frame);
        // The layer engine's maps are of one light too, and its gates see what light does to them.
        d.gain = if self.is_relit() {
            light::sums(&mut self.differ, frame, &mut self.sums);
            light::gain(&self.sums, &self.reference_sums, (CELL * 3) as u32, &mut self.ratios)
        } else {
            1.0
        };
        let reference = if (d.gain - 1.0).abs() < SAME_LIGHT {
            &self.reference
        } else {
            light::relit(&self.reference, d.gain, &mut self.relit);
            &self.relit
        };
        let band = width * 3 * CELL;
        let bands = frame.data().chunks(band).zip(reference.chunks(band));
        for ((now, then), sums) in bands.zip(self.sad.chunks_mut(cell_cols)) {
            self.differ.sad_row(now, then, sums);
        }

        d.patches.clear();
        d.reasons.copy_from_slice(&self.usual);
        let mut counts = Counts { masked: self.n_masked, ..Counts::default() };
        let mut n_strong = 0;
        let cells = grid.patch as usize / CELL;
        let now = frame.pts_ns as i64;
        let is_older = |asked_ns: i64, limit: i64| now.saturating_sub(asked_ns) >= limit;
        let limits = self.stale_limits(grid, now, max_age_ns);
        let least_limit = limits.iter().copied().min().unwrap_or(i64::MAX);
        let looks_again = self.cost == PatchCost::Itself;
        for row in 0..grid.rows {
            let y = row * cells..((row + 1) * cells).min(cell_rows);
            let patches = row * grid.cols..(row + 1) * grid.cols;
            let at_rest = &mut self.at_rest[patches.clone()];
            at_rest.iter_mut().for_each(|rest| *rest = rest.saturating_add(1));
            let rested = at_rest.iter().map(|rest| looks_again && is_rested(*rest));
            let threshold = (self.threshold, self.picture.tolerance_share);
            self.prescreen.begin(grid, row, threshold, &self.tolerance, rested);
            for y in y.clone() {
                let row = y * cell_cols..(y + 1) * cell_cols;
                self.prescreen.look(cells, self.sad[row.clone()].iter().map(|sad| level(*sad)), self.noise.levels(row));
            }
            let may_be_stale = self.asked_ns[patches.clone()].iter().any(|asked| is_older(*asked, least_limit));
            for (col, patch) in patches.enumerate() {
                if !(self.prescreen.is_notable(col) || may_be_stale) || self.padding.get(patch) {
                    continue;
                }
                let masked = self.masked.get(patch);
                let threshold = self.prescreen.threshold(col);
                let x = col * cells..((col + 1) * cells).min(cell_cols);
                let most =
                    y.clone().flat_map(|y| x.clone().map(move |x| y * cell_cols + x)).fold(0.0f32, |most, cell| {
                        let level = level(self.sad[cell]);
                        if level > threshold { most.max(self.noise.beyond(cell, level)) } else { most }
                    });
                let changed = !masked && most > threshold;
                n_strong += u32::from(changed && most > STRONG);
                if changed {
                    self.at_rest[patch] = 0;
                }
                let came_to_rest = !masked && looks_again && is_rested(self.at_rest[patch]);
                d.reasons[patch] = if changed || came_to_rest {
                    counts.changed += 1;
                    Reason::Changed
                } else if is_older(self.asked_ns[patch], limits[block_of(grid, col, row)]) {
                    counts.stale += 1;
                    counts.masked -= u32::from(masked);
                    Reason::Stale
                } else {
                    continue;
                };
                d.patches.set(patch);
            }
        }
        counts.kept = grid.n_patches() as u32 - counts.masked - counts.changed - counts.stale;
        d.counts = counts;
        d.global = None;
        let n_watched = (grid.n_patches() - counts.masked as usize).max(1);
        // Where the patches are sensitive, most of them may change a little without the scene changing.
        let n_changed = if self.cost == PatchCost::Itself { n_strong } else { counts.changed };
        if n_changed as f32 > settings.global_share * n_watched as f32 {
            return Some(GlobalChange::Scene);
        }
        (!(1.0 / MAX_GAIN..=MAX_GAIN).contains(&d.gain)).then_some(GlobalChange::Light)
    }

    /// The age from which a patch is stale, a block: the limit, or half of it
    /// where one patch of the block is due, so that the others come along. One
    /// by one they would cost a region each.
    fn stale_limits(&self, grid: PatchGrid, now: i64, max_age_ns: u64) -> [i64; STALE_BLOCKS * STALE_BLOCKS] {
        let limit = max_age_ns as i64;
        if self.cost == PatchCost::Itself {
            return [limit; STALE_BLOCKS * STALE_BLOCKS];
        }
        let mut limits = [limit; STALE_BLOCKS * STALE_BLOCKS];
        for (patch, asked) in self.asked_ns.iter().enumerate() {
            if now.saturating_sub(*asked) >= limit && !self.padding.get(patch) {
                limits[block_of(grid, patch % grid.cols, patch / grid.cols)] = limit / 2;
            }
        }
        limits
    }

    /// Compares some rows of cells with the frame before, others next time; all of them at first.
    fn learn_noise(&mut self, frame: &Frame) {
        let band = frame.size().width as usize * 3 * CELL;
        let n_turns = if self.n_frames < NOISE_START { 1 } else { NOISE_TURN };
        let turn = (self.n_frames % n_turns) as usize;
        let next = ((self.n_frames + 1) % n_turns) as usize;
        self.n_frames += 1;
        let cols = self.differ.cols();
        for (row, (now, before)) in frame.data().chunks(band).zip(self.before.chunks_mut(band)).enumerate() {
            if row % n_turns as usize == turn {
                self.differ.sad_row(now, before, &mut self.flicker);
                self.levels.clear();
                self.levels.extend(self.flicker.iter().map(|sum| *sum as f32 / (CELL * CELL * 3) as f32));
                self.noise.learn(row * cols, &self.levels);
            }
            if row % n_turns as usize == next {
                before.copy_from_slice(now);
            }
        }
    }

    fn accept(&mut self, frame: &Frame, computed: &PatchMask, max_age_ns: u64, decision: &Decision) {
        let grid = computed.grid();
        let width = grid.size.width as usize;
        let (p, stride) = (grid.patch as usize, width * 3);
        let now = frame.pts_ns as i64;
        let whole = computed.count() == grid.n_patches();
        // The reference is of one light. Parts that come in under another are
        // brought back to it; a whole picture brings its own.
        let back = if whole || (decision.gain - 1.0).abs() < SAME_LIGHT { 1.0 } else { 1.0 / decision.gain };
        for (col, row, n) in computed.runs() {
            let x = col * p * 3..((col + n) * p * 3).min(stride);
            for y in row * p..((row + 1) * p).min(grid.size.height as usize) {
                let bytes = y * stride + x.start..y * stride + x.end;
                if back == 1.0 {
                    self.reference[bytes.clone()].copy_from_slice(&frame.data()[bytes]);
                } else {
                    light::relit(&frame.data()[bytes.clone()], back, &mut self.reference[bytes]);
                }
            }
        }
        for patch in computed.iter() {
            // Patches that were accepted together would grow stale together:
            // after a whole picture the blocks' ages are spread over half the limit.
            let lead = if whole {
                match self.cost {
                    // One after another, all through the limit.
                    PatchCost::Itself => (max_age_ns as i128 * patch as i128 / grid.n_patches() as i128) as i64,
                    PatchCost::Region => {
                        let block = block_of(grid, patch % grid.cols, patch / grid.cols);
                        max_age_ns as i64 / 2 * block as i64 / (STALE_BLOCKS * STALE_BLOCKS) as i64
                    }
                }
            } else {
                0
            };
            if whole || decision.patches.get(patch) {
                self.asked_ns[patch] = now - lead;
            }
            if self.at_rest[patch] >= RECHECK_AFTER {
                self.at_rest[patch] = SEEN_AT_REST;
            }
        }
        if !self.is_relit() {
            return;
        }
        let cell_cols = width.div_ceil(CELL);
        let cells = p / CELL;
        for patch in computed.iter() {
            let (col, row) = (patch % grid.cols, patch / grid.cols);
            for y in row * cells..((row + 1) * cells).min((grid.size.height as usize).div_ceil(CELL)) {
                let x = y * cell_cols + col * cells..y * cell_cols + ((col + 1) * cells).min(cell_cols);
                for (reference, now) in self.reference_sums[x.clone()].iter_mut().zip(&self.sums[x]) {
                    *reference = (*now as f32 * back) as u32;
                }
            }
        }
    }
}

/// The mean difference of a cell, levels of 255.
fn level(sad: u32) -> f32 {
    sad as f32 * (1.0 / (CELL * CELL * 3) as f32)
}

/// Whether a patch is at rest, and was not looked at since.
fn is_rested(at_rest: u32) -> bool {
    (RECHECK_AFTER..SEEN_AT_REST).contains(&at_rest)
}

/// Which of the blocks a patch belongs to.
fn block_of(grid: PatchGrid, col: usize, row: usize) -> usize {
    row * STALE_BLOCKS / grid.rows * STALE_BLOCKS + col * STALE_BLOCKS / grid.cols
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameId, Pixels};
    use crate::sim::Grain;

    const SIZE: Size = Size::new(128, 96);
    const SECOND: u64 = 1_000_000_000;

    /// A stream of made-up frames, ten a second.
    struct Film {
        stage: SkipStage,
        n: u64,
        letterbox: Letterbox,
    }

    impl Film {
        fn new(settings: SkipSettings) -> Self {
            Self {
                stage: SkipStage::new(SkipMode::Regions, settings, SIZE),
                n: 0,
                letterbox: Letterbox::fit(SIZE, SIZE),
            }
        }

        /// Shows a picture and accepts everything that is asked for.
        fn show(&mut self, pixel: impl Fn(usize, usize) -> u8) -> Decision {
            let (decision, frame) = self.look(pixel);
            self.stage.accept(&frame, &decision.patches);
            decision
        }

        /// Shows a picture of which nothing is computed.
        fn look(&mut self, pixel: impl Fn(usize, usize) -> u8) -> (Decision, Frame) {
            let (w, h) = (SIZE.width as usize, SIZE.height as usize);
            let data = (0..w * h).flat_map(|i| [pixel(i % w, i / w); 3]).collect();
            let frame = Frame::new(FrameId(self.n), self.n * SECOND / 10, self.letterbox, Pixels::owned(data));
            self.n += 1;
            (self.stage.decide(&frame).clone(), frame)
        }
    }

    /// A textured street without anybody.
    fn street(x: usize, y: usize) -> u8 {
        (60 + (x / 9 + y / 7) % 5 * 25) as u8
    }

    fn settings() -> SkipSettings {
        SkipSettings { max_age_ns: Some(1000 * SECOND), ..SkipSettings::default() }
    }

    #[test]
    fn what_came_to_rest_is_looked_at_once_more() {
        // Somebody leaves a place in the dark: what is left differs by less than counts.
        let shown = |level: u8| move |x: usize, y: usize| street(x, y) + if x < 8 && y < 8 { level } else { 0 };
        let asked = |mode: SkipMode| {
            let mut film = Film::new(settings());
            film.stage =
                SkipStage::new(mode, SkipSettings { patch: Some(8), threshold: Some(4.0), ..settings() }, SIZE);
            let levels = [0, 20, 2, 0, 0, 0, 0, 0];
            levels.map(|level| film.show(shown(level)).patches.count() * usize::from(film.n > 1))
        };
        assert_eq!(asked(SkipMode::Layers), [0, 1, 1, 0, 1, 0, 0, 0]);
        assert_eq!(asked(SkipMode::Regions), [0, 1, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_still_picture_asks_for_nothing_after_the_first() {
        let mut film = Film::new(settings());
        assert_eq!(film.show(street).global, Some(GlobalChange::Start));
        for _ in 0..50 {
            let d = film.show(street);
            assert!(d.patches.is_empty() && d.global.is_none(), "{:?}", d.counts);
        }
    }

    #[test]
    fn what_moves_is_asked_for_and_nothing_else() {
        let mut film = Film::new(settings());
        film.show(street);
        let with_box =
            |x: usize, y: usize| if (40..56).contains(&x) && (30..60).contains(&y) { 250 } else { street(x, y) };
        let d = film.show(with_box);
        let mut want = PatchMask::empty(film.stage.grid());
        want.set_rect(&crate::geom::Rect::new(40.0, 30.0, 56.0, 60.0));
        assert_eq!(d.patches, want);
        assert!(film.show(with_box).patches.is_empty(), "it has been accepted");
        assert_eq!(film.show(street).patches, want, "it left");
    }

    #[test]
    fn what_was_not_computed_is_asked_for_again() {
        let mut film = Film::new(settings());
        film.show(street);
        let with_box = |x: usize, y: usize| if x < 16 && y < 16 { 0 } else { street(x, y) };
        for _ in 0..3 {
            assert_eq!(film.look(with_box).0.counts.changed, 1);
        }
    }

    #[test]
    fn what_is_put_off_is_asked_for_again() {
        let mut film = Film::new(SkipSettings { max_age_ns: Some(SECOND), ..SkipSettings::default() });
        film.show(street);
        let with_box = |x: usize, y: usize| if x < 16 && y < 32 { 0 } else { street(x, y) };
        let (_, frame) = film.look(with_box);
        let mut explained = PatchMask::empty(film.stage.grid());
        explained.set(0);
        explained.set(5);
        film.stage.put_off(&explained);
        let d = film.stage.decision().clone();
        assert_eq!((d.counts.changed, d.counts.predicted, d.patches.count()), (1, 1, 1));
        assert_eq!((d.reasons[0], d.reasons[5]), (Reason::Predicted, Reason::Kept), "what did not change stays kept");
        film.stage.accept(&frame, &d.patches);
        let (d, _) = film.look(with_box);
        assert_eq!((d.counts.changed, d.reasons[0]), (1, Reason::Changed));
        // What is stale is computed, whatever explains it.
        (0..12).for_each(|_| drop(film.look(street)));
        let d = film.look(street).0;
        assert!(d.counts.stale > 0);
        film.stage.put_off(&PatchMask::full(film.stage.grid()));
        assert_eq!(film.stage.decision().counts.stale, d.counts.stale);
    }

    #[test]
    fn slow_drift_is_not_lost() {
        let mut film = Film::new(settings());
        film.show(street);
        // One corner brightens by a level every four frames: t against t-1 shows nothing.
        let mut asked = 0;
        for n in 0..120 {
            asked += film.show(|x, y| street(x, y) + if x < 16 && y < 16 { (n / 4) as u8 } else { 0 }).counts.changed;
        }
        assert!((3..=10).contains(&asked), "{asked}");
    }

    #[test]
    fn noise_is_learnt_and_no_change() {
        for sigma in [2.0, 4.0, 6.0] {
            let grain = Grain::new(sigma, 5);
            let noisy = |n: u64| {
                let mut rows: Vec<Vec<u8>> = (0..96).map(|y| (0..128).map(|x| street(x, y)).collect()).collect();
                rows.iter_mut().enumerate().for_each(|(y, row)| grain.add(row, n, y as u64));
                move |x: usize, y: usize| rows[y][x]
            };
            let mut film = Film::new(settings());
            // Ready within a second of video.
            (0..10).for_each(|n| drop(film.show(noisy(n))));
            let asked: u32 = (10..60).map(|n| film.show(noisy(n)).counts.changed).sum();
            assert!(asked <= 5, "sigma {sigma}: {asked} of {} patches", 50 * 48);
            // And somebody in it is still seen.
            let inner = noisy(60);
            let d =
                film.show(move |x, y| if (48..64).contains(&x) && (32..64).contains(&y) { 230 } else { inner(x, y) });
            assert!((2..=8).contains(&d.counts.changed), "sigma {sigma}: {:?}", d.counts);
        }
    }

    #[test]
    fn every_patch_is_computed_in_time_and_not_all_at_once() {
        let mut film = Film::new(SkipSettings { max_age_ns: Some(2 * SECOND), ..SkipSettings::default() });
        let grid = film.stage.grid();
        let mut age = vec![0u32; grid.n_patches()];
        let mut most = 0;
        film.show(street);
        for _ in 0..200 {
            let d = film.show(street);
            assert_eq!(d.counts.changed, 0);
            most = most.max(d.counts.stale);
            for (patch, age) in age.iter_mut().enumerate() {
                *age = if d.patches.get(patch) { 0 } else { *age + 1 };
                assert!(*age <= 20, "patch {patch} is {age} frames old");
            }
        }
        assert!(most > 0 && (most as usize) < grid.n_patches() / 2, "{most} at once");
    }

    #[test]
    fn masks_hold_back_the_gate_but_not_a_whole_picture() {
        let left = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        let mut film = Film::new(SkipSettings { masks: vec![left], ..settings() });
        assert_eq!(film.show(street).counts.forced, 48);
        let d = film.show(|x, y| if x < 32 && y > 64 { 250 } else { street(x, y) });
        assert_eq!((d.counts.masked, d.counts.changed), (24, 0));
        assert!(d.reasons[0] == Reason::Masked && d.reasons[7] == Reason::Kept);
        let d = film.show(|x, y| if x >= 112 && y >= 80 { 250 } else { street(x, y) });
        assert_eq!(d.counts.changed, 1);
        film.stage.request_full();
        assert_eq!(film.show(street).global, Some(GlobalChange::Requested));
    }

    #[test]
    fn a_change_of_light_is_one_refresh_and_not_a_storm() {
        let lit = |gain: f32| move |x: usize, y: usize| (f32::from(street(x, y)) * gain) as u8;
        // A cloud: slowly down to 0.6 and up again.
        let mut film = Film::new(settings());
        film.show(lit(1.0));
        let (mut full, mut partial) = (0, 0);
        for n in 0..200 {
            let d = film.show(lit(1.0 - 0.4 * (n as f32 / 200.0 * std::f32::consts::PI).sin()));
            full += u32::from(d.global.is_some());
            partial += d.counts.changed;
        }
        assert!(full <= 5, "{full} whole pictures in 200");
        assert!(partial <= 48, "{partial} patches");
        // A lamp is switched: one whole picture, then quiet.
        film.show(lit(1.0));
        assert_eq!(film.show(lit(0.5)).global, Some(GlobalChange::Light));
        assert!(film.show(lit(0.5)).patches.is_empty());
        // Another place altogether.
        let d = film.show(|x, y| (x * 31 % 97 + y * 17 % 89) as u8);
        assert_eq!(d.global, Some(GlobalChange::Scene));
        assert!(film.show(|x, y| (x * 31 % 97 + y * 17 % 89) as u8).patches.is_empty());
    }

    #[test]
    fn somebody_is_seen_while_the_light_changes() {
        let lit = |gain: f32, walker: usize| {
            move |x: usize, y: usize| {
                let v = if (walker..walker + 16).contains(&x) && (32..64).contains(&y) { 20 } else { street(x, y) };
                (f32::from(v) * gain) as u8
            }
        };
        let mut film = Film::new(settings());
        film.show(lit(1.0, 200));
        for n in 1..8 {
            let d = film.show(lit(1.0 - 0.02 * n as f32, 8 * n));
            assert!(d.global.is_none() && (2..=12).contains(&d.counts.changed), "frame {n}: {:?}", d.counts);
        }
    }

    #[test]
    fn another_letterbox_is_another_stream() {
        let mut film = Film::new(settings());
        film.show(street);
        film.letterbox = Letterbox::fit(Size::new(100, 100), SIZE);
        let d = film.show(street);
        assert_eq!(d.global, Some(GlobalChange::Start));
        // Padding is no picture: nothing there is ever asked for.
        let d = film.show(|x, y| if x > 100 { 0 } else { street(x, y) });
        assert!(d.counts.masked > 0 && d.counts.changed == 0, "{:?}", d.counts);
        film.stage.reset();
        assert_eq!(film.show(street).global, Some(GlobalChange::Start));
    }
}
