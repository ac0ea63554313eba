//! Resident memory of this process.

/// MiB that are resident now; 0 where the system does not say.
pub fn resident_mib() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()))
        .unwrap_or(0.0);
    // Pages of 4 KiB: what every Linux that this runs on reports here by default.
    pages * 4.0 / 1024.0
}
