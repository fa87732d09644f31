//! `Networks` on the real kernel, in network namespaces of the tests' own. Needs root.

#[cfg(test)]
mod features;
mod flushed;
#[cfg(test)]
mod foreign;
mod lifecycle;
mod nftables;
mod traffic;
#[cfg(test)]
mod world;
