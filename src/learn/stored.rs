//! A sample as a file: a head in JSON, the maps' codes, and a checksum over both.

use super::latents::{LatentMap, Latents};
use crate::geom::Size;
use engine::graph::MapShape;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a file begins with.
const MAGIC: &[u8; 8] = b"passdL1\n";
/// Longest head, with what stands before it: of a thousand tracks, the most that a stream has, 64 KiB.
pub const MOST_HEAD: usize = 128 << 10;
const SUM: usize = 32;

/// What is known of a sample beside its maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleHead {
    /// SHA-256 of the model whose maps these are.
    pub base: String,
    pub camera: String,
    /// Milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Of the camera's picture.
    pub source: [u32; 2],
    /// The event that the picture is of.
    #[serde(default)]
    pub event: Option<EventHead>,
    /// Brought from elsewhere: SHA-256 of the file that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<String>,
    /// What was followed and moved: class, and box in pixels of the model's input.
    pub moved: Vec<(u16, [f32; 4])>,
    /// Places where such an object may be.
    #[serde(default)]
    pub doubtful: Vec<[f32; 4]>,
    maps: Vec<MapHead>,
}

/// What was reported, that somebody may want to mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventHead {
    pub id: String,
    pub label: String,
    /// In pixels of the camera's picture, in this picture.
    pub bbox: [f32; 4],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct MapHead {
    h: usize,
    w: usize,
    c: usize,
    scale: f32,
    zero: u8,
}

impl SampleHead {
    /// Of no event, and a camera's own.
    pub fn new(base: &str, camera: &str, time_ms: u64, source: Size, moved: Vec<(u16, [f32; 4])>) -> Self {
        let source = [source.width, source.height];
        Self {
            base: base.into(),
            camera: camera.into(),
            time_ms,
            source,
            event: None,
            brought: None,
            moved,
            doubtful: Vec::new(),
            maps: Vec::new(),
        }
    }
}

/// A sample's file.
pub fn encode(head: &SampleHead, latents: &Latents) -> Vec<u8> {
    let of = |m: &LatentMap| MapHead { h: m.shape.h, w: m.shape.w, c: m.shape.c, scale: m.scale, zero: m.zero };
    let head = SampleHead { maps: latents.0.iter().map(of).collect(), ..head.clone() };
    let json = serde_json::to_vec(&head).expect("a head is JSON");
    let mut file = Vec::with_capacity(json.len() + latents.n_bytes() + 64);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(json.len() as u32).to_le_bytes());
    file.extend_from_slice(&json);
    latents.0.iter().for_each(|m| file.extend_from_slice(&m.codes));
    let sum = Sha256::digest(&file);
    file.extend_from_slice(&sum);
    file
}

/// Reads a head alone, unchecked, from a file's first bytes.
///
/// # Errors
/// It is no sample.
pub fn head(file: &[u8]) -> Result<(SampleHead, usize), &'static str> {
    let rest = file.strip_prefix(MAGIC).ok_or("is no sample")?;
    let (length, rest) = rest.split_at_checked(4).ok_or("is cut short")?;
    let length = u32::from_le_bytes(length.try_into().map_err(|_| "is cut short")?) as usize;
    let json = rest.get(..length).filter(|_| length <= MOST_HEAD).ok_or("is cut short")?;
    let head = serde_json::from_slice(json).map_err(|_| "has a head that cannot be read")?;
    Ok((head, MAGIC.len() + 4 + length))
}

/// Reads a file back.
///
/// # Errors
/// It is damaged.
pub fn decode(file: &[u8]) -> Result<(SampleHead, Latents), &'static str> {
    let (content, sum) = file.len().checked_sub(SUM).map(|n| file.split_at(n)).ok_or("is cut short")?;
    if Sha256::digest(content).as_slice() != sum {
        return Err("is damaged: its checksum is another");
    }
    let (head, begin) = head(content)?;
    let mut rest = &content[begin..];
    let mut maps = Vec::new();
    for m in &head.maps {
        let shape = MapShape::new(m.h, m.w, m.c);
        let n = m.h.checked_mul(m.w).and_then(|n| n.checked_mul(m.c)).ok_or("has maps of no size")?;
        let (codes, after) = rest.split_at_checked(n).ok_or("is cut short")?;
        rest = after;
        if !(m.scale * 255.0).is_finite() {
            return Err("has maps of no scale");
        }
        maps.push(LatentMap { shape, scale: m.scale, zero: m.zero, codes: codes.to_vec() });
    }
    if rest.is_empty() { Ok((head, Latents(maps))) } else { Err("is longer than it says") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_whole_or_not_at_all() {
        let maps = vec![
            LatentMap::of(MapShape::new(2, 3, 4), &[0.5; 24]),
            LatentMap::of(MapShape::new(1, 1, 2), &[-1.0, 1.0]),
        ];
        let head = SampleHead::new("abc", "front", 17, Size::new(640, 360), vec![(1, [1.0, 2.0, 3.0, 4.0])]);
        let file = encode(&head, &Latents(maps.clone()));
        let (back, latents) = decode(&file).unwrap();
        assert_eq!((back.camera.as_str(), back.time_ms, &back.moved), ("front", 17, &head.moved));
        assert_eq!(latents.0, maps);
        for n in 0..file.len() {
            assert!(decode(&file[..n]).is_err(), "cut to {n}");
            let mut other = file.clone();
            other[n] ^= 0x10;
            assert!(decode(&other).is_err(), "byte {n} changed");
        }
    }
}
