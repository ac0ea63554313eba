//! What a camera that is away leaves behind: alone in its process, whose memory and files are counted.

mod common;

use common::odd_camera::{OddCamera, Oddity};
use common::rig::{Rig, quick};
use common::{footprint, free_port, wait_for};
use passd::capture::{CameraState, SupervisorSettings};
use std::time::Duration;

/// Two thousand attempts tell a leak from what GStreamer keeps for ever.
const N: usize = 2000;

#[test]
fn two_thousand_failed_connects_leave_nothing_behind() {
    let settings = || SupervisorSettings {
        backoff_first: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(1),
        ..quick()
    };
    let check = |what: &str, address: &str| {
        let rig = Rig::start(address, settings());
        let attempts = |n: usize| {
            let failed = || (rig.causes(CameraState::BackingOff).len() >= n).then_some(());
            wait_for(what, Duration::from_secs(240), failed);
        };
        attempts(N / 10);
        let (mib, files) = footprint();
        attempts(N);
        let (mib_after, files_after) = footprint();
        println!("{what}: {mib:.1} MiB became {mib_after:.1}, {files} open files {files_after}");
        assert!(mib_after - mib < 4.0, "{what}: {mib} MiB became {mib_after}");
        assert!(files_after <= files + 6, "{what}: {files} open files became {files_after}");
    };
    check("nobody listens", &format!("rtsp://127.0.0.1:{}/cam", free_port()));
    for oddity in [Oddity::Half, Oddity::Status(503), Oddity::Sha256] {
        let camera = OddCamera::start(oddity);
        check(&format!("{oddity:?}"), &camera.url());
    }
}
