//! Who belongs to whom: the pairs of two lists that fit best together.
//!
//! Most pairs are beyond doubt, each the other's only candidate. What is left is
//! a matching of most weight (Kuhn and Munkres, crate `pathfinding`).

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

/// Scratch that is kept from call to call.
#[derive(Debug, Clone, Default)]
pub struct Assigner {
    /// Row, column, how well they fit.
    candidates: Vec<(usize, usize, f32)>,
    n_of_row: Vec<u32>,
    n_of_column: Vec<u32>,
    pairs: Vec<(usize, usize)>,
}

/// Steps between 0 and 1 that are told apart where there is a choice.
const STEPS: f32 = 1e6;

impl Assigner {
    /// Pairs of row and column, each used once, of the greatest sum of `fit` (0 to 1). Pairs that
    /// fit by less than `least` are none; `least` is above 0.
    pub fn assign(
        &mut self,
        n_rows: usize,
        n_columns: usize,
        least: f32,
        fit: impl Fn(usize, usize) -> f32,
    ) -> &[(usize, usize)] {
        let Self { candidates, n_of_row, n_of_column, pairs } = self;
        candidates.clear();
        pairs.clear();
        for (list, n) in [(&mut *n_of_row, n_rows), (&mut *n_of_column, n_columns)] {
            list.clear();
            list.resize(n, 0);
        }
        let all = (0..n_rows).flat_map(|row| (0..n_columns).map(move |column| (row, column)));
        candidates.extend(all.map(|(row, column)| (row, column, fit(row, column))).filter(|c| c.2 >= least));
        for &(row, column, _) in candidates.iter() {
            n_of_row[row] += 1;
            n_of_column[column] += 1;
        }
        candidates.retain(|&(row, column, _)| {
            let is_sure = (n_of_row[row], n_of_column[column]) == (1, 1);
            if is_sure {
                pairs.push((row, column));
            }
            !is_sure
        });
        for group in groups(candidates) {
            choose(group, pairs);
        }
        pairs
    }
}

/// Larger groups than this are matched best first: the best sum of a thousand boxes takes seconds.
const MOST_ROWS: usize = 100;

/// Candidates by what hangs together: those of different groups share no row and no column.
fn groups(candidates: &mut [(usize, usize, f32)]) -> impl Iterator<Item = &[(usize, usize, f32)]> {
    let n_rows = candidates.iter().map(|c| c.0 + 1).max().unwrap_or(0);
    let n_columns = candidates.iter().map(|c| c.1 + 1).max().unwrap_or(0);
    // Rows, then columns; each leads to another of its group, the last to itself.
    let mut leads: Vec<usize> = (0..n_rows + n_columns).collect();
    let root = |leads: &mut [usize], mut at: usize| {
        while leads[at] != at {
            leads[at] = leads[leads[at]];
            at = leads[at];
        }
        at
    };
    for &(row, column, _) in candidates.iter() {
        let (a, b) = (root(&mut leads, row), root(&mut leads, n_rows + column));
        leads[a.max(b)] = a.min(b);
    }
    for at in 0..leads.len() {
        leads[at] = root(&mut leads, at);
    }
    candidates.sort_by_key(|c| leads[c.0]);
    candidates.chunk_by(move |a, b| leads[a.0] == leads[b.0])
}

fn choose(candidates: &[(usize, usize, f32)], pairs: &mut Vec<(usize, usize)>) {
    let listed = |of: fn(&(usize, usize, f32)) -> usize| {
        let mut all: Vec<usize> = candidates.iter().map(of).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let (rows, columns) = (listed(|c| c.0), listed(|c| c.1));
    if rows.len().min(columns.len()) > MOST_ROWS {
        return best_first(candidates, &rows, &columns, pairs);
    }
    // The matching wants no more rows than columns.
    let is_turned = rows.len() > columns.len();
    let (few, many) = if is_turned { (&columns, &rows) } else { (&rows, &columns) };
    let mut weights = Matrix::new(few.len(), many.len(), 0i64);
    for &(row, column, fit) in candidates {
        let (a, b) = if is_turned { (column, row) } else { (row, column) };
        if let (Ok(a), Ok(b)) = (few.binary_search(&a), many.binary_search(&b)) {
            weights[(a, b)] = (fit * STEPS) as i64;
        }
    }
    let (_, chosen) = kuhn_munkres(&weights);
    for (a, b) in chosen.into_iter().enumerate().filter(|&(a, b)| weights[(a, b)] > 0) {
        pairs.push(if is_turned { (many[b], few[a]) } else { (few[a], many[b]) });
    }
}

/// Pair by pair, the best one first.
fn best_first(candidates: &[(usize, usize, f32)], rows: &[usize], columns: &[usize], pairs: &mut Vec<(usize, usize)>) {
    let mut order: Vec<_> = candidates.to_vec();
    order.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
    let (mut used_rows, mut used_columns) = (vec![false; rows.len()], vec![false; columns.len()]);
    for (row, column, _) in order {
        if let (Ok(a), Ok(b)) = (rows.binary_search(&row), columns.binary_search(&column))
            && !used_rows[a]
            && !used_columns[b]
        {
            (used_rows[a], used_columns[b]) = (true, true);
            pairs.push((row, column));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand boxes and two thousand tracks, in small groups and in one large one.
    #[test]
    fn many_are_matched_soon_and_each_once() {
        let small = |row: usize, column: usize| {
            if row / 4 == column / 2 { 0.5 + (row % 4 + column % 2) as f32 / 20.0 } else { 0.0 }
        };
        let large = |row: usize, column: usize| 0.4 + ((row * 7 + column * 13) % 50) as f32 / 100.0;
        let mut assigner = Assigner::default();
        for fit in [&small as &dyn Fn(usize, usize) -> f32, &large] {
            let pairs = assigner.assign(2000, 1000, 0.3, fit).to_vec();
            let unique = |of: fn(&(usize, usize)) -> usize| {
                let mut all: Vec<usize> = pairs.iter().map(of).collect();
                all.sort_unstable();
                all.dedup();
                all.len()
            };
            assert_eq!((pairs.len(), unique(|p| p.0), unique(|p| p.1)), (1000, 1000, 1000));
        }
    }

    fn check(fits: &[&[f32]], wanted: &[(usize, usize)]) {
        let n_columns = fits.first().map_or(0, |row| row.len());
        let mut assigner = Assigner::default();
        let mut found = assigner.assign(fits.len(), n_columns, 0.3, |row, column| fits[row][column]).to_vec();
        found.sort_unstable();
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_greatest_sum_wins() {
        check(&[], &[]);
        check(&[&[0.2]], &[]);
        check(&[&[0.9, 0.0], &[0.1, 0.8]], &[(0, 0), (1, 1)]);
        // The best pair is given up for two good ones.
        check(&[&[0.9, 0.8], &[0.7, 0.0]], &[(0, 1), (1, 0)]);
        // More rows than columns, and the other way round.
        check(&[&[0.5], &[0.6], &[0.4]], &[(1, 0)]);
        check(&[&[0.5, 0.6, 0.4]], &[(0, 1)]);
        check(&[&[0.9, 0.8, 0.0], &[0.8, 0.9, 0.0], &[0.0, 0.0, 0.5]], &[(0, 0), (1, 1), (2, 2)]);
    }
}
