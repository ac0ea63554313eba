//! What is kept of a frame: its picture without what is masked, and what moved in it.

use crate::detect::heads::loss::LabelledBox;
use crate::files::{Links, open_plain, read_open};
use crate::frame::{Frame, Pixels};
use crate::geom::{Letterbox, Size, encloses};
use crate::outcome::FrameResult;
use crate::track::{State, Track};
use std::io;
use std::path::Path;

/// Looks that a track has had before its boxes are labels.
const LOOKS: u32 = 5;
/// Share of its side that it moves in a second.
const MOVES: f32 = 0.1;
/// So long it may have stood.
const STOOD_NS: u64 = 1_500_000_000;
const JPEG_QUALITY: u8 = 85;
/// Largest picture that is read.
const MOST_JPEG: u64 = 64 << 20;

/// A frame whose masked areas are black; masks are polygons of shares of the picture's sides.
pub fn without(frame: &Frame, masks: &[Vec<[f32; 2]>]) -> Frame {
    if masks.is_empty() {
        return frame.clone();
    }
    let (content, width) = (frame.letterbox.content, frame.size().width as usize);
    let mut data = frame.data().to_vec();
    for y in 0..content.height as usize {
        for x in 0..content.width as usize {
            let at = [(x as f32 + 0.5) / content.width as f32, (y as f32 + 0.5) / content.height as f32];
            if masks.iter().any(|mask| encloses(mask, at)) {
                let pixel = (y * width + x) * 3;
                data[pixel..pixel + 3].fill(0);
            }
        }
    }
    Frame::new(frame.id, frame.pts_ns, frame.letterbox, Pixels::owned(data))
        .at(frame.captured_ns, frame.captured_unix_ns)
        .of_epoch(frame.epoch)
}

/// A frame's picture without padding, JPEG; `None`: it could not be made.
pub fn jpeg(frame: &Frame) -> Option<Vec<u8>> {
    let (content, width) = (frame.letterbox.content, frame.size().width as usize);
    let mut rgb = Vec::with_capacity(content.area() * 3);
    for row in frame.data().chunks_exact(width * 3).take(content.height as usize) {
        for pixel in row[..content.width as usize * 3].as_chunks::<3>().0 {
            rgb.extend([pixel[2], pixel[1], pixel[0]]);
        }
    }
    let mut out = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY);
    let done = encoder.encode(&rgb, content.width, content.height, image::ExtendedColorType::Rgb8);
    done.is_ok().then_some(out)
}

/// Whether a track is confirmed, was looked at often enough, and moves: its boxes are labels.
pub(super) fn moves(t: &Track, now_ns: u64) -> bool {
    let [x, y] = t.speed();
    let speed = (x * x + y * y).sqrt();
    let side = t.bbox().width().max(t.bbox().height());
    let is_moving = speed >= MOVES * side && !has_stood(t, now_ns);
    t.state == State::Confirmed && t.detection.is_some() && t.n_looks >= LOOKS && is_moving
}

/// Whether a track stands by now.
pub(super) fn has_stood(t: &Track, now_ns: u64) -> bool {
    now_ns.saturating_sub(t.still_ns) >= STOOD_NS
}

/// A picture as a frame for a model: letterboxed, and scaled only where its size asks for it.
pub fn letterboxed(picture: image::RgbImage, input: Size) -> Frame {
    let letterbox = Letterbox::fit(Size::new(picture.width(), picture.height()), input);
    let Size { width, height } = letterbox.content;
    let scaled = match letterbox.content == letterbox.source {
        true => picture,
        false => image::imageops::resize(&picture, width, height, image::imageops::FilterType::Triangle),
    };
    filling(letterbox, scaled)
}

/// The frame whose letterbox a picture fills.
fn filling(letterbox: Letterbox, picture: image::RgbImage) -> Frame {
    let mut bgr = picture.into_raw();
    bgr.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
    Frame::letterboxed(0, letterbox, &bgr)
}

/// A picture that was kept, as the frame that it was of.
///
/// # Errors
/// It cannot be read, or does not fill this letterbox.
pub fn read_jpeg(path: &Path, letterbox: Letterbox) -> io::Result<Frame> {
    let data = open_plain(path, Links::Refused).and_then(|file| read_open(file, MOST_JPEG, "a picture"))?;
    let mut reader = image::ImageReader::with_format(io::Cursor::new(data), image::ImageFormat::Jpeg);
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(letterbox.content.width), Some(letterbox.content.height));
    reader.limits(limits);
    let picture = reader.decode().map_err(io::Error::other)?.into_rgb8();
    if picture.dimensions() != (letterbox.content.width, letterbox.content.height) {
        return Err(io::Error::other(format!("is not of {}, as the frame was", letterbox.content)));
    }
    Ok(filling(letterbox, picture))
}

/// Objects that were followed, moved and were seen in this frame: what is taken for right without being asked.
pub fn moved(result: &FrameResult) -> Vec<LabelledBox> {
    let sure = result.tracks.iter().filter(|t| moves(t, result.frame.pts_ns));
    sure.map(|t| LabelledBox { class: t.class, bbox: t.bbox() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameId;
    use crate::geom::{Letterbox, Size};

    #[test]
    fn masked_areas_are_black_and_nothing_else_is() {
        let size = Size::new(64, 32);
        let pixels = Pixels::owned(vec![200; size.area() * 3]);
        let frame = Frame::new(FrameId(7), 1, Letterbox::fit(size, size), pixels).at(2, 3).of_epoch(4);
        let left = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        let kept = without(&frame, &[left]);
        for (i, pixel) in kept.data().chunks_exact(3).enumerate() {
            assert_eq!(pixel, if i % 64 < 32 { [0; 3] } else { [200; 3] }, "pixel {i}");
        }
        assert_eq!((kept.id, kept.captured_unix_ns, kept.epoch), (FrameId(7), 3, 4));
        assert!(jpeg(&kept).is_some_and(|j| j.starts_with(&[0xff, 0xd8])));
    }

    #[test]
    fn kept_pictures_come_back_as_frames_of_their_size() {
        let letterbox = Letterbox::fit(Size::new(200, 100), Size::new(64, 64));
        let content: Vec<u8> = (0..letterbox.content.area()).flat_map(|_| [200, 100, 50]).collect();
        let frame = Frame::letterboxed(1, letterbox, &content);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), jpeg(&frame).unwrap()).unwrap();
        let back = read_jpeg(file.path(), letterbox).unwrap();
        let far = back.data().iter().zip(frame.data()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(far.is_some_and(|far| far <= 3), "{far:?}");
        for other in [Size::new(64, 16), Size::new(640, 640)] {
            assert!(read_jpeg(file.path(), Letterbox::fit(other, other)).is_err(), "{other}");
        }
        std::fs::write(file.path(), b"no picture").unwrap();
        assert!(read_jpeg(file.path(), letterbox).is_err());
    }
}
