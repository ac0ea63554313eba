//! Which samples a batch is made of: origins take turns, and within one no class starves.
//!
//! A picture with a rare class comes more often: by the root of how much commoner the commonest one is (between drawing
//! pictures and drawing classes alike: Mahajan et al., arXiv:1805.00932), and four times at most. Pictures without objects
//! come as often as those of the commonest class.

use super::sample::{Origin, Sample};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// How much more often than others a picture comes at most.
const MOST: f64 = 4.0;

/// Samples by origin, each drawn in turn, in an order by chance.
pub(super) struct Decks {
    decks: Vec<Deck>,
}

struct Deck {
    /// Samples by number, and how often each comes in a round: 1 and more.
    all: Vec<(usize, f64)>,
    /// What of that is owed from earlier rounds: parts of one.
    owed: Vec<f64>,
    left: Vec<usize>,
}

impl Decks {
    pub fn of(samples: &[Sample]) -> Self {
        let of =
            |origin: Origin| -> Vec<usize> { (0..samples.len()).filter(|i| samples[*i].origin == origin).collect() };
        let all = [Origin::Marked, Origin::Labelled, Origin::Anchor].map(of);
        Self { decks: all.into_iter().filter(|all| !all.is_empty()).map(|all| Deck::new(all, samples)).collect() }
    }

    /// The sample for place `i` of a batch: origins take turns.
    pub fn draw(&mut self, i: usize, random: &mut Rng) -> usize {
        let n = self.decks.len();
        self.decks[i % n].draw(random)
    }
}

impl Deck {
    fn new(all: Vec<usize>, samples: &[Sample]) -> Self {
        let classes = |i: usize| samples[i].labels.objects.iter().map(|o| o.class).collect::<BTreeSet<u16>>();
        let mut n_of: BTreeMap<u16, usize> = BTreeMap::new();
        all.iter().flat_map(|i| classes(*i)).for_each(|class| *n_of.entry(class).or_default() += 1);
        let most = n_of.values().copied().max().unwrap_or(1) as f64;
        let weight = |i: usize| {
            let rarest = classes(i).iter().map(|class| n_of[class]).min();
            rarest.map_or(1.0, |n| (most / n as f64).sqrt().min(MOST))
        };
        Self { owed: vec![0.0; all.len()], all: all.into_iter().map(|i| (i, weight(i))).collect(), left: Vec::new() }
    }

    fn draw(&mut self, random: &mut Rng) -> usize {
        if self.left.is_empty() {
            for (owed, (i, weight)) in self.owed.iter_mut().zip(&self.all) {
                *owed += weight;
                let n = *owed as usize;
                *owed -= n as f64;
                self.left.extend(std::iter::repeat_n(*i, n));
            }
            random.shuffle(&mut self.left);
        }
        self.left.pop().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::latents::Latents;
    use super::*;
    use crate::detect::heads::loss::{LabelledBox, PictureLabels};
    use crate::geom::Rect;

    fn sample(classes: &[u16]) -> Sample {
        let object = |class: &u16| LabelledBox { class: *class, bbox: Rect::new(0.0, 0.0, 9.0, 9.0) };
        let labels = PictureLabels { objects: classes.iter().map(object).collect(), ..PictureLabels::default() };
        Sample { latents: Latents::default(), labels, origin: Origin::Labelled, n_sure: 0, block: 0, picture: None }
    }

    fn drawn(samples: &[Sample], n: usize) -> Vec<usize> {
        let (mut decks, mut random) = (Decks::of(samples), Rng::with_seed(7));
        (0..n).map(|i| decks.draw(i, &mut random)).collect()
    }

    #[test]
    fn rare_classes_come_more_often_and_four_times_at_most() {
        // 36 of a common class, 9 of a rarer one, and one of each that are rarest; 5 without objects.
        let mut samples: Vec<Sample> = (0..36).map(|_| sample(&[0, 0])).collect();
        samples.extend((0..9).map(|_| sample(&[1])));
        samples.extend([sample(&[0, 2]), sample(&[3, 1])]);
        samples.extend((0..5).map(|_| sample(&[])));
        // 37 pictures have class 0, ten class 1: their root is 1.92.
        let round = 36.0 + 9.0 * 3.7f64.sqrt() + 4.0 + 4.0 + 5.0;
        let n_rounds = 100;
        let mut n = vec![0.0; samples.len()];
        drawn(&samples, (f64::from(n_rounds) * round) as usize).into_iter().for_each(|i| n[i] += 1.0);
        let expected = |i: usize| match i {
            0..36 | 47.. => 1.0,
            36..45 => 3.7f64.sqrt(),
            _ => MOST,
        };
        for (i, n) in n.into_iter().enumerate() {
            let expected = f64::from(n_rounds) * expected(i);
            assert!((n - expected).abs() <= 5.0, "sample {i}: {n} times, expected {expected}");
        }
        assert_eq!(drawn(&samples, 300), drawn(&samples, 300), "the seed decides");
    }

    #[test]
    fn with_one_class_each_comes_once_a_round() {
        let samples: Vec<Sample> = (0..10).map(|i| sample(if i % 3 == 0 { &[] } else { &[5, 5] })).collect();
        let mut random = Rng::with_seed(7);
        let mut expected = Vec::new();
        for _ in 0..5 {
            let mut round: Vec<usize> = (0..10).collect();
            random.shuffle(&mut round);
            expected.extend(round.into_iter().rev());
        }
        assert_eq!(drawn(&samples, 50), expected);
    }
}
