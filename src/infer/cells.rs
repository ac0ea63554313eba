//! Heads straight from the layer engine's maps: cells are decoded again only
//! where something changed, the candidates of all others are kept. The result
//! equals decoding everything.

use super::Seen;
use super::candidates::{CANDIDATE_SCORE, Candidate, Candidates, MOST_CANDIDATES};
use crate::detect::Detection;
use crate::detect::heads::levels::{Layout, Level, Plane};
use crate::detect::heads::{Head, HeadError, Thresholds, select};
use crate::geom::Size;
use engine::changes::ChangeSet;
use engine::exec::executor::StreamMaps;
use engine::graph::Output;
use engine::graph::view::View;
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

/// A grid of cells whose planes are maps.
#[derive(Debug, Clone, PartialEq)]
struct MapLevel {
    level: Level,
    /// The map of each of the level's planes.
    maps: Vec<usize>,
}

impl MapLevel {
    /// Most candidates.
    fn room(&self) -> usize {
        self.level.cols * self.level.rows * self.level.n_boxes()
    }
}

impl CellHead {
    /// Finds a head's planes in a plan's outputs.
    ///
    /// # Errors
    /// The outputs are not what this family puts out, or not cell by cell.
    pub fn bind(head: &Head, plan: &Plan, input: Size, n_classes: usize) -> Result<Self, String> {
        let levels = head.levels(input, n_classes).ok_or("this head's output is not made of cells")?;
        let bind = |(i, level): (usize, Level)| bind_level(plan, level, i);
        let levels = levels.into_iter().enumerate().map(bind).collect::<Result<_, _>>()?;
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

fn output<'a>(plan: &'a Plan, name: Option<&str>) -> Result<&'a Output, String> {
    let found = match name {
        Some(name) => plan.outputs.iter().find(|o| o.name == name),
        None => plan.outputs.first(),
    };
    found.ok_or_else(|| format!("there is no output '{}'", name.unwrap_or("(any)")))
}

fn bind_level(plan: &Plan, level: Level, i: usize) -> Result<MapLevel, String> {
    let bind = |plane: &Plane| -> Result<usize, String> {
        let output = output(plan, plane.output.as_deref())?;
        let part = if plane.layout == Layout::AllLevels { i } else { 0 };
        let view = output.parts.get(part).ok_or_else(|| format!("output '{}' has no part {part}", output.name))?;
        let beside = plane.width - plane.n_classes;
        let width = view.shape().get(if plane.layout == Layout::Channels { 1 } else { 2 }).copied().unwrap_or(0);
        if plane.n_classes > 0 && width != plane.width && width > beside {
            return Err(HeadError::Labels { classes: width - beside, labels: plane.n_classes }.to_string());
        }
        let (map, n_boxes) = if plane.layout != Layout::Channels {
            rows_of(plan, view, plane.width)?
        } else if *view == View::whole(view.base, plan.maps[view.base.0 as usize].shape) {
            (view.base.0 as usize, 1)
        } else {
            return Err(format!("output '{}' is no map", output.name));
        };
        let s = plan.maps[map].shape;
        if (s.h, s.w, s.c, n_boxes) != (level.rows, level.cols, n_boxes * plane.width, level.n_boxes()) {
            return Err(format!("output '{}' has a map of {s} for {}x{} cells", output.name, level.rows, level.cols));
        }
        Ok(map)
    };
    let maps = level.planes.iter().map(bind).collect::<Result<_, _>>()?;
    Ok(MapLevel { level, maps })
}

/// The map of which a view reads cell by cell, boxes of `width` numbers one after another, and
/// the number of boxes a cell.
fn rows_of(plan: &Plan, view: &View, width: usize) -> Result<(usize, usize), String> {
    let map = view.base.0 as usize;
    let s = plan.maps[map].shape;
    let n_anchors = s.c / width;
    let rows = View::whole(view.base, s)
        .transpose(&[0, 2, 3, 1])
        .and_then(|v| v.reshape(&[1, s.n_cells() * n_anchors, width]));
    if n_anchors > 0 && s.c.is_multiple_of(width) && rows.as_ref() == Some(view) {
        return Ok((map, n_anchors));
    }
    Err(format!("map '{}' of {s} is not read cell by cell", plan.maps[map].name))
}
