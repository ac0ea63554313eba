//! Labels and their pictures in one file, a tar: `labels.json` (COCO) first, then `images/…`.
//!
//! Read bit by bit, one file in memory at a time. Nothing is ever written where a name says: names are only looked up in
//! the labels. What is no plain file, or has a name that leads elsewhere, is refused.

use super::desk::DeskError;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use tar::{Archive, Builder, EntryType, Header};

/// The first file.
pub const LABELS: &str = "labels.json";
/// What is said of pictures that are not in it, a text.
pub const LEFT_OUT: &str = "left-out.txt";
/// Where pictures are.
pub const PICTURES: &str = "images/";
/// Kind of content, for HTTP.
pub const PARCEL_TYPE: &str = "application/x-tar";
/// Most bytes of a whole one that is brought, of its labels, and of a picture.
pub const MOST_BYTES: u64 = 200 << 20;
pub const MOST_LABELS: u64 = 16 << 20;
pub const MOST_PICTURE: u64 = 32 << 20;
/// Most pictures that are brought at a time.
pub const MOST_PICTURES: usize = 500;
/// Most files of any kind.
const MOST_FILES: usize = 10_000;

/// Why a file is no parcel.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    #[error("{name}: {reason}")]
    File { name: String, reason: String },
    #[error("{0}")]
    Whole(String),
}

impl From<ParcelError> for DeskError {
    fn from(e: ParcelError) -> Self {
        Self::Wrong(e.to_string())
    }
}

/// Makes one.
pub struct Packer<W: Write> {
    tar: Builder<W>,
    time: u64,
}

impl<W: Write> Packer<W> {
    pub fn new(to: W) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { tar: Builder::new(to), time }
    }

    /// Adds a file; names have 100 letters at most.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(self.time);
        header.set_cksum();
        self.tar.append(&header, data)
    }

    /// # Errors
    /// It cannot be written.
    pub fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.flush()
    }
}

/// Whether a name leads to no other place than below the folder it is of.
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    name.len() <= 1000 && name.split('/').all(is_plain) && !name.chars().any(|c| c.is_control() || c == '\\')
}

/// Whether a file is a picture, by its name.
pub fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    matches!(ending.as_deref(), Some("jpg" | "jpeg" | "png"))
}

/// Hands over the labels, then each picture (and what is said of those left out), by name. Other files are passed over.
///
/// # Errors
/// It is no parcel, or is cut short; or `take` fails.
pub fn unpack<E: From<ParcelError>>(
    from: impl Read,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let whole = |e: io::Error| ParcelError::Whole(format!("it cannot be read as a tar: {e}"));
    let mut archive = Archive::new(from);
    // Raw: else a name or an attribute would be read whole, as long as it says.
    let entries = archive.entries().map_err(whole)?.raw(true);
    let mut known = BTreeSet::new();
    for (n, entry) in entries.enumerate() {
        let mut entry = entry.map_err(whole)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name);
        let odd = |reason: &dyn std::fmt::Display| {
            let name = name.escape_debug().to_string();
            ParcelError::File { name, reason: reason.to_string() }
        };
        if n >= MOST_FILES {
            return Err(odd(&format!("more than {MOST_FILES} files are too many")).into());
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XHeader | EntryType::XGlobalHeader => continue,
            EntryType::GNULongName => {
                return Err(ParcelError::Whole("it has a file whose name is longer than 100 letters".into()).into());
            }
            _ => return Err(odd(&"is no plain file, but a link, a device or the like").into()),
        }
        if !is_plain_name(name) {
            return Err(odd(&"has a name that leads elsewhere").into());
        }
        let most = match name {
            LABELS => MOST_LABELS,
            LEFT_OUT => MOST_LABELS,
            _ if is_picture(name) => MOST_PICTURE,
            _ => continue,
        };
        if known.is_empty() && name != LABELS {
            return Err(odd(&format!("comes before the labels: the first file must be {LABELS}")).into());
        }
        if !known.insert(name.to_owned()) {
            return Err(odd(&"is in it twice").into());
        }
        let size = entry.header().entry_size().map_err(whole)?;
        if size > most {
            return Err(odd(&format!("{size} bytes are too many, {most} the most")).into());
        }
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(|e| odd(&e))?;
        if data.len() as u64 != size {
            return Err(odd(&"is cut short").into());
        }
        take(name, data)?;
    }
    match known.is_empty() {
        true => Err(ParcelError::Whole(format!("there is no {LABELS} in it")).into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut packer = Packer::new(&mut out);
        files.iter().for_each(|(name, data)| packer.put(name, data).unwrap());
        packer.finish().unwrap();
        out
    }

    /// An entry of any kind and name, as no packer of ours makes it.
    fn entry(kind: EntryType, name: &str, size: u64, data: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if kind.is_symlink() {
            header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        }
        header.set_size(size);
        header.set_cksum();
        let mut out = header.as_bytes().to_vec();
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn unpacked(tar: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ParcelError> {
        let mut files = Vec::new();
        unpack(tar, |name, data| {
            files.push((name.to_owned(), data));
            Ok::<_, ParcelError>(())
        })?;
        Ok(files)
    }

    #[test]
    fn what_is_packed_comes_out_in_order() {
        let tar = packed(&[
            (LABELS, b"{}"),
            ("readme.md", b"of no interest"),
            ("images/b.jpg", b"1"),
            ("images/a.PNG", &[7; 2000]),
            (LEFT_OUT, b"c"),
        ]);
        let files = unpacked(&tar).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [LABELS, "images/b.jpg", "images/a.PNG", LEFT_OUT]);
        assert_eq!(files[2].1, [7; 2000]);
        // As other tools make it: with folders, attributes and names that begin here.
        let mut other = entry(EntryType::Directory, "./", 0, b"");
        other.extend(entry(EntryType::XHeader, "PaxHeaders/x", 3, b"..."));
        other.extend(entry(EntryType::Regular, "./labels.json", 2, b"{}"));
        other.extend(entry(EntryType::Regular, "./images/a.jpg", 1, b"1"));
        assert_eq!(unpacked(&other).unwrap()[1].0, "images/a.jpg");
    }

    #[test]
    fn what_is_hostile_is_refused_by_name() {
        let labels = || entry(EntryType::Regular, LABELS, 2, b"{}");
        let after = |more: Vec<u8>| [labels(), more].concat();
        let check = |tar: &[u8], part: &str| {
            let error = unpacked(tar).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        };
        for name in
            ["../a.jpg", "/etc/a.jpg", "images/../../a.jpg", "images//a.jpg", "images/\u{1b}[2J.jpg", "a\\b.jpg"]
        {
            check(&after(entry(EntryType::Regular, name, 1, b"1")), "leads elsewhere");
        }
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo, EntryType::GNUSparse] {
            check(&after(entry(kind, "images/a.jpg", 0, b"")), "images/a.jpg: is no plain file");
        }
        check(&after(entry(EntryType::GNULongName, "././@LongLink", 1 << 30, b"")), "longer than 100 letters");
        check(&after(entry(EntryType::Regular, "images/a.jpg", 1 << 40, b"1")), "images/a.jpg: 1099511627776 bytes");
        check(&entry(EntryType::Regular, LABELS, MOST_LABELS + 1, b"{}"), "too many");
        check(&entry(EntryType::Regular, "images/a.jpg", 1, b"1"), "the first file must be labels.json");
        check(&[labels(), labels()].concat(), "twice");
        check(b"", "there is no labels.json");
        check(&[0; 2048], "there is no labels.json");
        check(&[b'x'; 2048], "cannot be read as a tar");
        let many = entry(EntryType::Directory, "d", 0, b"").repeat(MOST_FILES + 1);
        check(&after(many), "too many");
    }

    #[test]
    fn what_is_cut_short_is_said_wherever_it_was_cut() {
        let tar = packed(&[(LABELS, b"{}"), ("images/a.jpg", &[1; 700])]);
        let end = tar.len() - 1024; // where nothing but the end's mark is missing
        for n in (1..end - 400).step_by(37).filter(|n| !n.is_multiple_of(512) || *n > 1536) {
            let got = unpacked(&tar[..n]).map(|files| files.len());
            assert!(got.is_err(), "cut to {n}: {got:?}");
        }
        assert_eq!(unpacked(&tar[..end]).unwrap().len(), 2);
    }
}
