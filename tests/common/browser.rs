//! A real Chromium without a window, over WebDriver.

use super::{Running, request};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

pub struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Running,
}

impl Browser {
    pub fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("chromium and its driver are installed: scripts/setup.sh tests");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|l| l.contains("successfully on port")).expect("the driver says its port");
        std::thread::spawn(move || lines.for_each(drop));
        let port = line.rsplit("on port ").next().unwrap().trim_end_matches('.').parse().unwrap();
        let mut browser =
            Self { driver: SocketAddr::from(([127, 0, 0, 1], port)), session: String::new(), _process: Running(child) };
        let args =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,1000"];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = browser.command("POST", "", &wanted);
        browser.session = format!("/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let kind = "Content-Type: application/json\r\n";
        let path = format!("/session{}{path}", self.session);
        let (status, _, answer) = request(self.driver, method, &path, kind, body.as_bytes());
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer["value"].take()
    }

    pub fn open(&self, address: &str) {
        self.command("POST", "/url", &json!({ "url": address }));
    }

    /// What a JavaScript expression is in the page.
    pub fn eval(&self, expression: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": format!("return {expression}"), "args": [] }))
    }

    /// The screen of a phone.
    pub fn be_a_phone(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": true });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.command("POST", "/goog/cdp/execute", &command);
    }

    /// What the page has complained about since the last call.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Writes what the window shows, PNG.
    pub fn screenshot(&self, path: &Path) {
        let encoded = self.command("GET", "/screenshot", &Value::Null);
        let mut decode = Command::new("base64");
        let mut child =
            decode.arg("-d").stdin(Stdio::piped()).stdout(std::fs::File::create(path).unwrap()).spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), encoded.as_str().unwrap().as_bytes()).unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes Chromium; the driver itself is ended as a process.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.command("DELETE", "", &Value::Null)));
    }
}
