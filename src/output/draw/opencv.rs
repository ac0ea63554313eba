//! Lines and text by OpenCV.

use super::{Rgb, RgbPicture};
use crate::geom::{ModelInput, Rect};
use opencv::core::{Mat, Point, Rect as CvRect, Scalar};
use opencv::imgproc;

const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
const SIZE: f64 = 0.4;

pub fn draw_box(picture: &mut RgbPicture, bbox: &Rect<ModelInput>, colour: Rgb, label: &str) {
    let whole = picture.size.rect::<ModelInput>();
    let b = bbox.intersection(&whole);
    if b.is_empty() {
        return;
    }
    let colour = Scalar::new(colour[0].into(), colour[1].into(), colour[2].into(), 0.0);
    on_mat(picture, |mat| {
        let r = CvRect::new(b.x1 as i32, b.y1 as i32, (b.width() as i32).max(1), (b.height() as i32).max(1));
        imgproc::rectangle(mat, r, colour, 2, imgproc::LINE_8, 0)?;
        let mut below = 0;
        let text = imgproc::get_text_size(label, FONT, SIZE, 1, &mut below)?;
        let top = (r.y - text.height - 5).max(0);
        imgproc::rectangle(
            mat,
            CvRect::new(r.x, top, text.width + 4, text.height + 5),
            colour,
            imgproc::FILLED,
            imgproc::LINE_8,
            0,
        )?;
        let at = Point::new(r.x + 2, top + text.height + 2);
        imgproc::put_text(mat, label, at, FONT, SIZE, Scalar::all(0.0), 1, imgproc::LINE_AA, false)
    });
}

pub fn caption(picture: &mut RgbPicture, text: &str) {
    let y = picture.size.height as i32 - 8;
    on_mat(picture, |mat| {
        imgproc::put_text(mat, text, Point::new(7, y + 1), FONT, SIZE, Scalar::all(0.0), 2, imgproc::LINE_AA, false)?;
        imgproc::put_text(mat, text, Point::new(6, y), FONT, SIZE, Scalar::all(255.0), 1, imgproc::LINE_AA, false)
    });
}

/// Lets OpenCV draw into the picture's own bytes.
fn on_mat(
    picture: &mut RgbPicture,
    draw: impl FnOnce(&mut opencv::boxed_ref::BoxedRefMut<'_, Mat>) -> opencv::Result<()>,
) {
    let size = picture.size;
    let done = opencv::core::Mat::new_rows_cols_with_bytes_mut::<opencv::core::Vec3b>(
        size.height as i32,
        size.width as i32,
        &mut picture.rgb,
    )
    .and_then(|mut mat| draw(&mut mat));
    if let Err(e) = done {
        tracing::debug!("drawing: {e}");
    }
}
