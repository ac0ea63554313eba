//! The web page in a real browser, of a real daemon.

mod common;

use common::browser::Browser;
use common::service::Service;
use common::{get, request, wait_for};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Where screenshots are left to be looked at.
fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.png"))
}

#[track_caller]
fn until(browser: &Browser, expression: &str) -> Value {
    wait_for(expression, LONG, || Some(browser.eval(expression)).filter(|v| !v.is_null() && *v != Value::Bool(false)))
}

const CONFIG: &str = "[cameras.street]\nsource = \"sim://street?seed=3&fps=10&traffic=2\"\n\
    zones.all = { polygon = [[0, 0], [1, 0], [1, 1], [0, 1]] }\n\
    [cameras.yard]\nsource = \"sim://street?seed=8&fps=10&size=320x192\"\n\
    [cameras.gate]\nsource = \"rtsp://admin:hunter2@127.0.0.1:9/cam\"\ndetector.model = \"anything\"\n\
    [events]\npath = \"{dir}/events\"\n[http]\nlisten = \"{http}\"\n";

#[test]
fn the_page_shows_moving_boxes_and_survives_a_restart() {
    let mut service = Service::start(CONFIG, None);
    service.wait_told("READY=1");
    let address = format!("http://{}/", service.http);
    let browser = Browser::start();
    browser.open(&address);
    until(&browser, "document.querySelectorAll('article.camera').length === 3");

    // Boxes that move, drawn over frames that go on.
    let boxes = "[...document.querySelectorAll('[data-id=street] .boxes rect')].map(r => r.getAttribute('x')).join()";
    let first = until(&browser, &format!("{boxes} || null"));
    wait_for("boxes that move", LONG, || Some(browser.eval(boxes)).filter(|now| *now != first && *now != ""));
    let shown = |camera: &str| browser.eval(&format!("+document.querySelector('[data-id={camera}]').dataset.frame"));
    let before = shown("street").as_f64().unwrap();
    wait_for("more frames", LONG, || shown("street").as_f64().filter(|n| *n > before + 5.0));
    let lit = "(() => { const c = document.querySelector('[data-id=street] .picture'); \
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
        return new Set(d).size; })()";
    assert!(browser.eval(lit).as_u64().unwrap() > 50, "a picture, not a black screen");

    // Overlays.
    assert_eq!(browser.eval("document.querySelector('[data-id=street] .patches').hidden"), true);
    browser.eval("document.querySelector('[name=patches]').click()");
    browser.eval("document.querySelector('[name=tracks]').click()");
    let tints = "(() => { const c = document.querySelector('[data-id=street] .patches'); if (c.hidden) return null; \
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
        return [c.width, c.height, d.filter((v, i) => i % 4 === 1 && v > 150).length]; })()";
    let tints = until(&browser, tints);
    assert_eq!((&tints[0], &tints[1]), (&80.into(), &48.into()), "patches of 8 pixels");
    until(&browser, "document.querySelector('[data-id=street] .boxes polyline')?.getAttribute('points')");

    // What was saved, events, health, config.
    let saved = until(&browser, "document.querySelector('[data-id=street] .plot-title').textContent || null");
    assert!(saved.as_str().unwrap().starts_with("compute saved in the last 10 minutes: "), "{saved}");
    let crop = "[...document.querySelectorAll('#events img')].some(i => i.complete && i.naturalWidth > 4)";
    until(&browser, crop);
    browser
        .eval("[...document.querySelectorAll('#events img')].find(i => i.naturalWidth > 4).closest('button').click()");
    until(
        &browser,
        "document.querySelector('dialog').open && document.querySelector('dialog img').naturalWidth === 640",
    );
    browser.screenshot(&picture("event"));
    browser.eval("document.querySelector('dialog button').click()");
    until(&browser, "document.querySelector('[data-id=gate] .state').textContent === 'backing off'");
    let opacity = |camera: &str| {
        browser.eval(&format!("getComputedStyle(document.querySelector('[data-id={camera}] .picture')).opacity"))
    };
    assert_eq!((opacity("street"), opacity("gate")), ("1".into(), "0.45".into()), "what is not live looks so");
    browser.eval("document.querySelector('#config summary').click()");
    let config = until(&browser, "document.querySelector('#config pre').textContent || null");
    let config = config.as_str().unwrap();
    assert!(config.contains("[cameras.yard]") && config.contains("nms_iou = 0.5"), "{config}");
    let text = browser.eval("document.documentElement.outerHTML");
    assert!(!text.as_str().unwrap().contains("hunter2"));
    browser.eval("document.querySelector('#config summary').click()");
    browser.screenshot(&picture("desktop"));

    // A file that cannot be taken over is told.
    service.rewrite(&CONFIG.replace("[events]", "[evnts]"));
    service.process.signal("HUP");
    let trouble = until(
        &browser,
        "document.querySelector('#trouble').hidden ? null : document.querySelector('#trouble pre').textContent",
    );
    assert!(trouble.as_str().unwrap().contains("did you mean 'events'"), "{trouble}");
    service.rewrite(CONFIG);
    service.process.signal("HUP");
    until(&browser, "document.querySelector('#trouble').hidden");

    // Nothing comes from elsewhere, and nobody complains.
    let resources = browser.eval("performance.getEntriesByType('resource').map(r => r.name)");
    assert!(resources.as_array().unwrap().iter().all(|r| r.as_str().unwrap().starts_with(&address)), "{resources}");
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");

    // The daemon goes and comes back: the page says so, and goes on.
    service.process.signal("TERM");
    service.wait_end();
    until(&browser, "!document.querySelector('#lost').hidden");
    let again = service.restart();
    again.wait_told("READY=1");
    until(&browser, "document.querySelector('#lost').hidden");
    let before = shown("street").as_f64().unwrap();
    wait_for("frames of the new one", LONG, || shown("street").as_f64().filter(|n| *n != before));

    // On a phone nothing is wider than the screen, and what is to be touched is large enough.
    browser.be_a_phone(390, 844);
    browser.open(&address);
    until(&browser, "document.querySelectorAll('[data-id=street] .boxes rect').length > 0");
    assert!(browser.eval("document.scrollingElement.scrollWidth").as_u64().unwrap() <= 390);
    let small = browser.eval("[...document.querySelectorAll('button, select, #overlays label')].filter(e => e.offsetParent && e.getBoundingClientRect().height < 30).map(e => e.outerHTML)");
    assert_eq!(small.as_array().map(Vec::len), Some(0), "{small}");
    browser.screenshot(&picture("phone"));
}

#[test]
fn who_has_no_token_sees_nothing() {
    const TOKEN: &str = "correct-horse-battery";
    let config = format!("{CONFIG}token = \"{TOKEN}\"\n");
    let service = Service::start(&config, None);
    service.wait_told("READY=1");
    let http = service.http;
    for path in ["/metrics", "/api/cameras", "/api/config", "/api/cameras/street/latest.jpg", "/api/events", "/nothing"]
    {
        assert_eq!(get(http, path).0, 401, "{path}");
    }
    for path in ["/live", "/ready", "/startup", "/", "/page.js", "/learn.js"] {
        assert!([200, 503].contains(&get(http, path).0), "{path}");
    }
    let ask = |headers: &str| request(http, "GET", "/api/cameras", headers, b"").0;
    assert_eq!(ask(&format!("Authorization: Bearer {TOKEN}\r\n")), 200);
    assert_eq!(ask(&format!("Authorization: Bearer {TOKEN}x\r\n")), 401);
    assert_eq!(ask(&format!("Cookie: passd={TOKEN}\r\n")), 401, "the cookie is not the token");
    assert_eq!(request(http, "POST", "/login", "", b"something else").0, 403);
    assert_eq!(request(http, "POST", "/login", "", &[b'x'; 100_000]).0, 413);
    let (status, head, _) = request(http, "POST", "/login", "", TOKEN.as_bytes());
    assert!(
        status == 204 && head.contains("HttpOnly") && head.contains("SameSite=Strict") && !head.contains(TOKEN),
        "{head}"
    );

    // What changes something needs the token as well, and no page from elsewhere.
    let mark = |headers: &str| request(http, "POST", "/api/marks", headers, br#"{"said":"right","event":"1"}"#);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(mark("").0, 401);
    assert_eq!(mark(&format!("{bearer}Origin: http://evil.example\r\n")).0, 403);
    assert_eq!(mark(&format!("{bearer}Sec-Fetch-Site: same-site\r\n")).0, 403);
    let (status, _, body) = mark(&format!("{bearer}Origin: http://{http}\r\nContent-Type: application/json\r\n"));
    assert!(status == 404 && String::from_utf8_lossy(&body).contains("nothing is learned here"), "{status}");
    assert_eq!(request(http, "DELETE", "/api/cameras", &bearer, b"").0, 405);

    let browser = Browser::start();
    browser.open(&format!("http://{http}/"));
    until(
        &browser,
        "!document.querySelector('#login').hidden && document.querySelector('main').hidden && document.querySelector('#overlays').hidden",
    );
    let send = |token: &str| {
        browser.eval(&format!("(() => {{ document.querySelector('#login [name=token]').value = '{token}'; document.querySelector('#login button').click() }})()"));
    };
    send("a wrong one");
    until(&browser, "document.querySelector('#login .bad').textContent === 'That is not the token.'");
    browser.screenshot(&picture("login"));
    send(TOKEN);
    until(&browser, "document.querySelectorAll('[data-id=street] .boxes rect').length > 0");
    assert_eq!(browser.eval("document.querySelector('#login').hidden"), true);
}
