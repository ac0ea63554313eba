//! `passd doctor` and `passd engines` on a machine that is well and on one that is not.

mod common;

use common::{RtspServer, Running, free_port};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Exit status and findings.
fn doctor(folder: &Path, config: &str) -> (Option<i32>, Vec<Value>) {
    let path = folder.join("passd.toml");
    std::fs::write(&path, config.replace("{dir}", &folder.display().to_string())).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_passd"))
        .args(["doctor", "--json", "--config"])
        .arg(&path)
        .env("PASSD_MODELS", common::models(folder))
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(!text.contains("hunter2") && !String::from_utf8_lossy(&out.stderr).contains("hunter2"));
    (out.status.code(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
}

#[track_caller]
fn finding<'a>(findings: &'a [Value], what: &str) -> (&'a str, &'a str, &'a str) {
    let text = |f: &'a Value, key: &str| f[key].as_str().unwrap_or_default();
    let f =
        findings.iter().find(|f| text(f, "what").starts_with(what)).unwrap_or_else(|| panic!("{what}: {findings:#?}"));
    (text(f, "verdict"), text(f, "says"), text(f, "remedy"))
}

#[test]
fn the_room_for_what_is_written_is_known_of_relative_paths_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[cameras.street]\nsource = \"sim://street\"\n[events]\npath = \"events-that-are-not-there\"\n";
    let (_, findings) = doctor(folder.path(), config);
    let (verdict, says, _) = finding(&findings, "events");
    let words: Vec<&str> = says.split(' ').collect();
    let free = words.windows(4).find(|w| w[1..] == ["MiB", "are", "free,"]).and_then(|w| w[0].parse::<u64>().ok());
    assert!(verdict != "bad" && free.is_some_and(|mib| mib < 1 << 40), "{verdict}: {says}");
}

#[test]
fn a_machine_that_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let camera = RtspServer::start(0, "320x240", Some("admin:hunter2"));
    let port = free_port();
    let broker = folder.path().join("mosquitto.conf");
    std::fs::write(&broker, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
    let mut command = Command::new("/usr/sbin/mosquitto");
    command.arg("-c").arg(&broker).stdout(Stdio::null()).stderr(Stdio::null());
    let _broker = Running(command.spawn().expect("mosquitto is installed: scripts/setup.sh tests"));
    common::wait_for("the broker", Duration::from_secs(20), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = camera.address.replace("rtsp://", "rtsp://admin:hunter2@");
    let config = format!(
        "[cameras.door]\nsource = \"{address}\"\ndetector.model = \"anything\"\n[cameras.street]\nsource = \"sim://street\"\n[inference]\nproviders = [\"cpu\"]\n\
         [events]\npath = \"{{dir}}/events\"\nmax_mib = 1\n[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n\
         [webhook]\nurl = \"http://{}/\"\n[http]\nlisten = \"127.0.0.1:{}\"\n",
        hook.local_addr().unwrap(),
        free_port()
    );
    let (code, findings) = doctor(folder.path(), &config);
    assert!(findings.iter().all(|f| f["verdict"] != "bad"), "{findings:#?}");
    assert_eq!(code, Some(0));
    for what in [
        "config",
        "GStreamer",
        "H.264",
        "ONNX Runtime",
        "provider cpu",
        "model street-nano",
        "camera street",
        "broker",
        "webhook",
        "HTTP",
    ] {
        assert_eq!(finding(&findings, what).0, "good", "{what}");
    }
    assert!(finding(&findings, "camera door").1.starts_with("a picture of 320x240 after "));
    assert!(!folder.path().join("events").exists(), "nothing is left behind");
}

#[test]
fn a_machine_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let closed = free_port();
    let camera = RtspServer::start(0, "320x240", Some("admin:hunter2"));
    let guarded = camera.address.replace("rtsp://", "rtsp://admin:wrong@");
    let config = format!(
        "[detector]\nmodel = \"anything\"\n[cameras.porch]\nsource = \"{guarded}\"\n[cameras.door]\nsource = \"rtsp://admin:hunter2@127.0.0.1:{closed}/cam\"\ncapture.connect_timeout = 5\n\
         [cameras.file]\nsource = \"/nowhere.mp4\"\n[cameras.other]\nsource = \"sim://street\"\ndetector.model = \"no-such-model\"\n\
         [inference]\nproviders = [\"cuda\"]\n[events]\npath = \"/proc/events\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:{closed}\"\nusername = \"me\"\npassword = \"hunter2\"\n\
         [webhook]\nurl = \"http://127.0.0.1:{closed}/\"\n[http]\nlisten = \"192.0.2.1:8090\"\ntoken = \"hunter2hunter2hunter2\"\n"
    );
    let (code, findings) = doctor(folder.path(), &config);
    assert_eq!(code, Some(1));
    for (what, says, remedy) in [
        ("camera door", "refuses the connection", "554"),
        ("camera porch", "does not take this name and password", "see the camera's users"),
        ("camera file", "/nowhere.mp4", "video"),
        ("model no-such-model", "no such model", "passd models pull no-such-model"),
        ("provider cuda", "built without it", "inference.library"),
        ("events", "/proc/events", "chown"),
        ("broker", "refused", "password"),
        ("webhook", "refused", "reach"),
        ("HTTP", "", "http.listen"),
    ] {
        let found = finding(&findings, what);
        assert!(
            found.0 == "bad" && found.1.to_lowercase().contains(says) && found.2.contains(remedy),
            "{what}: {found:?}"
        );
    }
    let (code, findings) = doctor(folder.path(), "[cameras.a]\nsorce = \"sim://street\"\n");
    assert_eq!(code, Some(1));
    assert!(
        finding(&findings, "config").1.contains("passd.toml:2") && findings.len() > 5,
        "the machine is looked at all the same"
    );
    let missing =
        Command::new(env!("CARGO_BIN_EXE_passd")).args(["doctor", "--config", "/nowhere.toml"]).output().unwrap();
    let text = String::from_utf8(missing.stdout).unwrap();
    assert!(missing.status.code() == Some(1) && text.contains("name a config that is there"), "{text}");
    let (code, findings) =
        doctor(folder.path(), "[cameras.a]\nsource = \"sim://street\"\n[inference]\nlibrary = \"/nowhere.so\"\n");
    let found = finding(&findings, "ONNX Runtime");
    assert!(code == Some(1) && found.0 == "bad" && found.1.contains("/nowhere.so"), "{found:?}");
}

#[test]
fn engines_are_built_where_there_is_tensorrt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passd.toml");
    std::fs::write(&path, "[cameras.a]\nsource = \"sim://street\"\n").unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passd"));
        command.args(["engines", "build", "--config"]).arg(&path).args(more).env_remove("CACHE_DIRECTORY");
        let out = command.output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, text) = run(&[]);
    assert!(code == Some(2) && text.contains("give --cache"), "{text}");
    let cache = folder.path().join("engines");
    let (code, text) = run(&["--cache", cache.to_str().unwrap()]);
    match code {
        // With a GPU and its libraries they are there afterwards.
        Some(0) => assert!(std::fs::read_dir(&cache).unwrap().count() > 0),
        _ => assert!(code == Some(1) && text.contains("camera a") && text.contains("tensorrt"), "{text}"),
    }
}
