//! What a camera that comes and goes leaves behind: alone in its process, whose memory and files are counted.

mod common;

use common::odd_camera::{OddCamera, Oddity};
use common::rig::{Rig, quick};
use common::{footprint, free_port, wait_for};
use passd::capture::{CameraState, SupervisorSettings};
use std::time::Duration;

/// Two thousand attempts, of a camera that plays those that played, tell a leak from what GStreamer keeps for ever.
const N: usize = 2000;

#[test]
fn two_thousand_connections_leave_nothing_behind() {
    let settings = || SupervisorSettings {
        backoff_first: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(1),
        ..quick()
    };
    let check = |what: &str, address: &str, plays: bool| {
        // What plays takes its time: several at once.
        let rigs: Vec<Rig> = (0..if plays { 20 } else { 1 }).map(|_| Rig::start(address, settings())).collect();
        let count = |state: CameraState| rigs.iter().map(|rig| rig.causes(state).len()).sum::<usize>();
        let counted = if plays { CameraState::Live } else { CameraState::BackingOff };
        let after = |n: usize| {
            wait_for(what, Duration::from_secs(600), || (count(counted) >= n).then_some(()));
            footprint()
        };
        let (mib, files) = after(N / 10);
        let halfway = after(N / 2).0;
        let (mib_after, files_after) = after(N);
        println!("{what}: {mib:.1} MiB became {halfway:.1}, then {mib_after:.1}; {files} open files {files_after}");
        // As some play while others wait, a MiB a camera is no growth.
        let slack = if plays { rigs.len() as f64 } else { 4.0 };
        assert!(mib_after - mib < slack, "{what}: {mib} MiB became {mib_after}");
        assert!(files_after <= files + 6 * rigs.len(), "{what}: {files} open files became {files_after}");
        let (n_failed, n_played) = (count(CameraState::BackingOff), count(CameraState::Live));
        // Each that played was cut; on a busy machine some are cut before they show a picture.
        let fits = if plays { n_failed < 3 * n_played } else { n_played == 0 };
        assert!(fits, "{what}: played {n_played} times, failed {n_failed} times");
    };
    check("nobody listens", &format!("rtsp://127.0.0.1:{}/cam", free_port()), false);
    for oddity in [Oddity::Half, Oddity::Status(503), Oddity::Sha256, Oddity::Cut] {
        let camera = OddCamera::start(oddity);
        check(&format!("{oddity:?}"), &camera.url(), oddity == Oddity::Cut);
    }
}
