//! After warm-up a frame allocates nothing: engine, heads and suppression.

use engine::exec::executor::StreamMaps;
use engine::exec::runner::Runner;
use engine::exec::stream::Stream;
use engine::gating::gate::Gates;
use engine::gating::policy::Policy;
use engine::import;
use engine::kernels::Kernels;
use engine::plan::Plan;
use passd::detect::heads::{Head, Thresholds};
use passd::frame::FrameId;
use passd::geom::Size;
use passd::infer::Seen;
use passd::infer::candidates::Candidates;
use passd::infer::cells::CellHead;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// Safety: the system's, counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // Safety: as of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // Safety: as of this function.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test in this file: others beside it would be counted too.
#[test]
fn a_frame_allocates_nothing() {
    let (w, h) = (320, 192);
    let graph = import::import(include_bytes!("../models/street-nano.onnx"), h, w).unwrap();
    let plan = Arc::new(Plan::new(graph).unwrap());
    let head = Head::Street { strides: vec![8, 16, 32] };
    let size = Size::new(w as u32, h as u32);
    let cells = CellHead::bind(&head, &plan, size, 2).unwrap();
    let mut stream = Stream::new(plan.clone(), Gates::rising(&plan, &Policy::default()), 0.0);
    let mut runner = Runner::new(&plan, Kernels::best());
    let mut candidates = Candidates::default();
    let (mut found, mut seen) = (Vec::with_capacity(2000), Vec::with_capacity(2000));
    let mut random = fastrand::Rng::with_seed(5);
    // A low bar, so that there are candidates.
    let t = Thresholds { score: 0.02, iou: 0.5 };
    let mut n_found = 0;
    for frame in 0..60 {
        let (picture, changed) = stream.input();
        changed.clear();
        // The same amount of change everywhere in turn.
        let (x, y) = (frame * 37 % (w - 64), frame * 23 % (h - 64));
        for row in y..y + 64 {
            changed.set_run(row, x, x + 64);
            picture[(row * w + x) * 3..(row * w + x + 64) * 3].fill_with(|| random.f32() * 255.0);
        }
        let before = COUNT.load(Ordering::Relaxed);
        runner.run(&mut stream, 0.01);
        let now = Seen { frame: FrameId(frame as u64), pts_ns: frame as u64 };
        cells.update(&stream, now, t, &mut candidates, &mut found, &mut seen).unwrap();
        candidates.tolerance(t.score, size, &Policy::default().tolerance, stream.tolerance_mut());
        let n = COUNT.load(Ordering::Relaxed) - before;
        n_found += found.len();
        assert!(frame < 30 || n == 0, "frame {frame}: {n} allocations");
    }
    assert!(n_found > 0, "there was something to decode");
}
