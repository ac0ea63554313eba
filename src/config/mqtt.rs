//! The broker of the config, checked and completed.

use super::checks::{Complain, address_of};
use super::file;
use crate::output::mqtt::MqttSettings;

pub fn resolve(m: &file::Mqtt, complain: Complain<'_>) -> Option<MqttSettings> {
    let url = address_of("mqtt", m, m.url.as_deref(), "the broker: url = \"mqtt://host:1883\"", complain)?;
    let parsed = url::Url::parse(url).ok().filter(|u| matches!(u.scheme(), "mqtt" | "mqtts"));
    let Some((parsed, host)) = parsed.and_then(|u| Some((u.clone(), u.host_str()?.to_owned()))) else {
        complain("mqtt.url", "expected an address such as mqtt://host:1883 or mqtts://host".into());
        return None;
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        complain("mqtt.url", "name and password belong into mqtt.username and mqtt.password".into());
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
        complain("mqtt.url", "expected nothing after the port".into());
    }
    let tls = parsed.scheme() == "mqtts";
    if m.ca.is_some() && !tls {
        complain("mqtt.ca", "certificates are for mqtts:// only".into());
    }
    if m.password.is_some() && m.username.is_none() {
        complain("mqtt.password", "needs a mqtt.username".into());
    }
    let prefix = m.prefix.clone().unwrap_or_else(|| "passd".into());
    let discovery = m.discovery_prefix.clone().unwrap_or_else(|| "homeassistant".into());
    for (key, topic) in [("mqtt.prefix", &prefix), ("mqtt.discovery_prefix", &discovery)] {
        let bad = |c: char| c.is_control() || matches!(c, '#' | '+' | '$') || c.is_whitespace();
        if topic.is_empty()
            || topic.len() > 128
            || topic.contains(bad)
            || topic.starts_with('/')
            || topic.ends_with('/')
        {
            complain(key, "expected a part of a topic, without '#', '+', '$', spaces and outer '/'".into());
        }
    }
    let client_id = m.client_id.clone().unwrap_or_else(|| format!("passd-{}", host_name()));
    if client_id.is_empty() || client_id.len() > 128 {
        complain("mqtt.client_id", "expected 1 to 128 letters".into());
    }
    Some(MqttSettings {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: parsed.port().unwrap_or(if tls { 8883 } else { 1883 }),
        tls,
        ca: m.ca.clone(),
        login: m.username.clone().map(|user| (user, m.password.clone().unwrap_or_default())),
        client_id,
        prefix,
        discovery: m.discovery.unwrap_or(true).then_some(discovery),
    })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect()
}
