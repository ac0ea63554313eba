//! What several tests need.
#![allow(dead_code)] // each test takes what it needs

#[cfg(feature = "daemon")]
pub mod browser;
#[path = "../../crates/engine/tests/common/model.rs"]
pub mod model;
#[path = "../../crates/engine/tests/common/mutants.rs"]
pub mod mutants;
#[cfg(feature = "daemon")]
pub mod odd_camera;
#[cfg(feature = "daemon")]
pub mod ort;
#[cfg(feature = "daemon")]
pub mod rig;
#[cfg(feature = "daemon")]
pub mod service;
#[path = "../../crates/engine/tests/common/zoo.rs"]
pub mod zoo;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The folder of shared clips and models, if it is here; else says that a test is skipped.
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("PASSD_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    if folder.join("models").is_dir() {
        return Some(folder);
    }
    println!("skipped: {} is not here (set PASSD_SHARED)", folder.display());
    None
}

/// A folder of models, in `folder`: `anything` is the built-in model, for pictures of all kinds. What it sees in real
/// ones means nothing.
pub fn models(folder: &std::path::Path) -> PathBuf {
    let models = folder.join("models");
    std::fs::create_dir_all(&models).unwrap();
    let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models");
    std::fs::copy(ours.join("street-nano.onnx"), models.join("anything.onnx")).unwrap();
    let sidecar = std::fs::read_to_string(ours.join("street-nano.toml")).unwrap();
    let sidecar = sidecar.replace("street-nano.onnx", "anything.onnx").replace("simulated = true", "simulated = false");
    std::fs::write(models.join("anything.toml"), sidecar).unwrap();
    models
}

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A child process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status().unwrap();
        assert!(status.success());
    }
}

/// The real RTSP server of `examples/rtsp_server.rs`, as a process that can be killed.
pub struct RtspServer {
    pub process: Running,
    pub address: String,
    stdin: ChildStdin,
}

impl RtspServer {
    pub fn start(port: u16, size: &str, credentials: Option<&str>) -> Self {
        Self::start_with(port, size, credentials, &[])
    }

    /// With variables of `examples/rtsp_server.rs`.
    pub fn start_with(port: u16, size: &str, credentials: Option<&str>, variables: &[(&str, &str)]) -> Self {
        // target/debug/deps/this_test -> target/debug/examples/rtsp_server
        let test = std::env::current_exe().unwrap();
        let binary = test.parent().unwrap().parent().unwrap().join("examples/rtsp_server");
        let mut command = Command::new(&binary);
        command
            .envs(variables.iter().copied())
            .arg(port.to_string())
            .arg(size)
            .args(credentials)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", binary.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let stdin = child.stdin.take().unwrap();
        Self { process: Running(child), address: line.trim().to_owned(), stdin }
    }

    pub fn resize(&mut self, size: &str) {
        writeln!(self.stdin, "{size}").unwrap();
    }

    /// Has the element `encoder` send a key frame.
    pub fn send_key_frame(&mut self) {
        writeln!(self.stdin, "key").unwrap();
    }
}

/// Status and body of a GET.
pub fn get(address: SocketAddr, path: &str) -> (u16, Vec<u8>) {
    let (status, _, body) = request(address, "GET", path, "", b"");
    (status, body)
}

/// Status, head and body of the answer to a request; `headers` end with a line break each.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "an answer has a head: {head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    // Not every server closes the connection when it is asked to.
    let mut body = vec![0; length.unwrap_or(0)];
    match length {
        Some(_) => reader.read_exact(&mut body).unwrap(),
        None => drop(reader.read_to_end(&mut body).unwrap()),
    }
    (status, head, body)
}

pub fn get_json(address: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let (status, body) = get(address, path);
    (
        status,
        serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{path}: {e}: {}", String::from_utf8_lossy(&body))),
    )
}

/// Resident memory in MiB and open files of this process.
#[cfg(feature = "daemon")]
pub fn footprint() -> (f64, usize) {
    (passd::process::resident_mib(), std::fs::read_dir("/proc/self/fd").unwrap().count())
}
