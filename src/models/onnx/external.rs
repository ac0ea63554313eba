//! Weights that lie in a file beside the model (`model.onnx.data`): taken into it, so that nobody else opens files.

use super::error::OnnxError;
use super::tag;
use super::wire::{Fields, child, put_message, rewrite, text};
use crate::files::{Links, open_plain, read_open};
use std::collections::HashMap;
use std::path::Path;

/// Most bytes of such files together.
const MAX_BYTES: u64 = 2 << 30;

/// Where a tensor's data are said to be.
struct Place {
    file: String,
    offset: usize,
    length: Option<usize>,
}

/// The model with its weights in it; `None`: they are. Only files in `folder`, by their plain names, are read.
///
/// # Errors
/// The tensor, and what is wrong with the place of its data.
pub fn inlined(model: &[u8], folder: Option<&Path>) -> Result<Option<Vec<u8>>, OnnxError> {
    let graph = child(model, tag::MODEL_GRAPH)?.ok_or(OnnxError::Malformed("no graph"))?;
    let mut any = false;
    for field in Fields(graph) {
        let field = field?;
        any |= field.tag == tag::GRAPH_INITIALIZER && place(field.body)?.is_some();
    }
    if !any {
        return Ok(None);
    }
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    // Several tensors may name the same bytes.
    let mut n_taken = 0;
    let mut out = Vec::with_capacity(model.len());
    rewrite(model, &mut out, |field, out| {
        if field.tag != tag::MODEL_GRAPH {
            return Ok(false);
        }
        let mut graph = Vec::new();
        rewrite(field.body, &mut graph, |field, graph| {
            let Some(place) = (field.tag == tag::GRAPH_INITIALIZER).then(|| place(field.body)).transpose()?.flatten()
            else {
                return Ok(false);
            };
            put_message(graph, field.tag, &with_data(field.body, &place, folder, &mut files, &mut n_taken)?);
            Ok(true)
        })?;
        put_message(out, field.tag, &graph);
        Ok(true)
    })?;
    Ok(Some(out))
}

fn name_of(tensor: &[u8]) -> String {
    child(tensor, tag::TENSOR_NAME).ok().flatten().map(text).unwrap_or_default()
}

fn place(tensor: &[u8]) -> Result<Option<Place>, OnnxError> {
    let mut is_external = false;
    let mut place = Place { file: String::new(), offset: 0, length: None };
    for field in Fields(tensor) {
        let field = field?;
        match field.tag {
            tag::TENSOR_DATA_LOCATION => is_external = field.varint == 1,
            tag::TENSOR_EXTERNAL_DATA => {
                let get = |tag| child(field.body, tag).map(|v| v.map(text).unwrap_or_default());
                let (key, value) = (get(tag::ENTRY_KEY)?, get(tag::ENTRY_VALUE)?);
                let number = || {
                    let what = format!("{key} '{value}' of its data is no number");
                    value.parse().map_err(|_| OnnxError::External { tensor: name_of(tensor), what })
                };
                match key.as_str() {
                    "location" => place.file = value,
                    "offset" => place.offset = number()?,
                    "length" => place.length = Some(number()?),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok(is_external.then_some(place))
}

fn with_data(
    tensor: &[u8],
    place: &Place,
    folder: Option<&Path>,
    files: &mut HashMap<String, Vec<u8>>,
    n_taken: &mut usize,
) -> Result<Vec<u8>, OnnxError> {
    let err = |what: String| OnnxError::External { tensor: name_of(tensor), what };
    let file = place.file.strip_prefix("./").unwrap_or(&place.file);
    let is_plain = !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\\', '\0']);
    let Some(folder) = folder.filter(|_| is_plain) else {
        return Err(err(format!(
            "its data are said to be in '{file}'; only a file beside the model, by its plain name, is read"
        )));
    };
    if !files.contains_key(file) {
        let left = MAX_BYTES.saturating_sub(files.values().map(|f| f.len() as u64).sum());
        let read = open_plain(&folder.join(file), Links::Refused).and_then(|f| read_open(f, left, "weights"));
        let data = read.map_err(|e| {
            err(format!(
                "its data are in '{file}', which is to lie beside the model: {e}. Or export into one file \
                 (onnx.save(model, path, save_as_external_data=False))"
            ))
        })?;
        files.insert(file.to_owned(), data);
    }
    let data = &files[file];
    let end = place.length.map_or(Some(data.len()), |n| place.offset.checked_add(n));
    let Some(part) = end.and_then(|end| data.get(place.offset..end)) else {
        return Err(err(format!("its data are beyond the end of '{file}': it is another version, or cut short")));
    };
    *n_taken += part.len();
    if *n_taken > files.values().map(Vec::len).sum::<usize>() {
        return Err(err("tensors take more bytes than there are in the files that they name".into()));
    }
    let mut out = Vec::with_capacity(tensor.len() + part.len());
    rewrite(tensor, &mut out, |field, _| {
        Ok(matches!(field.tag, tag::TENSOR_EXTERNAL_DATA | tag::TENSOR_DATA_LOCATION | tag::TENSOR_RAW))
    })?;
    put_message(&mut out, tag::TENSOR_RAW, part);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::onnx::vet;

    fn message(fields: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        fields.iter().for_each(|(tag, body)| put_message(&mut out, *tag, body));
        out
    }

    /// A model whose one tensor is said to be elsewhere.
    fn model(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut tensor = message(&[(tag::TENSOR_NAME, "w".into())]);
        for (key, value) in entries {
            let entry = message(&[(tag::ENTRY_KEY, (*key).into()), (tag::ENTRY_VALUE, (*value).into())]);
            put_message(&mut tensor, tag::TENSOR_EXTERNAL_DATA, &entry);
        }
        tensor.extend([(tag::TENSOR_DATA_LOCATION << 3) as u8, 1]);
        let mut graph = message(&[(tag::GRAPH_INITIALIZER, tensor.clone())]);
        if entries.iter().any(|(key, _)| *key == "twice") {
            graph.extend(message(&[(tag::GRAPH_INITIALIZER, tensor)]));
        }
        message(&[(tag::MODEL_GRAPH, graph)])
    }

    #[test]
    fn weights_beside_the_model_are_taken_in_and_nothing_else_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.onnx.data"), [7u8; 16]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let read = |entries: &[(&str, &str)]| inlined(&model(entries), Some(folder.path()));
        let whole = read(&[("location", "m.onnx.data"), ("offset", "4"), ("length", "8")]).unwrap().unwrap();
        let graph = child(&whole, tag::MODEL_GRAPH).unwrap().unwrap();
        let tensor = child(graph, tag::GRAPH_INITIALIZER).unwrap().unwrap();
        assert_eq!(child(tensor, tag::TENSOR_RAW).unwrap(), Some(&[7u8; 8][..]));
        vet(&whole).unwrap();
        assert!(vet(&model(&[("location", "x")])).unwrap_err().to_string().contains("in another file"));
        assert_eq!(inlined(&whole, None).unwrap(), None);
        for (entries, part) in [
            (&[("location", "m.onnx.data"), ("twice", "")][..], "more bytes than there are"),
            (&[("location", "/etc/passwd")], "plain name"),
            (&[("location", "../m.onnx.data")], "plain name"),
            (&[("location", "sub/x")], "plain name"),
            (&[("location", "..")], "plain name"),
            (&[("location", "")], "plain name"),
            (&[("location", "link")], "beside the model"),
            (&[("location", "sub")], "beside the model"),
            (&[("location", "absent")], "save_as_external_data=False"),
            (&[("location", "m.onnx.data"), ("offset", "9"), ("length", "8")], "beyond the end"),
            (&[("location", "m.onnx.data"), ("offset", "-1")], "no number"),
            (&[("location", "m.onnx.data"), ("offset", "18446744073709551615"), ("length", "9")], "beyond the end"),
        ] {
            let error = read(entries).unwrap_err().to_string();
            assert!(error.contains("tensor 'w'") && error.contains(part), "{entries:?}: {error}");
        }
    }
}
