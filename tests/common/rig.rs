//! A camera with its supervisor, as the daemon runs one, and nothing else.

use super::wait_for;
use passd::capture::{
    self, CameraSource, CameraState, Explainer, Intake, Slot, SlotMode, SourceSpec, Supervisor, SupervisorSettings,
    Taken,
};
use passd::clock::SystemClock;
use passd::frame::Frame;
use passd::geom::Size;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// For what must happen.
pub const LONG: Duration = Duration::from_secs(30);

pub type History = Arc<Mutex<Vec<(CameraState, String)>>>;

/// A supervised camera on an address, with short waits and the secret `${PW}`.
pub struct Rig {
    pub slot: Arc<Slot>,
    pub history: History,
    stop: crossbeam_channel::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
    pub intake: Intake,
}

impl Rig {
    pub fn start(address: &str, settings: SupervisorSettings) -> Self {
        Self::start_with(address, settings, "")
    }

    pub fn start_with(address: &str, settings: SupervisorSettings, secret: &str) -> Self {
        capture::init().unwrap();
        let slot = Arc::new(Slot::new(SlotMode::Latest));
        let clock = Arc::new(SystemClock::new());
        let intake = Intake::new(Size::new(320, 192), clock.clone(), slot.clone(), None);
        let history = History::default();
        let seen = history.clone();
        let source = CameraSource::parse(address, &|name| (name == "PW").then(|| secret.to_owned())).unwrap();
        let (spec, secrets) = (source.spec, source.secrets);
        let explainer: Option<Explainer> = match &spec {
            SourceSpec::Rtsp(address) => {
                let address = address.clone();
                Some(Arc::new(move |said| capture::diagnose(&address, &said).map_or(said, |found| found.cause)))
            }
            _ => None,
        };
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let supervisor = Supervisor {
            settings,
            opener: Arc::new(move |intake, epoch| capture::open_gst(&spec, capture::Pace::Live, intake, epoch)),
            explainer,
            intake: intake.clone(),
            clock,
            observer: Box::new(move |state, cause| {
                seen.lock().unwrap().push((state, secrets.hide(cause.unwrap_or_default())))
            }),
            stop: stopped,
            seed: 1,
            live_source: true,
            helpers: Arc::default(),
        };
        let thread = Some(std::thread::spawn(move || supervisor.run()));
        Self { slot, history, stop, thread, intake }
    }

    #[track_caller]
    pub fn frame(&self) -> Frame {
        wait_for("a frame", LONG, || match self.slot.take(Duration::from_millis(100)) {
            Taken::Frame(frame) => Some(frame),
            _ => None,
        })
    }

    pub fn causes(&self, state: CameraState) -> Vec<String> {
        self.history.lock().unwrap().iter().filter(|h| h.0 == state).map(|h| h.1.clone()).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
        let _ = self.thread.take().unwrap().join();
    }
}

pub fn quick() -> SupervisorSettings {
    SupervisorSettings {
        connect: Duration::from_secs(8),
        stall: Duration::from_secs(2),
        backoff_first: Duration::from_millis(50),
        backoff_cap: Duration::from_millis(200),
        delay: Duration::ZERO,
    }
}
