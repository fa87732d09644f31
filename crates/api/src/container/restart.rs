//! `--restart`.

use crate::error::Invalid;

wire! {
    /// What happens when the container ends.
    pub struct RestartPolicy {
        /// Empty, `no`, `always`, `unless-stopped`, `on-failure`; ours: `on-unhealthy`.
        pub name: String,
        /// With `on-failure`: 0 is no maximum.
        pub maximum_retry_count: i64,
    }
}

/// A checked [`RestartPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartRule {
    No,
    Always,
    UnlessStopped,
    /// When its health check fails, or it ends with a failure. Not one of Docker's.
    OnUnhealthy,
    /// At most that often; 0 is no maximum.
    OnFailure(u32),
}

impl RestartPolicy {
    /// What it means.
    pub fn rule(&self) -> Result<RestartRule, Invalid> {
        let count = self.maximum_retry_count;
        let rule = match self.name.as_str() {
            "" => return Ok(RestartRule::No),
            "no" => RestartRule::No,
            "always" => RestartRule::Always,
            "unless-stopped" => RestartRule::UnlessStopped,
            "on-unhealthy" => RestartRule::OnUnhealthy,
            "on-failure" => {
                return u32::try_from(count)
                    .map(RestartRule::OnFailure)
                    .map_err(|_| Invalid::new("invalid restart policy: maximum retry count cannot be negative"));
            }
            other => {
                return Err(Invalid(format!(
                    "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or \
                     'unless-stopped'"
                )));
            }
        };
        match count {
            0 => Ok(rule),
            1.. => Err(Invalid::new("invalid restart policy: maximum retry count can only be used with 'on-failure'")),
            _ => Err(Invalid::new(
                "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative",
            )),
        }
    }
}
