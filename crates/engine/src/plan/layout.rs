//! Which buffer each map lives in.
//!
//! A map lives in a buffer of its own, or as some channels of a wider one: the
//! parts of a concatenation are written where the whole is read, and a run of
//! channels is read where it stands.

use super::map::Map;
use crate::buffer::ElementType;
use crate::graph::{Act, ChannelSource, Graph, Node, Op};
use crate::kernels::BLOCK;
use std::ops::Range;

/// Numbers after the last cell of a buffer, so that whole blocks can be read everywhere.
const SLACK: usize = BLOCK;

/// Numbers in each buffer that these maps live in.
pub(super) fn buffers(maps: &[Map]) -> Vec<usize> {
    let mut buffers = Vec::new();
    for map in maps {
        let n = map.shape.n_cells() * map.stride + SLACK;
        if buffers.len() <= map.buffer {
            buffers.resize(map.buffer + 1, 0);
        }
        buffers[map.buffer] = buffers[map.buffer].max(n);
    }
    buffers
}

/// The run of channels that a rearrangement takes without moving any cell.
pub(super) fn channel_run(graph: &Graph, node: usize) -> Option<Range<usize>> {
    let node = &graph.nodes[node];
    let Op::Rearrange { stride: [1, 1], sources } = &node.op else { return None };
    let (from, to) = (graph.shape(node.inputs[0]), graph.shape(node.output));
    let first = sources.first()?;
    let straight = sources.iter().enumerate().all(|(i, s)| *s == ChannelSource { dy: 0, dx: 0, c: first.c + i });
    (straight && (from.h, from.w) == (to.h, to.w)).then(|| first.c..first.c + sources.len())
}

/// Nodes whose output is read inside their input's buffer.
pub(super) fn aliases(graph: &Graph) -> Vec<bool> {
    (0..graph.nodes.len()).map(|i| channel_run(graph, i).is_some()).collect()
}

/// Each concatenation wants its parts in its own buffer. Where a part is wanted
/// twice, is the picture, or lives inside another map, a copy is put between.
pub(super) fn copy_where_places_clash(graph: &mut Graph) {
    let makers = graph.makers();
    let is_alias = aliases(graph);
    let mut taken = vec![false; graph.values.len()];
    taken[graph.input.0 as usize] = true;
    for (value, maker) in makers.iter().enumerate() {
        taken[value] |= maker.is_none_or(|m| is_alias[m]);
    }
    let mut i = 0;
    while i < graph.nodes.len() {
        if graph.nodes[i].op == Op::Concat {
            for k in 0..graph.nodes[i].inputs.len() {
                let part = graph.nodes[i].inputs[k];
                if std::mem::replace(&mut taken[part.0 as usize], true) {
                    let shape = graph.shape(part);
                    let name = format!("{}/copy", graph.name(part));
                    let copy = graph.add_value(name, shape);
                    taken.push(true);
                    // Not a rearrangement of channels in a row: that would be read in place again.
                    let node = Node { op: Op::Act(Act::Identity), inputs: vec![part], output: copy };
                    graph.nodes.insert(i, node);
                    i += 1;
                    graph.nodes[i].inputs[k] = copy;
                }
            }
        }
        i += 1;
    }
}

pub(super) fn place(graph: &Graph) -> Vec<Map> {
    let mut maps: Vec<Map> = graph
        .values
        .iter()
        .enumerate()
        .map(|(i, v)| Map {
            name: v.name.clone(),
            shape: v.shape,
            element: ElementType::F32,
            buffer: usize::MAX,
            offset: 0,
            stride: v.shape.c,
            changes: i,
        })
        .collect();
    // Outer concatenations first: they come later in the graph.
    for node in graph.nodes.iter().rev().filter(|n| n.op == Op::Concat) {
        let whole = node.output.0 as usize;
        let mut from = 0;
        for part in &node.inputs {
            let part = part.0 as usize;
            // The buffer is named by its owner until all are known.
            let owner = if maps[whole].buffer == usize::MAX { whole } else { maps[whole].buffer };
            (maps[part].buffer, maps[part].offset) = (owner, maps[whole].offset + from);
            maps[part].stride = maps[whole].stride;
            from += maps[part].shape.c;
        }
    }
    let owners: Vec<usize> =
        (0..maps.len()).map(|i| if maps[i].buffer == usize::MAX { i } else { maps[i].buffer }).collect();
    let mut number = vec![usize::MAX; maps.len()];
    let mut n = 0;
    let mut aliased = vec![false; maps.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        aliased[node.output.0 as usize] = channel_run(graph, i).is_some();
    }
    for (i, &owner) in owners.iter().enumerate() {
        if aliased[i] {
            continue;
        }
        if number[owner] == usize::MAX {
            number[owner] = n;
            n += 1;
        }
        maps[i].buffer = number[owner];
    }
    // Aliases follow what they are a part of, in order.
    for (i, node) in graph.nodes.iter().enumerate() {
        if let Some(run) = channel_run(graph, i) {
            let base = maps[node.inputs[0].0 as usize].clone();
            let map = &mut maps[node.output.0 as usize];
            (map.buffer, map.stride, map.changes) = (base.buffer, base.stride, base.changes);
            map.offset = base.offset + run.start;
        }
    }
    maps
}
