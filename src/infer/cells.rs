//! Heads straight from the layer engine's maps: cells are decoded again only
//! where something changed, the candidates of all others are kept. The result
//! equals decoding everything.

use super::Seen;
use super::candidates::{CANDIDATE_SCORE, Candidate, Candidates, MOST_CANDIDATES};
use super::planes::{MapLevel, map_levels};
use crate::detect::Detection;
use crate::detect::heads::{Head, HeadError, Thresholds, select};
use crate::geom::Size;
use engine::changes::ChangeSet;
use engine::exec::executor::StreamMaps;
use engine::plan::Plan;
use engine::plan::lazy::Condition;

/// Where a head's numbers stand in a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct CellHead {
    head: Head,
    levels: Vec<MapLevel>,
    input: Size,
    n_classes: usize,
}

impl CellHead {
    /// Finds a head's planes in a plan's outputs.
    ///
    /// # Errors
    /// The outputs are not what this family puts out, or not cell by cell.
    pub fn bind(head: &Head, plan: &Plan, input: Size, n_classes: usize) -> Result<Self, String> {
        let maps = |map: usize| (plan.maps[map].shape, &*plan.maps[map].name);
        let levels = map_levels(head, &plan.outputs, maps, input, n_classes)?;
        Ok(Self { head: head.clone(), levels, input, n_classes })
    }

    /// Which numbers of the outputs count only where others reach [`CellHead::bar`].
    pub fn conditions(&self) -> Vec<Condition> {
        let Some((plane, channel)) = self.head.deciding() else { return Vec::new() };
        let given = |MapLevel { level, maps }: &MapLevel| {
            let channels = (0..level.n_boxes()).map(|anchor| anchor * level.planes[plane].width + channel).collect();
            Condition { deciding: (maps[plane], channels), counting: maps.clone() }
        };
        self.levels.iter().map(given).collect()
    }

    /// The least deciding number of a cell that becomes a candidate, for [`StreamMaps::require`].
    pub fn bar(&self, t: Thresholds) -> Option<f32> {
        self.head.deciding().map(|_| self.head.bar(least(t)))
    }

    /// Brings the candidates to the stream's last frame, and `out` to the detections of all of them.
    ///
    /// # Errors
    /// The maps hold values that are no numbers.
    pub fn update(
        &self,
        stream: &impl StreamMaps,
        now: Seen,
        t: Thresholds,
        candidates: &mut Candidates,
        out: &mut Vec<Detection>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), HeadError> {
        if candidates.levels.len() != self.levels.len() {
            // Room for the worst at once, so that no frame allocates.
            candidates.levels = self.levels.iter().map(|l| Vec::with_capacity(l.room())).collect();
            let most = self.levels.iter().map(MapLevel::room).max().unwrap_or(0);
            candidates.kept.reserve(most);
            candidates.cells.reserve(most);
            candidates.changed = self.levels.iter().map(|l| ChangeSet::new(l.level.rows, l.level.cols)).collect();
            candidates.merged.reserve(self.levels.iter().map(MapLevel::room).sum());
        }
        for (i, level) in self.levels.iter().enumerate() {
            self.update_level(level, stream, now, t, candidates, i)?;
        }
        candidates.merged.clear();
        candidates.is_sure = candidates.levels.iter().map(Vec::len).sum::<usize>() <= MOST_CANDIDATES;
        let least = if candidates.is_sure { 0.0 } else { t.score };
        candidates.merged.extend(candidates.levels.iter().flatten().filter(|c| c.detection.score >= least));
        select(&mut candidates.merged, t, |c| &c.detection)?;
        candidates.report(t, out, seen);
        Ok(())
    }

    fn update_level(
        &self,
        MapLevel { level, maps }: &MapLevel,
        stream: &impl StreamMaps,
        now: Seen,
        t: Thresholds,
        all: &mut Candidates,
        i: usize,
    ) -> Result<(), HeadError> {
        let Candidates { levels, changed, cells, kept, .. } = all;
        let known = &mut levels[i];
        // Looked at again, with the same answer: as good as new.
        for c in known.iter_mut() {
            let (y, x) = (c.cell as usize / level.cols, c.cell as usize % level.cols);
            if maps.iter().any(|map| stream.computed(*map).get(y, x)) {
                c.seen = now;
            }
        }
        if maps.iter().all(|map| stream.changes(*map).is_empty()) {
            return Ok(());
        }
        let changed = &mut changed[i];
        changed.clear();
        maps.iter().for_each(|map| changed.join(stream.changes(*map)));
        changed.list(cells);
        kept.clear();
        let mut old = known.iter().copied().peekable();
        for cell in cells.iter() {
            let (y, x) = (cell.y as usize, cell.x as usize);
            let at = (y * level.cols + x) as u32;
            while let Some(c) = old.next_if(|c| c.cell < at) {
                kept.push(c);
            }
            while old.next_if(|c| c.cell == at).is_some() {}
            for anchor in 0..level.n_boxes() {
                let place = level.place(at as usize, anchor, self.input, self.n_classes, least(t));
                let number = |k: usize, c: usize| stream.cell(maps[k], y, x)[anchor * level.planes[k].width + c];
                let found = self.head.cell(number, &place).map_err(|_| HeadError::NotFinite(format!("level {i}")))?;
                kept.extend(found.map(|detection| Candidate { cell: at, anchor: anchor as u16, detection, seen: now }));
            }
        }
        kept.extend(old);
        known.clear();
        known.extend_from_slice(kept);
        Ok(())
    }
}

/// The score from which a cell is a candidate.
fn least(t: Thresholds) -> f32 {
    t.score.min(CANDIDATE_SCORE)
}
