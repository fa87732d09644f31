//! `Networks` on the real kernel, in network namespaces of the tests' own. Needs root.

mod lifecycle;
mod nftables;
mod traffic;
#[cfg(test)]
mod world;
