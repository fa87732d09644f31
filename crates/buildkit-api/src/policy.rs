//! `PolicyVerifier`: the client's own say on what a build may use.

use std::sync::Arc;

use oci::Platform;

use crate::job::Job;
use crate::status::{Code, Status};
use crate::wire::{Message, fields};

const METHOD: &str = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";

/// `PolicyAction`: used as it is.
const ALLOW: u64 = 0;
/// `PolicyAction`: not used.
const DENY: u64 = 1;

/// Asks the session that the build names for policies; without one everything may be used.
pub fn check(job: &Arc<Job>, identifier: &str, platform: &Platform) -> Result<(), Status> {
    if job.request.source_policy_session.is_empty() {
        return Ok(());
    }
    if job.request.source_policy_session != job.request.session {
        return Err(Status::unsupported("a source policy of another session"));
    }
    let platform = Message::new().bytes(1, &platform.architecture).bytes(2, &platform.os).bytes(3, &platform.variant);
    let source = Message::new().bytes(1, identifier);
    let message = Message::new().message(1, &platform).message(2, &Message::new().message(1, &source));
    let answer = job.caller.wait(job.caller.unary(METHOD, message.as_ref(), &Vec::new()))?;
    let mut decision = None;
    for field in fields(&answer) {
        match field? {
            (1, value) => decision = Some(value.bytes()),
            (2, _) => return Err(Status::unsupported("a source policy that asks for a source's metadata")),
            _ => {}
        }
    }
    let decision = decision.ok_or_else(|| Status::new(Code::Internal, "no decision"))?;
    let (mut action, mut reasons) = (ALLOW, Vec::new());
    for field in fields(decision) {
        match field? {
            (1, value) => action = value.number(),
            (2, value) => {
                for field in fields(value.bytes()) {
                    if let (1, value) = field? {
                        reasons.push(value.text()?);
                    }
                }
            }
            _ => {}
        }
    }
    match action {
        ALLOW => Ok(()),
        DENY => Err(Status::new(Code::PermissionDenied, reasons.join("; "))),
        _ => Err(Status::unsupported("a source policy that converts a source")),
    }
}
