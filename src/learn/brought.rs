//! Labels as other tools have them (COCO JSON), to marks and back, and pictures from elsewhere as frames.
//!
//! A category for each of the model's labels, in their order from 1, and one more for what is none: `not-an-object`. Tools
//! that do not know it see one more class. What else is known of a mark is in its annotation's `attributes`: `said`
//! (`missed`; else it is `right`), and of what is no object the `label` that it was taken for.

use super::coco::{CocoAnnotation, CocoCategory, CocoFile, CocoImage, NOT_AN_OBJECT};
use super::picture::letterboxed;
use crate::frame::Frame;
use crate::geom::{CameraPixels, Rect, Size};
use crate::output::desk::{BroughtPicture, BroughtPlace, Said};
use crate::output::parcel::{MOST_PICTURES, is_plain_name};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

/// Most places of a picture.
const MOST_PLACES: usize = 300;
/// Largest picture: longer side, pixels, and what a decoder may take for it.
const MOST_SIDE: u32 = 8192;
const MOST_PIXELS: usize = 20_000_000;
const MOST_MEMORY: u64 = 256 << 20;
/// Least side.
const LEAST_SIDE: u32 = 16;
/// How far the proportions of a picture may differ from those that its labels say.
const ASKEW: f32 = 0.02;

/// Reads labels: pictures in their order, but for those of which nothing is said. Boxes of many objects are left out: they
/// are in doubt, as is all that is not marked.
///
/// # Errors
/// Names the image, annotation or category, and what is wrong with it.
pub fn read_labels(json: &[u8]) -> Result<Vec<BroughtPicture>, String> {
    let file: CocoFile = serde_json::from_slice(json)
        .map_err(|e| format!("it is no COCO file (images, annotations, categories): {e}"))?;
    let categories: BTreeMap<u64, &str> = file.categories.iter().map(|c| (c.id, c.name.as_str())).collect();
    let mut numbers = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut pictures: Vec<BroughtPicture> = Vec::new();
    for image in &file.images {
        let name = &image.file_name;
        let odd = |what: &str| format!("image '{}': {what}", name.escape_debug());
        if !is_plain_name(name) {
            return Err(odd("its name leads elsewhere"));
        }
        if image.width == 0 || image.height == 0 {
            return Err(odd("it has no size"));
        }
        if !names.insert(name) || numbers.insert(image.id, pictures.len()).is_some() {
            return Err(odd("it is there twice"));
        }
        pictures.push(BroughtPicture { name: name.clone(), size: [image.width, image.height], places: Vec::new() });
    }
    for a in file.annotations.iter().filter(|a| a.iscrowd == 0) {
        let odd = |what: String| format!("annotation {}: {what}", a.id);
        let picture = numbers.get(&a.image_id).and_then(|n| pictures.get_mut(*n));
        let picture = picture.ok_or_else(|| odd(format!("there is no image {}", a.image_id)))?;
        let name = categories.get(&a.category_id);
        let name = *name.ok_or_else(|| odd(format!("there is no category {}", a.category_id)))?;
        let odd = |what: String| format!("annotation {} of image '{}': {what}", a.id, picture.name.escape_debug());
        let [x, y, w, h] = a.bbox;
        let [width, height] = picture.size;
        let inside = Rect::<CameraPixels>::new(x, y, x + w, y + h).intersection(&Size::new(width, height).rect());
        if !a.bbox.iter().all(|v| v.is_finite()) || inside.width() < 1.0 || inside.height() < 1.0 {
            return Err(odd(format!("its box {:?} is none, or lies outside of the picture", a.bbox)));
        }
        if picture.places.len() >= MOST_PLACES {
            return Err(odd(format!("more than {MOST_PLACES} boxes are too many for a picture")));
        }
        let attribute = |key: &str| a.attributes.as_ref().and_then(|v| v[key].as_str());
        let (said, label) = match name {
            NOT_AN_OBJECT => (Said::NotAnObject, attribute("label")),
            _ if attribute("said") == Some("missed") => (Said::Missed, Some(name)),
            _ => (Said::Right, Some(name)),
        };
        picture.places.push(BroughtPlace { said, label: label.map(str::to_owned), bbox: inside.to_array() });
    }
    pictures.retain(|p| !p.places.is_empty());
    match pictures.len() {
        0 => Err("nothing is said in it of any picture: there are no annotations".into()),
        n if n > MOST_PICTURES => Err(format!("{n} pictures are too many at a time: bring {MOST_PICTURES} at most")),
        _ => Ok(pictures),
    }
}

/// Whether a model knows all labels; what is none may have been taken for anything.
///
/// # Errors
/// Names the label and the picture.
pub fn check_labels(pictures: &[BroughtPicture], known: &[String]) -> Result<(), String> {
    let places = pictures.iter().flat_map(|p| p.places.iter().map(move |place| (&p.name, place)));
    for (name, place) in places.filter(|(_, place)| place.said != Said::NotAnObject) {
        let label = place.label.as_deref().unwrap_or_default();
        if !known.iter().any(|k| k == label) {
            let some = known.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            let (label, name) = (label.escape_debug(), name.escape_debug());
            return Err(format!(
                "'{label}' (image '{name}') is no label of the model; it has {some}, and {NOT_AN_OBJECT}"
            ));
        }
    }
    Ok(())
}

/// Labels of pictures, all of which the model knows.
pub fn labels_file(pictures: &[BroughtPicture], known: &[String]) -> CocoFile {
    let names = known.iter().cloned().chain([NOT_AN_OBJECT.to_owned()]).zip(1..);
    let mut file =
        CocoFile { categories: names.map(|(name, id)| CocoCategory { id, name }).collect(), ..CocoFile::default() };
    for (picture, image_id) in pictures.iter().zip(1..) {
        let [width, height] = picture.size;
        file.images.push(CocoImage { id: image_id, width, height, file_name: picture.name.clone() });
        for place in &picture.places {
            let none = place.said == Said::NotAnObject;
            let class = place.label.as_ref().filter(|_| !none).and_then(|l| known.iter().position(|k| k == l));
            let Some(class) = class.or(none.then_some(known.len())) else { continue };
            let [x1, y1, x2, y2] = place.bbox;
            let (w, h) = (x2 - x1, y2 - y1);
            let attributes = match (&place.label, place.said) {
                (Some(label), Said::NotAnObject) => Some(json!({ "said": place.said, "label": label })),
                _ => Some(json!({ "said": place.said })),
            };
            file.annotations.push(CocoAnnotation {
                id: file.annotations.len() as u64 + 1,
                image_id,
                category_id: class as u64 + 1,
                bbox: [x1, y1, w, h],
                iscrowd: 0,
                area: w * h,
                attributes,
            });
        }
    }
    file
}

/// A picture's places in pixels of another size of it.
///
/// # Errors
/// It has other proportions.
pub fn scaled_places(picture: &BroughtPicture, to: Size) -> Result<Vec<BroughtPlace>, String> {
    let [w, h] = picture.size.map(|v| v as f32);
    let [x, y] = [to.width as f32 / w, to.height as f32 / h];
    if !((1.0 - ASKEW)..=(1.0 + ASKEW)).contains(&(x / y)) {
        return Err(format!("it is of {to}, and its labels are of {w}x{h}"));
    }
    let scaled = |p: &BroughtPlace| {
        let [x1, y1, x2, y2] = p.bbox;
        BroughtPlace { bbox: [x1 * x, y1 * y, x2 * x, y2 * y], ..p.clone() }
    };
    Ok(picture.places.iter().map(scaled).collect())
}

/// The head of a picture, JPEG or PNG, upright: what decodes it, its size, and how it is turned.
fn head(data: &[u8]) -> Result<(impl ImageDecoder + '_, Size, Orientation), String> {
    let mut reader = ImageReader::new(Cursor::new(data)).with_guessed_format().map_err(|e| e.to_string())?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png)) {
        return Err("it is no JPEG or PNG".into());
    }
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| format!("it cannot be read: {e}"))?;
    let (width, height) = decoder.dimensions();
    let size = Size::new(width, height);
    let (short, long) = (width.min(height), width.max(height));
    if short < LEAST_SIDE || long > MOST_SIDE || size.area() > MOST_PIXELS {
        let most = MOST_PIXELS / 1_000_000;
        return Err(format!(
            "a picture of {size} is not taken: sides of {LEAST_SIDE} to {MOST_SIDE}, and at most {most} million pixels"
        ));
    }
    let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let lies = matches!(
        turned,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let upright = if lies { Size::new(height, width) } else { size };
    Ok((decoder, upright, turned))
}

/// The size of a picture, upright.
///
/// # Errors
/// It is no picture, or one that is not taken.
pub fn size_of(data: &[u8]) -> Result<Size, String> {
    head(data).map(|(_, size, _)| size)
}

/// A picture as a frame for a model.
///
/// # Errors
/// As [`size_of`], or it is damaged.
pub fn decoded(data: &[u8], input: Size) -> Result<Frame, String> {
    let (decoder, _, turned) = head(data)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| format!("it cannot be decoded: {e}"))?;
    picture.apply_orientation(turned);
    Ok(letterboxed(picture.into_rgb8(), input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        ["person", "car"].map(str::to_owned).to_vec()
    }

    fn place(said: Said, label: Option<&str>, bbox: [f32; 4]) -> BroughtPlace {
        BroughtPlace { said, label: label.map(str::to_owned), bbox }
    }

    #[test]
    fn labels_come_back_as_they_were() {
        let pictures = vec![
            BroughtPicture {
                name: "images/1-2.jpg".into(),
                size: [640, 360],
                places: vec![
                    place(Said::NotAnObject, Some("person"), [1.0, 2.0, 30.0, 40.0]),
                    place(Said::NotAnObject, None, [5.0, 2.0, 30.0, 40.0]),
                    place(Said::Right, Some("person"), [100.5, 20.0, 130.0, 90.25]),
                ],
            },
            BroughtPicture {
                name: "images/1-3.jpg".into(),
                size: [640, 360],
                places: vec![place(Said::Missed, Some("car"), [0.0, 0.0, 640.0, 360.0])],
            },
        ];
        let file = labels_file(&pictures, &known());
        assert_eq!(file.categories.last().map(|c| (c.id, c.name.as_str())), Some((3, NOT_AN_OBJECT)));
        let back = read_labels(&serde_json::to_vec(&file).unwrap()).unwrap();
        assert_eq!(back, pictures);
        check_labels(&back, &known()).unwrap();
        let error = check_labels(&back, &known()[..1]).unwrap_err();
        assert!(
            error.contains("'car' (image 'images/1-3.jpg')") && error.contains("person, and not-an-object"),
            "{error}"
        );
    }

    #[test]
    fn other_tools_labels_are_read_and_mistakes_named() {
        let file = r#"{"info": {}, "licenses": [],
            "images": [{"id": 7, "width": 200, "height": 100, "file_name": "a.png", "license": 0},
                       {"id": 8, "width": 200, "height": 100, "file_name": "bare.png"}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 3, "bbox": [190, 10, 40, 30], "segmentation": [[1, 2]],
                 "attributes": {"occluded": false, "said": 7}},
                {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 10, 10], "iscrowd": 1}],
            "categories": [{"id": 3, "name": "car"}, {"id": 4, "name": "tram", "supercategory": "x"}]}"#;
        let read = read_labels(file.as_bytes()).unwrap();
        assert_eq!(read.len(), 1, "of the other nothing is said");
        assert_eq!(read[0].places, [place(Said::Right, Some("car"), [190.0, 10.0, 200.0, 40.0])], "without the crowd");
        check_labels(&read, &known()).unwrap();
        let check = |from: &str, to: &str, part: &str| {
            assert!(file.contains(from), "{from}");
            let error = read_labels(file.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check("a.png", "../a.png", "'../a.png': its name leads elsewhere");
        check("bare.png", "a.png", "twice");
        check("\"id\": 8", "\"id\": 7", "twice");
        check("\"width\": 200", "\"width\": 0", "no size");
        check("[190, 10, 40, 30]", "[200, 10, 40, 30]", "annotation 1 of image 'a.png'");
        check("[190, 10, 40, 30]", "[1, 10, 1e39, 30]", "annotation 1");
        check("\"image_id\": 7, \"category_id\": 3", "\"image_id\": 9, \"category_id\": 3", "no image 9");
        check("\"category_id\": 3", "\"category_id\": 9", "no category 9");
        check("\"id\": 1, \"image_id\": 7", "\"iscrowd\": 1, \"id\": 1, \"image_id\": 7", "no annotations");
        check("\"images\"", "\"pictures\"", "no COCO file");
    }

    #[test]
    fn places_follow_their_picture_to_another_size() {
        let places = vec![place(Said::Right, Some("car"), [10.0, 20.0, 30.0, 40.0])];
        let picture = BroughtPicture { name: "a".into(), size: [1920, 1080], places };
        let there = scaled_places(&picture, Size::new(960, 540)).unwrap();
        assert_eq!(there[0].bbox, [5.0, 10.0, 15.0, 20.0]);
        let error = scaled_places(&picture, Size::new(1080, 1920)).unwrap_err();
        assert!(error.contains("1080x1920") && error.contains("1920x1080"), "{error}");
    }

    fn png(size: Size) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image::RgbImage::from_pixel(size.width, size.height, image::Rgb([200, 100, 50]))
            .write_to(&mut out, ImageFormat::Png)
            .unwrap();
        out.into_inner()
    }

    #[test]
    fn pictures_become_frames_and_hostile_ones_do_not() {
        let input = Size::new(64, 64);
        let frame = decoded(&png(Size::new(200, 100)), input).unwrap();
        assert_eq!((frame.size(), frame.letterbox.source), (input, Size::new(200, 100)));
        assert_eq!(&frame.data()[..3], &[50, 100, 200], "BGR");
        assert_eq!(&frame.data()[63 * 64 * 3..][..3], &[crate::frame::PADDING; 3]);
        let check = |data: &[u8], part: &str| {
            let error = decoded(data, input).map(|_| ()).unwrap_err();
            assert!(error.contains(part) && size_of(data).is_err() == (part != "cannot be decoded"), "{error}");
        };
        check(b"", "no JPEG or PNG");
        check(b"GIF89a", "no JPEG or PNG");
        check(&png(Size::new(8, 100)), "8x100 is not taken");
        // A head that promises more than the file has.
        let mut vast = png(Size::new(200, 100));
        vast[16..24].copy_from_slice(&[0, 0, 0x1f, 0xff, 0, 0, 0x1f, 0xff]);
        let sum = crc(&vast[12..29]);
        vast[29..33].copy_from_slice(&sum.to_be_bytes());
        check(&vast, "8191x8191 is not taken");
        let whole = png(Size::new(200, 100));
        check(&whole[..whole.len() / 2], "cannot be decoded");
    }

    /// The checksum of a PNG's parts.
    fn crc(data: &[u8]) -> u32 {
        let step = |c: u32, b: &u8| (0..8).fold(c ^ u32::from(*b), |c, _| (c >> 1) ^ (0xedb8_8320 * (c & 1)));
        !data.iter().fold(!0, step)
    }
}
