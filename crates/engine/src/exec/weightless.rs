//! Steps without weights, a tile at a time: element by element, pooled, resized, moved.

use crate::exec::job::{Tile, TileJob, numbers};
use crate::graph::resample::{Taps, mix};
use crate::graph::{Binary, Op, PoolKind, Window};
use crate::kernels::{Kernels, Pooled, Rows, math};
use crate::oracle::binary;
use crate::plan::step::{Kind, Run};

/// Computes the rows of a tile of any step but convolutions. `inputs` has room for the places of a window.
///
/// # Safety
/// The cells lie in the step's output. The rows have room for its channels, are no part of a map that the step reads, and no
/// other thread reads or writes them, nor writes the maps that the step reads.
pub(crate) unsafe fn compute(kernels: &Kernels, inputs: &mut [*const f32], job: &TileJob<'_>, tile: Tile<'_>) {
    // Safety: the caller says so.
    unsafe {
        match &job.step.kind {
            Kind::Elementwise(op) => elementwise(kernels, job, op, tile),
            Kind::Pool(kind, window) => pool(kernels, inputs, job, (kind, window), tile),
            Kind::GlobalAverage => global_average(kernels, job, tile.rows),
            Kind::Resize(taps) => resize(job, taps, tile),
            Kind::Rearrange { stride, runs } => rearrange(job, *stride, runs, tile),
            Kind::Pad { before, value } => pad(job, *before, *value, tile),
            Kind::Softmax { group } => {
                for (y, x, row) in tile.each() {
                    let groups = numbers(row).chunks_exact_mut(*group);
                    job.read(job.input(), y, x)
                        .chunks_exact(*group)
                        .zip(groups)
                        .for_each(|(of, to)| math::softmax(of, to));
                }
            }
            Kind::Join | Kind::Conv { .. } | Kind::Separable(_) => {}
        }
    }
}

/// # Safety
/// As of [`compute`].
unsafe fn elementwise(kernels: &Kernels, job: &TileJob<'_>, op: &Op, tile: Tile<'_>) {
    let input = job.input();
    for (y, x, row) in tile.each() {
        // Safety: as of `compute`; both operands have cells of as many channels.
        unsafe {
            numbers(row).copy_from_slice(job.read(input, y, x));
            match op {
                Op::Act(act) => kernels.act(act, row),
                Op::Affine { scale, shift } => {
                    let values = numbers(row).iter_mut().zip(scale.iter().zip(shift));
                    values.for_each(|(v, (a, b))| *v = v.mul_add(*a, *b));
                }
                Op::Binary(op) => {
                    let second = &job.maps[job.step.inputs[1]];
                    let is_one = second.shape.n_cells() == 1 && input.shape.n_cells() != 1;
                    let other = if is_one { job.read(second, 0, 0) } else { job.read(second, y, x) };
                    match op {
                        Binary::Add => kernels.add(row, &[other.as_ptr()]),
                        _ => numbers(row).iter_mut().zip(other).for_each(|(v, o)| *v = binary(*op, *v, *o)),
                    }
                }
                _ => unreachable!("the program makes no other element-wise steps"),
            }
        }
    }
}

/// # Safety
/// As of [`compute`].
unsafe fn pool(
    kernels: &Kernels,
    inputs: &mut [*const f32],
    job: &TileJob<'_>,
    (kind, window): (&PoolKind, &Window),
    tile: Tile<'_>,
) {
    let input = job.input();
    for (y, x, row) in tile.each() {
        let mut n = 0;
        for ky in 0..window.kernel[0] {
            let y = y * window.stride[0] + ky * window.dilation[0];
            let Some(y) = y.checked_sub(window.pad[0]).filter(|y| *y < input.shape.h) else { continue };
            for kx in 0..window.kernel[1] {
                let x = x * window.stride[1] + kx * window.dilation[1];
                let Some(x) = x.checked_sub(window.pad[1]).filter(|x| *x < input.shape.w) else { continue };
                inputs[n] = input.cell_ptr(job.buffers, y, x);
                n += 1;
            }
        }
        let how = if *kind == PoolKind::Max { Pooled::Greatest } else { Pooled::Sum };
        // Safety: as of `compute`; cells of as many channels.
        let row = unsafe { numbers(row) };
        // Safety: the same.
        unsafe { kernels.pool(how, &inputs[..n], row) };
        if let PoolKind::Average { count_pad } = kind {
            let n = if *count_pad { window.n_taps() } else { n };
            row.iter_mut().for_each(|v| *v /= n as f32);
        }
    }
}

/// # Safety
/// As of [`compute`].
unsafe fn global_average(kernels: &Kernels, job: &TileJob<'_>, row: Rows) {
    let input = job.input();
    // Safety: as of `compute`; cells of as many channels.
    unsafe {
        numbers(row).fill(0.0);
        for y in 0..input.shape.h {
            (0..input.shape.w).for_each(|x| kernels.add(row, &[input.cell_ptr(job.buffers, y, x)]));
        }
        let n = input.shape.n_cells() as f32;
        numbers(row).iter_mut().for_each(|v| *v /= n);
    }
}

/// # Safety
/// As of [`compute`].
unsafe fn resize(job: &TileJob<'_>, taps: &Taps, tile: Tile<'_>) {
    for (y, x, row) in tile.each() {
        let (r, k) = (taps.rows[y], taps.cols[x]);
        // Safety: as of `compute`.
        let (row, at) = unsafe { (numbers(row), |y: usize, x: usize| job.read(job.input(), y, x)) };
        if r.share == 0.0 && k.share == 0.0 {
            row.copy_from_slice(at(r.first, k.first));
            continue;
        }
        let (a, b) = (at(r.first, k.first), at(r.first, k.second));
        let (d, e) = (at(r.second, k.first), at(r.second, k.second));
        for (i, v) in row.iter_mut().enumerate() {
            *v = mix(mix(a[i], b[i], k.share), mix(d[i], e[i], k.share), r.share);
        }
    }
}

/// # Safety
/// As of [`compute`].
unsafe fn rearrange(job: &TileJob<'_>, stride: [usize; 2], runs: &[Run], tile: Tile<'_>) {
    for (y, x, row) in tile.each() {
        // Safety: as of `compute`.
        let row = unsafe { numbers(row) };
        let mut to = 0;
        for run in runs {
            // Safety: the same.
            let from = unsafe { job.read(job.input(), y * stride[0] + run.dy, x * stride[1] + run.dx) };
            row[to..to + run.n].copy_from_slice(&from[run.from..run.from + run.n]);
            to += run.n;
        }
    }
}

/// # Safety
/// As of [`compute`].
unsafe fn pad(job: &TileJob<'_>, before: [usize; 2], value: f32, tile: Tile<'_>) {
    let input = job.input();
    for (y, x, row) in tile.each() {
        let at = y.checked_sub(before[0]).zip(x.checked_sub(before[1]));
        // Safety: as of `compute`.
        let row = unsafe { numbers(row) };
        match at.filter(|(y, x)| *y < input.shape.h && *x < input.shape.w) {
            // Safety: the same.
            Some((y, x)) => row.copy_from_slice(unsafe { job.read(input, y, x) }),
            None => row.fill(value),
        }
    }
}
