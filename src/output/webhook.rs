//! Events to a web address: a POST of JSON for each message ([`MessageJson`]), in order.
//!
//! The address may be down: messages wait in a bounded queue, what does not fit is counted. A message that is
//! refused (4xx) is given up; one that fails otherwise is tried again, ever more rarely, until it is through.

use super::Sink;
use super::metrics::Metrics;
use crate::backoff::Backoff;
use crate::scene::event::Phase;
use crate::web::{ClientSettings, client};
use crate::wire::event::EventMessage;
use crate::wire::event::MessageJson;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Messages that may wait.
const QUEUE: usize = 256;
/// Between the first two attempts, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// For what still waits at the end.
const GOODBYE: Duration = Duration::from_secs(2);
const NAME: &str = "webhook";

#[derive(Clone, PartialEq)]
pub struct WebhookSettings {
    /// May hold credentials: never printed.
    pub url: String,
    /// Goes along as `Authorization: Bearer`.
    pub token: Option<String>,
    /// Certificates to believe in, PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
    pub phases: Vec<Phase>,
    /// Of one attempt.
    pub timeout: Duration,
}

impl WebhookSettings {
    /// The address as it may be shown: paths and queries of webhooks are their passwords.
    pub fn shown(&self) -> String {
        match url::Url::parse(&self.url) {
            Ok(url) => format!("{}/***", url.origin().ascii_serialization()),
            Err(_) => "***".into(),
        }
    }
}

impl std::fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSettings").field("url", &self.shown()).finish_non_exhaustive()
    }
}

/// The sink. Dropping it waits a little for what is still queued.
pub struct WebhookSink {
    phases: Vec<Phase>,
    queue: Option<Sender<MessageJson>>,
    stop: Option<Sender<()>>,
    metrics: Arc<Metrics>,
    thread: Option<JoinHandle<()>>,
}

impl WebhookSink {
    /// # Errors
    /// The certificates cannot be read, or there is no thread.
    pub fn start(settings: WebhookSettings, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let limits = ClientSettings { ca: settings.ca.as_deref(), patience: settings.timeout, redirects: 0 };
        let agent = client(&limits)?;
        let phases = settings.phases.clone();
        let (queue, messages) = bounded(QUEUE);
        let (stop, stopped) = bounded(0);
        let post = Post { settings, agent, metrics: metrics.clone(), stopped, give_up: None };
        let thread = std::thread::Builder::new().name(NAME.into()).spawn(move || post.run(&messages))?;
        Ok(Self { phases, queue: Some(queue), stop: Some(stop), metrics, thread: Some(thread) })
    }
}

impl Sink for WebhookSink {
    fn event(&self, message: &Arc<EventMessage>) {
        if !self.phases.contains(&message.phase) {
            return;
        }
        let Some(queue) = &self.queue else { return };
        // Never waited for, not even by a clip at full speed: it may be down for days.
        if queue.try_send(MessageJson::new(message)).is_err() {
            self.metrics.output_dropped(NAME);
        }
    }
}

impl Drop for WebhookSink {
    fn drop(&mut self) {
        drop((self.queue.take(), self.stop.take()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What became of an attempt.
enum Outcome {
    Done,
    /// It would be refused again.
    Refused(String),
    Failed(String),
}

struct Post {
    settings: WebhookSettings,
    agent: ureq::Agent,
    metrics: Arc<Metrics>,
    /// Closed: the daemon ends.
    stopped: Receiver<()>,
    /// When what is left is given up.
    give_up: Option<Instant>,
}

impl Post {
    fn run(mut self, messages: &Receiver<MessageJson>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, fastrand::u64(..));
        let url = self.settings.shown();
        let mut n_failures = 0u32;
        for message in messages {
            loop {
                if self.is_over() {
                    // This one, and all that wait behind it.
                    (0..=messages.len()).for_each(|_| self.metrics.output_dropped(NAME));
                    return;
                }
                let id = &message.event.id;
                match self.send(&message) {
                    Outcome::Done => {
                        if n_failures > 0 {
                            tracing::info!("the webhook {url} answers again");
                        }
                        n_failures = 0;
                        backoff.reset();
                        break;
                    }
                    Outcome::Refused(why) => {
                        self.metrics.output_error(NAME);
                        self.metrics.output_dropped(NAME);
                        tracing::warn!(event = id, "the webhook {url} refuses a message: {why}");
                        break;
                    }
                    Outcome::Failed(why) => {
                        self.metrics.output_error(NAME);
                        n_failures = n_failures.saturating_add(1);
                        // The first of a series, then ever rarer.
                        if n_failures.is_power_of_two() {
                            tracing::warn!(
                                event = id,
                                attempts = n_failures,
                                "the webhook {url} cannot be reached: {why}"
                            );
                        }
                        self.pause(backoff.wait());
                    }
                }
            }
        }
    }

    /// Whether the time for what is left is over.
    fn is_over(&mut self) -> bool {
        if self.give_up.is_none() && self.stopped.try_recv() == Err(TryRecvError::Disconnected) {
            self.give_up = Some(Instant::now() + GOODBYE);
        }
        self.give_up.is_some_and(|end| Instant::now() >= end)
    }

    /// Waits before another attempt; shorter if the daemon ends.
    fn pause(&mut self, pause: Duration) {
        match self.give_up {
            None => drop(self.stopped.recv_timeout(pause)),
            Some(end) => std::thread::sleep(FIRST_PAUSE.min(end.saturating_duration_since(Instant::now()))),
        }
    }

    fn send(&self, message: &MessageJson) -> Outcome {
        let Ok(body) = serde_json::to_string(message) else { return Outcome::Refused("it is no JSON".into()) };
        let left = self.give_up.map(|end| end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        let timeout = left.map_or(self.settings.timeout, |left| left.min(self.settings.timeout));
        let request = self.agent.post(&self.settings.url).config().timeout_global(Some(timeout)).build();
        let mut request = request.content_type("application/json");
        if let Some(token) = &self.settings.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        match request.send(&body).map(|answer| answer.status().as_u16()) {
            Ok(200..=299) => Outcome::Done,
            // Too slow, too many: better later. Other refusals stay.
            Ok(status @ (408 | 425 | 429 | 500..)) => Outcome::Failed(format!("HTTP status {status}")),
            Ok(status) => Outcome::Refused(format!("HTTP status {status}")),
            // Without the address.
            Err(e) => Outcome::Failed(e.to_string().replace(&self.settings.url, &self.settings.shown())),
        }
    }
}
