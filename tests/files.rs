//! Video files: odd but good ones are played, others end with the reason. The clips are made here, by GStreamer's encoders.

mod common;

use common::service::Service;
use gstreamer as gst;
use gstreamer::prelude::*;
use passd::capture::{self, Clip, SourceSpec};
use passd::frame::Frame;
use passd::geom::Size;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SIZE: Size = Size::new(320, 192);

/// Runs a pipeline to its end.
fn make(launch: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(launch).unwrap_or_else(|e| panic!("{launch}: {e}"));
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let last = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(120), &ends).unwrap();
    assert!(matches!(last.view(), gst::MessageView::Eos(_)), "{launch}: {last:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

fn frames(spec: &SourceSpec) -> Vec<Frame> {
    let mut clip = Clip::open(spec, SIZE).unwrap();
    std::iter::from_fn(|| clip.next_frame().unwrap()).collect()
}

/// Field report 12: each came through before, and does.
#[test]
fn odd_but_good_streams_are_played() {
    let folder = tempfile::tempdir().unwrap();
    let raw = "videotestsrc num-buffers=40 pattern=ball ! video/x-raw,width=640,height=360,framerate=20/1";
    for (name, encode) in [
        ("b-frames.mp4", "x264enc bframes=3 key-int-max=20 ! h264parse ! mp4mux"),
        (
            "interlaced.mkv",
            "interlace field-pattern=2:2 ! x264enc interlaced=true key-int-max=20 ! h264parse ! matroskamux",
        ),
        ("444.mkv", "videoconvert ! video/x-raw,format=Y444 ! x264enc key-int-max=20 ! h264parse ! matroskamux"),
        ("intra-refresh.mkv", "x264enc intra-refresh=true key-int-max=20 ! h264parse ! matroskamux"),
        (
            "h265-10bit.mkv",
            "videoconvert ! video/x-raw,format=I420_10LE ! x265enc key-int-max=20 ! h265parse ! matroskamux",
        ),
        ("vp9.webm", "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=20 ! webmmux"),
        ("av1.mkv", "av1enc cpu-used=8 ! av1parse ! matroskamux"),
        ("mjpeg.mkv", "videoscale ! video/x-raw,width=1920,height=1080 ! jpegenc ! matroskamux"),
        ("vfr.mkv", "identity drop-probability=0.3 ! x264enc key-int-max=20 ! h264parse ! matroskamux"),
        (
            "narrow.mkv",
            "videoscale add-borders=false ! video/x-raw,width=16,height=2048 ! x264enc ! h264parse ! matroskamux",
        ),
    ] {
        let path = folder.path().join(name);
        make(&format!("{raw} ! videoconvert ! {encode} ! filesink location={}", path.display()));
        let found = frames(&SourceSpec::File { path });
        let least = if name.starts_with("vfr") { 15 } else { 38 };
        assert!((least..=40).contains(&found.len()), "{name}: {} of 40 frames", found.len());
        assert!(found.windows(2).all(|w| w[0].pts_ns <= w[1].pts_ns && w[0].epoch == w[1].epoch), "{name}");
        let last = found.last().unwrap();
        // The ball is white, what is around it black.
        let is_shown = |v: u8| last.data().chunks_exact(3).any(|p| p.iter().all(|c| c.abs_diff(v) < 60));
        assert!(is_shown(0) && (name.starts_with("narrow") || is_shown(255)), "{name}: a ball on black");
    }
}

/// The times of what comes second begin at nought again.
#[test]
fn a_time_that_begins_anew_begins_an_epoch() {
    let part = "videotestsrc num-buffers=30 ! video/x-raw,width=320,height=192,framerate=10/1 \
                ! x264enc tune=zerolatency key-int-max=10 ! c.";
    let spec =
        SourceSpec::parse(&format!("gst:{part} {part} concat name=c adjust-base=false ! h264parse ! avdec_h264"));
    let found = frames(&spec.unwrap());
    assert!(found.len() >= 58, "{}", found.len());
    let same = |w: &[Frame]| w[0].epoch == w[1].epoch;
    assert!(found.windows(2).all(|w| !same(w) || w[0].pts_ns <= w[1].pts_ns));
    assert_eq!(found.windows(2).filter(|w| !same(w)).count(), 1);
}

/// A file with an hour's gap in it, at its own rate.
#[test]
fn a_gap_is_jumped_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gap.mkv");
    gst::init().unwrap();
    let raw = "appsrc name=src format=time caps=video/x-raw,format=BGR,width=320,height=192,framerate=10/1";
    let launch = format!(
        "{raw} ! videoconvert ! x264enc key-int-max=5 tune=zerolatency ! h264parse ! matroskamux ! filesink location={}",
        path.display()
    );
    let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    let src = pipeline.by_name("src").unwrap().downcast::<gstreamer_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for n in 0..20u64 {
        let mut buffer = gst::Buffer::from_mut_slice(vec![(n * 9) as u8; 320 * 192 * 3]);
        let gap = if n >= 10 { 3_600_000 } else { 0 };
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(n * 100 + gap));
        src.push_buffer(buffer).unwrap();
    }
    src.end_of_stream().unwrap();
    pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos]).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();

    let start = Instant::now();
    let config = format!(
        "[detector]\nmodel = \"anything\"\n[cameras.clip]\nsource = \"{}\"\n[http]\nenabled = false\n\
         [output.jsonl]\npath = \"{{dir}}/out.jsonl\"\n",
        path.display()
    );
    let mut service = Service::start(&config, None);
    assert_eq!(service.wait_end(), Some(0), "{:#?}", service.log.lock().unwrap());
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    let text = std::fs::read_to_string(service.folder.path().join("out.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(last["pts"].as_f64().unwrap() > 3600.0, "{last}");
}

/// Exit status 1 and the reason, from `run` and `check` alike; and the next file is played all the same.
#[test]
fn what_cannot_be_played_ends_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let raw = "videotestsrc num-buffers=20 ! video/x-raw,width=320,height=192,framerate=20/1 ! x264enc ! h264parse";
    let good = folder.path().join("good.mp4");
    make(&format!("{raw} ! mp4mux ! filesink location={}", good.display()));
    let sound = folder.path().join("sound.mp4");
    make(&format!("audiotestsrc num-buffers=50 ! avenc_aac ! mp4mux ! filesink location={}", sound.display()));
    let whole = std::fs::read(&good).unwrap();
    let cases = [
        (file("cut.mp4", &whole[..whole.len() / 2]), "cut.mp4"),
        (folder.path().join("missing.mp4").display().to_string(), "there is no file"),
        (file("empty.mp4", b""), "is empty"),
        (file("program.mp4", &std::fs::read("/proc/self/exe").unwrap()[..100_000]), ""),
        (sound.display().to_string(), "no video"),
        (folder.path().display().to_string(), "is a folder"),
    ];
    for (path, part) in &cases {
        let config = format!(
            "[detector]\nmodel = \"anything\"\n[cameras.bad]\nsource = \"{path}\"\ncapture.pace = \"fast\"\n\
             [cameras.good]\nsource = \"{}\"\ncapture.pace = \"fast\"\n[http]\nenabled = false\n\
             [output.jsonl]\npath = \"{{dir}}/out.jsonl\"\n",
            good.display()
        );
        let mut service = Service::start(&config, None);
        assert_eq!(service.wait_end(), Some(1), "{path}: {:#?}", service.log.lock().unwrap());
        let reason = service.wait_log("passd: camera bad: ");
        assert!(reason.contains(part), "{path}: {reason}");
        let text = std::fs::read_to_string(service.folder.path().join("out.jsonl")).unwrap();
        assert!(text.lines().filter(|l| l.contains("\"camera\":\"good\"")).count() >= 18, "the good one is played");
        let out = Command::new(env!("CARGO_BIN_EXE_passd"))
            .args(["check", "--config"])
            .arg(&service.config)
            .env("PASSD_MODELS", common::models(Path::new(service.folder.path())))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && said.contains("camera bad: ") && said.contains(part), "{path}: {said}");
    }
    capture::init().unwrap();
}
