//! What does the skip stage cost a frame, and what would OpenCV's arithmetic?
//!
//! A 640x384 picture with sensor noise, against a reference.

use criterion::{Criterion, criterion_group, criterion_main};
use passd::frame::{Frame, FrameId, Pixels};
use passd::geom::{Letterbox, PatchGrid, PatchMask, Size};
use passd::sim::{Grain, SimCamera, SimSettings};
use passd::skip::{CELL, Differ, SkipMode, SkipSettings, SkipStage};
use std::hint::black_box;

const SIZE: Size = Size::new(640, 384);

fn picture(noise_of_frame: u64) -> Vec<u8> {
    let mut bgr = vec![0; SIZE.area() * 3];
    let settings = SimSettings::parse("sim://street?noise=0&wind=0&traffic=0").expect("a good address");
    SimCamera::new(settings).render(0, &mut bgr);
    let grain = Grain::new(3.0, 1);
    for (y, row) in bgr.chunks_exact_mut(SIZE.width as usize * 3).enumerate() {
        grain.add(row, noise_of_frame, y as u64);
    }
    bgr
}

fn frame(n: u64) -> Frame {
    Frame::new(FrameId(n), n * 100_000_000, Letterbox::fit(SIZE, SIZE), Pixels::owned(picture(n)))
}

fn benches(c: &mut Criterion) {
    let (a, b) = (picture(1), picture(2));
    let band = SIZE.width as usize * 3 * CELL;
    let mut differ = Differ::new(SIZE.width as usize);
    let mut sums = vec![0; differ.cols()];
    c.bench_function("cells of a frame, our kernel", |bench| {
        bench.iter(|| {
            for (a, b) in a.chunks(band).zip(b.chunks(band)) {
                differ.sad_row(black_box(a), black_box(b), &mut sums);
            }
            black_box(sums[0])
        });
    });

    #[cfg(feature = "opencv")]
    {
        use opencv::{core, prelude::*};
        let mat = |data: &[u8]| {
            let view = core::Mat::new_rows_cols_with_data(SIZE.height as i32, SIZE.width as i32 * 3, data);
            view.expect("a matrix").try_clone().expect("a copy")
        };
        let (a, b) = (mat(&a), mat(&b));
        let (mut difference, mut column_sums) = (core::Mat::default(), core::Mat::default());
        c.bench_function("cells of a frame, OpenCV absdiff + reduce", |bench| {
            bench.iter(|| {
                core::absdiff(black_box(&a), black_box(&b), &mut difference).expect("absdiff");
                let mut total = 0;
                for row in 0..SIZE.height as i32 / CELL as i32 {
                    let band = difference.row_bounds(row * 8, row * 8 + 8).expect("a band");
                    core::reduce(&band, &mut column_sums, 0, core::REDUCE_SUM, core::CV_32S).expect("reduce");
                    let columns = column_sums.data_typed::<i32>().expect("sums");
                    total += columns.chunks(CELL * 3).map(|cell| cell.iter().sum::<i32>()).max().unwrap_or(0);
                }
                black_box(total)
            });
        });
    }

    let frames = [frame(1), frame(2), frame(3)];
    let mut stage = SkipStage::new(SkipMode::Regions, SkipSettings::default(), SIZE);
    let none = PatchMask::empty(PatchGrid::new(SIZE, 16));
    stage.decide(&frames[0]);
    stage.accept(&frames[0], &PatchMask::full(none.grid()));
    let mut n = 0;
    c.bench_function("skip stage, nothing changed but noise", |bench| {
        bench.iter(|| {
            n += 1;
            let changed = stage.decide(&frames[n % 3]).patches.count();
            stage.accept(&frames[n % 3], &none);
            black_box(changed)
        });
    });
}

criterion_group!(group, benches);
criterion_main!(group);
