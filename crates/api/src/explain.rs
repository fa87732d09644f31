//! `GET /hoist/containers/{id}/explain`: what a container is to the kernel. An extension of ours, without a counterpart
//! in Docker's API.

use crate::json::List;

wire! {
    /// One container, as the kernel has it at that moment. Of one that does not run only the files can be told.
    pub struct Explanation {
        pub id: String,
        pub name: String,
        /// As in `inspect`: `running`, `exited`…
        pub status: String,
        pub exit_code: i64,
        pub image: String,
        pub processes: List<Process>,
        pub namespaces: List<Namespace>,
        pub cgroup: Cgroup,
        pub security: Security,
        pub root: Root,
        pub layers: List<Layer>,
        pub mounts: List<Mount>,
        pub links: List<Link>,
        pub routes: List<String>,
        pub ports: List<Port>,
        /// Sockets that wait for connections or datagrams.
        pub listening: List<Socket>,
        /// Where the daemon's records say something else.
        pub differences: List<String>,
    }

    /// A process; parents come before their children.
    pub struct Process {
        /// On the host.
        pub pid: i64,
        /// In the container's own pid namespace; 0 when it has none of its own.
        pub inner_pid: i64,
        /// Its parent on the host.
        pub parent: i64,
        /// How far down the tree; 0 for the container's first process and for processes that joined it.
        pub depth: i64,
        pub user: i64,
        /// The letter of proc(5): `R`, `S`, `D`, `T`, `Z`…
        pub state: String,
        pub threads: i64,
        /// Bytes of memory.
        pub resident: i64,
        pub command: String,
    }

    /// One of the eight namespaces of namespaces(7).
    pub struct Namespace {
        /// As below `/proc/PID/ns`.
        pub kind: String,
        /// Its number in the kernel.
        pub inode: i64,
        /// `own`, `host`, or `container NAME`.
        pub shared: String,
    }

    /// Where its resources are counted.
    pub struct Cgroup {
        /// `v1`, `v2` or `hybrid`.
        pub version: String,
        pub path: String,
        /// Bytes.
        pub memory: i64,
        /// Bytes; 0 for none.
        pub memory_limit: i64,
        pub processes: i64,
        /// Of them, those of the engine that wait in it for an exec and are not the container's.
        pub waiting: i64,
        /// 0 for none.
        pub processes_limit: i64,
        /// Nanoseconds of CPU time up to now.
        pub cpu: i64,
        /// In thousandths of a CPU; 0 for none.
        pub cpu_limit: i64,
        /// CPUs that it may use; empty for all.
        pub cpu_set: String,
        /// Times that it was held back because of `cpu_limit`.
        pub throttled: i64,
        pub oom_kills: i64,
    }

    /// What its first process may do.
    pub struct Security {
        pub user: i64,
        pub group: i64,
        /// Effective ones, by name.
        pub capabilities: List<String>,
        /// More than a container has by default.
        pub added: List<String>,
        /// Of the default ones, those that it lacks.
        pub dropped: List<String>,
        /// What it could ever get, if that is not what it has.
        pub bounding: List<String>,
        /// `none`, `strict` or `filter`.
        pub seccomp: String,
        pub seccomp_filters: i64,
        pub no_new_privileges: bool,
        /// The label of AppArmor or SELinux; empty without one.
        pub label: String,
    }

    /// What is mounted at `/`.
    pub struct Root {
        pub filesystem: String,
        pub options: String,
        /// Bytes of the container's own files.
        pub writable: i64,
        pub writable_path: String,
    }

    /// A layer of its image, the lowest first.
    pub struct Layer {
        pub diff_id: String,
        /// Bytes of its file on the host.
        pub size: i64,
        /// The instruction that made it, if the image tells.
        pub created_by: String,
    }

    /// A mount in its mount namespace.
    pub struct Mount {
        pub destination: String,
        pub filesystem: String,
        /// What is mounted: a path of the host where it is one.
        pub source: String,
        pub options: String,
        /// `image`, `system` (proc, sys, dev…), `file` (of the daemon: resolv.conf…), `bind`, `volume`, `tmpfs`.
        pub kind: String,
    }

    /// A network interface in its network namespace.
    pub struct Link {
        pub name: String,
        pub kind: String,
        pub mtu: i64,
        pub up: bool,
        pub addresses: List<String>,
        /// The other end on the host; empty when there is none.
        pub peer: String,
        /// The bridge that the other end is in.
        pub bridge: String,
        /// Most bits a second towards the container and away from it; 0 is no limit.
        pub rate_in: i64,
        pub rate_out: i64,
    }

    /// The way of a packet from a port of the host.
    pub struct Port {
        pub protocol: String,
        pub host_address: String,
        pub host_port: i64,
        /// Table and map of nftables that change its destination; no table: a process listens, `forwarder`.
        pub table: String,
        pub map: String,
        pub address: String,
        pub port: i64,
        pub bridge: String,
        pub peer: String,
        pub link: String,
        /// Who gets it; empty when nobody listens there.
        pub listeners: List<Socket>,
    }

    /// A socket that waits for connections or datagrams.
    pub struct Socket {
        pub protocol: String,
        pub address: String,
        pub port: i64,
        /// On the host; 0 when no process of the container has it open.
        pub pid: i64,
        pub command: String,
    }
}
