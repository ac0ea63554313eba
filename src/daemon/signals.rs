//! SIGTERM and SIGINT stop, SIGHUP reloads.

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Stop,
    Reload,
}

/// Signals from now on, in order. A second stop ends the process at once.
///
/// # Errors
/// The handlers cannot be installed.
pub fn signals() -> std::io::Result<Receiver<Signal>> {
    let mut caught = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = bounded(8);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut stopping = false;
        for signal in &mut caught {
            let what = if signal == SIGHUP { Signal::Reload } else { Signal::Stop };
            if what == Signal::Stop && stopping {
                std::process::exit(130);
            }
            stopping |= what == Signal::Stop;
            let _ = match what {
                Signal::Stop => sender.send(what).is_ok(),
                // Full: a reload is waiting already, and it reads the newest file.
                Signal::Reload => sender.try_send(what).is_ok(),
            };
        }
    })?;
    Ok(receiver)
}
