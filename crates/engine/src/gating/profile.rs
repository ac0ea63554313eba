//! A gate profile: the gates of one model, found by calibration, as a file.
//!
//! Gates are named by the map that they guard, so that a profile serves every
//! picture size of its model. It names the model's checksum and is refused for
//! any other.

use crate::gating::gate::{Gate, Gates};
use crate::gating::policy::Policy;
use crate::plan::program::Program;
use crate::plan::step::Step;

/// As written to `<model>.gates.toml`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of the model.
    pub model: String,
    /// Of its ONNX file.
    pub sha256: String,
    /// How a change is measured; `rms` is the only way so far.
    pub measure: String,
    /// Cells that are judged together; 1 is the only size so far.
    pub block: u32,
    /// How it was found: clips, target, agreement and cost. Free-form, never interpreted.
    pub found: Vec<String>,
    /// What is decided beside the gates; the defaults where it is not written.
    #[serde(default)]
    pub policy: Policy,
    pub gates: Vec<GateEntry>,
}

/// One gate.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateEntry {
    /// The map behind the gate.
    pub map: String,
    /// In units of the scales.
    pub threshold: f32,
    /// One a channel.
    pub scales: Vec<f32>,
}

/// Gates above this hold back whatever happens.
const MAX_THRESHOLD: f32 = 1e4;

impl Profile {
    /// Writes down gates whose scales are known. Exact ones are left out.
    pub fn of(program: &Program, gates: &Gates, model: &str, sha256: &str, found: Vec<String>) -> Self {
        let entry = |(step, gate): (&Step, &Gate)| {
            (!gate.is_exact()).then(|| GateEntry {
                map: program.maps[step.output].name.clone(),
                threshold: short(gate.threshold),
                scales: gate.scales.iter().map(|s| short(*s)).collect(),
            })
        };
        Self {
            model: model.into(),
            sha256: sha256.into(),
            measure: "rms".into(),
            block: 1,
            found,
            policy: gates.policy().clone(),
            gates: program.steps.iter().zip(gates.steps()).filter_map(entry).collect(),
        }
    }

    /// The gates for a program of the model. Steps that the profile does not name stay exact.
    ///
    /// # Errors
    /// Names the map whose gate does not fit.
    pub fn gates(&self, program: &Program) -> Result<Gates, String> {
        if self.measure != "rms" || self.block != 1 {
            return Err(format!("measure '{}' with blocks of {} is not known", self.measure, self.block));
        }
        self.policy.check()?;
        let mut gates = Gates::exact(program);
        gates.set_policy(&self.policy);
        for entry in &self.gates {
            let err = |what: String| Err(format!("gate of map '{}': {what}", entry.map));
            let Some(step) = program.steps.iter().position(|s| program.maps[s.output].name == entry.map) else {
                return err("the model has no such map".into());
            };
            let c = program.maps[program.steps[step].output].shape.c;
            if entry.scales.len() != c {
                return err(format!("{} scales for {c} channels", entry.scales.len()));
            }
            if !entry.scales.iter().all(|s| s.is_finite() && *s > 0.0) {
                return err("scales must be above 0".into());
            }
            if !(0.0..=MAX_THRESHOLD).contains(&entry.threshold) {
                return err(format!("a threshold of {}", entry.threshold));
            }
            if program.steps[step].is_gated {
                gates.set(step, Gate::new(entry.threshold, entry.scales.clone()));
            }
        }
        Ok(gates)
    }
}

/// To three digits: more say nothing.
fn short(v: f32) -> f32 {
    format!("{v:.2e}").parse().unwrap_or(v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import;
    use crate::plan::Plan;

    #[test]
    fn a_profile_comes_back_and_what_does_not_fit_is_named() {
        let graph = import::import(include_bytes!("../../../../models/street-nano.onnx"), 96, 160).unwrap();
        let plan = Plan::new(graph).unwrap();
        let mut gates = Gates::exact(&plan);
        let step = plan.steps.iter().position(|s| s.is_gated).unwrap();
        let c = plan.maps[plan.steps[step].output].shape.c;
        gates.set(step, Gate::new(0.25, vec![0.5; c]));
        let profile = Profile::of(&plan, &gates, "street-nano", "00", Vec::new());
        assert_eq!(profile.gates(&plan).unwrap(), gates);
        let check = |edit: &dyn Fn(&mut Profile), words: &str| {
            let mut other = profile.clone();
            edit(&mut other);
            let error = other.gates(&plan).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        check(&|p| p.gates[0].map = "nowhere".into(), "'nowhere': the model has no such map");
        check(&|p| p.gates[0].scales.truncate(1), "1 scales for");
        check(&|p| p.gates[0].scales[0] = 0.0, "above 0");
        check(&|p| p.gates[0].threshold = f32::NAN, "a threshold of NaN");
        check(&|p| p.block = 2, "blocks of 2");
        check(&|p| p.policy.deferred.share = 7.0, "policy.deferred.share is 7");
        check(&|p| p.policy.tolerance.most = f32::NAN, "policy.tolerance.most is NaN");
        check(&|p| p.policy.deferred.frames = 0, "policy.deferred.frames is 0");
    }
}
