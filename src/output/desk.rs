//! What people say of pictures, and ask of what learns from it: HTTP and MQTT put it here, the learner's thread answers.

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What somebody says of a place in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// What was reported is none.
    NotAnObject,
    /// What was reported is right.
    Right,
    /// Something is there that was not reported.
    Missed,
}

/// A mark as somebody makes it: of an event, or of a place in a camera's picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMark {
    pub said: Said,
    /// The event it is of: then camera, label and box are the event's, unless they are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// The frame in whose picture it is: of a still; absent: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    /// What it is; needed for `right` and `missed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Left, top, right and bottom in pixels of the camera's picture.
    #[serde(rename = "box", default, skip_serializing_if = "Option::is_none")]
    pub bbox: Option<[f32; 4]>,
}

/// A picture from elsewhere, and what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct BroughtPicture {
    /// Its file, as the labels name it.
    pub name: String,
    /// The size in whose pixels the places are.
    pub size: [u32; 2],
    pub places: Vec<BroughtPlace>,
}

/// A place in it.
#[derive(Debug, Clone, PartialEq)]
pub struct BroughtPlace {
    pub said: Said,
    /// What it is; of what is no object, what it was taken for, if that is known.
    pub label: Option<String>,
    /// Left, top, right and bottom in pixels.
    pub bbox: [f32; 4],
}

/// A camera's marks and pictures, on their way out.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingParcel {
    /// COCO JSON.
    pub labels: Vec<u8>,
    /// What each picture is called there, and where it lies.
    pub pictures: Vec<(String, PathBuf)>,
    /// Pictures of marks that are gone.
    pub left_out: Vec<String>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Mark(NewMark),
    /// Takes a mark back, by its id.
    Undo(String),
    /// All marks, newest first, of one camera or of all.
    Marks(Option<String>),
    /// How it stands, of all cameras.
    Status,
    Control(LearnControl, String),
    /// A camera's marks and pictures as COCO JSON.
    Export(String),
    /// The same with the pictures.
    Parcel(String),
    /// What labels (COCO JSON) say of pictures that are to come, if the camera's model knows them.
    Labels {
        camera: String,
        json: Vec<u8>,
    },
    /// Keeps a picture for a camera, and marks what is said of it.
    Bring {
        camera: String,
        picture: BroughtPicture,
        data: Vec<u8>,
    },
    /// The picture of a mark, JPEG.
    Picture(String),
    /// What the last run changed in a camera's pictures.
    Pairs(String),
    /// One of these pictures, JPEG: camera, and the picture's name.
    PairPicture(String, String),
    /// Holds a camera's newest frame, so that places in it can be marked for a while.
    Still(String),
}

/// What can be asked of a camera's learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearnControl {
    /// Learns now.
    Run,
    /// Takes what was learned and waits.
    Accept,
    /// Goes back to what was in use before.
    Rollback,
    /// Goes back to the model as it came.
    Factory,
    /// Erases marks and pictures.
    Forget,
}

impl LearnControl {
    pub const ALL: [(&'static str, Self); 5] = [
        ("run", Self::Run),
        ("accept", Self::Accept),
        ("rollback", Self::Rollback),
        ("factory", Self::Factory),
        ("forget", Self::Forget),
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, control)| *control)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Json(Value),
    Jpeg(Vec<u8>),
    /// A frame's JSON, and its picture.
    Still(Value, Vec<u8>),
    Parcel(OutgoingParcel),
    Labels(Vec<BroughtPicture>),
    /// So many marks are new, and whether the picture is.
    Brought {
        n_marks: usize,
        is_new: bool,
    },
}

/// Why it is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// There is no such camera, event, mark, picture.
    #[error("{0}")]
    Missing(String),
    /// What is asked for makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// Not now.
    #[error("{0}")]
    Busy(String),
    /// It could not be written.
    #[error("{0}")]
    Failed(String),
}

impl DeskError {
    /// The same in other words.
    pub fn reworded(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Missing(why) => Self::Missing(words(why)),
            Self::Wrong(why) => Self::Wrong(words(why)),
            Self::Busy(why) => Self::Busy(words(why)),
            Self::Failed(why) => Self::Failed(words(why)),
        }
    }
}

/// What was asked, and where the answer goes.
pub struct Asked {
    pub ask: Ask,
    pub reply: Sender<Result<Answer, DeskError>>,
    asked: Instant,
}

impl Asked {
    /// Whether somebody still waits for the answer.
    pub fn is_awaited(&self) -> bool {
        self.asked.elapsed() < PATIENCE
    }
}

/// Where to ask.
#[derive(Debug, Clone)]
pub struct Desk(Sender<Asked>);

/// Questions that may wait, and how long one waits for its answer.
const WAITING: usize = 32;
const PATIENCE: Duration = Duration::from_secs(20);

impl Desk {
    pub fn new() -> (Self, Receiver<Asked>) {
        let (sender, receiver) = bounded(WAITING);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the answer; not on a thread that others wait for.
    ///
    /// # Errors
    /// It is not done, or there is nobody who answers in time.
    pub fn ask(&self, ask: Ask) -> Result<Answer, DeskError> {
        let busy = || DeskError::Busy("what learns does not answer just now; try again".into());
        let (reply, answer) = bounded(1);
        self.0.try_send(Asked { ask, reply, asked: Instant::now() }).map_err(|_| busy())?;
        answer.recv_timeout(PATIENCE).map_err(|_| busy())?
    }
}
