//! What is really in a frame of a simulated clip, where a model sees it.

use super::score::Wanted;
use crate::geom::{Letterbox, Size};
use crate::sim::{SimCamera, SimSettings, Truth};

/// Ground truth of a simulated clip, in model-input pixels.
pub struct TruthOf {
    camera: SimCamera,
    objects: Vec<Truth>,
    wanted: Vec<Wanted>,
    letterbox: Letterbox,
}

impl TruthOf {
    /// `input` is the model's.
    pub fn new(settings: &SimSettings, input: Size) -> Self {
        let letterbox = Letterbox::fit(settings.size, input);
        // The same size at which the source draws.
        let camera = SimCamera::new(SimSettings { size: letterbox.content, ..settings.clone() });
        Self { camera, objects: Vec::new(), wanted: Vec::new(), letterbox }
    }

    /// What is in frame `n`.
    pub fn of_frame(&mut self, n: u64) -> &[Wanted] {
        self.camera.truth(n, &mut self.objects);
        let drawn = Letterbox { source: self.letterbox.content, ..self.letterbox };
        self.wanted.clear();
        self.wanted.extend(self.objects.iter().map(|o| Wanted {
            id: o.track,
            class: o.kind as u16,
            bbox: drawn.to_input(&o.bbox),
            counts: o.counts(),
        }));
        &self.wanted
    }
}
