//! Whether a camera gets less than it should, and how it is spared then.

/// What a camera has to do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Degraded {
    #[default]
    No,
    /// Nearly all of its time is used: what has not changed is computed again only half as often.
    Refresh,
    /// Frames are lost, too.
    Rate,
    /// So many that key frames alone are decoded.
    KeyFrames,
}

impl Degraded {
    /// Those that mean something.
    pub const KINDS: [Self; 3] = [Self::Refresh, Self::Rate, Self::KeyFrames];

    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Refresh => "refresh",
            Self::Rate => "rate",
            Self::KeyFrames => "key_frames",
        }
    }

    /// In a few words.
    pub fn why(self) -> &'static str {
        match self {
            Self::No => "it gets what it should",
            Self::Refresh => "nearly all of its time is used; what has not changed is computed again half as often",
            Self::Rate => "more frames come than can be looked at",
            Self::KeyFrames => "so many more frames come than can be looked at that key frames alone are decoded",
        }
    }

    /// Factor of the age up to which things are not looked at again.
    pub fn patience(self) -> u64 {
        if self == Self::No { 1 } else { 2 }
    }
}

/// Over which a camera is judged.
const WINDOW_NS: u64 = 2_000_000_000;
/// Share of the frames that must be done, or else some are lost; and for which none are, again.
const LOST: f64 = 0.9;
const WHOLE: f64 = 0.97;
/// Share of the time in which a camera waits for its turn or has it: little is left; enough is, again.
const BUSY: f64 = 0.8;
const EASY: f64 = 0.6;

/// Watches one camera.
#[derive(Debug, Default)]
pub struct Load {
    start: Option<Start>,
    busy_ns: u64,
    state: Degraded,
}

#[derive(Debug, Clone, Copy)]
struct Start {
    ns: u64,
    n_due: u64,
    n_done: u64,
}

impl Load {
    /// After each frame: how many were due and how many are done, in all, and how long this one waited and computed.
    pub fn update(&mut self, now_ns: u64, n_due: u64, n_done: u64, busy_ns: u64) -> Degraded {
        let start = *self.start.get_or_insert(Start { ns: now_ns, n_due, n_done });
        self.busy_ns += busy_ns;
        let passed_ns = now_ns.saturating_sub(start.ns);
        let due = n_due.saturating_sub(start.n_due);
        if passed_ns < WINDOW_NS || due == 0 {
            return self.state;
        }
        let done = n_done.saturating_sub(start.n_done) as f64 / due as f64;
        let busy = self.busy_ns as f64 / passed_ns as f64;
        let was = self.state;
        // Frames that come in bursts are lost with time to spare, too: that is no overload.
        self.state = if busy > EASY && (done < LOST || was == Degraded::Rate && done < WHOLE) {
            Degraded::Rate
        } else if busy > BUSY || was != Degraded::No && busy > EASY {
            Degraded::Refresh
        } else {
            Degraded::No
        };
        self.start = Some(Start { ns: now_ns, n_due, n_done });
        self.busy_ns = 0;
        self.state
    }

    /// Begins anew: the stream was interrupted.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Ten frames a second for some seconds, of which `done` of ten are, each busy for so long.
    fn run(load: &mut Load, at: &mut u64, seconds: u64, done: u64, busy_ms: u64) -> Degraded {
        let mut state = Degraded::No;
        for _ in 0..seconds * 10 {
            *at += 1;
            if *at % 10 < done {
                let n_done = (*at / 10) * done + *at % 10;
                state = load.update(*at * 100 * MS, *at, n_done, busy_ms * MS);
            }
        }
        state
    }

    #[test]
    fn first_refresh_then_frames_and_back() {
        let (mut load, mut at) = (Load::default(), 0);
        assert_eq!(run(&mut load, &mut at, 10, 10, 30), Degraded::No);
        assert_eq!(run(&mut load, &mut at, 10, 10, 90), Degraded::Refresh);
        assert_eq!(run(&mut load, &mut at, 10, 10, 70), Degraded::Refresh, "not to and fro");
        assert_eq!(run(&mut load, &mut at, 10, 10, 50), Degraded::No);
        let mut load = Load::default();
        let mut at = 0;
        assert_eq!(run(&mut load, &mut at, 10, 6, 160), Degraded::Rate);
        load.reset();
        assert_eq!(load.state, Degraded::No);
    }
}
