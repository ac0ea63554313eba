//! Status, metrics and pictures over HTTP, on a thread of its own.
//!
//! | path | what |
//! |---|---|
//! | `/live` | 200 while every camera that is up makes progress, else 503 |
//! | `/startup` | 200 once models are loaded and cameras started |
//! | `/ready` | 200 while a camera is live or its clip ended |
//! | `/metrics` | Prometheus |
//! | `/api/stats`, `/api/cameras`, `/api/cameras/ID` | JSON |
//! | `/api/cameras/ID/detections` | the newest frame's JSON, as in JSON lines |
//! | `/api/cameras/ID/latest.jpg[?patches=1]` | the newest frame with boxes |
//! | `/api/cameras/ID/stream.mjpg[?patches=1]` | the same, moving |
//! | `/api/cameras/ID/counts` | objects in the picture and in zones, crossings of lines |
//! | `/api/events[?camera=&label=&zone=&before=&limit=]` | events, newest first |
//! | `/api/events/ID`, `/api/events/ID/snapshot.jpg`, `/api/events/ID/crop.jpg` | one event, and its pictures |
//!
//! Pictures are made when asked for. Every viewer of a stream has a task of its
//! own that makes the next picture when the last one was taken: a slow reader
//! sees fewer, and slows nothing else.

mod api;
mod events;
mod mjpeg;

use crate::output::board::Board;
use crate::output::events::Archive;
use crate::output::metrics::Metrics;
use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Live views at a time; the next is refused.
const MAX_STREAMS: usize = 16;

#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    streams: Arc<Semaphore>,
    interval: Duration,
    /// `None`: no events are kept.
    archive: Option<Archive>,
}

/// The server; stops when dropped.
pub struct HttpServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Where it listens: the port is known even if 0 was asked for.
    pub address: SocketAddr,
}

impl HttpServer {
    /// Binds at once, then serves.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(
        listen: SocketAddr,
        stream_fps: f32,
        board: Arc<Board>,
        metrics: Arc<Metrics>,
        archive: Option<Archive>,
    ) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let interval = Duration::from_secs_f32(1.0 / stream_fps);
        let shared = Shared { board, metrics, streams: Arc::new(Semaphore::new(MAX_STREAMS)), interval, archive };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(e) => return tracing::error!("HTTP: {e}"),
                };
                tokio::select! {
                    // Open streams never end by themselves: they are cut, not waited for.
                    _ = stopped => {}
                    result = async { axum::serve(listener, router(shared)).await } => {
                        if let Err(e) = result {
                            tracing::error!("HTTP: {e}");
                        }
                    }
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(200));
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), address })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/live", get(api::live))
        .route("/ready", get(api::ready))
        .route("/startup", get(api::startup))
        .route("/metrics", get(api::metrics))
        .route("/api/stats", get(api::stats))
        .route("/api/cameras", get(api::cameras))
        .route("/api/cameras/{id}", get(api::camera))
        .route("/api/cameras/{id}/detections", get(api::detections))
        .route("/api/cameras/{id}/latest.jpg", get(api::latest))
        .route("/api/cameras/{id}/stream.mjpg", get(mjpeg::stream))
        .route("/api/cameras/{id}/counts", get(api::counts))
        .route("/api/events", get(events::list))
        .route("/api/events/{id}", get(events::one))
        .route("/api/events/{id}/snapshot.jpg", get(events::snapshot))
        .route("/api/events/{id}/crop.jpg", get(events::crop))
        .fallback(api::not_found)
        .with_state(shared)
}
