//! Fetching models from a real HTTP server that truncates, lies and stalls.

use passd::models::pull::{PullError, PullSettings, RegistryEntry, pull};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server does with one request.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// As it should: ranges, too.
    Well,
    /// Announces all, sends so much, and closes.
    CutAfter(usize),
    /// Announces all, sends so much, and says no more.
    StallAfter(usize),
    /// Knows no ranges: always the whole file.
    Whole,
    /// The right length, other bytes.
    Lie,
    /// Announces another length.
    Longer,
    /// Announces none, and goes on and on.
    Endless,
    /// Another part than was asked for.
    OtherPart,
    Status(u16),
    /// To where the file is.
    Redirect,
}

fn file() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect()
}

/// Serves one act a request, the last one for ever. Comes back with its address and the ranges that were asked for.
fn server(acts: &'static [Act]) -> (String, Arc<Mutex<Vec<Option<String>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, here) = (asked.clone(), address.clone());
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for (n, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            let range = head.lines().find_map(|l| Some(l.to_ascii_lowercase().strip_prefix("range: ")?.to_owned()));
            seen.lock().unwrap().push(range.clone());
            let start: Option<usize> =
                range.as_deref().and_then(|r| r["bytes=".len()..].trim_end_matches('-').parse().ok());
            let (file, act) = (file(), acts[n.min(acts.len() - 1)]);
            let part = |from: usize| {
                let n = file.len();
                let answer = match start {
                    None => format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n"),
                    Some(_) => format!(
                        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{n}\r\nContent-Length: {}\r\n\r\n",
                        n - 1,
                        n - from
                    ),
                };
                (answer, file[from..].to_vec())
            };
            let from = start.unwrap_or(0);
            let (head, body) = match act {
                Act::Well => part(from),
                Act::CutAfter(n) | Act::StallAfter(n) => {
                    let (head, body) = part(from);
                    (head, body[..n].to_vec())
                }
                Act::Whole => (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len()), file.clone()),
                Act::Lie => (part(from).0, vec![7; file.len() - from]),
                Act::Longer => ("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n".into(), file.clone()),
                Act::Endless => ("HTTP/1.1 200 OK\r\n\r\n".into(), file.repeat(2)),
                Act::OtherPart => part(from / 2),
                Act::Status(status) => (format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n"), Vec::new()),
                Act::Redirect => {
                    (format!("HTTP/1.1 302 Found\r\nLocation: {here}/there\r\nContent-Length: 0\r\n\r\n"), Vec::new())
                }
            };
            let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let _ = reader.get_mut().write_all(head.as_bytes()).and_then(|()| reader.get_mut().write_all(&body));
            if let Act::StallAfter(_) = act {
                held.push(reader);
            }
        }
    });
    (address, asked)
}

fn entry(address: &str) -> RegistryEntry {
    let file = file();
    let sha256 = Sha256::digest(&file).iter().map(|b| format!("{b:02x}")).collect();
    RegistryEntry { url: format!("{address}/model.onnx"), size: file.len() as u64, sha256, licence: "MIT".into() }
}

const QUICK: PullSettings = PullSettings { stall: Duration::from_millis(300), pause: Duration::ZERO, attempts: 3 };

/// Names and sizes.
type Files = Vec<(String, usize)>;

/// Fetches into a new folder; the result, what lies there afterwards, and what was asked for.
fn fetch(acts: &'static [Act]) -> (Result<(), PullError>, Files, Vec<Option<String>>) {
    let folder = tempfile::tempdir().unwrap();
    let (address, asked) = server(acts);
    let mut last = 0;
    let done = pull(&entry(&address), &folder.path().join("m.onnx"), &QUICK, &mut |have| last = have);
    if done.is_ok() {
        assert_eq!(last, file().len() as u64);
        assert_eq!(std::fs::read(folder.path().join("m.onnx")).unwrap(), file());
    }
    let asked = asked.lock().unwrap().clone();
    (done, left(folder.path()), asked)
}

fn left(folder: &Path) -> Files {
    let mut left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap())
        .map(|f| (f.file_name().into_string().unwrap(), f.metadata().unwrap().len() as usize))
        .collect();
    left.sort();
    left
}

#[test]
fn what_is_cut_off_goes_on_where_it_ended() {
    let whole = vec![("m.onnx".to_owned(), file().len())];
    let (done, files, asked) = fetch(&[Act::CutAfter(400_000), Act::StallAfter(300_000), Act::Well]);
    done.unwrap();
    let ranges = [None, Some("bytes=400000-".to_owned()), Some("bytes=700000-".to_owned())];
    assert_eq!((&files, asked.as_slice()), (&whole, ranges.as_slice()));
    let (done, files, _) = fetch(&[Act::CutAfter(400_000), Act::Whole]);
    done.unwrap();
    assert_eq!(files, whole, "a server without ranges: from the beginning");
    fetch(&[Act::Redirect, Act::Well]).0.unwrap();
    fetch(&[Act::Status(503), Act::Well]).0.unwrap();
}

#[test]
fn a_server_that_stops_is_given_up_and_what_came_is_kept() {
    let start = Instant::now();
    let (done, files, asked) = fetch(&[Act::StallAfter(100_000), Act::StallAfter(0)]);
    let error = done.unwrap_err().to_string();
    assert!(error.contains("nothing came for 300ms") && error.contains("pull again to go on"), "{error}");
    assert_eq!((files, asked.len()), (vec![("m.onnx.part".to_owned(), 100_000)], 3));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn what_is_not_the_file_is_not_kept() {
    for (acts, words) in [
        (&[Act::Lie] as &'static [Act], "its sha256 is not"),
        (&[Act::Longer], "9999999 bytes are announced"),
        (&[Act::Endless], "more than 1200000 bytes came"),
        (&[Act::CutAfter(500_000), Act::OtherPart], "bytes from 500000 on were asked for"),
        (&[Act::CutAfter(500_000), Act::Status(416)], "nothing from byte 500000 on"),
        (&[Act::CutAfter(500_000), Act::Lie], "its sha256 is not"),
        (&[Act::Status(404)], "HTTP status 404"),
    ] {
        let (done, files, _) = fetch(acts);
        let error = done.unwrap_err().to_string();
        assert!(error.contains(words), "{acts:?}: {error}");
        assert!(files.is_empty(), "{acts:?}: {files:?}");
    }
}

#[test]
fn the_command_says_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let (address, asked) = server(&[Act::Well]);
    let e = entry(&address);
    let registry = folder.path().join("r.toml");
    let text =
        format!("[mine]\nurl = \"{}\"\nsize = {}\nsha256 = \"{}\"\nlicence = \"MIT\"\n", e.url, e.size, e.sha256);
    std::fs::write(&registry, text).unwrap();
    let to = folder.path().join("models");
    let run = |names: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passd"));
        command.args(["models", "pull"]).args(names).arg("--registry").arg(&registry).arg("--to").arg(&to);
        let out = command.output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap())
    };
    let (code, text) = run(&["mine"]);
    assert!(code == Some(0) && text.contains("mine.onnx (1200000 bytes, MIT, checksum right)"), "{text}");
    assert_eq!(left(&to), [("mine.onnx".to_owned(), 1_200_000)]);
    // What is there and right is not fetched again.
    assert_eq!((run(&["mine"]).0, asked.lock().unwrap().len()), (Some(0), 1));
    let (code, text) = run(&["mine", "yours"]);
    assert!(code == Some(2) && text.contains("'yours' is not in the registry; it has mine"), "{text}");
}
