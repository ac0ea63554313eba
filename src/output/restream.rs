//! RTSP out: every camera with its boxes at `rtsp://HOST:PORT/CAMERA`.
//!
//! A picture is drawn and encoded only while somebody watches; all who watch a camera share one encoder. It is
//! fed with the newest result and left out when it does not keep up.

use super::board::{Board, CameraBoard};
use super::draw;
use super::metrics::Metrics;
use super::mounts::{HidingMountPoints, NOTHING};
use crate::outcome::FrameResult;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::prelude::*;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Name that goes with the password.
const USER: &str = "passd";
/// Between two looks at which cameras there are.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks for a new picture.
const PAUSE: Duration = Duration::from_millis(10);
/// Pictures that may wait for the encoder.
const QUEUE: u64 = 2;
/// Viewers of all cameras together.
const MAX_SESSIONS: u32 = 64;
/// Bytes of a request's body: there is none in what viewers ask.
const MAX_REQUEST: u32 = 64 << 10;

#[derive(Clone, PartialEq)]
pub struct RestreamSettings {
    pub listen: SocketAddr,
    /// What viewers must know, beside the name `passd`; `None`: nothing.
    pub password: Option<String>,
    /// Whether the processor may encode where there is no hardware for it.
    pub software: bool,
    pub kbps: u32,
    /// With patches.
    pub patches: bool,
}

impl std::fmt::Debug for RestreamSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestreamSettings").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Encoders, best first: element, whether it is hardware, and how it is used. `{bps}` and `{kbps}` are filled in.
const ENCODERS: [(&str, bool, &str); 6] = [
    (
        "nvv4l2h264enc",
        true,
        "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc maxperf-enable=true insert-sps-pps=true idrinterval=30 bitrate={bps}",
    ),
    ("nvh264enc", true, "nvh264enc bitrate={kbps} gop-size=30 zerolatency=true"),
    ("vah264enc", true, "vah264enc bitrate={kbps} key-int-max=30"),
    ("v4l2h264enc", true, "v4l2h264enc extra-controls=controls,video_bitrate={bps},h264_i_frame_period=30"),
    ("openh264enc", false, "openh264enc bitrate={bps} gop-size=30 complexity=low"),
    ("x264enc", false, "x264enc tune=zerolatency speed-preset=ultrafast bitrate={kbps} key-int-max=30"),
];

/// The server; ends when dropped.
pub struct Restream {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Restream {
    /// Binds at once, then serves.
    ///
    /// # Errors
    /// There is no encoder that may be used, or the address cannot be had; in words.
    pub fn start(s: RestreamSettings, board: Arc<Board>, metrics: Arc<Metrics>) -> Result<Self, String> {
        gst::init().map_err(|e| e.to_string())?;
        let (name, encoder) = choose(s.software, exists)?;
        let encoder = encoder.replace("{bps}", &(s.kbps * 1000).to_string()).replace("{kbps}", &s.kbps.to_string());
        let context = glib::MainContext::new();
        let server = rtsp::RTSPServer::new();
        server.set_address(&s.listen.ip().to_string());
        server.set_service(&s.listen.port().to_string());
        // Read before anybody's password is. GStreamer 1.16 has no such limit.
        if server.find_property("content-length-limit").is_some() {
            server.set_property("content-length-limit", MAX_REQUEST);
        }
        if let Some(password) = &s.password {
            let auth = rtsp::RTSPAuth::new();
            let token = rtsp::RTSPToken::builder().field("media.factory.role", USER).build();
            auth.add_basic(&rtsp::RTSPAuth::make_basic(USER, password), &token);
            server.set_auth(Some(&auth));
        }
        if let Some(pool) = server.session_pool() {
            pool.set_max_sessions(MAX_SESSIONS);
        }
        // GStreamer does not say why it cannot.
        std::net::TcpListener::bind(s.listen).map_err(|e| format!("cannot listen on {}: {e}", s.listen))?;
        // The server's id of its source: it is taken away with the context.
        server.attach(Some(&context)).map_err(|e| format!("cannot listen on {}: {e}", s.listen))?;
        tracing::info!(encoder = name, "restream on rtsp://{}/CAMERA", s.listen);
        let stopping = Arc::new(AtomicBool::new(false));
        let hiding = s.password.is_some().then(HidingMountPoints::default);
        let mut mounts = Mounts { settings: s, encoder, board, metrics, mounted: BTreeSet::new(), hiding };
        if let Some(hiding) = &mounts.hiding {
            let nothing = rtsp::RTSPMediaFactory::new();
            mounts.protect(&nothing);
            hiding.add_factory(NOTHING, nothing);
            server.set_mount_points(Some(hiding));
        }
        let stop = stopping.clone();
        let serving = move || {
            let main = glib::MainLoop::new(Some(&context), false);
            let (quitting, ticking) = (main.clone(), server.clone());
            let tick = glib::timeout_source_new(TICK, None, glib::Priority::DEFAULT, move || {
                if stop.load(Ordering::Acquire) {
                    ticking.client_filter(Some(&mut |_, _| rtsp::RTSPFilterResult::Remove));
                    quitting.quit();
                    return glib::ControlFlow::Break;
                }
                mounts.update(&ticking);
                // Viewers that went away without a word.
                if let Some(pool) = ticking.session_pool() {
                    pool.cleanup();
                }
                glib::ControlFlow::Continue
            });
            tick.attach(Some(&context));
            // Sources of viewers' own threads are told apart by this.
            let _ = context.with_thread_default(|| main.run());
        };
        let thread = std::thread::Builder::new().name("restream".into()).spawn(serving).map_err(|e| e.to_string())?;
        Ok(Self { stopping, thread: Some(thread) })
    }
}

impl Drop for Restream {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn exists(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

/// The encoder that would be taken.
///
/// # Errors
/// There is none that may be used; in words.
pub fn encoder(software: bool) -> Result<&'static str, String> {
    gst::init().map_err(|e| e.to_string())?;
    choose(software, exists).map(|(name, _)| name)
}

fn choose(software: bool, exists: impl Fn(&str) -> bool) -> Result<(&'static str, &'static str), String> {
    let mut there = ENCODERS.iter().filter(|(element, ..)| exists(element)).peekable();
    let any = there.peek().is_some();
    match there.find(|(_, is_hardware, _)| *is_hardware || software) {
        Some((name, _, text)) => Ok((name, text)),
        None if any => {
            Err("there is no hardware encoder here; restream.software = true lets the processor encode".into())
        }
        None => Err("GStreamer has no H.264 encoder here. Remedy: apt-get install gstreamer1.0-plugins-bad".into()),
    }
}

/// What is at which path.
struct Mounts {
    settings: RestreamSettings,
    encoder: String,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    mounted: BTreeSet<String>,
    /// Where a password is needed.
    hiding: Option<HidingMountPoints>,
}

impl Mounts {
    /// Brings the paths to the cameras that there are.
    fn update(&mut self, server: &rtsp::RTSPServer) {
        let Some(points) = server.mount_points() else { return };
        let cameras: BTreeSet<String> = self.board.all().iter().map(|c| c.id.to_string()).collect();
        for gone in self.mounted.difference(&cameras) {
            points.remove_factory(&format!("/{gone}"));
        }
        for new in cameras.difference(&self.mounted) {
            points.add_factory(&format!("/{new}"), self.factory(new));
        }
        if let Some(hiding) = &self.hiding {
            hiding.set_cameras(&cameras);
        }
        self.mounted = cameras;
    }

    /// Lets in whoever has the password, if there is one.
    fn protect(&self, factory: &rtsp::RTSPMediaFactory) {
        if self.settings.password.is_some() {
            let role = gst::Structure::builder(USER)
                .field("media.factory.access", true)
                .field("media.factory.construct", true);
            factory.add_role_from_structure(&role.build());
        }
    }

    fn factory(&self, camera: &str) -> rtsp::RTSPMediaFactory {
        let factory = rtsp::RTSPMediaFactory::new();
        factory.set_shared(true);
        factory.set_launch(&format!(
            "( appsrc name=src is-live=true format=time do-timestamp=true ! videoconvert ! video/x-raw,format=I420 \
             ! {} ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )",
            self.encoder
        ));
        self.protect(&factory);
        let (board, metrics, patches) = (self.board.clone(), self.metrics.clone(), self.settings.patches);
        let camera = camera.to_owned();
        factory.connect_media_configure(move |_, media| {
            let bin = media.element().downcast::<gst::Bin>().ok();
            let source = bin.and_then(|b| b.by_name("src")).and_then(|e| e.downcast::<gst_app::AppSrc>().ok());
            let Some(source) = source else { return };
            let stop = Arc::new(AtomicBool::new(false));
            let told = stop.clone();
            media.connect_unprepared(move |_| told.store(true, Ordering::Release));
            let feeder = Feeder { camera: camera.clone(), board: Arc::downgrade(&board), source, stop, patches };
            let gauge = metrics.restream_encoders.clone();
            let feeding = move || {
                gauge.inc();
                feeder.run();
                gauge.dec();
            };
            if let Err(e) = std::thread::Builder::new().name("restream-feed".into()).spawn(feeding) {
                tracing::warn!(camera, "restream: no thread: {e}");
            }
        });
        factory
    }
}

/// Hands a camera's pictures to an encoder, for as long as somebody watches.
struct Feeder {
    camera: String,
    board: Weak<Board>,
    source: gst_app::AppSrc,
    stop: Arc<AtomicBool>,
    patches: bool,
}

impl Feeder {
    fn run(&self) {
        let mut shown = None;
        while !self.stop.load(Ordering::Acquire) {
            let Some(board) = self.board.upgrade() else { break };
            // Looked up anew: a reload may have put another camera in its place.
            let Some(camera) = board.get(&self.camera) else { break };
            if self.is_playing()
                && let Some(result) = next(&camera, &mut shown)
                && self.push(&result).is_err()
            {
                break;
            }
            drop((camera, board));
            std::thread::sleep(PAUSE);
        }
        let _ = self.source.end_of_stream();
    }

    /// Before it plays, its running time counts from nought: a picture would be due hours from now, and all that
    /// follow would wait behind it.
    fn is_playing(&self) -> bool {
        self.source.current_state() == gst::State::Playing
    }

    fn push(&self, result: &FrameResult) -> Result<(), gst::FlowError> {
        let bytes = result.frame.letterbox.content.area() as u64 * 3;
        if self.source.current_level_bytes() > QUEUE * bytes {
            return Ok(());
        }
        let (rows, even_width, even_height) = encodable(&draw::annotate(result, self.patches));
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "RGB")
            .field("width", even_width as i32)
            .field("height", even_height as i32)
            .field("framerate", gst::Fraction::new(0, 1))
            .build();
        if self.source.caps().as_ref() != Some(&caps) {
            self.source.set_caps(Some(&caps));
        }
        self.source.push_buffer(gst::Buffer::from_slice(rows)).map(drop)
    }
}

/// Least side that encoders take.
const LEAST_SIDE: u32 = 16;

/// A picture as encoders take it, and its sides: H.264 wants even ones, GStreamer rows of whole words. What is missing
/// of a narrow picture is black.
fn encodable(picture: &draw::RgbPicture) -> (Vec<u8>, u32, u32) {
    let side = |pixels: u32| (pixels & !1).max(LEAST_SIDE);
    let (width, height) = (side(picture.size.width), side(picture.size.height));
    let stride = (width as usize * 3).next_multiple_of(4);
    let mut rows = vec![0; stride * height as usize];
    let row = picture.size.width as usize * 3;
    for (to, from) in rows.chunks_exact_mut(stride).zip(picture.rgb.chunks_exact(row.max(1))) {
        let n = row.min(width as usize * 3);
        to[..n].copy_from_slice(&from[..n]);
    }
    (rows, width, height)
}

/// The camera's newest result, if it is not the one that was shown last.
fn next(camera: &CameraBoard, shown: &mut Option<(u64, u64)>) -> Option<Arc<FrameResult>> {
    let result = camera.latest()?;
    let id = Some((result.frame.epoch, result.frame.id.0));
    (*shown != id).then(|| {
        *shown = id;
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_picture_before_its_clock_runs() {
        gst::init().unwrap();
        let launch = "appsrc name=src is-live=true format=time do-timestamp=true ! fakesink";
        let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("src").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let feeder = Feeder { camera: "yard".into(), board: Weak::new(), source, stop: Arc::default(), patches: false };
        for (state, is_playing) in [
            (gst::State::Null, false),
            (gst::State::Paused, false),
            (gst::State::Playing, true),
            (gst::State::Null, false),
        ] {
            pipeline.set_state(state).unwrap();
            feeder.source.state(gst::ClockTime::from_seconds(10)).0.unwrap();
            assert_eq!(feeder.is_playing(), is_playing, "{state:?}");
        }
    }

    #[test]
    fn pictures_of_any_side_can_be_encoded() {
        for (width, height, want) in [(1, 1, (16, 16)), (1, 383, (16, 382)), (640, 1, (640, 16)), (33, 47, (32, 46))] {
            let size = crate::geom::Size::new(width, height);
            let (rows, w, h) = encodable(&draw::RgbPicture { size, rgb: vec![200; size.area() * 3] });
            assert_eq!((w, h), want);
            assert_eq!(rows.len(), (w as usize * 3).next_multiple_of(4) * h as usize);
            assert_eq!(rows[0], 200);
        }
    }

    #[test]
    fn hardware_first_and_the_processor_only_if_it_may() {
        let software = |e: &str| e == "x264enc" || e == "openh264enc";
        assert_eq!(choose(true, software).unwrap().0, "openh264enc");
        assert!(choose(false, software).unwrap_err().contains("restream.software"));
        assert_eq!(choose(false, |e| software(e) || e == "nvv4l2h264enc").unwrap().0, "nvv4l2h264enc");
        assert!(choose(true, |_| false).unwrap_err().contains("apt-get"));
    }
}
