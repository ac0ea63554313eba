//! Events on their way to the learner: the frame in which each showed best.

use crate::geom::{ModelInput, Rect};
use crate::outcome::FrameResult;
use crate::output::Sink;
use crate::wire::event::{EventJson, EventMessage};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;

/// Frames that may wait; more are left out.
const WAITING: usize = 4;

/// An event's best frame so far.
pub struct BestFrame {
    pub event: EventJson,
    pub result: Arc<FrameResult>,
    pub bbox: Rect<ModelInput>,
}

/// Takes events of all cameras.
pub struct LearnSink(Sender<BestFrame>);

impl LearnSink {
    pub fn new() -> (Self, Receiver<BestFrame>) {
        let (sender, receiver) = bounded(WAITING);
        (Self(sender), receiver)
    }
}

impl Sink for LearnSink {
    fn event(&self, message: &Arc<EventMessage>) {
        if let Some((result, bbox)) = &message.best {
            // Learning never holds up anybody: one frame less to mark.
            let _ = self.0.try_send(BestFrame { event: message.event.clone(), result: result.clone(), bbox: *bbox });
        }
    }
}
