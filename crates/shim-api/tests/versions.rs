//! The messages of each version of the contract, byte for byte: what an older daemon or shim says is understood as long as
//! it is listed here, and lines are only ever added.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shim_api::{Exec, Exit, FromShim, Launch, OLDEST, State, ToShim, ToSpawner, VERSION};

/// What each version's daemon says, and the version that brought the message.
const TO_SHIM: &[(u32, &str)] = &[
    (1, r#"{"Hello":{"version":1}}"#),
    (1, r#""Start""#),
    (1, r#"{"Attach":{"process":"Init","stdin":true,"stdout":true,"stderr":false}}"#),
    (1, r#"{"Signal":{"request":7,"process":{"Exec":"ab"},"signal":15,"all":false}}"#),
    (1, r#"{"Resize":{"request":8,"process":"Init","height":24,"width":80}}"#),
    (1, r#""Exec""#),
    (1, r#""Forget""#),
    (2, r#"{"Release":{"request":9,"protocol":6,"address":"127.0.0.1:80"}}"#),
    (2, r#"{"Release":{"request":9,"protocol":17,"address":"[::1]:80"}}"#),
];

/// What each version's shim says.
const FROM_SHIM: &[&str] = &[
    r#"{"Hello":{"version":1,"state":null,"execs":[],"exit":null}}"#,
    r#"{"Hello":{"version":1,"state":{"version":1,"id":"x","shim_pid":7,"shim_start_time":1,"pid":9,"pid_start_time":2,"started_at":3,"cgroup":"/x"},"execs":[{"id":"e","pid":11}],"exit":null}}"#,
    r#"{"Hello":{"version":1,"state":null,"execs":[],"exit":{"code":137,"signal":9,"oom_killed":true,"finished_at":4}}}"#,
    r#"{"Started":{"state":{"version":1,"id":"x","shim_pid":7,"shim_start_time":1,"pid":9,"pid_start_time":2,"started_at":3,"cgroup":"/x"}}}"#,
    r#""Network""#,
    r#"{"Failed":{"message":"exec: \"nope\": executable file not found in $PATH","exit_code":127}}"#,
    r#"{"Exited":{"exit":{"code":0,"signal":null,"oom_killed":false,"finished_at":4}}}"#,
    r#"{"ExecStarted":{"id":"e","pid":11}}"#,
    r#"{"ExecFailed":{"id":"e","message":"no","exit_code":126}}"#,
    r#"{"ExecExited":{"id":"e","exit_code":3}}"#,
    r#""LogFinished""#,
    r#"{"LogLost":{"entries":5}}"#,
    r#"{"Done":{"request":7,"errno":3}}"#,
];

/// Understood, and said again as it was: nothing is lost, nothing has another name.
fn check<T: Serialize + DeserializeOwned>(text: &str) -> T {
    let message: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let again = serde_json::to_value(&message).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(text).unwrap(), "{text}");
    message
}

#[test]
fn what_daemons_say() {
    for (since, text) in TO_SHIM {
        let message: ToShim = check(text);
        assert_eq!(message.since(), *since, "{text}");
    }
    assert_eq!(TO_SHIM.iter().map(|(since, _)| *since).max(), Some(VERSION));
    assert_eq!(TO_SHIM.iter().map(|(since, _)| *since).min(), Some(OLDEST));
}

#[test]
fn what_shims_say() {
    for text in FROM_SHIM {
        let _: FromShim = check(text);
    }
}

/// Files that an older shim wrote, and a plan of an older daemon, which lacks what was added since.
#[test]
fn documents() {
    let state: State = serde_json::from_str(r#"{"version":1,"pid":9}"#).unwrap();
    assert_eq!((state.version, state.pid, state.started_at), (1, 9, 0));
    let exit: Exit = serde_json::from_str(r#"{"code":7}"#).unwrap();
    assert_eq!((exit.code, exit.signal), (7, None));
    let launch: Launch = serde_json::from_str(r#"{"version":1,"id":"x","descriptors":["ExecDir","Layer"]}"#).unwrap();
    assert_eq!(launch.descriptors.len(), 2);
    let exec: Exec =
        serde_json::from_str(r#"{"id":"e","attach":{"stdin":false,"stdout":true,"stderr":true}}"#).unwrap();
    assert!(exec.attach.unwrap().stdout);
    let hello = r#"{"Hello":{"version":1,"cgroup_parent":"/hoist","parked":2}}"#;
    let ToSpawner::Hello { version: 1, parked: 2, devices, .. } = serde_json::from_str(hello).unwrap() else {
        panic!()
    };
    assert!(devices.is_empty());
}

/// Fields of a newer version are ignored; a message that is not known is an error for whoever reads it to leave alone.
#[test]
fn what_is_newer() {
    let newer = r#"{"Hello":{"version":99,"state":null,"execs":[],"exit":null,"mood":"fine"}}"#;
    assert!(matches!(serde_json::from_str(newer).unwrap(), FromShim::Hello { version: 99, .. }));
    assert!(serde_json::from_str::<FromShim>(r#"{"Dreamt":{"of":"sheep"}}"#).is_err());
    assert!(serde_json::from_str::<ToShim>(r#"{"Dream":{"of":"sheep"}}"#).is_err());
}
