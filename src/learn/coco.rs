//! Labels of pictures: COCO's JSON, or a folder of YOLO's texts.

use super::error::LearnError;
use crate::detect::heads::loss::{LabelledBox, PictureLabels};
use crate::files::read_text;
use crate::geom::{CameraPixels, Letterbox, Rect, Size};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Largest file that is read.
const MOST_BYTES: u64 = 256 << 20;
/// Sides of the picture in which shares are counted.
const TEXT_SIDE: u16 = 1000;

/// The category of what is none.
pub const NOT_AN_OBJECT: &str = "not-an-object";

/// A file as written: the parts that count.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CocoFile {
    pub images: Vec<CocoImage>,
    pub annotations: Vec<CocoAnnotation>,
    pub categories: Vec<CocoCategory>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CocoImage {
    pub id: u64,
    pub width: u32,
    pub height: u32,
    pub file_name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CocoAnnotation {
    pub id: u64,
    pub image_id: u64,
    pub category_id: u64,
    /// Left, top, width, height.
    pub bbox: [f32; 4],
    /// 1: many objects in one box, in doubt.
    #[serde(default)]
    pub iscrowd: u8,
    #[serde(default)]
    pub area: f32,
    /// What else a tool says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CocoCategory {
    pub id: u64,
    pub name: String,
}

/// What is in the frames of a clip.
#[derive(Debug, Clone, Default)]
pub struct Truths {
    frames: BTreeMap<u64, FrameTruth>,
}

#[derive(Debug, Clone)]
struct FrameTruth {
    size: Size,
    /// Class (`None`: in doubt) and box.
    objects: Vec<(Option<u16>, Rect<CameraPixels>)>,
}

impl Truths {
    /// Reads a COCO file, or a folder with YOLO's texts.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path, labels: &[String]) -> Result<Self, LearnError> {
        if path.is_dir() { Self::read_texts(path, labels.len()) } else { Self::read_coco(path, labels) }
    }

    /// Reads a folder of `000123.txt`, one a frame: lines of class, middle and size, shares of the picture's sides. A frame
    /// without a file is not known; one with an empty file shows nothing.
    fn read_texts(folder: &Path, n_classes: usize) -> Result<Self, LearnError> {
        let entries = std::fs::read_dir(folder).map_err(|e| LearnError::file(folder, &e))?;
        let mut truths = Self::default();
        for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "txt")) {
            let err = |e: &dyn std::fmt::Display| LearnError::file(&path, e);
            // `classes.txt` and the like stand beside them.
            let Some(number) = path.to_str().and_then(frame_number) else { continue };
            let text = read_text(&path, MOST_BYTES, "labels").map_err(|e| err(&e))?;
            let side = f32::from(TEXT_SIDE);
            let boxes = text_boxes(&text, n_classes).map_err(|e| err(&e))?.into_iter();
            let objects = boxes.map(|(class, at)| {
                let [x1, y1, x2, y2] = at.map(|v| v * side);
                (Some(class), Rect::new(x1, y1, x2, y2))
            });
            let objects = objects.collect();
            let size = Size::new(u32::from(TEXT_SIDE), u32::from(TEXT_SIDE));
            truths.frames.insert(number, FrameTruth { size, objects });
        }
        match truths.frames.is_empty() {
            true => Err(LearnError::file(folder, &"there are no labels such as 000123.txt in it")),
            false => Ok(truths),
        }
    }

    /// Reads a file whose images are frames of a clip, numbered from 0 by the last digits of their names. Categories are
    /// found among the model's labels by name; of others nothing is learned, and where they are, nothing is background.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    fn read_coco(path: &Path, labels: &[String]) -> Result<Self, LearnError> {
        let err = |e: &dyn std::fmt::Display| LearnError::file(path, e);
        let text = read_text(path, MOST_BYTES, "labels").map_err(|e| err(&e))?;
        let file: CocoFile = serde_json::from_str(&text)
            .map_err(|e| err(&format!("it is no COCO file (images, annotations, categories): {e}")))?;
        let class = |name: &str| labels.iter().position(|l| l == name).map(|c| c as u16);
        let classes: HashMap<u64, Option<u16>> = file.categories.iter().map(|c| (c.id, class(&c.name))).collect();
        let mut truths = Self::default();
        let mut numbers = HashMap::new();
        for image in &file.images {
            let number = frame_number(&image.file_name)
                .ok_or_else(|| err(&format!("image '{}': its name ends with no number of a frame", image.file_name)))?;
            if image.width == 0 || image.height == 0 {
                return Err(err(&format!("image '{}': it has no size", image.file_name)));
            }
            numbers.insert(image.id, number);
            let truth = FrameTruth { size: Size::new(image.width, image.height), objects: Vec::new() };
            if truths.frames.insert(number, truth).is_some() {
                return Err(err(&format!("two images are frame {number}")));
            }
        }
        // What is none is background, as is all that nothing is said of.
        let none: Vec<u64> = file.categories.iter().filter(|c| c.name == NOT_AN_OBJECT).map(|c| c.id).collect();
        for a in file.annotations.iter().filter(|a| !none.contains(&a.category_id)) {
            let frame = numbers.get(&a.image_id).and_then(|n| truths.frames.get_mut(n));
            let frame = frame.ok_or_else(|| err(&format!("annotation {}: there is no image {}", a.id, a.image_id)))?;
            let class = classes
                .get(&a.category_id)
                .ok_or_else(|| err(&format!("annotation {}: there is no category {}", a.id, a.category_id)))?;
            let [x, y, w, h] = a.bbox;
            let bbox = Rect::new(x, y, x + w, y + h);
            if !bbox.is_finite() || bbox.is_empty() {
                return Err(err(&format!("annotation {}: its box {:?} is none", a.id, a.bbox)));
            }
            frame.objects.push((class.filter(|_| a.iscrowd == 0), bbox));
        }
        if !truths.frames.values().flat_map(|f| &f.objects).any(|(class, _)| class.is_some()) {
            let names = file.categories.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(err(&format!("none of its categories ({names}) is a label of the model")));
        }
        Ok(truths)
    }

    /// What is known of a frame; `None`: nothing.
    pub fn of_frame(&self, number: u64, letterbox: &Letterbox) -> Option<PictureLabels> {
        let truth = self.frames.get(&number)?;
        let scale = [
            letterbox.source.width as f32 / truth.size.width as f32,
            letterbox.source.height as f32 / truth.size.height as f32,
        ];
        let mut labels = PictureLabels { is_complete: true, ..PictureLabels::default() };
        for (class, b) in &truth.objects {
            let here = Rect::new(b.x1 * scale[0], b.y1 * scale[1], b.x2 * scale[0], b.y2 * scale[1]);
            let bbox = letterbox.to_input(&here);
            match class {
                Some(class) => labels.objects.push(LabelledBox { class: *class, bbox }),
                None => labels.ignored.push(bbox),
            }
        }
        Some(labels)
    }
}

/// Reads one of YOLO's texts: class, and left, top, right and bottom in shares of the picture's sides, an object.
///
/// # Errors
/// Names the line, and what is expected there.
pub fn text_boxes(text: &str, n_classes: usize) -> Result<Vec<(u16, [f32; 4])>, String> {
    let mut boxes = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let numbers: Vec<f32> = line.split_whitespace().filter_map(|v| v.parse().ok()).collect();
        let [class, x, y, w, h] = numbers[..] else {
            return Err(format!("line {}: expected class, middle across and down, width, height", i + 1));
        };
        let is_share = [x, y, w, h].iter().all(|v| (0.0..=1.0).contains(v));
        if class.fract() != 0.0 || !(0.0..n_classes as f32).contains(&class) || !is_share {
            let most = n_classes.saturating_sub(1);
            return Err(format!("line {}: expected a class of 0 to {most} and shares of 0 to 1", i + 1));
        }
        let (w, h) = (w / 2.0, h / 2.0);
        boxes.push((class as u16, [x - w, y - h, x + w, y + h]));
    }
    Ok(boxes)
}

/// The number with which a file's name ends, before its ending.
fn frame_number(name: &str) -> Option<u64> {
    let stem = Path::new(name).file_stem()?.to_str()?;
    let digits = stem.len() - stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    stem[digits..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "images": [{"id": 7, "width": 200, "height": 100, "file_name": "out/000012.png"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [20, 10, 40, 30]},
            {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 10, 10]}],
        "categories": [{"id": 3, "name": "car"}, {"id": 4, "name": "tram"}]}"#;

    fn read(text: &str) -> Result<Truths, LearnError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Truths::read(file.path(), &["person".into(), "car".into()])
    }

    #[test]
    fn boxes_come_to_where_the_model_sees_them() {
        let truths = read(FILE).unwrap();
        let letterbox = Letterbox::fit(Size::new(400, 200), Size::new(200, 200));
        assert!(truths.of_frame(11, &letterbox).is_none());
        let labels = truths.of_frame(12, &letterbox).unwrap();
        assert_eq!(labels.objects[0].class, 1);
        assert_eq!(labels.objects[0].bbox.to_array(), [20.0, 10.0, 60.0, 40.0]);
        assert_eq!(labels.ignored.len(), 1, "a tram is nothing that the model knows, and no background");
    }

    #[test]
    fn texts_are_shares_of_the_picture() {
        let folder = tempfile::tempdir().unwrap();
        let labels = ["person".to_owned(), "car".to_owned()];
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let read = || Truths::read(folder.path(), &labels);
        assert!(read().unwrap_err().to_string().contains("000123.txt"));
        put("classes.txt", "person\ncar\n");
        put("000007.txt", "1 0.5 0.25 0.2 0.1\n\n");
        put("000008.txt", "");
        let letterbox = Letterbox::fit(Size::new(400, 200), Size::new(200, 200));
        let truths = read().unwrap();
        let of = |n: u64| truths.of_frame(n, &letterbox);
        let labels = of(7).unwrap();
        assert_eq!(labels.objects.len(), 1);
        let (found, wanted) = (labels.objects[0].bbox.to_array(), [80.0, 20.0, 120.0, 30.0]);
        assert!(
            labels.objects[0].class == 1 && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-3),
            "{found:?}"
        );
        assert!(of(8).is_some_and(|l| l.objects.is_empty() && l.is_complete) && of(9).is_none());
        for bad in
            ["2 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "0.5 0.5 0.5 0.1 0.1", "0 5 0.5 0.1 0.1", "person 0.5 0.5 0.1 0.1"]
        {
            put("000009.txt", bad);
            assert!(read().unwrap_err().to_string().contains("line 1"), "{bad}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let check = |from: &str, to: &str, part: &str| {
            let error = read(&FILE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check("\"car\"", "\"bus\"", "none of its categories (bus, tram)");
        check("000012.png", "a.png", "ends with no number");
        check("\"image_id\": 7", "\"image_id\": 8", "there is no image 8");
        check("\"category_id\": 3", "\"category_id\": 9", "no category 9");
        check("[20, 10, 40, 30]", "[20, 10, -40, 30]", "is none");
        check("\"images\"", "\"pictures\"", "no COCO file");
    }
}
