//! Which cells of one map a convolution joins with which of another: forwards, and backwards.

use engine::graph::{MapShape, Window};

/// One tap of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherTap {
    /// Its place in the window, row by row.
    pub index: usize,
    pub offset: [isize; 2],
}

/// Target cells `first + step * j`, which see source cells `stride * j + offset`, one a tap.
///
/// Forwards all cells of the output are targets. Backwards the cells of the input are, in as many phases as the stride
/// has cells: those of a phase see the output through the same taps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gather {
    pub first: [usize; 2],
    pub step: [usize; 2],
    /// Targets down and across.
    pub n: [usize; 2],
    pub stride: [usize; 2],
    pub taps: Vec<GatherTap>,
}

impl Gather {
    /// From a convolution's input to its output.
    pub fn forward(window: &Window, out: MapShape) -> Self {
        let offset = |i: usize, k: usize| (k * window.dilation[i]) as isize - window.pad[i] as isize;
        let taps = (0..window.n_taps()).map(|index| {
            let at = [index / window.kernel[1], index % window.kernel[1]];
            GatherTap { index, offset: [offset(0, at[0]), offset(1, at[1])] }
        });
        Self { first: [0; 2], step: [1; 2], n: [out.h, out.w], stride: window.stride, taps: taps.collect() }
    }

    /// From the gradient of a convolution's output to that of its input: a gather a phase. Phases that no tap reaches are
    /// there too, with none.
    pub fn backward(window: &Window, input: MapShape) -> Vec<Self> {
        let size = [input.h, input.w];
        let phases = (0..window.stride[0]).flat_map(|y| (0..window.stride[1]).map(move |x| [y, x]));
        phases
            .map(|first| {
                // Input cell `first + stride * j` was seen by output cell `j + offset` where the division is whole.
                let offset = |i: usize, k: usize| {
                    let at = (first[i] + window.pad[i]) as isize - (k * window.dilation[i]) as isize;
                    let stride = window.stride[i] as isize;
                    (at.rem_euclid(stride) == 0).then(|| at.div_euclid(stride))
                };
                let taps = (0..window.n_taps()).filter_map(|index| {
                    let (y, x) = (offset(0, index / window.kernel[1])?, offset(1, index % window.kernel[1])?);
                    Some(GatherTap { index, offset: [y, x] })
                });
                let n = [0, 1].map(|i| size[i].saturating_sub(first[i]).div_ceil(window.stride[i]));
                Self { first, step: window.stride, n, stride: [1; 2], taps: taps.collect() }
            })
            .filter(|phase| phase.n[0] > 0 && phase.n[1] > 0)
            .collect()
    }

    /// How many cells beyond the edges of a source of this size are seen.
    pub fn border(&self, source: MapShape) -> usize {
        let beyond = |i: usize, size: usize| {
            let last = (self.stride[i] * (self.n[i] - 1)) as isize;
            let of = |tap: &GatherTap| (-tap.offset[i]).max(last + tap.offset[i] - (size as isize - 1));
            self.taps.iter().map(of).max().unwrap_or(0).max(0) as usize
        };
        beyond(0, source.h).max(beyond(1, source.w))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition of a convolution: which taps join which cells.
    fn joined(window: &Window, input: MapShape, out: MapShape) -> Vec<([usize; 2], [usize; 2], usize)> {
        let mut all = Vec::new();
        for (y, x) in (0..out.h).flat_map(|y| (0..out.w).map(move |x| (y, x))) {
            for index in 0..window.n_taps() {
                let k = [index / window.kernel[1], index % window.kernel[1]];
                let at =
                    |i: usize, o: usize| (o * window.stride[i] + k[i] * window.dilation[i]).checked_sub(window.pad[i]);
                if let (Some(iy), Some(ix)) = (at(0, y), at(1, x))
                    && iy < input.h
                    && ix < input.w
                {
                    all.push(([iy, ix], [y, x], index));
                }
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn both_ways_join_the_same_cells_by_the_same_taps() {
        for (kernel, stride, dilation, pad) in [(3, 1, 1, 1), (3, 2, 1, 1), (1, 2, 1, 0), (5, 2, 2, 3), (2, 3, 1, 0)] {
            let window = Window {
                kernel: [kernel, 1 + kernel / 2],
                stride: [stride, 1],
                dilation: [dilation, 1],
                pad: [pad, 0],
                pad_end: [pad, 1],
            };
            let input = MapShape::new(11, 7, 1);
            let reach = dilation * (kernel - 1) + 1;
            let out = MapShape::new((11 + 2 * pad - reach) / stride + 1, 7 + 1 - kernel / 2, 1);
            let wanted = joined(&window, input, out);
            let cells = |g: &Gather, source: MapShape| {
                let border = g.border(source) as isize;
                let mut all = Vec::new();
                for (y, x) in (0..g.n[0]).flat_map(|y| (0..g.n[1]).map(move |x| (y, x))) {
                    let target = [g.first[0] + y * g.step[0], g.first[1] + x * g.step[1]];
                    for tap in &g.taps {
                        let at = |i: usize, j: usize| (g.stride[i] * j) as isize + tap.offset[i];
                        let at = [at(0, y), at(1, x)];
                        let sizes = [source.h as isize, source.w as isize];
                        assert!((0..2).all(|i| (-border..sizes[i] + border).contains(&at[i])), "{g:?}");
                        if (0..2).all(|i| (0..sizes[i]).contains(&at[i])) {
                            all.push((target, at.map(|v| v as usize), tap.index));
                        }
                    }
                }
                all
            };
            let mut forward: Vec<_> =
                cells(&Gather::forward(&window, out), input).into_iter().map(|(o, i, tap)| (i, o, tap)).collect();
            forward.sort_unstable();
            assert_eq!(forward, wanted);
            let mut backward: Vec<_> =
                Gather::backward(&window, input).iter().flat_map(|phase| cells(phase, out)).collect();
            backward.sort_unstable();
            assert_eq!(backward, wanted);
        }
    }
}
