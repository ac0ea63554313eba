//! The TCP connections that `rtspsrc` opens. It reads a message whatever length it announces, and does not stop in the
//! middle of one (GStreamer 1.22). Here it is counted what a camera sends beside packets, and a connection is cut where
//! that is too much, or where stopping waits for it.

use super::for_each_element;
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

/// Bytes that a camera may send beside packets. A description has a few KiB, what keeps a session open comes to less than
/// one MiB a day, and packets over TCP begin the count anew.
const MOST_BESIDE: u64 = 64 << 20;
/// So long a source that is stopped may take leave of its camera.
const LEAVE: Duration = Duration::from_secs(2);
/// Between two looks: at 1 Gbit/s a camera sends 12 MiB in it.
const TICK: Duration = Duration::from_millis(100);

/// What an attempt to reach a camera has opened.
#[derive(Debug, Default)]
pub struct Connections {
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
#[derive(Debug, Default)]
struct Beside {
    /// Bytes when the last packet came by it.
    at_packet: u64,
    /// Bytes of packets by TCP.
    packets: i64,
}

impl Beside {
    /// Bytes since the last packet that came by TCP, of `bytes` in all.
    fn since_packet(&mut self, bytes: u64, packets: i64) -> u64 {
        if packets > self.packets {
            *self = Self { at_packet: bytes, packets };
        }
        bytes.saturating_sub(self.at_packet)
    }
}

thread_local! {
    /// For whom this thread opens connections.
    static CLAIMED: RefCell<Weak<Connections>> = const { RefCell::new(Weak::new()) };
}

impl Connections {
    /// For one pipeline, whose packets are counted.
    pub fn of(gst_pipeline: &gst::Pipeline) -> Arc<Self> {
        LazyLock::force(&WATCH);
        let connections = Arc::new(Self::default());
        let counting = connections.clone();
        for_each_element(gst_pipeline, move |element, _| {
            let count = |pad: &str, of: fn(&Self) -> &AtomicI64| {
                let connections = counting.clone();
                if let Some(pad) = element.static_pad(pad) {
                    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
                        let bytes = match &info.data {
                            Some(gst::PadProbeData::Buffer(buffer)) => buffer.size(),
                            Some(gst::PadProbeData::BufferList(list)) => list.calculate_size(),
                            _ => 0,
                        };
                        of(&connections).fetch_add(bytes as i64, Ordering::AcqRel);
                        gst::PadProbeReturn::Ok
                    });
                }
            };
            match element.factory().as_ref().map(|f| f.name()).as_deref() {
                Some("udpsrc") => count("src", |c| &c.udp),
                Some("rtpjitterbuffer") => count("sink", |c| &c.packets),
                _ => {}
            }
        });
        connections
    }

    /// What the calling thread opens from now on is this attempt's. `rtspsrc` says that it connects on the thread that does.
    pub fn claim(self: &Arc<Self>) {
        CLAIMED.set(Arc::downgrade(self));
    }

    /// What is wrong with what came; `None`: nothing that is known.
    pub fn complaint(&self) -> Option<String> {
        let too_much = self.has_sent_too_much.load(Ordering::Acquire);
        too_much.then(|| format!("the camera sent {} MiB that are no packets of its stream", MOST_BESIDE >> 20))
    }

    /// From now on there is little time left to take leave.
    pub fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn adopt(self: &Arc<Self>, socket: &gio::Socket) {
        // A second number for it, as GIO's own may be closed, and taken by another one, at any time.
        let own = match socket.as_fd().try_clone_to_owned() {
            Ok(own) => own,
            Err(e) => return tracing::debug!("a connection is not watched: {e}"),
        };
        let number = self.n_opened.fetch_add(1, Ordering::Relaxed);
        let this = Arc::downgrade(self);
        // Who closes it lets go of it: then this number is closed too, and the camera sees it.
        socket.add_weak_ref_notify(move || {
            if let Some(this) = this.upgrade() {
                this.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|c| c.number != number);
            }
        });
        let connection = Connection { number, socket: own, beside: Beside::default() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        let (watched, has_come) = &*WATCH;
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        let this = Arc::downgrade(self);
        if !watched.iter().any(|w| w.ptr_eq(&this)) {
            watched.push(this);
            has_come.notify_one();
        }
    }

    /// Cuts what is to be cut.
    fn look(&self) {
        let stopping = *self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = stopping.is_some_and(|since| since.elapsed() >= LEAVE);
        let packets = self.packets.load(Ordering::Acquire) - self.udp.load(Ordering::Acquire);
        for connection in self.open.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let beside = connection.beside.since_packet(bytes_read(&connection.socket), packets);
            if beside > MOST_BESIDE {
                self.has_sent_too_much.store(true, Ordering::Release);
            }
            if beside > MOST_BESIDE || is_late {
                // Its reader comes back with an end of the stream. Cut already: there is nothing to do.
                let _ = socket2::SockRef::from(&connection.socket).shutdown(Shutdown::Both);
            }
        }
    }
}

/// Attempts that have connections, and when there is one more.
type Watched = (Mutex<Vec<Weak<Connections>>>, Condvar);

/// Begins to see what this process connects to, and to look at it.
static WATCH: LazyLock<Watched> = LazyLock::new(|| {
    see_connections();
    let watching = std::thread::Builder::new().name("connections".into()).spawn(|| {
        let (watched, has_come) = &*WATCH;
        loop {
            let mut attempts = watched.lock().unwrap_or_else(PoisonError::into_inner);
            attempts.retain(|c| c.strong_count() > 0);
            while attempts.is_empty() {
                attempts = has_come.wait(attempts).unwrap_or_else(PoisonError::into_inner);
            }
            let now: Vec<_> = attempts.iter().filter_map(Weak::upgrade).collect();
            drop(attempts);
            now.iter().for_each(|c| c.look());
            drop(now);
            std::thread::sleep(TICK);
        }
    });
    if let Err(e) = watching {
        tracing::error!("no thread to watch cameras' connections: {e}");
    }
    Watched::default()
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
        claimed.adopt(&connection.socket());
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
        let mut beside = Beside::default();
        assert_eq!(beside.since_packet(1000, 0), 1000, "a description");
        assert_eq!(beside.since_packet(5000, 3900), 0, "packets");
        assert_eq!(beside.since_packet(9000, 3900), 4000, "a message");
        // By UDP: what is on its way has been counted as sent, and not yet as a packet.
        let mut beside = Beside::default();
        for (bytes, packets) in [(1000, -1400), (2000, 0), (3000, -1400), (4000, 0)] {
            assert_eq!(beside.since_packet(bytes, packets), bytes);
        }
        // And then by TCP after all.
        assert_eq!(beside.since_packet(9000, 3000), 0);
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
}
