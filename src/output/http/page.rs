//! The web page, part of the binary; and the frames that it shows.

use super::api::{no_camera, problem};
use super::shared::Shared;
use crate::outcome::FrameResult;
use crate::output::draw;
use crate::output::patches::PatchLook;
use crate::wire::frame::FrameJson;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

const QUALITY: u8 = 75;

fn text(kind: &'static str, text: &'static str) -> Response {
    // Small, and different after an upgrade: asked for every time.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

pub async fn index() -> Response {
    text("text/html; charset=utf-8", include_str!("page/index.html"))
}

pub async fn script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

pub async fn learn_script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("page/learn.js"))
}

pub async fn icon() -> Response {
    text("image/svg+xml", include_str!("page/icon.svg"))
}

pub async fn style() -> Response {
    text("text/css; charset=utf-8", include_str!("page/page.css"))
}

#[derive(serde::Deserialize)]
pub struct PageQuery {
    /// The frame that the page has already.
    after: Option<u64>,
    /// 1: with patches.
    #[serde(default)]
    patches: u8,
}

/// The newest frame: a line of JSON, then the picture as JPEG, so that both are of one frame. Nothing (204) if
/// there is no newer one.
pub async fn view(State(s): State<Shared>, Path(id): Path<String>, Query(view): Query<PageQuery>) -> Response {
    let Some(camera) = s.board.get(&id) else { return no_camera(&id) };
    let newer = camera.latest().filter(|result| view.after != Some(result.frame.id.0));
    let Some(result) = newer else { return StatusCode::NO_CONTENT.into_response() };
    match tokio::task::spawn_blocking(move || frame(&result, view.patches != 0)).await {
        Ok(Some(bytes)) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")];
            (kind, bytes).into_response()
        }
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "the picture could not be made"),
    }
}

fn frame(r: &FrameResult, with_patches: bool) -> Option<Vec<u8>> {
    let mut head = serde_json::to_value(FrameJson::new(r)).ok()?;
    if with_patches {
        head["patches"] = patches(r);
    }
    let mut bytes = serde_json::to_vec(&head).ok()?;
    bytes.push(b'\n');
    bytes.extend(draw::picture(r).jpeg(QUALITY).ok()?);
    Some(bytes)
}

/// The grid of the model's input, in which the picture's content lies at the upper left.
fn patches(r: &FrameResult) -> Value {
    let (grid, content) = (r.computed.grid(), r.frame.letterbox.content);
    let looks: String = (0..grid.n_patches()).map(|i| PatchLook::of(r, i).letter()).collect();
    json!({
        "columns": grid.cols,
        "rows": grid.rows,
        "width": (grid.cols as u32 * grid.patch) as f32 / content.width as f32,
        "height": (grid.rows as u32 * grid.patch) as f32 / content.height as f32,
        "looks": looks,
    })
}
