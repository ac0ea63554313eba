//! The outputs of the config, running: each is started, kept or exchanged as the config says.

use super::error::DaemonError;
use crate::config::{Config, EventsConfig, JsonlConfig, JsonlTarget};
use crate::output::board::Board;
use crate::output::desk::Desk;
use crate::output::events::store::Limits;
use crate::output::events::{Archive, EventSink};
use crate::output::http::{HttpServer, HttpSettings};
use crate::output::jsonl::{JsonlSink, Target};
use crate::output::metrics::Metrics;
use crate::output::mqtt::{MqttSettings, MqttSink};
use crate::output::restream::{Restream, RestreamSettings};
use crate::output::webhook::{WebhookSettings, WebhookSink};
use crate::output::{Command, Sink, Sinks};
use crossbeam_channel::Sender;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything that results go to.
pub struct RunningOutputs {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    commands: Sender<Command>,
    sinks: Arc<Sinks>,
    /// Those that nobody configured.
    extra: Vec<Arc<dyn Sink>>,
    jsonl: Running<JsonlConfig, Arc<dyn Sink>>,
    events: Running<EventsConfig, Arc<EventSink>>,
    mqtt: Running<MqttSettings, Arc<dyn Sink>>,
    webhook: Running<WebhookSettings, Arc<dyn Sink>>,
    http: Running<HttpSettings, HttpServer>,
    restream: Running<RestreamSettings, Restream>,
    /// Where what learns is asked, and what it is told of events.
    learning: Option<(Desk, Arc<dyn Sink>)>,
}

/// So long somebody may go on writing to an output that has ended.
const WRITING_ON: Duration = Duration::from_secs(2);

/// An output, and the settings that it was started with.
type Running<S, T> = Option<(S, T)>;

impl RunningOutputs {
    pub fn new(board: Arc<Board>, metrics: Arc<Metrics>, commands: Sender<Command>, extra: Vec<Arc<dyn Sink>>) -> Self {
        Self {
            board,
            metrics,
            commands,
            sinks: Arc::new(Sinks::new(extra.clone())),
            extra,
            jsonl: None,
            events: None,
            mqtt: None,
            webhook: None,
            http: None,
            restream: None,
            learning: None,
        }
    }

    /// Has another learner be asked from the next [`RunningOutputs::apply`] on.
    pub fn set_learning(&mut self, learning: Option<(Desk, Arc<dyn Sink>)>) {
        self.learning = learning;
        // They hold the desk of the one before.
        self.http = None;
        let mqtt = self.mqtt.take();
        self.publish();
        mqtt.into_iter().for_each(|(_, sink)| end(sink));
    }

    /// What the pipeline writes to.
    pub fn sinks(&self) -> Arc<Sinks> {
        self.sinks.clone()
    }

    /// Where HTTP listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, http)| http.address)
    }

    /// Brings the outputs to the config. Those that stay the same are not touched. One that changes is ended before
    /// it is started anew, as both may want the same port or file.
    ///
    /// # Errors
    /// An output cannot be started: it and those after it do not run.
    pub fn apply(&mut self, config: &Config) -> Result<(), DaemonError> {
        // HTTP shows the events that are kept.
        let archive_stays = is_same(&self.events, config.events.as_ref());
        if !is_same(&self.http, config.http.as_ref()) || !archive_stays {
            self.http = None;
        }
        drop(take_unless_same(&mut self.restream, config.restream.as_ref()));
        let ended: [Option<Arc<dyn Sink>>; 4] = [
            take_unless_same(&mut self.jsonl, config.jsonl.as_ref()),
            take_unless_same(&mut self.events, config.events.as_ref()).map(|sink| sink as Arc<dyn Sink>),
            take_unless_same(&mut self.mqtt, config.mqtt.as_ref()),
            take_unless_same(&mut self.webhook, config.webhook.as_ref()),
        ];
        self.publish();
        ended.into_iter().flatten().for_each(end);
        let started = self.start_missing(config);
        self.publish();
        started
    }

    fn start_missing(&mut self, config: &Config) -> Result<(), DaemonError> {
        let metrics = || self.metrics.clone();
        if let (None, Some(j)) = (&self.jsonl, &config.jsonl) {
            let target = match &j.target {
                JsonlTarget::Stdout => Target::Stdout,
                JsonlTarget::File(path) => {
                    Target::File { path: path.clone(), rotate_bytes: j.rotate_bytes, keep: j.keep }
                }
            };
            let sink = JsonlSink::start(target, j.empty_frames, metrics())
                .map_err(|source| DaemonError::Jsonl { path: format!("{:?}", j.target), source })?;
            self.jsonl = Some((j.clone(), Arc::new(sink)));
        }
        if let (None, Some(e)) = (&self.events, &config.events) {
            let limits = Limits { bytes: e.max_bytes, age_ms: e.max_age.as_millis() as u64, n: e.max_events };
            let sink = EventSink::start(&e.path, limits, metrics())
                .map_err(|source| DaemonError::Events { path: e.path.display().to_string(), source })?;
            self.events = Some((e.clone(), Arc::new(sink)));
        }
        if let (None, Some(m)) = (&self.mqtt, &config.mqtt) {
            let sink = MqttSink::start(m.clone(), self.board.clone(), metrics(), self.commands.clone(), self.desk())
                .map_err(|e| DaemonError::Other(format!("MQTT: {e}")))?;
            self.mqtt = Some((m.clone(), Arc::new(sink)));
        }
        if let (None, Some(w)) = (&self.webhook, &config.webhook) {
            let sink =
                WebhookSink::start(w.clone(), metrics()).map_err(|e| DaemonError::Other(format!("webhook: {e}")))?;
            self.webhook = Some((w.clone(), Arc::new(sink)));
        }
        if let (None, Some(r)) = (&self.restream, &config.restream) {
            let server = Restream::start(r.clone(), self.board.clone(), metrics())
                .map_err(|e| DaemonError::Other(format!("restream: {e}")))?;
            self.restream = Some((r.clone(), server));
        }
        if let (None, Some(h)) = (&self.http, &config.http) {
            let archive: Option<Archive> = self.events.as_ref().map(|(_, sink)| sink.archive.clone());
            let server = HttpServer::start(h, self.board.clone(), metrics(), archive, self.desk())
                .map_err(|source| DaemonError::Http { address: h.listen, source })?;
            tracing::info!("HTTP on http://{}", server.address);
            self.http = Some((h.clone(), server));
        }
        Ok(())
    }

    fn desk(&self) -> Option<Desk> {
        self.learning.as_ref().map(|(desk, _)| desk.clone())
    }

    /// Tells the pipeline what there is to write to.
    fn publish(&self) {
        let mut sinks = self.extra.clone();
        sinks.extend(self.jsonl.iter().map(|(_, sink)| sink.clone()));
        sinks.extend(self.events.iter().map(|(_, sink)| sink.clone() as Arc<dyn Sink>));
        sinks.extend(self.mqtt.iter().map(|(_, sink)| sink.clone()));
        sinks.extend(self.webhook.iter().map(|(_, sink)| sink.clone()));
        sinks.extend(self.learning.iter().map(|(_, sink)| sink.clone()));
        self.sinks.set(sinks);
    }

    /// Ends them: their own ends wait for their queues; HTTP is last, so that the end can be watched.
    pub fn stop(mut self) {
        self.sinks.set(Vec::new());
        (self.jsonl, self.events, self.mqtt, self.webhook) = (None, None, None, None);
        drop((self.restream, self.http));
    }
}

fn is_same<S: PartialEq, T>(running: &Running<S, T>, wanted: Option<&S>) -> bool {
    running.as_ref().map(|(settings, _)| settings) == wanted
}

fn take_unless_same<S: PartialEq, T>(running: &mut Running<S, T>, wanted: Option<&S>) -> Option<T> {
    if is_same(running, wanted) { None } else { running.take().map(|(_, output)| output) }
}

/// Ends a sink that is no longer published to, here and not in the thread of whoever still writes to it.
fn end(sink: Arc<dyn Sink>) {
    let start = Instant::now();
    while Arc::strong_count(&sink) > 1 && start.elapsed() < WRITING_ON {
        std::thread::sleep(Duration::from_millis(1));
    }
}
