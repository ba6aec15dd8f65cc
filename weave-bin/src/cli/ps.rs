//! `weave ps`: who has which addresses, and the interfaces they are on.
//!
//! The daemon knows who has an address; the kernel knows hardware addresses. A line is there for everybody
//! whom the daemon gave something, and, first, for the bridge itself.

use ipnet::IpNet;
use serde_json::Value;
use weave_datapath::netlink::{Netlink, mac_text};

use super::expose::IDENT;
use super::run::Outcome;
use crate::doctor::collect;
use crate::host::attached::{Attached, attached};
use crate::http::client::Client;

/// What `weave ps` is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whom; everybody when empty.
    pub(super) ids: Vec<String>,
    /// Whether the names of pods are wanted.
    pub(super) pods: bool,
    /// Whether as JSON.
    pub(super) json: bool,
}

pub(super) fn parse(arguments: &[String]) -> Asked {
    let mut asked = Asked::default();
    for word in arguments {
        match word.as_str() {
            "--json" => asked.json = true,
            "--pods" => asked.pods = true,
            _ => asked.ids.push(word.clone()),
        }
    }
    asked
}

/// A holder of addresses, as a line shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    id: String,
    mac: Option<[u8; 6]>,
    addresses: Vec<IpNet>,
    /// Namespace and name, where the runtime noted them.
    pod: Option<String>,
}

/// Everybody, or those called `ids`, by their whole names or the part that is shown.
pub(super) async fn run(client: &Client, bridge: &str, asked: &Asked) -> Outcome {
    let Asked { ids, pods, json } = asked;
    let owned = match owned(client).await {
        Ok(owned) => owned,
        Err(failure) => return failure,
    };
    // Without the rights to look there are no hardware addresses, and the rest is as good.
    let host = host_end(bridge).await;
    let links = attached(bridge).await.unwrap_or_default();
    let mut holders = join(owned, host, &links);
    if !ids.is_empty() {
        holders.retain(|holder| {
            ids.iter()
                .any(|id| *id == holder.id || *id == short(&holder.id))
        });
    }
    if *pods {
        let mut names = collect::pods(client).await;
        for holder in &mut holders {
            holder.pod = names.remove(&holder.id);
        }
    }
    Outcome::success(if *json {
        as_json(&holders)
    } else {
        holders.iter().map(line).collect()
    })
}

/// Who has which addresses by the daemon; nobody where it gives none.
pub(super) async fn owned(client: &Client) -> Result<Vec<(String, Vec<IpNet>)>, Outcome> {
    let body = match Outcome::of(client.get("/ip").await).into_body() {
        Ok(body) => body,
        Err(failure) if failure.is_not_found() => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    let bad = |error| Outcome::failure(1, format!("the daemon's answer is not JSON: {error}"));
    let answer: Value = serde_json::from_str(&body).map_err(bad)?;
    let holders = answer["owned"].as_array().into_iter().flatten();
    Ok(holders
        .filter_map(|holder| {
            let addresses = holder["addrs"].as_array()?.iter();
            let addresses = addresses.filter_map(|text| text.as_str()?.parse().ok());
            Some((
                holder["containerid"].as_str()?.to_owned(),
                addresses.collect(),
            ))
        })
        .collect())
}

/// The bridge's hardware address and addresses.
async fn host_end(bridge: &str) -> Option<([u8; 6], Vec<IpNet>)> {
    let netlink = Netlink::open().ok()?;
    let link = netlink.link_by_name(bridge).await.ok()??;
    let addresses = netlink.addresses(link.index).await.ok()?;
    // The kernel gives the bridge a link-local address, which nobody asked for.
    let is_chosen = |net: &IpNet| match net {
        IpNet::V4(_) => true,
        IpNet::V6(net) => !net.addr().is_unicast_link_local(),
    };
    Some((link.mac?, addresses.into_iter().filter(is_chosen).collect()))
}

fn join(
    owned: Vec<(String, Vec<IpNet>)>,
    host: Option<([u8; 6], Vec<IpNet>)>,
    links: &[Attached],
) -> Vec<Holder> {
    let mut holders: Vec<Holder> = Vec::new();
    if let Some((mac, addresses)) = host.filter(|(_, addresses)| !addresses.is_empty()) {
        holders.push(Holder {
            id: IDENT.to_owned(),
            mac: Some(mac),
            addresses,
            pod: None,
        });
    }
    for (id, addresses) in owned {
        if holders.first().is_some_and(|first| first.id == id) {
            continue;
        }
        let link = links.iter().find(|link| link.is_of(&id));
        holders.push(Holder {
            mac: link.and_then(|link| link.mac),
            id,
            addresses,
            pod: None,
        });
    }
    holders
}

fn line(holder: &Holder) -> String {
    let mac = holder.mac.map_or_else(|| "-".to_owned(), mac_text);
    let mut words = vec![short(&holder.id).to_owned(), mac];
    words.extend(holder.addresses.iter().map(IpNet::to_string));
    words.extend(holder.pod.clone());
    words.join(" ") + "\n"
}

fn as_json(holders: &[Holder]) -> String {
    let list: Vec<Value> = holders
        .iter()
        .map(|holder| {
            let addresses: Vec<String> = holder.addresses.iter().map(IpNet::to_string).collect();
            serde_json::json!({
                "ID": holder.id,
                "MAC": holder.mac.map(mac_text),
                "Addresses": addresses,
                "Pod": holder.pod,
            })
        })
        .collect();
    crate::status::model::to_json(&list) + "\n"
}

/// The part of an id that is shown.
fn short(id: &str) -> &str {
    match id.char_indices().nth(12) {
        Some((end, _)) => &id[..end],
        None => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_bridge_comes_first_and_everybody_has_a_line() {
        let owned = vec![
            ("c0ffee0123456789".to_owned(), vec![net("10.32.0.2/12")]),
            ("gone".to_owned(), vec![net("10.32.0.3/12")]),
            (IDENT.to_owned(), vec![net("10.32.0.1/12")]),
        ];
        let host = (
            [2, 0, 0, 0, 0, 1],
            vec![net("10.32.0.77/12"), net("10.32.0.78/12")],
        );
        let links = [Attached {
            id: Some("c0ffee0123456789".to_owned()),
            host: "vethweplc0ffee0".to_owned(),
            mac: Some([6; 6]),
            addresses: Vec::new(),
            process: None,
        }];

        let lines: String = join(owned, Some(host), &links).iter().map(line).collect();

        let text = "weave:expose 02:00:00:00:00:01 10.32.0.77/12 10.32.0.78/12\n\
                    c0ffee012345 06:06:06:06:06:06 10.32.0.2/12\n\
                    gone - 10.32.0.3/12\n";
        assert_eq!(lines, text);
    }

    #[test]
    fn words_that_are_no_options_are_containers() {
        let words = ["a", "--pods", "b"].map(str::to_owned);
        let asked = Asked {
            ids: vec!["a".to_owned(), "b".to_owned()],
            pods: true,
            json: false,
        };
        assert_eq!(parse(&words), asked);
    }

    #[test]
    fn the_pod_comes_last() {
        let holder = Holder {
            id: "c0ffee".to_owned(),
            mac: None,
            addresses: vec![net("10.32.0.2/12")],
            pod: Some("shop/web".to_owned()),
        };
        assert_eq!(line(&holder), "c0ffee - 10.32.0.2/12 shop/web\n");
    }

    #[test]
    fn an_interface_of_weave_net_is_known_by_its_name() {
        let host = host_names_first("abcdef0123");
        let one = Attached {
            id: None,
            host,
            mac: None,
            addresses: Vec::new(),
            process: None,
        };

        assert!(one.is_of("abcdef0123"));
        assert!(!one.is_of("fedcba3210"));
    }

    fn host_names_first(id: &str) -> String {
        weave_datapath::attach::host_names(id).next().unwrap()
    }
}
