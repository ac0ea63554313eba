//! Annotated pictures: boxes, labels, and which patches were computed.

use super::patches::PatchLook;
use crate::geom::{ModelInput, Rect, Size};
use crate::merge::Provenance;
use crate::outcome::FrameResult;

/// Boxes, lines and text: by OpenCV, or without it.
#[cfg_attr(feature = "opencv", path = "draw/opencv.rs")]
#[cfg_attr(not(feature = "opencv"), path = "draw/plain.rs")]
mod marker;

/// An RGB picture, rows without gaps.
pub struct RgbPicture {
    pub size: Size,
    pub rgb: Vec<u8>,
}

type Rgb = [u8; 3];

const COMPUTED: Rgb = [40, 220, 80];
const STALE: Rgb = [255, 170, 30];
const MASKED: Rgb = [150, 60, 200];
const CARRIED_BOX: Rgb = [80, 170, 255];
const PREDICTED_BOX: Rgb = [255, 200, 60];
const COMPUTED_BOX: Rgb = [255, 70, 60];

/// The frame without its padding, with boxes; with `patches`, computed patches are
/// green, stale ones that were computed orange, masked ones violet, kept ones dark, and so are those that wait.
pub fn annotate(r: &FrameResult, patches: bool) -> RgbPicture {
    let mut picture = picture(r);
    if patches {
        tint_patches(&mut picture, r);
    }
    let mut texts = Vec::with_capacity(r.detections.len());
    for reported in &r.detections {
        let m = &reported.merged;
        let colour = match m.provenance {
            Provenance::Computed => COMPUTED_BOX,
            Provenance::Carried => CARRIED_BOX,
            Provenance::Predicted => PREDICTED_BOX,
        };
        let d = &m.detection;
        let label = r.labels.get(d.class as usize).map_or("?", String::as_str);
        let age = match m.provenance {
            Provenance::Computed => String::new(),
            Provenance::Carried | Provenance::Predicted => format!(" {:.1}s", m.age_ns(&r.frame) as f64 / 1e9),
        };
        let number = reported.track.map(|(id, _)| format!(" #{id}")).unwrap_or_default();
        marker::outline(&mut picture, &d.bbox, colour);
        texts.push((d.bbox, colour, format!("{label}{number} {:.2}{age}", d.score)));
    }
    let mut taken = Vec::with_capacity(texts.len());
    for (bbox, colour, text) in &texts {
        write(&mut picture, bbox, *colour, text, &mut taken);
    }
    if patches {
        let share = 100.0 * r.executed_share;
        let n = r.computed.count();
        let n_all = r.computed.grid().n_patches();
        let text =
            format!("{n}/{n_all} patches, {share:.0}% computed; boxes: red computed, blue carried, yellow predicted");
        marker::caption(&mut picture, &text);
    }
    picture
}

/// The frame with one object marked.
pub fn mark(r: &FrameResult, bbox: &Rect<ModelInput>, text: &str) -> RgbPicture {
    let mut picture = picture(r);
    marker::outline(&mut picture, bbox, COMPUTED_BOX);
    write(&mut picture, bbox, COMPUTED_BOX, text, &mut Vec::new());
    picture
}

/// Writes a label at its box: above it, in it, below it, or else on the next free line down. `taken`: where labels are.
fn write(
    picture: &mut RgbPicture,
    bbox: &Rect<ModelInput>,
    colour: Rgb,
    text: &str,
    taken: &mut Vec<Rect<ModelInput>>,
) {
    let whole = picture.size.rect::<ModelInput>();
    let b = bbox.intersection(&whole);
    if b.is_empty() {
        return;
    }
    let (w, h) = marker::text_size(text);
    let x = b.x1.min(whole.x2 - w).max(0.0);
    let at = |y: f32| Rect::<ModelInput>::new(x, y, x + w, y + h);
    let lines = (1..12).map(|i| b.y1 + i as f32 * h);
    let is_free = |place: &Rect<ModelInput>| {
        place.y1 >= 0.0 && place.y2 <= whole.y2 && taken.iter().all(|other| other.intersection(place).is_empty())
    };
    let place = [b.y1 - h, b.y1, b.y2].into_iter().chain(lines).map(at).find(is_free);
    let place = place.unwrap_or_else(|| at((b.y1 - h).max(0.0)));
    marker::label(picture, [place.x1, place.y1], colour, text);
    taken.push(place);
}

/// The frame without its padding.
pub fn picture(r: &FrameResult) -> RgbPicture {
    let size = r.frame.letterbox.content;
    let mut picture = RgbPicture { size, rgb: Vec::with_capacity(size.area() * 3) };
    let stride = r.frame.size().width as usize * 3;
    for row in r.frame.data().chunks_exact(stride).take(size.height as usize) {
        picture.rgb.extend(row[..size.width as usize * 3].as_chunks::<3>().0.iter().flat_map(|p| [p[2], p[1], p[0]]));
    }
    picture
}

fn tint_patches(picture: &mut RgbPicture, r: &FrameResult) {
    let grid = r.computed.grid();
    for row in 0..grid.rows {
        for col in 0..grid.cols {
            let patch = row * grid.cols + col;
            let (tint, strength) = match PatchLook::of(r, patch) {
                PatchLook::Stale => (STALE, 70),
                PatchLook::Computed => (COMPUTED, 80),
                PatchLook::Beside => (COMPUTED, 35),
                PatchLook::Masked => (MASKED, 60),
                PatchLook::Kept => ([0, 0, 0], 60),
            };
            blend(picture, &grid.rect(col, row), tint, strength);
        }
    }
}

/// Mixes `tint` in, `strength` of 256 parts.
fn blend(picture: &mut RgbPicture, rect: &Rect<ModelInput>, tint: Rgb, strength: u16) {
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

impl RgbPicture {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn grey() -> RgbPicture {
        RgbPicture { size: Size::new(64, 48), rgb: vec![90; 64 * 48 * 3] }
    }

    fn at(p: &RgbPicture, x: usize, y: usize) -> [u8; 3] {
        p.rgb[(y * 64 + x) * 3..][..3].try_into().unwrap()
    }

    fn draw_box(p: &mut RgbPicture, bbox: &Rect<ModelInput>, colour: Rgb, text: &str) {
        marker::outline(p, bbox, colour);
        write(p, bbox, colour, text, &mut Vec::new());
    }

    #[test]
    fn labels_of_boxes_that_lie_together_stand_apart() {
        let mut p = RgbPicture { size: Size::new(320, 240), rgb: vec![90; 320 * 240 * 3] };
        let mut taken = Vec::new();
        for i in 0..6 {
            let bbox = Rect::new(100.0 + i as f32, 100.0, 140.0, 130.0);
            write(&mut p, &bbox, COMPUTED_BOX, "person #12 0.91", &mut taken);
        }
        let places: Vec<_> = taken.iter().map(|r| r.to_array()).collect();
        for (i, a) in taken.iter().enumerate() {
            assert!(taken[..i].iter().all(|b| a.intersection(b).is_empty()), "{places:?}");
            assert!(a.y1 >= 0.0 && a.y2 <= 240.0 && a.x2 <= 320.0, "{places:?}");
        }
    }

    #[test]
    fn boxes_have_their_colour_and_a_readable_label() {
        let mut p = grey();
        draw_box(&mut p, &Rect::new(10.0, 24.0, 50.0, 44.0), COMPUTED_BOX, "cat");
        assert_eq!(at(&p, 10, 34), COMPUTED_BOX, "left side");
        assert_eq!(at(&p, 30, 34), [90; 3], "inside");
        let above: Vec<_> = (10..22).flat_map(|y| (12..30).map(move |x| (x, y))).map(|(x, y)| at(&p, x, y)).collect();
        assert!(above.contains(&COMPUTED_BOX), "the label's ground");
        assert!(above.iter().any(|c| c[0] < 130 && *c != [90; 3]), "the label's letters");
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut p = grey();
        draw_box(
            &mut p,
            &Rect::new(-20.0, -20.0, 400.0, 400.0),
            COMPUTED_BOX,
            "a label that is wider than the picture",
        );
        draw_box(&mut p, &Rect::new(70.0, 10.0, 90.0, 20.0), COMPUTED_BOX, "outside");
        draw_box(&mut p, &Rect::new(60.0, 47.5, 64.0, 48.0), CARRIED_BOX, "Straße ✓");
        marker::caption(&mut p, "12/345 patches, 3% computed and more than fits");
        assert_eq!(p.rgb.len(), 64 * 48 * 3);
    }
}
