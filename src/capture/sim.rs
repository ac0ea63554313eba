//! The simulated camera as a source: drawn on a thread of its own.

use super::intake::Intake;
use super::source::{CaptureError, Pace, Source, SourceEvent};
use crate::clock::Clock;
use crate::geom::{Letterbox, Size};
use crate::process::give_way;
use crate::sim::{SimCamera, SimSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Starts drawing. At [`Pace::Fast`] frames come as fast as they are taken,
/// else at the settings' rate by `clock`.
pub fn open_sim(settings: &SimSettings, pace: Pace, intake: &Intake, epoch: u64, clock: Arc<dyn Clock>) -> Source {
    let (sender, events) = crossbeam_channel::bounded(1);
    let cancelled = Arc::new(AtomicBool::new(false));
    let guard = Guard(cancelled.clone());
    let (intake, input) = (intake.clone(), intake.input());
    let mut settings = settings.clone();
    let source = settings.size;
    // Vectors are drawn at the size that is needed, not scaled afterwards.
    let letterbox = Letterbox::fit(source, input);
    settings.size = letterbox.content;
    std::thread::Builder::new()
        .name("sim".into())
        .spawn(move || {
            give_way();
            let n_frames = settings.n_frames.unwrap_or(u64::MAX);
            let interval_ns = 1e9 / f64::from(settings.fps);
            let mut camera = SimCamera::new(settings);
            let Size { width, .. } = letterbox.content;
            let mut bgr = vec![0; letterbox.content.area() * 3];
            let start_ns = clock.monotonic_ns();
            for n in 0..n_frames {
                let pts_ns = (n as f64 * interval_ns) as u64;
                while pace != Pace::Fast && !cancelled.load(Ordering::Acquire) {
                    let due_ns = start_ns + pts_ns;
                    let now_ns = clock.monotonic_ns();
                    if now_ns >= due_ns {
                        break;
                    }
                    clock.sleep(Duration::from_nanos(due_ns - now_ns).min(Duration::from_millis(100)));
                }
                if cancelled.load(Ordering::Acquire) {
                    return;
                }
                camera.render(n, &mut bgr);
                intake.deliver(epoch, pts_ns, &letterbox, &bgr, width as usize * 3, &cancelled);
            }
            let _ = sender.try_send(SourceEvent::Ended);
        })
        .map_or_else(
            |e| {
                let (sender, events) = crossbeam_channel::bounded(1);
                let _ = sender.try_send(SourceEvent::Failed(CaptureError::Transient(format!("no thread: {e}"))));
                Source { events, guard: Box::new(()) }
            },
            |_| Source { events, guard: Box::new(guard) },
        )
}

struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
