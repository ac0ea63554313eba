//! Where the service manager wants to have kept what is kept.

use std::path::PathBuf;

/// The service manager's folder for what is kept; `None` where there is no service manager.
pub fn state_directory() -> Option<PathBuf> {
    // systemd gives a list where there are several.
    std::env::var("STATE_DIRECTORY").ok()?.split(':').next().map(PathBuf::from)
}
