//! Which pictures of a stream are decoded at all, where more of them come than the machine can look at.
//!
//! Nothing between two key frames can be left out of decoding: it is all of it, or the key frame alone. So a camera that
//! has too little of the machine, and of a whole group of pictures looked at one at most, is decoded by key frames from
//! the next one on, until it is not behind any more.

/// Decoding by key frames lasts this long at the least; twice as long each time that it soon follows another.
const FIRST_HOLD_NS: u64 = 10_000_000_000;
const LONGEST_HOLD_NS: u64 = 320_000_000_000;
/// Soon: the machine was not able to decode everything after all.
const RELAPSE_NS: u64 = 60_000_000_000;
/// A group of fewer pictures is not worth it.
const LEAST_GROUP: u64 = 4;

/// What is known of a camera at a key frame.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sighting {
    pub now_ns: u64,
    /// Pictures that were decoded, and that were looked at, since the start.
    pub n_decoded: u64,
    pub n_looked: u64,
    /// It gets less than it should.
    pub is_behind: bool,
}

/// The choice for one stream.
#[derive(Debug)]
pub struct Sparing {
    /// At the last key frame.
    last: Sighting,
    /// Since when key frames alone are decoded.
    since_ns: Option<u64>,
    hold_ns: u64,
    /// When everything was decoded again.
    ended_ns: Option<u64>,
}

impl Default for Sparing {
    fn default() -> Self {
        Self { last: Sighting::default(), since_ns: None, hold_ns: FIRST_HOLD_NS, ended_ns: None }
    }
}

impl Sparing {
    /// Whether key frames alone are decoded.
    pub fn is_on(&self) -> bool {
        self.since_ns.is_some()
    }

    /// A key frame comes: chooses for the pictures up to the next one.
    pub fn choose(&mut self, now: Sighting) {
        let n_decoded = now.n_decoded.saturating_sub(self.last.n_decoded);
        let n_looked = now.n_looked.saturating_sub(self.last.n_looked);
        self.last = now;
        match self.since_ns {
            Some(since_ns) if !now.is_behind && now.now_ns.saturating_sub(since_ns) >= self.hold_ns => {
                (self.since_ns, self.ended_ns) = (None, Some(now.now_ns));
            }
            None if now.is_behind && n_decoded >= LEAST_GROUP && n_looked <= 1 => {
                let is_relapse = self.ended_ns.is_some_and(|ended| now.now_ns.saturating_sub(ended) < RELAPSE_NS);
                self.hold_ns = if is_relapse { (2 * self.hold_ns).min(LONGEST_HOLD_NS) } else { FIRST_HOLD_NS };
                self.since_ns = Some(now.now_ns);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    /// A key frame every two seconds, of 50 pictures; of each group so many are looked at.
    struct Stream {
        sparing: Sparing,
        seen: Sighting,
    }

    impl Stream {
        fn new() -> Self {
            Self { sparing: Sparing::default(), seen: Sighting::default() }
        }

        /// Groups until the choice is another one; at most 500.
        fn until_change(&mut self, n_looked: u64, is_behind: bool) -> usize {
            let before = self.sparing.is_on();
            for n in 1..=500 {
                let n_decoded = if self.sparing.is_on() { 1 } else { 50 };
                self.seen = Sighting {
                    now_ns: self.seen.now_ns + 2 * S,
                    n_decoded: self.seen.n_decoded + n_decoded,
                    n_looked: self.seen.n_looked + n_looked.min(n_decoded),
                    is_behind,
                };
                self.sparing.choose(self.seen);
                if self.sparing.is_on() != before {
                    return n;
                }
            }
            500
        }
    }

    #[test]
    fn what_is_looked_at_is_decoded() {
        let mut stream = Stream::new();
        assert_eq!(stream.until_change(50, false), 500, "everything is looked at");
        assert_eq!(stream.until_change(2, true), 500, "key frames would be fewer than are looked at");
        assert_eq!(stream.until_change(1, false), 500, "nobody wants more");
        assert_eq!(stream.until_change(1, true), 1);
        assert_eq!(stream.until_change(1, true), 500, "as long as it is behind");
        assert_eq!(stream.until_change(1, false), 1);
    }

    #[test]
    fn what_fails_again_is_tried_ever_less() {
        let mut stream = Stream::new();
        let mut holds = Vec::new();
        for _ in 0..8 {
            assert_eq!(stream.until_change(1, true), 1);
            holds.push(stream.until_change(1, false) * 2);
        }
        assert_eq!(holds, [10, 20, 40, 80, 160, 320, 320, 320]);
        // Two quiet minutes, and it is forgotten.
        (0..60).for_each(|_| {
            stream.seen.now_ns += 2 * S;
            stream.seen.n_decoded += 50;
            stream.seen.n_looked += 50;
            stream.sparing.choose(stream.seen);
        });
        assert_eq!(stream.until_change(1, true), 1);
        assert_eq!(stream.until_change(1, false), 5);
    }
}
