//! Links as bad as they may be without excusing a session that fails.

use std::time::Duration;

use towline_netsim::{GilbertElliott, LinkConfig, Loss};
use towline_wire::Mtu;

use crate::choice::Choose;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Some link: perfect in one case of eight.
pub(crate) fn some_link(choices: &mut impl Choose, mtu: Mtu) -> LinkConfig {
    let delay = choices.one_of(&[10, 0, 1, 20, 40, 150]);
    let link = LinkConfig::default().with_delay(MS(delay));
    if !choices.chance(87) {
        return link;
    }
    let link = link.with_loss(some_loss(choices));
    let link = some_disorder(choices, link);
    if choices.chance(30) { with_some_rate(choices, mtu, link) } else { link }
}

/// At most a fifth of the packets is lost.
fn some_loss(choices: &mut impl Choose) -> Loss {
    match choices.number(0, 3) {
        0 => Loss::None,
        1 | 2 => Loss::Random(choices.one_of(&[0.01, 0.05, 0.1, 0.2])),
        _ => {
            let burst = choices.one_of(&[2.0, 4.0, 8.0]);
            let leave = 1.0 / burst;
            // The share of packets in the bad state, most of which are lost.
            let share = choices.one_of(&[0.02, 0.1, 0.2]);
            let enter = leave * share / (1.0 - share);
            Loss::Burst(GilbertElliott { enter, leave, loss_good: 0.0, loss_bad: 0.9 })
        }
    }
}

fn some_disorder(choices: &mut impl Choose, link: LinkConfig) -> LinkConfig {
    let mut link = link;
    if choices.chance(40) {
        link.jitter = MS(choices.one_of(&[1, 5, 30]));
        link.jitter_reorders = choices.chance(50);
    }
    if choices.chance(40) {
        link = link.with_reorder(choices.one_of(&[0.02, 0.1]), MS(choices.one_of(&[1, 10, 40])));
    }
    if choices.chance(40) {
        link = link.with_duplicate(choices.one_of(&[0.02, 0.2]));
    }
    link
}

/// From a slow mobile path to one that is hardly a limit. The queue holds up to half a second, and a frame
/// at least: one that a queue cannot hold comes through in pieces only, and that takes its time.
pub(crate) fn with_some_rate(choices: &mut impl Choose, mtu: Mtu, link: LinkConfig) -> LinkConfig {
    let rate = choices.one_of(&[1_000_000, 100_000, 5_000_000]);
    let rate = rate.max(200 * mtu.get() as u64);
    let queue = rate / choices.one_of(&[2, 4, 20]);
    link.with_rate(rate, (queue as usize).max(64 * mtu.get()))
}

/// The link, but nothing passes.
pub(crate) fn dark(link: LinkConfig) -> LinkConfig {
    link.with_loss(Loss::Random(1.0))
}
