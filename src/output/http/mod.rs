//! Status, metrics and pictures over HTTP, on a thread of its own.
//!
//! | path | what |
//! |---|---|
//! | `/` | the web page |
//! | `/live` | 200 while every camera that is up makes progress, else 503 |
//! | `/startup` | 200 once models are loaded and cameras started |
//! | `/ready` | 200 while a camera is live or its clip ended |
//! | `/metrics` | Prometheus |
//! | `/api/stats`, `/api/cameras`, `/api/cameras/ID` | JSON |
//! | `/api/cameras/ID/detections` | the newest frame's JSON, as in JSON lines |
//! | `/api/cameras/ID/latest.jpg[?patches=1]` | the newest frame with boxes |
//! | `/api/cameras/ID/stream.mjpg[?patches=1]` | the same, moving |
//! | `/api/cameras/ID/view[?after=N&patches=1]` | the newest frame for the page: a line of JSON, then the JPEG; 204: no newer one than N |
//! | `/api/cameras/ID/history` | the last hour in steps: frames, share computed, latency |
//! | `/api/config` | the config as it runs, TOML, without secrets |
//! | `/api/cameras/ID/counts` | objects in the picture and in zones, crossings of lines |
//! | `/api/events[?camera=&label=&zone=&before=&limit=]` | events, newest first |
//! | `/api/events/ID`, `/api/events/ID/snapshot.jpg`, `/api/events/ID/crop.jpg` | one event, and its pictures |
//! | POST `/api/cameras/ID/still` | holds the newest frame to mark places in it; as `view` |
//! | POST `/api/marks` | takes a mark, JSON: 201 |
//! | `/api/marks[?camera=]`, DELETE `/api/marks/ID`, `/api/marks/ID/picture.jpg` | marks, newest first; takes one back; its picture |
//! | `/api/learn`, POST `/api/learn/CAMERA/CONTROL` | how learning stands; `run`, `accept`, `rollback`, `factory`, `forget` |
//! | `/api/learn/CAMERA/export` | a camera's marks, COCO JSON |
//! | `/api/learn/CAMERA/export.tar`, POST `/api/learn/CAMERA/import` | marks with their pictures in one file, out and in |
//!
//! Pictures are made when asked for. Every viewer of a stream has a task of its
//! own that makes the next picture when the last one was taken: a slow reader
//! sees fewer, and slows nothing else.
//!
//! Beyond loopback a token is needed for all but the page itself and the probes (`auth.rs`).

mod api;
mod auth;
mod carry;
mod events;
mod learn;
mod mjpeg;
mod page;
mod serve;
mod shared;
mod token;

use crate::output::board::Board;
use crate::output::desk::Desk;
use crate::output::events::Archive;
use crate::output::metrics::Metrics;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use shared::Shared;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Live views at a time; the next is refused.
const MAX_STREAMS: usize = 16;
/// Threads that may wait: for answers of the desk, for who sends and reads labels, and two that make pictures.
const BLOCKING: usize = learn::MAX_ASKING + carry::MAX_CARRIED + 2;

/// Where to listen, and to whom.
#[derive(Clone, PartialEq)]
pub struct HttpSettings {
    pub listen: SocketAddr,
    /// Most frames a second of a live view.
    pub stream_fps: f32,
    /// What whoever looks must know; `None`: nothing.
    pub token: Option<String>,
}

impl std::fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSettings").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// The server; stops when dropped.
pub struct HttpServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Where it listens: the port is known even if 0 was asked for.
    pub address: SocketAddr,
}

impl HttpServer {
    /// Binds at once, then serves. Without a desk nothing is marked or learned.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(
        settings: &HttpSettings,
        board: Arc<Board>,
        metrics: Arc<Metrics>,
        archive: Option<Archive>,
        desk: Option<Desk>,
    ) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(settings.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING).build()?;
        let interval = Duration::from_secs_f32(1.0 / settings.stream_fps);
        let token = settings.token.as_deref().map(token::Token::new);
        let shared = Shared {
            board,
            metrics,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            interval,
            archive,
            token,
            desk,
            asking: Arc::new(Semaphore::new(learn::MAX_ASKING)),
            carrying: Arc::new(Semaphore::new(carry::MAX_CARRIED)),
        };
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
                    () = serve::serve(listener, router(shared)) => {}
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
        .route("/", get(page::index))
        .route("/page.js", get(page::script))
        .route("/learn.js", get(page::learn_script))
        .route("/page.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .route("/login", post(auth::login))
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
        .route("/api/cameras/{id}/view", get(page::view))
        .route("/api/cameras/{id}/history", get(api::history))
        .route("/api/config", get(api::config))
        .route("/api/cameras/{id}/counts", get(api::counts))
        .route("/api/events", get(events::list))
        .route("/api/events/{id}", get(events::one))
        .route("/api/events/{id}/snapshot.jpg", get(events::snapshot))
        .route("/api/events/{id}/crop.jpg", get(events::crop))
        .route("/api/cameras/{id}/still", post(learn::still))
        .route("/api/marks", get(learn::marks).post(learn::mark))
        .route("/api/marks/{id}", delete(learn::undo))
        .route("/api/marks/{id}/picture.jpg", get(learn::picture))
        .route("/api/learn", get(learn::status))
        .route("/api/learn/{camera}/export", get(learn::export))
        .route("/api/learn/{camera}/pairs", get(learn::pairs))
        .route("/api/learn/{camera}/pairs/{picture}/picture.jpg", get(learn::pair_picture))
        .route("/api/learn/{camera}/export.tar", get(carry::export))
        .route("/api/learn/{camera}/import", post(carry::import))
        .route("/api/learn/{camera}/{control}", post(learn::control))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::not_that_way)
        .layer(from_fn_with_state(shared.clone(), auth::guard))
        .with_state(shared)
}
