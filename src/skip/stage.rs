//! The decision: changed, stale, forced, masked or kept, patch by patch.

use super::diff::{CELL, Differ};
use super::light;
use super::noise::Noise;
use crate::frame::Frame;
use crate::geom::{Letterbox, PatchGrid, PatchMask, Size};

/// What the user sets.
#[derive(Debug, Clone, PartialEq)]
pub struct SkipSettings {
    /// Side of a patch, pixels of model input: 8, 16, 32 or 64.
    pub patch: u32,
    /// Least mean difference of an 8x8 cell that is a change, levels of 255;
    /// the cell's own noise is added to it.
    pub threshold: f32,
    /// No patch's picture is older than this.
    pub max_age_ns: u64,
    /// Changed share of the picture from which everything is computed, 0..=1.
    pub global_share: f32,
    /// Areas to ignore: polygons in shares (0..=1) of the camera picture's sides.
    pub masks: Vec<Vec<[f32; 2]>>,
}

impl Default for SkipSettings {
    fn default() -> Self {
        Self { patch: 16, threshold: 3.0, max_age_ns: 10_000_000_000, global_share: 0.6, masks: Vec::new() }
    }
}

/// Why a patch is computed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// As before: not computed.
    Kept,
    /// Masked by the user: not computed for its own sake.
    Masked,
    /// Differs from its last accepted picture.
    Changed,
    /// Its last accepted picture is too old.
    Stale,
    /// The whole picture is computed: first frame, global change, or on request.
    Forced,
}

/// Why a whole picture was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobalChange {
    /// First frame, or another size or letterbox.
    Start,
    /// Somebody asked for it.
    Requested,
    /// The light changed by more than compensation is trusted with.
    Light,
    /// Most of the picture differs: a cut, a switched lamp, a moved camera.
    Scene,
}

/// Patches by reason, of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub kept: u32,
    pub masked: u32,
    pub changed: u32,
    pub stale: u32,
    pub forced: u32,
}

/// What to compute of a frame, and why. Reused from frame to frame.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Patches to compute again.
    pub patches: PatchMask,
    /// One a patch.
    pub reasons: Vec<Reason>,
    pub counts: Counts,
    pub global: Option<GlobalChange>,
    /// Light of this frame against the reference; 1.0 is unchanged.
    pub gain: f32,
}

/// Light may move this far from the last full picture before it is computed anew.
const MAX_GAIN: f32 = 1.25;
/// Closer to 1 than this, the light counts as unchanged and costs nothing.
const SAME_LIGHT: f32 = 0.012;
/// Every how many rows of cells the noise is measured in one frame: all rows in this many frames.
const NOISE_TURN: usize = 8;
/// The row of pixels, of the eight of a cell, whose sum tells its light.
const LIGHT_ROW: usize = 3;
/// After a full refresh patches grow stale block by block: this many blocks each way.
const STALE_BLOCKS: usize = 2;

/// The skip stage of one stream.
pub struct SkipStage {
    settings: SkipSettings,
    decision: Decision,
    state: Option<State>,
    force: Option<GlobalChange>,
}

/// What is known of the stream so far.
struct State {
    letterbox: Letterbox,
    /// The last accepted picture, patch by patch.
    reference: Vec<u8>,
    /// The same under this frame's light; used while the light has changed.
    relit: Vec<u8>,
    before: Vec<u8>,
    noise: Noise,
    masked: PatchMask,
    /// When each patch's picture was accepted; moved back to stagger staleness.
    accepted_ns: Vec<i64>,
    differ: Differ,
    /// One a cell: difference from the reference, then of one row of pixels
    /// the sums now and in the reference.
    sad: Vec<u32>,
    sums: Vec<u32>,
    reference_sums: Vec<u32>,
    /// Scratch.
    flicker: Vec<u32>,
    ratios: Vec<f32>,
    n_frames: u64,
}

impl SkipStage {
    /// # Panics
    /// If the patch is no multiple of 8.
    pub fn new(settings: SkipSettings, input: Size) -> Self {
        assert!(settings.patch >= 8 && settings.patch.is_multiple_of(8), "patches are made of cells of 8x8 pixels");
        let grid = PatchGrid::new(input, settings.patch);
        let decision = Decision {
            patches: PatchMask::empty(grid),
            reasons: vec![Reason::Kept; grid.n_patches()],
            counts: Counts::default(),
            global: None,
            gain: 1.0,
        };
        Self { settings, decision, state: None, force: None }
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
                self.state = Some(State::new(frame, self.decision.patches.grid(), &self.settings));
                self.force = None;
                self.decision.all(GlobalChange::Start);
            }
            Some(state) => {
                let global = state.decide(frame, &self.settings, &mut self.decision);
                if let Some(why) = self.force.take().or(global) {
                    self.decision.all(why);
                }
            }
        }
        &self.decision
    }

    /// Takes over the pictures of the patches that were computed.
    ///
    /// Call it with the frame of the last [`SkipStage::decide`]. What is left
    /// out stays as it was and will be asked for again.
    pub fn accept(&mut self, frame: &Frame, computed: &PatchMask) {
        if let Some(state) = &mut self.state {
            state.accept(frame, computed, self.decision.gain, self.settings.max_age_ns);
        }
    }
}

impl Decision {
    /// Everything is computed, masked or not: a whole picture has no holes.
    fn all(&mut self, why: GlobalChange) {
        self.patches.fill();
        self.reasons.fill(Reason::Forced);
        self.counts = Counts { forced: self.reasons.len() as u32, ..Counts::default() };
        self.global = Some(why);
    }
}

impl State {
    fn new(frame: &Frame, grid: PatchGrid, settings: &SkipSettings) -> Self {
        let size = frame.size();
        let n_cells = (size.width as usize).div_ceil(CELL) * (size.height as usize).div_ceil(CELL);
        let mut differ = Differ::new(size.width as usize);
        let mut sums = vec![0; n_cells];
        light_sums(&mut differ, frame, &mut sums);
        Self {
            letterbox: frame.letterbox,
            reference: frame.data().to_vec(),
            relit: vec![0; frame.data().len()],
            before: frame.data().to_vec(),
            noise: Noise::new(n_cells),
            masked: masked_patches(grid, &frame.letterbox, &settings.masks),
            accepted_ns: vec![i64::MIN; grid.n_patches()],
            sad: vec![0; n_cells],
            reference_sums: sums.clone(),
            sums,
            flicker: vec![0; differ.cols()],
            differ,
            ratios: Vec::with_capacity(n_cells),
            n_frames: 0,
        }
    }

    fn decide(&mut self, frame: &Frame, settings: &SkipSettings, d: &mut Decision) -> Option<GlobalChange> {
        let grid = d.patches.grid();
        let width = grid.size.width as usize;
        let cell_rows = (grid.size.height as usize).div_ceil(CELL);
        let cell_cols = width.div_ceil(CELL);
        self.learn_noise(frame);
        light_sums(&mut self.differ, frame, &mut self.sums);
        d.gain = light::gain(&self.sums, &self.reference_sums, (CELL * 3) as u32, &mut self.ratios);
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
        d.reasons.fill(Reason::Kept);
        let mut counts = Counts::default();
        let cells = grid.patch as usize / CELL;
        let now = frame.pts_ns as i64;
        for row in 0..grid.rows {
            for col in 0..grid.cols {
                let patch = row * grid.cols + col;
                if self.masked.get(patch) {
                    d.reasons[patch] = Reason::Masked;
                    counts.masked += 1;
                    continue;
                }
                let y = row * cells..((row + 1) * cells).min(cell_rows);
                let x = col * cells..((col + 1) * cells).min(cell_cols);
                let changed = y.clone().any(|y| {
                    x.clone().any(|x| {
                        let cell = y * cell_cols + x;
                        let level = self.sad[cell] as f32 * (1.0 / (CELL * CELL * 3) as f32);
                        level > settings.threshold && level > settings.threshold + self.noise.expected(cell)
                    })
                });
                let reason = if changed {
                    counts.changed += 1;
                    Reason::Changed
                } else if now.saturating_sub(self.accepted_ns[patch]) >= settings.max_age_ns as i64 {
                    counts.stale += 1;
                    Reason::Stale
                } else {
                    counts.kept += 1;
                    continue;
                };
                d.reasons[patch] = reason;
                d.patches.set(patch);
            }
        }
        d.counts = counts;
        d.global = None;
        let n_watched = (grid.n_patches() - counts.masked as usize).max(1);
        if counts.changed as f32 > settings.global_share * n_watched as f32 {
            return Some(GlobalChange::Scene);
        }
        (!(1.0 / MAX_GAIN..=MAX_GAIN).contains(&d.gain)).then_some(GlobalChange::Light)
    }

    /// Compares some rows of cells with the frame before, others next time.
    fn learn_noise(&mut self, frame: &Frame) {
        let band = frame.size().width as usize * 3 * CELL;
        let turn = (self.n_frames % NOISE_TURN as u64) as usize;
        let next = (turn + 1) % NOISE_TURN;
        self.n_frames += 1;
        let cols = self.differ.cols();
        for (row, (now, before)) in frame.data().chunks(band).zip(self.before.chunks_mut(band)).enumerate() {
            if row % NOISE_TURN == turn {
                self.differ.sad_row(now, before, &mut self.flicker);
                for (col, sum) in self.flicker.iter().enumerate() {
                    self.noise.learn(row * cols + col, *sum as f32 / (CELL * CELL * 3) as f32);
                }
            } else if row % NOISE_TURN == next {
                before.copy_from_slice(now);
            }
        }
    }

    fn accept(&mut self, frame: &Frame, computed: &PatchMask, gain: f32, max_age_ns: u64) {
        let grid = computed.grid();
        let width = grid.size.width as usize;
        let (p, stride) = (grid.patch as usize, width * 3);
        let now = frame.pts_ns as i64;
        let whole = computed.count() == grid.n_patches();
        // The reference is of one light. Parts that come in under another are
        // brought back to it; a whole picture brings its own.
        let back = if whole || (gain - 1.0).abs() < SAME_LIGHT { 1.0 } else { 1.0 / gain };
        for patch in computed.iter() {
            let (col, row) = (patch % grid.cols, patch / grid.cols);
            let x = col * p * 3..((col + 1) * p * 3).min(stride);
            for y in row * p..((row + 1) * p).min(grid.size.height as usize) {
                let bytes = y * stride + x.start..y * stride + x.end;
                if back == 1.0 {
                    self.reference[bytes.clone()].copy_from_slice(&frame.data()[bytes]);
                } else {
                    light::relit(&frame.data()[bytes.clone()], back, &mut self.reference[bytes]);
                }
            }
            // Patches that were accepted together would grow stale together:
            // after a whole picture the blocks' ages are spread over half the limit.
            let lead = if whole {
                let block = row * STALE_BLOCKS / grid.rows * STALE_BLOCKS + col * STALE_BLOCKS / grid.cols;
                max_age_ns as i64 / 2 * block as i64 / (STALE_BLOCKS * STALE_BLOCKS) as i64
            } else {
                0
            };
            self.accepted_ns[patch] = now - lead;
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

/// For each cell the sum of one of its rows of pixels.
fn light_sums(differ: &mut Differ, frame: &Frame, sums: &mut [u32]) {
    let stride = frame.size().width as usize * 3;
    let rows = frame.data().chunks_exact(stride).skip(LIGHT_ROW).step_by(CELL);
    for (row, sums) in rows.zip(sums.chunks_mut(differ.cols())) {
        differ.sum_row(row, sums);
    }
}

/// Patches whose middle lies in a masked polygon, or outside the camera's picture.
fn masked_patches(grid: PatchGrid, letterbox: &Letterbox, masks: &[Vec<[f32; 2]>]) -> PatchMask {
    let mut masked = PatchMask::empty(grid);
    let (w, h) = (letterbox.content.width as f32, letterbox.content.height as f32);
    for row in 0..grid.rows {
        for col in 0..grid.cols {
            let r = grid.rect(col, row);
            let (x, y) = ((r.x1 + r.x2) / 2.0 / w, (r.y1 + r.y2) / 2.0 / h);
            let padding = r.x1 >= w || r.y1 >= h;
            if padding || masks.iter().any(|polygon| inside(polygon, x, y)) {
                masked.set(row * grid.cols + col);
            }
        }
    }
    masked
}

/// Even-odd rule.
fn inside(polygon: &[[f32; 2]], x: f32, y: f32) -> bool {
    let mut odd = false;
    for (i, a) in polygon.iter().enumerate() {
        let b = polygon[(i + 1) % polygon.len()];
        if (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0] {
            odd = !odd;
        }
    }
    odd
}
