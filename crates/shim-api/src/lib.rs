//! The contract between `hoistd` and `hoist-runtime`: what the daemon, the spawner and the shims say to each other.
//!
//! ```text
//!  hoistd ──spawner socket──▶ spawner            Hello, then Create per container (with descriptors)
//!     │                          │ fork, or a parked shim
//!     └────control socket────▶ shim ── clones ──▶ init ──▶ the user's process
//!                                │
//!                                └─ <exec root>/containers/<id>/{state.json, exit.json, shim.sock}
//! ```
//!
//! - The spawner's socket is its standard input (`sys::process::start_sealed`).
//! - Every message is one `SOCK_SEQPACKET` datagram: a JSON document of at most [`MAX_MESSAGE`] bytes, and the
//!   descriptors that its documentation lists, in that order.
//! - A `hoistd` that was not there when the container started connects to `shim.sock` in the container's exec
//!   directory and says [`ToShim::Hello`]. The newest connection is the control connection.
//! - The shim stores `state.json` before it says `Started` and `exit.json` before it says `Exited`, by write and rename.
//!
//! Versions. A container keeps the shim that it was started with, and a daemon may be replaced by a newer or an older one at
//! any moment:
//! - A field that is added gets a serde default, and unknown fields are ignored on both sides: neither needs a new version.
//! - A message that is added raises [`VERSION`] and is listed in [`ToShim::since`]. A daemon asks a shim for nothing that is
//!   newer than what that said in its `Hello`, and says why. What a shim says unasked may be unknown to an older daemon,
//!   which leaves it unheard; so nothing that a daemon relies on is moved into a new one.
//! - Nothing is taken away: `tests/versions.rs` has the messages of each version, byte for byte.
//! - The spawner, whose program is the daemon's own, is always of the same version.
//!
//! Deaths. hoistd: the spawner sees its socket close and ends; shims and containers go on. Spawner: hoistd starts
//! another. Shim: init dies with it (`PR_SET_PDEATHSIG`), and hoistd, which sees the control socket close without an
//! `exit.json`, reports the container as killed.

use serde::{Deserialize, Serialize};

/// Version of this contract; the first message of either side carries it.
pub const VERSION: u32 = 2;

/// The oldest version that is understood.
pub const OLDEST: u32 = 1;

/// Largest message, in bytes. Anything that can be larger travels in a memfd.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Most descriptors one message carries (the kernel's `SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 253;

/// Names below `<exec root>/containers/<id>/`.
pub mod names {
    /// [`super::State`], while the shim lives.
    pub const STATE: &str = "state.json";
    /// [`super::Exit`], once the container's process has ended.
    pub const EXIT: &str = "exit.json";
    /// The shim's socket.
    pub const SOCKET: &str = "shim.sock";
}

/// hoistd → spawner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToSpawner {
    /// First message. The spawner answers with a [`FromSpawner::Hello`].
    Hello {
        version: u32,
        /// Parent of the containers' cgroups, below the root of each hierarchy: `/hoist`.
        cgroup_parent: String,
        /// How many parked shims to keep ready where joining a cgroup is slow (cgroup v1).
        parked: usize,
        /// Device rules that most containers have; parked shims apply them in advance.
        #[serde(default)]
        devices: Vec<oci::runtime::DeviceRule>,
    },
    /// Make a shim that carries out the [`Launch`].
    ///
    /// Descriptors: control socket, memfd with the [`Launch`] as JSON, then one per entry of [`Launch::descriptors`].
    /// The answer comes on the control socket.
    Create,
}

/// Spawner → hoistd.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromSpawner {
    Hello { version: u32 },
}

/// All that a shim needs to make one container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Launch {
    pub version: u32,
    /// The container's id: 64 hexadecimal digits.
    pub id: String,
    /// What each descriptor is, in order.
    pub descriptors: Vec<Role>,
    /// `root.path` is unused when a [`Role::Layer`] is given; `root.readonly` counts. Mount sources are host paths.
    /// `process.user` is unused when [`Launch::user`] is set; `linux.seccomp` counts only for [`Seccomp::Spec`].
    pub spec: oci::runtime::Spec,
    pub seccomp: Seccomp,
    /// With [`Seccomp::Profile`].
    pub seccomp_profile: String,
    /// The user in Docker's form (`name`, `uid`, `name:group`, `uid:gid`), looked up in the container's own
    /// `/etc/passwd` and `/etc/group`; empty is root. `None`: `spec.process.user` counts as it is.
    pub user: Option<UserLookup>,
    /// Cgroup of the container below [`ToSpawner::Hello::cgroup_parent`], or absolute with a leading `/`.
    pub cgroup: String,
    /// Keep standard input open for attaching clients (`-i`); otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Close standard input after the first attached client has closed its side.
    pub stdin_once: bool,
    pub log: Option<Log>,
    /// Discard the writable layer's pending writes at the end: the container is removed when it exits (`--rm`).
    pub ephemeral: bool,
    /// Run the shim's own init as process 1 and the command as its child (`--init`).
    pub init: bool,
    /// How many descriptors from number 3 on the program inherits.
    pub preserve: u32,
    /// Change into the root by chroot(2), where pivot_root(2) is refused (the host's root is a ramdisk).
    pub no_pivot: bool,
    /// Session keyring to join; empty: the caller's stays.
    pub keyring: String,
    /// Say [`FromShim::Network`] as soon as the container's new network namespace is there.
    pub tell_network: bool,
    /// Show the layers' files as belonging to the container's user namespace (`linux.uidMappings`): each layer's mount is
    /// copied and id-mapped before the overlay is made of them, and so is the writable directory's: what is written is
    /// stored with the ids that the container sees, and its root belongs to the container's root.
    pub idmap_layers: bool,
    /// Another runtime makes the container, and runs execs in it.
    pub runtime: Option<ForeignRuntime>,
    /// Destinations of the mounts whose sources are the [`Role::MountSource`] descriptors, in their order.
    pub sources: Vec<String>,
}

/// A program with runc's command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForeignRuntime {
    /// Absolute.
    pub path: String,
    /// Its own flags, before the command.
    pub arguments: Vec<String>,
}

/// A user to be looked up inside the container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserLookup {
    pub user: String,
    /// `--group-add`: names or numbers.
    pub groups: Vec<String>,
}

/// What a descriptor that accompanies a [`Launch`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The container's exec directory (`<exec root>/containers/<id>`), for [`names`].
    ExecDir,
    /// Detached mount of a layer; several, the topmost layer first.
    Layer,
    /// Directory that holds the overlay's `upper` and `work`.
    Writable,
    /// Directory for the log files.
    LogDir,
    /// Network namespace to join.
    NetNs,
    /// Namespaces of another container or the host's, to join instead of making one.
    IpcNs,
    PidNs,
    UtsNs,
    /// Detached mount of another container's shared memory, which `spec.mounts` has as a bind on `/dev/shm`.
    Shm,
    /// Detached mount that a bind of `spec.mounts` is to be, whose source is no path; see [`Launch::sources`].
    MountSource,
    /// An existing user namespace; whatever is new is made in it and owned by it.
    UserNs,
    /// Something that only has to stay open as long as the container lives (a reserved port).
    Hold,
}

/// Which system calls are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile for the process's capabilities; the spawner keeps it compiled.
    #[default]
    Default,
    Unconfined,
    /// `spec.linux.seccomp`.
    Spec,
    /// The document in [`Launch::seccomp_profile`], in Docker's form or the specification's.
    Profile,
}

/// How the shim writes the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Log {
    /// Docker's `json-file`: `json.log` and finished files with growing numbers in [`Role::LogDir`].
    JsonFile {
        /// Bytes; 0 for no limit.
        max_size: u64,
        max_files: u32,
        /// Seconds; 0 for no limit.
        #[serde(default)]
        max_age: u64,
        /// Attributes of every entry: a JSON object, or nothing.
        #[serde(default)]
        attrs: String,
        /// hoistd sends the entries on, and notes beside the files how far.
        #[serde(default)]
        forwarded: bool,
        /// With `forwarded`: the process waits when the files are full of entries that were not sent on.
        #[serde(default)]
        blocking: bool,
    },
}

/// hoistd → shim.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToShim {
    /// First message of a hoistd that connects later. Answered by [`FromShim::Hello`].
    Hello { version: u32 },
    /// Everything outside (the network) is in place: run the user's process. Descriptors are held as those of
    /// [`Role::Hold`].
    Start,
    /// Join a client to a process's streams. Descriptor: a `SOCK_STREAM` socket.
    ///
    /// Towards the client go raw bytes when the process has a terminal, else Docker's frames: one byte stream
    /// (1 stdout, 2 stderr), three zero bytes, big-endian u32 length, payload. Shutting down the client's sending side ends
    /// its standard input. The shim closes the socket when the process has ended and everything was sent.
    Attach { process: ProcessRef, stdin: bool, stdout: bool, stderr: bool },
    /// Send a signal to a process (to every process of the container when `all`). Answered by [`FromShim::Done`].
    Signal { request: u64, process: ProcessRef, signal: i32, all: bool },
    /// Set a terminal's size. Answered by [`FromShim::Done`].
    Resize { request: u64, process: ProcessRef, height: u16, width: u16 },
    /// Run another process in the container.
    ///
    /// Descriptors: memfd with [`Exec`] as JSON, then the client's stream socket if `attach` is set in it.
    Exec,
    /// Close the sockets of [`Role::Hold`] that are bound to this address, of this IP protocol's number. Answered by
    /// [`FromShim::Done`].
    Release { request: u64, protocol: u8, address: std::net::SocketAddr },
    /// hoistd has taken note of the exit; the shim may end.
    Forget,
}

impl ToShim {
    /// The first version of the contract that has this message.
    pub fn since(&self) -> u32 {
        match self {
            ToShim::Hello { .. }
            | ToShim::Start
            | ToShim::Attach { .. }
            | ToShim::Signal { .. }
            | ToShim::Resize { .. }
            | ToShim::Exec
            | ToShim::Forget => 1,
            ToShim::Release { .. } => 2,
        }
    }
}

/// One of the processes that a shim looks after.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProcessRef {
    Init,
    /// By exec id.
    Exec(String),
}

/// A process to run in a running container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exec {
    /// The exec's id: 64 hexadecimal digits.
    pub id: String,
    pub process: oci::runtime::Process,
    pub user: Option<UserLookup>,
    pub seccomp: Seccomp,
    /// With [`Seccomp::Profile`]. [`Seccomp::Spec`] has no meaning here.
    pub seccomp_profile: String,
    /// The streams of the attached client, whose socket comes along.
    pub attach: Option<AttachStreams>,
    /// How many descriptors from number 3 on the program inherits.
    pub preserve: u32,
    /// Session keyring to join; empty: the caller's stays.
    pub keyring: String,
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachStreams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Shim → hoistd.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromShim {
    Hello {
        version: u32,
        state: Option<State>,
        execs: Vec<ExecState>,
        exit: Option<Exit>,
    },
    /// The user's process runs.
    Started {
        state: State,
    },
    /// The container's network namespace, which its user namespace owns if it has one; no interface of it is up. Comes
    /// before anything else when [`Launch::tell_network`] is set. Descriptor: the namespace.
    Network,
    /// It could not be started; nothing is left behind. `exit_code` is Docker's: 126, 127 or 128.
    Failed {
        message: String,
        exit_code: i32,
    },
    Exited {
        exit: Exit,
    },
    ExecStarted {
        id: String,
        pid: i32,
    },
    ExecFailed {
        id: String,
        message: String,
        exit_code: i32,
    },
    ExecExited {
        id: String,
        exit_code: i32,
    },
    /// A log file is full and another was begun: it may be compressed, or is old enough to go.
    LogFinished,
    /// So many log entries in all were not stored: the disk is full.
    LogLost {
        entries: u64,
    },
    /// Answer to a request; `errno` 0 is success.
    Done {
        request: u64,
        errno: i32,
    },
}

/// A running container; `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub version: u32,
    pub id: String,
    pub shim_pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: tells a process from a later one with its number.
    pub shim_start_time: u64,
    pub pid: i32,
    pub pid_start_time: u64,
    /// Nanoseconds since the epoch.
    pub started_at: u64,
    /// The container's cgroup, below the root of each hierarchy.
    pub cgroup: String,
}

/// An exec process that still runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecState {
    pub id: String,
    pub pid: i32,
}

/// How the container's process ended; `exit.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// 128 + n after signal n.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// Nanoseconds since the epoch.
    pub finished_at: u64,
}
