//! The daemon as a service: the real binary, a real notify socket, real signals,
//! real HTTP.

mod common;

use common::service::Service;
use common::{RtspServer, free_port, get, get_json, wait_for};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

const SIM: &str = "[cameras.street]\nsource = \"sim://street?seed=5&fps=20&traffic=0.5&wind=0\"\n\
    [http]\nlisten = \"{http}\"\n[output.jsonl]\npath = \"{dir}/out.jsonl\"\n";

#[test]
fn ready_watchdog_reload_stop() {
    let mut service = Service::start(SIM, Some(Duration::from_secs(2)));
    service.wait_told("READY=1");
    service.wait_told("WATCHDOG=1");
    service.wait_told("STATUS=1/1 cameras live");
    wait_for("frames", LONG, || {
        let (_, json) = get_json(service.http, "/api/cameras/street");
        json["frames_processed"].as_u64().filter(|n| *n > 10)
    });

    // A bad file leaves everything running and says why; a good one is taken.
    service.rewrite(&SIM.replace("[http]", "[htpt]"));
    service.process.signal("HUP");
    let line = service.wait_log("did you mean 'http'");
    assert!(line.contains("passd.toml:3"), "{line}");
    service.rewrite(&format!("{SIM}[cameras.second]\nsource = \"sim://street?seed=6&size=320x192\"\n"));
    service.process.signal("HUP");
    service.wait_log("config is reloaded");
    service.wait_told("RELOADING=1");
    service.wait_told("MONOTONIC_USEC=");
    service.wait_told("STATUS=2/2 cameras live");

    let processed = get_json(service.http, "/api/cameras/street").1["frames_processed"].as_u64().unwrap();
    let start = Instant::now();
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(service.told().iter().any(|t| t == "STOPPING=1"));
    // What was computed is there, every line whole.
    let text = std::fs::read_to_string(service.folder.path().join("out.jsonl")).unwrap();
    let frames: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let street = frames.iter().filter(|f| f["camera"] == "street").count() as u64;
    assert!(street >= processed, "{street} lines, {processed} frames had been put out");
}

/// A stage that hangs, for real: a clip at full speed waits for its reader, and nobody reads.
#[test]
fn the_watchdog_starves_when_a_stage_hangs() {
    let config = "[cameras.street]\nsource = \"sim://street?size=320x192&traffic=0&wind=0&noise=0\"\ncapture.pace = \"fast\"\ndetector.size = \"320x192\"\n\
        [http]\nenabled = false\n[output.jsonl]\npath = \"-\"\n";
    // One that is full after a few frames.
    let (mut unread, pipe) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&pipe, 4096).unwrap();
    let mut service = Service::start_with(config, Some(Duration::from_secs(2)), pipe.into());
    service.wait_told("READY=1");
    service.wait_told("WATCHDOG=1");
    let line = service.wait_log("nothing has been put out");
    assert!(line.contains("street"), "{line}");
    let fed = |service: &Service| service.told().iter().filter(|t| *t == "WATCHDOG=1").count();
    let before = fed(&service);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(fed(&service), before, "not fed while it hangs");
    // Somebody reads: it goes on, and is fed again.
    std::thread::spawn(move || std::io::copy(&mut unread, &mut std::io::sink()));
    wait_for("food", LONG, || (fed(&service) > before).then_some(()));
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
}

#[test]
fn http_shows_everything() {
    let service = Service::start(SIM, None);
    service.wait_told("READY=1");
    let http = service.http;
    wait_for("readiness", LONG, || (get(http, "/ready").0 == 200).then_some(()));
    wait_for("detections", LONG, || {
        let (status, json) = get_json(http, "/api/cameras/street/detections");
        (status == 200 && json["detections"].as_array().is_some_and(|d| !d.is_empty())).then_some(())
    });
    assert_eq!(get(http, "/live").0, 200);
    assert_eq!(get(http, "/startup").0, 200);
    let (_, json) = get_json(http, "/api/cameras/street/detections");
    assert_eq!((json["schema"].as_u64(), json["width"].as_u64()), (Some(1), Some(640)));
    let first = &json["detections"][0];
    assert!(["person", "car"].contains(&first["label"].as_str().unwrap()), "{first}");
    assert!(["computed", "carried", "predicted"].contains(&first["source"].as_str().unwrap()), "{first}");

    let (_, cameras) = get_json(http, "/api/cameras");
    assert_eq!((cameras[0]["id"].as_str(), cameras[0]["state"].as_str()), (Some("street"), Some("live")));
    assert_eq!(cameras[0]["provider"], "cpu");
    assert!(get_json(http, "/api/stats").1["frames_processed"].as_u64().unwrap() > 0);

    let metrics = String::from_utf8(get(http, "/metrics").1).unwrap();
    for name in [
        "passd_frames_processed_total{camera=\"street\"}",
        "passd_frames_dropped_total{camera=\"street\",reason=\"replaced\"}",
        "passd_patches_total{camera=\"street\",reason=\"changed\"}",
        "passd_stage_duration_seconds_bucket{le=\"0.001\",camera=\"street\",stage=\"skip\"}",
        "passd_camera_state{camera=\"street\",state=\"live\"} 1",
        "passd_detector_info{camera=\"street\",model=\"street-nano\",size=\"640x384\",provider=\"cpu\",mode=\"layers\"} 1",
        "passd_layer_macs_total{camera=\"street\",kind=\"executed\"}",
        "passd_layer_cells_total{camera=\"street\",kind=\"passed\"}",
        "passd_layer_seconds_total{camera=\"street\",kind=\"bookkeeping\"}",
        "passd_layer_seconds_total{camera=\"street\",kind=\"gates\"}",
        "passd_layer_state_bytes{camera=\"street\"}",
        "passd_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }

    for path in ["/api/cameras/street/latest.jpg", "/api/cameras/street/latest.jpg?patches=1"] {
        let (status, jpeg) = get(http, path);
        let picture = image::load_from_memory(&jpeg).unwrap();
        assert_eq!((status, picture.width(), picture.height()), (200, 640, 384));
    }
    assert_eq!(get(http, "/api/cameras/nobody/latest.jpg").0, 404);
    assert_eq!(get(http, "/api/cameras/street/latest.jpg?patches=x").0, 400);
    assert_eq!(get(http, "/etc/passwd").0, 404);
}

/// Viewers that never read, and one that does: the camera goes on at its rate.
#[test]
fn a_slow_reader_slows_nothing() {
    use std::io::{Read, Write};
    let service = Service::start(SIM, None);
    service.wait_told("READY=1");
    let open = || {
        let mut stream = std::net::TcpStream::connect(service.http).unwrap();
        write!(stream, "GET /api/cameras/street/stream.mjpg?patches=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let _deaf: Vec<_> = (0..5).map(|_| open()).collect();
    let mut reader = open();
    reader.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 65536]);
    wait_for("three parts of the stream", LONG, || {
        let n = reader.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..n]);
        (seen.windows(7).filter(|w| w == b"--passd").count() > 3).then_some(())
    });
    let processed = || get_json(service.http, "/api/cameras/street").1["frames_processed"].as_u64().unwrap();
    let before = processed();
    wait_for("more frames", LONG, || (processed() > before + 20).then_some(()));
}

/// One camera that is not there and one that is: each for itself.
#[test]
fn a_dead_camera_disturbs_no_other_and_its_password_stays_hidden() {
    let server = RtspServer::start(0, "320x240", None);
    let config = format!(
        "[detector]\nmodel = \"anything\"\n[cameras.dead]\nsource = \"rtsp://admin:hunter2@127.0.0.1:{}/cam\"\n[cameras.good]\nsource = \"{}\"\n[http]\nlisten = \"{{http}}\"\n",
        free_port(),
        server.address
    );
    let service = Service::start(&config, Some(Duration::from_secs(4)));
    service.wait_told("READY=1");
    let line = service.wait_log("off line");
    assert!(line.contains("dead") && line.contains("next attempt"), "{line}");
    wait_for("frames of the good one", LONG, || {
        get_json(service.http, "/api/cameras/good").1["frames_processed"].as_u64().filter(|n| *n > 10)
    });
    // Off line is a state: the watchdog is fed all the same.
    service.wait_told("WATCHDOG=1");
    let (_, json) = get_json(service.http, "/api/cameras/dead");
    assert_eq!(json["source"].as_str().unwrap().split('@').next(), Some("rtsp://***"));
    assert!(json["cause"].as_str().is_some_and(|c| !c.is_empty()), "{json}");
    assert!(!service.log.lock().unwrap().join("\n").contains("hunter2"));
    assert!(!service.told().join("\n").contains("hunter2"));
}

/// A disk that is always full: counted, the daemon lives.
#[test]
fn a_full_disk_is_counted() {
    let config = SIM.replace("{dir}/out.jsonl", "/dev/full");
    let mut service = Service::start(&config, None);
    service.wait_told("READY=1");
    service.wait_log("JSON lines cannot be written");
    wait_for("the count", LONG, || {
        let text = String::from_utf8(get(service.http, "/metrics").1).unwrap();
        text.lines().any(|l| l.starts_with("passd_output_errors_total{sink=\"jsonl\"}")).then_some(())
    });
    wait_for("frames", LONG, || {
        get_json(service.http, "/api/cameras/street").1["frames_processed"].as_u64().filter(|n| *n > 10)
    });
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
}

#[test]
fn a_clip_is_worked_through_and_the_daemon_ends() {
    let config = "[cameras.clip]\nsource = \"sim://street?frames=25&seed=2\"\ncapture.pace = \"fast\"\n\
        [http]\nenabled = false\n[output.jsonl]\npath = \"{dir}/out.jsonl\"\n";
    let mut service = Service::start(config, None);
    assert_eq!(service.wait_end(), Some(0));
    let text = std::fs::read_to_string(service.folder.path().join("out.jsonl")).unwrap();
    let frames: Vec<u64> = text
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["frame"].as_u64().unwrap())
        .collect();
    assert_eq!(frames, (0..25).collect::<Vec<_>>());
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/passd.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    for line in
        ["Type=notify", "NotifyAccess=main", "WatchdogSec=", "ExecReload=/bin/kill -HUP $MAINPID", "Restart=on-failure"]
    {
        assert!(text.contains(line), "{line}");
    }
    // systemd-analyze looks for the program, too: one that is there stands in.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("passd.service");
    std::fs::write(
        &copy,
        text.replace("/usr/bin/passd", env!("CARGO_BIN_EXE_passd")).replace("Documentation=man:passd(1)\n", ""),
    )
    .unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&copy).output() {
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success() && !said.contains("passd.service:"), "{said}");
        }
        Err(e) => println!("skipped: systemd-analyze: {e}"),
    }
}

/// Objects become events on disk and over HTTP; what a stopped daemon leaves is whole.
#[test]
fn events_with_pictures_over_http_and_on_disk() {
    let config = "[cameras.street]\nsource = \"sim://street?seed=3&fps=20&size=640x384\"\n\
        zones.all = { polygon = [[0, 0], [1, 0], [1, 1], [0, 1]] }\nlines.middle = { from = [0.5, 0], to = [0.5, 1] }\n\
        [http]\nlisten = \"{http}\"\n[events]\npath = \"{dir}/events\"\nmax_mib = 1\n";
    let mut service = Service::start(config, None);
    service.wait_told("READY=1");
    let event = wait_for("an event with a picture that was in a zone", LONG, || {
        let (status, events) = get_json(service.http, "/api/events?camera=street&zone=all&limit=20");
        assert_eq!(status, 200);
        let seen = |e: &&serde_json::Value| e["has_picture"] == true;
        events.as_array().unwrap().iter().find(seen).cloned()
    });
    let id = event["id"].as_str().unwrap();
    assert!(id.contains("-street-") && ["car", "person"].contains(&event["label"].as_str().unwrap()), "{event}");
    for what in ["snapshot.jpg", "crop.jpg"] {
        let (status, jpeg) = get(service.http, &format!("/api/events/{id}/{what}"));
        let picture = image::load_from_memory_with_format(&jpeg, image::ImageFormat::Jpeg).unwrap();
        assert!(status == 200 && picture.width() > 4, "{what}");
        assert_eq!(picture.width() == 640, what == "snapshot.jpg");
    }
    assert_eq!(get_json(service.http, &format!("/api/events/{id}")).1["id"], event["id"]);
    let counts = get_json(service.http, "/api/cameras/street/counts").1;
    assert!(counts["zones"]["all"].is_object() && counts["lines"]["middle"].is_object(), "{counts}");
    for bad in [
        "/api/events/..%2f..%2fpassd.toml",
        "/api/events/..%2f..%2fpassd.toml/snapshot.jpg",
        "/api/events/1700000000000-street-999999/crop.jpg",
        "/api/events/%00",
    ] {
        assert_eq!(get(service.http, bad).0, 404, "{bad}");
    }
    assert_eq!(get(service.http, "/api/events?limit=-1").0, 400);
    assert_eq!(get_json(service.http, "/api/events?limit=100000").0, 200);

    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
    let folder = service.folder.path().join("events/street");
    let (mut n, mut bytes) = (0, 0);
    for file in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()) {
        bytes += std::fs::metadata(&file).unwrap().len();
        if file.extension().is_some_and(|e| e == "json") {
            let event: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            assert!(event["end"].is_number() && event["interrupted"].is_null(), "{event}");
            n += 1;
        }
    }
    assert!(n > 0 && bytes <= 1 << 20, "{n} events of {bytes} bytes");
}

#[test]
fn a_folder_that_cannot_be_written_is_said_at_the_start() {
    let mut service = Service::start(&format!("{SIM}[events]\npath = \"/proc/events\"\n"), None);
    assert_eq!(service.wait_end(), Some(1));
    service.wait_log("events cannot be kept in /proc/events");
}

/// Clients that do it wrong, on purpose or not: bounded, and the next one is served.
#[test]
fn hostile_clients_are_bounded() {
    use std::io::{Read, Write};
    let service = Service::start(SIM, None);
    service.wait_told("READY=1");
    let resident = || get_json(service.http, "/api/stats").1["resident_mib"].as_f64().unwrap();
    wait_for("frames", LONG, || (get(service.http, "/api/cameras/street/detections").0 == 200).then_some(()));
    let before = resident();
    let connect = || {
        let stream = std::net::TcpStream::connect(service.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    // Nonsense, a head without end, a body without end, a path that leads out.
    let nonsense: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /api/cameras/%ff%fe/latest.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for bytes in nonsense {
        let mut stream = connect();
        stream.write_all(bytes).unwrap();
        let mut answer = [0; 64];
        let n = stream.read(&mut answer).unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..n]).into_owned();
        assert!(n == 0 || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    let mut endless = connect();
    let line = [b'x'; 4096];
    let _ = endless.write_all(b"GET / HTTP/1.1\r\nX: ");
    let refused = (0..100_000).find(|_| endless.write_all(&line).is_err());
    assert!(refused.is_some_and(|n| n < 20_000), "{refused:?}");
    // Another name for this machine: somebody's page, perhaps.
    let mut stream = connect();
    stream.write_all(b"GET /api/cameras HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
    let mut answer = [0; 64];
    let n = stream.read(&mut answer).unwrap();
    assert!(answer[..n].starts_with(b"HTTP/1.1 421"));
    // More connections than there is room for, all of them silent.
    let silent: Vec<_> = (0..300).map(|_| connect()).collect();
    let start = Instant::now();
    assert_eq!(get(service.http, "/live").0, 200);
    assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());
    drop(silent);
    let after = resident();
    assert!(after < before + 40.0, "{before} MiB, then {after} MiB");
    let processed = || get_json(service.http, "/api/cameras/street").1["frames_processed"].as_u64().unwrap();
    let n = processed();
    wait_for("more frames", LONG, || (processed() > n + 10).then_some(()));
}

/// Outputs, zones and the budget change while cameras go on; what cannot be had leaves everything as it was.
#[test]
fn a_file_that_changes_is_taken_over_without_touching_cameras() {
    let with = |more: &str| format!("{SIM}[events]\npath = \"{{dir}}/events\"\n{more}");
    let service = Service::start(&with(""), None);
    service.wait_told("READY=1");
    let camera = |http| get_json(http, "/api/cameras/street").1;
    let processed = |http| camera(http)["frames_processed"].as_u64().unwrap();
    wait_for("frames", LONG, || (processed(service.http) > 20).then_some(()));
    let lines =
        |name: &str| std::fs::read_to_string(service.folder.path().join(name)).map_or(0, |text| text.lines().count());
    assert!(lines("out.jsonl") > 10);

    // Nobody tells it: the file is another one. Lines go to another file, HTTP listens elsewhere.
    let elsewhere: std::net::SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let before = processed(service.http);
    let other =
        with("[budget]\ncpu = 0.9\n").replace("out.jsonl", "new/other.jsonl").replace("{http}", &elsewhere.to_string());
    service.rewrite(&other);
    service.wait_log("config is reloaded");
    wait_for("lines in the other file", LONG, || (lines("new/other.jsonl") > 10).then_some(()));
    assert!(processed(elsewhere) > before, "the camera was not started anew");
    assert!(std::net::TcpStream::connect(service.http).is_err(), "nobody listens there any more");
    let shown = String::from_utf8(get(elsewhere, "/api/config").1).unwrap();
    assert!(shown.contains("new/other.jsonl") && shown.contains("cpu = 0.9"), "{shown}");

    // An output that cannot be had: all stays, and it is said.
    let before = processed(elsewhere);
    service.rewrite(&other.replace("{dir}/new/other.jsonl", "/proc/nothing.jsonl"));
    service.wait_log("config is not reloaded");
    service.wait_told("STATUS=1/1 cameras live, ");
    let trouble =
        wait_for("trouble", LONG, || get_json(elsewhere, "/api/stats").1["trouble"].as_str().map(str::to_owned));
    assert!(trouble.contains("/proc/nothing.jsonl"), "{trouble}");
    let n = lines("new/other.jsonl");
    wait_for("more lines where they went before", LONG, || (lines("new/other.jsonl") > n + 10).then_some(()));
    assert!(processed(elsewhere) > before);
    service.rewrite(&other);
    wait_for("no trouble", LONG, || get_json(elsewhere, "/api/stats").1["trouble"].is_null().then_some(()));
}

/// A thousand connections that never finish their request, from the address of the probe itself.
#[test]
fn probes_are_answered_however_many_others_wait() {
    let service = Service::start(SIM, None);
    service.wait_told("READY=1");
    let slow: Vec<std::net::TcpStream> = (0..1000)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(service.http).unwrap();
            // Some are closed for the others' sake by now.
            let _ = stream.write_all(b"GET /api/stats HTTP/1.1\r\nHost: 127");
            stream
        })
        .collect();
    let start = Instant::now();
    for path in ["/live", "/startup", "/api/stats"] {
        assert_eq!(get(service.http, path).0, 200, "{path}");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    drop(slow);
}

#[test]
fn two_daemons_in_one_folder_are_one_too_many() {
    let first = Service::start(&format!("{SIM}[events]\npath = \"{{dir}}/events\"\n"), None);
    first.wait_told("READY=1");
    let events = first.folder.path().join("events");
    let mut second = Service::start(&format!("{SIM}[events]\npath = \"{}\"\n", events.display()), None);
    assert_eq!(second.wait_end(), Some(1));
    second.wait_log("another passd is at work");
    assert_eq!(get(first.http, "/live").0, 200);
}
