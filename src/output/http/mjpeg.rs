//! A live view: `multipart/x-mixed-replace`, one JPEG a part.

use super::api::{PictureQuery, no_camera, problem};
use super::shared::Shared;
use crate::output::draw;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;

pub async fn stream(State(s): State<Shared>, Path(id): Path<String>, Query(view): Query<PictureQuery>) -> Response {
    let Some(camera) = s.board.get(&id) else { return no_camera(&id) };
    let Ok(permit) = s.streams.clone().try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many live views");
    };
    let patches = view.patches();
    let mut changed = camera.watch();
    // What is there already is the first picture.
    changed.mark_changed();
    drop(camera);
    let board = s.board.clone();
    let interval = s.interval;
    // One part waits at most: the next picture is made when that one is gone.
    let (sender, parts) = tokio::sync::mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let _permit = permit;
        loop {
            tokio::select! {
                () = sender.closed() => return,
                result = changed.changed() => if result.is_err() { return },
            }
            // Looked up anew: a reload may have put another camera in its place.
            let Some(result) = board.get(&id).and_then(|c| c.latest()) else { continue };
            let made = tokio::task::spawn_blocking(move || draw::annotate(&result, patches).jpeg(75)).await;
            let Ok(Ok(jpeg)) = made else { return };
            let mut part =
                format!("--passd\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len()).into_bytes();
            part.extend_from_slice(&jpeg);
            part.extend_from_slice(b"\r\n");
            if sender.send(part.into()).await.is_err() {
                return;
            }
            tokio::time::sleep(interval).await;
        }
    });
    let kind = "multipart/x-mixed-replace; boundary=passd";
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(Parts(parts))).into_response()
}

struct Parts(tokio::sync::mpsc::Receiver<Bytes>);

impl futures_core::Stream for Parts {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|part| part.map(Ok))
    }
}
