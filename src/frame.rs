//! A picture on its way through the pipeline, and the pool its pixels come from.

use crate::geom::{Letterbox, Size};
use std::fmt;
use std::sync::{Arc, PoisonError, Weak};
use tracing_mutex::stdsync::Mutex;

/// Grey of the padding beside a letterboxed picture, as YOLOX was trained with.
pub const PADDING: u8 = 114;

/// Number of a frame within its camera, counting accepted frames from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FrameId(pub u64);

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One picture, scaled and padded to the model's input: BGR, 8 bits, rows
/// without gaps. Cloning shares the pixels.
#[derive(Clone)]
pub struct Frame {
    pub id: FrameId,
    /// Presentation time of the stream, from its start.
    pub pts_ns: u64,
    /// When the frame left the decoder, on the pipeline's monotonic clock.
    pub captured_ns: u64,
    /// The same moment, nanoseconds since 1970 UTC.
    pub captured_unix_ns: u64,
    pub letterbox: Letterbox,
    /// Which uninterrupted piece of media time it is from: `pts_ns` never goes back within one, and frames of two are no
    /// neighbours.
    pub epoch: u64,
    pixels: Arc<Pixels>,
}

impl Frame {
    /// `pixels` holds `letterbox.input` rows of `3 * width` bytes.
    pub fn new(id: FrameId, pts_ns: u64, letterbox: Letterbox, pixels: Pixels) -> Self {
        assert_eq!(pixels.data.len(), letterbox.input.area() * 3, "pixels fill the model input");
        Self { id, pts_ns, captured_ns: 0, captured_unix_ns: 0, letterbox, epoch: 0, pixels: Arc::new(pixels) }
    }

    /// A frame of its own memory: `content` is `letterbox.content` of BGR, rows without gaps.
    pub fn letterboxed(pts_ns: u64, letterbox: Letterbox, content: &[u8]) -> Self {
        let mut data = vec![PADDING; letterbox.input.area() * 3];
        letterbox_into(&mut data, &letterbox, content, letterbox.content.width as usize * 3);
        Self::new(FrameId(0), pts_ns, letterbox, Pixels::owned(data))
    }

    /// Stamped with the time at which it left the decoder.
    pub fn at(mut self, captured_ns: u64, captured_unix_ns: u64) -> Self {
        self.captured_ns = captured_ns;
        self.captured_unix_ns = captured_unix_ns;
        self
    }

    /// Marked as of one piece of media time.
    pub fn of_epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    pub fn size(&self) -> Size {
        self.letterbox.input
    }

    /// `height * width * 3` bytes, BGR.
    pub fn data(&self) -> &[u8] {
        &self.pixels.data
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}, {} ns, {})", self.id, self.pts_ns, self.size())
    }
}

/// A pixel buffer that goes back to its pool when dropped.
pub struct Pixels {
    data: Vec<u8>,
    home: Weak<Mutex<Vec<Vec<u8>>>>,
}

impl Pixels {
    /// A buffer of its own, outside any pool.
    pub fn owned(data: Vec<u8>) -> Self {
        Self { data, home: Weak::new() }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.data));
        }
    }
}

/// Recycles pixel buffers of one size, so that a steady stream allocates none.
///
/// Holds as many buffers as were ever in flight at once.
#[derive(Clone)]
pub struct FramePool {
    len: usize,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl FramePool {
    pub fn new(size: Size) -> Self {
        Self { len: size.area() * 3, free: Arc::default() }
    }

    /// A buffer with unspecified content.
    pub fn take(&self) -> Pixels {
        let recycled = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Pixels { data: recycled.unwrap_or_else(|| vec![0; self.len]), home: Arc::downgrade(&self.free) }
    }
}

/// Copies `content` rows of BGR with `stride` bytes a row into `input`, and pads the rest.
///
/// `input` is a whole model input of `letterbox.input`.
pub fn letterbox_into(input: &mut [u8], letterbox: &Letterbox, content: &[u8], stride: usize) {
    let row_len = letterbox.input.width as usize * 3;
    let used = letterbox.content.width as usize * 3;
    for (y, row) in input.chunks_exact_mut(row_len).enumerate() {
        if y < letterbox.content.height as usize {
            row[..used].copy_from_slice(&content[y * stride..][..used]);
            row[used..].fill(PADDING);
        } else {
            row.fill(PADDING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_reuses_buffers() {
        let size = Size::new(4, 2);
        let pool = FramePool::new(size);
        let first = pool.take().data.as_ptr();
        assert_eq!(pool.take().data.as_ptr(), first);
        let held = pool.take();
        assert_ne!(pool.take().data.as_ptr(), held.data.as_ptr());
        drop(pool);
        drop(held); // its pool is gone: freed, no panic
    }

    #[test]
    fn letterbox_pads_right_and_below() {
        let l = Letterbox { source: Size::new(2, 1), content: Size::new(2, 1), input: Size::new(3, 2) };
        let mut input = vec![0; 18];
        letterbox_into(&mut input, &l, &[1, 2, 3, 4, 5, 6, 99, 99], 8);
        let p = PADDING;
        assert_eq!(input, [1, 2, 3, 4, 5, 6, p, p, p, p, p, p, p, p, p, p, p, p]);
    }
}
