//! Which patches a part of the picture covers: what the user masks, and the padding.

use crate::geom::{Letterbox, PatchGrid, PatchMask};

/// Which point of a patch decides.
pub enum Corner {
    TopLeft,
    Middle,
}

/// Patches of which `is_in` holds, in shares of the camera picture's sides.
pub fn patches_where(
    grid: PatchGrid,
    letterbox: &Letterbox,
    is_in: impl Fn(f32, f32) -> bool,
    corner: Corner,
) -> PatchMask {
    let mut patches = PatchMask::empty(grid);
    let (w, h) = (letterbox.content.width as f32, letterbox.content.height as f32);
    for row in 0..grid.rows {
        for col in 0..grid.cols {
            let r = grid.rect(col, row);
            let (x, y) = match corner {
                Corner::TopLeft => (r.x1, r.y1),
                Corner::Middle => ((r.x1 + r.x2) / 2.0, (r.y1 + r.y2) / 2.0),
            };
            if is_in(x / w, y / h) {
                patches.set(row * grid.cols + col);
            }
        }
    }
    patches
}
