//! Marks, and what is learned from them: asked of the desk, whose thread may take a while to answer.

use super::api::problem;
use super::shared::Shared;
use crate::output::desk::{Answer, Ask, DeskError, LearnControl, NewMark};
use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// Largest mark, and longest wait for it.
const MAX_MARK: usize = 4 << 10;
const MARK_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions to the desk at a time; the next waits.
pub const MAX_ASKING: usize = 2;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarksQuery {
    camera: Option<String>,
}

pub async fn status(State(s): State<Shared>) -> Response {
    told(ask(&s, Ask::Status).await, StatusCode::OK)
}

pub async fn marks(State(s): State<Shared>, asked: Result<Query<MarksQuery>, QueryRejection>) -> Response {
    match asked {
        Ok(Query(of)) => told(ask(&s, Ask::Marks(of.camera)).await, StatusCode::OK),
        Err(e) => problem(StatusCode::BAD_REQUEST, &e.body_text()),
    }
}

pub async fn mark(State(s): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    if s.desk.is_none() {
        return told(Err(nothing()), StatusCode::OK);
    }
    if !is_json(&headers) {
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a mark is JSON: 'Content-Type: application/json'");
    }
    let body: Bytes = match tokio::time::timeout(MARK_TIMEOUT, to_bytes(body, MAX_MARK)).await {
        Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the mark does not come"),
        Ok(Err(_)) => return problem(StatusCode::PAYLOAD_TOO_LARGE, "that is too long for a mark"),
        Ok(Ok(body)) => body,
    };
    match serde_json::from_slice::<NewMark>(&body) {
        Ok(mark) => told(ask(&s, Ask::Mark(mark)).await, StatusCode::CREATED),
        Err(e) => problem(StatusCode::BAD_REQUEST, &format!("that is no mark: {e}")),
    }
}

pub async fn undo(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    told(ask(&s, Ask::Undo(id)).await, StatusCode::OK)
}

pub async fn picture(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    told(ask(&s, Ask::Picture(id)).await, StatusCode::OK)
}

/// What the last run changed: pictures with what is reported before and after.
pub async fn pairs(State(s): State<Shared>, Path(camera): Path<String>) -> Response {
    told(ask(&s, Ask::Pairs(camera)).await, StatusCode::OK)
}

pub async fn pair_picture(State(s): State<Shared>, Path((camera, picture)): Path<(String, String)>) -> Response {
    told(ask(&s, Ask::PairPicture(camera, picture)).await, StatusCode::OK)
}

/// Holds a frame: a line of JSON, then the picture as JPEG, as of a camera's view.
pub async fn still(State(s): State<Shared>, Path(id): Path<String>) -> Response {
    told(ask(&s, Ask::Still(id)).await, StatusCode::OK)
}

pub async fn control(State(s): State<Shared>, Path((camera, name)): Path<(String, String)>) -> Response {
    match LearnControl::named(&name) {
        Some(control) => told(ask(&s, Ask::Control(control, camera)).await, StatusCode::OK),
        None => {
            let known = LearnControl::ALL.map(|(name, _)| name).join(", ");
            problem(StatusCode::NOT_FOUND, &format!("there is no '{name}' to ask for; there are {known}"))
        }
    }
}

/// To be kept as a file.
pub async fn export(State(s): State<Shared>, Path(camera): Path<String>) -> Response {
    let answer = ask(&s, Ask::Export(camera.clone())).await;
    let is_there = answer.is_ok();
    let mut response = told(answer, StatusCode::OK);
    let plain: String = camera.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    if is_there && let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{plain}-coco.json\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

pub(super) fn nothing() -> DeskError {
    DeskError::Missing("nothing is learned here; see [learn] in the config".into())
}

/// Asks on a thread that may wait.
pub(super) async fn ask(s: &Shared, ask: Ask) -> Result<Answer, DeskError> {
    let Some(desk) = s.desk.clone() else { return Err(nothing()) };
    let ends = || DeskError::Busy("passd ends".into());
    let permit = s.asking.clone().acquire_owned().await.map_err(|_| ends())?;
    let asked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        desk.ask(ask)
    });
    asked.await.unwrap_or_else(|_| Err(ends()))
}

pub(super) fn told(answer: Result<Answer, DeskError>, good: StatusCode) -> Response {
    let fresh = (header::CACHE_CONTROL, "no-store");
    match answer {
        Ok(Answer::Json(value)) => (good, [fresh], Json(value)).into_response(),
        Ok(Answer::Jpeg(jpeg)) => (good, [(header::CONTENT_TYPE, "image/jpeg"), fresh], jpeg).into_response(),
        Ok(Answer::Still(head, jpeg)) => {
            let mut bytes = head.to_string().into_bytes();
            bytes.push(b'\n');
            bytes.extend(jpeg);
            (good, [(header::CONTENT_TYPE, "application/octet-stream"), fresh], bytes).into_response()
        }
        Ok(Answer::Parcel(_) | Answer::Labels(_) | Answer::Brought { .. }) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "that is no answer to what was asked")
        }
        Err(e) => problem(status_of(&e), &e.to_string()),
    }
}

const fn status_of(e: &DeskError) -> StatusCode {
    match e {
        DeskError::Missing(_) => StatusCode::NOT_FOUND,
        DeskError::Wrong(_) => StatusCode::BAD_REQUEST,
        DeskError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        DeskError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Pages from elsewhere cannot send that without asking first, which is refused.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        let is = |kind: &str| is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]));
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(is(kind), "{kind}");
        }
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "text/plain; application/json", "application/jsonx"]
        {
            assert!(!is(kind), "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
