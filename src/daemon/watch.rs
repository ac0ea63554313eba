//! Notices that the config file is another one.
//!
//! It is looked at now and then rather than watched by the kernel: files are replaced, linked elsewhere or lie on
//! a network, and a look a few times a minute costs nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one file from another: device, inode, length, time of change.
type Stamp = (u64, u64, u64, i64, i64);

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileLook {
    Same,
    /// There is another one than was read.
    Changed,
    /// There was one at the last look.
    Gone,
}

pub struct Watch {
    path: PathBuf,
    /// Of the file that was read.
    read: Option<Stamp>,
    /// At the last look.
    seen: Option<Stamp>,
}

impl Watch {
    pub fn new(path: &Path) -> Self {
        let mut watch = Self { path: path.to_owned(), read: None, seen: None };
        watch.note();
        watch
    }

    /// The file is about to be read.
    pub fn note(&mut self) {
        self.read = self.stamp();
        self.seen = self.read;
    }

    /// Looks; [`FileLook::Changed`] once nobody has written to it since the last look.
    pub fn look(&mut self) -> FileLook {
        let now = self.stamp();
        let before = std::mem::replace(&mut self.seen, now);
        match now {
            None if before.is_some() => FileLook::Gone,
            Some(_) if now == before && now != self.read => FileLook::Changed,
            _ => FileLook::Same,
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let m = std::fs::metadata(&self.path).ok()?;
        Some((m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_noticed_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "1").unwrap();
        let mut watch = Watch::new(&path);
        assert_eq!(watch.look(), FileLook::Same);
        std::fs::write(&path, "22").unwrap();
        assert_eq!(watch.look(), FileLook::Same, "it may still be written to");
        std::fs::write(&path, "333").unwrap();
        assert_eq!(watch.look(), FileLook::Same);
        assert_eq!(watch.look(), FileLook::Changed);
        watch.note();
        assert_eq!(watch.look(), FileLook::Same);
        // Replaced, as editors do; for a moment there is none.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(watch.look(), FileLook::Gone);
        assert_eq!(watch.look(), FileLook::Same);
        std::fs::write(folder.path().join("b"), "333").unwrap();
        std::fs::rename(folder.path().join("b"), &path).unwrap();
        assert_eq!(watch.look(), FileLook::Same);
        assert_eq!(watch.look(), FileLook::Changed);
    }
}
