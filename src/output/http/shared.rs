//! What every answer is made from.

use super::token::Token;
use crate::output::board::Board;
use crate::output::desk::Desk;
use crate::output::events::Archive;
use crate::output::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

#[derive(Clone)]
pub(super) struct Shared {
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    pub streams: Arc<Semaphore>,
    pub interval: Duration,
    /// `None`: no events are kept.
    pub archive: Option<Archive>,
    pub token: Option<Token>,
    /// `None`: nothing is learned.
    pub desk: Option<Desk>,
    /// Who waits at the desk.
    pub asking: Arc<Semaphore>,
    /// Who brings or fetches labels with pictures.
    pub carrying: Arc<Semaphore>,
}
