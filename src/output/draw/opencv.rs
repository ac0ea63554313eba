//! Lines and text by OpenCV.

use super::{Rgb, RgbPicture};
use crate::geom::{ModelInput, Rect};
use opencv::core::{Mat, Point, Rect as CvRect, Scalar};
use opencv::imgproc;

const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
const SIZE: f64 = 0.4;

pub fn outline(picture: &mut RgbPicture, bbox: &Rect<ModelInput>, colour: Rgb) {
    let b = bbox.intersection(&picture.size.rect::<ModelInput>());
    if b.is_empty() {
        return;
    }
    on_mat(picture, |mat| {
        let r = CvRect::new(b.x1 as i32, b.y1 as i32, (b.width() as i32).max(1), (b.height() as i32).max(1));
        imgproc::rectangle(mat, r, scalar(colour), 2, imgproc::LINE_8, 0)
    });
}

fn scalar(colour: Rgb) -> Scalar {
    Scalar::new(colour[0].into(), colour[1].into(), colour[2].into(), 0.0)
}

/// Width and height of a label with its ground.
pub fn text_size(text: &str) -> (f32, f32) {
    let size = imgproc::get_text_size(text, FONT, SIZE, 1, &mut 0).unwrap_or_default();
    (size.width as f32 + 4.0, size.height as f32 + 5.0)
}

/// A label whose ground begins at `[x, y]`.
pub fn label(picture: &mut RgbPicture, [x, y]: [f32; 2], colour: Rgb, text: &str) {
    let (width, height) = text_size(text);
    on_mat(picture, |mat| {
        let ground = CvRect::new(x as i32, y as i32, width as i32, height as i32);
        imgproc::rectangle(mat, ground, scalar(colour), imgproc::FILLED, imgproc::LINE_8, 0)?;
        let at = Point::new(ground.x + 2, ground.y + ground.height - 3);
        imgproc::put_text(mat, text, at, FONT, SIZE, Scalar::all(0.0), 1, imgproc::LINE_AA, false)
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
