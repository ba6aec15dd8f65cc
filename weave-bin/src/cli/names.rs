//! Names of containers: what `dns-add`, `dns-remove` and `dns-lookup` take and do, and the names of
//! exposed addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;

use super::run::Outcome;
use super::{Command, Misuse};
use crate::dns::answer::{Transport, addresses, is_cut, parse_name, qualified, question};
use crate::dns::upstream::exchange;
use crate::http::client::{Client, encode_component};

/// Whose names, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Addresses as given; those of the container when there are none.
    addresses: Vec<Ipv4Addr>,
    /// The container; addresses alone belong to none.
    container: Option<String>,
    /// The full name, if given.
    fqdn: Option<String>,
}

/// `dns-add` and `dns-remove`: `[IP...] ID [-h FQDN]`, or `IP... -h FQDN`.
pub(super) fn parse(arguments: &[String]) -> Result<Named, Misuse> {
    let addresses: Vec<Ipv4Addr> = arguments
        .iter()
        .map_while(|word| word.parse().ok())
        .collect();
    let mut rest = &arguments[addresses.len()..];
    let mut container = None;
    if let [id, tail @ ..] = rest
        && !id.starts_with('-')
    {
        container = Some(id.clone());
        rest = tail;
    }
    let fqdn = match rest {
        [] => None,
        [flag, name] if flag == "-h" => Some(name.clone()),
        _ => return Err(Misuse::Usage),
    };
    let is_enough = container.is_some() || (!addresses.is_empty() && fqdn.is_some());
    is_enough
        .then_some(Named {
            addresses,
            container,
            fqdn,
        })
        .ok_or(Misuse::Usage)
}

/// `dns-lookup NAME [--json]`.
pub(super) fn parse_lookup(arguments: &[String]) -> Result<Command, Misuse> {
    let (name, json) = match arguments {
        [name] => (name, false),
        [name, flag] | [flag, name] if flag == "--json" => (name, true),
        _ => return Err(Misuse::Usage),
    };
    if name.starts_with('-') {
        return Err(Misuse::Usage);
    }
    Ok(Command::DnsLookup {
        name: name.clone(),
        json,
    })
}

/// Registers names.
pub(super) async fn add(client: &Client, named: &Named) -> Outcome {
    register(client, named)
        .await
        .unwrap_or_else(|failure| failure)
}

async fn register(client: &Client, named: &Named) -> Result<Outcome, Outcome> {
    let domain = Outcome::of(client.get("/domain").await).into_body()?;
    let id = named.container.as_deref().unwrap_or(NO_CONTAINER);
    let fqdn = named
        .fqdn
        .clone()
        .unwrap_or_else(|| format!("{id}.{domain}"));
    let addresses = match named.addresses.as_slice() {
        [] => held(client, id).await?,
        given => given.to_vec(),
    };
    if addresses.is_empty() {
        let text = format!("{id} has no address: name the addresses, as in dns-add IP {id}");
        return Err(Outcome::failure(1, text));
    }
    for address in addresses {
        let path = path(id, Some(address), Some(&fqdn));
        Outcome::of(client.put(&path).await).into_body()?;
    }
    Ok(Outcome::success(String::new()))
}

/// Deletes names.
pub(super) async fn remove(client: &Client, named: &Named) -> Outcome {
    let id = named.container.as_deref().unwrap_or(NO_CONTAINER);
    let fqdn = named.fqdn.as_deref();
    let mut paths: Vec<String> = named
        .addresses
        .iter()
        .map(|address| path(id, Some(*address), fqdn))
        .collect();
    if paths.is_empty() {
        paths.push(path(id, None, fqdn));
    }
    for path in paths {
        if let Err(failure) = Outcome::of(client.delete(&path).await).into_body() {
            return failure;
        }
    }
    Outcome::success(String::new())
}

/// Asks the daemon's name server, as any other asker would; addresses one a line.
pub(super) async fn lookup(client: &Client, name: &str, json: bool) -> Outcome {
    match ask(client, name).await {
        Ok(found) if json => {
            let found: Vec<String> = found.iter().map(Ipv4Addr::to_string).collect();
            Outcome::success(format!("{}\n", json!(found)))
        }
        Ok(found) => {
            let lines = found.iter().map(|address| format!("{address}\n"));
            Outcome::success(lines.collect())
        }
        Err(failure) => failure,
    }
}

/// The options `--dns` and `--dns-search` of container programs; nothing without a name server.
pub(super) async fn docker_options(client: &Client, search: bool) -> Outcome {
    let server = Outcome::of(client.get("/dns-address").await);
    if server.is_not_found() {
        return Outcome::success(String::new());
    }
    let server = match server.into_body() {
        Ok(server) => server,
        Err(failure) => return failure,
    };
    let mut options = format!("--dns={}", server.trim());
    if search {
        match Outcome::of(client.get("/domain").await).into_body() {
            Ok(domain) => options += &format!(" --dns-search={}", domain.trim()),
            Err(failure) => return failure,
        }
    }
    Outcome::success(options)
}

/// The addresses of `name`, as the name server of this host tells them.
pub(super) async fn ask(client: &Client, name: &str) -> Result<Vec<Ipv4Addr>, Outcome> {
    let failed = |text: String| Outcome::failure(1, text);
    let name = parse_name(&qualified(name)).map_err(failed)?;
    let body = Outcome::of(client.get("/dns-address-port").await).into_body()?;
    let unusable = || {
        failed(format!(
            "the daemon says that its name server is at {body:?}"
        ))
    };
    let mut server: SocketAddr = body.trim().parse().map_err(|_| unusable())?;
    if server.ip().is_unspecified() {
        let local = match server.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        server.set_ip(local);
    }
    let id = getrandom::u32().unwrap_or_default().to_be_bytes();
    let query = question(u16::from_be_bytes([id[0], id[1]]), &name);
    let silent = |error| {
        failed(format!(
            "no answer from the name server at {server}: {error}"
        ))
    };
    let mut reply = exchange(server, &query, Transport::Udp, LIMIT)
        .await
        .map_err(silent)?;
    if is_cut(&reply) {
        reply = exchange(server, &query, Transport::Tcp, LIMIT)
            .await
            .map_err(silent)?;
    }
    addresses(&reply).ok_or_else(|| failed(format!("{server} does not answer in DNS")))
}

/// Names an address of the bridge; nothing without a name server.
pub(super) async fn name_exposed(
    client: &Client,
    address: IpNet,
    fqdn: &str,
) -> Result<(), Outcome> {
    let IpAddr::V4(address) = address.addr() else {
        return Ok(());
    };
    let named = Outcome::of(client.put(&path(EXPOSED, Some(address), Some(fqdn))).await);
    if named.is_not_found() {
        return Ok(());
    }
    named.into_body().map(drop)
}

/// Takes the names of an address that is no longer on the bridge.
pub(super) async fn unname_hidden(client: &Client, address: IpAddr) -> Result<(), Outcome> {
    let IpAddr::V4(address) = address else {
        return Ok(());
    };
    let gone = Outcome::of(client.delete(&path(EXPOSED, Some(address), None)).await);
    if gone.is_not_found() {
        return Ok(());
    }
    gone.into_body().map(drop)
}

/// The addresses that the allocator gave to a container.
async fn held(client: &Client, id: &str) -> Result<Vec<Ipv4Addr>, Outcome> {
    let path = format!("/ip/{}", encode_component(id));
    let found = Outcome::of(client.get(&path).await);
    if found.is_not_found() {
        return Ok(Vec::new());
    }
    let body = found.into_body()?;
    let addresses = body.split_whitespace().filter_map(|word| word.parse().ok());
    Ok(addresses
        .filter_map(|net: IpNet| match net.addr() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect())
}

fn path(id: &str, address: Option<Ipv4Addr>, fqdn: Option<&str>) -> String {
    let mut path = format!("/name/{}", encode_component(id));
    if let Some(address) = address {
        path += &format!("/{address}");
    }
    if let Some(fqdn) = fqdn {
        path += &format!("?fqdn={}", encode_component(fqdn));
    }
    path
}

/// Whom Weave Net files names under that belong to no container.
const NO_CONTAINER: &str = "weave:extern";
/// Whom it files names of the bridge under.
const EXPOSED: &str = "weave:expose";
/// For each of two attempts; other servers have five seconds each.
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Named, Misuse> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn named(addresses: &[&str], container: Option<&str>, fqdn: Option<&str>) -> Named {
        Named {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            container: container.map(str::to_owned),
            fqdn: fqdn.map(str::to_owned),
        }
    }

    #[test]
    fn addresses_come_before_the_container_and_the_name_last() {
        let name = Some("web.weave.local");
        for (line, expected) in [
            ("c1", named(&[], Some("c1"), None)),
            ("c1 -h web.weave.local", named(&[], Some("c1"), name)),
            (
                "10.2.1.1 10.2.1.2 c1",
                named(&["10.2.1.1", "10.2.1.2"], Some("c1"), None),
            ),
            (
                "10.2.1.1 -h web.weave.local",
                named(&["10.2.1.1"], None, name),
            ),
        ] {
            assert_eq!(parsed(line), Ok(expected), "{line}");
        }
        for line in [
            "",
            "10.2.1.1",
            "-h x",
            "c1 10.2.1.1",
            "c1 -h",
            "c1 -h a b",
            "c1 c2",
            "-x",
        ] {
            assert_eq!(parsed(line), Err(Misuse::Usage), "{line}");
        }
    }

    #[test]
    fn paths_carry_what_is_given() {
        let address = Some(Ipv4Addr::new(10, 2, 1, 1));

        assert_eq!(
            path("weave:extern", address, Some("a b.c")),
            "/name/weave:extern/10.2.1.1?fqdn=a%20b.c"
        );
        assert_eq!(path("c/1", None, None), "/name/c%2F1");
    }
}
