//! The checks, one a part of the daemon.

use super::finding::Finding;
use crate::capture::{SourceSpec, diagnose, probe, survey};
use crate::config::{CameraConfig, Config, JsonlTarget};
use crate::files::try_to_write;
use crate::infer::session::{Provider, Runtime, Session, SessionSettings};
use crate::models::model::{Model, ModelFolders};
use crate::output::{mqtt, restream};
use crate::pipeline::OrtFactory;
use crate::web::{ClientSettings, client};
use engine::kernels::Kernels;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Tell<'a> = &'a mut dyn FnMut(Finding);

/// For a broker or a web address.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Free space below which a disk is nearly full.
const LITTLE_BYTES: u64 = 256 << 20;

pub fn machine(tell: Tell<'_>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let board = std::fs::read_to_string("/proc/device-tree/model").unwrap_or_default();
    let board = board.trim_end_matches('\0');
    let kernels = Kernels::best();
    let says =
        format!("{cores} cores{}{board}, layer engine on {}", if board.is_empty() { "" } else { ", " }, kernels.name);
    tell(match kernels.is_fast() {
        true => Finding::good("processor", says),
        false => Finding::warning(
            "processor",
            format!("{says}, which is slow"),
            "none on this processor: mode layers needs AVX2 with FMA, AVX-512 or NEON; auto takes regions",
        ),
    });
}

pub fn playing(config: Option<&Config>, tell: Tell<'_>) {
    let (version, abilities) = match survey() {
        Ok(found) => found,
        Err(e) => {
            let remedy = "apt-get install gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav";
            return tell(Finding::bad("GStreamer", e.to_string(), remedy));
        }
    };
    tell(Finding::good("GStreamer", version));
    let cameras = config.map_or(&[][..], |c| &c.cameras);
    let has = |wanted: fn(&SourceSpec) -> bool| cameras.iter().any(|c| wanted(&c.source.spec));
    let (rtsp, v4l2) = (has(|s| matches!(s, SourceSpec::Rtsp(_))), has(|s| matches!(s, SourceSpec::V4l2 { .. })));
    for a in abilities {
        let is_needed = match a.what {
            "V4L2 cameras" => v4l2,
            "MP4 files" => has(|s| matches!(s, SourceSpec::File { .. })),
            "H.265" => false,
            "scaling" => cameras.iter().any(|c| !matches!(c.source.spec, SourceSpec::Sim(_))),
            _ => rtsp,
        };
        let remedy = format!("apt-get install {}", a.package);
        tell(match a.by {
            Some(element) => Finding::good(a.what, element),
            None if is_needed => Finding::bad(a.what, "no element for it", remedy),
            None => {
                Finding::note(a.what, format!("no element for it, and no camera that is known to need it ({remedy})"))
            }
        });
    }
}

/// ONNX Runtime, and each provider by a real inference.
pub fn inference(config: Option<&Config>, tell: Tell<'_>) {
    let runtime = match Runtime::get(config.and_then(|c| c.library.as_deref())) {
        Ok(runtime) => runtime,
        Err(e) => {
            let remedy = "set ORT_DYLIB_PATH or inference.library to a libonnxruntime.so of 1.17 or later";
            return tell(Finding::bad("ONNX Runtime", e.to_string(), remedy));
        }
    };
    tell(Finding::good("ONNX Runtime", runtime.library.display().to_string()));
    let model = match Model::load("street-nano", &ModelFolders::default()) {
        Ok(model) => model,
        Err(e) => return tell(Finding::bad("built-in model", e.to_string(), "reinstall passd")),
    };
    let usual = vec![Provider::Tensorrt, Provider::Cuda, Provider::Cpu];
    let detector = config.and_then(|c| c.cameras.first()).map(|c| &c.detector);
    let providers = detector.map_or(&usual, |d| &d.providers);
    let mut works = false;
    for (i, provider) in providers.iter().enumerate() {
        let settings = SessionSettings { providers: vec![*provider], cache: None, ..SessionSettings::default() };
        let start = Instant::now();
        let opened = Session::open(runtime, &model, model.size, 1, &settings);
        let what = format!("provider {provider}");
        tell(match opened {
            Ok(_) => {
                works = true;
                let like = if *provider == Provider::Cpu { "" } else { ", the same numbers as the CPU" };
                Finding::good(what, format!("a real inference in {:.1} s{like}", start.elapsed().as_secs_f64()))
            }
            Err(e) if !works && i + 1 == providers.len() => {
                Finding::bad(what, format!("{e}; none of those that are wanted works"), remedy_of(*provider))
            }
            Err(e) => {
                let then = match providers.get(i + 1) {
                    Some(next) if !works => format!("{next} is tried next"),
                    _ => "not needed".to_owned(),
                };
                Finding::note(what, format!("{e}; {then}. {}", remedy_of(*provider)))
            }
        });
    }
}

fn remedy_of(provider: Provider) -> &'static str {
    match provider {
        Provider::Cpu => "reinstall ONNX Runtime",
        Provider::Cuda | Provider::Tensorrt => {
            "To have it, set inference.library to an ONNX Runtime built for this GPU (docs of JetPack or onnxruntime-gpu)"
        }
    }
}

pub fn models(config: &Config, tell: Tell<'_>) {
    let folders = ModelFolders::usual(config.models.as_deref());
    // Whoever has none was told so.
    let Ok(runtime) = Runtime::get(config.library.as_deref()) else { return };
    let factory = OrtFactory::new(runtime, folders.clone());
    let mut seen = Vec::new();
    for camera in &config.cameras {
        let name = camera.detector.model.as_str();
        let key = (&camera.detector, camera.skip_mode);
        let is_known = seen.contains(&key);
        seen.push(key);
        let what = format!("model {name}");
        let (model, verdict) = match factory.examine(&camera.detector, camera.skip_mode) {
            Ok(found) => found,
            Err(e) => {
                let is_here = Model::load(name, &folders).is_ok();
                let remedy = match is_here {
                    true => "see docs/models.md; `passd models info` shows more of it".to_owned(),
                    false => format!("passd models pull {name}"),
                };
                tell(Finding::bad(what, e.to_string(), remedy));
                continue;
            }
        };
        let fits =
            camera.check_model(name, model.sidecar.simulated).and_then(|()| camera.check_labels(name, &model.labels));
        if let Err(says) = fits {
            tell(Finding::bad(what.clone(), format!("camera {}: {says}", camera.id), "take another label or model"));
        }
        if is_known {
            continue;
        }
        let size = camera.detector.size.unwrap_or(model.size);
        let memory = match verdict.state_bytes >> 20 {
            0 => String::new(),
            mib => format!(", {mib} MiB a camera"),
        };
        let says = format!("{}, {size}, mode {}{memory}: {}", model.file, verdict.mode, verdict.why);
        tell(Finding::good(what, says));
    }
}

/// Every camera's first picture, all at a time; where there is none, why.
pub fn cameras(config: &Config, tell: Tell<'_>) {
    let look = |camera: &CameraConfig| {
        probe(&camera.source.spec, camera.capture.connect).map_err(|e| match &camera.source.spec {
            SourceSpec::Rtsp(address) => {
                let found = diagnose(address, &e.to_string());
                (e, found)
            }
            _ => (e, None),
        })
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let looks: Vec<_> = config.cameras.iter().map(|camera| scope.spawn(move || look(camera))).collect();
        looks.into_iter().map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for (camera, found) in config.cameras.iter().zip(found) {
        let what = format!("camera {}", camera.id);
        let source = &camera.source;
        match found {
            Ok((size, took)) => {
                tell(Finding::good(what.clone(), format!("a picture of {size} after {:.1} s", took.as_secs_f64())));
                if let SourceSpec::V4l2 { device } = &source.spec
                    && let Some(id) = ids_of(device).first()
                {
                    let says = format!("{device} may be another camera after the next start; {id} is this one always");
                    tell(Finding::note(what, says));
                }
            }
            Err((e, diagnosis)) => {
                let (said, remedy) = match diagnosis {
                    Some(found) => (found.cause, found.remedy),
                    None => (e.to_string(), remedy_of_camera(&source.spec)),
                };
                let says = format!("{}: {}", source.shown, source.secrets.hide(&said));
                tell(Finding::bad(what, says, remedy));
            }
        }
    }
}

/// Where cameras have names that stay.
const BY_ID: &str = "/dev/v4l/by-id";

/// Lasting names of a device; of all devices, where it is not there.
fn ids_of(device: &str) -> Vec<String> {
    let wanted = std::fs::canonicalize(device).ok();
    let entries = std::fs::read_dir(BY_ID).into_iter().flatten().flatten().map(|e| e.path());
    let is_it = |path: &PathBuf| wanted.is_none() || std::fs::canonicalize(path).ok() == wanted;
    let mut ids: Vec<String> = entries.filter(is_it).map(|p| p.display().to_string()).collect();
    ids.retain(|id| id != device);
    ids.sort();
    ids
}

fn remedy_of_camera(spec: &SourceSpec) -> String {
    match spec {
        SourceSpec::Rtsp(_) => {
            "is it on, in this network, and are path, name and password right? ffprobe or VLC show whether the address works".into()
        }
        SourceSpec::V4l2 { device } if !Path::new(device).exists() => match ids_of(device).as_slice() {
            [] => format!("plug it in; there is no {device}, and no camera in {BY_ID}"),
            ids => format!("there is no {device}; there are {}", ids.join(", ")),
        },
        SourceSpec::V4l2 { device } => format!(
            "does the user of passd belong to the group 'video' (usermod -aG video USER), and does nobody else use {device}?"
        ),
        SourceSpec::Csi { .. } => "is the ribbon seated, and does nvargus-daemon run (systemctl restart nvargus-daemon)?".into(),
        SourceSpec::File { path } => format!("is {} a video that this user may read?", path.display()),
        SourceSpec::Pipeline(_) => "try the pipeline with gst-launch-1.0".into(),
        SourceSpec::Sim(_) => "see the address".into(),
    }
}

/// Folders that are written to, and their room.
pub fn folders(config: &Config, tell: Tell<'_>) {
    let mut wanted: Vec<(&str, PathBuf, u64)> = Vec::new();
    if let Some(e) = &config.events {
        wanted.push(("events", e.path.clone(), e.max_bytes));
    }
    if let Some(j) = &config.jsonl
        && let JsonlTarget::File(path) = &j.target
    {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        wanted.push(("JSON lines", folder.to_owned(), j.rotate_bytes * (1 + u64::from(j.keep))));
    }
    let named = [("models", "inference.models", &config.models), ("cache", "inference.cache", &cache_of(config))];
    for (what, key, folder) in named {
        if let Some(folder) = folder.as_ref().filter(|f| !f.is_dir()) {
            let says = format!("{key}: there is no folder {}", folder.display());
            tell(Finding::bad(what, says, format!("make it, or set {key} to one that is there")));
        }
    }
    for (what, folder, most) in wanted {
        let shown = folder.display();
        if let Err(e) = can_write(&folder) {
            let remedy = format!("give it to the user that passd runs as, or to this one to try: chown USER {shown}");
            tell(Finding::bad(what, format!("{shown}: {e}"), remedy));
            continue;
        }
        // What is relative has parents too.
        let whole = std::path::absolute(&folder).unwrap_or_else(|_| folder.clone());
        let there = std::iter::successors(Some(whole.as_path()), |f| f.parent()).find(|f| f.exists());
        let free = there.and_then(|f| rustix::fs::statvfs(f).ok()).map_or(u64::MAX, |s| s.f_bavail * s.f_frsize);
        let mib = |bytes: u64| bytes >> 20;
        tell(if free < LITTLE_BYTES.min(most) {
            let remedy = "free some, or set another path";
            Finding::warning(what, format!("{shown}: {} MiB are free, {} may be kept", mib(free), mib(most)), remedy)
        } else {
            Finding::good(
                what,
                format!("{shown} can be written, {} MiB are free, {} at most are kept", mib(free), mib(most)),
            )
        });
    }
}

fn cache_of(config: &Config) -> Option<PathBuf> {
    let needs = |c: &&CameraConfig| c.detector.providers.contains(&Provider::Tensorrt);
    config.cameras.iter().find(needs).and_then(|c| c.detector.cache.clone())
}

pub fn network(config: &Config, tell: Tell<'_>) {
    if let Some(m) = &config.mqtt {
        let what = format!("broker {}:{}", m.host, m.port);
        tell(match mqtt::probe(m, ANSWER_TIMEOUT) {
            Ok(()) => Finding::good(what, "lets us in"),
            Err(e) => Finding::bad(
                what,
                e,
                "does it run, may this machine reach it, are user, password and certificates right?",
            ),
        });
    }
    if let Some(w) = &config.webhook {
        let what = format!("webhook {}", w.shown());
        let certificates = client(&ClientSettings { ca: w.ca.as_deref(), ..ClientSettings::default() });
        tell(match certificates.map_err(|e| e.to_string()).and_then(|_| reach(&w.url)) {
            Ok(()) => Finding::good(what, "can be reached; nothing was sent"),
            Err(e) => Finding::bad(what, e, "does it run, may this machine reach it, and are the certificates there?"),
        });
    }
    if let Some(r) = &config.restream {
        tell(match restream::encoder(r.software) {
            Ok(encoder) => Finding::good("restream", format!("encodes with {encoder}")),
            Err(e) => Finding::bad("restream", e, "see above"),
        });
        tell(listen("restream", "restream.listen", r.listen));
    }
    if let Some(h) = &config.http {
        tell(listen("HTTP", "http.listen", h.listen));
    }
}

fn listen(what: &str, key: &str, address: SocketAddr) -> Finding {
    let what = format!("{what} on {address}");
    match TcpListener::bind(address) {
        Ok(_) => Finding::good(what, "is free"),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Finding::warning(
            what,
            "the port is in use: if not by the passd of this config, which runs already, it will not start",
            format!("find out by whom (ss -ltnp 'sport = :{}'), or set {key} to another port", address.port()),
        ),
        Err(e) => Finding::bad(what, e.to_string(), format!("set {key} to an address of this machine")),
    }
}

fn reach(url: &str) -> Result<(), String> {
    let url = url::Url::parse(url).map_err(|e| e.to_string())?;
    let addresses = url.socket_addrs(|| None).map_err(|e| e.to_string())?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(e) => last = e.to_string(),
        }
    }
    Err(last)
}

/// Whether a folder, or the one in which it would be made, can be written.
fn can_write(folder: &Path) -> std::io::Result<()> {
    // Only looked at: nothing that is made for it stays.
    let missing: Vec<&Path> = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists()).collect();
    std::fs::create_dir_all(folder)?;
    let done = try_to_write(folder);
    for made in missing {
        let _ = std::fs::remove_dir(made);
    }
    done
}
