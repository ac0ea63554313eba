//! Which rectangles to run when only a part of the picture has changed.
//!
//! Changed patches that lie together become a cluster; a cluster grows by the
//! known boxes it touches, so that an object is never judged by a part of it,
//! and by context. It is then covered by the smallest of a few fixed shapes,
//! placed on the coarsest stride's lattice: inside it the network samples the
//! same cells as on the whole picture. Clusters that one shape covers cheaper
//! than two are joined. Pure.

use super::preprocess::Crop;
use crate::detect::Detection;
use crate::geom::{ModelInput, PatchMask, Rect, Size};

/// How regions are formed.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanSettings {
    /// Shapes that can be run, smaller than the model input.
    pub shapes: Vec<Size>,
    /// Both sides of a shape and its place are multiples of this.
    pub lattice: u32,
    /// Pixels of context around what has changed.
    pub context: u32,
    /// Share of the model input's area from which the whole frame is run instead, 0..=1.
    pub break_even: f32,
}

impl PlanSettings {
    /// Shapes of about 1/3, 1/2, 2/3 and all of each side, and 2/5 of the longer one, on the lattice.
    pub fn for_input(input: Size, lattice: u32) -> Self {
        let longer = input.width.max(input.height);
        let steps = |side: u32| {
            let mut all: Vec<u32> = [1.0 / 3.0, 0.4, 0.5, 2.0 / 3.0, 1.0]
                .iter()
                .filter(|share| **share != 0.4 || side == longer)
                .map(|share| ((side as f32 * share / lattice as f32).round() as u32 * lattice).clamp(lattice, side))
                .collect();
            all.dedup();
            all
        };
        let mut shapes: Vec<Size> = steps(input.width)
            .into_iter()
            .flat_map(|w| steps(input.height).into_iter().map(move |h| Size::new(w, h)))
            .filter(|s| s.area() * 10 < input.area() * 8)
            .collect();
        shapes.sort_by_key(Size::area);
        Self { shapes, lattice, context: 40, break_even: 0.6 }
    }
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegionPlan {
    Nothing,
    Full,
    /// Each crop has one of the shapes.
    Regions(Vec<Crop>),
}

/// A cluster and the shape that covers it.
#[derive(Clone, Copy)]
struct Cluster {
    need: Rect<ModelInput>,
    crop: Crop,
}

/// Plans one frame.
pub fn plan(patches: &PatchMask, known: &[Detection], s: &PlanSettings) -> RegionPlan {
    if patches.is_empty() {
        return RegionPlan::Nothing;
    }
    let grid = patches.grid();
    let limit = s.break_even * grid.size.area() as f32;
    if patches.count() == grid.n_patches() {
        return RegionPlan::Full;
    }
    let cover = |need: Rect<ModelInput>| cover(&need, grid.size, s).map(|crop| Cluster { need, crop });
    let mut clusters: Vec<Cluster> = Vec::new();
    for component in components(patches) {
        let Some(cluster) = cover(with_boxes(component, known, patches)) else { return RegionPlan::Full };
        clusters.push(cluster);
    }
    // Join while it saves work.
    'again: loop {
        for i in 0..clusters.len() {
            for j in i + 1..clusters.len() {
                let (a, b) = (clusters[i], clusters[j]);
                if let Some(joined) = cover(a.need.hull(&b.need))
                    && joined.crop.size.area() <= a.crop.size.area() + b.crop.size.area()
                {
                    clusters[i] = joined;
                    clusters.swap_remove(j);
                    continue 'again;
                }
            }
        }
        break;
    }
    let area: usize = clusters.iter().map(|c| c.crop.size.area()).sum();
    if area as f32 >= limit {
        return RegionPlan::Full;
    }
    RegionPlan::Regions(clusters.iter().map(|c| c.crop).collect())
}

/// The rectangle of a crop.
pub fn crop_rect(crop: &Crop) -> Rect<ModelInput> {
    crop.size.rect::<ModelInput>().shifted(crop.x as f32, crop.y as f32)
}

/// Grows a component by the known boxes that its patches touch.
fn with_boxes(component: Component, known: &[Detection], patches: &PatchMask) -> Rect<ModelInput> {
    let mut need = component.rect;
    for d in known {
        let touched = d.bbox.intersects(&component.rect) && {
            let (cols, rows) = patches.grid().span(&d.bbox);
            component.patches.iter().any(|&(col, row)| cols.contains(&col) && rows.contains(&row))
        };
        if touched {
            need = need.hull(&d.bbox);
        }
    }
    need.intersection(&patches.grid().size.rect())
}

/// The smallest shape that holds `need` and as much context as there is picture.
fn cover(need: &Rect<ModelInput>, picture: Size, s: &PlanSettings) -> Option<Crop> {
    let want = need.grown(s.context as f32).intersection(&picture.rect());
    s.shapes.iter().find_map(|shape| {
        let x = place(want.x1, want.x2, shape.width, picture.width, s.lattice)?;
        let y = place(want.y1, want.y2, shape.height, picture.height, s.lattice)?;
        Some(Crop { x, y, size: *shape })
    })
}

/// Where a side of `len` begins so that it holds `lo..hi`, as central as the lattice allows.
fn place(lo: f32, hi: f32, len: u32, picture: u32, lattice: u32) -> Option<u32> {
    let central = ((lo + hi - len as f32) / 2.0 / lattice as f32).round() as i64 * i64::from(lattice);
    let last = i64::from((picture - len) / lattice * lattice);
    [0, -1, 1].into_iter().find_map(|step| {
        let at = (central + step * i64::from(lattice)).clamp(0, last);
        (at as f32 <= lo && (at + i64::from(len)) as f32 >= hi).then_some(at as u32)
    })
}

struct Component {
    rect: Rect<ModelInput>,
    patches: Vec<(usize, usize)>,
}

/// Groups of patches with at most one patch between neighbours.
fn components(patches: &PatchMask) -> Vec<Component> {
    const REACH: usize = 2;
    let grid = patches.grid();
    let mut seen = PatchMask::empty(grid);
    let mut all = Vec::new();
    let mut queue = Vec::new();
    for start in patches.iter() {
        if seen.get(start) {
            continue;
        }
        seen.set(start);
        queue.push(start);
        let mut component = Component { rect: grid.rect(start % grid.cols, start / grid.cols), patches: Vec::new() };
        while let Some(at) = queue.pop() {
            let (col, row) = (at % grid.cols, at / grid.cols);
            component.rect = component.rect.hull(&grid.rect(col, row));
            component.patches.push((col, row));
            for r in row.saturating_sub(REACH)..=(row + REACH).min(grid.rows - 1) {
                for c in col.saturating_sub(REACH)..=(col + REACH).min(grid.cols - 1) {
                    let next = r * grid.cols + c;
                    if patches.get(next) && !seen.get(next) {
                        seen.set(next);
                        queue.push(next);
                    }
                }
            }
        }
        all.push(component);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geom::PatchGrid;
    use proptest::prelude::*;

    const INPUT: Size = Size::new(640, 384);

    fn settings() -> PlanSettings {
        PlanSettings::for_input(INPUT, 32)
    }

    fn mask(rects: &[[f32; 4]]) -> PatchMask {
        let mut mask = PatchMask::empty(PatchGrid::new(INPUT, 16));
        for r in rects {
            mask.set_rect(&Rect::new(r[0], r[1], r[2], r[3]));
        }
        mask
    }

    fn person(b: [f32; 4]) -> Detection {
        Detection::new(0, 0.9, Rect::new(b[0], b[1], b[2], b[3]))
    }

    #[test]
    fn small_changes_run_small_shapes() {
        assert_eq!(plan(&mask(&[]), &[], &settings()), RegionPlan::Nothing);
        assert_eq!(plan(&PatchMask::full(PatchGrid::new(INPUT, 16)), &[], &settings()), RegionPlan::Full);
        let one = plan(&mask(&[[300.0, 180.0, 310.0, 190.0]]), &[], &settings());
        let RegionPlan::Regions(crops) = one else { panic!("{one:?}") };
        assert_eq!(crops[0].size, Size::new(224, 128));
        let wide = plan(&mask(&[[0.0, 0.0, 640.0, 300.0]]), &[], &settings());
        assert_eq!(wide, RegionPlan::Full, "no shape holds it");
    }

    #[test]
    fn a_touched_box_is_run_whole() {
        let tall = person([100.0, 10.0, 180.0, 370.0]);
        let RegionPlan::Regions(crops) = plan(&mask(&[[150.0, 200.0, 160.0, 210.0]]), &[tall], &settings()) else {
            panic!()
        };
        assert!(crop_rect(&crops[0]).contains(&tall.bbox));
        let RegionPlan::Regions(crops) = plan(&mask(&[[400.0, 200.0, 410.0, 210.0]]), &[tall], &settings()) else {
            panic!()
        };
        assert!(!crop_rect(&crops[0]).intersects(&tall.bbox), "an untouched box is left alone");
    }

    #[test]
    fn near_clusters_are_joined_far_ones_are_not() {
        let RegionPlan::Regions(crops) =
            plan(&mask(&[[96., 96., 100., 100.], [180., 96., 190., 100.]]), &[], &settings())
        else {
            panic!()
        };
        assert_eq!(crops.len(), 1);
        let RegionPlan::Regions(crops) =
            plan(&mask(&[[32., 32., 40., 40.], [560., 320., 570., 330.]]), &[], &settings())
        else {
            panic!()
        };
        assert_eq!(crops.len(), 2);
    }

    proptest! {
        #[test]
        fn regions_hold_all_changes_and_cost_less(
            at in proptest::collection::vec((0usize..40, 0usize..24), 1..30),
            boxes in proptest::collection::vec((0f32..600.0, 0f32..350.0, 8f32..200.0, 8f32..200.0), 0..6),
        ) {
            let mut mask = PatchMask::empty(PatchGrid::new(INPUT, 16));
            for (col, row) in at {
                mask.set(row * 40 + col);
            }
            let known: Vec<_> = boxes.iter().map(|b| person([b.0, b.1, b.0 + b.2, b.1 + b.3])).collect();
            if let RegionPlan::Regions(crops) = plan(&mask, &known, &settings()) {
                for patch in mask.iter() {
                    let rect = mask.grid().rect(patch % 40, patch / 40);
                    let holds = crops.iter().any(|c| crop_rect(c).contains(&rect));
                    prop_assert!(holds, "patch {patch} is in no region");
                }
                let area: usize = crops.iter().map(|c| c.size.area()).sum();
                prop_assert!((area as f32) < 0.6 * INPUT.area() as f32);
                for c in &crops {
                    prop_assert!(c.x % 32 == 0 && c.y % 32 == 0);
                    prop_assert!(c.x + c.size.width <= 640 && c.y + c.size.height <= 384);
                }
            }
        }
    }
}
