//! The rules that let pods through an iptables `FORWARD` chain.
//!
//! What our own table accepts, another may still drop: drops are final, accepts are not. So the
//! rules stand at the top of the chain that may drop, as Weave Net's did. Invariant: two rules with
//! one comment are the same rule, so those that are there are compared by their comments.

use weave_datapath::xtables::{Accept, Interface};
use weave_npc::ruleset::Family;

use super::wanted::Wanted;

/// The rules in order, for the chain of one family: [`Family::Ip`] or [`Family::Ip6`].
pub fn accepts(wanted: &Wanted, family: Family) -> Vec<Accept> {
    let weave = || Some(Interface::is(&wanted.bridge));
    let others = || Some(Interface::is_not(&wanted.bridge));
    let accept = |input, output, destination, comment: &str| Accept {
        input,
        output,
        destination,
        replies: false,
        comment: format!("{MARK}{comment}"),
    };
    let mut rules = vec![accept(weave(), weave(), None, "between pods")];
    if wanted.expects_policy {
        // The policy controller's own table drops what no policy allows.
        rules.push(accept(None, weave(), None, "to pods, as policy allows"));
    } else {
        let subnets = wanted.subnets().into_keys();
        for subnet in subnets.filter(|net| net.addr().is_ipv6() == (family == Family::Ip6)) {
            let comment = format!("exposed {subnet}");
            rules.push(accept(None, weave(), Some(subnet), &comment));
        }
    }
    rules.push(accept(weave(), others(), None, "from pods"));
    if !wanted.expects_policy {
        rules.push(Accept {
            replies: true,
            ..accept(None, weave(), None, "replies to pods")
        });
    }
    rules
}

/// Whether a rule with this comment is one of ours.
pub fn is_ours(comment: Option<&str>) -> bool {
    comment.is_some_and(|comment| comment.starts_with(MARK))
}

/// How the comments of our rules begin.
const MARK: &str = "weave: ";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wanted: &Wanted, family: Family) -> Vec<String> {
        let one = |interface: &Option<Interface>| match interface {
            None => "any".to_owned(),
            Some(Interface { name, inverted }) => {
                format!("{}{name}", if *inverted { "!" } else { "" })
            }
        };
        let line = |rule: &Accept| {
            let to = rule.destination.map(|net| format!(" {net}"));
            let replies = if rule.replies { " replies" } else { "" };
            format!(
                "{} {}{}{replies}",
                one(&rule.input),
                one(&rule.output),
                to.unwrap_or_default()
            )
        };
        accepts(wanted, family).iter().map(line).collect()
    }

    #[test]
    fn without_a_controller_exposed_subnets_are_let_in() {
        let mut wanted = Wanted::new("weave");
        wanted
            .exposed
            .insert("10.32.0.1/12".parse().unwrap(), false);
        wanted.exposed.insert("fd00::1/64".parse().unwrap(), true);

        // As in the recorded rule set "skipnat", whose chain WEAVE-EXPOSE is unfolded here.
        assert_eq!(
            shown(&wanted, Family::Ip),
            [
                "weave weave",
                "any weave 10.32.0.0/12",
                "weave !weave",
                "any weave replies",
            ]
        );
        let of_ipv6 = shown(&wanted, Family::Ip6);
        assert_eq!(of_ipv6[1], "any weave fd00::/64");
        assert_eq!(of_ipv6.len(), 4);
    }

    #[test]
    fn with_a_controller_it_alone_decides_what_reaches_pods() {
        let mut wanted = Wanted::new("weave");
        wanted.expects_policy = true;

        assert_eq!(
            shown(&wanted, Family::Ip),
            ["weave weave", "any weave", "weave !weave"]
        );
    }

    #[test]
    fn our_rules_are_known_by_their_comments() {
        for rule in accepts(&Wanted::new("weave"), Family::Ip) {
            assert!(is_ours(Some(&rule.comment)));
        }
        assert!(!is_ours(None));
        assert!(!is_ours(Some("weave")));
    }
}
