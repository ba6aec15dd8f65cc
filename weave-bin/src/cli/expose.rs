//! Addresses of the host itself on the bridge: what `expose` and `hide` take and do.

use std::net::IpAddr;

use ipnet::IpNet;

use super::run::Outcome;
use super::{Command, Misuse, names};
use crate::http::client::{Client, encode_component};

/// An address argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// An address of each family, from its default subnet.
    FromDefault,
    /// An address from this subnet.
    FromSubnet(IpNet),
    /// This address.
    Exactly(IpNet),
}

impl Wanted {
    fn parse(word: &str) -> Option<Self> {
        if let Some(subnet) = word.strip_prefix("net:") {
            return match subnet {
                "default" => Some(Self::FromDefault),
                _ => subnet.parse().ok().map(Self::FromSubnet),
            };
        }
        word.strip_prefix("ip:")
            .unwrap_or(word)
            .parse()
            .ok()
            .map(Self::Exactly)
    }
}

pub(super) fn parse_expose(arguments: &[String]) -> Result<Command, Misuse> {
    let (addresses, mut rest) = split(arguments);
    let (mut masquerade, mut name) = (true, None);
    loop {
        rest = match rest {
            [] => break,
            [flag, tail @ ..] if flag == "--without-masquerade" => {
                masquerade = false;
                tail
            }
            [flag, fqdn, tail @ ..] if flag == "-h" => {
                name = Some(fqdn.clone());
                tail
            }
            _ => return Err(Misuse::Usage),
        };
    }
    Ok(Command::Expose {
        addresses,
        masquerade,
        name,
    })
}

pub(super) fn parse_hide(arguments: &[String]) -> Result<Command, Misuse> {
    match split(arguments) {
        (addresses, []) => Ok(Command::Hide(addresses)),
        _ => Err(Misuse::Usage),
    }
}

/// The addresses at the front, one from the default subnet if there are none, and the words from the
/// first that is none.
pub(super) fn split(arguments: &[String]) -> (Vec<Wanted>, &[String]) {
    let (addresses, rest) = leading(arguments);
    (or_default(addresses), rest)
}

/// The addresses at the front, and the words from the first that is none.
pub(super) fn leading(arguments: &[String]) -> (Vec<Wanted>, &[String]) {
    let addresses: Vec<Wanted> = arguments
        .iter()
        .map_while(|word| Wanted::parse(word))
        .collect();
    let rest = &arguments[addresses.len()..];
    (addresses, rest)
}

fn or_default(addresses: Vec<Wanted>) -> Vec<Wanted> {
    if addresses.is_empty() {
        vec![Wanted::FromDefault]
    } else {
        addresses
    }
}

/// Puts each address on the bridge, allocating or claiming it first, and names it if a name is given.
pub(super) async fn expose(
    client: &Client,
    wanted: &[Wanted],
    masquerade: bool,
    name: Option<&str>,
) -> Outcome {
    let mut exposed = Vec::new();
    for wanted in wanted {
        let addresses = match obtain(client, IDENT, wanted).await {
            Ok(addresses) => addresses,
            Err(failure) => return failure,
        };
        for address in addresses {
            let nat = if masquerade { "" } else { "?skipNAT=true" };
            let path = format!("/expose/{address}{nat}");
            if let Err(failure) = Outcome::of(client.post(&path).await).into_body() {
                return failure;
            }
            if let Some(name) = name
                && let Err(failure) = names::name_exposed(client, address, name).await
            {
                return failure;
            }
            exposed.push(address);
        }
    }
    listed(&exposed)
}

/// The addresses without their prefixes, on one line.
pub(super) fn listed(addresses: &[IpNet]) -> Outcome {
    let words: Vec<String> = addresses.iter().map(|one| one.addr().to_string()).collect();
    Outcome::success(words.join(" ") + "\n")
}

/// Takes each address off the bridge and frees it.
pub(super) async fn hide(client: &Client, wanted: &[Wanted]) -> Outcome {
    let mut hidden = Vec::new();
    for wanted in wanted {
        let addresses = match held(client, IDENT, wanted).await {
            Ok(addresses) => addresses,
            Err(failure) => return failure,
        };
        for address in addresses {
            let answer = client.delete(&format!("/expose/{address}")).await;
            if let Err(failure) = Outcome::of(answer).into_body() {
                return failure;
            }
            if let Err(failure) = names::unname_hidden(client, address.addr()).await {
                return failure;
            }
            let answer = client
                .delete(&format!("/ip/{IDENT}/{}", address.addr()))
                .await;
            // Without IPAM (404), or for an address never claimed (400), there is nothing to free.
            if let Ok(answer) = &answer
                && matches!(answer.status.as_u16(), 400 | 404)
            {
                hidden.push(address.addr());
                continue;
            }
            if let Err(failure) = Outcome::of(answer).into_body() {
                return failure;
            }
            hidden.push(address.addr());
        }
    }
    let hidden: Vec<String> = hidden.iter().map(IpAddr::to_string).collect();
    Outcome::success(if hidden.is_empty() {
        String::new()
    } else {
        hidden.join(" ") + "\n"
    })
}

/// Addresses for `id`: given, or claimed.
pub(super) async fn obtain(
    client: &Client,
    id: &str,
    wanted: &Wanted,
) -> Result<Vec<IpNet>, Outcome> {
    let id = encode_component(id);
    let answer = match wanted {
        Wanted::FromDefault => client.post(&format!("/ip/{id}?family=all")).await,
        Wanted::FromSubnet(subnet) => client.post(&format!("/ip/{id}/{subnet}")).await,
        Wanted::Exactly(address) => {
            let answer = client.put(&format!("/ip/{id}/{address}")).await;
            return match answer {
                // Without IPAM nobody else can have been given the address.
                Ok(answer) if answer.status.as_u16() == 404 => Ok(vec![*address]),
                answer => Outcome::of(answer).into_body().map(|_| vec![*address]),
            };
        }
    };
    let body = Outcome::of(answer).into_body()?;
    let parsed: Result<Vec<IpNet>, _> = body.split_whitespace().map(str::parse).collect();
    parsed
        .ok()
        .filter(|addresses| !addresses.is_empty())
        .ok_or_else(|| Outcome::failure(1, format!("no address was given: {body}")))
}

/// What of `wanted` `id` has.
pub(super) async fn held(
    client: &Client,
    id: &str,
    wanted: &Wanted,
) -> Result<Vec<IpNet>, Outcome> {
    let id = encode_component(id);
    let path = match wanted {
        Wanted::FromDefault => format!("/ip/{id}?family=all"),
        Wanted::FromSubnet(subnet) => format!("/ip/{id}/{subnet}"),
        Wanted::Exactly(address) => return Ok(vec![*address]),
    };
    let body = Outcome::of(client.get(&path).await).into_body()?;
    Ok(body
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect())
}

/// Under which name the addresses of the bridge are known.
pub(super) const IDENT: &str = "weave:expose";
