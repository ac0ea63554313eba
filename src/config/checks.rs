//! What several tables of the config are checked for.

use std::fmt;

/// Nanoseconds.
pub(super) fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

pub(super) type Complain<'a> = &'a mut dyn FnMut(&str, String);

/// Complains unless `value`, where there is one, is `lo..=hi`.
pub(super) fn within<T: PartialOrd + fmt::Display + Copy>(
    value: Option<T>,
    lo: T,
    hi: T,
    key: String,
    complain: Complain<'_>,
) {
    if let Some(v) = value
        && !(lo <= v && v <= hi)
    {
        complain(&key, format!("{v} is out of range; expected {lo} to {hi}"));
    }
}

/// The address without which an output is none; complains where the rest of its table is there and that is not.
pub(super) fn address_of<'a, T: Default + PartialEq>(
    key: &str,
    table: &T,
    address: Option<&'a str>,
    lacking: &str,
    complain: Complain<'_>,
) -> Option<&'a str> {
    if address.is_none() && *table != T::default() {
        complain(key, format!("lacks {lacking}"));
    }
    address
}

/// Names become parts of file names, topics and labels.
pub(super) fn check_name(name: &str, key: &str, complain: Complain<'_>) {
    if name.is_empty() || name.len() > 64 || !name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')) {
        complain(key, "names are up to 64 lower-case letters, digits, '-' and '_'".into());
    }
}
