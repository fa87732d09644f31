//! Where keeper, resolver and forwarder are, which outlive the daemon: in the shims' cgroup, beside those of the containers, and not in
//! the daemon's. (The spawner goes there by itself, and its shims are born there.)
//!
//! A service manager ends, counts and removes a service by its cgroup. What stayed in there would be ended with the
//! daemon as soon as its unit says so (`KillMode=`), and would keep the cgroup of a stopped unit alive.

use std::process::Child;

use cgroup::Hierarchies;

use crate::Config;

/// Name of the cgroup below the containers' parent, as the spawner has it; no container's, those are 64 hexadecimal digits.
const NAME: &str = "shims";

/// The cgroup; none without a service manager, which leaves a place to us by [`Config::cgroup_parent`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Option<(Hierarchies, String)>);

impl Place {
    pub fn new(config: &Config, cgroups: Option<&Hierarchies>) -> Place {
        let path = config.cgroup_parent.as_ref().map(|parent| format!("{}/{NAME}", parent.trim_end_matches('/')));
        Place(cgroups.cloned().zip(path))
    }

    /// Moves a process there. It runs on where it is if that fails.
    pub fn take(&self, child: &Child) {
        let Some((cgroups, path)) = &self.0 else { return };
        // Made each time: the service manager may have removed it since.
        let moved = cgroups.create(path).and_then(|group| group.join(child.id() as i32));
        if let Err(error) = moved {
            tracing::warn!(%error, path, "a process that outlives this daemon stays in the daemon's cgroup");
        }
    }
}
