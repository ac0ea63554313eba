//! ONNX files as bytes, at the level of protobuf's wire format, so that everything
//! that is not looked at stays as it is: the declared input, other shapes for it,
//! weights that lie in a file beside it, and what is refused before anybody runs it.
//!
//! A fully convolutional model works at sizes other than the exported one, but
//! ONNX Runtime holds it to its declared shapes: [`with_input_shape`] declares
//! others. Field numbers are those of `onnx.proto` (ONNX IR version 3 and later).

mod error;
mod external;
mod flow;
mod tag;
mod vet;
mod weights;
mod wire;

pub use error::OnnxError;
pub use external::inlined;
pub use vet::vet;
pub use weights::{NewWeights, with_weights};

use prost::encoding::{WireType, encode_key, encode_varint};
use std::collections::HashSet;
use wire::{Field, Fields, child, put_message, rewrite, text};

/// The picture input of a model, as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredInput {
    pub name: String,
    /// `[batch, 3, height, width]`; `None` is a free dimension.
    pub dims: [Option<i64>; 4],
}

/// Finds the one input that is not a constant.
///
/// # Errors
/// No ONNX, or not one picture of 3 channels.
pub fn input(model: &[u8]) -> Result<DeclaredInput, OnnxError> {
    let graph = child(model, tag::MODEL_GRAPH)?.ok_or(OnnxError::Malformed("no graph"))?;
    let mut constants = HashSet::new();
    let mut inputs = Vec::new();
    for field in Fields(graph) {
        let field = field?;
        match field.tag {
            tag::GRAPH_INITIALIZER => {
                constants.insert(child(field.body, tag::TENSOR_NAME)?.map(text).unwrap_or_default());
            }
            tag::GRAPH_INPUT => inputs.push(field.body),
            _ => {}
        }
    }
    let name = |value: &[u8]| child(value, tag::VALUE_NAME).map(|n| n.map(text).unwrap_or_default());
    // Old exporters list the weights among the inputs.
    let mut pictures = Vec::new();
    for value in inputs {
        let name = name(value)?;
        if !constants.contains(&name) {
            pictures.push((name, value));
        }
    }
    let [(name, value)] = pictures.as_slice() else {
        return Err(OnnxError::Inputs(pictures.into_iter().map(|(name, _)| name).collect()));
    };
    check_type(name, value)?;
    let dims = shape(value)?;
    match *dims.as_slice() {
        [n, c, h, w] if c == Some(3) => Ok(DeclaredInput { name: name.clone(), dims: [n, c, h, w] }),
        _ => Err(OnnxError::InputShape { name: name.clone(), dims }),
    }
}

/// The IR version that a file declares; 0: none.
pub fn ir_version(model: &[u8]) -> u64 {
    let is_it = |f: &Field<'_>| f.tag == tag::MODEL_IR_VERSION;
    Fields(model).map_while(Result::ok).find(is_it).map_or(0, |f| f.varint)
}

/// Whether an input takes floats, by `TensorProto.DataType`; no type at all is taken for them.
fn check_type(name: &str, value: &[u8]) -> Result<(), OnnxError> {
    let tensor = child(value, tag::VALUE_TYPE)?.map(|kind| child(kind, tag::TYPE_TENSOR)).transpose()?.flatten();
    let mut element = 1;
    for field in Fields(tensor.unwrap_or_default()) {
        let field = field?;
        if field.tag == tag::TENSOR_TYPE_ELEMENT && field.wire == WireType::Varint {
            element = field.varint;
        }
    }
    let (kind, remedy) = match element {
        0 | 1 => return Ok(()),
        2 => ("bytes (uint8)", "export it with a float32 input; passd scales and shifts pixels itself"),
        10 => (
            "16-bit floats",
            "keep its inputs and outputs in 32 bits (onnxconverter_common: convert_float_to_float16(model, keep_io_types=True))",
        ),
        _ => ("numbers of another kind", "export it with a float32 input"),
    };
    Err(OnnxError::InputType { name: name.into(), kind, remedy })
}

fn shape(value: &[u8]) -> Result<Vec<Option<i64>>, OnnxError> {
    let mut at = value;
    for tag in [tag::VALUE_TYPE, tag::TYPE_TENSOR, tag::TENSOR_TYPE_SHAPE] {
        match child(at, tag)? {
            Some(inner) => at = inner,
            None => return Ok(Vec::new()),
        }
    }
    let mut dims = Vec::new();
    for dim in Fields(at) {
        let dim = dim?;
        if dim.tag == tag::SHAPE_DIM {
            let mut size = None;
            for field in Fields(dim.body) {
                let field = field?;
                if field.tag == tag::DIM_VALUE && field.wire == WireType::Varint {
                    size = Some(field.varint as i64).filter(|v| *v > 0);
                }
            }
            dims.push(size);
        }
    }
    Ok(dims)
}

/// The same model, declared to take `[batch, 3, height, width]`.
///
/// Declared shapes of the outputs and of everything between are dropped, for
/// ONNX Runtime to infer. A `Reshape` to a constant shape that begins with a
/// batch of 1 gets the new batch.
///
/// # Errors
/// As [`input`].
pub fn with_input_shape(model: &[u8], dims: [i64; 4]) -> Result<Vec<u8>, OnnxError> {
    let picture = input(model)?.name;
    let batch = dims[0];
    let reshapes = if batch == 1 { HashSet::new() } else { reshape_shapes(model)? };
    let mut out = Vec::with_capacity(model.len() + 64);
    rewrite(model, &mut out, |field, out| {
        if field.tag != tag::MODEL_GRAPH {
            return Ok(false);
        }
        let mut graph = Vec::with_capacity(field.body.len());
        rewrite(field.body, &mut graph, |field, graph| {
            match field.tag {
                tag::GRAPH_VALUE_INFO => {}
                tag::GRAPH_INPUT if child(field.body, tag::VALUE_NAME)? == Some(picture.as_bytes()) => {
                    put_message(graph, field.tag, &with_shape(field.body, Some(&dims))?);
                }
                tag::GRAPH_OUTPUT => put_message(graph, field.tag, &with_shape(field.body, None)?),
                tag::GRAPH_INITIALIZER if is_named(field.body, tag::TENSOR_NAME, &reshapes)? => {
                    put_message(graph, field.tag, &with_batch(field.body, batch)?);
                }
                tag::GRAPH_NODE if is_named(field.body, tag::NODE_OUTPUT, &reshapes)? => {
                    let mut node = Vec::new();
                    rewrite(field.body, &mut node, |field, node| {
                        edit_tensor(field, node, tag::NODE_ATTRIBUTE, |attribute| {
                            let mut out = Vec::new();
                            rewrite(attribute, &mut out, |field, out| {
                                edit_tensor(field, out, tag::ATTRIBUTE_TENSOR, |t| with_batch(t, batch))
                            })?;
                            Ok(out)
                        })
                    })?;
                    put_message(graph, field.tag, &node);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        put_message(out, field.tag, &graph);
        Ok(true)
    })?;
    Ok(out)
}

fn edit_tensor(
    field: &Field<'_>,
    out: &mut Vec<u8>,
    tag: u32,
    edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, OnnxError>,
) -> Result<bool, OnnxError> {
    if field.tag != tag || field.wire != WireType::LengthDelimited {
        return Ok(false);
    }
    put_message(out, tag, &edit(field.body)?);
    Ok(true)
}

fn is_named(message: &[u8], tag: u32, names: &HashSet<String>) -> Result<bool, OnnxError> {
    Ok(!names.is_empty() && child(message, tag)?.is_some_and(|n| names.contains(&text(n))))
}

/// Names of the values that say what a `Reshape` makes.
fn reshape_shapes(model: &[u8]) -> Result<HashSet<String>, OnnxError> {
    let graph = child(model, tag::MODEL_GRAPH)?.ok_or(OnnxError::Malformed("no graph"))?;
    let mut names = HashSet::new();
    for field in Fields(graph) {
        let field = field?;
        if field.tag == tag::GRAPH_NODE && child(field.body, tag::NODE_OP_TYPE)? == Some(b"Reshape") {
            let mut inputs = Vec::new();
            for input in Fields(field.body) {
                let input = input?;
                if input.tag == tag::NODE_INPUT {
                    inputs.push(text(input.body));
                }
            }
            names.extend(inputs.into_iter().nth(1));
        }
    }
    Ok(names)
}

/// A `TensorProto` of 64-bit numbers whose first is 1, with `batch` there.
fn with_batch(tensor: &[u8], batch: i64) -> Result<Vec<u8>, OnnxError> {
    let mut out = Vec::with_capacity(tensor.len());
    rewrite(tensor, &mut out, |field, out| {
        if field.tag == tag::TENSOR_RAW && field.body.len() >= 8 && field.body[..8] == 1i64.to_le_bytes() {
            let mut raw = field.body.to_vec();
            raw[..8].copy_from_slice(&batch.to_le_bytes());
            put_message(out, field.tag, &raw);
            return Ok(true);
        }
        if field.tag == tag::TENSOR_INT64 && field.body.first() == Some(&1) {
            let mut packed = Vec::new();
            encode_varint(batch as u64, &mut packed);
            packed.extend_from_slice(&field.body[1..]);
            put_message(out, field.tag, &packed);
            return Ok(true);
        }
        Ok(false)
    })?;
    Ok(out)
}

/// A `ValueInfoProto` with another shape, or with none.
fn with_shape(value: &[u8], dims: Option<&[i64]>) -> Result<Vec<u8>, OnnxError> {
    let mut out = Vec::with_capacity(value.len());
    rewrite(value, &mut out, |field, out| {
        edit_tensor(field, out, tag::VALUE_TYPE, |kind| {
            let mut out = Vec::new();
            rewrite(kind, &mut out, |field, out| {
                edit_tensor(field, out, tag::TYPE_TENSOR, |tensor| {
                    let mut out = Vec::new();
                    rewrite(tensor, &mut out, |field, _| Ok(field.tag == tag::TENSOR_TYPE_SHAPE))?;
                    if let Some(dims) = dims {
                        let mut shape = Vec::new();
                        for &dim in dims {
                            let mut body = Vec::new();
                            encode_key(tag::DIM_VALUE, WireType::Varint, &mut body);
                            encode_varint(dim as u64, &mut body);
                            put_message(&mut shape, tag::SHAPE_DIM, &body);
                        }
                        put_message(&mut out, tag::TENSOR_TYPE_SHAPE, &shape);
                    }
                    Ok(out)
                })
            })?;
            Ok(out)
        })
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (tag, body) in fields {
            put_message(&mut out, *tag, body);
        }
        out
    }

    fn value(name: &str, dims: &[i64]) -> Vec<u8> {
        let bare = message(&[(1, name.into()), (2, message(&[(1, vec![8, 1])]))]); // elem_type = float
        with_shape(&bare, Some(dims)).unwrap()
    }

    fn model() -> Vec<u8> {
        let raw: Vec<u8> = [1i64, 85, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
        let graph = message(&[
            (1, message(&[(1, "x".into()), (1, "s".into()), (2, "y".into()), (4, "Reshape".into())])),
            (5, message(&[(8, "s".into()), (9, raw)])),
            (5, message(&[(8, "w".into()), (9, vec![1, 0, 0, 0, 0, 0, 0, 0])])),
            (11, value("x", &[1, 3, 416, 416])),
            (11, value("w", &[1])),
            (12, value("y", &[1, 85, 3549])),
            (13, value("z", &[1, 2])),
        ]);
        message(&[(2, "exporter".into()), (7, graph), (8, vec![16, 11])])
    }

    #[test]
    fn finds_the_picture_among_the_weights() {
        let picture = input(&model()).unwrap();
        assert_eq!((picture.name.as_str(), picture.dims), ("x", [Some(1), Some(3), Some(416), Some(416)]));
    }

    #[test]
    fn changes_the_shape_and_nothing_else() {
        let changed = with_input_shape(&model(), [2, 3, 384, 640]).unwrap();
        assert_eq!(input(&changed).unwrap().dims, [Some(2), Some(3), Some(384), Some(640)]);
        let graph = child(&changed, 7).unwrap().unwrap();
        let of = |tag| Fields(graph).map(Result::unwrap).filter(|f| f.tag == tag).collect::<Vec<_>>();
        assert!(of(13).is_empty(), "inferred shapes go");
        assert_eq!(shape(of(12)[0].body).unwrap(), [], "the output's shape goes");
        let raw = |i: usize| child(of(5)[i].body, 9).unwrap().unwrap()[0];
        assert_eq!((raw(0), raw(1)), (2, 1), "the reshape's batch changes, a weight does not");
        assert_eq!(child(&changed, 2).unwrap(), Some(&b"exporter"[..]));
        // There and back again: only what was dropped is gone.
        let back = with_input_shape(&changed, [1, 3, 416, 416]).unwrap();
        assert_eq!(with_input_shape(&back, [1, 3, 416, 416]).unwrap(), back);
    }

    #[test]
    fn every_truncation_is_refused_or_still_whole() {
        let whole = model();
        for n in 0..whole.len() {
            let cut = &whole[..n];
            let _ = with_input_shape(cut, [1, 3, 64, 64]); // must not panic
            if n < whole.len() - 6 {
                assert!(input(cut).is_err(), "{n} of {} bytes", whole.len());
            }
        }
        for bad in
            [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"not an onnx file", b"\x3a\xff\xff\xff\xff\x7f"]
        {
            assert!(input(bad).is_err());
        }
    }

    #[test]
    fn other_inputs_are_refused() {
        let check = |values: &[Vec<u8>], part: &str| {
            let graph = message(&values.iter().map(|v| (11, v.clone())).collect::<Vec<_>>());
            let error = input(&message(&[(7, graph)])).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&[], "0 inputs ()");
        check(&[value("a", &[1, 3, 8, 8]), value("im_shape", &[1])], "2 inputs (a, im_shape)");
        check(&[value("a", &[1, 1, 8, 8])], "expected [batch, 3, height, width]");
        check(&[value("a", &[3, 8, 8])], "input 'a' has shape [3, 8, 8]");
        check(&[value("a", &[1, 8, 8, 3])], "colours come last");
        check(&[value("a", &[1, 1, 8, -1])], "[1, 1, 8, ?]");
        for (kind, part) in [(2u8, "uint8"), (10, "keep_io_types"), (11, "float32")] {
            let bare = message(&[(1, "a".into()), (2, message(&[(1, vec![8, kind])]))]);
            check(&[with_shape(&bare, Some(&[1, 3, 8, 8])).unwrap()], part);
        }
    }
}
