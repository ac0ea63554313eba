//! The TCP connections that `rtspsrc` opens. It reads a message whatever length it announces, and does not stop in the
//! middle of one (GStreamer 1.22). Here it is counted what a camera sends beside packets, and a connection is cut where
//! that is too much, or where stopping waits for it.

use super::elements::{factory_name, for_each_element};
use gio::prelude::*;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use std::cell::RefCell;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use tracing_mutex::stdsync::{Condvar, Mutex};

/// Bytes that a camera may send before its first packet: a description has a few KiB, and what is read of one takes up to
/// 170 times as much memory.
const MOST_BEFORE: u64 = 256 << 10;
/// Bytes that a camera may send beside packets, an hour. What keeps a session open comes to less than a tenth of it.
const MOST_BESIDE: u64 = 1 << 20;
const HOUR: Duration = Duration::from_secs(3600);
/// So long a source that is stopped may take leave of its camera.
const LEAVE: Duration = Duration::from_secs(2);
/// Between two looks: before the first packet (at 1 Gbit/s a camera sends 256 KiB in it), and later.
const TICKS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// The conversations of a pipeline with its cameras: one a `rtspsrc`.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Vec<Arc<Conversation>>>);

/// What one `rtspsrc` has opened.
#[derive(Debug, Default)]
struct Conversation {
    source: glib::WeakRef<gst::Element>,
    open: Mutex<Vec<Connection>>,
    n_opened: AtomicU64,
    /// Bytes of packets, however they came, and of those that came by UDP.
    packets: AtomicI64,
    udp: AtomicI64,
    has_sent_too_much: AtomicBool,
    stopping: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    /// Of its own, so that nothing else can come to bear this number while it is looked at.
    socket: OwnedFd,
    beside: Beside,
}

/// Counts what a connection brought beside packets.
#[derive(Debug)]
struct Beside {
    /// Bytes from which on is counted.
    from: u64,
    since: Instant,
    /// Bytes of packets by TCP.
    packets: i64,
}

impl Beside {
    fn new(packets: i64, now: Instant) -> Self {
        Self { from: 0, since: now, packets }
    }

    /// Bytes since the last packet that came by TCP, of `bytes` in all; at most those of an hour.
    fn count(&mut self, bytes: u64, packets: i64, now: Instant) -> u64 {
        if packets > self.packets || now.saturating_duration_since(self.since) > HOUR {
            *self = Self { from: bytes, since: now, packets: packets.max(self.packets) };
        }
        bytes.saturating_sub(self.from)
    }
}

thread_local! {
    /// For whom this thread opens connections.
    static CLAIMED: RefCell<Weak<Conversation>> = const { RefCell::new(Weak::new()) };
}

impl Connections {
    /// For one pipeline, whose packets are counted.
    pub fn of(gst_pipeline: &gst::Pipeline) -> Arc<Self> {
        LazyLock::force(&WATCH);
        let connections = Arc::new(Self::default());
        let of = connections.clone();
        for_each_element(gst_pipeline, move |element, _| {
            let (pad, counter): (_, fn(&Conversation) -> &AtomicI64) = match factory_name(element).as_deref() {
                Some("udpsrc") => ("src", |c| &c.udp),
                Some("rtpjitterbuffer") => ("sink", |c| &c.packets),
                _ => return,
            };
            let (Some(pad), Some(source)) = (element.static_pad(pad), source_around(element)) else { return };
            let conversation = of.with(&source);
            pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
                let bytes = match &info.data {
                    Some(gst::PadProbeData::Buffer(buffer)) => buffer.size(),
                    Some(gst::PadProbeData::BufferList(list)) => list.calculate_size(),
                    _ => 0,
                };
                counter(&conversation).fetch_add(bytes as i64, Ordering::AcqRel);
                gst::PadProbeReturn::Ok
            });
        });
        connections
    }

    /// Hears on the bus who opens connections: `rtspsrc` says that it connects on the thread that does, and what that
    /// opens from now on is its.
    pub fn hear(&self, message: &gst::MessageRef) {
        if let gst::MessageView::Progress(_) = message.view()
            && let Some(source) = message.src().and_then(|s| s.downcast_ref::<gst::Element>())
            && factory_name(source).as_deref() == Some(RTSP)
        {
            CLAIMED.set(Arc::downgrade(&self.with(source)));
        }
    }

    /// From now on there is little time left to take leave.
    pub fn stop(&self) {
        for conversation in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *conversation.stopping.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    fn with(&self, source: &gst::Element) -> Arc<Conversation> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|c| c.source.upgrade().as_ref() == Some(source)) {
            return known.clone();
        }
        let new = Arc::new(Conversation { source: source.downgrade(), ..Conversation::default() });
        all.push(new.clone());
        new
    }
}

const RTSP: &str = "rtspsrc";

/// The `rtspsrc` of which an element is a part.
fn source_around(element: &gst::Element) -> Option<gst::Element> {
    let mut around = element.parent();
    while let Some(object) = around {
        match object.downcast_ref::<gst::Element>() {
            Some(element) if factory_name(element).as_deref() == Some(RTSP) => return Some(element.clone()),
            _ => around = object.parent(),
        }
    }
    None
}

impl Conversation {
    /// Counts what comes by `socket` from now on.
    fn adopt(self: &Arc<Self>, socket: &gio::Socket) -> std::io::Result<()> {
        // A second number for it, as GIO's own may be closed, and taken by another one, at any time.
        let own = socket.as_fd().try_clone_to_owned()?;
        let number = self.n_opened.fetch_add(1, Ordering::Relaxed);
        let this = Arc::downgrade(self);
        // Who closes it lets go of it: then this number is closed too, and the camera sees it.
        socket.add_weak_ref_notify(move || {
            if let Some(this) = this.upgrade() {
                this.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|c| c.number != number);
            }
        });
        let connection = Connection { number, socket: own, beside: Beside::new(self.packets_by_tcp(), Instant::now()) };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(())
    }

    fn packets_by_tcp(&self) -> i64 {
        self.packets.load(Ordering::Acquire) - self.udp.load(Ordering::Acquire)
    }

    fn has_packets(&self) -> bool {
        self.packets.load(Ordering::Acquire) > 0
    }

    /// Cuts what is to be cut.
    fn look(&self) {
        let stopping = *self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = stopping.is_some_and(|since| since.elapsed() >= LEAVE);
        let most = if self.has_packets() { MOST_BESIDE } else { MOST_BEFORE };
        let mut is_too_much = false;
        let cut = |c: &Connection| socket2::SockRef::from(&c.socket).shutdown(Shutdown::Both);
        let (packets, now) = (self.packets_by_tcp(), Instant::now());
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            for connection in open.iter_mut() {
                is_too_much |= connection.beside.count(bytes_read(&connection.socket), packets, now) > most;
            }
            if is_late {
                // Their readers come back with an end of the stream. Cut already: there is nothing to do.
                open.iter().for_each(|c| drop(cut(c)));
            }
        }
        let is_cut_already = self.has_sent_too_much.load(Ordering::Acquire);
        if !is_too_much && !is_cut_already {
            return;
        }
        // Said first, as what comes of the cut says nothing.
        if !is_cut_already && let Some(source) = self.source.upgrade() {
            let kib = most >> 10;
            gst::element_error!(source, gst::ResourceError::Read, ["the camera sent {kib} KiB that are no packets"]);
        }
        self.has_sent_too_much.store(true, Ordering::Release);
        // Before it hears of the error, a source may connect anew and ask again.
        self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|c| drop(cut(c)));
    }
}

/// Conversations that have connections, and a thread that looks at them.
#[derive(Debug, Default)]
struct Watch {
    conversations: Mutex<Vec<Weak<Conversation>>>,
    has_come: Condvar,
}

impl Watch {
    /// A conversation that is new is looked at at once.
    fn add(&self, conversation: &Arc<Conversation>) {
        let mut all = self.conversations.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Arc::downgrade(conversation);
        if !all.iter().any(|known| known.ptr_eq(&new)) {
            all.push(new);
            self.has_come.notify_one();
        }
    }

    /// Looks for ever: every `ticks[0]` while a camera has sent no packet yet, else every `ticks[1]`.
    fn run(&self, ticks: [Duration; 2]) {
        let mut all = self.conversations.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            all.retain(|c| c.strong_count() > 0);
            if all.is_empty() {
                all = self.has_come.wait(all).unwrap_or_else(PoisonError::into_inner);
            }
            let now: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
            drop(all);
            now.iter().for_each(|c| c.look());
            drop(now);
            all = self.conversations.lock().unwrap_or_else(PoisonError::into_inner);
            let all_play = all.iter().filter_map(Weak::upgrade).all(|c| c.has_packets());
            let woken = self.has_come.wait_timeout(all, ticks[usize::from(all_play)]);
            all = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Begins to see what this process connects to, and to look at it.
static WATCH: LazyLock<Watch> = LazyLock::new(|| {
    see_connections();
    // It waits there until this is made.
    let watching = std::thread::Builder::new().name("connections".into()).spawn(|| WATCH.run(TICKS));
    if let Err(e) = watching {
        tracing::error!("no thread to watch cameras' connections: {e}");
    }
    Watch::default()
});

/// Bytes that have been read from a TCP connection; 0 where the system does not say.
fn bytes_read(socket: &OwnedFd) -> u64 {
    let received = tcp_info(socket).map_or(0, |info| info.tcpi_bytes_received);
    received.saturating_sub(rustix::io::ioctl_fionread(socket).unwrap_or(0))
}

fn tcp_info(socket: &OwnedFd) -> Option<libc::tcp_info> {
    use std::os::fd::AsRawFd;
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // Safety: it is numbers alone, for which 0 is one.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    // Safety: the number is of an open socket that lives on; the system writes no more than `length` bytes.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length)
    };
    (failed == 0).then_some(info)
}

/// From now on every connection that GIO makes is shown to who has claimed it.
fn see_connections() {
    // Loads the class, without which its signal is not known.
    let _client = gio::SocketClient::new();
    let Some(signal) = glib::subclass::SignalId::lookup("event", gio::SocketClient::static_type()) else {
        return tracing::error!("cameras' connections cannot be watched: GIO does not tell of them");
    };
    // Safety: the signal is known; the function keeps to the hook's type, needs no data, and stays for ever.
    unsafe {
        glib::gobject_ffi::g_signal_add_emission_hook(
            glib::translate::IntoGlib::into_glib(signal),
            0,
            Some(see),
            std::ptr::null_mut(),
            None,
        );
    }
}

/// Called by GObject, on the thread that connects, with the client, the event, the address and the connection.
///
/// # Safety
/// `values` are `n` values.
unsafe extern "C" fn see(
    _: *mut glib::gobject_ffi::GSignalInvocationHint,
    n: u32,
    values: *const glib::gobject_ffi::GValue,
    _: glib::ffi::gpointer,
) -> glib::ffi::gboolean {
    // Safety: the caller says so, and `glib::Value` is a `GValue`.
    let values = unsafe { std::slice::from_raw_parts(values.cast::<glib::Value>(), n as usize) };
    let is_connected = |v: &glib::Value| v.get::<gio::SocketClientEvent>() == Ok(gio::SocketClientEvent::Connected);
    if let [_, event, _, connection] = values
        && is_connected(event)
        && let Ok(Some(connection)) = connection.get::<Option<gio::SocketConnection>>()
        && let Some(claimed) = CLAIMED.with_borrow(Weak::upgrade)
    {
        match claimed.adopt(&connection.socket()) {
            Ok(()) => WATCH.add(&claimed),
            Err(e) => tracing::debug!("a connection is not watched: {e}"),
        }
    }
    glib::ffi::GTRUE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn packets_by_tcp_begin_the_count_anew_and_others_do_not() {
        let start = Instant::now();
        let mut beside = Beside::new(0, start);
        assert_eq!(beside.count(1000, 0, start), 1000, "a description");
        assert_eq!(beside.count(5000, 3900, start), 0, "packets");
        assert_eq!(beside.count(9000, 3900, start), 4000, "a message");
        // By UDP: what is on its way has been counted as sent, and not yet as a packet.
        let mut beside = Beside::new(0, start);
        for (bytes, packets) in [(1000, -1400), (2000, 0), (3000, -1400), (4000, 0)] {
            assert_eq!(beside.count(bytes, packets, start), bytes);
        }
        assert_eq!(beside.count(5000, -1400, start + 2 * HOUR), 0, "what was long ago is forgotten");
        // And then by TCP after all, in a connection of its own.
        let mut beside = Beside::new(-90_000, start);
        assert_eq!(beside.count(9000, -88_000, start), 0);
    }

    #[test]
    fn what_waits_to_be_read_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        let socket = here.as_fd().try_clone_to_owned().unwrap();
        there.write_all(&[1; 1000]).unwrap();
        here.read_exact(&mut [0; 600]).unwrap();
        assert_eq!(bytes_read(&socket), 600);
    }

    /// Others play by then, and are looked at seldom.
    #[test]
    fn who_comes_while_others_play_is_looked_at_at_once() {
        static WATCH: LazyLock<Watch> = LazyLock::new(Watch::default);
        std::thread::spawn(|| WATCH.run([Duration::from_millis(1), HOUR]));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let with_packets = |n| Arc::new(Conversation { packets: AtomicI64::new(n), ..Conversation::default() });
        let connect = |conversation: &Arc<Conversation>| {
            let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let socket = gio::Socket::from_fd(here.try_clone().unwrap().into()).unwrap();
            // GIO has it return at once.
            here.set_nonblocking(false).unwrap();
            conversation.adopt(&socket).unwrap();
            let mut there = listener.accept().unwrap().0;
            std::thread::spawn(move || while there.write_all(&[1; 1 << 10]).is_ok() {});
            (here, socket)
        };
        let read_until_cut = |mut here: TcpStream| {
            let (mut n_read, mut piece, began) = (0, [0; 4096], Instant::now());
            loop {
                assert!(began.elapsed() < Duration::from_secs(60), "not cut after {n_read} bytes");
                match here.read(&mut piece) {
                    Ok(0) => return n_read,
                    Ok(n) => n_read += n as u64,
                    // What comes after the cut is answered so.
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return n_read,
                    Err(e) => panic!("{e}"),
                }
            }
        };
        // Too much has come already: that this one is cut shows that it has been looked at.
        let playing = with_packets(1);
        let (mut here, _socket) = connect(&playing);
        // More than enough: what has come and was not read yet may be counted a little late.
        here.read_exact(&mut vec![0; 4 * MOST_BESIDE as usize]).unwrap();
        WATCH.add(&playing);
        read_until_cut(here);

        let new = with_packets(0);
        let (here, _socket) = connect(&new);
        WATCH.add(&new);
        let n_read = read_until_cut(here);
        assert!(n_read >= MOST_BEFORE, "{n_read} bytes");

        // Who asks again is cut too, however little has come.
        let (here, _socket) = connect(&new);
        read_until_cut(here);
    }
}
