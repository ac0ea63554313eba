//! An RTSP camera for tests and for trying things out: H.264 test pictures.
//!
//!     cargo run --example rtsp_server -- PORT [WIDTHxHEIGHT] [user:password]
//!
//! Prints the address once it serves. A line "640x480" on standard input
//! changes the size of the running stream, a line "key" asks its element
//! "encoder" for a key frame. CODEC=mjpeg sends JPEGs instead,
//! LAUNCH whatever its pipeline makes (pay0, pay1, …). AUTH=digest asks for the
//! password by Digest, else it is asked for by Basic.

use gstreamer as gst;
use gstreamer_rtsp_server::{self as server, prelude::*};
use gstreamer_video::UpstreamForceKeyUnitEvent;
use std::io::BufRead;
use std::sync::{Arc, Mutex};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let port = args.first().map_or("0", String::as_str);
    let size = args.get(1).map_or("320x240", String::as_str);
    gst::init().expect("GStreamer starts");
    let (width, height) = parse(size);
    let rtsp = server::RTSPServer::new();
    rtsp.set_address("127.0.0.1");
    rtsp.set_service(port);
    let factory = server::RTSPMediaFactory::new();
    let encoder = match std::env::var("CODEC").as_deref() {
        Ok("mjpeg") => "jpegenc ! rtpjpegpay name=pay0 pt=26",
        _ => {
            "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 config-interval=1"
        }
    };
    let usual = format!(
        "( videotestsrc is-live=true pattern=ball ! capsfilter name=size caps=video/x-raw,width={width},height={height},framerate=15/1 \
         ! videoconvert ! video/x-raw,format=I420 ! {encoder} )"
    );
    factory.set_launch(&std::env::var("LAUNCH").unwrap_or(usual));
    factory.set_shared(true);
    if let Some((user, password)) = args.get(2).and_then(|a| a.split_once(':')) {
        protect(&rtsp, &factory, user, password);
    }
    let media: Arc<Mutex<Vec<gst::glib::WeakRef<gst::Bin>>>> = Arc::default();
    let collected = media.clone();
    factory.connect_media_configure(move |_, media| {
        collected.lock().unwrap().extend(media.element().downcast::<gst::Bin>().map(|bin| bin.downgrade()));
    });
    rtsp.mount_points().expect("a server has mount points").add_factory("/cam", factory);
    let _id = rtsp.attach(None).expect("the port is free");
    println!("rtsp://127.0.0.1:{}/cam", rtsp.bound_port());
    std::thread::spawn(move || {
        let named = |name| {
            let bins = media.lock().unwrap();
            bins.iter().filter_map(|bin| bin.upgrade()?.by_name(name)).collect::<Vec<_>>()
        };
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line.trim() == "key" {
                for encoder in named("encoder") {
                    encoder.send_event(UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
                }
                continue;
            }
            let (width, height) = parse(line.trim());
            let caps = gst::Caps::builder("video/x-raw")
                .field("width", width)
                .field("height", height)
                .field("framerate", gst::Fraction::new(15, 1))
                .build();
            for filter in named("size") {
                filter.set_property("caps", &caps);
            }
        }
    });
    gst::glib::MainLoop::new(None, false).run();
}

fn parse(size: &str) -> (i32, i32) {
    let (w, h) = size.split_once('x').expect("WIDTHxHEIGHT");
    (w.parse().expect("a width"), h.parse().expect("a height"))
}

/// Nobody gets in without name and password.
fn protect(rtsp: &server::RTSPServer, factory: &server::RTSPMediaFactory, user: &str, password: &str) {
    let auth = server::RTSPAuth::new();
    let token = server::RTSPToken::builder().field("media.factory.role", "user").build();
    match std::env::var("AUTH").as_deref() {
        Ok("digest") => {
            auth.set_supported_methods(server::gst_rtsp::RTSPAuthMethod::Digest);
            auth.add_digest(user, password, &token);
        }
        _ => auth.add_basic(&server::RTSPAuth::make_basic(user, password), &token),
    }
    let role =
        gst::Structure::builder("user").field("media.factory.access", true).field("media.factory.construct", true);
    factory.add_role_from_structure(&role.build());
    rtsp.set_auth(Some(&auth));
}
