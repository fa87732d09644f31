//! Limits on what a link sends: the token bucket of tc-tbf(8), `RTM_*QDISC` and `<linux/pkt_sched.h>`.

use super::message::{attributes, flags, text, u32_at};
use super::{Error, Request, Socket};

const NEW_DISCIPLINE: u16 = 36;
const GET_DISCIPLINE: u16 = 38;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// `TC_H_ROOT`.
const ROOT: u32 = u32::MAX;
/// `TC_LINKLAYER_ETHERNET`.
const ETHERNET: u8 = 1;
/// Bytes of `struct tcmsg`.
const HEADER: usize = 20;
/// Least bucket: a packet as large as segmentation offload makes them passes at once.
const BURST: u64 = 64 * 1024;

/// Lets a link send at most so many bytes a second.
///
/// The bucket holds 10 ms of the rate, so that a coarse clock does not lower it; what has to wait longer than 50 ms is
/// dropped, which is how senders learn of the limit.
pub fn limit(request: &mut Request, link: u32, rate: u64) {
    let mut header = [0; HEADER];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..12].copy_from_slice(&0x1_0000u32.to_ne_bytes());
    header[12..16].copy_from_slice(&ROOT.to_ne_bytes());
    let burst = (rate / 100).max(BURST).min(u64::from(u32::MAX) / 4);
    let queue = (rate / 20 + burst).min(u64::from(u32::MAX));
    // `struct tc_tbf_qopt`: rate, peak rate (12 bytes each), limit, buffer, MTU.
    let mut parameters = [0; 36];
    parameters[1] = ETHERNET;
    parameters[8..12].copy_from_slice(&(rate.min(u64::from(u32::MAX)) as u32).to_ne_bytes());
    parameters[24..28].copy_from_slice(&(queue as u32).to_ne_bytes());
    request.message(NEW_DISCIPLINE, flags::ACK | flags::CREATE | flags::REPLACE, &header, |a| {
        a.string(TCA_KIND, "tbf");
        a.nested(TCA_OPTIONS, |a| {
            a.bytes(TCA_TBF_PARMS, &parameters);
            a.bytes(TCA_TBF_RATE64, &rate.to_ne_bytes());
            a.u32(TCA_TBF_BURST, burst as u32);
        });
    });
}

/// The limited links of the namespace: index, bytes a second.
pub fn list(socket: &mut Socket) -> Result<Vec<(u32, u64)>, Error> {
    socket.dump(GET_DISCIPLINE, &[0; HEADER], |payload| {
        let link = u32_at(payload, 4)?;
        let (mut bucket, mut rate) = (false, 0);
        for (kind, value) in attributes(payload.get(HEADER..)?) {
            match kind {
                TCA_KIND => bucket = text(value) == "tbf",
                TCA_OPTIONS => {
                    for (kind, value) in attributes(value) {
                        match kind {
                            TCA_TBF_PARMS if rate == 0 => rate = u64::from(u32_at(value, 8)?),
                            TCA_TBF_RATE64 => rate = u64::from_ne_bytes(*value.first_chunk::<8>()?),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        bucket.then_some((link, rate))
    })
}
