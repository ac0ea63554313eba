//! Trains layers of a network: from an engine's graph, pictures' maps and losses' gradients to new weights.
//!
//! ```text
//! Graph (activations fused, nothing else) -> TrainPlan: what is computed forwards, which maps need a gradient   once a model
//!                                             |
//! sources' maps -> forward -> outputs' maps -> a loss, somebody else's -> its gradients -> backward        every step
//!                                                                          |
//!                                              Gradients -> optimiser -> Params -> Graph -> engine's Weights
//! ```
//!
//! In: maps of a batch of pictures, from the picture itself or from any map on the way. Out: the outputs' maps, and the
//! gradient of each trained number. The [`int8::Int8Trainer`] computes in eight bits, the [`float::FloatTrainer`], which it is
//! held to, in `f32`. Pure: no clock, file or log; threads are those of the rayon pool in which it is called, and any number of
//! them gives the same bits.

pub mod batch;
pub mod cut;
pub mod ends;
pub mod float;
pub mod geometry;
pub mod int8;
pub mod optimise;
pub mod params;
pub mod plan;
pub mod trainer;
