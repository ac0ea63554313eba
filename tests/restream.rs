//! RTSP out, watched by a real client.

mod common;

use common::service::Service;
use common::{free_port, get, wait_for};
use passd::capture::{SourceSpec, probe};
use passd::geom::Size;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn look(address: &str) -> Result<Size, String> {
    let spec = SourceSpec::parse(address).unwrap();
    probe(&spec, Duration::from_secs(15)).map(|(size, _)| size).map_err(|e| e.to_string())
}

#[test]
fn encoded_only_while_somebody_watches() {
    let port = free_port();
    let config = format!(
        "[cameras.street]\nsource = \"sim://street?seed=3&fps=10&size=640x352\"\n[cameras.yard]\nsource = \"sim://street?seed=4&fps=10\"\n\
         [http]\nlisten = \"{{http}}\"\n[restream]\nlisten = \"127.0.0.1:{port}\"\nsoftware = true\npassword = \"hunter2hunter2\"\n"
    );
    let mut service = Service::start(&config, None);
    service.wait_told("READY=1");
    service.wait_log("restream on rtsp://127.0.0.1:");
    wait_for("frames", LONG, || (get(service.http, "/api/cameras/street/detections").0 == 200).then_some(()));
    let encoders = || {
        let text = String::from_utf8(get(service.http, "/metrics").1).unwrap();
        text.lines().find_map(|l| l.strip_prefix("passd_restream_encoders ")?.parse::<u32>().ok()).unwrap()
    };
    assert_eq!(encoders(), 0);
    let at = |user: &str, camera: &str| format!("rtsp://{user}127.0.0.1:{port}/{camera}");
    // Its path appears within a second.
    let size = wait_for("the camera's path", LONG, || {
        look(&at("passd:hunter2hunter2@", "street")).map_err(|e| println!("{e}")).ok()
    });
    assert_eq!(size, Size::new(640, 352));
    for user in ["", "passd:wrong-password@"] {
        let error = look(&at(user, "street")).unwrap_err().to_lowercase();
        assert!(error.contains("authorized"), "nobody without the password: {error}");
    }
    assert_eq!(look(&at("passd:hunter2hunter2@", "yard")), Ok(Size::new(640, 384)));
    // Who has no password learns no names: what is there and what is not is answered alike.
    let describe = |camera: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "DESCRIBE rtsp://127.0.0.1:{port}/{camera} RTSP/1.0\r\nCSeq: 1\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    };
    assert_eq!((describe("nobody"), describe("")), (describe("street"), describe("street")));
    assert!(describe("nobody").contains("401"), "{}", describe("nobody"));
    let error = look(&at("passd:hunter2hunter2@", "nobody")).unwrap_err().to_lowercase();
    assert!(error.contains("bad request"), "who has the password is told that there is none: {error}");
    wait_for("nobody watches any more", LONG, || (encoders() == 0).then_some(()));
    assert!(!service.log.lock().unwrap().join("\n").contains("hunter2"));
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
}

#[test]
fn the_processor_encodes_only_if_it_may() {
    let config =
        "[cameras.street]\nsource = \"sim://street\"\n[http]\nenabled = false\n[restream]\nlisten = \"127.0.0.1:0\"\n";
    let mut service = Service::start(config, None);
    let said = wait_for("an end, or a hardware encoder", LONG, || {
        let log = service.log.lock().unwrap().join("\n");
        (log.contains("restream.software = true") || log.contains("restream on rtsp")).then_some(log)
    });
    if said.contains("restream.software") {
        assert_eq!(service.wait_end(), Some(1));
    } else {
        println!("skipped: there is a hardware encoder here");
    }
}
