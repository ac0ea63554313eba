//! Who computes next when there is more to do than the machine can: pure, on times that are handed in.
//!
//! - [`fair`]: whose turn it is at a detector; computing time is shared by weight.
//! - [`allowance`]: whether anybody's turn may begin: a share of the machine, a latency that is kept.
//! - [`load`]: whether a camera gets less than it should.
//!
//! A camera takes its newest frame only when its turn comes. So what too much work costs is frames, never
//! latency: a frame is as old as its camera's interval and the time of one detection, however many wait.

pub mod allowance;
pub mod fair;
pub mod load;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a camera counts when not all can have what they want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Priority {
    /// Share of computing time against others.
    pub fn weight(self) -> f64 {
        match self {
            Self::Low => 1.0,
            Self::Normal => 4.0,
            Self::High => 16.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fair::{FairQueue, Seat};
    use super::load::{Degraded, Load};
    use super::*;
    use std::collections::BTreeMap;

    const MS: u64 = 1_000_000;

    struct Camera {
        seat: Seat,
        load: Load,
        degraded: Degraded,
        interval: u64,
        /// Of one detection, before it varies by up to a half.
        cost: u64,
        next_frame: u64,
        slot: Option<u64>,
        n_captured: u64,
        ages: Vec<u64>,
    }

    /// Cameras (interval, cost, priority) at one detector, event by event: the order of a camera's thread is that of
    /// `pipeline/camera.rs`: a frame is there, a turn is waited for, the newest frame is taken.
    fn simulate(cameras: &[(u64, u64, Priority)], seconds: u64) -> Vec<Camera> {
        let (mut queue, mut random) = (FairQueue::default(), fastrand::Rng::with_seed(3));
        let mut cameras: Vec<Camera> = cameras
            .iter()
            .map(|(interval, cost, priority)| Camera {
                seat: queue.join(priority.weight()),
                load: Load::default(),
                degraded: Degraded::No,
                interval: interval * MS,
                cost: cost * MS,
                next_frame: random.u64(0..interval * MS),
                slot: None,
                n_captured: 0,
                ages: Vec::new(),
            })
            .collect();
        // Who computes what, until when.
        let mut running: Option<(usize, u64, u64, u64)> = None;
        let mut waiting: BTreeMap<Seat, u64> = BTreeMap::new();
        let mut now = 0;
        while now < seconds * 1000 * MS {
            let frame = cameras.iter().map(|c| c.next_frame).min().unwrap();
            now = running.map_or(frame, |(.., until)| until.min(frame));
            for camera in cameras.iter_mut().filter(|c| c.next_frame == now) {
                camera.slot = Some(now);
                camera.n_captured += 1;
                // A real camera is never quite on time.
                camera.next_frame = now + camera.interval * random.u64(95..105) / 100;
            }
            if let Some((i, began, captured, until)) = running
                && until == now
            {
                let camera = &mut cameras[i];
                camera.ages.push(now - captured);
                queue.charge(camera.seat, now - began);
                let waited = began - waiting.remove(&camera.seat).unwrap();
                let (n_captured, n_done) = (camera.n_captured, camera.ages.len() as u64);
                camera.degraded = camera.load.update(now, n_captured, n_done, waited + now - began);
                running = None;
            }
            for (i, camera) in cameras.iter().enumerate() {
                if camera.slot.is_some() && running.is_none_or(|(j, ..)| j != i) && !waiting.contains_key(&camera.seat)
                {
                    queue.want(camera.seat);
                    waiting.insert(camera.seat, now);
                }
            }
            if running.is_none()
                && let Some(seat) = queue.let_in()
            {
                let i = cameras.iter().position(|c| c.seat == seat).unwrap();
                let captured = cameras[i].slot.take().unwrap();
                running = Some((i, now, captured, now + cameras[i].cost * random.u64(50..150) / 100));
            }
        }
        cameras
    }

    fn p99(camera: &Camera) -> u64 {
        let mut ages = camera.ages.clone();
        ages.sort_unstable();
        ages[ages.len() * 99 / 100]
    }

    fn share(camera: &Camera) -> f64 {
        camera.ages.len() as f64 / camera.n_captured as f64
    }

    /// Three times more work than the machine can do: frames are lost, latency is kept.
    #[test]
    fn too_much_work_costs_frames_and_no_latency() {
        let cases: [&[(u64, u64, Priority)]; 3] = [
            &[(100, 50, Priority::Normal); 6],
            // Busy ones beside still ones.
            &[
                (100, 60, Priority::Normal),
                (100, 60, Priority::Normal),
                (100, 60, Priority::Low),
                (100, 60, Priority::High),
                (100, 60, Priority::High),
                (100, 2, Priority::Normal),
                (100, 2, Priority::Low),
            ],
            // Many.
            &[(100, 6, Priority::Normal); 50],
        ];
        for cameras in cases {
            let done = simulate(cameras, 60);
            let work: f64 = cameras.iter().map(|(interval, cost, _)| *cost as f64 / *interval as f64).sum();
            assert!((2.9..3.2).contains(&work), "{work}");
            for (camera, (interval, cost, priority)) in done.iter().zip(cameras) {
                let age = p99(camera);
                assert!(age < 2 * interval * MS, "{cost} {priority:?}: {} ms", age / MS);
                assert!(camera.ages.len() > 12, "{cost} {priority:?}: nobody starves: {}", camera.ages.len());
            }
            let n: usize = done.iter().map(|c| c.ages.len()).sum();
            let busy: f64 = done.iter().map(|c| c.cost as f64 * c.ages.len() as f64).sum::<f64>() / 60e9;
            assert!(busy > 0.97, "no time is wasted: {busy} with {n} frames");
        }
    }

    /// A turn is not broken off, so that even who matters most waits for the one that runs.
    #[test]
    fn who_matters_loses_last_and_who_costs_little_loses_nothing() {
        use Priority::{High, Low, Normal};
        let done = simulate(
            &[(100, 60, High), (100, 60, Normal), (100, 60, Low), (100, 60, Low), (100, 60, Low), (100, 2, Normal)],
            60,
        );
        let got: Vec<f64> = done.iter().map(share).collect();
        assert!(got[0] > 0.9 && got[5] > 0.9, "{got:?}");
        assert!(got[1] > 1.5 * got[2] && got[2] > 0.02, "{got:?}");
        let equal = (got[2] - got[3]).abs() + (got[2] - got[4]).abs();
        assert!(equal < 0.03, "{got:?}");
        let degraded: Vec<Degraded> = done.iter().map(|c| c.degraded).collect();
        assert_eq!(degraded[1..5], [Degraded::Rate; 4], "{degraded:?}");
    }

    #[test]
    fn a_machine_that_can_do_it_all_loses_nothing() {
        let done = simulate(&[(100, 10, Priority::Low); 6], 60);
        for camera in &done {
            assert!(share(camera) > 0.99, "{}", share(camera));
            assert_eq!(camera.degraded, Degraded::No);
        }
    }

    /// One detection takes three intervals: frames are lost, and ages stay below two of the intervals that are left.
    #[test]
    fn a_detector_slower_than_its_camera() {
        let done = simulate(&[(100, 300, Priority::Normal)], 120);
        let left = 120_000 * MS / done[0].ages.len() as u64;
        assert!(p99(&done[0]) < 2 * left, "{} of {} ms", p99(&done[0]) / MS, left / MS);
        assert_eq!(done[0].degraded, Degraded::Rate);
    }
}
