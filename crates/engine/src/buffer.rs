//! Numbers in whole cache lines, many buffers side by side in memory of large pages.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a large page, on x86-64 and, with pages of 4 KiB, on aarch64.
const LARGE: usize = 2 << 20;

/// What maps and weights are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    F32,
    /// Quantised maps and weights, and sums of their products.
    U8,
    I8,
    I32,
}

/// A number of an [`ElementType`].
pub trait Element: Copy + Default + PartialEq + fmt::Debug + Send + Sync + sealed::Sealed + 'static {
    const TYPE: ElementType;
    /// The same for the same bits alone.
    fn bits(self) -> u32;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($($t:ty, $of:ident, $bits:expr;)*) => {
        $(impl sealed::Sealed for $t {}
        impl Element for $t {
            const TYPE: ElementType = ElementType::$of;
            fn bits(self) -> u32 {
                let bits: fn($t) -> u32 = $bits;
                bits(self)
            }
        })*
    };
}
element! {
    f32, F32, f32::to_bits;
    u8, U8, u32::from;
    i8, I8, |v| v as u32;
    i32, I32, |v| v as u32;
}

/// So many numbers, and what is missing to whole lines.
const fn in_lines<T>(n: usize) -> usize {
    n.next_multiple_of(LINE / size_of::<T>())
}

/// Memory that buffers have parts of; it lives as long as any of them.
struct Region {
    first: NonNull<u8>,
    layout: Layout,
}

// Safety: what lies in it is reached through buffers alone, each of which has a part of its own.
unsafe impl Send for Region {}
// Safety: the same.
unsafe impl Sync for Region {}

impl Region {
    fn new(bytes: usize) -> Self {
        let align = if bytes < LARGE { LINE } else { LARGE };
        let layout = Layout::from_size_align(bytes.max(LINE), align);
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
        Self { first, layout }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // Safety: as it was allocated.
        unsafe { dealloc(self.first.as_ptr(), self.layout) }
    }
}

/// Room for buffers that are used together, side by side.
pub struct Room {
    region: Arc<Region>,
    /// Bytes.
    taken: usize,
}

impl Room {
    /// For buffers of so many numbers of one type.
    pub fn of<T: Element>(sizes: impl IntoIterator<Item = usize>) -> Self {
        Self::of_bytes(sizes.into_iter().map(Self::bytes_for::<T>).sum())
    }

    /// For buffers that need so many bytes together ([`Room::bytes_for`]).
    pub fn of_bytes(bytes: usize) -> Self {
        Self { region: Arc::new(Region::new(bytes)), taken: 0 }
    }

    /// Bytes that a buffer of so many numbers needs.
    pub const fn bytes_for<T: Element>(n: usize) -> usize {
        in_lines::<T>(n) * size_of::<T>()
    }

    /// The next of them: `n` numbers, and what is missing to whole lines, each of them `value`.
    ///
    /// # Panics
    /// There is no room left.
    pub fn take<T: Element>(&mut self, n: usize, value: T) -> Buffer<T> {
        let (at, len, bytes) = (self.taken, in_lines::<T>(n), Self::bytes_for::<T>(n));
        self.taken += bytes;
        assert!(self.taken <= self.region.layout.size(), "as many numbers as room was made for");
        // For sanitisers: what is beside a buffer is nobody's.
        let (region, at) =
            if cfg!(passd_apart) { (Arc::new(Region::new(bytes)), 0) } else { (self.region.clone(), at) };
        // Safety: these bytes are of the region, begin a line, and nobody has them yet.
        let first = unsafe { region.first.add(at) }.cast::<T>();
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
    pub fn copy<T: Element>(&mut self, values: &[T]) -> Buffer<T> {
        let mut buffer = self.take(values.len(), T::default());
        buffer[..values.len()].copy_from_slice(values);
        buffer
    }
}

/// Numbers in whole cache lines: a vector of them that begins at a multiple of its length lies in one line, and is read
/// at once.
pub struct Buffer<T: Element = f32> {
    /// Where it is; kept for as long as the buffer is.
    region: Arc<Region>,
    first: NonNull<T>,
    len: usize,
}

// Safety: a buffer is the only one that has its numbers. Threads that share it read and write through its pointers, and
// [`crate::exec`] says who writes what (facts 3 and 4).
unsafe impl<T: Element> Send for Buffer<T> {}
// Safety: the same.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// `n` numbers, and what is missing to whole lines, each of them `value`, in memory of its own.
    pub fn new(n: usize, value: T) -> Self {
        Room::of::<T>([n]).take(n, value)
    }

    pub fn zeros(n: usize) -> Self {
        Self::new(n, T::default())
    }

    /// Where its numbers begin. No reference to them is made: others may be writing what is not read through this.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const T {
        self.first.as_ptr()
    }

    /// The same, to write.
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut T {
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
    pub fn grow(&mut self, n: usize, value: T) {
        if n > self.len {
            let mut longer = Self::new(n, value);
            longer[..self.len].copy_from_slice(self);
            *self = longer;
        }
    }
}

impl<T: Element> Default for Buffer<T> {
    fn default() -> Self {
        Self::zeros(0)
    }
}

/// These numbers, and zeros to the end of the last line.
impl<T: Element> From<&[T]> for Buffer<T> {
    fn from(values: &[T]) -> Self {
        Room::of::<T>([values.len()]).copy(values)
    }
}

/// In memory of its own.
impl<T: Element> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self::from(&self[..])
    }
}

impl<T: Element> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T: Element> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} numbers of {}", self.len, self.region.layout.size() / size_of::<T>())
    }
}

impl<T: Element> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // Safety: so many numbers from there on were written when it was made, and are its own.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
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
        let mut room = Room::of::<f32>(sizes);
        let mut buffers: Vec<Buffer> = sizes.iter().zip(1u8..).map(|(n, i)| room.take(*n, f32::from(i))).collect();
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
        assert_eq!(Buffer::from(&[1.0f32, 2.0][..])[..3], [1.0, 2.0, 0.0]);
    }
}
