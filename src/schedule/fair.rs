//! Whose turn it is: self-clocked fair queueing (Golestani 1994) of computing time.

/// So many turns of others at most before one's own.
const MOST_PASSED: u64 = 64;
/// A turn that takes more than so many usual ones is an accident, and charged as so many.
const MOST_CHARGED: f64 = 8.0;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat(usize);

/// Shares computing time by weight among those who want it.
///
/// Each seat carries what it has computed, divided by its weight. Next is who will have least when its turn is over,
/// by what its turns took so far: of equals first whose turn is short or counts most. Who wanted nothing for a
/// while starts from where the others are: idling earns no claim. And nobody is passed over for ever, whatever the
/// weights.
#[derive(Debug, Default)]
pub struct FairQueue {
    seats: Vec<Option<Entry>>,
    /// What the last one that was let in had.
    now: f64,
    n_wants: u64,
    n_turns: u64,
}

#[derive(Debug)]
struct Entry {
    weight: f64,
    used: f64,
    /// What a turn takes, by its weight: a moving mean.
    turn: f64,
    /// Since when it waits: in the order of asking, and turns that had been given by then.
    wants: Option<(u64, u64)>,
}

impl FairQueue {
    /// `weight` above 0.
    pub fn join(&mut self, weight: f64) -> Seat {
        let entry = Some(Entry { weight: weight.max(1e-6), used: self.now, turn: 0.0, wants: None });
        match self.seats.iter().position(Option::is_none) {
            Some(free) => {
                self.seats[free] = entry;
                Seat(free)
            }
            None => {
                self.seats.push(entry);
                Seat(self.seats.len() - 1)
            }
        }
    }

    pub fn leave(&mut self, seat: Seat) {
        self.seats[seat.0] = None;
    }

    /// The seat waits for its turn from now on.
    pub fn want(&mut self, seat: Seat) {
        if let Some(entry) = &mut self.seats[seat.0]
            && entry.wants.is_none()
        {
            entry.used = entry.used.max(self.now);
            entry.wants = Some((self.n_wants, self.n_turns));
            self.n_wants += 1;
        }
    }

    /// Who would be next.
    pub fn first(&self) -> Option<Seat> {
        let waiting = self.seats.iter().enumerate().filter_map(|(i, e)| Some((i, e.as_ref()?)));
        let is_patient = |since: u64| self.n_turns - since < MOST_PASSED;
        let waiting = waiting.filter_map(|(i, e)| {
            let (order, since) = e.wants?;
            Some((if is_patient(since) { e.used + e.turn } else { f64::MIN }, order, i))
        });
        waiting.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(.., i)| Seat(i))
    }

    /// Lets the next one in; it waits no more.
    pub fn let_in(&mut self) -> Option<Seat> {
        let seat = self.first()?;
        if let Some(entry) = &mut self.seats[seat.0] {
            entry.wants = None;
            self.n_turns += 1;
            // Who was let in out of turn is behind nobody.
            self.now = self.now.max(entry.used);
        }
        Some(seat)
    }

    /// What a turn took, nanoseconds.
    pub fn charge(&mut self, seat: Seat, cost_ns: u64) {
        if let Some(entry) = &mut self.seats[seat.0] {
            let mut cost = cost_ns as f64 / entry.weight;
            if entry.turn > 0.0 {
                cost = cost.min(MOST_CHARGED * entry.turn);
            }
            entry.used += cost;
            entry.turn = if entry.turn == 0.0 { cost } else { 0.9 * entry.turn + 0.1 * cost };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shared_by_weight_whatever_a_turn_costs() {
        let mut queue = FairQueue::default();
        let seats = [(1.0, 10), (1.0, 70), (4.0, 30)].map(|(weight, cost)| (queue.join(weight), cost, weight));
        let mut used = [0u64; 3];
        for _ in 0..10_000 {
            seats.iter().for_each(|(seat, ..)| queue.want(*seat));
            let next = queue.let_in().unwrap();
            let i = seats.iter().position(|(seat, ..)| *seat == next).unwrap();
            queue.charge(next, seats[i].1);
            used[i] += seats[i].1;
        }
        let per_weight: Vec<f64> = used.iter().zip(&seats).map(|(used, (.., weight))| *used as f64 / weight).collect();
        assert!(per_weight.iter().all(|v| (v / per_weight[0] - 1.0).abs() < 0.01), "{per_weight:?}");
    }

    #[test]
    fn who_was_away_has_no_claim_on_what_was() {
        let mut queue = FairQueue::default();
        let (a, b) = (queue.join(1.0), queue.join(1.0));
        for _ in 0..1000 {
            queue.want(a);
            assert_eq!(queue.let_in(), Some(a));
            queue.charge(a, 10);
        }
        let mut turns = [0; 2];
        for _ in 0..100 {
            queue.want(a);
            queue.want(b);
            let next = queue.let_in().unwrap();
            turns[usize::from(next == b)] += 1;
            queue.charge(next, 10);
        }
        assert!(turns[0] >= 49, "{turns:?}");
    }

    #[test]
    fn nobody_is_passed_over_for_ever() {
        let mut queue = FairQueue::default();
        let low = queue.join(1.0);
        let high: Vec<Seat> = (0..40).map(|_| queue.join(16.0)).collect();
        let (mut passed, mut most) = (0, 0);
        for turn in 0..20_000 {
            queue.want(low);
            high.iter().for_each(|seat| queue.want(*seat));
            let next = queue.let_in().unwrap();
            // Now and then something takes very long.
            queue.charge(next, if turn % 997 == 0 { 50_000 } else { 10 });
            passed = if next == low { 0 } else { passed + 1 };
            most = most.max(passed);
        }
        assert!(most <= 104, "{most}");
    }

    #[test]
    fn seats_are_given_anew() {
        let mut queue = FairQueue::default();
        let a = queue.join(1.0);
        queue.want(a);
        queue.leave(a);
        assert_eq!(queue.let_in(), None);
        let b = queue.join(2.0);
        assert_eq!((a, queue.seats.len()), (b, 1));
        queue.want(b);
        queue.want(b);
        assert_eq!((queue.let_in(), queue.let_in()), (Some(b), None));
    }
}
