//! Where a head's numbers stand: the maps of a graph behind a model's outputs.

use crate::detect::heads::levels::{Layout, Level, Plane};
use crate::detect::heads::{Head, HeadError};
use crate::geom::Size;
use engine::graph::view::View;
use engine::graph::{MapShape, Output};

/// A grid of cells whose planes are maps.
#[derive(Debug, Clone, PartialEq)]
pub struct MapLevel {
    pub level: Level,
    /// The map of each of the level's planes.
    pub maps: Vec<usize>,
}

impl MapLevel {
    /// Most candidates.
    pub fn room(&self) -> usize {
        self.level.cols * self.level.rows * self.level.n_boxes()
    }
}

/// Finds a head's planes in what a graph puts out; `map` says shape and name of one of its maps.
///
/// # Errors
/// The outputs are not what this family puts out, or not cell by cell.
pub fn map_levels<'a>(
    head: &Head,
    outputs: &[Output],
    map: impl Fn(usize) -> (MapShape, &'a str),
    input: Size,
    n_classes: usize,
) -> Result<Vec<MapLevel>, String> {
    let levels = head.levels(input, n_classes).ok_or("this head's output is not made of cells")?;
    levels.into_iter().enumerate().map(|(i, level)| bind_level(outputs, &map, level, i)).collect()
}

fn named<'o>(outputs: &'o [Output], name: Option<&str>) -> Result<&'o Output, String> {
    let found = match name {
        Some(name) => outputs.iter().find(|o| o.name == name),
        None => outputs.first(),
    };
    found.ok_or_else(|| format!("there is no output '{}'", name.unwrap_or("(any)")))
}

fn bind_level<'a>(
    outputs: &[Output],
    map_of: &impl Fn(usize) -> (MapShape, &'a str),
    level: Level,
    i: usize,
) -> Result<MapLevel, String> {
    let bind = |plane: &Plane| -> Result<usize, String> {
        let output = named(outputs, plane.output.as_deref())?;
        let part = if plane.layout == Layout::AllLevels { i } else { 0 };
        let view = output.parts.get(part).ok_or_else(|| format!("output '{}' has no part {part}", output.name))?;
        let beside = plane.width - plane.n_classes;
        let width = view.shape().get(if plane.layout == Layout::Channels { 1 } else { 2 }).copied().unwrap_or(0);
        if plane.n_classes > 0 && width != plane.width && width > beside {
            return Err(HeadError::Labels { classes: width - beside, labels: plane.n_classes }.to_string());
        }
        let (map, n_boxes) = if plane.layout != Layout::Channels {
            rows_of(map_of, view, plane.width)?
        } else if *view == View::whole(view.base, map_of(view.base.0 as usize).0) {
            (view.base.0 as usize, 1)
        } else {
            return Err(format!("output '{}' is no map", output.name));
        };
        let s = map_of(map).0;
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
fn rows_of<'a>(
    map_of: impl Fn(usize) -> (MapShape, &'a str),
    view: &View,
    width: usize,
) -> Result<(usize, usize), String> {
    let map = view.base.0 as usize;
    let (s, name) = map_of(map);
    let n_anchors = s.c / width;
    let rows = View::whole(view.base, s)
        .transpose(&[0, 2, 3, 1])
        .and_then(|v| v.reshape(&[1, s.n_cells() * n_anchors, width]));
    if n_anchors > 0 && s.c.is_multiple_of(width) && rows.as_ref() == Some(view) {
        return Ok((map, n_anchors));
    }
    Err(format!("map '{name}' of {s} is not read cell by cell"))
}
