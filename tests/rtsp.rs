//! A real RTSP server with H.264, and everything that cameras do to a reader.

mod common;

use common::{RtspServer, footprint, free_port, wait_for};
use passd::capture::{self, CameraState, Intake, Slot, SlotMode, SourceSpec, Supervisor, SupervisorSettings, Taken};
use passd::clock::SystemClock;
use passd::frame::Frame;
use passd::geom::Size;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

type History = Arc<Mutex<Vec<(CameraState, String)>>>;

/// A supervised camera on an address, with short waits.
struct Rig {
    slot: Arc<Slot>,
    history: History,
    stop: crossbeam_channel::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
    intake: Intake,
}

impl Rig {
    fn start(address: &str, settings: SupervisorSettings) -> Self {
        capture::init().unwrap();
        let slot = Arc::new(Slot::new(SlotMode::Latest));
        let clock = Arc::new(SystemClock::new());
        let intake = Intake::new(Size::new(320, 192), clock.clone(), slot.clone(), None);
        let history = History::default();
        let seen = history.clone();
        let spec = SourceSpec::parse(address).unwrap();
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let supervisor = Supervisor {
            settings,
            opener: Arc::new(move |intake, epoch| capture::open_gst(&spec, capture::Pace::Live, intake, epoch)),
            intake: intake.clone(),
            clock,
            observer: Box::new(move |state, cause| {
                seen.lock().unwrap().push((state, cause.unwrap_or_default().to_owned()))
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
    fn frame(&self) -> Frame {
        wait_for("a frame", LONG, || match self.slot.take(Duration::from_millis(100)) {
            Taken::Frame(frame) => Some(frame),
            _ => None,
        })
    }

    fn causes(&self, state: CameraState) -> Vec<String> {
        self.history.lock().unwrap().iter().filter(|h| h.0 == state).map(|h| h.1.clone()).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
        let _ = self.thread.take().unwrap().join();
    }
}

fn quick() -> SupervisorSettings {
    SupervisorSettings {
        connect: Duration::from_secs(8),
        stall: Duration::from_secs(2),
        backoff_first: Duration::from_millis(50),
        backoff_cap: Duration::from_millis(200),
        delay: Duration::ZERO,
    }
}

#[test]
fn comes_back_from_everything() {
    let port = free_port();
    let rig = Rig::start(&format!("rtsp://127.0.0.1:{port}/cam"), quick());

    // The camera is not there yet.
    let cause = wait_for("a failed attempt", LONG, || rig.causes(CameraState::BackingOff).pop());
    assert!(cause.contains("connect") || cause.contains("Connection refused"), "{cause}");

    // It comes, at a size whose shape is the model's not.
    let server = RtspServer::start(port, "320x240", None);
    let frame = rig.frame();
    assert_eq!((frame.letterbox.source, frame.letterbox.content), (Size::new(320, 240), Size::new(256, 192)));
    let epoch = frame.epoch;

    // It dies in the middle of a frame, and comes back with another size.
    drop(server);
    wait_for("the loss is noticed", LONG, || (rig.causes(CameraState::BackingOff).len() > 1).then_some(()));
    let mut server = RtspServer::start(port, "640x360", None);
    let frame = wait_for("frames of the new server", LONG, || Some(rig.frame()).filter(|f| f.epoch > epoch));
    assert_eq!((frame.letterbox.source, frame.letterbox.content), (Size::new(640, 360), Size::new(320, 180)));

    // It changes its size while it streams.
    server.resize("480x480");
    wait_for("the new size", LONG, || Some(rig.frame()).filter(|f| f.letterbox.source == Size::new(480, 480)));

    // It goes silent with the connection open.
    let epoch = rig.frame().epoch;
    server.process.signal("STOP");
    let cause = wait_for("the stall is noticed", LONG, || rig.causes(CameraState::Stalled).pop());
    assert!(cause.starts_with("no frame for"), "{cause}");
    server.process.signal("CONT");
    let epoch = wait_for("frames after the stall", LONG, || Some(rig.frame()).filter(|f| f.epoch > epoch)).epoch;

    // It comes back with another codec.
    drop(server);
    wait_for("the loss is noticed", LONG, || (rig.causes(CameraState::BackingOff).len() > 3).then_some(()));
    let _server = RtspServer::start_with(port, "320x240", None, "mjpeg");
    wait_for("JPEG frames", LONG, || Some(rig.frame()).filter(|f| f.epoch > epoch));
}

#[test]
fn a_wrong_password_is_named_and_never_shown() {
    let server = RtspServer::start(0, "320x240", Some("viewer:right"));
    let bad = server.address.replace("rtsp://", "rtsp://viewer:wr0ng-pw@");
    let rig = Rig::start(&bad, quick());
    let cause = wait_for("the refusal", LONG, || rig.causes(CameraState::BackingOff).pop());
    assert!(cause.contains("nauthorized") || cause.contains("401"), "{cause}");
    assert!(!cause.contains("wr0ng-pw"), "{cause}");
    drop(rig);
    let rig = Rig::start(&server.address.replace("rtsp://", "rtsp://viewer:right@"), quick());
    rig.frame();
}

/// A server that accepts and talks nonsense, and one that accepts and is silent.
#[test]
fn garbage_and_silence_are_no_cameras() {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("rtsp://{}/cam", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            if i % 2 == 0 {
                let _ = stream.write_all(b"\x00\xffthis is no RTSP\r\n\r\n\r\n");
            } else {
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_secs(20));
                    drop(stream);
                });
            }
        }
    });
    let rig = Rig::start(&address, SupervisorSettings { connect: Duration::from_millis(1500), ..quick() });
    wait_for("three failures", LONG, || (rig.causes(CameraState::BackingOff).len() >= 3).then_some(()));
    assert_eq!(rig.intake.n_frames(), 0);
}

#[test]
fn two_hundred_failed_connects_leave_nothing_behind() {
    let port = free_port();
    let settings = SupervisorSettings {
        backoff_first: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(1),
        ..quick()
    };
    let rig = Rig::start(&format!("rtsp://127.0.0.1:{port}/cam"), settings);
    let attempts = |n: usize| {
        wait_for("attempts", Duration::from_secs(120), || {
            (rig.causes(CameraState::BackingOff).len() >= n).then_some(())
        });
    };
    // What GStreamer keeps for ever it has by then.
    attempts(60);
    let (mib, files) = footprint();
    attempts(260);
    let (mib_after, files_after) = footprint();
    println!("after 60 and 260 failed connects: {mib:.1} and {mib_after:.1} MiB, {files} and {files_after} open files");
    assert!(mib_after - mib < 4.0, "{mib} MiB became {mib_after}");
    assert!(files_after <= files + 6, "{files} open files became {files_after}");
}
