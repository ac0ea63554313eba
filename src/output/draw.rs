//! Annotated pictures: boxes, labels, and which patches were computed.

use super::FrameResult;
use super::patches::Look;
use crate::geom::{ModelInput, Rect, Size};
use crate::merge::Provenance;

/// An RGB picture, rows without gaps.
pub struct Picture {
    pub size: Size,
    pub rgb: Vec<u8>,
}

type Rgb = [u8; 3];

const COMPUTED: Rgb = [40, 220, 80];
const STALE: Rgb = [255, 170, 30];
const MASKED: Rgb = [150, 60, 200];
const CARRIED_BOX: Rgb = [80, 170, 255];
const COMPUTED_BOX: Rgb = [255, 70, 60];

/// The frame without its padding, with boxes; with `patches`, computed patches are
/// green, stale ones that were computed orange, masked ones violet, kept ones dark.
pub fn annotate(r: &FrameResult, patches: bool) -> Picture {
    let mut picture = picture(r);
    if patches {
        tint_patches(&mut picture, r);
    }
    for reported in &r.detections {
        let m = &reported.merged;
        let colour = match m.provenance {
            Provenance::Computed => COMPUTED_BOX,
            Provenance::Carried => CARRIED_BOX,
        };
        let d = &m.detection;
        let label = r.labels.get(d.class as usize).map_or("?", String::as_str);
        let age = match m.provenance {
            Provenance::Computed => String::new(),
            Provenance::Carried => format!(" {:.1}s", m.age_ns(&r.frame) as f64 / 1e9),
        };
        let number = reported.track.map(|(id, _)| format!(" #{id}")).unwrap_or_default();
        marker::draw_box(&mut picture, &d.bbox, colour, &format!("{label}{number} {:.2}{age}", d.score));
    }
    if patches {
        let share = 100.0 * r.executed_share;
        let n = r.computed.count();
        let text = format!("{n}/{} patches, {share:.0}% computed", r.computed.grid().n_patches());
        marker::caption(&mut picture, &text);
    }
    picture
}

/// The frame with one object marked.
pub fn mark(r: &FrameResult, bbox: &Rect<ModelInput>, text: &str) -> Picture {
    let mut picture = picture(r);
    marker::draw_box(&mut picture, bbox, COMPUTED_BOX, text);
    picture
}

/// The frame without its padding.
pub fn picture(r: &FrameResult) -> Picture {
    let size = r.frame.letterbox.content;
    let mut picture = Picture { size, rgb: Vec::with_capacity(size.area() * 3) };
    let stride = r.frame.size().width as usize * 3;
    for row in r.frame.data().chunks_exact(stride).take(size.height as usize) {
        picture.rgb.extend(row[..size.width as usize * 3].as_chunks::<3>().0.iter().flat_map(|p| [p[2], p[1], p[0]]));
    }
    picture
}

fn tint_patches(picture: &mut Picture, r: &FrameResult) {
    let grid = r.computed.grid();
    for row in 0..grid.rows {
        for col in 0..grid.cols {
            let patch = row * grid.cols + col;
            let (tint, strength) = match Look::of(r, patch) {
                Look::Stale => (STALE, 70),
                Look::Computed => (COMPUTED, 80),
                Look::Beside => (COMPUTED, 35),
                Look::Masked => (MASKED, 60),
                Look::Kept => ([0, 0, 0], 60),
            };
            blend(picture, &grid.rect(col, row), tint, strength);
        }
    }
}

/// Mixes `tint` in, `strength` of 256 parts.
fn blend(picture: &mut Picture, rect: &Rect<ModelInput>, tint: Rgb, strength: u16) {
    let Size { width, height } = picture.size;
    let clip = |v: f32, max: u32| (v.max(0.0) as u32).min(max) as usize;
    let (x1, x2) = (clip(rect.x1, width), clip(rect.x2, width));
    for y in clip(rect.y1, height)..clip(rect.y2, height) {
        let row = &mut picture.rgb[(y * width as usize + x1) * 3..(y * width as usize + x2) * 3];
        for pixel in row.as_chunks_mut::<3>().0 {
            for (v, t) in pixel.iter_mut().zip(tint) {
                *v = ((u16::from(*v) * (256 - strength) + u16::from(t) * strength) >> 8) as u8;
            }
        }
    }
}

impl Picture {
    /// What lies in a rectangle; `None` if nothing does.
    pub fn crop(&self, rect: &Rect<ModelInput>) -> Option<Self> {
        let inside = rect.intersection(&self.size.rect());
        if inside.is_empty() {
            return None;
        }
        let (x1, y1) = (inside.x1.floor() as usize, inside.y1.floor() as usize);
        let (x2, y2) = (inside.x2.ceil() as usize, inside.y2.ceil() as usize);
        let row = self.size.width as usize * 3;
        let rows = self.rgb.chunks_exact(row).take(y2).skip(y1);
        let rgb = rows.flat_map(|r| &r[x1 * 3..x2 * 3]).copied().collect();
        Some(Self { size: Size::new((x2 - x1) as u32, (y2 - y1) as u32), rgb })
    }

    /// As JPEG; quality 1 to 100.
    ///
    /// # Errors
    /// The encoder refuses a picture without pixels.
    pub fn jpeg(&self, quality: u8) -> image::ImageResult<Vec<u8>> {
        let mut out = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality);
        encoder.encode(&self.rgb, self.size.width, self.size.height, image::ExtendedColorType::Rgb8)?;
        Ok(out)
    }
}

/// Lines and text by OpenCV.
#[cfg(feature = "opencv")]
mod marker {
    use super::{Picture, Rgb};
    use crate::geom::{ModelInput, Rect};
    use opencv::core::{Mat, Point, Rect as CvRect, Scalar};
    use opencv::imgproc;

    const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
    const SIZE: f64 = 0.4;

    pub fn draw_box(picture: &mut Picture, bbox: &Rect<ModelInput>, colour: Rgb, label: &str) {
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

    pub fn caption(picture: &mut Picture, text: &str) {
        let y = picture.size.height as i32 - 8;
        on_mat(picture, |mat| {
            imgproc::put_text(
                mat,
                text,
                Point::new(7, y + 1),
                FONT,
                SIZE,
                Scalar::all(0.0),
                2,
                imgproc::LINE_AA,
                false,
            )?;
            imgproc::put_text(mat, text, Point::new(6, y), FONT, SIZE, Scalar::all(255.0), 1, imgproc::LINE_AA, false)
        });
    }

    /// Lets OpenCV draw into the picture's own bytes.
    fn on_mat(
        picture: &mut Picture,
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
}

/// Without OpenCV: boxes, no text.
#[cfg(not(feature = "opencv"))]
mod marker {
    use super::{Picture, Rgb, blend};
    use crate::geom::{ModelInput, Rect};

    pub fn draw_box(picture: &mut Picture, b: &Rect<ModelInput>, colour: Rgb, _label: &str) {
        for side in [
            Rect::new(b.x1, b.y1, b.x2, b.y1 + 2.0),
            Rect::new(b.x1, b.y2 - 2.0, b.x2, b.y2),
            Rect::new(b.x1, b.y1, b.x1 + 2.0, b.y2),
            Rect::new(b.x2 - 2.0, b.y1, b.x2, b.y2),
        ] {
            blend(picture, &side, colour, 256);
        }
    }

    pub fn caption(_picture: &mut Picture, _text: &str) {}
}
