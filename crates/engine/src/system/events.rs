//! `GET /events`.

use api::event::Event;
use api::filters::Filters;

use crate::{Engine, EventStream, Result};

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventsOptions {
    /// Nanoseconds since the epoch; `None`: from now on.
    pub since: Option<i64>,
    /// `None`: without end.
    pub until: Option<i64>,
    pub filters: Filters,
}

/// Subscribes to events.
pub fn events(engine: &Engine, options: EventsOptions) -> Result<EventStream> {
    let EventsOptions { since, until, filters } = options;
    filters.check(&[
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    ])?;
    // With only an end in the past, what is kept is told.
    let now = i64::try_from(logs::time::now_ns()).unwrap_or(i64::MAX);
    let since = since.or_else(|| until.filter(|until| *until <= now).map(|_| 0));
    Ok(engine.events.subscribe(since, until, move |event| matches(&filters, event)))
}

fn matches(filters: &Filters, event: &Event) -> bool {
    let attributes = &event.actor.attributes;
    // By id, its beginning, or name; only events of that kind of object pass.
    let object = |key: &str, kind: &str| {
        !filters.contains(key)
            || (event.kind == kind
                && filters.matches(key, |wanted| {
                    event.actor.id.starts_with(wanted) || attributes.get("name").is_some_and(|name| name == wanted)
                }))
    };
    let image = || {
        filters.matches("image", |wanted| {
            let of_container = attributes.get("image").is_some_and(|image| same_image(image, wanted));
            let of_image = event.kind == "image"
                && (same_image(&event.actor.id, wanted)
                    || attributes.get("name").is_some_and(|name| same_image(name, wanted)));
            of_container || of_image
        })
    };
    // `exec_start` matches `exec_start: ls`, `health_status` matches `health_status: healthy`.
    let action = |wanted: &str| {
        let head = event.action.split(':').next().unwrap_or_default();
        event.action == wanted || (matches!(wanted, "exec_create" | "exec_start" | "health_status") && head == wanted)
    };
    filters.matches("event", action)
        && filters.matches_exactly("type", &event.kind)
        && filters.matches_exactly("scope", &event.scope)
        && filters.matches_labels("label", attributes)
        && object("container", "container")
        && object("network", "network")
        && object("volume", "volume")
        && object("daemon", "daemon")
        && ["config", "node", "plugin", "secret", "service"].iter().all(|key| !filters.contains(key))
        && image()
}

/// With the tag, or without it.
fn same_image(name: &str, wanted: &str) -> bool {
    name == wanted || name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':') || rest.starts_with('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_events() {
        let event = Event {
            kind: "container".into(),
            action: "exec_start: ls".into(),
            scope: "local".into(),
            actor: api::event::Actor {
                id: "abcdef".into(),
                attributes: [("name", "web".to_owned()), ("image", "httpd:2".to_owned()), ("tier", "x".to_owned())]
                    .into_iter()
                    .collect(),
            },
            ..Event::default()
        };
        for (filter, expected) in [
            ("", true),
            (r#"{"event":["exec_start"]}"#, true),
            (r#"{"event":["start"]}"#, false),
            (r#"{"container":["web"]}"#, true),
            (r#"{"container":["abc"]}"#, true),
            (r#"{"container":["other"]}"#, false),
            (r#"{"image":["httpd"]}"#, true),
            (r#"{"image":["http"]}"#, false),
            (r#"{"type":["image"]}"#, false),
            (r#"{"label":["tier=x"]}"#, true),
            (r#"{"volume":["v"]}"#, false),
        ] {
            assert_eq!(matches(&Filters::parse(filter).unwrap(), &event), expected, "{filter}");
        }
    }
}
