//! Devices that every container may use, whatever its list says.

use oci::runtime::DeviceRule;

/// What a container may always do: make any node, and use the devices that it finds in `/dev` (runtime-spec, "Default
/// Devices"), its terminals included.
pub fn rules() -> impl Iterator<Item = DeviceRule> {
    let nodes = ["c", "b"].map(|kind| (kind, None, None, "m"));
    let used = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)]
        .map(|(major, minor)| ("c", Some(major), Some(minor), "rwm"));
    nodes.into_iter().chain(used).chain([("c", Some(136), None, "rwm")]).map(|(kind, major, minor, access)| {
        DeviceRule { allow: true, kind: kind.to_owned(), major, minor, access: access.to_owned() }
    })
}
