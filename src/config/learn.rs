//! Learning as the config has it, checked and completed: which cameras learn, and which of them together.

use super::checks::{Complain, check_name, within};
use super::file::File;
use super::state::state_directory;
use crate::geom::Size;
use crate::learn::settings::{GroupSettings, LearnCamera, LearnMode, LearnSettings, TeacherSpec};
use std::time::Duration;

/// Who learns, and what all of them keep to.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnConfig {
    pub settings: LearnSettings,
    pub groups: Vec<GroupSettings>,
}

/// What counts of a camera that may learn.
#[derive(Debug, Clone, Copy)]
pub struct Learns<'a> {
    pub id: &'a str,
    pub masks: &'a [Vec<[f32; 2]>],
    pub model: &'a str,
    pub size: Option<Size>,
    pub score: f32,
}

/// `None`: no camera learns.
pub fn resolve(file: &File, cameras: Vec<Learns<'_>>, complain: Complain<'_>) -> Option<LearnConfig> {
    let l = &file.learn;
    within(l.daily, 1.0, 86_400.0, "learn.daily".into(), complain);
    within(l.share, 0.01, 1.0, "learn.share".into(), complain);
    within(l.max_mib, 16, 1 << 20, "learn.max_mib".into(), complain);
    within(l.max_days, 0.01, 36_500.0, "learn.max_days".into(), complain);
    within(l.every, 1.0, 86_400.0, "learn.every".into(), complain);
    within(l.steps, 10, 100_000, "learn.steps".into(), complain);
    within(l.quiet, 0.0, 86_400.0, "learn.quiet".into(), complain);
    let teacher = l.teacher.as_ref().and_then(|text| match text.parse::<TeacherSpec>() {
        Ok(teacher) => Some(teacher),
        Err(e) => {
            complain("learn.teacher", e);
            None
        }
    });
    let mut groups: Vec<GroupSettings> = Vec::new();
    for (id, table) in &file.cameras {
        let key = format!("cameras.{id}.learn.group");
        if let Some(group) = &table.learn.group {
            check_name(group, &key, complain);
        }
        let mode = table.learn.mode.or(l.mode).unwrap_or_default();
        let Some(camera) = cameras.iter().find(|c| c.id == *id).filter(|_| mode != LearnMode::Off) else { continue };
        let name = table.learn.group.clone().unwrap_or_else(|| id.clone());
        let learner = LearnCamera { id: id.clone(), masks: camera.masks.to_vec() };
        let (model, size, score) = (camera.model.to_owned(), camera.size, camera.score);
        match groups.iter_mut().find(|g| g.name == name) {
            Some(group) if (&group.model, group.size, group.mode) != (&model, size, mode) => {
                complain(&key, format!("cameras of group '{name}' have one model, one size and one learn.mode"));
            }
            Some(group) => {
                group.score = group.score.min(score);
                group.cameras.push(learner);
            }
            None => groups.push(GroupSettings { name, mode, model, size, score, cameras: vec![learner] }),
        }
    }
    if groups.is_empty() {
        return None;
    }
    if l.path.as_ref().is_some_and(|p| p.as_os_str().is_empty()) {
        complain("learn.path", "is empty; expected a folder".into());
    }
    let path = l.path.clone().or_else(|| Some(state_directory()?.join("learn")));
    let Some(path) = path else {
        complain("learn.path", "is not set, and there is no STATE_DIRECTORY; where shall marks and models go?".into());
        return None;
    };
    let seconds = |v: Option<f64>, or: f64| Duration::try_from_secs_f64(v.unwrap_or(or)).unwrap_or_default();
    let settings = LearnSettings {
        path,
        daily: seconds(l.daily, 600.0),
        share: l.share.unwrap_or(0.5),
        max_bytes: l.max_mib.unwrap_or(256).saturating_mul(1 << 20),
        max_age: seconds(l.max_days.map(|d| d * 86_400.0), 90.0 * 86_400.0),
        every: seconds(l.every, 60.0),
        n_steps: l.steps.unwrap_or(800),
        quiet: seconds(l.quiet, 20.0),
        teacher,
    };
    Some(LearnConfig { settings, groups })
}
