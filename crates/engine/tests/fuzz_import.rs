//! The importer under fuzzing: whatever the bytes, a reason or a graph in order.
//!
//! `cargo test` runs a fixed number of seeded inputs. `cargo bolero test -p passd-engine
//! --test fuzz_import any_bytes_are_read_or_refused` (crate cargo-bolero, nightly compiler) goes on
//! from there, guided by coverage, until it is stopped.

mod common;

use common::zoo;
use engine::import::import;
use engine::import::onnx;
use engine::passes;
use prost::Message as _;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const STREET: &[u8] = include_bytes!("../../../models/street-nano.onnx");

/// Files that became a graph, and those that were refused.
static N: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

fn read(file: &[u8]) {
    let result = import(file, 96, 160);
    N[usize::from(result.is_err())].fetch_add(1, Relaxed);
    match result {
        Ok(mut graph) => {
            passes::optimise(&mut graph).expect("what was imported stays in order");
        }
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}

/// A model without the tensors that most of its bytes are, and those.
struct Seed {
    structure: Vec<u8>,
    tensors: Vec<onnx::TensorProto>,
}

fn seeds() -> Vec<Seed> {
    let files = [zoo::operations().1, zoo::layouts().1, zoo::yolov8_neck().1, STREET.to_vec()];
    let split = |file: Vec<u8>| {
        let mut model = onnx::ModelProto::decode(file.as_slice()).unwrap();
        let tensors = model.graph.as_mut().map(|g| std::mem::take(&mut g.initializer)).unwrap_or_default();
        Seed { structure: model.encode_to_vec(), tensors }
    };
    files.map(split).into()
}

/// Edits of four bytes each: what is done, where (two bytes), and with which value.
fn edited(seed: &Seed, edits: &[u8]) -> Option<Vec<u8>> {
    let mut file = seed.structure.clone();
    for edit in edits.as_chunks::<4>().0 {
        if file.is_empty() {
            break;
        }
        let at = usize::from(u16::from_le_bytes([edit[1], edit[2]])) * file.len() / 65_536;
        match edit[0] % 4 {
            0 => file[at] = edit[3],
            1 => file[at] ^= 1 << (edit[3] % 8),
            2 => file.insert(at, edit[3]),
            _ => drop(file.drain(at..(at + 1 + usize::from(edit[3] % 16)).min(file.len()))),
        }
    }
    let mut model = onnx::ModelProto::decode(file.as_slice()).ok()?;
    model.graph.as_mut()?.initializer.extend(seed.tensors.iter().cloned());
    Some(model.encode_to_vec())
}

#[test]
fn any_bytes_are_read_or_refused() {
    let seeds = seeds();
    bolero::check!().with_iterations(20_000).with_max_len(96).for_each(|bytes: &[u8]| {
        let Some((first, rest)) = bytes.split_first() else { return };
        match seeds.get(usize::from(*first) % (seeds.len() + 1)) {
            Some(seed) => {
                if let Some(file) = edited(seed, rest) {
                    read(&file);
                }
            }
            None => read(rest),
        }
    });
    let [read, refused] = N.each_ref().map(|n| n.load(Relaxed));
    println!("{read} were read, {refused} refused");
    assert!(read > 100 && refused > 100, "{read} were read, {refused} refused: nothing was tried");
}
