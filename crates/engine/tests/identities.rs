//! What must hold of the layer engine on any graph, bit by bit:
//! random graphs, shapes and change sets, borders included, unfilled memory NaN.

use engine::changes::ChangeSet;
use engine::exec::counters::Counters;
use engine::exec::executor::{Picture, StreamMaps};
use engine::exec::runner::Runner;
use engine::exec::standing::Standing;
use engine::exec::stream::Stream;
use engine::exec::threads::Threads;
use engine::gating::gate::{Gate, Gates};
use engine::gating::policy::{GatePolicy, Policy};
use engine::graph::verify::verify;
use engine::graph::view::View;
use engine::graph::{Act, Conv, Graph, MapShape, Node, Op, Output, ValueId, Window};
use engine::kernels::Kernels;
use engine::oracle;
use engine::passes;
use engine::plan::Plan;
use engine::plan::lazy::Condition;
use engine::plan::step::{ConvKind, Kind, Step};
use engine::weights::{Change, Weights};
mod common;

use common::graphs;
use fastrand::Rng;
use std::sync::Arc;

/// Seeds of the random graphs.
const CASES: std::ops::Range<u64> = 0..340;
/// From this one on they have a pyramid's way down.
const PYRAMIDS: u64 = 300;

fn planned(seed: u64) -> (Rng, Graph, Arc<Plan>) {
    let mut random = Rng::with_seed(seed);
    let n = 4 + seed as usize % 20;
    let is_pyramid = (PYRAMIDS..CASES.end).contains(&seed);
    let mut graph = if is_pyramid { graphs::pyramids(&mut random, n) } else { graphs::graph(&mut random, n) };
    verify(&graph).unwrap();
    let plan = Arc::new(Plan::new(graph.clone()).unwrap_or_else(|e| panic!("seed {seed}: {e}")));
    passes::optimise(&mut graph).unwrap();
    (random, graph, plan)
}

/// Gates that rise so.
fn rising(first: f32, last: f32) -> Policy {
    Policy { gates: GatePolicy { first, last, ..GatePolicy::default() }, ..Policy::default() }
}

/// All outputs, in bits.
fn outputs(stream: &Stream) -> Vec<Vec<u32>> {
    let plan = stream.plan();
    plan.outputs.iter().map(|o| stream.map(o.parts[0].base.0 as usize).iter().map(|v| v.to_bits()).collect()).collect()
}

fn whole(plan: &Arc<Plan>, kernels: Kernels, picture: &[f32]) -> Stream {
    let mut stream = Stream::new(plan.clone(), Gates::exact(plan), f32::NAN);
    stream.input().0.copy_from_slice(picture);
    Runner::new(plan, kernels).run(&mut stream, 0.0);
    stream
}

/// Changes some cells of the picture: none, a few, a rectangle, or all.
fn change(random: &mut Rng, s: MapShape, stream: &mut Stream, size: f32) {
    let (data, set) = stream.input();
    set.clear();
    let (y0, x0) = (random.usize(0..s.h), random.usize(0..s.w));
    let (y1, x1) = match random.u8(0..8) {
        0 => return,
        1 => (s.h, s.w),
        2..=4 => (y0 + 1, x0 + 1),
        _ => (random.usize(y0 + 1..=s.h), random.usize(x0 + 1..=s.w)),
    };
    let (y0, x0) = if (y1, x1) == (s.h, s.w) && random.bool() { (0, 0) } else { (y0, x0) };
    for y in y0..y1 {
        set.set_run(y, x0, x1);
        for v in &mut data[(y * s.w + x0) * s.c..(y * s.w + x1) * s.c] {
            *v += (random.f32() - 0.5) * size;
        }
    }
}

#[test]
fn a_whole_run_equals_the_oracle_on_every_instruction_set() {
    let mut in_squares = 0;
    for seed in CASES {
        let (mut random, graph, plan) = planned(seed);
        let is_square = |s: &&Step| matches!(&s.kind, Kind::Conv { how: ConvKind::Winograd2x2(_), .. });
        in_squares += plan.steps.iter().filter(is_square).count();
        let picture = graphs::picture(&mut random, graph.shape(graph.input));
        let maps = oracle::run(&graph, &picture);
        for kernels in Kernels::all() {
            let stream = whole(&plan, *kernels, &picture);
            for (output, planned) in graph.outputs.iter().zip(&plan.outputs) {
                let wanted = maps.output(&graph, output);
                let found = oracle::read_output(planned, |v| {
                    let i = v.0 as usize;
                    (Box::leak(stream.map(i).into_boxed_slice()), plan.maps[i].shape)
                });
                let same =
                    wanted.iter().zip(&found).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
                assert!(same, "seed {seed}, {}, output {}", kernels.name, output.name);
            }
        }
    }
    assert!(in_squares > 50, "{in_squares} convolutions are computed by squares");
}

#[test]
fn any_changes_with_open_gates_equal_a_whole_run_of_the_last_frame() {
    for seed in CASES {
        let (mut random, graph, plan) = planned(seed);
        let s = graph.shape(graph.input);
        let kernels = Kernels::all()[seed as usize % Kernels::all().len()];
        let mut stream = whole(&plan, kernels, &graphs::picture(&mut random, s));
        let mut runner = Runner::new(&plan, kernels);
        for frame in 0..6 {
            change(&mut random, s, &mut stream, 1.0);
            let share = [0.0, 0.0, 0.1][random.usize(0..3)];
            let counters = runner.run(&mut stream, share);
            assert!(counters.executed_macs <= counters.dense_macs);
            let picture = stream.input().0.to_vec();
            let wanted = whole(&plan, Kernels::best(), &picture);
            assert!(outputs(&stream) == outputs(&wanted), "seed {seed}, frame {frame}, {}", kernels.name);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let runners = |plan: &Arc<Plan>| {
        let threads = |n| Threads { n, least: 1 };
        [1, 2, 5].map(|n| Runner::with_threads(plan, Kernels::best(), threads(n)).unwrap())
    };
    for seed in CASES.step_by(3) {
        let (mut random, graph, plan) = planned(seed);
        let picture = graphs::picture(&mut random, graph.shape(graph.input));
        let gates = if seed % 2 == 0 { Gates::exact(&plan) } else { Gates::rising(&plan, &rising(0.1, 0.3)) };
        let mut runs = runners(&plan).map(|runner| (runner, Stream::new(plan.clone(), gates.clone(), f32::NAN)));
        for (_, stream) in &mut runs {
            stream.input().0.copy_from_slice(&picture);
        }
        for step in 0..5 {
            let at = random.u64(..);
            let mut one = None;
            for (runner, stream) in &mut runs {
                if step > 0 {
                    change(&mut Rng::with_seed(at), graph.shape(graph.input), stream, 0.5);
                }
                let c = runner.run(stream, 0.1);
                let found = (c.reached_macs, c.executed_macs, c.passed, outputs(stream));
                assert_eq!(one.get_or_insert(found.clone()), &found, "seed {seed}, step {step}");
            }
        }
    }
}

#[test]
fn a_still_picture_costs_nothing() {
    for seed in CASES {
        let (mut random, graph, plan) = planned(seed);
        let s = graph.shape(graph.input);
        let mut stream = whole(&plan, Kernels::best(), &graphs::picture(&mut random, s));
        let mut runner = Runner::new(&plan, Kernels::best());
        for _ in 0..3 {
            stream.input().1.clear();
            let c = runner.run(&mut stream, 0.0);
            let nothing = Counters {
                dense_macs: c.dense_macs,
                required_macs: c.required_macs,
                bookkeeping: c.bookkeeping,
                gates: c.gates,
                kernels: c.kernels,
                ..Counters::default()
            };
            assert_eq!(c, nothing, "seed {seed}");
        }
    }
}

/// What gates hold back is gone when one sweep is over, to the last bit.
#[test]
fn errors_die_within_one_sweep() {
    let mut n_held = 0;
    for seed in CASES {
        let (mut random, graph, plan) = planned(seed);
        let s = graph.shape(graph.input);
        let mut stream = Stream::new(plan.clone(), Gates::rising(&plan, &rising(0.2, 0.5)), f32::NAN);
        stream.input().0.copy_from_slice(&graphs::picture(&mut random, s));
        let mut runner = Runner::new(&plan, Kernels::best());
        runner.run(&mut stream, 0.0);
        for _ in 0..5 {
            change(&mut random, s, &mut stream, 0.2);
            runner.run(&mut stream, 0.03);
        }
        let picture = stream.input().0.to_vec();
        let wanted = outputs(&whole(&plan, Kernels::best(), &picture));
        n_held += u32::from(outputs(&stream) != wanted);
        stream.input().1.clear();
        // To the end of the sweep under way, and one more.
        for _ in 0..2 {
            let before = stream.n_sweeps();
            while stream.n_sweeps() == before {
                runner.run(&mut stream, 0.07);
            }
        }
        assert!(outputs(&stream) == wanted, "seed {seed}");
    }
    assert!(n_held > 50, "gates held something back in {n_held} graphs");
}

/// A detector's head on a trunk: boxes, what decides (channel 4), and classes after up to three convolutions.
fn headed(random: &mut Rng) -> Plan {
    let (h, w) = (random.usize(3..20), random.usize(3..70));
    let mut graph =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let mut conv = |graph: &mut Graph, name: &str, input: ValueId, n_out: usize, act: Act| {
        let n_in = graph.shape(input).c;
        let (side, reach) = ([1, 3, 5][random.usize(0..3)], random.usize(1..3));
        let pad = [side / 2 * reach; 2];
        let window = Window { kernel: [side; 2], pad, pad_end: pad, dilation: [reach; 2], ..Window::POINT };
        let weights = (0..side * side * n_in * n_out).map(|_| random.f32() - 0.5).collect();
        let bias = (0..n_out).map(|_| random.f32() - 0.5).collect();
        let conv = Conv { window, groups: 1, weights, bias, act, post: Act::Identity, transposed: false };
        let output = graph.add_value(name, MapShape::new(h, w, n_out));
        graph.nodes.push(Node { op: Op::Conv(Box::new(conv)), inputs: vec![input], output });
        output
    };
    let picture = graph.add_value("picture", MapShape::new(h, w, 3));
    let trunk = conv(&mut graph, "trunk", picture, 8, Act::Relu);
    let mut lane = trunk;
    for name in ["a", "b", "c"].into_iter().take(h % 4) {
        lane = conv(&mut graph, name, lane, 8, Act::Silu);
    }
    let class = conv(&mut graph, "class", lane, 7, Act::Sigmoid);
    let bbox = conv(&mut graph, "box", trunk, 4, Act::Identity);
    let object = conv(&mut graph, "object", trunk, 1, Act::Sigmoid);
    let s = MapShape::new(h, w, 12);
    let all = graph.add_value("all", s);
    graph.nodes.push(Node { op: Op::Concat, inputs: vec![bbox, object, class], output: all });
    let view = View::whole(all, s);
    graph.outputs.push(Output { name: "all".into(), dims: view.shape(), axis: 0, parts: vec![view] });
    let all = all.0 as usize;
    Plan::new(graph).unwrap().given(&[Condition { deciding: (all, vec![4]), counting: vec![all] }])
}

/// Whatever changes, is refreshed, or begins anew, and however high the bar is.
#[test]
fn what_is_required_is_what_it_would_be_if_everything_were() {
    let (mut n_required, mut n_cells, mut n_put_off, mut shares) = (0, 0, 0, [0.0; 2]);
    for seed in CASES {
        let mut random = Rng::with_seed(seed);
        let plan = Arc::new(headed(&mut random));
        let (s, all) = (plan.maps[plan.input].shape, plan.outputs[0].parts[0].base.0 as usize);
        let mut runner = Runner::new(&plan, Kernels::best());
        let mut stream = whole(&plan, Kernels::best(), &graphs::picture(&mut random, s));
        let mut other = whole(&plan, Kernels::best(), stream.input().0);
        let mut bar = Some(0.6);
        stream.require(bar);
        for frame in 0..12 {
            change(&mut random, s, &mut stream, 1.0);
            other.input().1.copy_from(stream.input().1);
            other.input().0.copy_from_slice(stream.input().0);
            if random.u8(0..8) == 0 {
                bar = [None, Some(0.5), Some(0.8)][random.usize(0..3)];
                stream.require(bar);
            }
            let is_whole = random.u8(0..8) == 0;
            if is_whole {
                stream.forget();
                other.forget();
            }
            let share = [0.0, 0.0, 0.1][random.usize(0..3)];
            let counters = [&mut stream, &mut other].map(|stream| runner.run(stream, share));
            let Counters { executed_macs, required_macs, dense_macs, .. } = counters[0];
            assert!(executed_macs <= required_macs && required_macs <= dense_macs, "seed {seed}, frame {frame}");
            assert!(
                !is_whole || executed_macs == required_macs,
                "seed {seed}, frame {frame}: no more than is required"
            );
            assert!(bar.is_some() || required_macs == dense_macs, "seed {seed}, frame {frame}: everything");
            shares.iter_mut().zip(counters).for_each(|(sum, c)| *sum += c.executed_share());
            for (y, x) in (0..s.h).flat_map(|y| (0..s.w).map(move |x| (y, x))) {
                let [found, wanted] = [&stream, &other].map(|stream| stream.cell(all, y, x));
                let required = bar.is_none_or(|bar| wanted[4] >= bar);
                let (found, wanted) = if required { (found, wanted) } else { (&found[4..5], &wanted[4..5]) };
                assert_eq!(found, wanted, "seed {seed}, frame {frame}, row {y}, column {x}, bar {bar:?}");
                n_required += u32::from(required);
                n_cells += 1;
            }
            // What is said of a cell's standing holds.
            for map in (0..plan.maps.len()).filter(|map| stream.standing(*map, 0, 0).is_some()) {
                let s = plan.maps[map].shape;
                for (y, x) in (0..s.h).flat_map(|y| (0..s.w).map(move |x| (y, x))) {
                    let standing = stream.standing(map, y, x).unwrap();
                    let is_required = standing != Standing::NotRequired;
                    n_put_off += u32::from(!is_required);
                    let is_same = || stream.cell(map, y, x) == other.cell(map, y, x);
                    assert!(
                        !is_required || standing == Standing::UpToDate && is_same(),
                        "seed {seed}, frame {frame}, map {map}: {standing:?}"
                    );
                }
            }
            if frame % 5 == 4 {
                runner.complete(&mut stream);
                assert_eq!(stream.map(all), other.map(all), "seed {seed}, frame {frame}");
            }
        }
    }
    assert!(n_required > n_cells / 10 && n_required < n_cells / 2, "{n_required} of {n_cells} cells are required");
    assert!(shares[0] < 0.8 * shares[1], "{shares:?}");
    assert!(n_put_off > n_cells, "of several maps: {n_put_off}");
}

/// A change that its readers would hardly feel waits for the flush, or for the sweep.
#[test]
fn lesser_changes_reach_their_readers_later() {
    let s = MapShape::new(9, 9, 2);
    let mut graph =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let [picture, a, b, c] = ["picture", "a", "b", "c"].map(|name| graph.add_value(name, s));
    let conv = |side: usize, input: ValueId, output: ValueId| {
        let window = Window { kernel: [side; 2], pad: [side / 2; 2], pad_end: [side / 2; 2], ..Window::POINT };
        // Each channel is the sum of the same one over the window.
        let same = |i: usize| if i / (2 * side * side) == i % 2 { 1.0 } else { 0.0 };
        let (weights, bias) = ((0..4 * side * side).map(same).collect(), vec![0.0; 2]);
        let conv = Conv { window, groups: 1, weights, bias, act: Act::Relu, post: Act::Identity, transposed: false };
        Node { op: Op::Conv(Box::new(conv)), inputs: vec![input], output }
    };
    graph.nodes = vec![conv(1, picture, a), conv(3, a, b), conv(1, b, c)];
    let view = View::whole(c, s);
    graph.outputs.push(Output { name: "c".into(), dims: view.shape(), axis: 0, parts: vec![view] });
    let plan = Arc::new(Plan::new(graph).unwrap());
    // The picture's change reaches `a`, which feels it as it is, then nine cells of `b`, and as many of `c`.
    for (change, at_once, later) in [(0.15, 1 + 9 + 9, 0), (0.07, 1, 9 + 9), (0.03, 1, 0)] {
        let mut gates = Gates::exact(&plan);
        gates.set(0, Gate::new(0.01, vec![1.0; 2]));
        gates.set(1, Gate::new(0.1, vec![1.0; 2]));
        let mut stream = Stream::new(plan.clone(), gates, f32::NAN);
        stream.input().0.fill(0.5);
        let mut runner = Runner::new(&plan, Kernels::best());
        runner.run(&mut stream, 0.0);
        let Picture { numbers: map, changed, sizes: deltas } = stream.picture();
        map[(4 * 9 + 4) * 2..][..2].iter_mut().for_each(|v| *v += change);
        changed.clear();
        changed.set(4, 4);
        deltas.add(4, 4, 2.0 * change * change);
        assert_eq!(runner.run(&mut stream, 0.0).cells, at_once, "a change of {change}");
        let standing = |stream: &Stream, y| stream.standing(b.0 as usize, y, 4).unwrap();
        let is_as_expected = match standing(&stream, 4) {
            Standing::UpToDate => at_once > 1,
            Standing::Deferred { pending, threshold } => later > 0 && 0.0 < pending && pending <= threshold,
            Standing::Held { pending, threshold } => at_once + later == 1 && 0.0 < pending && pending <= threshold,
            Standing::NotRequired => false,
        };
        assert!(is_as_expected, "a change of {change}: {:?}", standing(&stream, 4));
        assert_eq!(standing(&stream, 0), Standing::UpToDate, "out of reach");
        assert_eq!(stream.standing(picture.0 as usize, 4, 4), None, "the picture is not computed");
        stream.input().1.clear();
        let found: u64 = (0..50).map(|_| runner.run(&mut stream, 0.0).cells).sum();
        assert_eq!(found, later, "a change of {change}");
        assert_eq!(standing(&stream, 4) == Standing::UpToDate, at_once + later > 1, "a change of {change}");
        let picture = stream.input().0.to_vec();
        let wanted = outputs(&whole(&plan, Kernels::best(), &picture));
        assert_eq!(outputs(&stream) == wanted, at_once + later > 1, "a change of {change}");
        runner.run(&mut stream, 1.0);
        assert_eq!(outputs(&stream), wanted, "a change of {change}");
    }
}

/// Many small changes of one cell are one great change.
#[test]
fn what_waits_adds_up() {
    let mut n_waited = 0;
    for seed in 0..PYRAMIDS {
        let (mut random, graph, plan) = planned(seed);
        let s = graph.shape(graph.input);
        let mut stream = Stream::new(plan.clone(), Gates::rising(&plan, &rising(0.3, 0.3)), f32::NAN);
        stream.input().0.copy_from_slice(&graphs::picture(&mut random, s));
        let mut runner = Runner::new(&plan, Kernels::best());
        runner.run(&mut stream, 0.0);
        let (y, x) = (s.h / 2, s.w / 2);
        let mut first = None;
        for frame in 0..200 {
            let Picture { numbers: map, changed, sizes: deltas } = stream.picture();
            let cell = &mut map[(y * s.w + x) * s.c..][..s.c];
            cell.iter_mut().for_each(|v| *v += 0.01);
            changed.clear();
            changed.set(y, x);
            deltas.add(y, x, 0.01 * 0.01 * s.c as f32);
            if runner.run(&mut stream, 0.0).cells > 0 {
                first.get_or_insert(frame);
            }
        }
        let reached = first.is_some();
        // A window may step over the cell, a stride past it.
        let picture = stream.input().0.to_vec();
        let seen = outputs(&whole(&plan, Kernels::best(), &picture)) != outputs(&stream);
        assert!(reached || !seen, "seed {seed}: a change of 2 was never computed");
        n_waited += u32::from(first.is_some_and(|frame| frame > 0));
    }
    assert!(n_waited > 25, "{n_waited} graphs waited");
}

#[test]
fn a_tolerance_of_two_is_a_threshold_of_twice_as_much() {
    for seed in CASES {
        let (mut random, graph, plan) = planned(seed);
        let picture = graphs::picture(&mut random, graph.shape(graph.input));
        let stream = |thresholds: (f32, f32)| {
            let mut stream =
                Stream::new(plan.clone(), Gates::rising(&plan, &rising(thresholds.0, thresholds.1)), f32::NAN);
            stream.input().0.copy_from_slice(&picture);
            Runner::new(&plan, Kernels::best()).run(&mut stream, 0.0);
            stream
        };
        let (mut eased, mut wide) = (stream((0.1, 0.2)), stream((0.2, 0.4)));
        eased.tolerance_mut().fill([32, 32], 2.0);
        // In the first frame only: what is deferred later depends on the tolerance in another way.
        let mut runner = Runner::new(&plan, Kernels::best());
        let at = random.u64(..);
        for stream in [&mut eased, &mut wide] {
            change(&mut Rng::with_seed(at), graph.shape(graph.input), stream, 0.5);
        }
        let counts = |c: Counters| (c.reached_macs, c.executed_macs, c.cells);
        assert_eq!(counts(runner.run(&mut eased, 0.1)), counts(runner.run(&mut wide, 0.1)), "seed {seed}");
        assert_eq!(outputs(&eased), outputs(&wide), "seed {seed}");
    }
}

#[test]
#[should_panic(expected = "changes of the stream's picture")]
fn a_change_set_of_another_picture_is_no_change_set() {
    let (mut random, graph, plan) = planned(0);
    let s = graph.shape(graph.input);
    let mut stream = whole(&plan, Kernels::best(), &graphs::picture(&mut random, s));
    *stream.input().1 = ChangeSet::new(s.h + 9, s.w + 9);
    Runner::new(&plan, Kernels::best()).run(&mut stream, 0.0);
}

#[test]
#[should_panic(expected = "decide")]
fn channels_that_are_not_there_decide_nothing() {
    let plan = headed(&mut Rng::with_seed(0));
    let all = plan.outputs[0].parts[0].base.0 as usize;
    let _ = plan.given(&[Condition { deciding: (all, vec![12]), counting: vec![all] }]);
}

/// The steps' weights, and the picture, of a graph in which some convolutions have half their weights and biases.
fn halved(graph: &mut Graph, plan: &Plan, random: &mut Rng) -> (Weights, usize) {
    let mut halves = Vec::new();
    for node in &mut graph.nodes {
        let step = plan.maker(node.output.0 as usize);
        let convs = match &mut node.op {
            Op::Conv(conv) => vec![&mut **conv],
            Op::Separable(pair) => vec![&mut pair.depthwise, &mut pair.pointwise],
            _ => continue,
        };
        let Some(step) = step.filter(|_| random.bool()) else { continue };
        for conv in convs {
            conv.weights.iter_mut().chain(&mut conv.bias).for_each(|w| *w *= 0.5);
        }
        for (part, packed) in plan.weights().of(step).iter().enumerate() {
            let half = |values: &[f32]| values.iter().map(|w| w * 0.5).collect::<Vec<f32>>();
            halves.push((step, part, half(&packed.unpacked()), half(packed.bias())));
        }
    }
    let changes = halves.iter().map(|(step, part, weights, bias)| Change { step: *step, part: *part, weights, bias });
    (plan.weights().with(changes).unwrap(), halves.len())
}

#[test]
fn weights_are_replaced_in_one_stream_while_others_run_on() {
    let mut n_replaced = 0;
    for seed in CASES {
        let (mut random, graph, plan) = planned(seed);
        let s = graph.shape(graph.input);
        let picture = graphs::picture(&mut random, s);
        let [mut replaced, mut other] = [(); 2].map(|()| whole(&plan, Kernels::best(), &picture));
        let mut half = graph.clone();
        let (weights, n) = halved(&mut half, &plan, &mut random);
        n_replaced += n;
        replaced.set_weights(Arc::new(weights));
        assert_eq!((replaced.weights().version(), other.weights().version()), (1, 0));
        let at = random.u64(..);
        for (stream, graph) in [(&mut replaced, &half), (&mut other, &graph)] {
            change(&mut Rng::with_seed(at), s, stream, 1.0);
            Runner::new(&plan, Kernels::best()).run(stream, 0.0);
            let wanted = oracle::run(graph, stream.input().0);
            for output in &graph.outputs {
                let map = output.parts[0].base;
                let off = |(a, b): (&f32, &f32)| (a - b).abs() / (1.0 + b.abs());
                let worst = stream.map(map.0 as usize).iter().zip(wanted.get(map)).map(off).fold(0.0, f32::max);
                assert!(worst < 1e-5, "seed {seed}, version {}: {worst}", stream.weights().version());
            }
        }
    }
    assert!(n_replaced > 500, "{n_replaced} weights were replaced");
}

#[test]
fn a_runner_runs_only_streams_that_its_scratch_is_enough_for() {
    let (small, large) = (planned(0).2, planned(19).2);
    let (needs_more, others) = match small.max_channels < large.max_channels {
        true => (large, small),
        false => (small, large),
    };
    let mut stream = Stream::new(needs_more.clone(), Gates::exact(&needs_more), 0.0);
    let mut runner = Runner::new(&others, Kernels::best());
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runner.run(&mut stream, 0.0)));
    assert!(ran.is_err(), "{} channels in scratch for {}", needs_more.max_channels, others.max_channels);
    let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stream.set_weights(others.weights().clone())));
    assert!(taken.is_err(), "weights of another plan");
}

#[test]
fn maps_that_are_kept_stay_and_hold_what_they_held() {
    let mut n_kept = 0;
    for seed in CASES {
        let mut random = Rng::with_seed(seed);
        let mut graph = graphs::graph(&mut random, 4 + seed as usize % 20);
        graph.keep_all();
        let plan = Arc::new(Plan::new(graph.clone()).unwrap());
        let picture = graphs::picture(&mut random, graph.shape(graph.input));
        let stream = whole(&plan, Kernels::best(), &picture);
        let wanted = oracle::run(&graph, &picture);
        for map in graph.kept.iter().map(|v| v.0 as usize) {
            let off = |(a, b): (&f32, &f32)| (a - b).abs() / (1.0 + b.abs());
            let found = stream.map(map);
            let worst = found.iter().zip(wanted.get(ValueId(map as u32))).map(off).fold(0.0, f32::max);
            assert!(worst < 1e-4, "seed {seed}, {}: {worst}", plan.maps[map].name);
            n_kept += 1;
        }
    }
    assert!(n_kept > 3000, "{n_kept} maps");
}

#[test]
fn a_map_that_alone_is_kept_is_found_by_its_name_whatever_is_rewritten() {
    let mut n_renumbered = 0;
    for seed in CASES {
        let mut random = Rng::with_seed(seed);
        let mut graph = graphs::graph(&mut random, 4 + seed as usize % 20);
        let kept = graph.nodes[random.usize(..graph.nodes.len())].output;
        graph.kept = vec![kept];
        let name = graph.name(kept).to_owned();
        let picture = graphs::picture(&mut random, graph.shape(graph.input));
        let mut rewritten = graph.clone();
        passes::optimise(&mut rewritten).unwrap();
        // Twice: what one run leaves is a graph like any other.
        passes::optimise(&mut rewritten).unwrap();
        assert_eq!(rewritten.name(rewritten.kept[0]), name, "seed {seed}");
        n_renumbered += usize::from(rewritten.kept[0] != kept);
        let (wanted, found) = (oracle::run(&graph, &picture), oracle::run(&rewritten, &picture));
        let off = |(a, b): (&f32, &f32)| (a - b).abs() / (1.0 + b.abs());
        let pairs = wanted.get(kept).iter().zip(found.get(rewritten.kept[0]));
        let worst = pairs.map(off).fold(0.0, f32::max);
        assert!(worst < 1e-4, "seed {seed}, {name}: {worst}");
    }
    assert!(n_renumbered > 10, "{n_renumbered} of them have another number");
}

#[test]
fn with_real_gates_the_error_does_not_grow_over_10000_frames() {
    let (mut random, graph, plan) = (1000..)
        .map(planned)
        .find(|(_, g, _)| {
            let convs = g.nodes.iter().filter(|n| n.op.name() == "conv").count();
            convs >= 4 && g.shape(g.input).n_cells() > 200
        })
        .unwrap();
    let s = graph.shape(graph.input);
    let mut stream = Stream::new(plan.clone(), Gates::rising(&plan, &rising(0.06, 0.2)), f32::NAN);
    stream.input().0.copy_from_slice(&graphs::picture(&mut random, s));
    let mut runner = Runner::new(&plan, Kernels::best());
    let mut errors = Vec::new();
    for frame in 0..10_000 {
        change(&mut random, s, &mut stream, 0.3);
        // Back towards the middle, or the picture would wander off.
        stream.input().0.iter_mut().for_each(|v| *v = v.clamp(-2.0, 2.0));
        runner.run(&mut stream, 0.01);
        if frame % 250 == 249 {
            let picture = stream.input().0.to_vec();
            let wanted = whole(&plan, Kernels::best(), &picture);
            let error = |o: usize| {
                let (a, b) = (stream.map(o), wanted.map(o));
                let n = a.len() as f64;
                a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / n
            };
            errors.push(plan.outputs.iter().map(|o| error(o.parts[0].base.0 as usize)).sum::<f64>());
        }
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (early, late) = (mean(&errors[..10]), mean(&errors[30..]));
    assert!(early > 0.0, "the gates hold something back");
    assert!(late < 1.5 * early, "error {early} at first, {late} at last");
}
