//! Events and their pictures.

use super::api::problem;
use super::shared::Shared;
use crate::files::{Links, open_plain, read_open};
use crate::output::events::store::{EventPicture, Query};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Asked, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Events of one answer, unless it is said, and at most.
const USUAL: usize = 50;
const MOST: usize = 500;
/// Largest picture that is read.
const MAX_PICTURE: u64 = 64 << 20;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    camera: Option<String>,
    label: Option<String>,
    zone: Option<String>,
    /// Seconds since 1970.
    before: Option<f64>,
    limit: Option<usize>,
}

fn no_archive() -> Response {
    problem(StatusCode::NOT_FOUND, "no events are kept; see events.path in the config")
}

fn no_event() -> Response {
    problem(StatusCode::NOT_FOUND, "there is no such event")
}

pub async fn list(State(s): State<Shared>, asked: Result<Asked<EventQuery>, QueryRejection>) -> Response {
    let f = match asked {
        Ok(Asked(f)) => f,
        Err(e) => return problem(StatusCode::BAD_REQUEST, &e.body_text()),
    };
    let Some(archive) = &s.archive else { return no_archive() };
    let before_ms = f.before.map(|v| (v.max(0.0) * 1e3) as u64);
    let n = f.limit.unwrap_or(USUAL).min(MOST);
    Json(archive.find(&Query { camera: f.camera, label: f.label, zone: f.zone, before_ms, n })).into_response()
}

pub async fn one(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    match s.archive.as_ref().map(|archive| archive.get(&id)) {
        None => no_archive(),
        Some(Some(event)) => Json(event).into_response(),
        Some(None) => no_event(),
    }
}

pub async fn snapshot(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    picture(&s, &id, EventPicture::Frame).await
}

pub async fn crop(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    picture(&s, &id, EventPicture::Crop).await
}

async fn picture(s: &Shared, id: &str, picture: EventPicture) -> Response {
    let Some(archive) = &s.archive else { return no_archive() };
    let Some(path) = archive.picture(id, picture) else { return no_event() };
    let read = move || read_open(open_plain(&path, Links::Refused)?, MAX_PICTURE, "a picture");
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(jpeg)) => ([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
        // Gone between the question and the answer.
        _ => no_event(),
    }
}
