//! Small files: read within bounds, written whole or not at all. And folders that are one process's alone.

use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Whether a symbolic link is followed to the file that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    Followed,
    Refused,
}

/// Opens a file to read it. Never waits: what is no plain file (a pipe, a device, a folder) is refused.
///
/// # Errors
/// It cannot be opened, or is something else.
pub fn open_plain(path: &Path, links: Links) -> io::Result<File> {
    // Opening a pipe would wait for somebody who writes to it.
    let mut flags = OFlags::NONBLOCK;
    if links == Links::Refused {
        flags |= OFlags::NOFOLLOW;
    }
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("is a folder, a pipe or a device; expected a plain file")),
    }
}

/// Reads a file of at most `most` bytes; `what` it is meant to be is named in the error.
///
/// # Errors
/// It cannot be read, is no plain file, or is larger.
pub fn read_at_most(path: &Path, most: u64, what: &str) -> io::Result<Vec<u8>> {
    read_open(open_plain(path, Links::Followed)?, most, what)
}

/// As [`read_at_most`], of a text.
///
/// # Errors
/// As [`read_at_most`]; or it is no UTF-8.
pub fn read_text(path: &Path, most: u64, what: &str) -> io::Result<String> {
    let bytes = read_at_most(path, most, what)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other(format!("is no text in UTF-8, as {what} must be")))
}

/// As [`read_at_most`], of a file that was opened by [`open_plain`]. What it says of its own length does not count.
///
/// # Errors
/// As [`read_at_most`].
pub fn read_open(file: File, most: u64, what: &str) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut data)?;
    if data.len() as u64 > most {
        return Err(io::Error::other(format!("more than {most} bytes are too many for {what}")));
    }
    Ok(data)
}

/// Where a file lies until it is whole.
pub fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Writes a file so that its readers see the old one or the new one, and nothing in between, whenever the machine
/// loses its power.
///
/// # Errors
/// It cannot be written; nothing of the attempt is left.
pub fn write_whole(path: &Path, data: &[u8]) -> io::Result<()> {
    write_whole_by(path, |file| file.write_all(data))
}

/// As [`write_whole`], of what is written bit by bit.
///
/// # Errors
/// As [`write_whole`], or `write` fails.
pub fn write_whole_by(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let draft = draft_of(path);
    let create = || {
        OpenOptions::new().write(true).create_new(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(&draft)
    };
    // What an interrupted attempt has left goes.
    let file = create().or_else(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => std::fs::remove_file(&draft).and_then(|()| create()),
        _ => Err(e),
    });
    let written = file.and_then(|mut file| write(&mut file).and_then(|()| file.sync_all()));
    let done = written.and_then(|()| std::fs::rename(&draft, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&draft);
        return done;
    }
    // The new name, too, is on the disk only then.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all())
}

/// Whether files can be made in a folder: makes one and takes it away again.
///
/// # Errors
/// Why not.
pub fn try_to_write(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".passd-{}", std::process::id()));
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe))
}

/// A folder in which this process alone is at work, until this is dropped.
#[derive(Debug)]
pub struct OwnFolder {
    _lock: File,
}

impl OwnFolder {
    /// Claims a folder for what `name`, the lock's file, stands for.
    ///
    /// # Errors
    /// Somebody else is at work there, or nothing can be written there.
    pub fn claim(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let lock = OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags).open(&path)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another passd is at work in this folder; stop it, or give this one a folder of its own",
            )),
            Err(e) => Err(e.into()),
        }
    }
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
        assert_eq!(error, "more than 2 bytes are too many for a test");
        assert!(write_whole(&folder.path().join("b/c"), b"").is_err());
        std::fs::create_dir(folder.path().join("d")).unwrap();
        assert!(write_whole(&folder.path().join("d"), b"").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no drafts are left");
    }

    /// None of them says how long it is, and a pipe without a writer never ends.
    #[test]
    fn what_is_no_plain_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            let error = read_at_most(path, 10, "a test").unwrap_err().to_string();
            assert!(error.contains("plain file"), "{}: {error}", path.display());
        }
        // Its length is said to be 0.
        assert!(!read_at_most(Path::new("/proc/self/status"), 1 << 20, "a test").unwrap().is_empty());
        assert!(read_at_most(Path::new("/proc/self/status"), 10, "a test").is_err());
        std::fs::write(folder.path().join("a"), b"\xff").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        let link = folder.path().join("link");
        assert!(open_plain(&link, Links::Followed).is_ok() && open_plain(&link, Links::Refused).is_err());
        assert!(read_text(&link, 10, "a test").unwrap_err().to_string().contains("UTF-8"));
    }

    #[test]
    fn a_draft_that_is_a_link_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("other"));
        std::fs::write(&other, b"mine").unwrap();
        std::os::unix::fs::symlink(&other, draft_of(&path)).unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"mine");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_folder_is_one_process_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnFolder::claim(folder.path(), ".lock").unwrap();
        let error = OwnFolder::claim(folder.path(), ".lock").unwrap_err();
        assert!(error.to_string().contains("another passd"), "{error}");
        drop(own);
        OwnFolder::claim(folder.path(), ".lock").unwrap();
    }
}
