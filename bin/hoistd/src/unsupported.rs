//! What dockerd has and hoistd does not: named, so that whoever moves a configuration over sees why it is refused.

/// Flags of dockerd.
#[rustfmt::skip]
const FLAGS: [&str; 24] = [
    "allow-direct-routing", "authorization-plugin", "bridge-accept-fwmark", "cdi-spec-dir",
    "containerd", "containerd-namespace", "containerd-plugins-namespace", "cpu-rt-period",
    "cpu-rt-runtime", "cri-containerd", 
    "default-network-opt", "exec-opt", "feature",
    "firewall-backend", "host-gateway-ip", "init-path",
    "ip-forward-no-drop", "network-control-plane-mtu", "no-new-privileges", "node-generic-resource", "raw-logs",
    "seccomp-profile", "swarm-default-advertise-addr", "userland-proxy-path",
];

/// Keys of dockerd's `daemon.json`.
#[rustfmt::skip]
const KEYS: [&str; 37] = [
    "allow-direct-routing", "authorization-plugins", "bridge-accept-fwmark", "builder", "cdi-spec-dirs",
    "containerd", "containerd-namespace", "containerd-plugin-namespace", "cpu-rt-period",
    "cpu-rt-runtime", "cri-containerd", 
    "default-init", "default-network-opts", 
    "default-stop-timeout", "exec-opts", "features", "firewall-backend", 
    "host-gateway-ip", "host-gateway-ips", "http-proxy", "https-proxy", "init-path", "ip-forward-no-drop", 
    "min-api-version",
    "network-control-plane-mtu", "network-diagnostic-port", "no-new-privileges", "no-proxy", "node-generic-resources",
    "nri-opts", "raw-logs", "resolv-conf", "seccomp-profile", "swarm-default-advertise-addr", "swarm-raft-election-tick", "swarm-raft-heartbeat-tick", "userland-proxy-path",
];

pub fn is_flag(name: &str) -> bool {
    FLAGS.contains(&name)
}

pub fn is_key(name: &str) -> bool {
    KEYS.contains(&name)
}

/// What to do instead, with a leading `: `.
pub fn hint(name: &str) -> &'static str {
    match name {
        "containerd" | "containerd-namespace" | "cri-containerd" => ": it needs no containerd",
        "userland-proxy-path" => ": the kernel forwards published ports",
        _ => "",
    }
}
