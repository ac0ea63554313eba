//! A camera that speaks RTSP in ways of its own, written out: what no real server does on purpose.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What it does to whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// Answers in no language.
    Garbage,
    /// Answers nothing, and keeps the connection.
    Silence,
    /// Ends its answer in the middle of a line.
    Half,
    /// Names a length that never comes.
    Endless,
    /// Names a length of 4 GB, and sends it.
    Flood,
    /// Does so after some pictures.
    FloodLater,
    /// Names a length of 4 GB, and sends a byte now and then.
    Drip,
    /// Describes millions of tracks.
    LongDescription,
    /// Describes a stream of thousands of formats, and attributes for each.
    ManyFormats,
    /// Two packets each of hundreds of senders in one track.
    ManySenders,
    /// Reports of thousands of senders.
    ManyReports,
    /// Sends everybody to itself.
    Redirect,
    /// Answers every request so.
    Status(u16),
    /// Asks for a password in a way that few know.
    Sha256,
    /// Sends packets of NAL types that nobody supports.
    UnknownNal,
    /// Has sound alone.
    Audio,
    /// Plays some pictures and hangs up.
    Cut,
    /// Sends fragments of H.265 that end before they begin.
    ShortFragments,
    /// Sends fragments of H.264 that belong to one that never ends.
    EndlessFragments,
    /// Offers thousands of tracks that nobody can decode.
    ManyTracks,
}

/// It runs until it is dropped.
pub struct OddCamera {
    pub address: SocketAddr,
    pub n_connections: Arc<AtomicUsize>,
    /// Most bytes that a connection took of a flood.
    pub most_taken: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
}

impl OddCamera {
    pub fn start(oddity: Oddity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (n_connections, stopping) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stop) = (n_connections.clone(), stopping.clone());
        let most_taken = Arc::<AtomicUsize>::default();
        let taken = most_taken.clone();
        let has_pictures = matches!(oddity, Oddity::Cut | Oddity::FloodLater);
        let packets: Arc<[Vec<u8>]> = if has_pictures { pictures().into() } else { Arc::default() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                counted.fetch_add(1, Ordering::AcqRel);
                let (stop, packets, taken) = (stop.clone(), packets.clone(), taken.clone());
                std::thread::spawn(move || drop(serve(stream, oddity, address, &packets, &taken, &stop)));
            }
        });
        Self { address, n_connections, most_taken, stopping }
    }

    pub fn url(&self) -> String {
        format!("rtsp://{}/cam", self.address)
    }

    pub fn n_connections(&self) -> usize {
        self.n_connections.load(Ordering::Acquire)
    }
}

impl Drop for OddCamera {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    oddity: Oddity,
    address: SocketAddr,
    packets: &[Vec<u8>],
    taken: &AtomicUsize,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
        }
        let cseq = request.lines().find_map(|l| l.strip_prefix("CSeq:")).unwrap_or(" 1").trim().to_owned();
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        let mut say = |code: u16, headers: &str, body: &str| {
            let length = body.len();
            let head =
                format!("RTSP/1.0 {code} Odd\r\nCSeq: {cseq}\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
            stream.write_all(head.as_bytes())
        };
        match oddity {
            Oddity::Garbage => return stream.write_all(b"\x00\xffthis is no RTSP\r\n\r\n\r\n"),
            Oddity::Silence => {
                // Until the other side has had enough.
                let mut rest = String::new();
                while reader.read_line(&mut rest)? > 0 && !stop.load(Ordering::Acquire) {}
                return Ok(());
            }
            Oddity::Half => return stream.write_all(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPubl"),
            Oddity::Endless => stream.write_all(b"RTSP/1.0 200 OK\r\nContent-Length: 1000000000\r\n\r\nv=0\r\n")?,
            Oddity::Flood => return flood(&mut stream, usize::MAX, taken, stop),
            Oddity::Drip => return flood(&mut stream, 1, taken, stop),
            Oddity::Redirect => say(302, &format!("Location: rtsp://{address}/cam\r\n"), "")?,
            Oddity::Status(code) => say(code, "", "")?,
            Oddity::Sha256 if method != "OPTIONS" => {
                let ask = "WWW-Authenticate: Digest realm=\"cam\", nonce=\"42\", algorithm=SHA-256, qop=\"auth\"\r\n";
                say(401, ask, "")?;
            }
            _ => match method.as_str() {
                "DESCRIBE" if oddity == Oddity::LongDescription => {
                    let lines = "m=a\n".repeat(1 << 14);
                    let n_pieces = 1 << 13;
                    let head = format!(
                        "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
                        lines.len() * n_pieces
                    );
                    stream.write_all(head.as_bytes())?;
                    for n in 1..=n_pieces {
                        stream.write_all(lines.as_bytes())?;
                        taken.fetch_max(n * lines.len(), Ordering::AcqRel);
                        // The pace of a network of 1 Gbit/s: how fast memory is copied here is luck.
                        std::thread::sleep(Duration::from_micros(500));
                    }
                }
                "DESCRIBE" => {
                    let many: String = (0..3000)
                        .map(|i| format!("m=video 0 RTP/AVP 96\r\na=rtpmap:96 X-NOVA/90000\r\na=control:t{i}\r\n"))
                        .collect();
                    let formats = format!(
                        "{}m=video 0 RTP/AVP 96{}\r\na=rtpmap:96 H264/90000\r\na=control:v\r\n",
                        "a=1000:1\r\n".repeat(2000),
                        " 0".repeat(90_000)
                    );
                    let media = match oddity {
                        Oddity::ManyFormats => &*formats,
                        Oddity::Audio => "m=audio 0 RTP/AVP 0\r\na=control:a\r\n",
                        Oddity::ManyTracks => &*many,
                        Oddity::ShortFragments => "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:v\r\n",
                        _ => {
                            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:v\r\n"
                        }
                    };
                    let body = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=odd\r\nt=0 0\r\n{media}");
                    say(
                        200,
                        &format!("Content-Type: application/sdp\r\nContent-Base: rtsp://{address}/cam/\r\n"),
                        &body,
                    )?;
                }
                "SETUP" => say(200, "Session: 7\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", "")?,
                "PLAY" => {
                    say(200, "Session: 7\r\n", "")?;
                    if !packets.is_empty() {
                        packets.iter().try_for_each(|packet| send(&mut stream, packet))?;
                        // What waits to be put in order is played.
                        std::thread::sleep(Duration::from_millis(500));
                    }
                    return match oddity {
                        Oddity::Cut => Ok(()),
                        Oddity::ManySenders | Oddity::ManyReports => send_of_many(stream, oddity, stop),
                        Oddity::FloodLater => flood(&mut stream, usize::MAX, taken, stop),
                        Oddity::ShortFragments => {
                            send_all(stream, stop, [&[0x62, 1, 0x93, 0x12][..], &[0x62, 1], &[0x62, 1, 0x13]])
                        }
                        Oddity::EndlessFragments => {
                            let mut fragment = vec![28, 5];
                            fragment.resize(60_000, 1);
                            send_all(stream, stop, [&[28, 0x85, 0x88][..], &fragment])
                        }
                        _ => send_unknown_nals(stream, stop),
                    };
                }
                _ => say(200, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", "")?,
            },
        }
    }
}

/// A message of 4 GB, in pieces of `piece` bytes or 64 KiB; short ones take their time.
fn flood(stream: &mut TcpStream, piece: usize, taken: &AtomicUsize, stop: &AtomicBool) -> std::io::Result<()> {
    stream.write_all(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4000000000\r\n\r\n")?;
    let bytes = vec![b'a'; piece.min(1 << 16)];
    let mut n = 0;
    while !stop.load(Ordering::Acquire) {
        stream.write_all(&bytes)?;
        n += bytes.len();
        taken.fetch_max(n, Ordering::AcqRel);
        if bytes.len() < 100 {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// An RTP packet on the first channel.
fn send(stream: &mut TcpStream, packet: &[u8]) -> std::io::Result<()> {
    let mut framed = vec![b'$', 0];
    framed.extend((packet.len() as u16).to_be_bytes());
    framed.extend(packet);
    stream.write_all(&framed)
}

/// A second of pictures, as RTP packets.
fn pictures() -> Vec<Vec<u8>> {
    use gstreamer::prelude::*;
    gstreamer::init().unwrap();
    let encoder = "videotestsrc num-buffers=25 ! video/x-raw,width=160,height=96,framerate=25/1 \
                   ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 \
                   ! rtph264pay pt=96 config-interval=-1 ! appsink name=sink sync=false";
    let pipeline = gstreamer::parse::launch(encoder).unwrap().downcast::<gstreamer::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gstreamer_app::AppSink>().unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    let packets = std::iter::from_fn(|| sink.pull_sample().ok())
        .map(|sample| sample.buffer().unwrap().map_readable().unwrap().to_vec())
        .collect();
    pipeline.set_state(gstreamer::State::Null).unwrap();
    packets
}

/// RTP packets whose payloads are of NAL types that are reserved, or that no receiver has.
fn send_unknown_nals(mut stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    let types = [26u8, 27, 25, 29, 30, 31];
    for n in 0..1500u16 {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let kind = types[usize::from(n) % types.len()];
        let mut packet = vec![0x80, 96 | 0x80];
        packet.extend(n.to_be_bytes());
        packet.extend((u32::from(n) * 3000).to_be_bytes());
        packet.extend(7u32.to_be_bytes());
        packet.push(0x60 | kind);
        packet.extend([0xff; 60]);
        send(&mut stream, &packet)?;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Two packets each, or a report, of senders without end.
fn send_of_many(mut stream: TcpStream, oddity: Oddity, stop: &AtomicBool) -> std::io::Result<()> {
    for sender in (1..=5000u32).take_while(|_| !stop.load(Ordering::Acquire)) {
        if oddity == Oddity::ManyReports {
            let report = [&[0x80, 200, 0, 6][..], &sender.to_be_bytes(), &[0; 20]].concat();
            let framed = [&[b'$', 1, 0, report.len() as u8][..], &report].concat();
            stream.write_all(&framed)?;
        } else {
            for n in 0..2 {
                let packet = [&[0x80, 96, 0, n, 0, 0, 0, 9][..], &sender.to_be_bytes(), &[0x65; 20]].concat();
                send(&mut stream, &packet)?;
            }
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}

/// Packets with these payloads, the last of them again and again.
fn send_all<const N: usize>(mut stream: TcpStream, stop: &AtomicBool, payloads: [&[u8]; N]) -> std::io::Result<()> {
    for (n, payload) in payloads.iter().chain(std::iter::repeat(&payloads[N - 1])).enumerate() {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let mut packet = vec![0x80, 96];
        packet.extend((n as u16).to_be_bytes());
        packet.extend([0, 0, 0, 9, 0, 0, 0, 7]);
        packet.extend_from_slice(payload);
        send(&mut stream, &packet)?;
    }
    Ok(())
}
