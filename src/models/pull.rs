//! Fetches the files of models: what the registry names, checked, whole or not at all.

use super::model::hex;
use crate::files::{draft_of, read_at_most, read_text};
use crate::web::{ClientSettings, client};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The registry that is part of the binary.
const REGISTRY: &str = include_str!("../../models/registry.toml");
/// Larger models are none of ours.
const MAX_BYTES: u64 = 2 << 30;
const CHUNK: usize = 64 << 10;

/// Where a file comes from, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryEntry {
    pub url: String,
    /// Bytes.
    pub size: u64,
    pub sha256: String,
    pub licence: String,
}

/// Entries by the models' names.
pub type Registry = BTreeMap<String, RegistryEntry>;

/// Reads a registry; `None`: the built-in one.
///
/// # Errors
/// What is wrong with it, with its name.
pub fn registry(path: Option<&Path>) -> Result<Registry, String> {
    let (name, text) = match path {
        None => ("(built in) registry.toml".to_owned(), REGISTRY.to_owned()),
        Some(path) => {
            let name = path.display().to_string();
            let text = read_text(path, 1 << 20, "a registry").map_err(|e| format!("{name}: {e}"))?;
            (name, text)
        }
    };
    let registry: Registry = toml::from_str(&text).map_err(|e| format!("{name}: {e}"))?;
    for (model, entry) in &registry {
        if entry.size == 0 || entry.size > MAX_BYTES {
            return Err(format!("{name}: {model}: {} bytes is no size for a model", entry.size));
        }
    }
    Ok(registry)
}

/// How patient it is.
#[derive(Debug, Clone, Copy)]
pub struct PullSettings {
    /// Longest time without a byte.
    pub stall: Duration,
    /// Between two attempts.
    pub pause: Duration,
    /// Attempts, each going on where the last one was cut off.
    pub attempts: u32,
}

impl Default for PullSettings {
    fn default() -> Self {
        Self { stall: Duration::from_secs(30), pause: Duration::from_secs(2), attempts: 4 }
    }
}

/// Why a file is not there.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("{url}: {reason}")]
    Refused { url: String, reason: String },
    #[error("{url}: {reason}{}", if *.kept > 0 { "; what came is kept: pull again to go on" } else { "" })]
    CutOff { url: String, reason: String, kept: u64 },
    #[error("{url}: what came is not the file: {reason}. It was not kept")]
    Wrong { url: String, reason: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
}

/// How an attempt ended.
enum Ended {
    Whole,
    /// Worth another attempt.
    CutOff(String),
}

/// Fetches `entry` to `path`; `progress` is told how many bytes there are. A file that is there and right stays.
///
/// What has come lies in `path` with `.part` behind it until it is whole and right.
///
/// # Errors
/// The server refuses, sends something else, or stops sending, or the file cannot be written.
pub fn pull(
    entry: &RegistryEntry,
    path: &Path,
    s: &PullSettings,
    progress: &mut dyn FnMut(u64),
) -> Result<(), PullError> {
    let file = |source: io::Error| PullError::File { path: path.to_owned(), source };
    if is_right(entry, path).map_err(file)? {
        progress(entry.size);
        return Ok(());
    }
    let part = draft_of(path);
    let mut ended = Ended::CutOff("no attempt was made".into());
    for attempt in 0..s.attempts.max(1) {
        if attempt > 0 {
            std::thread::sleep(s.pause);
        }
        ended = fetch(entry, &part, s, progress)?;
        if matches!(ended, Ended::Whole) {
            break;
        }
    }
    if let Ended::CutOff(reason) = ended {
        let kept = std::fs::metadata(&part).map_or(0, |m| m.len());
        return Err(PullError::CutOff { url: entry.url.clone(), reason, kept });
    }
    if !is_right(entry, &part).map_err(file)? {
        let _ = std::fs::remove_file(&part);
        let reason = format!("its sha256 is not {}", entry.sha256);
        return Err(PullError::Wrong { url: entry.url.clone(), reason });
    }
    std::fs::rename(&part, path).map_err(file)
}

/// Whether a file is there and is the entry's.
fn is_right(entry: &RegistryEntry, path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
        Ok(m) if m.len() != entry.size => Ok(false),
        Ok(_) => Ok(hex(&read_at_most(path, MAX_BYTES, "a model")?) == entry.sha256),
    }
}

/// One attempt, on top of what is there.
fn fetch(
    entry: &RegistryEntry,
    part: &Path,
    s: &PullSettings,
    progress: &mut dyn FnMut(u64),
) -> Result<Ended, PullError> {
    let file = |source: io::Error| PullError::File { path: part.to_owned(), source };
    let refused = |reason: String| PullError::Refused { url: entry.url.clone(), reason };
    let wrong = |reason: String| {
        let _ = std::fs::remove_file(part);
        PullError::Wrong { url: entry.url.clone(), reason }
    };
    let mut have = std::fs::metadata(part).map_or(0, |m| m.len());
    if have == entry.size {
        return Ok(Ended::Whole);
    }
    if have > entry.size {
        have = 0;
    }
    let settings = ClientSettings { patience: s.stall, redirects: 5, ..ClientSettings::default() };
    let agent = client(&settings).map_err(|e| refused(e.to_string()))?;
    let mut request = agent.get(&entry.url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let answer = match request.call() {
        Ok(answer) => answer,
        Err(e) => return Ok(Ended::CutOff(e.to_string())),
    };
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let from = match answer.status().as_u16() {
        200 => 0,
        206 => {
            let range = header("content-range").unwrap_or_default();
            if range != format!("bytes {have}-{}/{}", entry.size - 1, entry.size) {
                return Err(wrong(format!("bytes from {have} on were asked for, '{range}' came")));
            }
            have
        }
        // What is there is no part of what the server has.
        416 => return Err(wrong(format!("the server has nothing from byte {have} on"))),
        status @ (408 | 429 | 500..) => return Ok(Ended::CutOff(format!("HTTP status {status}"))),
        status => return Err(refused(format!("HTTP status {status}"))),
    };
    if let Some(length) = header("content-length").and_then(|v| v.parse::<u64>().ok())
        && length != entry.size - from
    {
        return Err(wrong(format!("{} bytes are announced instead of {}", length + from, entry.size)));
    }
    let mut out = File::options().create(true).write(true).truncate(false).open(part).map_err(file)?;
    out.set_len(from).map_err(file)?;
    io::Seek::seek(&mut out, io::SeekFrom::Start(from)).map_err(file)?;
    let mut have = from;
    let chunks = read_aside(answer.into_body().into_reader());
    let cut_off = loop {
        match chunks.recv_timeout(s.stall) {
            Ok(Ok(chunk)) if chunk.is_empty() => break None,
            Ok(Ok(chunk)) => {
                have += chunk.len() as u64;
                if have > entry.size {
                    return Err(wrong(format!("more than {} bytes came", entry.size)));
                }
                out.write_all(&chunk).map_err(file)?;
                progress(have);
            }
            Ok(Err(e)) => break Some(e.to_string()),
            Err(RecvTimeoutError::Timeout) => break Some(format!("nothing came for {:?}", s.stall)),
            Err(RecvTimeoutError::Disconnected) => break Some("the reader is gone".into()),
        }
    };
    out.sync_all().map_err(file)?;
    Ok(match cut_off {
        None if have == entry.size => Ended::Whole,
        None => Ended::CutOff(format!("the answer ended after {have} of {} bytes", entry.size)),
        Some(reason) => Ended::CutOff(reason),
    })
}

/// Reads on a thread of its own, so that a silent server can be given up. An empty chunk is the end.
fn read_aside(mut body: impl Read + Send + 'static) -> Receiver<io::Result<Arc<[u8]>>> {
    let (sender, chunks) = sync_channel(4);
    let reading = move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let chunk = body.read(&mut buffer).map(|n| Arc::<[u8]>::from(&buffer[..n]));
            let is_last = !matches!(&chunk, Ok(bytes) if !bytes.is_empty());
            if sender.send(chunk).is_err() || is_last {
                return;
            }
        }
    };
    // Without a thread the channel is closed, which is said.
    let _ = std::thread::Builder::new().name("pull".into()).spawn(reading);
    chunks
}

#[cfg(test)]
mod tests {
    use super::super::model::{Model, ModelFolders};
    use super::*;

    #[test]
    fn the_registry_says_what_the_sidecars_say() {
        let registry = registry(None).unwrap();
        let folders = ModelFolders(vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/models"))]);
        for (name, entry) in &registry {
            let known = Model::known(&folders);
            let (_, sidecar) = known.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name} has a sidecar"));
            let sidecar = sidecar.as_ref().unwrap();
            assert_eq!((&entry.sha256, &entry.licence), (&sidecar.sha256, &sidecar.licence), "{name}");
        }
    }
}
