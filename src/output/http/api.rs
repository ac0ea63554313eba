//! The answers that are over at once.

use super::shared::Shared;
use crate::capture::CameraState;
use crate::output::board::CameraBoard;
use crate::output::draw;
use crate::output::history::{HistoryStep, STEP_S};
use crate::schedule::load::Degraded;
use crate::wire::frame::{CountsJson, FrameJson, round};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(serde::Deserialize)]
pub struct PictureQuery {
    /// 1: show patches.
    #[serde(default)]
    patches: u8,
}

impl PictureQuery {
    pub fn patches(&self) -> bool {
        self.patches != 0
    }
}

pub fn problem(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

fn probe(good: bool, text: Value) -> Response {
    (if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(text)).into_response()
}

pub async fn live(State(s): State<Shared>) -> Response {
    let good = s.board.healthy.load(Ordering::Relaxed);
    probe(good, json!({ "live": good }))
}

pub async fn startup(State(s): State<Shared>) -> Response {
    let good = s.board.started.load(Ordering::Relaxed);
    probe(good, json!({ "started": good }))
}

pub async fn ready(State(s): State<Shared>) -> Response {
    let cameras = s.board.all();
    let n = |state| cameras.iter().filter(|c| c.state().0 == state).count();
    let failing = cameras.iter().filter(|c| c.state().0 == CameraState::Live && c.failing().is_some()).count();
    let (live, ended) = (n(CameraState::Live) - failing, n(CameraState::Ended));
    let good = live + ended > 0;
    // Without names: a probe sends no token.
    probe(good, json!({ "ready": good, "cameras": cameras.len(), "live": live, "ended": ended, "failing": failing }))
}

pub async fn metrics(State(s): State<Shared>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], s.metrics.render()).into_response()
}

pub async fn cameras(State(s): State<Shared>) -> Response {
    Json(s.board.all().iter().map(describe).collect::<Vec<_>>()).into_response()
}

pub async fn camera(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    match s.board.get(&id) {
        Some(c) => Json(describe(&c)).into_response(),
        None => no_camera(&id),
    }
}

pub async fn stats(State(s): State<Shared>) -> Response {
    let cameras = s.board.all();
    let (computed, patches) = (s.board.sum(|c| &c.n_patches_computed), s.board.sum(|c| &c.n_patches));
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "trouble": s.board.trouble().as_deref(),
        "healthy": s.board.healthy.load(Ordering::Relaxed),
        "cameras": cameras.len(),
        "live": cameras.iter().filter(|c| c.state().0 == CameraState::Live && c.failing().is_none()).count(),
        "degraded": cameras.iter().filter(|c| c.degraded() != Degraded::No).count(),
        "frames_processed": s.board.sum(|c| &c.n_processed),
        "frames_dropped": s.board.sum(|c| &c.n_dropped),
        "frames_failed": s.board.sum(|c| &c.n_failed),
        "detections": s.board.sum(|c| &c.n_detections),
        "patches_computed": computed,
        "patches": patches,
        "computed_patch_share": if patches > 0 { computed as f64 / patches as f64 } else { 0.0 },
        "view_interval": s.interval.as_secs_f64(),
        "resident_mib": crate::process::resident_mib(),
        "learns": s.desk.is_some(),
        "events": s.archive.as_ref().map(|a| {
            let (n, bytes) = a.size();
            json!({ "kept": n, "bytes": bytes, "trouble": a.trouble() })
        }),
    }))
    .into_response()
}

/// Since when, in which steps, and for each step: its start, frames, mean share computed, mean latency.
pub async fn history(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    let Some(camera) = s.board.get(&id) else { return no_camera(&id) };
    let steps: Vec<Value> = camera.history(|history| {
        let mean = |sum: f64, n: u32| (sum / f64::from(n.max(1))) as f32;
        let step = |s: &HistoryStep| {
            json!({
                "start": s.start_s,
                "frames": s.n_frames,
                "computed_share": round(mean(s.computed, s.n_frames), 4),
                "latency": round(mean(s.latency_s, s.n_frames), 4),
            })
        };
        history.steps().map(step).collect()
    });
    Json(json!({ "step": STEP_S, "steps": steps })).into_response()
}

pub async fn config(State(s): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "application/toml; charset=utf-8")], s.board.config().to_string()).into_response()
}

pub async fn detections(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    match s.board.get(&id).map(|c| c.latest()) {
        None => no_camera(&id),
        Some(None) => no_frame(&id),
        Some(Some(result)) => Json(FrameJson::new(&result)).into_response(),
    }
}

pub async fn counts(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    match s.board.get(&id) {
        None => no_camera(&id),
        Some(camera) => Json(CountsJson::new(&camera.counts())).into_response(),
    }
}

pub async fn latest(State(s): State<Shared>, Path(id): Path<String>, Query(view): Query<PictureQuery>) -> Response {
    let Some(camera) = s.board.get(&id) else { return no_camera(&id) };
    let Some(result) = camera.latest() else { return no_frame(&id) };
    match tokio::task::spawn_blocking(move || draw::annotate(&result, view.patches()).jpeg(85)).await {
        Ok(Ok(jpeg)) => {
            ([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")], jpeg).into_response()
        }
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "the picture could not be made"),
    }
}

pub async fn not_that_way() -> Response {
    problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "not by this method: everything is read with GET, marks are taken back with DELETE, and all else is done with POST",
    )
}

pub async fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "there is nothing here; see /, /api/cameras, /api/stats and /metrics")
}

pub fn no_camera(id: &str) -> Response {
    problem(StatusCode::NOT_FOUND, &format!("there is no camera '{id}'"))
}

pub fn no_frame(id: &str) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, &format!("camera '{id}' has not shown a frame yet"))
}

fn describe(c: &Arc<CameraBoard>) -> Value {
    let (state, cause) = c.condition();
    let looks = c.looks();
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let runs = get(&c.n_detect_runs);
    json!({
        "id": &*c.id,
        "source": c.source,
        "state": state,
        "cause": cause,
        "degraded": c.degraded().name(),
        "detection": looks.control.detection,
        "model": looks.model,
        "size": looks.size,
        "mode": looks.mode,
        "provider": looks.provider,
        "frames_processed": get(&c.n_processed),
        "frames_dropped": get(&c.n_dropped),
        "frames_failed": get(&c.n_failed),
        "reconnects": get(&c.n_reconnects),
        "detections": get(&c.n_detections),
        "patches_computed": get(&c.n_patches_computed),
        "patches": get(&c.n_patches),
        "detect_ms_mean": if runs > 0 { get(&c.detect_ns) as f64 / runs as f64 / 1e6 } else { 0.0 },
    })
}
