//! Writes small ONNX models for tests, with the messages that the engine reads.
//!
//! Every node and every weight gets a name of its own, so that a test states
//! operations only. Weights are random but the same in every run.

use engine::import::onnx::{self, attribute_type, data_type};
use prost::Message as _;

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub enum Attr<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Floats(&'a [f32]),
    Text(&'a str),
}

pub struct ModelBuilder {
    /// Open to tests that break what was built.
    pub model: onnx::ModelProto,
    rng: fastrand::Rng,
    n_names: usize,
}

impl ModelBuilder {
    pub fn new(opset: i64) -> Self {
        let graph = onnx::GraphProto { name: "test".into(), ..Default::default() };
        let opset_import = vec![onnx::OperatorSet { domain: String::new(), version: opset }];
        let model = onnx::ModelProto { ir_version: 8, graph: Some(graph), opset_import };
        Self { model, rng: fastrand::Rng::with_seed(11), n_names: 0 }
    }

    pub fn graph(&mut self) -> &mut onnx::GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    fn fresh(&mut self, stem: &str) -> String {
        self.n_names += 1;
        format!("{stem}_{}", self.n_names)
    }

    /// The picture.
    pub fn input(&mut self, c: usize, h: usize, w: usize) -> String {
        self.graph().input.push(onnx::ValueInfo::floats("picture", &[1, c, h, w]));
        "picture".into()
    }

    /// Weights that are given.
    pub fn floats(&mut self, dims: &[usize], data: &[f32]) -> String {
        let name = self.fresh("floats");
        let dims = dims.iter().map(|d| *d as i64).collect();
        let tensor = onnx::TensorProto { name: name.clone(), dims, data_type: data_type::FLOAT, ..Default::default() };
        let raw_data = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph().initializer.push(onnx::TensorProto { raw_data, ..tensor });
        name
    }

    /// Random weights between `low` and `high`.
    pub fn random(&mut self, dims: &[usize], low: f32, high: f32) -> String {
        let data: Vec<f32> = (0..dims.iter().product()).map(|_| low + self.rng.f32() * (high - low)).collect();
        self.floats(dims, &data)
    }

    /// Random weights whose sums over `fan_in` products stay as large as what they multiply.
    pub fn weights(&mut self, dims: &[usize], fan_in: usize) -> String {
        // A uniform number from -b to b has the variance b^2 / 3.
        let bound = (3.0 / fan_in as f32).sqrt();
        self.random(dims, -bound, bound)
    }

    /// A list of whole numbers.
    pub fn ints(&mut self, data: &[i64]) -> String {
        self.int_tensor(&[data.len()], data)
    }

    /// Whole numbers of any shape; `[]` for a single one.
    pub fn int_tensor(&mut self, dims: &[usize], data: &[i64]) -> String {
        let name = self.fresh("ints");
        let tensor = onnx::TensorProto {
            name: name.clone(),
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: data_type::INT64,
            int64_data: data.to_vec(),
            ..Default::default()
        };
        self.graph().initializer.push(tensor);
        name
    }

    /// Adds a node of one output; its name.
    pub fn node(&mut self, op: &str, inputs: &[&str], attrs: &[(&str, Attr)]) -> String {
        self.nodes(op, inputs, attrs, 1).remove(0)
    }

    /// Adds a node of several outputs; their names.
    pub fn nodes(&mut self, op: &str, inputs: &[&str], attrs: &[(&str, Attr)], n_outputs: usize) -> Vec<String> {
        let name = self.fresh(op);
        let output: Vec<String> =
            (0..n_outputs).map(|i| if i == 0 { format!("{name}_out") } else { format!("{name}_out{i}") }).collect();
        let node = onnx::NodeProto {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: output.clone(),
            name,
            op_type: op.into(),
            attribute: attrs.iter().map(|(name, value)| attribute(name, *value)).collect(),
            domain: String::new(),
        };
        self.graph().node.push(node);
        output
    }

    /// Declares an output; its shape is left to the reader.
    pub fn output(&mut self, name: &str) {
        self.graph().output.push(onnx::ValueInfo::floats(name, &[]).without_shape());
    }

    pub fn build(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }
}

fn attribute(name: &str, value: Attr) -> onnx::AttributeProto {
    let empty = onnx::AttributeProto { name: name.into(), ..Default::default() };
    match value {
        Attr::Int(i) => onnx::AttributeProto { i, kind: attribute_type::INT, ..empty },
        Attr::Ints(v) => onnx::AttributeProto { ints: v.to_vec(), kind: attribute_type::INTS, ..empty },
        Attr::Float(f) => onnx::AttributeProto { f, kind: attribute_type::FLOAT, ..empty },
        Attr::Floats(v) => onnx::AttributeProto { floats: v.to_vec(), kind: attribute_type::FLOATS, ..empty },
        Attr::Text(s) => onnx::AttributeProto { s: s.as_bytes().to_vec(), kind: attribute_type::STRING, ..empty },
    }
}

/// A picture of random numbers, `[rows][columns][channels]`.
pub fn random_picture([c, h, w]: [usize; 3], low: f32, high: f32) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..h * w * c).map(|_| low + rng.f32() * (high - low)).collect()
}
