//! What is computed forwards, what of it is trained, and which maps need a gradient for it.

use engine::graph::verify::{Broken, verify};
use engine::graph::{Conv, Graph, Op, ValueId};
use std::collections::HashSet;

/// A graph that is trained, from some of its maps on.
#[derive(Debug, Clone)]
pub struct TrainPlan {
    graph: Graph,
    sources: Vec<ValueId>,
    outputs: Vec<ValueId>,
    /// Nodes between sources and outputs, in order.
    nodes: Vec<usize>,
    layers: Vec<Layer>,
    /// By value.
    wants_grad: Vec<bool>,
}

/// A convolution whose weights are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    pub node: usize,
}

/// Index of a [`Layer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(pub usize);

/// Why a graph cannot be trained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrainable {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("node {node} ({op}, '{name}'): cannot be trained through")]
    Op { node: usize, op: &'static str, name: String },
    #[error("'{0}' does not come from the maps that training begins with alone")]
    Source(String),
    #[error("no convolution that is to be trained lies between the maps that training begins with and the outputs")]
    Nothing,
}

impl TrainPlan {
    /// A plan from `sources` to `outputs` that trains the convolutions of which `is_trained` says so. The graph is one of
    /// [`engine::passes::simplify`].
    ///
    /// # Errors
    /// The graph is broken; an output needs more than the sources; an operation on the way has no gradient; nothing is
    /// trained.
    pub fn new(
        graph: Graph,
        sources: &[ValueId],
        outputs: &[ValueId],
        is_trained: impl Fn(usize) -> bool,
    ) -> Result<Self, Untrainable> {
        verify(&graph)?;
        let makers = graph.makers();
        let mut needed = vec![false; graph.nodes.len()];
        let (mut open, mut seen): (Vec<ValueId>, HashSet<ValueId>) = (outputs.to_vec(), HashSet::new());
        while let Some(value) = open.pop() {
            if sources.contains(&value) || !seen.insert(value) {
                continue;
            }
            let Some(maker) = makers[value.0 as usize] else {
                return Err(Untrainable::Source(graph.name(value).into()));
            };
            needed[maker] = true;
            open.extend(&graph.nodes[maker].inputs);
        }
        let nodes: Vec<usize> = (0..graph.nodes.len()).filter(|i| needed[*i]).collect();
        let (mut layers, mut wants_grad) = (Vec::new(), vec![false; graph.values.len()]);
        for &i in &nodes {
            let node = &graph.nodes[i];
            let is_layer = matches!(node.op, Op::Conv(_)) && is_trained(i);
            if is_layer {
                layers.push(Layer { node: i });
            }
            let reads_trained = node.inputs.iter().any(|v| wants_grad[v.0 as usize]);
            if is_layer || reads_trained {
                wants_grad[node.output.0 as usize] = true;
                let can = match &node.op {
                    Op::Conv(conv) => !conv.transposed && node.inputs.len() == 1,
                    Op::Separable(_) => false,
                    _ => true,
                };
                if !can {
                    let name = graph.name(node.output).into();
                    return Err(Untrainable::Op { node: i, op: node.op.name(), name });
                }
            }
        }
        if !outputs.iter().any(|v| wants_grad[v.0 as usize]) {
            return Err(Untrainable::Nothing);
        }
        Ok(Self { graph, sources: sources.to_vec(), outputs: outputs.to_vec(), nodes, layers, wants_grad })
    }

    /// From the picture to the maps of all outputs, all convolutions trained.
    ///
    /// # Errors
    /// As [`TrainPlan::new`].
    pub fn whole(graph: Graph) -> Result<Self, Untrainable> {
        let mut outputs: Vec<ValueId> = graph.outputs.iter().flat_map(|o| &o.parts).map(|p| p.base).collect();
        let mut seen = HashSet::new();
        outputs.retain(|v| seen.insert(*v));
        let input = graph.input;
        Self::new(graph, &[input], &outputs, |_| true)
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The maps that training begins with.
    pub fn sources(&self) -> &[ValueId] {
        &self.sources
    }

    /// The maps that losses are made of.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Nodes in the order in which they are computed.
    pub fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The trained layer that a node is.
    pub fn layer_of(&self, node: usize) -> Option<LayerId> {
        self.layers.iter().position(|layer| layer.node == node).map(LayerId)
    }

    /// The convolution of a layer, as it was before training.
    ///
    /// # Panics
    /// The layer is of another plan.
    pub fn conv(&self, layer: LayerId) -> &Conv {
        match &self.graph.nodes[self.layers[layer.0].node].op {
            Op::Conv(conv) => conv,
            _ => unreachable!("layers are convolutions"),
        }
    }

    /// Whether what is trained depends on the gradient of a map.
    pub fn wants_grad(&self, value: ValueId) -> bool {
        self.wants_grad[value.0 as usize]
    }

    /// Multiply-accumulates of one picture, forwards.
    pub fn macs(&self) -> u64 {
        let macs = |i: &usize| {
            let node = &self.graph.nodes[*i];
            self.graph.macs_per_cell(node) * self.graph.shape(node.output).n_cells() as u64
        };
        self.nodes.iter().map(macs).sum()
    }
}
