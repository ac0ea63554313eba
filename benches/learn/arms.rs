//! Ways to compute a lesson, compared by `shift`: `f32`, ours in eight bits, what it leaves out, and Octo as its code does it.

#[path = "../../crates/train/benches/digits/octo.rs"]
mod octo;

use engine::graph::{Act, Graph, Node, Op, ValueId};
use engine::kernels::Kernels;
use octo::{Octo, ZeroPoint};
use passd::learn::fit::{Bits, Fit, FitSettings};
use passd::learn::net::LearnNet;
use passd::learn::sample::Sample;
use std::sync::Arc;
use train::batch::Batch;
use train::int8::Settings;
use train::params::Params;
use train::plan::TrainPlan;
use train::trainer::Trainer;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arm {
    Ours(Bits),
    Octo(ZeroPoint),
}

impl Arm {
    /// # Panics
    /// There is no such arm.
    pub fn of(name: &str) -> Self {
        let all = Settings::default();
        Self::Ours(match name {
            "octo" => return Self::Octo(ZeroPoint::TakenOff),
            "octo-zero-points" => return Self::Octo(ZeroPoint::LeftIn),
            "f32" => Bits::Float,
            "int8" => Bits::Eight(all),
            "uniform" => Bits::Eight(Settings::UNIFORM),
            "nearest" => Bits::Eight(Settings { is_random: false, ..all }),
            "no-gain" => Bits::Eight(Settings { has_gain: false, ..all }),
            "no-clip" => Bits::Eight(Settings { is_clipped: false, ..all }),
            "per-tensor" => Bits::Eight(Settings { is_per_channel: false, ..all }),
            other => panic!("--arms: {other}"),
        })
    }

    /// The weights after all steps.
    pub fn learn(self, net: &LearnNet, samples: &[Sample], settings: FitSettings) -> Params {
        let mut fit = match self {
            Self::Ours(bits) => Fit::new(net, samples, FitSettings { bits, ..settings }),
            Self::Octo(zero_point) => {
                Fit::with_trainer(net, samples, settings, Box::new(Compensated::new(net, settings, zero_point)))
            }
        };
        while !fit.is_done() {
            fit.step();
        }
        fit.params().clone()
    }
}

/// Octo, whose compensation goes a step whenever the weights do. It belongs to the numbers of a batch, so that what is
/// learned is the weights alone.
struct Compensated {
    octo: Octo,
    settings: FitSettings,
    step: u32,
}

impl Compensated {
    fn new(net: &LearnNet, settings: FitSettings, zero_point: ZeroPoint) -> Self {
        let (graph, outputs) = (acts_apart(net.plan().graph()), net.plan().outputs());
        let plan = TrainPlan::new(graph, net.plan().sources(), outputs, |_| true).expect("as it was before");
        let octo = Octo::new(&Arc::new(plan), settings.n_batch, Kernels::best(), settings.seed, zero_point);
        Self { octo, settings, step: 0 }
    }
}

impl Trainer for Compensated {
    fn plan(&self) -> &Arc<TrainPlan> {
        self.octo.plan()
    }

    fn n(&self) -> usize {
        self.octo.n()
    }

    fn fill_source(&mut self, value: ValueId, numbers: &[f32]) {
        self.octo.fill_source(value, numbers);
    }

    fn forward(&mut self, params: &Params) {
        self.octo.forward(params);
    }

    fn output(&self, value: ValueId) -> &Batch {
        self.octo.output(value)
    }

    fn backward(&mut self, params: &Params, output_grads: &[&[f32]]) -> Params {
        let grads = self.octo.backward(params, output_grads);
        self.step += 1;
        self.octo.step(self.settings.rate_at(self.step));
        grads
    }
}

/// The same graph, with a node for each activation of a convolution. Values keep their ids and layers their order.
fn acts_apart(graph: &Graph) -> Graph {
    let mut apart = Graph { nodes: Vec::new(), ..graph.clone() };
    for node in &graph.nodes {
        let mut node = node.clone();
        let act = match &mut node.op {
            Op::Conv(conv) => std::mem::replace(&mut conv.act, Act::Identity),
            _ => Act::Identity,
        };
        let output = node.output;
        if act != Act::Identity {
            let name = format!("{} before its activation", graph.name(output));
            node.output = apart.add_value(name, graph.shape(output));
        }
        let product = node.output;
        apart.nodes.push(node);
        if act != Act::Identity {
            apart.nodes.push(Node { op: Op::Act(act), inputs: vec![product], output });
        }
    }
    apart
}
