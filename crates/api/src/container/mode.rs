//! Whose namespace a container is in.

use crate::error::Invalid;

/// `HostConfig.NetworkMode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// Empty, `default` or `bridge`.
    Bridge,
    Host,
    None,
    /// Another container's stack, by name or id.
    Container(String),
    /// A network by name or id.
    Named(String),
}

impl NetworkMode {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "default" | "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            _ => match text.strip_prefix("container:") {
                Some(id) => Self::Container(id.to_owned()),
                None => Self::Named(text.to_owned()),
            },
        }
    }

    /// Neither the host's stack, nor another container's, nor none.
    #[must_use]
    pub fn is_networked(&self) -> bool {
        matches!(self, Self::Bridge | Self::Named(_))
    }
}

/// `HostConfig.IpcMode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpcMode {
    /// Empty: the daemon's default.
    Default,
    None,
    Private,
    Shareable,
    Host,
    Container(String),
}

impl IpcMode {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(match text {
            "" => Self::Default,
            "none" => Self::None,
            "private" => Self::Private,
            "shareable" => Self::Shareable,
            "host" => Self::Host,
            _ => Self::Container(container(text).ok_or_else(|| Invalid(format!("invalid IPC mode: {text}")))?),
        })
    }
}

/// `HostConfig.PidMode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PidMode {
    Private,
    Host,
    Container(String),
}

impl PidMode {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(match text {
            "" | "private" => Self::Private,
            "host" => Self::Host,
            _ => Self::Container(container(text).ok_or_else(|| Invalid(format!("invalid PID mode: {text}")))?),
        })
    }
}

/// `HostConfig.UTSMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UtsMode {
    Private,
    Host,
}

impl UtsMode {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(Invalid(format!("invalid UTS mode: {text}"))),
        }
    }
}

/// `HostConfig.CgroupnsMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupnsMode {
    /// Empty: private on cgroup v2, the host's on v1.
    Default,
    Private,
    Host,
}

impl CgroupnsMode {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "" => Ok(Self::Default),
            "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(Invalid(format!("invalid cgroup namespace mode: {text}"))),
        }
    }
}

/// `container:<name or id>`.
fn container(text: &str) -> Option<String> {
    text.strip_prefix("container:").filter(|id| !id.is_empty()).map(str::to_owned)
}
