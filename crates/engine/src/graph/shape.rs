//! The shape of a feature map, and names of places in it.

/// Cells down, cells across, channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MapShape {
    pub h: usize,
    pub w: usize,
    pub c: usize,
}

impl MapShape {
    pub const fn new(h: usize, w: usize, c: usize) -> Self {
        Self { h, w, c }
    }

    pub fn n_cells(&self) -> usize {
        self.h * self.w
    }

    pub fn n_values(&self) -> usize {
        self.n_cells() * self.c
    }
}

impl std::fmt::Display for MapShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.h, self.w, self.c)
    }
}

/// Index of a [`super::Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// Where one channel of a [`super::Op::Rearrange`] comes from: cell
/// `(y * stride + dy, x * stride + dx)`, channel `c` of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelSource {
    pub dy: usize,
    pub dx: usize,
    pub c: usize,
}
