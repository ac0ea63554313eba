//! Which class an object is: what most looks at it say. A car that is taken for a truck in some frames stays a car.

/// Classes that are told apart for one object; further ones do not count.
const MOST: usize = 4;
/// What was said long ago counts less: looks of about so many frames count.
const MEMORY: f32 = 100.0;

/// Votes for the classes of one object.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Votes {
    /// Class and weight; a weight of 0: none.
    votes: [(u16, f32); MOST],
}

impl Votes {
    /// One look: `class` with a score of 0 to 1. The class that leads comes back; it leads until another has more.
    pub fn cast(&mut self, class: u16, score: f32) -> u16 {
        self.votes.iter_mut().for_each(|(_, weight)| *weight *= 1.0 - 1.0 / MEMORY);
        let place = self.votes.iter().position(|(c, weight)| *weight > 0.0 && *c == class);
        let free = || self.votes.iter().position(|(_, weight)| *weight == 0.0);
        if let Some(i) = place.or_else(free) {
            self.votes[i] = (class, self.votes[i].1 + score.max(1e-3));
        }
        // The first of equals.
        let first = self.votes[0];
        self.votes.iter().copied().fold(first, |best, vote| if vote.1 > best.1 { vote } else { best }).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_wins_and_may_change() {
        let mut votes = Votes::default();
        assert_eq!(votes.cast(7, 0.6), 7);
        assert_eq!(votes.cast(2, 0.5), 7);
        assert_eq!((0..10).map(|_| votes.cast(2, 0.5)).last(), Some(2));
        assert_eq!((0..5).map(|_| votes.cast(7, 0.6)).last(), Some(2), "a truck for some frames");
        assert_eq!((0..200).map(|_| votes.cast(7, 0.6)).last(), Some(7), "but not for ever");
        assert_eq!((10..30).map(|class| votes.cast(class, 0.9)).last(), Some(7), "more classes than are told apart");
    }
}
