//! The real daemon as a service: its own folder, notify socket and log.

use super::{Running, free_port, wait_for};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A running daemon with its notify socket and its log.
pub struct Service {
    pub process: Running,
    pub log: Arc<Mutex<Vec<String>>>,
    told: Arc<Mutex<Vec<String>>>,
    pub config: PathBuf,
    pub folder: tempfile::TempDir,
    pub http: SocketAddr,
}

impl Service {
    /// `{http}` and `{dir}` in the config are filled in.
    pub fn start(config: &str, watchdog: Option<Duration>) -> Self {
        Self::start_with(config, watchdog, Stdio::null())
    }

    pub fn start_with(config: &str, watchdog: Option<Duration>, stdout: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let http: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let path = folder.path().join("passd.toml");
        std::fs::write(&path, fill(config, http, folder.path())).unwrap();
        Self::launch(folder, http, watchdog, stdout)
    }

    /// The same again, after its end.
    pub fn restart(self) -> Self {
        Self::launch(self.folder, self.http, None, Stdio::null())
    }

    fn launch(folder: tempfile::TempDir, http: SocketAddr, watchdog: Option<Duration>, stdout: Stdio) -> Self {
        let path = folder.path().join("passd.toml");
        let socket = folder.path().join("notify");
        let _ = std::fs::remove_file(&socket);
        let notes = UnixDatagram::bind(&socket).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_passd"));
        command
            .args(["run", "--config"])
            .arg(&path)
            .env("PASSD_MODELS", super::models(folder.path()))
            .env("NOTIFY_SOCKET", &socket)
            .env("RUST_LOG", "info,passd::learn::class=debug");
        command.env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        if let Some(w) = watchdog {
            command.env("WATCHDOG_USEC", w.as_micros().to_string());
        }
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|l| kept.lock().unwrap().push(l)));
        // Somebody has to read them all the time: the daemon would wait, as it would for a manager that hangs.
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = notes.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                heard.lock().unwrap().extend(text.lines().map(str::to_owned));
            }
        });
        Self { process: Running(child), log, told, config: path, folder, http }
    }

    pub fn rewrite(&self, config: &str) {
        std::fs::write(&self.config, fill(config, self.http, self.folder.path())).unwrap();
    }

    /// Everything that the daemon has told the service manager.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    #[track_caller]
    pub fn wait_told(&self, what: &str) {
        wait_for(&format!("{what}, log {:#?}", self.log.lock().unwrap()), LONG, || {
            self.told().iter().any(|t| t.starts_with(what)).then_some(())
        });
    }

    #[track_caller]
    pub fn wait_log(&self, part: &str) -> String {
        wait_for(&format!("'{part}' in the log {:#?}", self.log.lock().unwrap()), LONG, || {
            self.log.lock().unwrap().iter().find(|l| l.contains(part)).cloned()
        })
    }

    /// Waits for the end; its exit code.
    pub fn wait_end(&mut self) -> Option<i32> {
        wait_for(&format!("the end, log {:#?}", self.log.lock().unwrap()), LONG, || self.process.0.try_wait().unwrap())
            .code()
    }
}

fn fill(config: &str, http: SocketAddr, dir: &Path) -> String {
    config.replace("{http}", &http.to_string()).replace("{dir}", &dir.display().to_string())
}
