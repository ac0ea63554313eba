//! What this process uses: memory and processor time; and which of its threads come first.

use rustix::time::{ClockId, clock_gettime};

/// MiB that are resident now; 0 where the system does not say.
pub fn resident_mib() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()))
        .unwrap_or(0.0);
    // Pages of 4 KiB: what every Linux that this runs on reports here by default.
    pages * 4.0 / 1024.0
}

/// Processor time of all threads since the start, nanoseconds.
pub fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Most heaps of the C library, which otherwise gives each new thread one of its own, up to eight a core. Every connection
/// of a camera starts a dozen threads, and what they leave scattered over heaps is not given back: twenty cameras that
/// were cut 10,000 times grew from 202 to 226 MiB with heaps for all, from 162 to 170 with two (2 cores, 2026-11-29).
const HEAPS: i32 = 2;

/// Threads share heaps from now on.
pub fn share_heaps() {
    // Safety: it takes any number, and no pointer.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Niceness of threads that give way, beyond the process's: the others get nine times as much of a processor that both want.
const GIVES_WAY: i32 = 10;

/// The calling thread, and those that it starts from now on, give way to the others.
pub fn give_way() {
    // Linux has a niceness for each thread: the process's number is its first thread's, "no process" is the calling one.
    // Without the right to it nothing changes.
    let of_process = rustix::process::getpriority_process(Some(rustix::process::getpid())).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, of_process + GIVES_WAY);
}

/// The calling thread runs only when nobody else wants the processor.
pub fn only_when_idle() {
    // Safety: 0 is the calling thread, and the parameter outlives the call.
    #[cfg(target_os = "linux")]
    unsafe {
        let parameter = libc::sched_param { sched_priority: 0 };
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter);
    }
}
