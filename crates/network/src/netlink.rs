//! Netlink (netlink(7), RFC 3549): messages with nested attributes, and a blocking socket.
//!
//! The kernel handles a request inside of `send`: when that returns, the answers lie in the socket's queue. So nothing
//! here waits for anything but a dump, and an answer that is missing then will never come.

pub mod address;
pub mod link;
pub mod message;
pub mod neighbour;
pub mod route;
pub mod shaper;
pub mod socket;

pub use message::{Attributes, Request};
pub use socket::{Error, Socket};
