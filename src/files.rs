//! Small files: read within bounds, written whole or not at all.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Reads a file of at most `most` bytes; `what` it is meant to be is named in the error.
///
/// # Errors
/// It cannot be read, or is larger.
pub fn read_at_most(path: &Path, most: u64, what: &str) -> io::Result<Vec<u8>> {
    let len = std::fs::metadata(path)?.len();
    if len > most {
        return Err(io::Error::other(format!("{len} bytes are too many for {what}")));
    }
    std::fs::read(path)
}

/// Where a file lies until it is whole.
pub fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Writes a file so that its readers see the old one or the new one, and nothing in between.
///
/// # Errors
/// It cannot be written; nothing of the attempt is left.
pub fn write_whole(path: &Path, data: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    let written = std::fs::File::create(&draft).and_then(|mut file| file.write_all(data));
    let done = written.and_then(|()| std::fs::rename(&draft, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    done
}

/// Whether files can be made in a folder: makes one and takes it away again.
///
/// # Errors
/// Why not.
pub fn try_to_write(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".passd-{}", std::process::id()));
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all_and_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(read_at_most(&path, 3, "a test").unwrap(), b"new");
        let error = read_at_most(&path, 2, "a test").unwrap_err().to_string();
        assert_eq!(error, "3 bytes are too many for a test");
        assert!(write_whole(&folder.path().join("b/c"), b"").is_err());
        std::fs::create_dir(folder.path().join("d")).unwrap();
        assert!(write_whole(&folder.path().join("d"), b"").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no drafts are left");
    }
}
