//! What a user asks for, filled up with what the image brings. Pure; Docker's rules.

use api::container::{Config, HealthConfig};
use oci::image::ContainerConfig as Image;

use crate::{Error, Result};

/// The container's configuration: the user's word first, the image's where the user said nothing.
pub(crate) fn merge(mut user: Config, image: &Image) -> Result<Config> {
    if user.user.is_empty() {
        user.user.clone_from(&image.user);
    }
    for port in image.exposed_ports.iter().flatten() {
        user.exposed_ports.entry(port.clone()).or_default();
    }
    for path in image.volumes.iter().flatten() {
        user.volumes.entry(path.clone()).or_default();
    }
    // The user's variables, then those of the image that the user did not set.
    let set: Vec<String> = user.env.iter().map(|variable| key(variable).to_owned()).collect();
    let inherited = image.env.iter().flatten().filter(|variable| !set.iter().any(|name| name == key(variable)));
    user.env.extend(inherited.cloned());
    for (name, value) in image.labels.iter().flatten() {
        user.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if user.entrypoint.is_empty() {
        if user.cmd.is_empty() {
            user.cmd.0 = image.cmd.clone().map(Into::into).unwrap_or_default();
        }
        // `[]` says "none"; only `null` takes the image's.
        if user.entrypoint.is_null() {
            user.entrypoint.0 = image.entrypoint.clone().map(Into::into).unwrap_or_default();
        }
    }
    if matches!(user.entrypoint.as_slice(), [only] if only.is_empty()) {
        user.entrypoint.0 = Default::default();
    }
    if user.entrypoint.is_empty() && user.cmd.is_empty() {
        return Err(Error::invalid("no command specified"));
    }
    if user.working_dir.is_empty() {
        user.working_dir.clone_from(&image.working_dir);
    }
    if user.stop_signal.is_empty() {
        user.stop_signal.clone_from(&image.stop_signal);
    }
    if user.stop_timeout.is_none() {
        user.stop_timeout = image.stop_timeout;
    }
    if user.shell.is_empty() {
        user.shell.0 = image.shell.clone().map(Into::into).unwrap_or_default();
    }
    if let Some(probe) = &image.healthcheck {
        let given = user.healthcheck.get_or_insert_with(HealthConfig::default);
        if given.test.is_empty() {
            given.test = probe.test.clone().into();
        }
        for (given, inherited) in [
            (&mut given.interval, probe.interval),
            (&mut given.timeout, probe.timeout),
            (&mut given.start_period, probe.start_period),
            (&mut given.start_interval, probe.start_interval),
            (&mut given.retries, probe.retries),
        ] {
            if *given == 0 {
                *given = inherited;
            }
        }
    }
    Ok(user)
}

fn key(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(key, _)| key)
}

/// Variables of a process: `base`, then each of `given` in the place of the one with its name, or at the end. A name
/// without `=` removes it.
pub(crate) fn overlay_env(mut base: Vec<String>, given: &[String]) -> Vec<String> {
    for variable in given {
        let found = base.iter().position(|present| key(present) == key(variable));
        match (found, variable.contains('=')) {
            (Some(at), true) => base[at].clone_from(variable),
            (None, true) => base.push(variable.clone()),
            (Some(at), false) => {
                base.remove(at);
            }
            (None, false) => {}
        }
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        serde_json::from_str(
            r#"{"User":"www","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","A=image"],"Cmd":["serve"],
                "Volumes":{"/data":{}},"WorkingDir":"/srv","Entrypoint":["/start"],"Labels":{"a":"image","b":"image"},
                "StopSignal":"SIGQUIT","Healthcheck":{"Test":["CMD","probe"],"Interval":5,"Retries":2}}"#,
        )
        .unwrap()
    }

    /// The merged configuration, without keys that have Go's zero value.
    fn check(user: &str, expected: &str) {
        let merged = merge(serde_json::from_str(user).unwrap(), &image()).unwrap();
        let mut json = serde_json::to_value(&merged).unwrap();
        json.as_object_mut().unwrap().retain(|_, value| {
            !matches!(value, serde_json::Value::Null | serde_json::Value::Bool(false))
                && *value != serde_json::json!("")
        });
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(expected).unwrap(), "{user}");
    }

    #[test]
    fn golden() {
        let rest = r#""ExposedPorts":{"80/tcp":{}},"Volumes":{"/data":{}},"StopSignal":"SIGQUIT",
            "Healthcheck":{"Test":["CMD","probe"],"Interval":5,"Retries":2}"#;
        check(
            "{}",
            &format!(
                r#"{{"User":"www","Env":["PATH=/bin","A=image"],"Cmd":["serve"],"Entrypoint":["/start"],
                    "WorkingDir":"/srv","Labels":{{"a":"image","b":"image"}},{rest}}}"#
            ),
        );
        check(
            r#"{"User":"me","Env":["B=1","A=user"],"Cmd":["x"],"WorkingDir":"/w","Labels":{"a":"user"}}"#,
            &format!(
                r#"{{"User":"me","Env":["B=1","A=user","PATH=/bin"],"Cmd":["x"],"Entrypoint":["/start"],
                    "WorkingDir":"/w","Labels":{{"a":"user","b":"image"}},{rest}}}"#
            ),
        );
        // An entrypoint of one's own drops the image's command.
        check(
            r#"{"Entrypoint":["sh"],"Healthcheck":{"Test":["NONE"],"Interval":7}}"#,
            r#"{"User":"www","Env":["PATH=/bin","A=image"],"Entrypoint":["sh"],"WorkingDir":"/srv",
                "Labels":{"a":"image","b":"image"},"ExposedPorts":{"80/tcp":{}},"Volumes":{"/data":{}},
                "StopSignal":"SIGQUIT","Healthcheck":{"Test":["NONE"],"Interval":7,"Retries":2}}"#,
        );
    }

    #[test]
    fn no_command() {
        let none = merge(Config::default(), &Image::default()).unwrap_err();
        assert_eq!(none.message, "no command specified");
        let user: Config = serde_json::from_str(r#"{"Entrypoint":[""]}"#).unwrap();
        assert_eq!(merge(user, &image()).unwrap_err().message, "no command specified");
    }

    #[test]
    fn environment() {
        let base = || vec!["PATH=/bin".to_owned(), "HOSTNAME=x".to_owned()];
        let given = ["A=1", "PATH=/x", "HOSTNAME", "A=2", "GONE"].map(str::to_owned);
        assert_eq!(overlay_env(base(), &given), ["PATH=/x", "A=2"]);
    }
}
