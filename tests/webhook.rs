//! Events to a web address: a real listener that fails, refuses and stalls.

use passd::output::Sink;
use passd::output::metrics::Metrics;
use passd::output::webhook::{WebhookSettings, WebhookSink};
use passd::scene::event::Phase;
use passd::wire::event::EventMessage;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const TOKEN: &str = "a-token-of-ours";

/// Answers requests in turn with these statuses, then always with the last; 0: says nothing. What it got comes back.
fn listener(statuses: &'static [u16]) -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
    let (sender, got) = channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for (n, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let length =
                head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let status = statuses[n.min(statuses.len() - 1)];
            if status == 0 {
                held.push(reader);
                continue;
            }
            let answer = format!("HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if status < 300 && sender.send((head, serde_json::from_slice(&body).unwrap())).is_err() {
                return;
            }
        }
    });
    (address, got)
}

fn message(n: u64, phase: Phase) -> Arc<EventMessage> {
    let event = json!({ "schema": 1, "id": format!("1700000000000-a-{n}"), "camera": "a", "label": "car", "track": n, "start": 1.0,
        "last": 2.0, "state": "confirmed", "score": 0.5, "top_score": 0.6, "box": [1, 2, 3, 4], "zones": [], "stays": [], "crossings": [] });
    Arc::new(EventMessage { phase, event: serde_json::from_value(event).unwrap(), best: None, lossless: false })
}

fn sink(url: String, phases: &[Phase], timeout: Duration) -> (WebhookSink, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let settings = WebhookSettings { url, token: Some(TOKEN.into()), ca: None, phases: phases.to_vec(), timeout };
    (WebhookSink::start(settings, metrics.clone()).unwrap(), metrics)
}

#[test]
fn messages_come_in_order_whatever_the_listener_does() {
    // Broken, silent, busy, refusing the first message; then well.
    let (url, got) = listener(&[500, 0, 429, 400, 200]);
    let (sink, metrics) = sink(url, &[Phase::New, Phase::End], Duration::from_millis(300));
    for n in 0..5 {
        sink.event(&message(n, Phase::New));
        sink.event(&message(n, Phase::Update));
    }
    sink.event(&message(4, Phase::End));
    let got: Vec<(String, Value)> = (0..5).map(|_| got.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
    let said: Vec<(u64, &str)> =
        got.iter().map(|(_, m)| (m["event"]["track"].as_u64().unwrap(), m["type"].as_str().unwrap())).collect();
    assert_eq!(said, [(1, "new"), (2, "new"), (3, "new"), (4, "new"), (4, "end")]);
    let head = got[0].0.to_ascii_lowercase();
    assert!(head.starts_with("post /hook?key=1 http/1.1") && head.contains("application/json"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {TOKEN}")), "{head}");
    let text = metrics.render();
    assert!(text.contains("passd_output_dropped_total{sink=\"webhook\"} 1"), "{text}");
    assert!(text.contains("passd_output_errors_total{sink=\"webhook\"} 4"), "{text}");
}

#[test]
fn nobody_there_holds_up_nobody() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (sink, metrics) = sink(format!("http://{closed}/"), &[Phase::New], Duration::from_secs(5));
    let start = Instant::now();
    (0..10_000).for_each(|n| sink.event(&message(n, Phase::New)));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    drop(sink);
    assert!(start.elapsed() < Duration::from_secs(6), "the end waits a little and no longer: {:?}", start.elapsed());
    assert!(metrics.render().contains("passd_output_dropped_total{sink=\"webhook\"} 10000"), "{}", metrics.render());
}
