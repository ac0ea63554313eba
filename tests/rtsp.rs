//! A real RTSP server with H.264, and everything that cameras do to a reader.

mod common;

use common::odd_camera::{OddCamera, Oddity};
use common::rig::{LONG, Rig, quick};
use common::{RtspServer, free_port, wait_for};
use passd::capture::{self, CameraState, SupervisorSettings};
use passd::geom::Size;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn comes_back_from_everything() {
    let port = free_port();
    let rig = Rig::start(&format!("rtsp://127.0.0.1:{port}/cam"), quick());

    // The camera is not there yet.
    let cause = wait_for("a failed attempt", LONG, || rig.causes(CameraState::BackingOff).pop());
    assert!(cause.contains("refuses the connection"), "{cause}");

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
    let _server = RtspServer::start_with(port, "320x240", None, &[("CODEC", "mjpeg")]);
    wait_for("JPEG frames", LONG, || Some(rig.frame()).filter(|f| f.epoch > epoch));
}

#[test]
fn a_wrong_password_is_named_and_never_shown() {
    let server = RtspServer::start(0, "320x240", Some("viewer:right"));
    let bad = server.address.replace("rtsp://", "rtsp://viewer:wr0ng-pw@");
    let rig = Rig::start(&bad, quick());
    let cause = wait_for("the refusal", LONG, || rig.causes(CameraState::BackingOff).pop());
    assert!(cause.contains("does not take this name and password"), "{cause}");
    assert!(!cause.contains("wr0ng-pw"), "{cause}");
    drop(rig);

    let rig = Rig::start(&server.address.replace("rtsp://", "rtsp://viewer:right@"), quick());
    rig.frame();
    // With the right one, what ends the stream is not the password's fault.
    server.process.signal("STOP");
    let cause = wait_for("the stall", LONG, || rig.causes(CameraState::Stalled).pop());
    server.process.signal("CONT");
    let why = wait_for("the next attempt", LONG, || rig.causes(CameraState::BackingOff).pop());
    assert!(cause.contains("no frame") && !why.contains("name and password"), "{cause}; {why}");
}

/// The secret is what it is, and is shown nowhere.
#[test]
fn passwords_of_any_kind_are_taken_by_basic_and_digest() {
    for method in ["basic", "digest"] {
        for secret in ["p@s#1/%2", "a:b?c", "100%", "a9 b8", "ü€"] {
            let login = format!("admin:{secret}");
            let server = RtspServer::start_with(0, "320x240", Some(&login), &[("AUTH", method)]);
            let rig = Rig::start_with(&server.address.replace("rtsp://", "rtsp://admin:${PW}@"), quick(), secret);
            rig.frame();
            let said = rig.history.lock().unwrap().clone();
            assert!(said.iter().all(|(_, cause)| !cause.contains(secret)), "{method} {secret}: {said:?}");
        }
    }
}

/// What a camera does wrong is said as what it is.
#[test]
fn every_oddity_is_survived_and_named() {
    let settings = || SupervisorSettings { connect: Duration::from_secs(4), ..quick() };
    for (oddity, part) in [
        (Oddity::Garbage, "not in RTSP"),
        (Oddity::Silence, "says nothing"),
        (Oddity::Half, "breaks off"),
        (Oddity::Endless, "breaks off"),
        (Oddity::Redirect, "sends us elsewhere"),
        (Oddity::Status(404), "nothing at this path"),
        (Oddity::Status(453), "no room"),
        (Oddity::Status(503), "no room"),
        (Oddity::Sha256, "cannot answer"),
        (Oddity::Audio, "no video, only audio"),
    ] {
        let camera = OddCamera::start(oddity);
        let rig = Rig::start(&camera.url().replace("rtsp://", "rtsp://a:b@"), settings());
        let causes = wait_for(&format!("two failures of {oddity:?}"), LONG, || {
            Some(rig.causes(CameraState::BackingOff)).filter(|c| c.len() >= 2)
        });
        println!("{oddity:?}: {}", causes[0]);
        assert!(causes[0].contains(part), "{oddity:?}: {causes:?}");
        assert_eq!(rig.intake.n_frames(), 0);
        let n = camera.n_connections();
        assert!(n <= 40 * (causes.len() + 1), "{oddity:?}: {n} connections in {} attempts", causes.len());
    }
}

/// GStreamer reads them whole, and does not stop meanwhile.
#[test]
fn messages_without_an_end_are_cut_off() {
    let pause = Duration::from_millis(1);
    let settings = || SupervisorSettings { connect: LONG / 15, backoff_first: pause, backoff_cap: pause, ..quick() };
    // On a busy machine attempts that close are still counted when the next is due: only if they hung for ever would
    // there be no others. There are four places.
    let attempts = |rig: &Rig, n: usize| {
        wait_for(&format!("{n} attempts"), 2 * LONG, || {
            let mut causes = rig.causes(CameraState::BackingOff);
            causes.retain(|cause| !cause.contains("earlier attempts still hang"));
            Some(causes).filter(|causes| causes.len() >= n)
        })
    };
    // What it is, or where nobody could look behind it: what the source said.
    let (described, counted) = ("more than 16 KiB", "KiB that are no packets");
    for (oddity, causes, most) in [
        (Oddity::Flood, [described, counted], 300),
        (Oddity::FloodLater, [counted, counted], 1500),
        // What is read of it takes a hundred times as much. In two seconds it would come to 250 MiB.
        (Oddity::LongDescription, [described, counted], 100),
    ] {
        let camera = OddCamera::start(oddity);
        let rig = Rig::start(&camera.url(), settings());
        let said = attempts(&rig, 6);
        let is_named = |said: &String| causes.iter().any(|cause| said.contains(cause));
        assert!(said.iter().all(is_named), "{oddity:?}: {said:?}");
        assert!(said.iter().any(|said| said.contains(causes[0])), "{oddity:?}: {said:?}");
        let mib = camera.most_taken.load(Ordering::Acquire) >> 20;
        assert!(mib < most, "{oddity:?}: {mib} MiB were taken");
    }
    // One that has next to nothing to say is left after its time.
    let camera = OddCamera::start(Oddity::Drip);
    attempts(&Rig::start(&camera.url(), settings()), 6);
    assert_eq!(capture::n_left_behind(), 0, "each is stopped in the end");
}

/// Its packets end a pipeline in a way in which it cannot be stopped at once; to let go of it then ended the process.
#[test]
fn packets_that_nobody_supports_bring_nothing_down() {
    let camera = OddCamera::start(Oddity::UnknownNal);
    let pause = Duration::from_millis(1);
    let settings = SupervisorSettings { backoff_first: pause, backoff_cap: pause, ..quick() };
    let rig = Rig::start(&camera.url(), settings);
    wait_for("failures", Duration::from_secs(90), || (rig.causes(CameraState::BackingOff).len() >= 80).then_some(()));
    assert_eq!(capture::n_left_behind(), 0, "each is stopped in the end");
}

/// What depayloaders read without looking, and what a source puts away while it is stopped.
#[test]
fn packets_and_descriptions_that_end_a_process_are_got_over() {
    let (soon, late) = (LONG / 15, LONG / 3);
    for (oddity, n, connect, cause) in [
        (Oddity::ShortFragments, 3, soon, ""),
        (Oddity::EndlessFragments, 3, late, "MiB came, and no picture"),
        (Oddity::ManyTracks, 6, late, "KiB"),
        (Oddity::ManyFormats, 3, late, "KiB"),
        (Oddity::ManySenders, 20, soon, ""),
        (Oddity::ManyReports, 3, soon, ""),
    ] {
        let camera = OddCamera::start(oddity);
        let pause = Duration::from_millis(1);
        let settings = SupervisorSettings { connect, backoff_first: pause, backoff_cap: pause, ..quick() };
        let rig = Rig::start(&camera.url(), settings);
        let said = wait_for(&format!("{oddity:?}"), 2 * LONG, || {
            Some(rig.causes(CameraState::BackingOff)).filter(|causes| causes.len() >= n)
        });
        assert!(said.iter().any(|said| said.contains(cause)), "{oddity:?}: {said:?}");
    }
    assert_eq!(capture::n_left_behind(), 0, "each is stopped in the end");
}

/// Two videos: the first that can be decoded, the same one each time.
#[test]
fn the_first_video_is_taken_and_sound_is_left() {
    let raw = "videotestsrc is-live=true ! video/x-raw,width=";
    let h264 = "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay config-interval=1 pt=96";
    let launch = format!(
        "( audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay pt=0 name=pay0 \
         {raw}480,height=360,framerate=15/1 {h264} name=pay1 {raw}320,height=240,framerate=15/1 ! videoconvert ! video/x-raw,format=I420 ! jpegenc ! queue ! rtpjpegpay pt=26 name=pay2 )"
    );
    let server = RtspServer::start_with(0, "320x240", None, &[("LAUNCH", &launch)]);
    for _ in 0..3 {
        let rig = Rig::start(&server.address, quick());
        assert_eq!(rig.frame().letterbox.source, Size::new(480, 360));
    }
}

/// Who joins long before the next key frame sees no grey: nothing comes of it but that it is said, and waited for it
/// longer than for a first picture.
#[test]
fn pictures_before_the_first_key_frame_are_waited_out() {
    let launch = "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 \
        ! x264enc name=encoder tune=zerolatency speed-preset=ultrafast key-int-max=100000 \
        ! rtph264pay name=pay0 pt=96 config-interval=-1 )";
    let mut server = RtspServer::start_with(0, "320x240", None, &[("LAUNCH", launch)]);
    // The stream begins for the first; the second joins in the middle of it.
    let first = Rig::start(&server.address, quick());
    first.frame();
    let connect = Duration::from_secs(4);
    let second = Rig::start(&server.address, SupervisorSettings { connect, ..quick() });
    wait_for("the first picture", LONG, || (second.intake.n_corrupt() > 0).then_some(()));
    let failed = second.causes(CameraState::BackingOff);
    let joined = Instant::now();
    wait_for("more of them", LONG, || {
        (second.intake.n_corrupt() > 15 && joined.elapsed() > connect + Duration::from_secs(1)).then_some(())
    });
    assert!(second.causes(CameraState::Connecting).iter().any(|c| c.contains("key frame")), "{:?}", second.history);
    assert_eq!(second.intake.n_frames(), 0, "nothing came of them");
    server.send_key_frame();
    let frame = second.frame();
    assert_eq!(second.causes(CameraState::BackingOff), failed, "it is waited for");
    // A moving white ball on black, and not grey.
    let n_grey = frame.data().chunks_exact(3).filter(|p| p.iter().all(|v| (110..=145).contains(v))).count();
    let content = frame.letterbox.content.area();
    assert!(n_grey - (frame.size().area() - content) < content / 20, "{n_grey} of {content} pixels are grey");
}

/// Lost packets: pictures that lack something are left out, and counted.
#[test]
fn damaged_pictures_are_dropped() {
    let server = RtspServer::start(0, "640x360", None);
    let lossy = format!(
        "gst:rtspsrc location={} protocols=tcp ! identity drop-probability=0.03 ! rtph264depay ! h264parse ! avdec_h264",
        server.address
    );
    let rig = Rig::start(&lossy, quick());
    wait_for("damaged ones among good ones", LONG, || {
        rig.slot.take(Duration::from_millis(50));
        (rig.intake.n_corrupt() > 10 && rig.intake.n_frames() > 20).then_some(())
    });
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
