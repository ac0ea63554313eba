//! Marks with their pictures, out and in, as one file that is never whole in memory. One at a time, on a thread that may
//! wait: for the desk, for the disk, and for who sends or reads.

use super::api::problem;
use super::learn::{ask, nothing, told};
use super::shared::Shared;
use crate::files::{Links, open_plain, read_open};
use crate::output::desk::{Answer, Ask, BroughtPicture, Desk, DeskError, OutgoingParcel};
use crate::output::parcel::{LABELS, LEFT_OUT, MOST_BYTES, MOST_PICTURE, PARCEL_TYPE, PICTURES, Packer, unpack};
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Files under way at a time; the next is refused.
pub const MAX_CARRIED: usize = 1;
/// Pieces of a file that wait, and their size on the way out.
const WAITING: usize = 4;
const PIECE: usize = 64 << 10;
/// For the next piece of what is brought.
const SILENCE: Duration = Duration::from_secs(30);
/// For the whole of a file, one way or the other.
const LONGEST: Duration = Duration::from_secs(1800);
/// Pictures that did not come and are named.
const NAMED: usize = 10;

type Piece = io::Result<Bytes>;

fn carry(s: &Shared) -> Result<(Desk, OwnedSemaphorePermit), DeskError> {
    let desk = s.desk.clone().ok_or_else(nothing)?;
    let busy = |_| DeskError::Busy("labels are going out or coming in just now; try again when that is done".into());
    Semaphore::try_acquire_owned(s.carrying.clone()).map(|permit| (desk, permit)).map_err(busy)
}

/// To be kept as a file.
pub async fn export(State(s): State<Shared>, Path(camera): Path<String>) -> Response {
    let permit = match carry(&s) {
        Ok((_, permit)) => permit,
        Err(e) => return told(Err(e), StatusCode::OK),
    };
    let parcel = match ask(&s, Ask::Parcel(camera.clone())).await {
        Ok(Answer::Parcel(parcel)) => parcel,
        other => return told(other, StatusCode::OK),
    };
    let (sender, pieces) = channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // Who does not read to the end has no need of it.
        if let Err(e) = write_parcel(&parcel, BufWriter::with_capacity(PIECE, Outlet::new(sender.clone()))) {
            let _ = sender.blocking_send(Err(e));
        }
    });
    let headers = [(header::CONTENT_TYPE, PARCEL_TYPE), (header::CACHE_CONTROL, "no-store")];
    let mut response = (headers, Body::from_stream(Pieces(pieces))).into_response();
    let plain: String = camera.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{plain}.tar\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

fn write_parcel(parcel: &OutgoingParcel, to: impl Write) -> io::Result<()> {
    let mut packer = Packer::new(to);
    packer.put(LABELS, &parcel.labels)?;
    let gone = |name: &String| format!("{name}: its picture is gone");
    let mut left_out: Vec<String> = parcel.left_out.iter().map(gone).collect();
    for (name, path) in &parcel.pictures {
        match open_plain(path, Links::Refused).and_then(|f| read_open(f, MOST_PICTURE, "a picture")) {
            Ok(picture) => packer.put(name, &picture)?,
            Err(e) => left_out.push(format!("{name}: its picture is gone, or cannot be read: {e}")),
        }
    }
    if !left_out.is_empty() {
        left_out.push(String::new());
        packer.put(LEFT_OUT, left_out.join("\n").as_bytes())?;
    }
    packer.finish()
}

pub async fn import(State(s): State<Shared>, Path(camera): Path<String>, headers: HeaderMap, body: Body) -> Response {
    let (desk, permit) = match carry(&s) {
        Ok(carried) => carried,
        Err(e) => return told(Err(e), StatusCode::OK),
    };
    let value = |name| headers.get(name).and_then(|v| v.to_str().ok());
    // Pages from elsewhere cannot send that without asking first, which is refused.
    if !value(header::CONTENT_TYPE).is_some_and(|kind| kind.eq_ignore_ascii_case(PARCEL_TYPE)) {
        let words = format!("labels and pictures come in a tar: 'Content-Type: {PARCEL_TYPE}'");
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, &words);
    }
    let length = value(header::CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok());
    if length.is_some_and(|n| n > MOST_BYTES) {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, &too_large());
    }
    let (sender, pieces) = channel(WAITING);
    let brought = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        bring(&desk, &camera, Inlet { pieces, rest: Bytes::new() })
    });
    feed(body.into_data_stream(), sender).await;
    let brought = brought.await.unwrap_or_else(|_| Err(DeskError::Busy("passd ends".into())));
    told(brought.map(Answer::Json), StatusCode::OK)
}

fn too_large() -> String {
    format!("more than {} MiB are too many at a time: bring fewer pictures", MOST_BYTES >> 20)
}

/// Hands a body over, piece by piece. All of it is taken, whether anybody still wants it or not: who sends listens only
/// then.
async fn feed(mut body: BodyDataStream, sender: Sender<Piece>) {
    let (mut n_bytes, begun) = (0, Instant::now());
    let ends = |why: String| Err(io::Error::other(why));
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx));
        let piece = match tokio::time::timeout(SILENCE, next).await {
            Err(_) => ends(format!("nothing came for {} s", SILENCE.as_secs())),
            Ok(None) => return,
            Ok(Some(Err(e))) => ends(e.to_string()),
            Ok(Some(Ok(_))) if begun.elapsed() > LONGEST => ends(format!("it takes more than {} s", LONGEST.as_secs())),
            Ok(Some(Ok(piece))) => {
                n_bytes += piece.len() as u64;
                if n_bytes > MOST_BYTES { ends(too_large()) } else { Ok(piece) }
            }
        };
        let is_last = piece.is_err();
        let _ = sender.send(piece).await;
        if is_last {
            return;
        }
    }
}

/// What came of what was brought.
#[derive(Default)]
struct Tally {
    /// What the labels say of pictures that have not come yet; `None`: the labels have not come.
    expected: Option<BTreeMap<String, BroughtPicture>>,
    n_pictures: usize,
    n_known: usize,
    n_marks: usize,
    n_bare: usize,
}

/// Brings labels and pictures to the desk, one by one; what came of it. What is brought again is there once.
fn bring(desk: &Desk, camera: &str, from: impl Read) -> Result<Value, DeskError> {
    let mut tally = Tally::default();
    let done = unpack(from, |name, data| tally.take(desk, camera, name, data));
    let (n_pictures, n_marks) = (tally.n_pictures, tally.n_marks);
    done.map_err(|e: DeskError| match n_pictures + n_marks {
        0 => e.reworded(|why| format!("{why}; nothing was taken")),
        _ => e.reworded(|why| format!("{why}; taken before it: pictures {n_pictures}, marks {n_marks}")),
    })?;
    let missing = tally.expected.unwrap_or_default();
    Ok(json!({
        "pictures": n_pictures,
        "marks": n_marks,
        "known": tally.n_known,
        "without_labels": tally.n_bare,
        "n_missing": missing.len(),
        "missing": missing.keys().take(NAMED).collect::<Vec<_>>(),
    }))
}

impl Tally {
    fn take(&mut self, desk: &Desk, camera: &str, name: &str, data: Vec<u8>) -> Result<(), DeskError> {
        let named = |e: DeskError| e.reworded(|why| format!("{name}: {why}"));
        let camera = camera.to_owned();
        let Some(expected) = &mut self.expected else {
            let Answer::Labels(pictures) = desk.ask(Ask::Labels { camera, json: data }).map_err(named)? else {
                return Err(DeskError::Failed("labels were answered with something else".into()));
            };
            self.expected = Some(pictures.into_iter().map(|p| (p.name.clone(), p)).collect());
            return Ok(());
        };
        if name == LEFT_OUT {
            return Ok(());
        }
        // Many tools name pictures as of their folder.
        let own = name.strip_prefix(PICTURES).unwrap_or(name);
        let Some(picture) = expected.remove(name).or_else(|| expected.remove(own)) else {
            self.n_bare += 1;
            return Ok(());
        };
        match desk.ask(Ask::Bring { camera, picture, data }).map_err(named)? {
            Answer::Brought { n_marks, is_new } => {
                self.n_pictures += usize::from(is_new);
                self.n_known += usize::from(!is_new);
                self.n_marks += n_marks;
                Ok(())
            }
            _ => Err(DeskError::Failed("a picture was answered with something else".into())),
        }
    }
}

/// Pieces on their way out.
struct Outlet {
    pieces: Sender<Piece>,
    begun: Instant,
}

impl Outlet {
    fn new(pieces: Sender<Piece>) -> Self {
        Self { pieces, begun: Instant::now() }
    }
}

impl Write for Outlet {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.begun.elapsed() > LONGEST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let sent = self.pieces.blocking_send(Ok(Bytes::copy_from_slice(data)));
        sent.map(|()| data.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Pieces(Receiver<Piece>);

impl futures_core::Stream for Pieces {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// Pieces on their way in.
struct Inlet {
    pieces: Receiver<Piece>,
    rest: Bytes,
}

impl Read for Inlet {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let n = to.len().min(self.rest.len());
        to[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::desk::{BroughtPlace, Said};

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut packer = Packer::new(&mut out);
        files.iter().for_each(|(name, data)| packer.put(name, data).unwrap());
        packer.finish().unwrap();
        out
    }

    /// A desk that expects two pictures, and takes no picture that is empty.
    fn desk() -> Desk {
        let (desk, asked) = Desk::new();
        std::thread::spawn(move || {
            for asked in asked {
                let answer = match asked.ask {
                    Ask::Labels { json, .. } if json == b"bad" => Err(DeskError::Wrong("that is bad".into())),
                    Ask::Labels { .. } => Ok(Answer::Labels(
                        ["images/a.jpg", "b.jpg"]
                            .map(|name| BroughtPicture {
                                name: name.into(),
                                size: [64, 64],
                                places: vec![BroughtPlace { said: Said::Right, label: None, bbox: [0.0; 4] }],
                            })
                            .to_vec(),
                    )),
                    Ask::Bring { data, .. } if data.is_empty() => Err(DeskError::Wrong("it is no picture".into())),
                    Ask::Bring { .. } => Ok(Answer::Brought { n_marks: 1, is_new: true }),
                    other => panic!("{other:?}"),
                };
                asked.reply.send(answer).unwrap();
            }
        });
        desk
    }

    #[test]
    fn what_is_brought_is_told_and_what_stops_it_too() {
        let desk = desk();
        let bring = |files: &[(&str, &[u8])]| bring(&desk, "front", packed(files).as_slice());
        let told = bring(&[(LABELS, b"{}"), ("images/a.jpg", b"1"), ("images/b.jpg", b"2"), ("images/c.jpg", b"3")]);
        let told = told.unwrap();
        assert_eq!((&told["pictures"], &told["marks"], &told["without_labels"]), (&json!(2), &json!(2), &json!(1)));
        let told = bring(&[(LABELS, b"{}"), ("images/a.jpg", b"1")]).unwrap();
        assert_eq!((&told["n_missing"], &told["missing"]), (&json!(1), &json!(["b.jpg"])));
        let error = |files: &[(&str, &[u8])]| bring(files).unwrap_err().to_string();
        assert_eq!(error(&[(LABELS, b"bad")]), "labels.json: that is bad; nothing was taken");
        let stopped = error(&[(LABELS, b"{}"), ("images/a.jpg", b"1"), ("images/b.jpg", b"")]);
        assert_eq!(stopped, "images/b.jpg: it is no picture; taken before it: pictures 1, marks 1");
        assert!(error(&[]).contains("no labels.json"));
    }

    #[test]
    fn pictures_that_vanished_are_left_out_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.jpg"), b"1").unwrap();
        std::os::unix::fs::symlink(at("a.jpg"), at("b.jpg")).unwrap();
        let pictures = ["a.jpg", "b.jpg", "c.jpg"].map(|name| (format!("images/{name}"), at(name))).to_vec();
        let parcel = OutgoingParcel { labels: b"{}".to_vec(), pictures, left_out: vec!["images/d.jpg".into()] };
        let mut tar = Vec::new();
        write_parcel(&parcel, &mut tar).unwrap();
        let mut files = Vec::new();
        unpack(tar.as_slice(), |name, data| {
            files.push((name.to_owned(), String::from_utf8(data).unwrap()));
            Ok::<_, DeskError>(())
        })
        .unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [LABELS, "images/a.jpg", LEFT_OUT], "links are not followed");
        assert!(["b.jpg", "c.jpg", "d.jpg"].iter().all(|name| files[2].1.contains(name)), "{}", files[2].1);
    }
}
