//! Numbers in whole cache lines, many buffers side by side in memory of large pages.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Numbers of a cache line.
const LINE: usize = 16;
/// Bytes of a large page, on x86-64 and, with pages of 4 KiB, on aarch64.
const LARGE: usize = 2 << 20;

fn in_lines(n: usize) -> usize {
    n.next_multiple_of(LINE)
}

/// Memory that buffers have parts of; it lives as long as any of them.
struct Region {
    first: NonNull<f32>,
    layout: Layout,
}

// Safety: what lies in it is reached through buffers alone, each of which has a part of its own.
unsafe impl Send for Region {}
// Safety: the same.
unsafe impl Sync for Region {}

impl Region {
    fn new(n: usize) -> Self {
        let align = if n * size_of::<f32>() < LARGE { LINE * size_of::<f32>() } else { LARGE };
        let layout = Layout::array::<f32>(in_lines(n).max(LINE)).and_then(|l| l.align_to(align));
        let layout = layout.expect("models are checked to be of a size that fits");
        // Safety: the layout is not empty.
        let Some(first) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if align == LARGE {
            // A stream's maps are more pages than a processor remembers the places of. A hint: without it all is as it was.
            // Safety: memory that is ours, and that stays what it is.
            let _ =
                unsafe { rustix::mm::madvise(first.as_ptr().cast(), layout.size(), rustix::mm::Advice::LinuxHugepage) };
        }
        Self { first: first.cast(), layout }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // Safety: as it was allocated.
        unsafe { dealloc(self.first.as_ptr().cast(), self.layout) }
    }
}

/// Room for buffers that are used together, side by side.
pub struct Room {
    region: Arc<Region>,
    n_taken: usize,
}

impl Room {
    /// For buffers of so many numbers.
    pub fn of(sizes: impl IntoIterator<Item = usize>) -> Self {
        let n = sizes.into_iter().map(in_lines).sum();
        Self { region: Arc::new(Region::new(n)), n_taken: 0 }
    }

    /// The next of them: `n` numbers, and what is missing to whole lines, each of them `value`.
    ///
    /// # Panics
    /// There is no room left.
    pub fn take(&mut self, n: usize, value: f32) -> Buffer {
        let (at, len) = (self.n_taken, in_lines(n));
        self.n_taken += len;
        assert!(self.n_taken * size_of::<f32>() <= self.region.layout.size(), "as many numbers as room was made for");
        // For sanitisers: what is beside a buffer is nobody's.
        let (region, at) = if cfg!(passd_apart) { (Arc::new(Region::new(len)), 0) } else { (self.region.clone(), at) };
        // Safety: these numbers are of the region, and nobody has them yet.
        let first = unsafe { region.first.add(at) };
        for i in 0..len {
            // Safety: as above.
            unsafe { first.add(i).write(value) };
        }
        Buffer { region, first, len }
    }

    /// The next of them: these numbers.
    ///
    /// # Panics
    /// As [`Room::take`].
    pub fn copy(&mut self, values: &[f32]) -> Buffer {
        let mut buffer = self.take(values.len(), 0.0);
        buffer[..values.len()].copy_from_slice(values);
        buffer
    }
}

/// Numbers in whole cache lines: a vector of them that begins at a multiple of its length lies in one line, and is read
/// at once.
pub struct Buffer {
    /// Where it is; kept for as long as the buffer is.
    region: Arc<Region>,
    first: NonNull<f32>,
    len: usize,
}

// Safety: a buffer is the only one that has its numbers. Threads that share it read and write through its pointers, and
// [`crate::exec::runner`] says who writes what.
unsafe impl Send for Buffer {}
// Safety: the same.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `n` numbers, and what is missing to whole lines, each of them `value`, in memory of its own.
    pub fn new(n: usize, value: f32) -> Self {
        Room::of([n]).take(n, value)
    }

    pub fn zeros(n: usize) -> Self {
        Self::new(n, 0.0)
    }

    /// Where its numbers begin. No reference to them is made: others may be writing what is not read through this.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const f32 {
        self.first.as_ptr()
    }

    /// The same, to write.
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.first.as_ptr()
    }

    /// How many numbers it has.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for `n` numbers, if it has less, with `value` behind what is there.
    pub fn grow(&mut self, n: usize, value: f32) {
        if n > self.len {
            let mut longer = Self::new(n, value);
            longer[..self.len].copy_from_slice(self);
            *self = longer;
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::zeros(0)
    }
}

/// These numbers, and zeros to the end of the last line.
impl From<&[f32]> for Buffer {
    fn from(values: &[f32]) -> Self {
        Room::of([values.len()]).copy(values)
    }
}

/// In memory of its own.
impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::from(&self[..])
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} numbers of {}", self.len, self.region.layout.size() / size_of::<f32>())
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // Safety: so many numbers from there on were written when it was made, and are its own.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // Safety: as above, and `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_lie_side_by_side_in_lines_and_keep_to_themselves() {
        let sizes = [5, 0, 16, 700_000, 17];
        let mut room = Room::of(sizes);
        let mut buffers: Vec<Buffer> = sizes.iter().zip(1u8..).map(|(n, i)| room.take(*n, i.into())).collect();
        drop(room);
        let whole: Vec<usize> = buffers.iter().map(|b| b.len()).collect();
        assert_eq!(whole, [16, 0, 16, 700_000, 32]);
        assert!(buffers.iter().all(|b| (b.as_ptr() as usize).is_multiple_of(64)));
        buffers[2].fill(9.0);
        let mut grown = buffers.remove(0);
        grown.grow(40, 7.0);
        let copy = grown.clone();
        grown.fill(8.0);
        assert!(copy[..16].iter().all(|v| *v == 1.0) && copy[16..].iter().all(|v| *v == 7.0) && copy.len() == 48);
        let found: Vec<f32> = buffers.iter().filter_map(|b| b.first().copied()).collect();
        assert_eq!(found, [9.0, 4.0, 5.0]);
        assert!(buffers[2].iter().all(|v| *v == 4.0));
        assert_eq!(Buffer::from(&[1.0, 2.0][..])[..3], [1.0, 2.0, 0.0]);
    }
}
