//! Other firewalls on the machine. Docker sets the policy of iptables' FORWARD chain to DROP; a packet must pass every
//! table, so our containers would be cut off unless that chain is told about our bridges too.

use std::process::{Command, Stdio};

/// Where Docker asks users to put their own rules; it survives Docker's restarts.
const CHAINS: [&str; 2] = ["DOCKER-USER", "FORWARD"];

/// Lets our bridges through a FORWARD chain that drops by default. Says in the log what it did or could not do.
pub(crate) fn allow_forwarding(bridge_prefix: &str) {
    let Some(policy) = iptables(&["-S", "FORWARD"]) else { return };
    if !policy.contains("-P FORWARD DROP") {
        return;
    }
    let Some(chain) = CHAINS.into_iter().find(|chain| iptables(&["-S", chain]).is_some()) else { return };
    let links = format!("{bridge_prefix}+");
    for direction in ["-i", "-o"] {
        let rule = [direction, links.as_str(), "-j", "ACCEPT"];
        if iptables(&[&["-C", chain], &rule[..]].concat()).is_some() {
            continue;
        }
        if iptables(&[&["-I", chain], &rule[..]].concat()).is_some() {
            tracing::info!(
                chain,
                links,
                direction,
                "another firewall drops forwarded packets; added a rule for our bridges"
            );
        } else {
            tracing::warn!(
                "the FORWARD chain of iptables drops packets of our bridges: run `iptables -I {chain} {} -j ACCEPT`",
                rule[..2].join(" ")
            );
        }
    }
}

/// Takes those rules back.
pub(crate) fn forget(bridge_prefix: &str) {
    let links = format!("{bridge_prefix}+");
    for chain in CHAINS {
        for direction in ["-i", "-o"] {
            while iptables(&["-D", chain, direction, &links, "-j", "ACCEPT"]).is_some() {}
        }
    }
}

/// Runs iptables if the machine has it; nothing where it is missing or fails.
fn iptables(arguments: &[&str]) -> Option<String> {
    let output = Command::new("iptables")
        .arg("-w")
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
