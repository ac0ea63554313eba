//! The webhook of the config, checked and completed.

use super::checks::{Complain, address_of, within};
use super::file;
use crate::output::webhook::WebhookSettings;
use crate::scene::event::Phase;
use std::time::Duration;

pub fn resolve(w: &file::Webhook, complain: Complain<'_>) -> Option<WebhookSettings> {
    within(w.timeout, 0.1, 300.0, "webhook.timeout".into(), complain);
    let url = address_of("webhook", w, w.url.as_deref(), "the address to tell: url = \"https://host/path\"", complain)?;
    let parsed = url::Url::parse(url).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.host_str().is_some());
    let Some(parsed) = parsed else {
        complain("webhook.url", "expected an address such as https://host/path".into());
        return None;
    };
    if w.ca.is_some() && parsed.scheme() != "https" {
        complain("webhook.ca", "certificates are for https:// only".into());
    }
    if w.token.as_deref().is_some_and(|t| t.is_empty() || !t.chars().all(|c| c.is_ascii_graphic())) {
        complain("webhook.token", "expected letters, digits and signs without spaces".into());
    }
    if w.events.as_ref().is_some_and(Vec::is_empty) {
        complain("webhook.events", "expected at least one of new, update, end".into());
    }
    Some(WebhookSettings {
        url: url.to_owned(),
        token: w.token.clone(),
        ca: w.ca.clone(),
        phases: w.events.clone().unwrap_or_else(|| vec![Phase::New, Phase::Update, Phase::End]),
        timeout: Duration::try_from_secs_f64(w.timeout.unwrap_or(10.0)).unwrap_or_default(),
    })
}
