//! MQTT with a real broker: what is told, what is kept, what is obeyed, and what happens while
//! the broker is away.

mod common;

use common::{Running, free_port, get_json, wait_for};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const BROKER: &str = "/usr/sbin/mosquitto";

fn broker(folder: &Path, config: &str) -> Running {
    let path = folder.join("mosquitto.conf");
    std::fs::write(&path, config.replace("{dir}", &folder.display().to_string())).unwrap();
    let mut command = Command::new(BROKER);
    command.arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("mosquitto is installed: scripts/setup.sh"))
}

/// One that everybody may talk to, and a listener at it.
fn open_broker(folder: &Path) -> (u16, Running, Listener) {
    let port = free_port();
    let running = broker(folder, &format!("listener {port} 127.0.0.1\nallow_anonymous true\n"));
    (port, running, Listener::on(port))
}

/// Somebody who listens to everything and may speak.
struct Listener {
    client: Client,
    heard: Arc<Mutex<Heard>>,
}

/// The last payload of each topic, all messages about events, and topics that were taken away.
type Heard = (BTreeMap<String, String>, Vec<serde_json::Value>, Vec<String>);

impl Listener {
    fn new(mut options: MqttOptions) -> Self {
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 64);
        client.subscribe("#", QoS::AtLeastOnce).unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let kept = heard.clone();
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::Publish(p))) => {
                        let text = String::from_utf8(p.payload.to_vec()).unwrap();
                        let mut kept = kept.lock().unwrap();
                        if p.topic.ends_with("/events") {
                            kept.1.push(serde_json::from_str(&text).unwrap());
                        } else {
                            if text.is_empty() {
                                kept.2.push(p.topic.clone());
                            }
                            kept.0.insert(p.topic, text);
                        }
                    }
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        });
        Self { client, heard }
    }

    fn on(port: u16) -> Self {
        Self::new(MqttOptions::new(format!("listener-{port}"), "127.0.0.1", port))
    }

    fn topic(&self, topic: &str) -> Option<String> {
        self.heard.lock().unwrap().0.get(topic).cloned()
    }

    #[track_caller]
    fn wait(&self, topic: &str, wanted: &str) {
        wait_for(&format!("{topic} = {wanted}"), LONG, || (self.topic(topic).as_deref() == Some(wanted)).then_some(()));
    }

    fn say(&self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
    }
}

struct Daemon {
    process: Running,
    log: Arc<Mutex<Vec<String>>>,
    http: std::net::SocketAddr,
}

impl Daemon {
    fn start(folder: &Path, mqtt: &str) -> Self {
        let http = format!("127.0.0.1:{}", free_port());
        let config = format!(
            "[cameras.street]\nsource = \"sim://street?seed=3&fps=20\"\n\
             zones.all = {{ polygon = [[0, 0], [1, 0], [1, 1], [0, 1]] }}\n\
             [http]\nlisten = \"{http}\"\n[mqtt]\n{mqtt}"
        );
        let path = folder.join("passd.toml");
        std::fs::write(&path, config.replace("{dir}", &folder.display().to_string())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_passd"));
        command.args(["run", "--config"]).arg(&path).env("STATE_DIRECTORY", folder).env("RUST_LOG", "info");
        command.env("BROKER_PASSWORD", "s3cret");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|l| kept.lock().unwrap().push(l)));
        Self { process: Running(child), log, http: http.parse().unwrap() }
    }

    #[track_caller]
    fn wait_log(&self, part: &str) {
        wait_for(&format!("'{part}' in {:#?}", self.log.lock().unwrap()), LONG, || {
            self.log.lock().unwrap().iter().any(|l| l.contains(part)).then_some(())
        });
    }

    fn stop(mut self) {
        self.process.signal("TERM");
        let status = wait_for("the end", LONG, || self.process.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
        let log = self.log.lock().unwrap();
        let mut after = log.iter().skip_while(|l| !l.contains("INFO stopping"));
        assert!(!after.any(|l| l.contains("WARN")), "a goodbye is no failure: {log:#?}");
    }
}

#[test]
fn told_kept_and_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let (port, _broker, listener) = open_broker(folder.path());
    let url = format!("url = \"mqtt://127.0.0.1:{port}\"\n");
    let daemon = Daemon::start(folder.path(), &url);
    listener.wait("passd/status", "online");
    listener.wait("passd/street/state", "live");
    listener.wait("passd/street/detection/state", "ON");
    listener.wait("passd/street/skip_mode/state", "auto");
    let event = wait_for("a message about an event", LONG, || {
        listener.heard.lock().unwrap().1.iter().find(|e| e["type"] == "new").cloned()
    });
    assert!(event["event"]["id"].as_str().unwrap().contains("-street-"), "{event}");
    wait_for("a count of cars", LONG, || listener.topic("passd/street/count/car")?.parse::<u32>().ok());
    wait_for("a count of cars in a zone", LONG, || listener.topic("passd/street/zone/all/car")?.parse::<u32>().ok());
    // Home Assistant.
    let found = wait_for("discovery", LONG, || listener.topic("homeassistant/switch/passd_street/detection/config"));
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        (&found["command_topic"], &found["availability_topic"]),
        (&"passd/street/detection/set".into(), &"passd/status".into())
    );
    let sensor = "homeassistant/sensor/passd_street/count_car/config";
    wait_for("a sensor", LONG, || listener.topic(sensor));
    // Born again, it is told again.
    listener.heard.lock().unwrap().0.remove(sensor);
    listener.say("homeassistant/status", "online");
    wait_for("the sensor again", LONG, || listener.topic(sensor));

    // Nonsense changes nothing; commands do, and survive a restart.
    for (topic, payload) in [
        ("passd/street/score/set", "lots"),
        ("passd/street/skip_mode/set", "fast"),
        ("passd/nobody/detection/set", "ON"),
        ("passd/street/score/set", "NaN"),
        ("passd/street/score/set", "1e999"),
        ("passd/street/score/set", "-1"),
        ("passd/street/skip_mode/set", " "),
        ("passd/street/skip_mode/set", "\u{0}off"),
        ("passd//detection/set", "OFF"),
        ("passd/street/../street/detection/set", "OFF"),
        ("passd/street/detection/set/set", "OFF"),
        ("passd/street/detection/set", &"x".repeat(100_000)),
    ] {
        listener.say(topic, payload);
    }
    daemon.wait_log("'lots' is no number");
    daemon.wait_log("there is no such camera");
    listener.say("passd/street/score/set", "0.75");
    listener.wait("passd/street/score/state", "0.75");
    // It hides what is edited, until it is undone.
    let edited = std::fs::read_to_string(folder.path().join("passd.toml")).unwrap();
    let edited = edited.replace("source = \"sim", "detector.score = 0.6\nsource = \"sim");
    std::fs::write(folder.path().join("passd.toml"), edited).unwrap();
    daemon.process.signal("HUP");
    daemon.wait_log("camera street: detector.score of the config waits");
    listener.say("passd/street/score/set", "");
    listener.wait("passd/street/score/state", "0.60");
    listener.say("passd/street/score/set", "0.75");
    listener.wait("passd/street/score/state", "0.75");
    listener.say("passd/street/skip_mode/set", "off");
    listener.wait("passd/street/skip_mode/state", "off");
    listener.say("passd/street/detection/set", "OFF");
    listener.wait("passd/street/detection/state", "OFF");
    listener.wait("passd/street/count/car", "0");
    let mut gone = listener.heard.lock().unwrap().2.clone();
    gone.retain(|topic| !topic.ends_with("/set"));
    assert!(gone.is_empty(), "a camera that is set keeps its topics: {gone:?}");
    let frames = || get_json(daemon.http, "/api/cameras/street").1["frames_processed"].as_u64().unwrap();
    let before = frames();
    wait_for("frames without detection", LONG, || (frames() > before + 5).then_some(()));
    daemon.stop();
    listener.wait("passd/status", "offline");
    let daemon = Daemon::start(folder.path(), &url);
    listener.wait("passd/status", "online");
    listener.wait("passd/street/detection/state", "OFF");
    assert_eq!(listener.topic("passd/street/score/state").unwrap(), "0.75");
    // Without a goodbye it is the will that speaks.
    daemon.process.signal("KILL");
    listener.wait("passd/status", "offline");
}

#[test]
fn a_command_beyond_all_bounds_costs_commands_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (port, _broker, listener) = open_broker(folder.path());
    // It lies there for everybody who subscribes, for ever.
    let payload = "x".repeat(600_000);
    listener.client.publish("passd/street/score/set", QoS::AtLeastOnce, true, payload).unwrap();
    let daemon = Daemon::start(folder.path(), &format!("url = \"mqtt://127.0.0.1:{port}\"\n"));
    daemon.wait_log("a message beyond 256 KiB");
    listener.heard.lock().unwrap().0.remove("passd/status");
    listener.client.subscribe("#", QoS::AtLeastOnce).unwrap();
    listener.wait("passd/status", "online");
    let events = || listener.heard.lock().unwrap().1.len();
    let before = events();
    wait_for("events that go on", LONG, || (events() > before).then_some(()));
    assert_eq!(listener.topic("passd/status").unwrap(), "online", "and the connection stays");
    daemon.stop();
}

#[test]
fn a_broker_that_is_away_is_waited_for_and_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let daemon = Daemon::start(folder.path(), &format!("url = \"mqtt://127.0.0.1:{port}\"\n"));
    daemon.wait_log("MQTT: I/O");
    let frames = || get_json(daemon.http, "/api/cameras/street").1["frames_processed"].as_u64();
    wait_for("frames without a broker", LONG, || frames().filter(|n| *n > 40));
    let config = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
    let running = broker(folder.path(), &config);
    let listener = Listener::on(port);
    listener.wait("passd/status", "online");
    // It goes and comes back: everything is there again.
    drop(running);
    listener.heard.lock().unwrap().0.clear();
    let before = frames().unwrap();
    wait_for("frames without a broker", LONG, || frames().filter(|n| *n > before + 20));
    let _again = broker(folder.path(), &config);
    listener.client.subscribe("#", QoS::AtLeastOnce).unwrap();
    listener.wait("passd/status", "online");
    listener.wait("passd/street/state", "live");
    daemon.stop();
}

#[test]
fn tls_and_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &str| {
        let arguments = arguments.replace("{dir}", &folder.path().display().to_string());
        let done = Command::new(program).args(arguments.split(' ')).output().unwrap();
        assert!(done.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run(
        "openssl",
        "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {dir}/ca.key -out {dir}/ca.pem -subj /CN=test-ca",
    );
    run("openssl", "req -newkey rsa:2048 -nodes -keyout {dir}/key.pem -out {dir}/request.pem -subj /CN=localhost");
    std::fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
    run(
        "openssl",
        "x509 -req -in {dir}/request.pem -CA {dir}/ca.pem -CAkey {dir}/ca.key -CAcreateserial -days 2 -extfile {dir}/names -out {dir}/cert.pem",
    );
    run("mosquitto_passwd", "-b -c {dir}/passwords anna s3cret");
    let port = free_port();
    let _broker = broker(
        folder.path(),
        &format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {{dir}}/passwords\ncafile {{dir}}/ca.pem\n\
             certfile {{dir}}/cert.pem\nkeyfile {{dir}}/key.pem\nuser root\n"
        ),
    );
    let ca = std::fs::read(folder.path().join("ca.pem")).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = MqttOptions::new("listener", "localhost", port);
    options.set_credentials("anna", "s3cret");
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple { ca, alpn: None, client_auth: None }));
    let listener = Listener::new(options);
    let url = format!("url = \"mqtts://localhost:{port}\"\nca = \"{{dir}}/ca.pem\"\nusername = \"anna\"\n");
    let refused = Daemon::start(folder.path(), &format!("{url}password = \"wrong\"\n"));
    refused.wait_log("Connection refused");
    assert!(!refused.log.lock().unwrap().iter().any(|l| l.contains("wrong")), "passwords stay hidden");
    drop(refused);
    let daemon = Daemon::start(folder.path(), &format!("{url}password = \"${{BROKER_PASSWORD}}\"\n"));
    listener.wait("passd/status", "online");
    daemon.stop();
}

/// A broker that lets us in and sends us away again, each time.
#[test]
fn a_broker_that_hangs_up_is_not_asked_ever_faster() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, connected) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().flatten() {
            let mut packet = [0; 256];
            let _ = stream.read(&mut packet);
            // CONNACK: welcome, nothing is known of you.
            let _ = stream.write_all(&[0x20, 2, 0, 0]);
            if sender.send(std::time::Instant::now()).is_err() {
                return;
            }
        }
    });
    let daemon = Daemon::start(folder.path(), &format!("url = \"mqtt://127.0.0.1:{port}\"\n"));
    let first = connected.recv_timeout(LONG).unwrap();
    let last = (0..4).map(|_| connected.recv_timeout(LONG).unwrap()).max().unwrap();
    // Half of 0.5, 1, 2 and 4 s at the least.
    assert!(last - first >= Duration::from_millis(3700), "{:?} for four attempts", last - first);
    daemon.stop();
}
