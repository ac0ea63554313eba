//! How well tracks follow what is really there: MOTA and switches (Bernardin and Stiefelhagen,
//! "Evaluating Multiple Object Tracking Performance", 2008), IDF1 (Ristani et al., 2016).

use super::score::{IOU, Wanted};
use crate::geom::{ModelInput, Rect};
use crate::track::assign::Assigner;
use serde::Serialize;
use std::collections::BTreeMap;

/// A track in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claimed {
    pub id: u64,
    pub class: u16,
    pub bbox: Rect<ModelInput>,
}

/// Sums over a clip.
#[derive(Debug, Clone, Default)]
pub struct TrackScore {
    n_wanted: u64,
    n_claimed: u64,
    n_missed: u64,
    n_false: u64,
    n_switches: u64,
    /// The track that an object had last.
    last: BTreeMap<u64, u64>,
    /// In how many frames an object and a track were one.
    together: BTreeMap<(u64, u64), u64>,
    assigner: Assigner,
    pairs: Vec<(usize, usize)>,
}

/// The usual numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrackingReport {
    /// 1 - (missed + false + switches) / objects; may be below 0.
    pub mota: f64,
    /// Share of all boxes that have the right number, objects and tracks being paired once for the clip.
    pub idf1: f64,
    pub switches: u64,
    pub missed: u64,
    #[serde(rename = "false")]
    pub n_false: u64,
    pub objects: u64,
}

impl TrackScore {
    /// One frame. Tracks on objects that do not count are neither right nor wrong.
    pub fn add(&mut self, wanted: &[Wanted], claimed: &[Claimed]) {
        let overlap = |w: &Wanted, c: &Claimed| if w.class == c.class { w.bbox.iou(&c.bbox) } else { 0.0 };
        // Whoever belonged together stays so while they overlap; then what is there counts before what does not.
        let rank = |w: &Wanted, c: &Claimed| {
            let overlap = overlap(w, c);
            let stays = self.last.get(&w.id) == Some(&c.id);
            match (overlap >= IOU, w.counts, stays) {
                (false, ..) => 0.0,
                (_, true, true) => 0.9 + 0.1 * overlap,
                (_, true, false) => 0.2 + 0.1 * overlap,
                (_, false, _) => 0.1 * overlap,
            }
        };
        let pairs = self.assigner.assign(wanted.len(), claimed.len(), 0.01, |i, j| rank(&wanted[i], &claimed[j]));
        self.pairs.clear();
        self.pairs.extend_from_slice(pairs);
        let n_wanted = wanted.iter().filter(|w| w.counts).count() as u64;
        let n_ignored = self.pairs.iter().filter(|(i, _)| !wanted[*i].counts).count() as u64;
        let n_right = self.pairs.len() as u64 - n_ignored;
        self.n_wanted += n_wanted;
        self.n_claimed += claimed.len() as u64 - n_ignored;
        self.n_missed += n_wanted - n_right;
        self.n_false += claimed.len() as u64 - n_ignored - n_right;
        for (w, c) in self.pairs.iter().map(|(i, j)| (&wanted[*i], &claimed[*j])).filter(|(w, _)| w.counts) {
            let before = self.last.insert(w.id, c.id);
            self.n_switches += u64::from(before.is_some_and(|id| id != c.id));
            *self.together.entry((w.id, c.id)).or_default() += 1;
        }
    }

    pub fn report(&self) -> TrackingReport {
        let n_wrong = self.n_missed + self.n_false + self.n_switches;
        let share = |part: f64, of: u64| if of == 0 { 1.0 } else { part / of as f64 };
        TrackingReport {
            mota: 1.0 - if self.n_wanted == 0 { n_wrong as f64 } else { n_wrong as f64 / self.n_wanted as f64 },
            idf1: share(2.0 * self.n_identified() as f64, self.n_wanted + self.n_claimed),
            switches: self.n_switches,
            missed: self.n_missed,
            n_false: self.n_false,
            objects: self.n_wanted,
        }
    }

    /// Boxes that are right when every object is given one track for the whole clip, and the best one.
    fn n_identified(&self) -> u64 {
        let listed = |of: fn(&(u64, u64)) -> u64| {
            let mut all: Vec<u64> = self.together.keys().map(of).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let (objects, tracks) = (listed(|k| k.0), listed(|k| k.1));
        let n = |i: usize, j: usize| self.together.get(&(objects[i], tracks[j])).copied().unwrap_or(0);
        let most = self.together.values().max().copied().unwrap_or(1) as f32;
        let mut assigner = Assigner::default();
        let pairs = assigner.assign(objects.len(), tracks.len(), 0.5 / most, |i, j| n(i, j) as f32 / most);
        pairs.iter().map(|(i, j)| n(*i, *j)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32) -> Rect<ModelInput> {
        Rect::new(x, 0.0, x + 10.0, 20.0)
    }

    fn w(id: u64, x: f32) -> Wanted {
        Wanted { id, class: 0, bbox: at(x), counts: true }
    }

    fn c(id: u64, x: f32) -> Claimed {
        Claimed { id, class: 0, bbox: at(x) }
    }

    #[test]
    fn switches_misses_and_false_tracks_are_told_apart() {
        let mut t = TrackScore::default();
        // Two objects; the first changes its number after two of four frames, the second is lost once.
        t.add(&[w(1, 0.0), w(2, 50.0)], &[c(11, 0.0), c(12, 50.0)]);
        t.add(&[w(1, 0.0), w(2, 50.0)], &[c(11, 1.0), c(12, 50.0), c(13, 200.0)]);
        t.add(&[w(1, 0.0), w(2, 50.0)], &[c(14, 0.0)]);
        t.add(&[w(1, 0.0), w(2, 50.0)], &[c(14, 0.0), c(12, 51.0)]);
        let r = t.report();
        assert_eq!((r.switches, r.missed, r.n_false, r.objects), (1, 1, 1, 8));
        assert!((r.mota - (1.0 - 3.0 / 8.0)).abs() < 1e-9);
        // 2 of the first object's boxes and 3 of the second's; 8 objects and 8 claims.
        assert!((r.idf1 - 2.0 * 5.0 / 16.0).abs() < 1e-9, "{r:?}");
    }

    #[test]
    fn nothing_is_perfect_and_what_does_not_count_does_not() {
        assert_eq!(TrackScore::default().report().idf1, 1.0);
        let mut t = TrackScore::default();
        t.add(&[Wanted { counts: false, ..w(1, 0.0) }, w(2, 50.0)], &[c(1, 0.0), c(2, 50.0)]);
        t.add(&[Wanted { counts: false, ..w(1, 0.0) }, w(2, 50.0)], &[c(2, 50.0)]);
        assert_eq!((t.report().mota, t.report().idf1), (1.0, 1.0));
        // Old company goes before a better fit.
        let mut t = TrackScore::default();
        t.add(&[w(1, 0.0)], &[c(5, 0.0)]);
        t.add(&[w(1, 0.0)], &[c(5, 2.0), c(6, 0.0)]);
        assert_eq!((t.report().switches, t.report().n_false), (0, 1));
    }
}
