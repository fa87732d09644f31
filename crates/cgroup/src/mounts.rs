//! What a container finds at `/sys/fs/cgroup`.

use crate::hierarchies::Hierarchies;

/// One mount for a container. Made inside its cgroup namespace, each shows the container's own cgroup as the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMount {
    /// `cgroup` or `cgroup2`.
    pub fs_type: &'static str,
    /// Options that select the hierarchy: `cpu,cpuacct`, `none,name=systemd`; empty for `cgroup2`.
    pub options: String,
    /// Directory below `/sys/fs/cgroup`; empty: `/sys/fs/cgroup` itself.
    pub name: String,
    /// Symbolic links beside it that point to `name`: one per controller that shares the mount.
    pub links: Vec<String>,
}

impl Hierarchies {
    /// The mounts that give a container the same view as the host's. With version 1, a tmpfs comes first that holds them.
    pub fn mounts_for_container(&self) -> Vec<ContainerMount> {
        let pure_v2 = !self.needs_join();
        let mount = |hierarchy: &crate::hierarchies::Hierarchy| {
            let base = hierarchy.mount_point.rsplit('/').next().unwrap_or_default().to_owned();
            if hierarchy.v2 {
                let name = if pure_v2 { String::new() } else { base };
                return ContainerMount { fs_type: "cgroup2", options: String::new(), name, links: Vec::new() };
            }
            let options = match &hierarchy.name {
                Some(name) if hierarchy.controllers.is_empty() => format!("none,name={name}"),
                Some(name) => format!("{},name={name}", hierarchy.controllers.join(",")),
                None => hierarchy.controllers.join(","),
            };
            let links = hierarchy.controllers.iter().filter(|own| **own != base).cloned().collect();
            ContainerMount { fs_type: "cgroup", options, name: base, links }
        };
        self.all.iter().map(mount).collect()
    }
}
