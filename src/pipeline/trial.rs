//! A model is tried in a process of its own before this one opens it: a file may bring ONNX Runtime down, never come
//! to an end, or take all memory, and the cameras that run are not to know of it.
//!
//! The program calls itself with [`COMMAND`], hands over what is to be opened as JSON, and waits, within bounds.

use super::opener::DetectorOpener;
use crate::config::DetectorConfig;
use crate::infer::InferError;
use crate::infer::factory::Opened;
use crate::infer::session::Runtime;
use crate::models::model::{Model, ModelFolders};
use crate::skip::{ModeChoice, SkipMode};
use crate::text::printable;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tracing_mutex::stdsync::Mutex;

/// The word with which the program calls itself.
pub const COMMAND: &str = "try-model";
/// For opening a model and one run.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(120);
/// Memory for it: of any file, and for each of its bytes. YOLOX-nano takes 1.2 GiB of addresses, and 0.4 of memory.
const MEMORY: (u64, u64) = (3 << 30, 64);
/// Longest answer that is read.
const MAX_ANSWER: u64 = 64 << 10;

/// This very program, also where its file has been replaced since it began.
const THIS_PROGRAM: &str = "/proc/self/exe";

static KNOWS_COMMAND: AtomicBool = AtomicBool::new(false);

/// From now on models are tried by this program, which knows [`COMMAND`].
pub fn use_this_program() {
    KNOWS_COMMAND.store(true, Ordering::Relaxed);
}

/// What is to be opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Question {
    model: String,
    size: Option<String>,
    score: f32,
    nms_iou: f32,
    context: Option<u32>,
    break_even: Option<f32>,
    batch: usize,
    mode: ModeChoice,
    folders: Vec<PathBuf>,
    library: PathBuf,
    n_bytes: u64,
    sha256: String,
}

/// What a model turned out to be on the CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialVerdict {
    pub mode: String,
    /// Why this mode.
    pub why: String,
    /// Memory that each camera needs beside the model.
    pub state_bytes: usize,
}

impl TrialVerdict {
    pub fn of(opened: &Opened) -> Self {
        Self { mode: opened.mode.name().into(), why: opened.why.clone(), state_bytes: opened.state_bytes }
    }
}

/// Models that have been tried, and what was found.
#[derive(Default)]
pub struct Trials {
    passed: Mutex<HashMap<String, TrialVerdict>>,
}

impl Trials {
    /// Tries a model as it will be opened, on the CPU; once is enough. `None`: it need not, or cannot, be tried.
    ///
    /// # Errors
    /// What the other process says of it, or how it came to its end.
    pub fn pass(
        &self,
        c: &DetectorConfig,
        mode: Option<SkipMode>,
        model: &Model,
        opener: &DetectorOpener,
    ) -> Result<Option<TrialVerdict>, InferError> {
        if model.is_built_in() || !KNOWS_COMMAND.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let question = Question {
            model: c.model.clone(),
            size: c.size.map(|s| s.to_string()),
            score: c.score,
            nms_iou: c.nms_iou,
            context: c.context,
            break_even: c.break_even,
            batch: c.batch,
            mode: mode.into(),
            folders: opener.folders.0.clone(),
            library: opener.runtime.library.clone(),
            n_bytes: model.onnx.len() as u64,
            sha256: model.sha256.clone(),
        };
        let text = serde_json::to_string(&question).map_err(|e| InferError::Runtime(e.to_string()))?;
        if let Some(verdict) = self.passed.lock().unwrap_or_else(PoisonError::into_inner).get(&text) {
            return Ok(Some(verdict.clone()));
        }
        let err = |reason: String| InferError::model(&model.file, reason);
        let alone = |e: std::io::Error| err(format!("it cannot be tried in a process of its own: {e}"));
        let child = Command::new(THIS_PROGRAM)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(alone)?;
        let verdict = match ask(child, text.clone(), TRIAL_TIMEOUT).map_err(alone)? {
            Outcome::Good(verdict) => verdict,
            Outcome::Refused(why) => return Err(InferError::Runtime(why)),
            Outcome::Late => {
                return Err(err(format!(
                    "a test run did not end within {} s; the file may never let one end",
                    TRIAL_TIMEOUT.as_secs()
                )));
            }
            Outcome::Fell(how) => {
                return Err(err(format!(
                    "a test run ended its process ({how}): the file is broken, or asks for more than {} MiB of memory. Get it \
                     from its source again",
                    memory(question.n_bytes) >> 20
                )));
            }
        };
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).insert(text, verdict.clone());
        Ok(Some(verdict))
    }
}

fn memory(n_bytes: u64) -> u64 {
    MEMORY.0 + MEMORY.1.saturating_mul(n_bytes)
}

/// How a trial ended.
#[derive(Debug, PartialEq)]
enum Outcome {
    Good(TrialVerdict),
    Refused(String),
    Late,
    Fell(String),
}

/// Hands the question over and waits for the answer.
fn ask(mut child: Child, question: String, patience: Duration) -> std::io::Result<Outcome> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // Neither end of a pipe is waited for here.
    let writer = std::thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(question.as_bytes())));
    let reader = std::thread::spawn(move || {
        let mut answer = String::new();
        stdout.map(|pipe| pipe.take(MAX_ANSWER).read_to_string(&mut answer)).transpose().map(|_| answer)
    });
    let began = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if began.elapsed() >= patience => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let _ = writer.join();
    let answer = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    Ok(match status {
        None => Outcome::Late,
        Some(status) if status.success() => match serde_json::from_str(&answer) {
            Ok(verdict) => Outcome::Good(verdict),
            Err(_) => Outcome::Fell("an answer that is none".into()),
        },
        Some(status) => match (status.signal(), answer.trim()) {
            (Some(signal), _) => Outcome::Fell(format!("signal {signal}{}", name_of(signal))),
            (None, "") => Outcome::Fell(format!("exit status {}", status.code().unwrap_or(-1))),
            (None, why) => Outcome::Refused(why.into()),
        },
    })
}

fn name_of(signal: i32) -> &'static str {
    match signal {
        4 => ", illegal instruction",
        6 => ", abort",
        7 => ", bus error",
        8 => ", division by zero",
        9 => ", killed",
        11 => ", access to memory that is none",
        _ => "",
    }
}

/// The other side: opens what it is asked for, and says what it is or what is wrong with it.
///
/// # Errors
/// Why the model cannot be used, for the one who asked.
pub fn answer(question: impl Read) -> Result<String, String> {
    // Nobody who asks may be survived.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let q: Question = serde_json::from_reader(question.take(1 << 20)).map_err(|e| e.to_string())?;
    let most = Some(memory(q.n_bytes));
    let _ = setrlimit(Resource::As, Rlimit { current: most, maximum: most });
    // Where memory gets short, this process goes, and not the one who asks.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let runtime = Runtime::get(Some(&q.library)).map_err(|e| e.to_string())?;
    let size = q.size.map(|s| s.parse()).transpose()?;
    // On the CPU, whatever it is for: the other providers need the same file, and what they build takes minutes.
    let config = DetectorConfig {
        score: q.score,
        nms_iou: q.nms_iou,
        context: q.context,
        break_even: q.break_even,
        workers: Some(1),
        batch: q.batch,
        ..DetectorConfig::usual(&q.model, size)
    };
    let opener = DetectorOpener::new(runtime, ModelFolders(q.folders));
    let said = |e: InferError| printable(&e.to_string(), 4000);
    let model = opener.load(&config).map_err(said)?;
    if model.sha256 != q.sha256 {
        return Err(format!("{} is being changed: try again when it is whole", printable(&model.file, 1000)));
    }
    let opened = opener.open(Arc::new(model), &config, q.mode.fixed()).map_err(said)?;
    serde_json::to_string(&TrialVerdict::of(&opened)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Outcome {
        run_for(script, TRIAL_TIMEOUT)
    }

    fn run_for(script: &str, patience: Duration) -> Outcome {
        let child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        ask(child, "x".repeat(1 << 20), patience).unwrap()
    }

    #[test]
    fn every_end_of_a_trial_is_told_apart() {
        let verdict = TrialVerdict { mode: "off".into(), why: "x".into(), state_bytes: 7 };
        let good = format!("cat > /dev/null; echo '{}'", serde_json::to_string(&verdict).unwrap());
        assert_eq!(run(&good), Outcome::Good(verdict));
        assert!(matches!(run("cat > /dev/null"), Outcome::Fell(_)));
        assert_eq!(run("echo no such model; exit 1"), Outcome::Refused("no such model".into()));
        assert_eq!(run("kill -FPE $$"), Outcome::Fell("signal 8, division by zero".into()));
        assert_eq!(run("exit 3"), Outcome::Fell("exit status 3".into()));
        assert_eq!(run_for("exec sleep 60", Duration::from_millis(100)), Outcome::Late);
        assert!(matches!(run("yes; exit 1"), Outcome::Refused(_) | Outcome::Fell(_)), "more than is read");
    }
}
