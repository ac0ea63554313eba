//! `passd learn` of a daemon that runs: says what is right and wrong, and asks what was learned of it. Talks to it over
//! HTTP, by the address and token of its config.

use crate::cli::common::{Failure, counted, print_line, progress_bar};
use crate::config;
use crate::files::{Links, open_plain, write_whole, write_whole_by};
use crate::learn::gather::{Gathered, open_parcel};
use crate::output::desk::{NewMark, Said};
use crate::output::parcel::{LEFT_OUT, PARCEL_TYPE, ParcelError, unpack};
use crate::web::{ClientSettings, body_of, client};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::fmt::Display;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// For an answer: the daemon itself waits 20 s for what learns.
const PATIENCE: Duration = Duration::from_secs(30);
/// For an answer when all pictures were sent: some still wait to be looked at.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// Largest answer that is read.
const MAX_ANSWER: u64 = 1 << 30;
/// Between two looks at a run.
const PAUSE: Duration = Duration::from_millis(500);
/// A run that was asked for begins within this.
const BEGINS: Duration = Duration::from_secs(30);

/// What needs the daemon.
#[derive(clap::Subcommand)]
pub enum RemoteCommand {
    Status(StatusArgs),
    Mark(MarkArgs),
    Marks(MarksArgs),
    Undo(UndoArgs),
    Run(LearnNowArgs),
    /// Take what a camera's learner proposes into use
    ///
    /// Example: passd learn accept front
    Accept(CameraArgs),
    /// Go back to what a camera used before
    ///
    /// Example: passd learn rollback front
    Rollback(CameraArgs),
    /// Go back to the model as it came; marks stay
    ///
    /// Example: passd learn factory front
    Factory(CameraArgs),
    /// Erase a camera's marks and pictures
    ///
    /// Example: passd learn forget front
    Forget(CameraArgs),
    Export(ExportArgs),
    Import(ImportArgs),
}

#[derive(clap::Args)]
struct DaemonArgs {
    /// Config file of the daemon
    #[arg(long, short, default_value = "/etc/passd/passd.toml", value_name = "FILE")]
    config: PathBuf,
}

#[derive(clap::Args)]
pub struct CameraArgs {
    /// The camera's name in the config
    camera: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Show how learning stands, camera by camera
///
/// Example: passd learn status --config passd.toml
#[derive(clap::Args)]
pub struct StatusArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Say that something was reported rightly, wrongly, or not at all
///
/// Of an event, or of a place in a camera's picture: its newest, unless --frame names one that is held.
///
/// Example: passd learn mark not-an-object --event 1700000000000-front-12
///
/// Example: passd learn mark missed --camera front --box 100,40,180,260 --label person
#[derive(clap::Args)]
pub struct MarkArgs {
    /// What there is to say
    said: SaidWord,
    /// The event it is of
    #[arg(long, value_name = "ID", required_unless_present = "camera", conflicts_with = "camera")]
    event: Option<String>,
    /// The camera in whose picture it is
    #[arg(long, value_name = "ID", requires = "place")]
    camera: Option<String>,
    /// Where: left, top, right and bottom in pixels of the camera's picture
    #[arg(long = "box", value_name = "X1,Y1,X2,Y2", value_parser = corners, allow_hyphen_values = true)]
    place: Option<[f32; 4]>,
    /// What it is; needed for 'right' and 'missed' in a picture
    #[arg(long)]
    label: Option<String>,
    /// Number of the frame in whose picture it is
    #[arg(long, value_name = "N", requires = "camera")]
    frame: Option<u64>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SaidWord {
    /// What was reported is none
    NotAnObject,
    /// What was reported is right
    Right,
    /// Something is there that was not reported
    Missed,
}

/// List what was said, newest first
///
/// Example: passd learn marks --camera front
#[derive(clap::Args)]
pub struct MarksArgs {
    /// Of this camera alone
    #[arg(long, value_name = "ID")]
    camera: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Take a mark back
///
/// Example: passd learn undo 1700000000000-1
#[derive(clap::Args)]
pub struct UndoArgs {
    /// The mark's id, of `passd learn marks`
    id: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Learn now from what was said of a camera's pictures
///
/// Waits for the end. Exit status 1: it could not, or what was learned is no better, and why.
///
/// Example: passd learn run front
#[derive(clap::Args)]
pub struct LearnNowArgs {
    /// The camera's name in the config
    camera: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Write a camera's marks as COCO JSON, or with their pictures as a tar
///
/// The tar holds labels.json (COCO) and images/. What was marked as no object is of the category 'not-an-object'
/// there. `passd learn import` takes it in again.
///
/// Example: passd learn export front --out front.json
///
/// Example: passd learn export front --out front.tar
#[derive(clap::Args)]
pub struct ExportArgs {
    /// The camera's name in the config
    camera: String,
    /// File to write: NAME.tar with the pictures, any other without
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Take labelled pictures in as marks of a camera
///
/// LABELS is a COCO file (with the pictures beside it, or in images/), a folder of YOLO's texts (with the pictures
/// beside them, or in images/ beside labels/; classes.txt names the classes, else numbers are the model's), or a tar
/// of `passd learn export`. Each box becomes a mark: 'right', or 'not-an-object' if that is its category. Pictures
/// without a box are left out: nothing is said of them. At most 500 pictures at a time; what is there already is not
/// taken twice.
///
/// Example: passd learn import front labels.json --pictures images/
#[derive(clap::Args)]
pub struct ImportArgs {
    /// The camera's name in the config
    camera: String,
    /// COCO file, folder of YOLO's texts, or tar of an export
    labels: PathBuf,
    /// Folder of the pictures, where they are not beside the labels
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub fn run(command: &RemoteCommand) -> Result<(), Failure> {
    match command {
        RemoteCommand::Status(args) => status(args),
        RemoteCommand::Mark(args) => mark(args),
        RemoteCommand::Marks(args) => marks(args),
        RemoteCommand::Undo(args) => {
            Remote::of(&args.daemon)?.json(Verb::Delete, &format!("/api/marks/{}", segment(&args.id)))?;
            print_line(&format!("{}: taken back", args.id))
        }
        RemoteCommand::Run(args) => learn(args),
        RemoteCommand::Accept(args) => control(args, "accept", "what was learned is in use"),
        RemoteCommand::Rollback(args) => control(args, "rollback", "the one before is in use"),
        RemoteCommand::Factory(args) => control(args, "factory", "the model is as it came"),
        RemoteCommand::Forget(args) => control(args, "forget", "marks and pictures are erased"),
        RemoteCommand::Import(args) => import(args),
        RemoteCommand::Export(args) if args.out.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) => {
            export_parcel(args)
        }
        RemoteCommand::Export(args) => {
            let remote = Remote::of(&args.daemon)?;
            let json = remote.bytes(Verb::Get, &format!("/api/learn/{}/export", segment(&args.camera)))?;
            let named = |e: std::io::Error| Failure::Failed(format!("{}: {e}", args.out.display()));
            write_whole(&args.out, &json).map_err(named)?;
            print_line(&format!("written to {} ({} KiB)", args.out.display(), json.len().div_ceil(1024)))
        }
    }
}

/// What is done with an address.
enum Verb {
    Get,
    Delete,
    Post(Option<String>),
    /// Sends a tar, bit by bit.
    Send(Box<dyn Read>),
}

/// Status and body of an answer; or why there is none.
type Reply = Result<(u16, Box<dyn Read>), String>;

/// Asks it.
type Asking = Box<dyn Fn(Verb, &str) -> Reply>;

/// The daemon of a config.
struct Remote {
    address: SocketAddr,
    ask: Asking,
}

impl Remote {
    fn of(args: &DaemonArgs) -> Result<Self, Failure> {
        let config = config::load(&args.config).map_err(|e| Failure::Usage(e.to_string()))?;
        let shown = args.config.display();
        let http = config.http.ok_or_else(|| {
            Failure::Usage(format!("{shown}: http.enabled is false: a daemon with this config cannot be asked"))
        })?;
        let address = reachable(http.listen);
        let bearer = http.token.map(|token| format!("Bearer {token}"));
        let agent = client(&ClientSettings { patience: PATIENCE, ..ClientSettings::default() })?;
        let ask = move |verb: Verb, path: &str| -> Reply {
            let url = format!("http://{address}{path}");
            let bearer = bearer.iter().map(|bearer| ("Authorization", bearer));
            // Past any proxy of the environment: it is this machine, or one by its address.
            let answer = match verb {
                Verb::Get => {
                    let request = agent.get(&url).config().proxy(None).build();
                    bearer.fold(request, |r, (name, value)| r.header(name, value)).call()
                }
                Verb::Delete => {
                    let request = agent.delete(&url).config().proxy(None).build();
                    bearer.fold(request, |r, (name, value)| r.header(name, value)).call()
                }
                Verb::Post(body) => {
                    let request = agent.post(&url).config().proxy(None).build();
                    let request = bearer.fold(request, |r, (name, value)| r.header(name, value));
                    match body {
                        Some(json) => request.content_type("application/json").send(&json),
                        None => request.send_empty(),
                    }
                }
                Verb::Send(mut tar) => {
                    let config = agent.post(&url).config().proxy(None).timeout_recv_response(Some(LONG_PATIENCE));
                    let request = config.build().content_type(PARCEL_TYPE);
                    bearer.fold(request, |r, (name, value)| r.header(name, value)).send(body_of(&mut tar))
                }
            };
            let answer = answer.map_err(|e| e.to_string())?;
            let status = answer.status().as_u16();
            Ok((status, Box::new(answer.into_body().into_with_config().limit(MAX_ANSWER).reader())))
        };
        Ok(Self { address, ask: Box::new(ask) })
    }

    /// The body of a good answer, to be read.
    fn read(&self, verb: Verb, path: &str) -> Result<Box<dyn Read>, Failure> {
        let (status, mut answer) = (self.ask)(verb, path).map_err(|e| {
            Failure::Failed(format!("passd does not run, or not with this config: http://{}: {e}", self.address))
        })?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let mut body = Vec::new();
        answer.read_to_end(&mut body).map_err(|e| self.broken(&e))?;
        let said = serde_json::from_slice::<Value>(&body).ok();
        let said = said.as_ref().and_then(|v| v["error"].as_str());
        let words = said.map_or_else(|| format!("http://{}: HTTP status {status}", self.address), str::to_owned);
        Err(match status {
            400 => Failure::Usage(words),
            401 => {
                Failure::Failed(format!("http://{}: the daemon has another http.token than the config", self.address))
            }
            _ => Failure::Failed(words),
        })
    }

    fn broken(&self, e: &dyn Display) -> Failure {
        Failure::Failed(format!("http://{}: the answer breaks off: {e}", self.address))
    }

    fn bytes(&self, verb: Verb, path: &str) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        self.read(verb, path)?.read_to_end(&mut body).map_err(|e| self.broken(&e))?;
        Ok(body)
    }

    fn json(&self, verb: Verb, path: &str) -> Result<Value, Failure> {
        let body = self.bytes(verb, path)?;
        let odd = |e: serde_json::Error| {
            Failure::Failed(format!("http://{}{path}: that is no answer of passd's: {e}", self.address))
        };
        serde_json::from_slice(&body).map_err(odd)
    }

    /// What is known of a camera's learner.
    fn learner(&self, camera: &str) -> Result<Value, Failure> {
        let status = self.json(Verb::Get, "/api/learn")?;
        let mut known = status["cameras"].as_array().into_iter().flatten();
        let found = known.find(|c| c["camera"] == camera).cloned();
        found.ok_or_else(|| Failure::Failed(format!("nothing is learned of a camera '{camera}'")))
    }
}

fn export_parcel(args: &ExportArgs) -> Result<(), Failure> {
    let remote = Remote::of(&args.daemon)?;
    let mut tar = remote.read(Verb::Get, &format!("/api/learn/{}/export.tar", segment(&args.camera)))?;
    let named = |e: &dyn Display| Failure::Failed(format!("{}: {e}", args.out.display()));
    let mut n_bytes = 0;
    write_whole_by(&args.out, |file| {
        n_bytes = io::copy(&mut tar, file)?;
        Ok(())
    })
    .map_err(|e| named(&e))?;
    let (mut n_pictures, mut left_out) = (0, String::new());
    let written = open_plain(&args.out, Links::Followed).map_err(|e| named(&e))?;
    unpack(io::BufReader::new(written), |name, data| {
        match name {
            LEFT_OUT => left_out = String::from_utf8_lossy(&data).into_owned(),
            _ => n_pictures += 1,
        }
        Ok(())
    })
    .map_err(|e: ParcelError| named(&e))?;
    left_out.lines().try_for_each(|line| print_line(&format!("left out: {line}")))?;
    // One of the files is the labels.
    let pictures = counted(n_pictures - 1, "picture");
    print_line(&format!("written to {} ({pictures}, {} KiB)", args.out.display(), n_bytes.div_ceil(1024)))
}

fn import(args: &ImportArgs) -> Result<(), Failure> {
    let remote = Remote::of(&args.daemon)?;
    let learner = remote.learner(&args.camera)?;
    let known: Vec<String> =
        learner["labels"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let path = format!("/api/learn/{}/import", segment(&args.camera));
    let told = match open_parcel(&args.labels, &known)? {
        Some(tar) => remote.json(Verb::Send(Box::new(tar)), &path)?,
        None => {
            let gathered = Gathered::of(&args.labels, args.pictures.as_deref(), &known)?;
            let (tar, to) = io::pipe()?;
            std::thread::scope(|threads| {
                let packing = threads.spawn(|| gathered.pack(&known, io::BufWriter::new(to)));
                let told = remote.json(Verb::Send(Box::new(tar)), &path);
                // What could not be packed is why what was sent was not understood.
                match packing.join() {
                    Ok(Err(e)) if told.is_err() => Err(e.into()),
                    _ => told,
                }
            })?
        }
    };
    imported_lines(&args.labels, &told).iter().try_for_each(|line| print_line(line))
}

/// What came of an import, in words.
fn imported_lines(labels: &Path, told: &Value) -> Vec<String> {
    let of = |key: &str, what: &str| counted(number(&told[key]) as usize, what);
    let mut line = format!("{}: {}, {}", labels.display(), of("pictures", "picture"), of("marks", "new mark"));
    let more = [("known", "were there already"), ("without_labels", "without labels left out")];
    for (key, what) in more.iter().filter(|(key, _)| number(&told[*key]) > 0) {
        line.push_str(&format!("; {} {what}", number(&told[*key])));
    }
    let missing: Vec<&str> = told["missing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut lines = vec![line];
    if !missing.is_empty() {
        lines.push(format!("{} in the labels did not come: {}", of("n_missing", "picture"), missing.join(", ")));
    }
    lines
}

/// Where a server is found that listens there: one that listens everywhere, on this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A name as a part of a path.
fn segment(name: &str) -> impl Display {
    utf8_percent_encode(name, NON_ALPHANUMERIC)
}

/// Reads the corners of a box.
fn corners(text: &str) -> Result<[f32; 4], String> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|v| v.trim().parse::<f32>().ok()).collect();
    match numbers.map(<[f32; 4]>::try_from) {
        Some(Ok(at @ [x1, y1, x2, y2])) if at.iter().all(|v| v.is_finite()) && x1 < x2 && y1 < y2 => Ok(at),
        _ => Err("expected left, top, right and bottom, such as 100,40,180,260".into()),
    }
}

fn mark(args: &MarkArgs) -> Result<(), Failure> {
    let mark = NewMark {
        said: match args.said {
            SaidWord::NotAnObject => Said::NotAnObject,
            SaidWord::Right => Said::Right,
            SaidWord::Missed => Said::Missed,
        },
        event: args.event.clone(),
        camera: args.camera.clone(),
        frame: args.frame,
        label: args.label.clone(),
        bbox: args.place,
    };
    let body = serde_json::to_string(&mark).map_err(|e| Failure::Failed(e.to_string()))?;
    let made = Remote::of(&args.daemon)?.json(Verb::Post(Some(body)), "/api/marks")?;
    print_line(&mark_line(&made))
}

fn marks(args: &MarksArgs) -> Result<(), Failure> {
    let of = args.camera.as_ref().map(|camera| format!("?camera={}", segment(camera))).unwrap_or_default();
    let all = Remote::of(&args.daemon)?.json(Verb::Get, &format!("/api/marks{of}"))?;
    if args.json {
        return print_json(&all);
    }
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().try_for_each(|mark| print_line(&mark_line(mark)))?;
    if all.is_empty() {
        print_line("nothing was said yet")?;
    }
    Ok(())
}

fn status(args: &StatusArgs) -> Result<(), Failure> {
    let status = Remote::of(&args.daemon)?.json(Verb::Get, "/api/learn")?;
    if args.json {
        return print_json(&status);
    }
    let cameras = status["cameras"].as_array().map(Vec::as_slice).unwrap_or_default();
    for camera in cameras {
        learner_lines(camera).iter().try_for_each(|line| print_line(line))?;
    }
    if cameras.is_empty() {
        print_line("nothing is learned of any camera")?;
    }
    let budget = &status["budget"];
    match (budget["used_s"].as_f64(), budget["daily_s"].as_f64()) {
        (Some(used), Some(daily)) => print_line(&format!("{used:.0} of {daily:.0} s of learning used today")),
        _ => Ok(()),
    }
}

fn control(args: &CameraArgs, name: &str, done: &str) -> Result<(), Failure> {
    let path = format!("/api/learn/{}/{name}", segment(&args.camera));
    Remote::of(&args.daemon)?.json(Verb::Post(None), &path)?;
    print_line(&format!("{}: {done}", args.camera))
}

/// Asks for a run, and waits for its end.
fn learn(args: &LearnNowArgs) -> Result<(), Failure> {
    let remote = Remote::of(&args.daemon)?;
    let before = remote.learner(&args.camera)?["last"]["time"].as_f64();
    remote.json(Verb::Post(None), &format!("/api/learn/{}/run", segment(&args.camera)))?;
    let bar = progress_bar().with_message("learning");
    let asked = Instant::now();
    let mut has_begun = false;
    let learner = loop {
        std::thread::sleep(PAUSE);
        let learner = remote.learner(&args.camera)?;
        let is_learning = matches!(learner["state"].as_str(), Some("learning" | "paused"));
        has_begun |= is_learning || learner["last"]["time"].as_f64() != before;
        if has_begun && !is_learning {
            break learner;
        }
        if !has_begun && asked.elapsed() > BEGINS {
            bar.finish_and_clear();
            let state = text(&learner["state"]);
            return Err(Failure::Failed(format!(
                "{}: it does not begin to learn; its state is '{state}'",
                args.camera
            )));
        }
        bar.set_position((learner["progress"].as_f64().unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u64);
    };
    bar.finish_and_clear();
    let last = &learner["last"];
    if last["time"].as_f64() == before {
        return Err(Failure::Failed(format!("{}: it ended without a result; passd's log says why", args.camera)));
    }
    run_lines(last).iter().try_for_each(|line| print_line(line))?;
    if let Some(why) = last["refused"].as_str() {
        return Err(Failure::Failed(format!("{}: what was learned is not taken: {why}", args.camera)));
    }
    match learner["waiting"]["version"].as_u64() {
        Some(n) => print_line(&format!("version {n} waits: passd learn accept {}", args.camera)),
        None => print_line(&format!("{}: {}, model {}", args.camera, text(&learner["state"]), text(&learner["model"]))),
    }
}

fn print_json(value: &Value) -> Result<(), Failure> {
    print_line(&serde_json::to_string_pretty(value).map_err(|e| Failure::Failed(e.to_string()))?)
}

/// What stands in a field; a dash where nothing does.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// One mark in words.
fn mark_line(mark: &Value) -> String {
    let at = mark["box"].as_array().into_iter().flatten().filter_map(Value::as_f64);
    let at = at.map(|v| format!("{v:.0}")).collect::<Vec<_>>().join(",");
    let event = mark["event"].as_str().map(|id| format!(" event {id}")).unwrap_or_default();
    format!(
        "{:<20} {:<12} {:<14} {:<12} {:<20} {}{event}",
        text(&mark["id"]),
        text(&mark["camera"]),
        text(&mark["said"]),
        text(&mark["label"]),
        at,
        ago(&mark["time"])
    )
}

/// A camera's learner in words.
fn learner_lines(c: &Value) -> Vec<String> {
    let learning = match (c["state"].as_str(), c["progress"].as_f64()) {
        (Some("learning"), Some(share)) => format!(" {:.0} %", share * 100.0),
        _ => String::new(),
    };
    let group = c["group"].as_str().filter(|group| *group != text(&c["camera"]));
    let mut lines = vec![format!(
        "{}{}: {}{learning}, mode {}, model {}; {}, {}, {:.1} MiB",
        text(&c["camera"]),
        group.map(|group| format!(" (group {group})")).unwrap_or_default(),
        text(&c["state"]),
        text(&c["mode"]),
        text(&c["model"]),
        counted(number(&c["marks"]) as usize, "mark"),
        counted(number(&c["samples"]) as usize, "sample"),
        number(&c["bytes"]) as f64 / f64::from(1 << 20)
    )];
    if let Some(why) = c["trouble"].as_str() {
        lines.push(format!("  trouble: {why}"));
    }
    if c["waiting"].is_object() {
        lines.push(format!("  version {} waits to be accepted", number(&c["waiting"]["version"])));
        lines.extend(compared_line("held out", &c["waiting"]["held_out"]).map(|line| format!("    {line}")));
    }
    if c["last"].is_object() {
        lines.extend(run_lines(&c["last"]).into_iter().map(|line| format!("  {line}")));
    }
    lines
}

/// A run in words.
fn run_lines(run: &Value) -> Vec<String> {
    let mut lines = vec![format!("last run {}, {:.1} s", ago(&run["time"]), run["seconds"].as_f64().unwrap_or(0.0))];
    let curve: Vec<String> =
        run["curve"].as_array().into_iter().flatten().filter_map(Value::as_f64).map(|v| format!("{v:.3}")).collect();
    if !curve.is_empty() {
        lines.push(format!("loss, a tenth of the steps each: {}", curve.join(" ")));
    }
    lines.extend(compared_line("held out", &run["held_out"]));
    lines.extend(compared_line("anchors, held out", &run["anchors"]));
    lines.extend(marked_line(&run["marked"]));
    lines.extend(gates_line(&run["gates"]));
    if let Some(why) = run["refused"].as_str() {
        lines.push(format!("refused: {why}"));
    }
    lines
}

/// What became of what was marked, in words; `None`: no false alarm was.
fn marked_line(marked: &Value) -> Option<String> {
    let [before, after] = ["before", "after"].map(|at| number(&marked[at]["n_false"]));
    let advice = if 2 * after > before { ": mark it once more, or in other pictures" } else { "" };
    (before > 0).then(|| format!("of {before} false alarms where something was marked, {after} are left{advice}"))
}

/// What gates do with the weights, in words; `None`: the model has none.
fn gates_line(gates: &Value) -> Option<String> {
    let of = |at: &str, key: &str| gates[at][key].as_f64().map(|share| format!("{:.1} %", 100.0 * share));
    let both = |key: &str| Some(format!("{} -> {}", of("before", key)?, of("after", key)?));
    let numbers = both("agreement").zip(both("executed"));
    let numbers = numbers.map(|(agreement, work)| format!("gates: agreement {agreement}, work {work}"));
    let said = gates["said"].as_str().map(str::to_owned);
    let parts: Vec<String> = numbers.into_iter().chain(said).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Before and after in words; `None`: nothing was compared.
fn compared_line(what: &str, c: &Value) -> Option<String> {
    let (before, after) = (&c["before"], &c["after"]);
    if !before.is_object() || !after.is_object() {
        return None;
    }
    let points = |s: &Value| s["ap50"].as_f64().map_or_else(|| "none".to_owned(), |ap| format!("{ap:.3}"));
    let both = |key: &str| format!("{} -> {}", number(&before[key]), number(&after[key]));
    Some(format!(
        "{what}: AP50 {} -> {}, found {} of {}, stray {}, false alarms {}",
        points(before),
        points(after),
        both("n_found"),
        number(&after["n_objects"]),
        both("n_stray"),
        both("n_false")
    ))
}

/// How long ago a time is that is given in seconds since 1970.
fn ago(time: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let Some(seconds) = time.as_f64().map(|time| (now - time).max(0.0)) else { return "-".into() };
    let (n, unit) = match seconds {
        ..120.0 => (seconds, "s"),
        ..7200.0 => (seconds / 60.0, "minutes"),
        ..172_800.0 => (seconds / 3600.0, "hours"),
        _ => (seconds / 86_400.0, "days"),
    };
    format!("{n:.0} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn boxes_are_read_or_refused() {
        assert_eq!(corners("100, 40,180.5,260").unwrap(), [100.0, 40.0, 180.5, 260.0]);
        assert_eq!(corners("-3,0,10,20").unwrap()[0], -3.0);
        for bad in ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1,2,3,x,4", "5,2,3,4", "1,2,3,2", "1,2,inf,4", "NaN,2,3,4"] {
            assert!(corners(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_found_here() {
        for (listen, want) in [
            ("0.0.0.0:8090", "127.0.0.1:8090"),
            ("[::]:8090", "[::1]:8090"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.168.1.5:80", "192.168.1.5:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), want.parse::<SocketAddr>().unwrap());
        }
        assert_eq!(segment("a b/../c").to_string(), "a%20b%2F%2E%2E%2Fc");
    }

    #[test]
    fn learners_in_words() {
        let standing = |ap50: f64, n_false: u32| json!({ "ap50": ap50, "n_false": n_false, "n_found": 5, "n_objects": 6, "n_stray": 2 });
        let learner = json!({
            "camera": "front", "group": "front", "mode": "ask", "marks": 1, "samples": 120, "bytes": 1_572_864,
            "state": "learning", "progress": 0.4, "model": "base", "waiting": null, "trouble": "learned 2 cannot be used",
            "last": { "time": 0.0, "refused": "it is worse", "curve": [1.0, 0.5], "seconds": 41.2,
                "held_out": { "before": standing(0.9, 10), "after": standing(0.95, 4) }, "anchors": {}, "before_after": [],
                "marked": { "before": standing(0.9, 9), "after": standing(0.9, 8) },
                "gates": { "before": { "agreement": 0.99, "executed": 0.1 }, "after": { "agreement": 0.985, "executed": 0.11 }, "said": "so" } },
        });
        let lines = learner_lines(&learner);
        assert_eq!(lines[0], "front: learning 40 %, mode ask, model base; 1 mark, 120 samples, 1.5 MiB");
        assert_eq!(lines[1], "  trouble: learned 2 cannot be used");
        assert!(lines[2].starts_with("  last run ") && lines[2].ends_with(" days ago, 41.2 s"), "{}", lines[2]);
        assert_eq!(
            lines[3..],
            [
                "  loss, a tenth of the steps each: 1.000 0.500",
                "  held out: AP50 0.900 -> 0.950, found 5 -> 5 of 6, stray 2 -> 2, false alarms 10 -> 4",
                "  of 9 false alarms where something was marked, 8 are left: mark it once more, or in other pictures",
                "  gates: agreement 99.0 % -> 98.5 %, work 10.0 % -> 11.0 %; so",
                "  refused: it is worse",
            ]
        );
        assert_eq!(ago(&Value::Null), "-");
    }
}
