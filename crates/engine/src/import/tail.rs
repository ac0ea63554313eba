//! What the engine leaves to ONNX Runtime: the end of a model, from the operations on that it
//! does not know. It becomes a model of its own, whose inputs the engine computes.
//!
//! A tail may decode and select, but not look: with more than a sliver of the
//! model's constants in it, the engine would compute the lesser part, and what
//! it saves would be lost behind it. Such models are refused.

use super::consts::{Const, Data};
use super::error::{Fail, ImportError, invalid};
use super::known::Known;
use crate::import::onnx::{self, attribute_type, data_type};
use prost::Message as _;
use std::collections::{HashMap, HashSet};

/// The end of a model, as an ONNX file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tail {
    pub file: Vec<u8>,
    /// Outputs of the engine that it reads.
    pub inputs: Vec<String>,
    /// All outputs of the model, in its order; the tail makes some of them, the engine the rest.
    pub model_outputs: Vec<String>,
    pub n_nodes: usize,
    /// The first operation that the engine does not know.
    pub why: ImportError,
}

/// Share of a model's constants that its tail may hold: tables of places, not weights.
const MAX_SHARE: f64 = 0.05;

/// Nodes that are left over, while a file is read.
#[derive(Default)]
pub(super) struct Leftover<'a> {
    nodes: Vec<&'a onnx::NodeProto>,
    made: HashSet<&'a str>,
    why: Option<ImportError>,
}

impl<'a> Leftover<'a> {
    /// Whether a node reads what another one that is left over makes.
    pub fn feeds(&self, node: &onnx::NodeProto) -> bool {
        node.input.iter().any(|name| self.made.contains(name.as_str()))
    }

    pub fn makes(&self, name: &str) -> bool {
        self.made.contains(name)
    }

    /// Leaves a node over. `why`: what the engine does not know of it, if that is the reason.
    pub fn add(
        &mut self,
        node: &'a onnx::NodeProto,
        known: &HashMap<String, Known>,
        why: Option<ImportError>,
    ) -> Result<(), Fail> {
        if let Some(name) = node.input.iter().find(|n| !n.is_empty() && !known.contains_key(*n) && !self.makes(n)) {
            return invalid(format!("'{name}' is not defined before it is read"));
        }
        // What such a node reads inside cannot be seen here.
        if node.attribute.iter().any(|a| !attribute_type::PLAIN.contains(&a.kind)) {
            return invalid("it holds what only ONNX Runtime could read, and the engine does not know the operation");
        }
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            if known.contains_key(name) || !self.made.insert(name) {
                return invalid(format!("'{name}' is written twice"));
            }
        }
        self.nodes.push(node);
        self.why = self.why.take().or(why);
        Ok(())
    }

    /// The tail, if an output comes from it.
    ///
    /// # Errors
    /// It is more than an end.
    pub fn finish(
        self,
        model: &onnx::ModelProto,
        file: &onnx::GraphProto,
        known: &HashMap<String, Known>,
    ) -> Result<Option<Tail>, ImportError> {
        let outputs: Vec<&onnx::ValueInfo> = file.output.iter().filter(|o| self.makes(&o.name)).collect();
        let Some(why) = self.why.filter(|_| !outputs.is_empty()) else { return Ok(None) };
        let in_file: HashMap<&str, &onnx::TensorProto> =
            file.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
        let (mut seen, mut inputs, mut initializer, mut n_constants) = (HashSet::new(), Vec::new(), Vec::new(), 0);
        for name in self.nodes.iter().flat_map(|n| &n.input) {
            match known.get(name).filter(|_| seen.insert(name)) {
                Some(Known::Map(pieces)) => inputs.push(onnx::ValueInfo::floats(name, &pieces.shape())),
                Some(Known::Const(c)) => {
                    n_constants += c.len();
                    initializer.push(in_file.get(name.as_str()).map_or_else(|| c.tensor(name), |t| (*t).clone()));
                }
                None => {}
            }
        }
        let n_all: usize = known.values().map(|k| if let Known::Const(c) = k { c.len() } else { 0 }).sum();
        if n_constants as f64 > MAX_SHARE * n_all as f64 {
            return Err(why);
        }
        let names = |values: &[onnx::ValueInfo]| values.iter().map(|v| v.name.clone()).collect();
        let (input_names, n_nodes) = (names(&inputs), self.nodes.len());
        let graph = onnx::GraphProto {
            node: self.nodes.into_iter().cloned().collect(),
            name: "tail".into(),
            initializer,
            input: inputs,
            output: outputs.into_iter().map(onnx::ValueInfo::without_shape).collect(),
        };
        let model = onnx::ModelProto {
            ir_version: model.ir_version,
            graph: Some(graph),
            opset_import: model.opset_import.clone(),
        };
        let (file, model_outputs) = (model.encode_to_vec(), names(&file.output));
        Ok(Some(Tail { file, inputs: input_names, model_outputs, n_nodes, why }))
    }
}

impl Const {
    fn tensor(&self, name: &str) -> onnx::TensorProto {
        let empty = onnx::TensorProto {
            name: name.into(),
            dims: self.dims.iter().map(|d| *d as i64).collect(),
            ..onnx::TensorProto::default()
        };
        match &self.data {
            Data::Floats(v) => onnx::TensorProto { data_type: data_type::FLOAT, float_data: v.clone(), ..empty },
            Data::Ints(v) => onnx::TensorProto { data_type: data_type::INT64, int64_data: v.clone(), ..empty },
        }
    }
}
