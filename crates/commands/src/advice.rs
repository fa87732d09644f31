//! What to do next, said to people behind an error: on a terminal and under our own name only, since scripts read Docker's words.

/// Parts of errors, and what helps.
const ADVICE: &[(&str, &str)] = &[
    (
        "Cannot connect to the Docker daemon at unix://",
        "Start it with 'systemctl start hoistd', or say with -H where it is; 'hoist doctor' looks for what is missing.",
    ),
    (
        "permission denied while trying to connect",
        "Who is in the group hoist may use the daemon: 'sudo usermod -aG hoist $USER', then log in again.",
    ),
    (
        "port is already allocated",
        "'hoist ps' shows which container publishes it, 'ss -lntup' which other program listens there.",
    ),
    (
        "address already in use",
        "'hoist ps' shows which container publishes it, 'ss -lntup' which other program listens there.",
    ),
    ("No such object: ", "'hoist ps -a', 'hoist images', 'hoist network ls' and 'hoist volume ls' list what there is."),
    ("No such container: ", "'hoist ps -a' lists all containers."),
    ("No such image: ", "'hoist images' lists what is here, 'hoist pull' fetches more."),
    ("no such volume", "'hoist volume ls' lists all volumes."),
    ("pull access denied", "If it is private: 'hoist login', then again."),
    (
        "server gave HTTP response to HTTPS client",
        "A registry without TLS is named in daemon.json: \"insecure-registries\".",
    ),
    ("no space left on device", "'hoist system df' says what takes the room, 'hoist system prune' frees it."),
];

/// The advice for an error, if there is one.
pub(crate) fn next(error: &str) -> Option<&'static str> {
    ADVICE.iter().find(|(part, _)| error.contains(part)).map(|(_, advice)| *advice)
}
