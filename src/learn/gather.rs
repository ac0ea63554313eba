//! Labels and pictures as they lie in folders, gathered into one file.

use super::brought::{check_labels, labels_file, read_labels, size_of};
use super::coco::text_boxes;
use super::error::LearnError;
use crate::files::{Links, open_plain, read_open, read_text};
use crate::output::desk::{BroughtPicture, BroughtPlace, Said};
use crate::output::parcel::{
    LABELS, MOST_BYTES, MOST_LABELS, MOST_PICTURE, MOST_PICTURES, PICTURES, Packer, ParcelError, is_picture, unpack,
};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Longest name of a picture that keeps it.
const LONGEST: usize = 80;
/// Names of classes beside YOLO's texts, one a line.
const CLASSES: &str = "classes.txt";

/// Pictures that can be packed, in the order of their names, which is that of time in most tools.
#[derive(Debug)]
pub struct Gathered {
    pictures: Vec<(BroughtPicture, PathBuf)>,
}

impl Gathered {
    /// Finds out what a COCO file or a folder of YOLO's texts says, and where the pictures are: in `folder`, or beside. All
    /// labels are ones that `known` has.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it.
    pub fn of(labels: &Path, folder: Option<&Path>, known: &[String]) -> Result<Self, LearnError> {
        let mut pictures = if labels.is_dir() { of_texts(labels, folder, known)? } else { of_coco(labels, folder)? };
        let err = |e: &dyn std::fmt::Display| LearnError::file(labels, e);
        pictures.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let (said, files): (Vec<_>, Vec<_>) = pictures.into_iter().unzip();
        check_labels(&said, known).map_err(|e| err(&e))?;
        let n_bytes: u64 = files.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|m| m.len()).sum();
        if said.len() > MOST_PICTURES || n_bytes > MOST_BYTES - MOST_LABELS {
            let (n, mib, most) = (said.len(), n_bytes >> 20, (MOST_BYTES - MOST_LABELS) >> 20);
            let what =
                format!("{n} pictures of {mib} MiB are too many at a time: {MOST_PICTURES} of {most} MiB at most");
            return Err(err(&what));
        }
        Ok(Self { pictures: said.into_iter().zip(files).collect() })
    }

    /// Writes them into one file.
    ///
    /// # Errors
    /// A picture cannot be read; or nothing can be written.
    pub fn pack(&self, known: &[String], to: impl Write) -> Result<(), LearnError> {
        let failed = |e: io::Error| LearnError::Refused(format!("the pictures cannot be packed: {e}"));
        let mut used = BTreeSet::new();
        let mut said: Vec<BroughtPicture> = self.pictures.iter().map(|(picture, _)| picture.clone()).collect();
        said.iter_mut().enumerate().for_each(|(i, p)| p.name = packed_name(i, &p.name, &mut used));
        let text = serde_json::to_vec(&labels_file(&said, known)).map_err(|e| failed(e.into()))?;
        let mut packer = Packer::new(to);
        packer.put(LABELS, &text).map_err(failed)?;
        for (picture, (_, path)) in said.iter().zip(&self.pictures) {
            packer.put(&picture.name, &read_picture(path)?).map_err(failed)?;
        }
        packer.finish().map_err(failed)
    }
}

/// Opens a file that holds labels and pictures already; `None`: it is none, by its name. All of it is looked at.
///
/// # Errors
/// Names the file, and what in it is wrong.
pub fn open_parcel(path: &Path, known: &[String]) -> Result<Option<File>, LearnError> {
    if path.is_dir() || path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("tar")) {
        return Ok(None);
    }
    let err = |e: &dyn std::fmt::Display| LearnError::file(path, e);
    let open = || open_plain(path, Links::Followed).map_err(|e| err(&e));
    let file = open()?;
    if file.metadata().map_err(|e| err(&e))?.len() > MOST_BYTES {
        return Err(err(&format!("more than {} MiB are too many at a time", MOST_BYTES >> 20)));
    }
    unpack(io::BufReader::new(file), |name, data| {
        let odd = |reason| ParcelError::File { name: name.into(), reason };
        match name {
            LABELS => read_labels(&data).and_then(|said| check_labels(&said, known)).map_err(odd),
            _ => Ok(()),
        }
    })
    .map_err(|e: ParcelError| err(&e))?;
    open().map(Some)
}

/// What a picture is called in one file: its own name, where that is plain and not taken.
fn packed_name(i: usize, name: &str, used: &mut BTreeSet<String>) -> String {
    let own = name.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ending = own.rsplit_once('.').map_or("jpg", |(_, ending)| ending);
    let packed = match own.len() <= LONGEST && own.chars().all(is_plain) && !used.contains(own) {
        true => own.to_owned(),
        false => format!("picture{i:05}.{ending}"),
    };
    used.insert(packed.clone());
    format!("{PICTURES}{packed}")
}

fn read_picture(path: &Path) -> Result<Vec<u8>, LearnError> {
    let file = open_plain(path, Links::Followed).and_then(|f| read_open(f, MOST_PICTURE, "a picture"));
    file.map_err(|e| LearnError::file(path, &e))
}

fn of_coco(path: &Path, folder: Option<&Path>) -> Result<Vec<(BroughtPicture, PathBuf)>, LearnError> {
    let err = |e: &dyn std::fmt::Display| LearnError::file(path, e);
    let text = read_text(path, MOST_LABELS, "labels").map_err(|e| err(&e))?;
    let said = read_labels(text.as_bytes()).map_err(|e| err(&e))?;
    let folder = folder.or(path.parent()).unwrap_or(Path::new("."));
    let mut pictures = Vec::new();
    for picture in said {
        let own = picture.name.rsplit('/').next().unwrap_or_default();
        let places = [folder.join(&picture.name), folder.join(own), folder.join("images").join(own)];
        let Some(file) = places.into_iter().find(|p| p.is_file()) else {
            let (name, folder) = (&picture.name, folder.display());
            return Err(err(&format!("its picture '{name}' is not in {folder}; say where it is with --pictures")));
        };
        if !is_picture(own) {
            return Err(LearnError::file(&file, &"is no JPEG or PNG, by its name"));
        }
        pictures.push((picture, file));
    }
    Ok(pictures)
}

/// Texts in the folder, or in `labels` below it; pictures beside them, or where `images` stands in the place of `labels`.
fn of_texts(
    folder: &Path,
    pictures: Option<&Path>,
    known: &[String],
) -> Result<Vec<(BroughtPicture, PathBuf)>, LearnError> {
    let below = folder.join("labels");
    let folder = if below.is_dir() { below.as_path() } else { folder };
    let names = classes(folder)?.unwrap_or_else(|| known.to_vec());
    let places: Vec<PathBuf> = match pictures {
        Some(pictures) => vec![pictures.into()],
        None => [Some(folder.into()), beside(folder)].into_iter().flatten().collect(),
    };
    let entries = std::fs::read_dir(folder).map_err(|e| LearnError::file(folder, &e))?;
    let mut found = Vec::new();
    for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "txt")) {
        let err = |e: &dyn std::fmt::Display| LearnError::file(&path, e);
        let stem = match path.file_stem().and_then(|s| s.to_str()) {
            Some(stem) if path.file_name().is_some_and(|n| n != CLASSES) => stem,
            _ => continue,
        };
        let text = read_text(&path, MOST_LABELS, "labels").map_err(|e| err(&e))?;
        let boxes = text_boxes(&text, names.len()).map_err(|e| err(&e))?;
        if boxes.is_empty() {
            continue;
        }
        if found.len() >= MOST_PICTURES {
            let what = format!("more than {MOST_PICTURES} pictures with labels are too many at a time");
            return Err(LearnError::file(folder, &what));
        }
        let endings = ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG"];
        let all = places.iter().flat_map(|place| endings.map(|ending| place.join(format!("{stem}.{ending}"))));
        let picture = all.into_iter().find(|p| p.is_file()).ok_or_else(|| {
            let looked = places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" and ");
            err(&format!("there is no picture {stem}.jpg or .png for it in {looked}; say where it is with --pictures"))
        })?;
        let size = size_of(&read_picture(&picture)?).map_err(|e| LearnError::file(&picture, &e))?;
        let [w, h] = [size.width as f32, size.height as f32];
        let place = |(class, [x1, y1, x2, y2]): &(u16, [f32; 4])| BroughtPlace {
            said: Said::Right,
            label: names.get(usize::from(*class)).cloned(),
            bbox: [x1 * w, y1 * h, x2 * w, y2 * h],
        };
        let name = picture.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let places = boxes.iter().map(place).collect();
        found.push((BroughtPicture { name, size: [size.width, size.height], places }, picture));
    }
    match found.is_empty() {
        true => Err(LearnError::file(folder, &"there are no texts with labels in it")),
        false => Ok(found),
    }
}

/// The names of the classes, of a list beside the texts or above; `None`: there is none, and numbers are the model's.
fn classes(folder: &Path) -> Result<Option<Vec<String>>, LearnError> {
    for place in [Some(folder), folder.parent()].into_iter().flatten() {
        let list = place.join(CLASSES);
        if list.is_file() {
            let text = read_text(&list, MOST_LABELS, "a list of classes").map_err(|e| LearnError::file(&list, &e))?;
            return Ok(Some(text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect()));
        }
        let yaml = ["data.yaml", "dataset.yaml", "data.yml"].map(|name| place.join(name));
        if let Some(yaml) = yaml.iter().find(|path| path.is_file()) {
            let what = format!("it is not read: write the names of its classes into {CLASSES} beside it, one a line");
            return Err(LearnError::file(yaml, &what));
        }
    }
    Ok(None)
}

/// The folder whose path has `images` where this one has `labels`.
fn beside(folder: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = folder.components().collect();
    let at = parts.iter().rposition(|part| part.as_os_str() == "labels")?;
    let before = parts[..at].iter().collect::<PathBuf>().join("images");
    Some(parts[at + 1..].iter().fold(before, |path, part| path.join(part)))
}

#[cfg(test)]
mod tests {
    use super::super::coco::NOT_AN_OBJECT;
    use super::*;

    fn known() -> Vec<String> {
        ["person", "car"].map(str::to_owned).to_vec()
    }

    fn put(path: &Path, data: impl AsRef<[u8]>) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }

    fn picture(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::new(40, 20).save(path).unwrap();
    }

    fn packed(gathered: &Gathered) -> (Vec<BroughtPicture>, Vec<String>) {
        let mut tar = Vec::new();
        gathered.pack(&known(), &mut tar).unwrap();
        let (mut said, mut names) = (Vec::new(), Vec::new());
        unpack(tar.as_slice(), |name, data| {
            match name {
                LABELS => said = read_labels(&data).unwrap(),
                _ => names.push(name.to_owned()),
            }
            Ok::<_, ParcelError>(())
        })
        .unwrap();
        (said, names)
    }

    #[test]
    fn coco_files_are_packed_with_their_pictures_and_go_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let labels = folder.path().join("labels.json");
        let text = format!(
            r#"{{"images": [{{"id": 1, "width": 40, "height": 20, "file_name": "b/1.png"}},
                            {{"id": 2, "width": 40, "height": 20, "file_name": "a/1.png"}}],
                "annotations": [{{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}},
                                {{"id": 2, "image_id": 2, "category_id": 2, "bbox": [5, 6, 7, 8]}}],
                "categories": [{{"id": 1, "name": "car"}}, {{"id": 2, "name": "{NOT_AN_OBJECT}"}}]}}"#
        );
        put(&labels, &text);
        picture(&folder.path().join("a/1.png"));
        let error = Gathered::of(&labels, None, &known()).unwrap_err().to_string();
        assert!(error.contains("'b/1.png'") && error.contains("--pictures"), "{error}");
        picture(&folder.path().join("b/1.png"));
        let gathered = Gathered::of(&labels, None, &known()).unwrap();
        let (said, names) = packed(&gathered);
        assert_eq!(names, ["images/1.png", "images/picture00001.png"], "two of one name");
        assert_eq!(said[0].places[0].said, Said::NotAnObject);
        assert_eq!((said[1].name.as_str(), said[1].places[0].bbox), ("images/picture00001.png", [1.0, 2.0, 4.0, 6.0]));
        let error = Gathered::of(&labels, None, &known()[..1]).unwrap_err().to_string();
        assert!(error.contains("labels.json") && error.contains("'car'"), "{error}");

        // What was packed goes as it is; what is no such file, too, is said.
        let tar = folder.path().join("out.tar");
        gathered.pack(&known(), File::create(&tar).unwrap()).unwrap();
        assert!(open_parcel(&tar, &known()).unwrap().is_some());
        assert!(open_parcel(&labels, &known()).unwrap().is_none());
        let error = open_parcel(&tar, &known()[..1]).unwrap_err().to_string();
        assert!(error.contains("out.tar: labels.json: 'car'"), "{error}");
        put(&tar, "no tar");
        assert!(open_parcel(&tar, &known()).unwrap_err().to_string().contains("out.tar"));
        put(&folder.path().join("b/1.png"), vec![0; MOST_PICTURE as usize + 1]);
        let error = gathered.pack(&known(), io::sink()).unwrap_err().to_string();
        assert!(error.contains("b/1.png"), "{error}");
    }

    #[test]
    fn texts_are_found_with_their_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let of = |name: &str| Gathered::of(&at(name), None, &known());
        put(&at("yolo/labels/street.txt"), "1 0.5 0.5 0.5 0.5\n");
        put(&at("yolo/labels/empty.txt"), "\n");
        let error = of("yolo").unwrap_err().to_string();
        assert!(error.contains("street.txt") && error.contains("--pictures"), "{error}");
        picture(&at("yolo/images/street.png"));
        for name in ["yolo", "yolo/labels"] {
            let (said, names) = packed(&of(name).unwrap());
            assert_eq!(names, ["images/street.png"], "{name}");
            assert_eq!(said[0].places[0].bbox, [10.0, 5.0, 30.0, 15.0]);
            assert_eq!(said[0].places[0].label.as_deref(), Some("car"), "numbers are the model's");
        }
        put(&at("yolo/data.yaml"), "names: [tiger, person]");
        assert!(of("yolo").unwrap_err().to_string().contains("data.yaml: it is not read"));
        put(&at("yolo/labels/classes.txt"), "tiger\nperson\n");
        assert_eq!(packed(&of("yolo").unwrap()).0[0].places[0].label.as_deref(), Some("person"));
        put(&at("yolo/labels/street.txt"), "0 0.5 0.5 0.5 0.5\n");
        assert!(of("yolo").unwrap_err().to_string().contains("'tiger'"));
        put(&at("yolo/labels/street.txt"), "2 0.5 0.5 0.5 0.5\n");
        assert!(of("yolo").unwrap_err().to_string().contains("street.txt: line 1"));
        put(&at("flat/a.txt"), "0 0.5 0.5 0.5 0.5");
        picture(&at("flat/a.png"));
        assert_eq!(packed(&of("flat").unwrap()).1, ["images/a.png"]);
        assert_eq!(beside(Path::new("x/labels/train")), Some("x/images/train".into()));
        put(&at("bare/a.txt"), "");
        assert!(of("bare").unwrap_err().to_string().contains("no texts"));
    }
}
