//! MQTT: events as they happen, everything else as retained topics, commands back.
//!
//! A thread of its own. Messages about events wait in a bounded queue, and only that: a broker
//! that is down, slow or refusing costs events, which are counted, and nothing else. What is
//! retained is a function of the board ([`topics`]), compared with what was sent since the
//! connection was made; so a new connection sends everything again.

pub mod topics;

use super::board::Board;
use super::desk::{Ask, Desk};
use super::metrics::Metrics;
use super::{Command, Sink};
use crate::backoff::Backoff;
use crate::files::read_at_most;
use crate::web::MAX_PEM;
use crate::wire::event::EventMessage;
use crate::wire::event::MessageJson;
use crossbeam_channel::Sender;
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, StateError};
use rumqttc::{TlsConfiguration, Transport};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use topics::{Kept, Shown};

/// How a broker is reached, and what is told to it.
#[derive(Clone, PartialEq, Eq)]
pub struct MqttSettings {
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// Certificates to believe in, PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// User and password.
    pub login: Option<(String, String)>,
    pub client_id: String,
    pub prefix: String,
    /// Home Assistant's prefix; `None`: no discovery.
    pub discovery: Option<String>,
}

impl std::fmt::Debug for MqttSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttSettings").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Events that may wait for the broker.
const QUEUE: usize = 256;
/// Requests on their way to the broker.
const REQUESTS: usize = 64;
/// Between two looks at what is to be retained.
const TICK: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that stood for this long is a good one: after it the next attempt comes soon.
const STEADY: Duration = Duration::from_secs(10);
/// Time for the last words.
const GOODBYE: Duration = Duration::from_secs(1);
const MAX_PACKET: usize = 256 << 10;
/// Marks whose answers are waited for; the next is left out.
const MAX_ASKING: usize = 8;
/// After a command beyond that, which breaks the connection, none are asked for. The broker would send it again.
const DEAF: Duration = Duration::from_secs(300);

/// Tells a broker.
pub struct MqttSink {
    messages: Option<mpsc::Sender<MessageJson>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    metrics: Arc<Metrics>,
}

impl MqttSink {
    /// Starts the thread; whether the broker is there does not matter yet. Marks go to the desk, if there is one.
    ///
    /// # Errors
    /// The certificates cannot be read, or there are no more threads.
    pub fn start(
        s: MqttSettings,
        board: Arc<Board>,
        metrics: Arc<Metrics>,
        commands: Sender<Command>,
        desk: Option<Desk>,
    ) -> std::io::Result<Self> {
        let mut options = options(&s)?;
        let status = topics::status(&s.prefix);
        options.set_last_will(LastWill::new(status, topics::OFFLINE, QoS::AtLeastOnce, true));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (messages, queue) = mpsc::channel(QUEUE);
        let (stop, stopped) = oneshot::channel();
        let talk = Talk {
            settings: s,
            board,
            metrics: metrics.clone(),
            commands,
            desk,
            asking: Arc::new(Semaphore::new(MAX_ASKING)),
            sent: Kept::new(),
            kept: BTreeSet::new(),
            shown: Shown::new(),
            oversized: Arc::default(),
            deaf_until: None,
        };
        let thread = std::thread::Builder::new().name("mqtt".into()).spawn(move || {
            runtime.block_on(talk.run(options, queue, stopped));
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        Ok(Self { messages: Some(messages), stop: Some(stop), thread: Some(thread), metrics })
    }
}

/// Connects once, under another name than the daemon's, and leaves nothing behind.
///
/// # Errors
/// Why the broker does not let us in, in words.
pub fn probe(settings: &MqttSettings, patience: Duration) -> Result<(), String> {
    let settings = MqttSettings { client_id: format!("{}-doctor", settings.client_id), ..settings.clone() };
    let mut options = options(&settings).map_err(|e| e.to_string())?;
    options.set_clean_session(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let (client, mut connection) = AsyncClient::new(options, REQUESTS);
        let connect = async {
            loop {
                match connection.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => break Ok(()),
                    Ok(_) => {}
                    Err(e) => break Err(e.to_string()),
                }
            }
        };
        let connected = tokio::time::timeout(patience, connect).await.unwrap_or_else(|_| Err("no answer".into()));
        let _ = client.disconnect().await;
        let _ = tokio::time::timeout(GOODBYE, connection.poll()).await;
        connected
    })
}

impl Sink for MqttSink {
    fn event(&self, message: &Arc<EventMessage>) {
        // Without its frame, which is heavy and not told here.
        let message = MessageJson::new(message);
        if self.messages.as_ref().is_none_or(|m| m.try_send(message).is_err()) {
            self.metrics.output_dropped("mqtt");
        }
    }
}

impl Drop for MqttSink {
    fn drop(&mut self) {
        self.messages = None;
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn options(s: &MqttSettings) -> std::io::Result<MqttOptions> {
    let mut options = MqttOptions::new(&s.client_id, &s.host, s.port);
    options.set_keep_alive(Duration::from_secs(30));
    // What is on its way when a connection breaks is sent again, if the broker still knows us.
    options.set_clean_session(false);
    options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
    if let Some((user, password)) = &s.login {
        options.set_credentials(user, password);
    }
    if s.tls {
        // Another one may have been chosen before; that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = match &s.ca {
            Some(path) => {
                let named = |e: std::io::Error| std::io::Error::new(e.kind(), format!("{}: {e}", path.display()));
                TlsConfiguration::Simple {
                    ca: read_at_most(path, MAX_PEM, "certificates").map_err(named)?,
                    alpn: None,
                    client_auth: None,
                }
            }
            None => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                TlsConfiguration::Rustls(Arc::new(config))
            }
        };
        options.set_transport(Transport::tls_with_config(tls));
    }
    Ok(options)
}

/// A message on one of the topics that were subscribed.
struct Heard {
    topic: String,
    payload: Vec<u8>,
    /// It lay there before, and comes whenever somebody subscribes.
    is_retained: bool,
}

fn is_oversized(e: &ConnectionError) -> bool {
    use rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded;
    matches!(e, ConnectionError::MqttState(StateError::Deserialization(PayloadSizeLimitExceeded(_))))
}

/// Keeps the connection up, for as long as somebody listens. `up` counts connections, and is even while there
/// is none. `oversized` is set when a message that is too large ended one; `leaving` says that the next end is wanted. Never waits for the listener: the
/// connection would starve.
async fn connect(
    mut connection: EventLoop,
    up: watch::Sender<u64>,
    said: mpsc::Sender<Heard>,
    oversized: Arc<AtomicBool>,
    leaving: Arc<AtomicBool>,
    broker: String,
) {
    let mut n_failures = 0u32;
    let mut connected_at: Option<Instant> = None;
    // Daemons at one broker do not come back all at once.
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, fastrand::u64(..));
    let set = |is_up: bool| {
        up.send_if_modified(|n| {
            let differs = (*n % 2 == 1) != is_up;
            *n += u64::from(differs);
            differs
        })
    };
    while !up.is_closed() {
        match connection.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                tracing::info!(broker, "MQTT is connected");
                connected_at = Some(Instant::now());
                connection.mqtt_options.set_clean_session(false);
                set(true);
            }
            Ok(Event::Incoming(Packet::Publish(p))) => {
                let heard = Heard { topic: p.topic, payload: p.payload.to_vec(), is_retained: p.retain };
                if said.try_send(heard).is_err() {
                    tracing::warn!(broker, "MQTT: too many commands, some are left out");
                }
            }
            Ok(_) => {}
            // Who says goodbye is cut off.
            Err(_) if leaving.load(Ordering::Acquire) => {
                set(false);
                return;
            }
            Err(e) => {
                if is_oversized(&e) {
                    // The broker is to forget what we subscribed to, and the message with it.
                    connection.mqtt_options.set_clean_session(true);
                    oversized.store(true, Ordering::Release);
                }
                set(false);
                // A broker that lets us in and sends us away again is not asked ever faster.
                if connected_at.take().is_some_and(|at| at.elapsed() >= STEADY) {
                    n_failures = 0;
                    backoff.reset();
                }
                n_failures = n_failures.saturating_add(1);
                // The first of a series, then ever rarer.
                if n_failures.is_power_of_two() {
                    tracing::warn!(broker, attempts = n_failures, "MQTT: {e}");
                }
                tokio::time::sleep(backoff.wait()).await;
            }
        }
    }
}

/// The talk with the broker.
struct Talk {
    settings: MqttSettings,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    commands: Sender<Command>,
    /// `None`: nothing is learned.
    desk: Option<Desk>,
    asking: Arc<Semaphore>,
    oversized: Arc<AtomicBool>,
    /// Until then no commands are asked for.
    deaf_until: Option<Instant>,
    /// Retained topics that this connection has sent.
    sent: Kept,
    /// Those that any connection has sent.
    kept: BTreeSet<String>,
    shown: Shown,
}

impl Talk {
    async fn run(
        mut self,
        options: MqttOptions,
        mut queue: mpsc::Receiver<MessageJson>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let (client, mut connection) = AsyncClient::new(options, REQUESTS);
        connection.network_options.set_connection_timeout(10);
        let (up, mut is_up) = watch::channel(0);
        let (said, mut heard) = mpsc::channel(REQUESTS);
        let broker = format!("{}:{}", self.settings.host, self.settings.port);
        let leaving = Arc::new(AtomicBool::new(false));
        let connection = tokio::spawn(connect(connection, up, said, self.oversized.clone(), leaving.clone(), broker));
        // An event that did not fit into what is on its way.
        let mut waiting: Option<MessageJson> = None;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_connected = *is_up.borrow() % 2 == 1;
            tokio::select! {
                _ = &mut stopped => break,
                changed = is_up.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    if *is_up.borrow_and_update() % 2 == 1 {
                        self.greet(&client);
                    } else {
                        self.metrics.output_error("mqtt");
                    }
                }
                Some(message) = heard.recv() => self.hear(&message),
                // The queue holds what comes while there is nobody to tell.
                Some(message) = queue.recv(), if is_connected && waiting.is_none() => {
                    waiting = (!self.tell(&client, &message)).then_some(message);
                }
                _ = ticks.tick(), if is_connected => {
                    waiting = waiting.filter(|message| !self.tell(&client, message));
                    if self.deaf_until.is_some_and(|end| end <= Instant::now()) {
                        self.deaf_until = None;
                        self.listen(&client);
                    }
                    self.keep(&client);
                }
            }
        }
        let mut left: VecDeque<_> = waiting.into_iter().collect();
        left.extend(std::iter::from_fn(|| queue.try_recv().ok()));
        if *is_up.borrow() % 2 == 1 {
            let last_words = async {
                while let Some(message) = left.front() {
                    let (topic, text) = self.words(message);
                    if client.publish(topic, QoS::AtLeastOnce, false, text).await.is_err() {
                        return;
                    }
                    left.pop_front();
                }
                let status = topics::status(&self.settings.prefix);
                let _ = client.publish(status, QoS::AtLeastOnce, true, topics::OFFLINE).await;
                leaving.store(true, Ordering::Release);
                let _ = client.disconnect().await;
                let _ = is_up.wait_for(|n| n % 2 == 0).await;
            };
            let _ = tokio::time::timeout(GOODBYE, last_words).await;
        }
        left.iter().for_each(|_| self.metrics.output_dropped("mqtt"));
        connection.abort();
    }

    fn greet(&mut self, client: &AsyncClient) {
        self.sent.clear();
        if self.oversized.swap(false, Ordering::AcqRel) {
            self.deaf_until = Some(Instant::now() + DEAF);
            tracing::warn!(
                "MQTT: a message beyond {} KiB was sent to a topic for commands ({}/+/+/set or the like): no commands are \
                 heard for {} s. If it is a retained one, take it away",
                MAX_PACKET >> 10,
                self.settings.prefix,
                DEAF.as_secs()
            );
        }
        if self.deaf_until.is_none() {
            self.listen(client);
        }
        self.keep(client);
    }

    fn listen(&self, client: &AsyncClient) {
        let s = &self.settings;
        for topic in topics::commands(&s.prefix) {
            let _ = client.try_subscribe(topic, QoS::AtLeastOnce);
        }
        if self.desk.is_some() {
            let _ = client.try_subscribe(topics::marks(&s.prefix), QoS::AtLeastOnce);
        }
        if let Some(home) = &s.discovery {
            let _ = client.try_subscribe(format!("{home}/status"), QoS::AtMostOnce);
        }
    }

    /// Sends what is retained and differs from what was sent.
    fn keep(&mut self, client: &AsyncClient) {
        let s = &self.settings;
        let mut wanted = Kept::new();
        wanted.insert(topics::status(&s.prefix), topics::ONLINE.into());
        for camera in self.board.all() {
            topics::camera(&s.prefix, &camera, &mut self.shown, &mut wanted);
            if let Some(home) = &s.discovery {
                topics::discovery(&s.prefix, home, &camera, &self.shown, &mut wanted);
            }
        }
        // An empty payload takes a retained topic away.
        let gone: Vec<String> = self.kept.iter().filter(|t| !wanted.contains_key(*t)).cloned().collect();
        for topic in gone {
            if client.try_publish(&topic, QoS::AtLeastOnce, true, "").is_err() {
                return;
            }
            self.sent.remove(&topic);
            self.kept.remove(&topic);
        }
        for (topic, payload) in wanted {
            if self.sent.get(&topic) != Some(&payload) {
                // Full: the rest goes with the next tick.
                if client.try_publish(&topic, QoS::AtLeastOnce, true, payload.clone()).is_err() {
                    return;
                }
                self.kept.insert(topic.clone());
                self.sent.insert(topic, payload);
            }
        }
    }

    /// Whether a message about an event is on its way.
    fn tell(&self, client: &AsyncClient, message: &MessageJson) -> bool {
        let (topic, text) = self.words(message);
        client.try_publish(topic, QoS::AtLeastOnce, false, text).is_ok()
    }

    /// Topic and payload of a message.
    fn words(&self, message: &MessageJson) -> (String, Vec<u8>) {
        let topic = topics::events(&self.settings.prefix, &message.event.camera);
        (topic, serde_json::to_vec(message).unwrap_or_default())
    }

    fn hear(&mut self, heard: &Heard) {
        let (topic, payload) = (heard.topic.as_str(), heard.payload.as_slice());
        if self.settings.discovery.as_ref().is_some_and(|home| topic == format!("{home}/status")) {
            // Home Assistant is born, and has forgotten everything.
            if payload == b"online" {
                self.sent.clear();
            }
            return;
        }
        if let Some(camera) = topics::marked(&self.settings.prefix, topic) {
            return self.mark(camera, heard);
        }
        match topics::command(&self.settings.prefix, topic, payload) {
            Ok(command) if self.board.get(&command.camera).is_none() => {
                tracing::warn!(topic, "MQTT: there is no such camera");
            }
            Ok(command) => {
                if self.commands.try_send(command).is_err() {
                    tracing::warn!(topic, "MQTT: too many commands, this one is left out");
                }
            }
            Err(why) => tracing::warn!(topic, "MQTT command: {why}"),
        }
    }

    /// Hands a mark to the desk, and does not wait for its answer.
    fn mark(&self, camera: &str, heard: &Heard) {
        let left_out = |why: &str| tracing::warn!(camera, "MQTT: a mark is left out: {why}");
        let Some(desk) = self.desk.clone() else {
            return left_out("nothing is learned here; see [learn] in the config");
        };
        if heard.is_retained {
            return left_out("it is a retained message, which would come again and again");
        }
        if self.board.get(camera).is_none() {
            return left_out("there is no such camera");
        }
        let mark = match topics::mark(camera, &heard.payload) {
            Ok(mark) => mark,
            Err(why) => return left_out(&why),
        };
        let Ok(permit) = self.asking.clone().try_acquire_owned() else { return left_out("there are too many") };
        let camera = camera.to_owned();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            if let Err(e) = desk.ask(Ask::Mark(mark)) {
                tracing::warn!(camera, "MQTT: a mark is left out: {e}");
            }
        });
    }
}
