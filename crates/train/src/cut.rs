//! Where training begins: the maps of a frame that are kept to learn from, so that what lies before them never runs again
//! (latent replay: Pellegrini et al., arXiv:1912.01100).

use engine::graph::{Graph, ValueId};

/// A cut through a graph: what lies behind it is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// The maps on the cut, in the graph's order.
    pub sources: Vec<ValueId>,
    /// Share of the multiply-accumulates that lies behind it, 0..=1.
    pub work: f64,
    /// Numbers of the maps.
    pub n_values: usize,
}

/// Shares of the work that may lie behind a cut: less can learn little, more costs what the cut is to save.
const WORK: std::ops::RangeInclusive<f64> = 0.2..=0.6;

impl Cut {
    /// The cut with the smallest maps of those behind which a fifth to three fifths of the work lie; `None` if there is none.
    ///
    /// Between backbone and neck, or behind the neck: maps are smallest there. It goes through the graph's nodes in their
    /// order, so that all before it can be computed without anything behind it.
    pub fn smallest(graph: &Graph, outputs: &[ValueId]) -> Option<Self> {
        let needed = needed(graph, outputs);
        let macs =
            |i: usize| graph.macs_per_cell(&graph.nodes[i]) * graph.shape(graph.nodes[i].output).n_cells() as u64;
        let all: u64 = needed.iter().map(|i| macs(*i)).sum();
        let mut best: Option<Self> = None;
        let mut behind = all;
        for (at, &first) in needed.iter().enumerate() {
            let work = behind as f64 / all.max(1) as f64;
            behind -= macs(first);
            if !WORK.contains(&work) {
                continue;
            }
            let made_behind = |v: ValueId| needed[at..].iter().any(|i| graph.nodes[*i].output == v);
            let mut sources: Vec<ValueId> = needed[at..]
                .iter()
                .flat_map(|i| &graph.nodes[*i].inputs)
                .copied()
                .filter(|v| !made_behind(*v))
                .collect();
            sources.sort_unstable();
            sources.dedup();
            if sources.contains(&graph.input) || outputs.iter().any(|v| !made_behind(*v)) {
                continue;
            }
            let n_values = sources.iter().map(|v| graph.shape(*v).n_values()).sum();
            if best.as_ref().is_none_or(|b| n_values < b.n_values) {
                best = Some(Self { sources, work, n_values });
            }
        }
        best
    }
}

/// Nodes that outputs are computed from, in order.
fn needed(graph: &Graph, outputs: &[ValueId]) -> Vec<usize> {
    let makers = graph.makers();
    let mut is_needed = vec![false; graph.nodes.len()];
    let mut open = outputs.to_vec();
    while let Some(value) = open.pop() {
        if let Some(maker) = makers[value.0 as usize]
            && !std::mem::replace(&mut is_needed[maker], true)
        {
            open.extend(&graph.nodes[maker].inputs);
        }
    }
    (0..graph.nodes.len()).filter(|i| is_needed[*i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::import::import;
    use engine::passes::simplify;

    #[test]
    fn street_nano_is_cut_where_its_maps_are_small() {
        let mut graph = import(include_bytes!("../../../models/street-nano.onnx"), 384, 640).unwrap();
        simplify(&mut graph).unwrap();
        let outputs: Vec<ValueId> = graph.outputs.iter().flat_map(|o| &o.parts).map(|p| p.base).collect();
        let cut = Cut::smallest(&graph, &outputs).unwrap();
        let names: Vec<&str> = cut.sources.iter().map(|v| graph.name(*v)).collect();
        eprintln!("{names:?} {} {}", cut.work, cut.n_values);
        assert_eq!(cut.sources.len(), 3, "one map a stride: {names:?}");
        assert!(cut.n_values < 310_000 && (0.3..0.4).contains(&cut.work), "{cut:?}");
        assert!(Cut::smallest(&graph, &[graph.input]).is_none(), "there is nothing to cut");
    }
}
